//! Slots that never move: fixed-size chunks, so that growing a table never copies it.
//!
//! A chunk is about 2 MiB; adding one costs an allocation and no copy. Slot 0 is never handed out, so that 0 can
//! stand for "none" in references.

use crate::copy::{Copying, Slice};

/// What a table keeps, and its words in a snapshot.
pub trait Slot: Copy + Default {
    /// Words of a slot.
    const WORDS: usize;
    /// True for a slot that is not in use.
    fn vacant(&self) -> bool;
    /// Appends its words.
    fn put(&self, w: &mut Vec<u64>);
    /// From its words; nothing when they are no slot.
    fn take(w: &[u64]) -> Option<Self>;
}

const CHUNK_BYTES: usize = 2 << 20;

/// A table of slots, addressed by number.
#[derive(Debug, Clone)]
pub struct Slab<T> {
    chunks: Vec<Vec<T>>,
    free: Vec<u32>,
    len: u32,
    copy: Option<Copying<T>>,
}

impl<T: Slot> Slab<T> {
    const SHIFT: u32 = (CHUNK_BYTES / size_of::<T>()).ilog2();
    const MASK: u32 = (1 << Self::SHIFT) - 1;

    /// An empty table.
    pub fn new() -> Self {
        let mut slab = Self { chunks: Vec::new(), free: Vec::new(), len: 0, copy: None };
        slab.push(T::default());
        slab
    }

    fn push(&mut self, value: T) -> u32 {
        let n = self.len;
        let chunk = (n >> Self::SHIFT) as usize;
        match n {
            // An empty table costs nothing: the first chunk is made with the first slot that is handed out.
            0 => self.chunks.push(Vec::with_capacity(1)),
            1 => self.chunks[0].reserve_exact(Self::MASK as usize),
            _ if chunk == self.chunks.len() => self.chunks.push(Vec::with_capacity(1 << Self::SHIFT)),
            _ => {}
        }
        self.chunks[chunk].push(value);
        self.len = n.checked_add(1).expect("admission stops far below four thousand million slots");
        n
    }

    /// Puts `value` into a free slot and returns its number, never 0.
    #[inline]
    pub fn insert(&mut self, value: T) -> u32 {
        match self.free.pop() {
            Some(n) => {
                *self.get_mut(n) = value;
                n
            }
            None => self.push(value),
        }
    }

    /// Makes slot `n` free.
    pub fn remove(&mut self, n: u32) {
        *self.get_mut(n) = T::default();
        self.free.push(n);
    }

    /// Slot `n`.
    #[inline]
    pub fn get(&self, n: u32) -> &T {
        &self.chunks[(n >> Self::SHIFT) as usize][(n & Self::MASK) as usize]
    }

    /// Slot `n`, to change it.
    #[inline]
    pub fn get_mut(&mut self, n: u32) -> &mut T {
        let slot = &mut self.chunks[(n >> Self::SHIFT) as usize][(n & Self::MASK) as usize];
        if let Some(copy) = &mut self.copy {
            copy.save(n as usize, slot);
        }
        slot
    }

    /// Adds empty slots until there are `len`.
    pub(crate) fn lengthen(&mut self, len: usize) {
        while self.len() < len {
            self.push(T::default());
        }
    }

    /// Slots, vacant ones and number 0 included.
    pub(crate) fn len(&self) -> usize {
        self.len as usize
    }

    /// Slots in use.
    pub fn used(&self) -> usize {
        (self.len as usize).saturating_sub(1 + self.free.len())
    }

    /// Every slot in use, with its number.
    pub fn iter(&self) -> impl Iterator<Item = (u32, &T)> {
        self.chunks.iter().flatten().zip(0u32..).filter(|(s, n)| *n > 0 && !s.vacant()).map(|(s, n)| (n, s))
    }

    /// From here on the table as it is now can be taken slice by slice, while it changes.
    pub(crate) fn start_copy(&mut self) {
        self.copy = Some(Copying::new(1, self.len as usize));
    }

