//! The core: it owns the node and the journal, and is the only one that does. It runs on a thread of its own, or among
//! the tasks of the one thread that serves connections, where there are few processors: then nothing is handed from
//! one thread to another, and nobody has to be woken. What it waits for is the same: a write that completed, or a bell.

use crate::Shared;
use crate::clock;
use crate::events::Events;
use crate::handover::{CoreBell, CoreSide};
use crate::snapshot::{Beginning, Taking};
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};
use tegata_journal::{self as journal, BatchMeta, WriteError, Writer};
use tegata_node::{Cause, Node, Room, SnapshotWish};
use tegata_sync::Mark;
use tokio::io::unix::AsyncFd;

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
/// Accounts that are counted for a plan before payments have their turn: well under a tenth of a millisecond.
const PLAN_AT_ONCE: u32 = 1_024;
/// Bundles that are taken from one thread of connections in a turn while the queue stands: a whole ring of them.
const BUNDLES_OF_A_CROWD: usize = 256;
/// Turns between two looks at the tables' sizes.
const FACTS_EVERY: u64 = 256;

/// The core thread's own.
pub(crate) struct Core {
    pub(crate) node: Node,
    pub(crate) journal: Writer,
    pub(crate) sides: Vec<CoreSide>,
    pub(crate) bell: CoreBell,
    pub(crate) shared: Arc<Shared>,
    pub(crate) turns: u64,
    pub(crate) quiet_since: Instant,
    pub(crate) taking: Option<Taking>,
    /// When it was handed its last page.
    pub(crate) page_at: Instant,
    /// It was when it was looked at last.
    pub(crate) clock_suspect: bool,
    pub(crate) events: Events,
    /// Bytes of the log that were replayed behind the last snapshot.
    pub(crate) since_snapshot: u64,
    /// Bytes of the log at which the next snapshot is due.
    pub(crate) snapshot_due: u64,
    /// When the last one failed: not before this.
    pub(crate) snapshot_again_at: Option<Instant>,
}

impl Core {
    /// Runs on a thread of its own until it is told to stop and everything is answered, or until the journal fails.
    pub(crate) fn run(mut self) -> Result<(), WriteError> {
        let result = self.serve();
        self.end(result)
    }

    fn serve(&mut self) -> Result<(), WriteError> {
        loop {
            if self.turn()? {
                continue;
            }
            if self.is_over() {
                return Ok(());
            }
            if self.go_to_sleep() {
                self.journal.wait(Some(self.rest_time()))?;
            }
            self.wake_up()?;
        }
    }

    /// Runs among the tasks that serve connections, on their thread.
    pub(crate) async fn run_here(mut self) -> Result<(), WriteError> {
        let result = self.serve_here().await;
        self.end(result)
    }

