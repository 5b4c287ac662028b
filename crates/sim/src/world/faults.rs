//! What goes wrong, and when.

use super::{Event, World};
use crate::plan::Feature;
use std::time::Duration;

/// µs that a full disk stays full for a node that does not notice.
const FULL_US: u64 = 900_000_000;

impl World {
    /// What was wrong with the disk is over; not yet where it is full and the log still had segments in store.
    pub(super) fn calm(&mut self) {
        if self.now < self.full_until && self.healing.is_none() && self.process.is_some() && self.roomy {
            let again = self.random.spread(1_000_000, 60_000_000);
            return self.at(self.now + again, Event::Calm);
        }
        self.storage.calm();
    }

    pub(super) fn fault(&mut self) -> Result<(), String> {
        if self.healing.is_some() || self.faults_left == 0 {
            return Ok(());
        }
        self.faults_left -= 1;
        let next = self.random.spread(1_000, self.plan.fault_us.max(2_000) * 2);
        self.at(self.now + next, Event::Fault);
        let kinds: Vec<Feature> = [
            Feature::Crash,
            Feature::Pause,
            Feature::ClockStep,
            Feature::Partition,
            Feature::CallerRestart,
            Feature::Stop,
            Feature::CrashInIo,
            Feature::CrashInIo,
            Feature::CrashInIo,
            Feature::FailedWrite,
            Feature::FullDisk,
            Feature::Stall,
        ]
        .into_iter()
        .filter(|f| self.may(*f))
        .collect();
        if kinds.is_empty() {
            return Ok(());
        }
        let kind = *self.random.pick(&kinds);
        self.say(|| format!("fault {}", kind.name()));
        match kind {
            Feature::Crash => {
                let power = self.random.chance(600);
                if power && self.process.is_some() {
                    self.storage.disk.crash();
                }
                self.end_process(power)
            }
            Feature::CrashInIo => {
                let most = self.random.spread(2, 400);
                self.storage.crash_soon(most);
                Ok(())
            }
            Feature::FailedWrite => {
                self.storage.fail_soon();
                let until = self.now + self.random.spread(1_000_000, 600_000_000);
                self.at(until, Event::Calm);
                Ok(())
            }
            Feature::FullDisk => {
                self.storage.fill();
                self.full_until = self.now + FULL_US;
                let until = self.now + self.random.spread(1_000_000, 60_000_000);
                self.at(until, Event::Calm);
                Ok(())
            }
            Feature::Stall => {
                let until = self.now + self.random.spread(1_000, 10_000_000);
                self.storage.set_now(self.now);
                self.storage.disk.stall(Duration::from_micros(until));
                Ok(())
            }
            Feature::Pause => {
                self.paused_until = self.now + self.random.spread(1_000, 20_000_000);
                Ok(())
            }
            Feature::ClockStep => {
                let us = self.random.spread(1_000, 100_000_000_000) as i64;
                self.clock.step(if self.random.chance(500) { us } else { -us });
                Ok(())
            }
            Feature::Partition => {
                let until = self.now + self.random.spread(10_000, 20_000_000);
                self.net.split(until);
                Ok(())
            }
            Feature::CallerRestart => {
                let i = self.random.below(self.callers.len() as u64) as usize;
                self.restart_caller(i)
            }
            Feature::Stop => {
                if let Some(p) = &mut self.process {
                    p.core.around.stopping = true;
                }
                Ok(())
            }
            other => unreachable!("not a fault by itself: {other:?}"),
        }
    }
}
