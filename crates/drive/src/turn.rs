//! One turn of the core: a little of everything that is to be done. It never waits; what it waits for between two turns is
//! its driver's.

use crate::around::{Around, Copying};
use crate::share::{Share, Visits};
use crate::snapshot::Beginning;
use std::ops::RangeInclusive;
use std::time::Duration;
use tegata_journal::{self as journal, BatchMeta, Folder, WriteError, Writer};
use tegata_node::{BreakerState, Cause, Node, Room, SnapshotWish};

/// How long the log is quiet before the beacon repeats the flushed position.
const QUIET: Duration = Duration::from_millis(20);
/// How long the core rests while a breaker is not closed: what it waits for may be nothing but time.
const DEGRADED_REST: Duration = Duration::from_millis(10);
/// How often the core looks up when nothing happens at all.
const IDLE: Duration = Duration::from_secs(1);
/// How long the core rests when the snapshot's writer has enough to do.
const SNAPSHOT_REST: Duration = Duration::from_millis(2);
/// How often a busy core hands out a page of a snapshot all the same: 40 MB a second, so that it ends under any load.
const PAGE_BESIDE_WORK: Duration = Duration::from_micros(500);
/// How long after a snapshot that failed, on a full disk most likely, another is tried: each may fill the disk once
/// more. Room for the journal ends the wait.
const SNAPSHOT_AGAIN: Duration = Duration::from_secs(60);
/// Records that are applied before their answers are handed out.
const APPLY_AT_ONCE: usize = 256;
/// The same while the queue stands and something comes: as many as take a part of the time since the last turn.
const APPLY_OF_A_CROWD: RangeInclusive<u64> = 64..=8_192;
/// So much of the time for applying is kept where less was needed: what a record takes is known only in the mean, since the
/// core is interrupted, and a turn that applied too little must not leave a queue that stays.
const UNUSED_MAX: Duration = Duration::from_millis(2);
/// Accounts that are counted for a plan before payments have their turn: well under a tenth of a millisecond.
const PLAN_AT_ONCE: u32 = 1_024;
/// Bundles that are taken from one thread of connections in a turn, and so many may wait for it.
pub const BUNDLES_AT_ONCE: usize = 8;
/// Turns between two looks at the tables' sizes.
const FACTS_EVERY: u64 = 256;

/// Where snapshots are kept, and how often they are taken.
#[derive(Debug, Clone)]
pub struct Keeping {
    /// The data folder.
    pub dir: Folder,
    /// The store's id.
    pub store: [u8; 16],
    /// Bytes of the log between two snapshots; 0: none is taken unasked.
    pub snapshot_bytes: u64,
    /// Days that the archive is kept; 0: for ever.
    pub keep_days: u32,
}

/// It owns the node and the journal, and is the only one that does.
#[derive(Debug)]
pub struct Core<A: Around> {
    /// The node.
    pub node: Node,
    /// Its journal.
    pub journal: Writer,
    /// What is around them.
    pub around: A,
    keeping: Keeping,
    turns: u64,
    /// When the last turn applied; the time for applying that was not used; ns and records of applying lately, with what it
    /// brought: the older the less.
    turned_at: Duration,
    unused: Duration,
    applied_lately: [u64; 2],
    /// The part of the time for applying while the queue stands.
    share: Share,
    quiet_since: Duration,
    taking: Option<A::Copy>,
    /// When it was handed its last page.
    page_at: Duration,
    /// It was when it was looked at last.
    clock_suspect: bool,
    /// Bytes of the log that were replayed behind the last snapshot.
    since_snapshot: u64,
    /// Bytes of the log at which the next snapshot is due.
    snapshot_due: u64,
    /// When the last one failed: not before this.
    snapshot_again_at: Option<Duration>,
}

impl<A: Around> Core<A> {
    /// A core whose log grew by `since_snapshot` bytes since its last snapshot.
    pub fn new(node: Node, journal: Writer, mut around: A, keeping: Keeping, since_snapshot: u64) -> Self {
        let now = around.elapsed();
        Self {
            node,
            journal,
            around,
            keeping,
            turns: 0,
            turned_at: now,
            share: Share::new(),
            unused: Duration::ZERO,
            applied_lately: [0; 2],
            quiet_since: now,
            taking: None,
            page_at: now,
            clock_suspect: false,
            since_snapshot,
            snapshot_due: 0,
            snapshot_again_at: None,
        }
    }

    /// A little of everything that is to be done. False when there was nothing.
    pub fn turn(&mut self) -> Result<bool, WriteError> {
        if self.around.is_stopping() {
            self.node.drain();
        }
        self.look_at_room();
        self.look_at_clock();
        let came = self.take_in();
        let mut busy = came.is_some();
        busy |= self.apply_durable(came)?;
        let changed = self.node.look(self.around.now(), self.clock_suspect);
        self.tell_changes(changed);
        busy |= self.node.watches_time() && self.node.pass_time(self.around.now());
        busy |= self.seal()?;
        busy |= self.node.plan_some(PLAN_AT_ONCE);
        busy |= self.hand_out();
        busy |= self.take_snapshot(busy);
        self.turns += 1;
        if self.turns.is_multiple_of(FACTS_EVERY) {
            self.around.publish(&mut self.node);
        }
        Ok(busy)
    }

