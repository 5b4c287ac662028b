//! Repeats whose first request is still in flight. Each waits for that decision outside of the log, and no longer than
//! its own deadline; then it leaves this table, so that it can be answered only once.
//!
//! ```text
//! add ──first applied──▶ decided: admitted again, which finds the decision
//!  └──deadline passed──▶ late: in progress
//! ```

use crate::batch::Ticket;
use std::collections::{BTreeMap, BTreeSet};
use tegata_model::{Code, Timestamp};

/// A repeat that waits.
#[derive(Debug)]
pub(crate) struct Repeat {
    pub(crate) ticket: Ticket,
    pub(crate) record: Vec<u8>,
    /// What it is told when it cannot wait any longer.
    pub(crate) late: Code,
    /// What it is told instead of taking the place of a first that came to nothing: it was denied or turned away before it
    /// waited.
    pub(crate) why: Option<Code>,
}

/// Position of the first request, and a number that tells its repeats apart.
type Place = (u64, u64);

/// The repeats that wait.
#[derive(Debug, Default)]
pub(crate) struct Repeats {
    waiting: BTreeMap<Place, (Timestamp, Repeat)>,
    deadlines: BTreeSet<(Timestamp, Place)>,
    added: u64,
    bytes: usize,
}

impl Repeats {
    /// Waits for the record at `first`, and not after `deadline`.
    pub(crate) fn add(&mut self, first: u64, deadline: Timestamp, repeat: Repeat) {
        self.added += 1;
        self.bytes += repeat.record.len();
        let place = (first, self.added);
        self.deadlines.insert((deadline, place));
        self.waiting.insert(place, (deadline, repeat));
    }

    /// One whose first request is applied.
    pub(crate) fn decided(&mut self, applied: u64) -> Option<Repeat> {
        let place = self.waiting.first_key_value().map(|(place, _)| *place).filter(|(first, _)| *first <= applied)?;
        self.take(place)
    }

    /// One whose deadline has passed.
    pub(crate) fn late(&mut self, now: Timestamp) -> Option<Repeat> {
        let place = self.deadlines.first().filter(|(deadline, _)| now > *deadline)?.1;
        self.take(place)
    }

    fn take(&mut self, place: Place) -> Option<Repeat> {
        let (deadline, repeat) = self.waiting.remove(&place)?;
        self.deadlines.remove(&(deadline, place));
        self.bytes -= repeat.record.len();
        Some(repeat)
    }

    pub(crate) fn len(&self) -> usize {
        self.waiting.len()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// Bytes of the records that wait.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }
}
