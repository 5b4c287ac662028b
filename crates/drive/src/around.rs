//! What is around the node and its journal: time, callers, and somebody who watches.

use crate::snapshot::Beginning;
use std::time::Duration;
use tegata_engine::Engine;
use tegata_model::Timestamp;
use tegata_node::{Inbound, Node, Outbound, Sealed, Transition};

/// See the module. Threads of connections have numbers from 0.
pub trait Around {
    /// A snapshot that is being written.
    type Copy: Copying;

    /// The wall clock as far as it is followed, µs UTC.
    fn now(&mut self) -> Timestamp;
    /// Time that only goes forward, since any instant.
    fn elapsed(&mut self) -> Duration;
    /// True while the wall clock is not followed.
    fn clock_is_suspect(&mut self) -> bool;
    /// Follows the wall clock as it is. False where that would stop time.
    fn trust_clock(&mut self) -> bool;
    /// True once no new requests are to be taken.
    fn is_stopping(&self) -> bool;

    /// How many threads of connections there are.
    fn threads(&self) -> usize;
    /// The next bundle of a thread.
    fn take_in(&mut self, thread: usize) -> Option<Inbound>;
    /// Gives a bundle back that was emptied.
    fn give_back(&mut self, thread: usize, empty: Inbound);
    /// True when no bundle waits.
    fn is_silent(&self) -> bool;
    /// A bundle to be filled with the next answers of a thread.
    fn empty_outbound(&mut self, thread: usize) -> Outbound;
    /// Hands answers over; gives them back where the thread has no room.
    fn hand_out(&mut self, thread: usize, full: Outbound) -> Result<(), Outbound>;

    /// A batch is about to be handed to the journal.
    fn submitted(&mut self, batch: &Sealed<'_>);
    /// Everything up to here is durable.
    fn durable(&mut self, position: u64);
    /// Everything up to here is applied.
    fn applied(&mut self, node: &Node);
    /// Breakers changed.
    fn changed(&mut self, transitions: &[Transition], unlooked_ranks: u8);
    /// Now and then: how the node is.
    fn publish(&mut self, node: &mut Node);

    /// Begins to write a snapshot. Nothing where that cannot be.
    fn begin_snapshot(&mut self, beginning: Beginning) -> Option<Self::Copy>;
}

/// A snapshot that is being written.
pub trait Copying {
    /// Takes a page, if there is room for one. True when it did.
    fn step(&mut self, engine: &mut Engine) -> bool;
    /// True when nothing is written any more.
    fn is_over(&self) -> bool;
    /// True when all of it was written. To be asked when it is over.
    fn was_taken(self) -> bool;
}
