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

/// Bits of a slot that say which of sixteen kinds of keys are in its chain: mostly it is another one's.
const KIND_BITS: u32 = 16;
const KINDS: u64 = (1 << KIND_BITS) - 1;

/// The newest position of each slot, above its kinds: who is refused waits for memory once. Positions are counted from the
/// one at which the node started, so that those of the longest log fit.
#[derive(Debug)]
pub(crate) struct Flights {
    base: u64,
    slots: Vec<u64>,
}

impl Flights {
    /// Nothing is in flight, and all up to `base` is applied.
    pub(crate) fn new(base: u64) -> Self {
        Self { base, slots: vec![0; SLOTS] }
    }

    #[inline]
    fn slot(scope: u64) -> usize {
        scope as usize & (SLOTS - 1)
    }

    #[inline]
    fn kind(scope: u64) -> u64 {
        1 << (scope >> 60)
    }

    /// The newest record that shares the slot of `scope`, if its chain may have that key; nothing when what there was is
    /// applied.
    #[inline]
    pub(crate) fn newest(&self, scope: u64, applied: u64) -> Option<u64> {
        let slot = self.slots[Self::slot(scope)];
        let newest = self.base + (slot >> KIND_BITS);
        (slot & Self::kind(scope) != 0 && newest > applied).then_some(newest)
    }

    /// Loads the slots of some, side by side.
    #[inline]
    pub(crate) fn touch(&self, scopes: impl Iterator<Item = u64>) {
        black_box(scopes.fold(0, |sum, scope| sum ^ self.slots[Self::slot(scope)]));
    }

    /// Forgets all but these, which come in the order of their positions: what came after them was taken back.
    pub(crate) fn only(&mut self, records: impl Iterator<Item = (u64, u64)>) {
        self.slots.fill(0);
        records.for_each(|(scope, position)| self.put(scope, position, KINDS));
    }

    /// Puts a record at the head of its chain; returns how far back the next older one is, 0 when there is none.
    #[inline]
    pub(crate) fn enter(&mut self, scope: u64, position: u64, applied: u64) -> u32 {
        let newest = self.base + (self.slots[Self::slot(scope)] >> KIND_BITS);
        let is_first = newest <= applied;
        self.put(scope, position, if is_first { 0 } else { KINDS });
        if is_first { 0 } else { (position - newest) as u32 }
    }

    /// Puts a record into its slot, and its kind beside those of `kept` that are there.
    #[inline]
    fn put(&mut self, scope: u64, position: u64, kept: u64) {
        let since = position - self.base;
        assert!(since >> (u64::BITS - KIND_BITS) == 0, "fewer than 2^48 records since the start");
        let slot = &mut self.slots[Self::slot(scope)];
        *slot = since << KIND_BITS | *slot & kept | Self::kind(scope);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Keys of one slot and another kind each.
    fn scope(kind: u64) -> u64 {
        kind << 60 | 77
    }

    #[test]
    fn a_key_is_found_behind_newer_ones_of_its_slot_until_all_are_applied() {
        for base in [0, u64::MAX - 20] {
            let at = |n: u64| base + n;
            let mut flights = Flights::new(base);
            assert_eq!(flights.newest(scope(1), base), None);
            assert_eq!(flights.enter(scope(1), at(10), base), 0);
            assert_eq!(flights.newest(scope(2), base), None, "its kind is not in the chain");
            assert_eq!(flights.enter(scope(2), at(14), at(5)), 4);
            assert_eq!([1, 2].map(|n| flights.newest(scope(n), at(5))), [Some(at(14)); 2]);
            assert_eq!(flights.newest(scope(1), at(14)), None, "all are applied");
            assert_eq!(flights.enter(scope(3), at(20), at(14)), 0);
            assert_eq!(flights.newest(scope(1), at(14)), None, "a chain begins anew");
            flights.only([(scope(4), at(15)), (scope(5), at(16))].into_iter());
            assert_eq!(flights.newest(scope(3), at(14)), None, "it was taken back");
            assert_eq!([4, 5].map(|n| flights.newest(scope(n), at(14))), [Some(at(16)); 2]);
        }
    }
}
