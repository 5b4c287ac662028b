//! Batches on their way: one that is open, and those that were sealed and are not durable yet.

use crate::message::Waiter;
use tegata_engine::Hint;
use tegata_model::{Header, Position, Timestamp, record_len};

/// Who waits for a record, and on which thread of connections. `NOBODY` for the node's own commands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Ticket {
    pub(crate) waiter: Waiter,
    pub(crate) thread: u16,
    /// How many positions before this one the next older record of its key's chain is; see [`crate::flights`].
    pub(crate) back: u32,
}

impl Ticket {
    pub(crate) const NOBODY: Self = Self::new(Waiter { connection: 0, request: 0 }, u16::MAX);

    pub(crate) const fn new(waiter: Waiter, thread: u16) -> Self {
        Self { waiter, thread, back: 0 }
    }
}

/// Records with consecutive positions that become durable together.
#[derive(Debug, Default)]
pub(crate) struct Batch {
    pub(crate) first: Position,
    pub(crate) at: Timestamp,
    /// The earliest deadline in it that binds; zero: none.
    pub(crate) due: Timestamp,
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

    /// Notes the deadline of a request that is about to be added; zero: none.
    #[inline]
    pub(crate) fn note_due(&mut self, deadline: Timestamp) {
        if !deadline.is_zero() && (self.due.is_zero() || deadline < self.due) {
            self.due = deadline;
        }
    }

    /// The position of its last record.
    pub(crate) fn last(&self) -> Position {
        Position::new(self.first.get() + self.tickets.len() as u64 - 1)
    }

    /// Its record at a position; nothing when it is another batch's.
    pub(crate) fn record_at(&self, position: u64) -> Option<Record<'_>> {
        let index = position.checked_sub(self.first.get())? as usize;
        let (ticket, hint) = (self.tickets.get(index)?, self.hints.get(index)?);
        Some(Record { batch: self, index, scope: hint.scope(), back: u64::from(ticket.back) })
    }

    /// The scope and the position of each of its records.
    pub(crate) fn scopes(&self) -> impl Iterator<Item = (u64, u64)> {
        self.hints.iter().map(Hint::scope).zip(self.first.get()..)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.tickets.is_empty()
    }

    pub(crate) fn clear(&mut self) {
        self.body.clear();
        self.tickets.clear();
        self.hints.clear();
        self.due = Timestamp::ZERO;
        self.applied = 0;
        self.applied_bytes = 0;
    }
}

/// One record of a batch on its way.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Record<'a> {
    batch: &'a Batch,
    index: usize,
    pub(crate) scope: u64,
    pub(crate) back: u64,
}

impl<'a> Record<'a> {
    /// Its bytes. Where they begin is not kept: this is for the few records that are looked at twice.
    pub(crate) fn bytes(&self) -> &'a [u8] {
        records(&self.batch.body).nth(self.index).expect("it was found in its batch")
    }
}

/// The records in `bytes`, which hold whole ones only: whoever wrote them checked each.
#[inline]
pub(crate) fn records(bytes: &[u8]) -> Records<'_> {
    Records(bytes)
}

/// See [`records`].
#[derive(Debug, Clone)]
pub(crate) struct Records<'a>(&'a [u8]);

impl<'a> Iterator for Records<'a> {
    type Item = &'a [u8];

    #[inline]
    fn next(&mut self) -> Option<&'a [u8]> {
        if self.0.is_empty() {
            return None;
        }
        let (record, rest) = self.0.split_at(record_len(self.0).expect(WHOLE));
        self.0 = rest;
        Some(record)
    }
}

/// Each with its record: there is one for each.
#[inline]
pub(crate) fn with_records<'a, T>(
    each: impl IntoIterator<Item = T>,
    records: &mut Records<'a>,
) -> impl Iterator<Item = (T, &'a [u8])> {
    each.into_iter().map(|one| (one, records.next().expect("a record for each")))
}

/// The header of the record that starts `bytes`.
#[inline]
pub(crate) fn header(bytes: &[u8]) -> Header<'_> {
    Header::of(bytes).expect(WHOLE)
}

const WHOLE: &str = "nothing but whole records";

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