    /// The next at most `count` slots of the copy; nothing when it is complete.
    pub(crate) fn copy_next(&mut self, count: usize) -> Option<Slice<T>> {
        let mut copy = self.copy.take()?;
        let slice = copy.next(count, |n| *self.get(n as u32));
        self.copy = slice.is_some().then_some(copy);
        slice
    }

    /// Adds the next slot of a copy.
    pub(crate) fn restore(&mut self, slot: T) {
        self.push(slot);
    }

    /// All slots of a copy are back: what is vacant may be handed out again.
    pub(crate) fn restored(&mut self) {
        let vacant = self.chunks.iter().flatten().zip(0u32..).filter(|(s, n)| *n > 0 && s.vacant());
        self.free = vacant.map(|(_, n)| n).collect();
    }

    /// What refers to its slots. To be asked when all of a copy is back.
    pub(crate) fn links(&self) -> Links {
        let mut links = Links { taken: vec![0; self.len().div_ceil(64)], len: self.len };
        // Nothing refers to what is vacant.
        self.free.iter().for_each(|n| {
            links.take(*n);
        });
        links
    }

    /// Puts a slot back as it was when the copy began. False when there is no such slot.
    pub(crate) fn undo(&mut self, n: u32, old: T) -> bool {
        if n == 0 || n >= self.len {
            return false;
        }
        *self.get_mut(n) = old;
        true
    }

    /// Bytes of memory held.
    pub fn bytes(&self) -> usize {
        self.chunks.iter().map(Vec::capacity).sum::<usize>() * size_of::<T>() + self.free.capacity() * size_of::<u32>()
    }
}

/// Slots to which something refers: each may be referred to once. So a list that begins outside ends, shares no slot with
/// another, and has none that is vacant.
pub(crate) struct Links {
    taken: Vec<u64>,
    len: u32,
}

impl Links {
    /// Something refers to slot `n`; 0 is nothing. False when there is no such slot, or something else refers to it.
    pub(crate) fn take(&mut self, n: u32) -> bool {
        let (word, bit) = (n as usize / 64, 1 << (n % 64));
        if n == 0 {
            return true;
        }
        if n >= self.len || self.taken[word] & bit != 0 {
            return false;
        }
        self.taken[word] |= bit;
        true
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A slot for tests of tables.
    #[derive(Debug, Clone, Copy, Default, PartialEq)]
    pub(crate) struct N(pub(crate) u64);
    impl Slot for N {
        const WORDS: usize = 1;

        fn vacant(&self) -> bool {
            self.0 == 0
        }

        fn put(&self, w: &mut Vec<u64>) {
            w.push(self.0);
        }

        fn take(w: &[u64]) -> Option<Self> {
            Some(Self(w[0]))
        }
    }

    #[test]
    fn a_slot_is_referred_to_once_and_a_vacant_one_never() {
        let mut slab = Slab::new();
        for n in 1..=100 {
            slab.insert(N(n));
        }
        slab.remove(70);
        let mut links = slab.links();
        assert!(links.take(0) && links.take(0), "0 is none");
        assert!(links.take(69) && !links.take(69), "twice");
        assert!(!links.take(70), "vacant");
        assert!(links.take(100) && !links.take(101) && !links.take(u32::MAX), "not there");
    }

    #[test]
    fn slots_keep_their_numbers_and_free_ones_are_used_again() {
        let mut slab = Slab::new();
        let numbers: Vec<u32> = (1..=300_000u64).map(|n| slab.insert(N(n))).collect();
        assert!(numbers.iter().all(|n| *n != 0), "0 means none");
        assert!(numbers.iter().zip(1u64..).all(|(n, v)| slab.get(*n).0 == v));
        slab.remove(numbers[10]);
        assert_eq!(slab.used(), 299_999);
        assert_eq!(slab.insert(N(7)), numbers[10]);
        assert_eq!(slab.iter().count(), 300_000);
    }
}
