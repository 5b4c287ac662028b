//! Batches on their way: one that is open, and those that were sealed and are not durable yet.

use crate::message::Waiter;
use tegata_engine::Hint;
use tegata_model::{Position, Timestamp};

/// Who waits for a record, and on which thread of connections. `NOBODY` for the node's own commands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Ticket {
    pub(crate) waiter: Waiter,
    pub(crate) thread: u16,
}

impl Ticket {
    pub(crate) const NOBODY: Self = Self { waiter: Waiter { connection: 0, request: 0 }, thread: u16::MAX };
}

/// Records with consecutive positions that become durable together.
#[derive(Debug, Default)]
pub(crate) struct Batch {
    pub(crate) first: Position,
    pub(crate) at: Timestamp,
    pub(crate) body: Vec<u8>,
    pub(crate) tickets: Vec<Ticket>,
    /// Where each record's data lies.
    pub(crate) hints: Vec<Hint>,
    /// Records that are applied already, and their bytes.
    pub(crate) applied: usize,
    pub(crate) applied_bytes: usize,
}

impl Batch {
    /// Adds a record.
    #[inline]
    pub(crate) fn push(&mut self, record: &[u8], ticket: Ticket, hint: Hint) {
        self.body.extend_from_slice(record);
        self.tickets.push(ticket);
        self.hints.push(hint);
    }

    /// The position of its last record.
    pub(crate) fn last(&self) -> Position {
        Position::new(self.first.get() + self.tickets.len() as u64 - 1)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.tickets.is_empty()
    }

    pub(crate) fn clear(&mut self) {
        self.body.clear();
        self.tickets.clear();
        self.hints.clear();
        self.applied = 0;
        self.applied_bytes = 0;
    }
}

/// A batch that is to be made durable.
#[derive(Debug, Clone, Copy)]
pub struct Sealed<'a> {
    /// Position of its first record.
    pub first_position: u64,
    /// Records in it.
    pub count: u32,
    /// Its logged time, µs UTC.
    pub at_us: i64,
    /// What the node adds.
    pub margin: [u8; 64],
    /// The records.
    pub body: &'a [u8],
}