    async fn serve_here(&mut self) -> Result<(), WriteError> {
        let failed = |error| WriteError::Failed { doing: "watching for completions", error };
        #[expect(
            deprecated,
            reason = "an OwnedFd keeps its one descriptor open, which is all that its successor asks for"
        )]
        let watch = |fd: OwnedFd| AsyncFd::new(fd).map_err(failed);
        let completions = match self.journal.completions() {
            Some(fd) => Some(watch(fd.try_clone_to_owned().map_err(failed)?)?),
            None => None,
        };
        let called = Arc::clone(&self.bell.here);
        loop {
            if self.turn()? {
                tokio::task::yield_now().await;
                continue;
            }
            if self.is_over() {
                return Ok(());
            }
            if self.go_to_sleep() {
                let completed = async {
                    match &completions {
                        Some(fd) => fd.readable().await.map(|mut ready| ready.clear_ready()),
                        None => std::future::pending().await,
                    }
                };
                tokio::select! {
                    done = completed => done.map_err(failed)?,
                    () = called.notified() => {}
                    () = tokio::time::sleep(self.rest_time()) => {}
                }
            }
            self.wake_up()?;
        }
    }

    fn end(mut self, result: Result<(), WriteError>) -> Result<(), WriteError> {
        match result {
            Ok(()) => {
                self.events.stop(clock::now());
                self.journal.close()
            }
            Err(error) => {
                // Fail-stop: what is in flight is unknown, nothing new is taken, nothing is flushed again (D10).
                self.node.halt();
                self.hand_out();
                self.shared.failed.store(true, Ordering::Release);
                Err(error)
            }
        }
    }

    /// A little of everything that is to be done. False when there was nothing.
    fn turn(&mut self) -> Result<bool, WriteError> {
        if self.shared.is_stopping() {
            self.node.drain();
        }
        self.look_at_room();
        self.look_at_clock();
        let mut busy = self.take_in();
        busy |= self.apply_durable()?;
        self.node.look(clock::now(), self.clock_suspect);
        self.tell_changes();
        busy |= self.node.watches_time() && self.node.pass_time(clock::now());
        busy |= self.seal()?;
        busy |= self.node.plan_some(PLAN_AT_ONCE);
        busy |= self.hand_out();
        busy |= self.take_snapshot(busy);
        self.turns += 1;
        if self.turns.is_multiple_of(FACTS_EVERY) {
            self.publish();
        }
        Ok(busy)
    }

    /// A clock that steps latches its breaker (D7). One that still is not followed after an operator's confirmation is
    /// taken as it is, if it can be; else the breaker is latched again.
    fn look_at_clock(&mut self) {
        let suspect = clock::is_suspect();
        if suspect && !self.node.breaker(Cause::Clock).is_tripped() && !(self.clock_suspect && clock::trust()) {
            self.node.clock_jumped();
        }
        self.clock_suspect = clock::is_suspect();
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
        self.publish();
    }

    /// Whoever watches is told what changed.
    fn tell_changes(&mut self) {
        if !self.node.has_changes() {
            return;
        }
        for transition in self.node.take_changes() {
            self.events.tell(&transition);
        }
        self.shared.refused.store(self.node.unlooked_ranks(), Ordering::Relaxed);
        self.shared.events_lost.store(self.events.lost(), Ordering::Relaxed);
        self.publish();
    }

    /// Takes the next bundle of every thread.
    fn take_in(&mut self) -> bool {
        let mut busy = false;
        for (i, side) in self.sides.iter_mut().enumerate() {
            // While the queue stands all of it is taken: whose turn it is, is known only of what was looked at.
            let most = if self.node.is_crowded() { BUNDLES_OF_A_CROWD } else { 1 };
            for _ in 0..most {
                let Some(bundle) = side.from_io.try_recv() else { break };
                busy = true;
                let empty = self.node.accept(i, bundle, clock::now());
                // A full ring means that enough empty bundles are on their way already.
                let _ = side.empty_inbound.try_send(empty);
            }
        }
        busy
    }

    /// Applies a few records of what is durable.
    fn apply_durable(&mut self) -> Result<bool, WriteError> {
        let before = self.journal.flushed();
        let flushed = self.journal.reap()?;
        if flushed > before {
            self.shared.positions.advance(Mark::Durable, flushed);
            self.node.durable(flushed);
        }
        let busy = self.node.apply_some(APPLY_AT_ONCE);
        if busy {
            self.shared.positions.advance(Mark::Applied, self.node.engine().applied().get());
        }
        Ok(busy)
    }

    fn seal(&mut self) -> Result<bool, WriteError> {
        let mut busy = false;
        while self.node.wants_to_seal(self.journal.in_flight()) && self.journal.has_room() {
            let Some(sealed) = self.node.seal(clock::now()) else { break };
            let last = sealed.first_position + u64::from(sealed.count) - 1;
            let meta = BatchMeta {
                first_position: sealed.first_position,
                count: sealed.count,
                at_us: sealed.at_us,
                margin: sealed.margin,
            };
            self.shared.positions.advance(Mark::Accepted, last);
            self.shared.positions.advance(Mark::Submitted, last);
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
                let waits = busy && self.page_at.elapsed() < PAGE_BESIDE_WORK;
                if waits || !taking.step(self.node.engine_to_copy()) {
                    return false;
                }
                self.page_at = Instant::now();
                return true;
            }
            if self.taking.take().is_some_and(Taking::was_taken) {
                self.node.set_snapshot_wish(SnapshotWish::None);
            } else {
                self.try_snapshot_later();
            }
        }
        let grown = self.journal.appended_bytes() + self.since_snapshot;
        let every = self.shared.config.snapshot_bytes;
        let due = every > 0 && grown >= self.snapshot_due.max(every);
        if !due && self.node.snapshot_wish() != SnapshotWish::Wanted {
            return false;
        }
        if self.snapshot_again_at.is_some_and(|at| Instant::now() < at) {
            return false;
        }
        // Only between two batches is the state that of a position with a chain hash.
        let position = self.node.engine().applied().get();
        let Some((at_us, chain)) = self.journal.chain_at(position) else { return false };
        self.snapshot_due = grown + every;
        let delivered_to = self.node.delivered_to();
        let engine = self.node.engine_to_copy();
        let beginning = Beginning {
            dir: self.shared.config.data.clone(),
            store: self.shared.store_id,
            digest: engine.digest(),
            head: engine.start_snapshot(),
            position,
            at_us,
            boot_epoch: self.journal.boot_epoch(),
            chain,
            delivered_to,
            keep_days: self.shared.config.archive_keep_days,
        };
        self.taking = Taking::start(beginning).ok();
        match &self.taking {
            Some(_) => self.node.set_snapshot_wish(SnapshotWish::Running),
            None => self.try_snapshot_later(),
        }
        true
    }

    fn try_snapshot_later(&mut self) {
        self.node.set_snapshot_wish(SnapshotWish::Wanted);
        self.snapshot_again_at = Some(Instant::now() + SNAPSHOT_AGAIN);
    }

    /// Hands the answers over to the threads of connections.
    fn hand_out(&mut self) -> bool {
        let mut busy = false;
        for (i, side) in self.sides.iter_mut().enumerate() {
            if !self.node.has_outbound(i) {
                continue;
            }
            let empty = side.empty_outbound.try_recv().unwrap_or_default();
            let Some(full) = self.node.take_outbound(i, empty) else { continue };
            match side.to_io.try_send(full) {
                Ok(()) => {
                    side.answers.notify_one();
                    busy = true;
                }
                // The thread is far behind: its answers gather here until it takes some.
                Err(full) => self.node.put_back(i, full),
            }
        }
        busy
    }

    fn is_quiet(&self) -> bool {
        // Without room all that is left is the node's own, which a start makes anew.
        let answered = self.node.in_flight() == 0 || self.node.room() == Room::None;
        self.journal.in_flight() == 0 && answered && self.sides.iter().all(|s| s.from_io.is_empty())
    }

    /// True when it is time to end: everyone is gone and nothing is in flight.
    fn is_over(&self) -> bool {
        self.shared.drained() && self.is_quiet()
    }

    /// Says that it sleeps. False when something came in meanwhile: then it must not.
    fn go_to_sleep(&self) -> bool {
        self.bell.asleep.arm();
        self.sides.iter().all(|s| s.from_io.is_empty())
    }

    fn rest_time(&self) -> Duration {
        match (&self.taking, self.is_quiet() && !self.journal.beacon_is_due()) {
            (Some(_), _) => SNAPSHOT_REST,
            (None, _) if !self.node.is_normal() => DEGRADED_REST,
            (None, true) => IDLE,
            (None, false) => QUIET,
        }
    }

    /// Is awake again. When nothing has come for a while, the beacon repeats the flushed position.
    fn wake_up(&mut self) -> Result<(), WriteError> {
        self.bell.asleep.disarm();
        if self.is_quiet() {
            self.publish();
            if self.journal.beacon_is_due() && self.quiet_since.elapsed() >= QUIET {
                self.journal.idle()?;
            }
        } else {
            self.quiet_since = Instant::now();
        }
        Ok(())
    }

    fn publish(&mut self) {
        self.shared.positions.advance(Mark::Acked, self.node.delivered_to());
        assert_eq!(self.shared.positions.snapshot().check(), Ok(()), "the positions are in order");
        let facts = self.node.facts();
        if let Ok(mut shared) = self.shared.facts.lock() {
            *shared = facts;
        }
    }
}
