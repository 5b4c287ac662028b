//! Which keys are in flight: in the open batch, or sealed and not applied yet. It only says where to look: the records
//! themselves lie in their batches, and are compared there.
//!
//! ```text
//! slot of a key ──newest──▶ record ──back──▶ record ──back──▶ … ──▶ one that is applied
//! ```
//!
//! What is applied is no longer in flight, and a position tells that by itself: nothing is taken out for it.

use std::hint::black_box;

/// Slots. More than are in flight at most times, and few enough to stay in the processor's cache.
const SLOTS: usize = 1 << 14;

/// The newest position of each slot.
#[derive(Debug)]
pub(crate) struct Flights {
    newest: Vec<u64>,
}

impl Flights {
    pub(crate) fn new() -> Self {
        Self { newest: vec![0; SLOTS] }
    }

    #[inline]
    fn slot(scope: u64) -> usize {
        scope as usize & (SLOTS - 1)
    }

    /// The newest record that shares the slot of `scope`; nothing when what there was is applied.
    #[inline]
    pub(crate) fn newest(&self, scope: u64, applied: u64) -> Option<u64> {
        Some(self.newest[Self::slot(scope)]).filter(|p| *p > applied)
    }

    /// Loads the slots of some, side by side.
    #[inline]
    pub(crate) fn touch(&self, scopes: impl Iterator<Item = u64>) {
        black_box(scopes.fold(0, |sum, scope| sum ^ self.newest[Self::slot(scope)]));
    }

    /// Forgets all but these, which come in the order of their positions: what came after them was taken back.
    pub(crate) fn only(&mut self, records: impl Iterator<Item = (u64, u64)>) {
        self.newest.fill(0);
        records.for_each(|(scope, position)| self.newest[Self::slot(scope)] = position);
    }

    /// Puts a record at the head of its chain; returns how far back the next older one is, 0 when there is none.
    #[inline]
    pub(crate) fn enter(&mut self, scope: u64, position: u64, applied: u64) -> u32 {
        let newest = &mut self.newest[Self::slot(scope)];
        let back = if *newest > applied { position - *newest } else { 0 };
        *newest = position;
        back as u32
    }
}
