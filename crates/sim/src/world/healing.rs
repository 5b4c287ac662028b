//! The second phase: nothing goes wrong any more, and then everything must be answered, resolved and closed.

use super::{Event, World};
use crate::clocks::BEGAN_US;
use crate::goals::Goal;
use crate::history::Event as Seen;
use tegata_client::{Ask, Call};
use tegata_node::{BreakerState, Cause};
use tegata_wire::BreakerOrder;

/// How long healing may take, in µs.
const HEALING_MAX: u64 = 900_000_000;
/// Between two looks.
const LOOK_US: u64 = 1_000_000;

impl World {
    pub(super) fn heal(&mut self) -> Result<(), String> {
        self.say(|| "heal".into());
        self.healing = Some(self.now);
        self.net.heal();
        self.storage.calm();
        self.paused_until = 0;
        // Logged time never goes back: where a clock was ahead, all go on from there.
        let (wall, now) = (self.clock.read(self.now), self.now);
        let followed = self.process.as_mut().map_or(wall, |p| p.core.around.steady.look(wall, now as i64));
        let wall = (BEGAN_US + now as i64).max(followed).max(self.oracle.logged_at());
        self.clock.set(wall, now);
        for caller in &mut self.callers {
            caller.clock.set(wall, now);
        }
        self.at(self.now, Event::Start);
        self.at(self.now + LOOK_US, Event::Settle);
        self.at(self.now, Event::Turn);
        Ok(())
    }

    pub(super) fn settle(&mut self) -> Result<(), String> {
        let began = self.healing.unwrap_or(self.now);
        let open: u64 = self.callers.iter().map(|c| c.open()).sum::<u64>() + self.later.len() as u64;
        let (mut tripped, mut in_flight, mut full) = (Vec::new(), 0, false);
        if let Some(p) = &mut self.process {
            tripped = Cause::ALL.into_iter().filter(|c| p.core.node.breaker(*c) != BreakerState::Closed).collect();
            // What a caller that is gone had sent is answered, too.
            let quiet = p.core.is_quiet() && p.hubs.iter().all(|h| h.bundle.is_empty());
            in_flight = (p.core.node.in_flight() as u64).max(u64::from(!quiet));
            // What an operator latched is confirmed first.
            full = !matches!(p.core.node.breaker(Cause::Memory), BreakerState::Closed | BreakerState::Latched);
        }
        let down = u64::from(self.process.is_none());
        let over = open + self.doubts + in_flight + tripped.len() as u64 + down == 0;
        if over || self.now - began > HEALING_MAX {
            self.healed = true;
            self.say(|| format!("tripped {tripped:?}"));
            return self.oracle.see(&Seen::Healed {
                open: open + down,
                unknown: self.doubts,
                in_flight,
                tripped: tripped.len() as u64,
            });
        }
        // What an operator does: confirms what is latched, and starts anew with higher limits where a table is full.
        for cause in &tripped {
            let latched = self.process.as_ref().is_some_and(|p| p.core.node.breaker(*cause) == BreakerState::Latched);
            if latched {
                let order = BreakerOrder { cause: *cause as u8, order: 3, ms: 0 };
                self.callers[0].ask(Call::of(Ask::Breaker(order)), self.now);
            }
        }
        self.poll(0)?;
        if full {
            self.end_process(false)?;
        }
        self.at(self.now + LOOK_US, Event::Settle);
        Ok(())
    }

    /// A last stop in order and a last start, and everything is compared.
    pub(super) fn last_look(&mut self) -> Result<(), String> {
        if let Some(p) = &self.process {
            self.oracle.compare(p.core.node.engine(), false, true)?;
        }
        let archived = self.storage.has_file(".arc");
        if let Some(p) = self.process.take() {
            self.storage.close(p.core.journal).map_err(|e| format!("everything-settles: no stop in order: {e}"))?;
        }
        self.storage.disk.kill();
        self.start()?;
        if archived {
            self.goals.reach(Goal::ArchiveWritten);
        }
        if self.net.cut > 0 {
            self.goals.reach(Goal::ConnectionCut);
        }
        Ok(())
    }
}
