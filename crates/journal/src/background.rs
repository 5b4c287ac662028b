//! Work beside payments: whoever does it gives way to the log's own thread, and to whoever answers.

use crate::disk::Disk;
use std::sync::Arc;
use std::time::Duration;

/// How long the kernel lets a modest thread go on, once it runs, before whoever is woken for a payment has its turn.
const MODEST_SLICE: Duration = Duration::from_micros(100);

/// The calling thread gives way to the log's own, and to whoever answers payments. Being nice shares the time but
/// not the moment: on Linux 6.12 and later a short slice does that too, and older ones take the niceness alone.
#[allow(unsafe_code, reason = "neither has a safe wrapper among the dependencies")]
pub fn be_modest() {
    const NICE: i32 = 10;
    // SAFETY: setpriority takes numbers only; with 0 it means the calling thread.
    let _ = unsafe { libc::setpriority(libc::PRIO_PROCESS, 0, NICE) };
    let attr = libc::sched_attr {
        size: size_of::<libc::sched_attr>() as u32,
        sched_policy: libc::SCHED_OTHER as u32,
        sched_flags: 0,
        sched_nice: NICE,
        sched_priority: 0,
        sched_runtime: MODEST_SLICE.as_nanos() as u64,
        sched_deadline: 0,
        sched_period: 0,
    };
    // SAFETY: sched_setattr reads a structure of the size that it states; with 0 it means the calling thread.
    let _ = unsafe { libc::syscall(libc::SYS_sched_setattr, 0, &raw const attr, 0) };
}

/// The calling thread runs where nobody else wants to: a processor that only such threads use counts as idle, and is given
/// at once to whoever is woken for a payment. It still gets three parts in a thousand of one that is never idle. Where the
/// kernel refuses, the thread is modest.
#[allow(unsafe_code, reason = "scheduling policies have no safe wrapper among the dependencies")]
pub fn be_idle() {
    let param = libc::sched_param { sched_priority: 0 };
    // SAFETY: sched_setscheduler reads the structure that it is given; with 0 it means the calling thread.
    if unsafe { libc::sched_setscheduler(0, libc::SCHED_IDLE, &raw const param) } != 0 {
        be_modest();
    }
}

/// Work that rests three times as long as it works: a quarter of a processor and of the disk is enough to keep up with
/// the log, and the rest is left to payments.
#[derive(Debug)]
pub(crate) struct Pace {
    disk: Arc<dyn Disk>,
    since: Duration,
}

impl Pace {
    /// Shorter spells of work go on without a rest: sleeping takes a while itself.
    const SPELL: Duration = Duration::from_micros(500);
    const REST: u32 = 3;

    pub(crate) fn start(disk: &Arc<dyn Disk>) -> Self {
        Self { disk: Arc::clone(disk), since: disk.elapsed() }
    }

    /// Rests for what was worked since the last rest.
    pub(crate) fn rest(&mut self) {
        let worked = self.disk.elapsed() - self.since;
        if worked >= Self::SPELL {
            self.disk.rest(worked * Self::REST);
            self.since = self.disk.elapsed();
        }
    }
}
