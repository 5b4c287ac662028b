//! Slots in the order in which they were made, forgotten in the same order.
//!
//! Numbers run on and wrap at 2^32; they stay unambiguous because far fewer slots are alive at once. Number 0 is
//! never handed out. Like those of [`Slab`](crate::slab::Slab), chunks never move.

use crate::copy::{Copying, Slice};
use crate::slab::Slot;
use std::collections::VecDeque;

/// Slots of a chunk: as many slots of 96 bytes as fit into 2 MiB.
const CHUNK: usize = 21_845;
/// Slots that are cleared in one go ahead of use. Memory that is written to in order streams; slots filled one by one,
/// now here and now in another shard, would each wait for their line.
const AHEAD: usize = 64;

/// A queue of slots, addressed by number.
#[derive(Debug, Clone)]
pub struct Fifo<T> {
    chunks: VecDeque<Vec<T>>,
    /// Number of the first slot of the first chunk.
    base: u32,
    /// Slots of the first chunk that are forgotten already.
    gone: usize,
    len: usize,
    copy: Option<Copying<T>>,
}

impl<T: Slot> Fifo<T> {
    /// An empty queue.
    pub fn new() -> Self {
        Self { chunks: VecDeque::new(), base: 1, gone: 0, len: 0, copy: None }
    }

    /// Adds a slot and returns its number, never 0.
    #[inline]
    pub fn push(&mut self, value: T) -> u32 {
        let n = self.append(value);
        // The number 0 means "none"; the slot that gets it stays empty.
        if n == 0 { self.append(value) } else { n }
    }

    #[inline]
    fn append(&mut self, value: T) -> u32 {
        let at = self.gone + self.len;
        if at / CHUNK == self.chunks.len() {
            self.chunks.push_back(Vec::with_capacity(CHUNK));
        }
        let (chunk, i) = (&mut self.chunks[at / CHUNK], at % CHUNK);
        if i == chunk.len() {
            chunk.resize((i + AHEAD).min(CHUNK), T::default());
        }
        chunk[i] = value;
        self.len += 1;
        self.base.wrapping_add(at as u32)
    }

    #[inline]
    fn offset(&self, n: u32) -> Option<usize> {
        let at = n.wrapping_sub(self.base) as usize;
        (n != 0 && at >= self.gone && at < self.gone + self.len).then_some(at)
    }

    /// Slot `n`, unless it is forgotten.
    #[inline]
    pub fn get(&self, n: u32) -> Option<&T> {
        let at = self.offset(n)?;
        Some(&self.chunks[at / CHUNK][at % CHUNK])
    }

    /// Slot `n`, to change it.
    #[inline]
    pub fn get_mut(&mut self, n: u32) -> Option<&mut T> {
        let at = self.offset(n)?;
        let slot = &mut self.chunks[at / CHUNK][at % CHUNK];
        if let Some(copy) = &mut self.copy {
            copy.save(at - self.gone, slot);
        }
        Some(slot)
    }

    /// The oldest slot and its number.
    pub fn oldest(&self) -> Option<(u32, &T)> {
        let n = self.base.wrapping_add(self.gone as u32);
        let n = if n == 0 { 1 } else { n };
        Some((n, self.get(n)?))
    }

    /// True while a copy is being taken.
    pub(crate) fn is_copying(&self) -> bool {
        self.copy.is_some()
    }

    /// Forgets the oldest slot. Not while a copy is being taken.
    pub fn forget_oldest(&mut self) {
        if self.len == 0 || self.copy.is_some() {
            return;
        }
        self.gone += 1;
        self.len -= 1;
        if self.gone == CHUNK {
            self.chunks.pop_front();
            self.base = self.base.wrapping_add(CHUNK as u32);
            self.gone = 0;
        }
    }

    /// The first number whose slot is not `before`, for slots that are ordered by it.
    pub fn partition(&self, before: impl Fn(&T) -> bool) -> u32 {
        let (mut low, mut high) = (self.gone, self.gone + self.len);
        while low < high {
            let mid = low + (high - low) / 2;
            if before(&self.chunks[mid / CHUNK][mid % CHUNK]) { low = mid + 1 } else { high = mid }
        }
        self.base.wrapping_add(low as u32)
    }

    /// Slots that are remembered.
    pub fn len(&self) -> usize {
        self.len
    }

    /// From here on the queue as it is now can be taken slice by slice. Numbers in the copy count from 0 at the
    /// oldest slot, whose own number [`Fifo::first`] must be kept with it.
    pub(crate) fn start_copy(&mut self) {
        self.copy = Some(Copying::new(0, self.len));
    }

    /// The next at most `count` slots of the copy; nothing when it is complete.
    pub(crate) fn copy_next(&mut self, count: usize) -> Option<Slice<T>> {
        let mut copy = self.copy.take()?;
        let slice = copy.next(count, |n| self.chunks[(self.gone + n) / CHUNK][(self.gone + n) % CHUNK]);
        self.copy = slice.is_some().then_some(copy);
        slice
    }

    /// The number of the oldest slot.
    pub(crate) fn first(&self) -> u32 {
        self.base.wrapping_add(self.gone as u32)
    }

    /// Every slot with its number, oldest first.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (u32, &T)> {
        let first = self.first();
        let slots = self.chunks.iter().flatten().skip(self.gone).take(self.len).zip(0u32..);
        slots.map(move |(s, i)| (first.wrapping_add(i), s)).filter(|(n, s)| *n != 0 && !s.vacant())
    }

    /// An empty queue whose first slot will have the number `first`.
    pub(crate) fn starting_at(first: u32) -> Self {
        Self { base: first, ..Self::new() }
    }

    /// Adds the next slot of a copy.
    pub(crate) fn restore(&mut self, slot: T) {
        self.append(slot);
    }

    /// Puts a slot back as it was when the copy began. False when there is no such slot.
    pub(crate) fn undo(&mut self, n: u32, old: T) -> bool {
        let at = self.gone + n as usize;
        let slot = self.chunks.get_mut(at / CHUNK).and_then(|c| c.get_mut(at % CHUNK));
        slot.map(|s| *s = old).is_some()
    }

    /// Bytes of memory held.
    pub fn bytes(&self) -> usize {
        self.chunks.len() * CHUNK * size_of::<T>()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::slab::tests::N;

    #[test]
    fn numbers_survive_forgetting_and_wrapping() {
        let mut fifo = Fifo::<N>::starting_at(u32::MAX - 20_000);
        let mut live = VecDeque::new();
        for i in 1..=60_000u64 {
            live.push_back((fifo.push(N(i)), i));
            if i > 30_000 {
                let (n, _) = live.pop_front().expect("there are 30,000");
                let oldest = fifo.oldest().map(|(n, s)| (n, *s));
                assert!(oldest.is_some());
                while fifo.oldest().is_some_and(|(_, s)| s.0 <= i - 30_000) {
                    fifo.forget_oldest();
                }
                assert_eq!(fifo.get(n), None, "forgotten");
            }
        }
        for (n, i) in &live {
            assert_eq!(fifo.get(*n), Some(&N(*i)));
            assert_ne!(*n, 0);
        }
        let n = fifo.partition(|s| s.0 < 45_000);
        assert_eq!(fifo.get(n), Some(&N(45_000)));
    }
}