    /// A clock that steps latches its breaker (D7). One that still is not followed after an operator's confirmation is
    /// taken as it is, if it can be; else the breaker is latched again.
    fn look_at_clock(&mut self) {
        // Asked once: another thread may see a step at any moment, and between two looks it would be none.
        let suspect = self.around.clock_is_suspect();
        let was_suspect = std::mem::replace(&mut self.clock_suspect, suspect);
        // One that steps while its breaker is open for a drill, say, latches it as well.
        let steps = suspect && !was_suspect;
        let state = self.node.breaker(Cause::Clock);
        // It probes only after somebody confirmed it; a drill that ended has seen no step.
        if suspect && !steps && state == BreakerState::HalfOpen && self.around.trust_clock() {
            self.clock_suspect = false;
        } else if steps || suspect && !state.is_tripped() {
            self.node.clock_jumped();
        }
    }

    /// A full disk degrades, and is over by itself (D10).
    fn look_at_room(&mut self) {
        let room = match self.journal.room() {
            journal::Room::Ample => Room::Ample,
            journal::Room::LastSegment => Room::Reserve,
            journal::Room::None => Room::None,
        };
        if room == self.node.room() {
            return;
        }
        self.node.set_room(room);
        if room == Room::Ample {
            self.snapshot_again_at = None;
        }
        self.around.publish(&mut self.node);
    }

    /// Whoever watches is told what changed.
    fn tell_changes(&mut self, changed: bool) {
        if !changed && !self.node.has_changes() {
            return;
        }
        let changes = self.node.take_changes();
        self.around.changed(&changes, self.node.unlooked_ranks());
        self.around.publish(&mut self.node);
    }

    /// Takes the bundles of every thread. What they say of the visits in which they were read; nothing when nothing came.
    fn take_in(&mut self) -> Option<Visits> {
        let mut came = None;
        for thread in 0..self.around.threads() {
            // Whose turn it is, and how long they wait, is known only of what was taken.
            for _ in 0..BUNDLES_AT_ONCE {
                let Some(mut bundle) = self.around.take_in(thread) else { break };
                let visits = came.get_or_insert(Visits::default());
                visits.count += u64::from(std::mem::take(&mut bundle.visits));
                visits.waited_us = visits.waited_us.max(bundle.waited_us);
                let empty = self.node.accept(thread, bundle, self.around.now());
                self.around.give_back(thread, empty);
            }
        }
        came
    }

    /// Applies some records of what is durable, after something came, if anything did.
    fn apply_durable(&mut self, came: Option<Visits>) -> Result<bool, WriteError> {
        let before = self.journal.flushed();
        let flushed = self.journal.reap()?;
        if flushed > before {
            self.around.durable(flushed);
            self.node.durable(flushed);
        }
        let begin = self.around.elapsed();
        let since = begin.saturating_sub(std::mem::replace(&mut self.turned_at, begin));
        let most = if self.node.is_crowded() {
            if let Some(visits) = came {
                self.share.steer(since.as_micros() as u64, visits, self.node.pressure());
            }
            self.unused = with_unused(self.share.of(since), self.unused);
            // Where nothing came nobody waits for the turn's end, and short turns are mostly what is beside applying.
            let fits = self.fits(self.unused);
            if came.is_none() { fits.max(APPLY_AT_ONCE) } else { fits }
        } else {
            APPLY_AT_ONCE
        };
        let before = self.node.engine().applied().get();
        let busy = self.node.apply_some(most);
        if busy {
            self.around.applied(&self.node);
            let count = self.node.engine().applied().get() - before;
            let took = self.around.elapsed().saturating_sub(begin);
            self.unused = self.unused.saturating_sub(took);
            for (sum, new) in self.applied_lately.iter_mut().zip([took.as_nanos() as u64, count]) {
                *sum = *sum - *sum / 16 + new;
            }
        }
        Ok(busy)
    }

    /// How many records are applied in so long; none while nothing is known of it.
    fn applied_in(&self, time: Duration) -> u64 {
        let [took, count] = self.applied_lately;
        took.checked_div(count).map_or(0, |each| time.as_nanos() as u64 / each.max(1))
    }

    /// The same, of a turn.
    fn fits(&self, time: Duration) -> usize {
        self.applied_in(time).clamp(*APPLY_OF_A_CROWD.start(), *APPLY_OF_A_CROWD.end()) as usize
    }

    fn seal(&mut self) -> Result<bool, WriteError> {
        let mut busy = false;
        while self.node.wants_to_seal(self.journal.in_flight()) && self.journal.has_room() {
            let Some(sealed) = self.node.seal(self.around.now()) else { break };
            let meta = BatchMeta {
                first_position: sealed.first_position,
                count: sealed.count,
                at_us: sealed.at_us,
                margin: sealed.margin,
            };
            self.around.submitted(&sealed);
            self.journal.append(&meta, &[sealed.body])?;
            busy = true;
        }
        Ok(busy)
    }

