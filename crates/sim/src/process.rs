//! The process under test: the real turn over the real node, engine and journal, with sessions around it.

use crate::session::Hub;
use std::cell::Cell;
use std::collections::VecDeque;
use std::rc::Rc;
use std::time::Duration;
use tegata_drive::{Around, Beginning, Copying, Draft, Steady};
use tegata_engine::Engine;
use tegata_model::Timestamp;
use tegata_node::{Inbound, Node, Outbound, Sealed, Transition};

/// Bundles that may wait in one direction, as between the server's threads.
const RING_SLOTS: usize = 256;
/// Slots of a page of a snapshot: few, so that a snapshot takes some turns.
const PAGE_SLOTS: usize = 16;

/// A batch as it was handed to the journal.
#[derive(Debug, Clone)]
pub(crate) struct Batch {
    pub(crate) first: u64,
    pub(crate) count: u32,
    pub(crate) at: i64,
    pub(crate) margin: [u8; 64],
    pub(crate) body: Vec<u8>,
}

impl Batch {
    pub(crate) fn last(&self) -> u64 {
        self.first + u64::from(self.count) - 1
    }
}

/// What surrounds the core: clocks that the world sets, and queues that it empties.
#[derive(Debug)]
pub(crate) struct Surroundings {
    pub(crate) now: u64,
    pub(crate) wall_us: i64,
    pub(crate) steady: Steady,
    pub(crate) stopping: bool,
    pub(crate) inbox: Vec<VecDeque<Inbound>>,
    pub(crate) outbox: Vec<VecDeque<Outbound>>,
    /// Handed to the journal since it was looked at last.
    pub(crate) sealed: Vec<Batch>,
    pub(crate) durable: u64,
    pub(crate) changes: Vec<Transition>,
    pub(crate) refused: u8,
    pub(crate) snapshots_begun: u64,
    /// Counted by the snapshots themselves.
    pub(crate) snapshots_taken: Rc<Cell<u64>>,
}

impl Surroundings {
    pub(crate) fn new(threads: usize, now: u64, wall_us: i64, durable: u64) -> Self {
        Self {
            now,
            wall_us,
            steady: Steady::new(wall_us, now as i64),
            stopping: false,
            inbox: (0..threads).map(|_| VecDeque::new()).collect(),
            outbox: (0..threads).map(|_| VecDeque::new()).collect(),
            sealed: Vec::new(),
            durable,
            changes: Vec::new(),
            refused: 0,
            snapshots_begun: 0,
            snapshots_taken: Rc::default(),
        }
    }

    /// True when the ring of a thread has room for a bundle.
    pub(crate) fn has_room(&self, thread: usize) -> bool {
        self.inbox[thread].len() < RING_SLOTS
    }
}

impl Around for Surroundings {
    type Copy = Copy;

    fn now(&mut self) -> Timestamp {
        Timestamp::from_micros(self.steady.look(self.wall_us, self.now as i64))
    }

    fn elapsed(&mut self) -> Duration {
        Duration::from_micros(self.now)
    }

    fn clock_is_suspect(&mut self) -> bool {
        self.steady.is_suspect()
    }

    fn trust_clock(&mut self) -> bool {
        self.steady.trust(self.wall_us, self.now as i64)
    }

    fn is_stopping(&self) -> bool {
        self.stopping
    }

    fn threads(&self) -> usize {
        self.inbox.len()
    }

    fn take_in(&mut self, thread: usize) -> Option<Inbound> {
        self.inbox[thread].pop_front()
    }

    fn give_back(&mut self, _thread: usize, empty: Inbound) {
        assert!(empty.is_empty(), "a bundle comes back empty");
    }

    fn is_silent(&self) -> bool {
        self.inbox.iter().all(VecDeque::is_empty)
    }

    fn empty_outbound(&mut self, _thread: usize) -> Outbound {
        Outbound::default()
    }

    fn hand_out(&mut self, thread: usize, full: Outbound) -> Result<(), Outbound> {
        if self.outbox[thread].len() == RING_SLOTS {
            return Err(full);
        }
        self.outbox[thread].push_back(full);
        Ok(())
    }

    fn submitted(&mut self, b: &Sealed<'_>) {
        let (margin, body) = (b.margin, b.body.to_vec());
        self.sealed.push(Batch { first: b.first_position, count: b.count, at: b.at_us, margin, body });
    }

    fn durable(&mut self, position: u64) {
        self.durable = position;
    }

    fn applied(&mut self, _node: &Node) {}

    fn changed(&mut self, transitions: &[Transition], unlooked_ranks: u8) {
        self.changes.extend_from_slice(transitions);
        self.refused = unlooked_ranks;
    }

    fn publish(&mut self, node: &mut Node) {
        let f = node.facts();
        let order = [f.delivered, f.applied, f.durable, f.submitted, f.accepted];
        assert!(order.is_sorted(), "the positions are in order: {order:?}");
    }

    fn begin_snapshot(&mut self, beginning: Beginning) -> Option<Copy> {
        self.snapshots_begun += 1;
        match Draft::begin(beginning) {
            Ok(draft) => Some(Copy { draft: Some(draft), taken: false, count: Rc::clone(&self.snapshots_taken) }),
            Err(_) => None,
        }
    }
}

/// A snapshot that is written in the core's own turns.
#[derive(Debug)]
pub(crate) struct Copy {
    draft: Option<Draft>,
    taken: bool,
    count: Rc<Cell<u64>>,
}

impl Copying for Copy {
    fn step(&mut self, engine: &mut Engine) -> bool {
        let Some(draft) = &mut self.draft else { return false };
        match engine.snapshot_page(PAGE_SLOTS) {
            Some(page) => {
                if draft.page(page).is_err() {
                    self.draft = None;
                }
            }
            None => {
                self.taken = self.draft.take().is_some_and(|d| d.finish().is_ok());
                self.count.set(self.count.get() + u64::from(self.taken));
            }
        }
        true
    }

    fn is_over(&self) -> bool {
        self.draft.is_none()
    }

    fn was_taken(self) -> bool {
        self.taken
    }
}

/// A running process.
#[derive(Debug)]
pub(crate) struct Process {
    pub(crate) core: tegata_drive::Core<Surroundings>,
    pub(crate) hubs: Vec<Hub>,
    /// The core's next turn.
    pub(crate) turn_at: u64,
    /// Turns in a row that found nothing to do.
    pub(crate) idle: u64,
    /// The last position when it started.
    pub(crate) began_at: u64,
}
