//! The rings between the threads that serve connections and the core, and the bells that wake each side.

use std::sync::Arc;
use tegata_drive::BUNDLES_AT_ONCE;
use tegata_journal::Doorbell as JournalBell;
use tegata_node::{Inbound, Outbound};
use tegata_sync::{Doorbell, Receiver, Sender, channel};
use tokio::sync::Notify;

/// Bundles that may wait for the core, as many as it takes in a turn. While they do nothing is read: the core has its turn
/// before more comes, however many connections have something, so that it sees in time how long its queue is.
const INBOUND_SLOTS: usize = BUNDLES_AT_ONCE;
/// Bundles that may wait in any other direction.
const RING_SLOTS: usize = 256;

/// What a thread of connections holds.
#[derive(Debug)]
pub(crate) struct IoSide {
    pub(crate) to_core: Sender<Inbound>,
    pub(crate) empty_inbound: Receiver<Inbound>,
    pub(crate) from_core: Receiver<Outbound>,
    pub(crate) empty_outbound: Sender<Outbound>,
    pub(crate) core: CoreBell,
    pub(crate) answers: Arc<Notify>,
    /// The core took a bundle.
    pub(crate) taken: Arc<Notify>,
}

/// What the core holds, for one thread of connections.
#[derive(Debug)]
pub(crate) struct CoreSide {
    pub(crate) from_io: Receiver<Inbound>,
    pub(crate) empty_inbound: Sender<Inbound>,
    pub(crate) to_io: Sender<Outbound>,
    pub(crate) empty_outbound: Receiver<Outbound>,
    pub(crate) answers: Arc<Notify>,
    pub(crate) taken: Arc<Notify>,
}

/// Wakes the core if it sleeps.
#[derive(Debug, Clone)]
pub(crate) struct CoreBell {
    pub(crate) asleep: Arc<Doorbell>,
    /// Wakes a core that has a thread of its own.
    pub(crate) wake: JournalBell,
    /// Wakes a core that runs among the tasks of a thread of connections.
    pub(crate) here: Arc<Notify>,
    pub(crate) own_thread: bool,
}

impl CoreBell {
    pub(crate) fn ring(&self) {
        self.asleep.ring(|| if self.own_thread { self.wake.ring() } else { self.here.notify_one() });
    }
}

/// The rings for one thread of connections.
pub(crate) fn pair(core: &CoreBell) -> (IoSide, CoreSide) {
    let (to_core, from_io) = channel(INBOUND_SLOTS);
    let (give_inbound, take_inbound) = channel(RING_SLOTS);
    let (to_io, from_core) = channel(RING_SLOTS);
    let (give_outbound, take_outbound) = channel(RING_SLOTS);
    let (answers, taken) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let io = IoSide {
        to_core,
        empty_inbound: take_inbound,
        from_core,
        empty_outbound: give_outbound,
        core: core.clone(),
        answers: Arc::clone(&answers),
        taken: Arc::clone(&taken),
    };
    let core = CoreSide { from_io, empty_inbound: give_inbound, to_io, empty_outbound: take_outbound, answers, taken };
    (io, core)
}