    /// Begins a snapshot where one is wanted or due, or hands out a page of the one that is being taken: whenever there
    /// is nothing else to do, and seldom while there is.
    fn take_snapshot(&mut self, busy: bool) -> bool {
        if let Some(taking) = &mut self.taking {
            if !taking.is_over() {
                let waits = busy && self.around.elapsed().saturating_sub(self.page_at) < PAGE_BESIDE_WORK;
                if waits || !taking.step(self.node.engine_to_copy()) {
                    return false;
                }
                self.page_at = self.around.elapsed();
                return true;
            }
            if self.taking.take().is_some_and(Copying::was_taken) {
                self.node.set_snapshot_wish(SnapshotWish::None);
            } else {
                self.try_snapshot_later();
            }
        }
        let grown = self.journal.appended_bytes() + self.since_snapshot;
        let every = self.keeping.snapshot_bytes;
        let due = every > 0 && grown >= self.snapshot_due.max(every);
        if !due && self.node.snapshot_wish() != SnapshotWish::Wanted {
            return false;
        }
        if let Some(at) = self.snapshot_again_at
            && self.around.elapsed() < at
        {
            return false;
        }
        // Only between two batches is the state that of a position with a chain hash.
        let position = self.node.engine().applied().get();
        let Some((at_us, chain)) = self.journal.chain_at(position) else { return false };
        self.snapshot_due = grown + every;
        let carried = self.node.carried();
        let engine = self.node.engine_to_copy();
        let beginning = Beginning {
            dir: self.keeping.dir.clone(),
            store: self.keeping.store,
            digest: engine.digest(),
            head: engine.start_snapshot(),
            position,
            at_us,
            boot_epoch: self.journal.boot_epoch(),
            chain,
            carried,
            keep_days: self.keeping.keep_days,
        };
        self.taking = self.around.begin_snapshot(beginning);
        match &self.taking {
            Some(_) => self.node.set_snapshot_wish(SnapshotWish::Running),
            None => self.try_snapshot_later(),
        }
        true
    }

    fn try_snapshot_later(&mut self) {
        self.node.set_snapshot_wish(SnapshotWish::Wanted);
        self.snapshot_again_at = Some(self.around.elapsed() + SNAPSHOT_AGAIN);
    }

    /// Hands the answers over to the threads of connections.
    pub fn hand_out(&mut self) -> bool {
        let mut busy = false;
        for thread in 0..self.around.threads() {
            if !self.node.has_outbound(thread) {
                continue;
            }
            let empty = self.around.empty_outbound(thread);
            let Some(full) = self.node.take_outbound(thread, empty) else { continue };
            match self.around.hand_out(thread, full) {
                Ok(()) => busy = true,
                // The thread is far behind: its answers gather here until it takes some.
                Err(full) => self.node.put_back(thread, full),
            }
        }
        busy
    }

    /// True when nothing is in flight and nothing waits.
    pub fn is_quiet(&self) -> bool {
        // Without room all that is left is the node's own, which a start makes anew; only what was latched meanwhile is lost.
        let answered = self.node.in_flight() == 0 || self.node.room() == Room::None;
        self.journal.in_flight() == 0 && answered && self.around.is_silent()
    }

    /// True while a snapshot is being taken.
    #[must_use]
    pub fn is_taking(&self) -> bool {
        self.taking.is_some()
    }

    /// How long it may rest when a turn found nothing to do and nothing comes.
    #[must_use]
    pub fn rest_time(&self) -> Duration {
        match (&self.taking, self.is_quiet() && !self.journal.beacon_is_due()) {
            (Some(_), _) => SNAPSHOT_REST,
            (None, _) if !self.node.is_normal() => DEGRADED_REST,
            (None, true) => IDLE,
            (None, false) => QUIET,
        }
    }

    /// Is awake again. When nothing has come for a while, the beacon repeats the flushed position.
    pub fn wake_up(&mut self) -> Result<(), WriteError> {
        if self.is_quiet() {
            self.around.publish(&mut self.node);
            if self.journal.beacon_is_due() && self.around.elapsed().saturating_sub(self.quiet_since) >= QUIET {
                self.journal.idle()?;
            }
        } else {
            self.quiet_since = self.around.elapsed();
        }
        Ok(())
    }

    /// The journal failed: what is in flight is unknown, nothing new is taken, nothing is flushed again (D10).
    pub fn fail(&mut self) {
        self.node.halt();
        self.hand_out();
    }
}

/// A part of the time, and what was not used of those before.
fn with_unused(part: Duration, unused: Duration) -> Duration {
    (part + unused).min(part.max(UNUSED_MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_not_used_is_kept_to_a_bound() {
        let us = Duration::from_micros;
        assert_eq!(with_unused(us(300), us(400)), us(700));
        assert_eq!(with_unused(us(300), us(1_900)), UNUSED_MAX);
        assert_eq!(with_unused(us(5_000), us(1_900)), us(5_000), "a long turn has its own part");
    }
}
