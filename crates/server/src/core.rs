//! The core thread: it owns the node and the journal, and is the only one that does. Everything it waits for comes
//! through one blocking call: a write that completed, or a bell.

use crate::Shared;
use crate::clock;
use crate::handover::{CoreBell, CoreSide};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tegata_journal::{BatchMeta, WriteError, Writer};
use tegata_node::Node;
use tegata_sync::Mark;

/// How long the log is quiet before the beacon repeats the flushed position.
const QUIET: Duration = Duration::from_millis(20);
/// How often the core looks up when nothing happens at all.
const IDLE: Duration = Duration::from_secs(1);
/// Records that are applied before their answers are handed out.
const APPLY_AT_ONCE: usize = 128;
/// Turns between two looks at the tables' sizes.
const FACTS_EVERY: u64 = 256;

/// The core thread's own.
pub(crate) struct Core {
    pub(crate) node: Node,
    pub(crate) journal: Writer,
    pub(crate) sides: Vec<CoreSide>,
    pub(crate) bell: CoreBell,
    pub(crate) shared: Arc<Shared>,
}

impl Core {
    /// Runs until it is told to stop and everything is answered, or until the journal fails.
    pub(crate) fn run(mut self) -> Result<(), WriteError> {
        match self.serve() {
            Ok(()) => self.journal.close(),
            Err(error) => {
                // Fail-stop: what is in flight is unknown, nothing new is taken, nothing is flushed again (D10).
                self.node.halt();
                self.hand_out();
                self.shared.failed.store(true, Ordering::Release);
                Err(error)
            }
        }
    }

    fn serve(&mut self) -> Result<(), WriteError> {
        let mut turns = 0u64;
        loop {
            let mut busy = self.take_in();
            busy |= self.apply_durable()?;
            busy |= self.seal()?;
            busy |= self.hand_out();
            turns += 1;
            if turns.is_multiple_of(FACTS_EVERY) {
                self.publish();
            }
            if !busy && self.rest()? {
                return Ok(());
            }
        }
    }

    /// Takes the next bundle of every thread.
    fn take_in(&mut self) -> bool {
        let mut busy = false;
        for (i, side) in self.sides.iter_mut().enumerate() {
            if let Some(bundle) = side.from_io.try_recv() {
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

    /// Sleeps until there is something to do. True when it is time to end.
    fn rest(&mut self) -> Result<bool, WriteError> {
        let quiet = self.journal.in_flight() == 0 && self.node.in_flight() == 0;
        if quiet && self.shared.drained() && self.sides.iter().all(|s| s.from_io.is_empty()) {
            return Ok(true);
        }
        self.bell.asleep.arm();
        let nothing = self.sides.iter().all(|s| s.from_io.is_empty());
        if nothing {
            let idle = quiet && !self.journal.beacon_is_due();
            let timeout = if idle { IDLE } else { QUIET };
            self.journal.wait(Some(timeout))?;
        }
        self.bell.asleep.disarm();
        if quiet && nothing && self.sides.iter().all(|s| s.from_io.is_empty()) {
            self.publish();
            self.journal.idle()?;
        }
        Ok(false)
    }

    fn publish(&mut self) {
        let facts = self.node.facts();
        if let Ok(mut shared) = self.shared.facts.lock() {
            *shared = facts;
        }
    }
}
