//! Slots that never move: fixed-size chunks, so that growing a table never copies it.
//!
//! A chunk is about 2 MiB; adding one costs an allocation and no copy. Slot 0 is never handed out, so that 0 can
//! stand for "none" in references. While a snapshot is being copied, the first value of every slot that changes
//! before its turn goes to an undo list ([`Slab::start_copy`]).

/// What a table keeps. `vacant` tells a free slot from a used one when a table is loaded again.
pub trait Slot: Copy + Default {
    /// True for a slot that is not in use.
    fn vacant(&self) -> bool;
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

#[derive(Debug, Clone)]
struct Copying<T> {
    next: u32,
    end: u32,
    undo: Vec<(u32, T)>,
}

/// A piece of a table, copied while the table stays in use.
#[derive(Debug)]
pub struct Slice<T> {
    /// Number of the first slot.
    pub first: u32,
    /// Slots as they are now.
    pub slots: Vec<T>,
    /// Slots as they were when the copy began. The first entry of a number counts.
    pub undo: Vec<(u32, T)>,
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
        if chunk == self.chunks.len() {
            self.chunks.push(Vec::with_capacity(1 << Self::SHIFT));
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
        if let Some(copy) = &mut self.copy
            && (copy.next..copy.end).contains(&n)
        {
            copy.undo.push((n, *slot));
        }
        slot
    }

    /// Slots in use.
    pub fn used(&self) -> usize {
        (self.len as usize).saturating_sub(1 + self.free.len())
    }

    /// Every slot in use, with its number.
    pub fn iter(&self) -> impl Iterator<Item = (u32, &T)> {
        self.chunks.iter().flatten().zip(0u32..).filter(|(s, n)| *n > 0 && !s.vacant()).map(|(s, n)| (n, s))
    }

    /// Bytes of memory held.
    pub fn bytes(&self) -> usize {
        self.chunks.len() * (size_of::<T>() << Self::SHIFT) + self.free.capacity() * 4
    }

    /// From here on the table as it is now can be taken slice by slice with [`Slab::copy_next`], while it changes.
    pub fn start_copy(&mut self) {
        self.copy = Some(Copying { next: 1, end: self.len, undo: Vec::new() });
    }

    /// The next at most `count` slots of the copy; nothing when it is complete.
    pub fn copy_next(&mut self, count: u32) -> Option<Slice<T>> {
        let copy = self.copy.as_mut()?;
        if copy.next >= copy.end && copy.undo.is_empty() {
            self.copy = None;
            return None;
        }
        let first = copy.next;
        let end = first.saturating_add(count).min(copy.end);
        copy.next = end;
        let undo = std::mem::take(&mut copy.undo);
        let slots = (first..end).map(|n| *self.get(n)).collect();
        Some(Slice { first, slots, undo })
    }

    /// A table from the slots of a complete copy, slot 1 first.
    pub fn restore(slots: impl Iterator<Item = T>) -> Self {
        let mut slab = Self::new();
        for slot in slots {
            let n = slab.push(slot);
            if slot.vacant() {
                slab.free.push(n);
            }
        }
        slab
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, Clone, Copy, Default, PartialEq)]
    struct N(u64);
    impl Slot for N {
        fn vacant(&self) -> bool {
            self.0 == 0
        }
    }

    #[test]
    fn a_copy_taken_while_the_table_changes_is_the_table_as_it_was() {
        let mut slab = Slab::new();
        let ids: Vec<u32> = (1..=1000u64).map(|n| slab.insert(N(n))).collect();
        slab.remove(ids[10]);
        let before: Vec<N> = (1..=1000).map(|n| *slab.get(n)).collect();
        slab.start_copy();
        let mut copied: Vec<N> = Vec::new();
        let mut undone: Vec<(u32, N)> = Vec::new();
        let mut step = 0u64;
        while let Some(slice) = slab.copy_next(37) {
            copied.extend(slice.slots);
            undone.extend(slice.undo);
            for k in 0..20 {
                let n = ids[((step * 7919 + k * 31) % 1000) as usize];
                if n != ids[10] {
                    slab.get_mut(n).0 += 1_000_000;
                }
            }
            slab.insert(N(5));
            step += 1;
            assert!(step < 1000, "the copy ends");
        }
        undone.reverse();
        for (n, old) in undone {
            copied[n as usize - 1] = old;
        }
        assert_eq!(copied, before);
        let again = Slab::restore(copied.into_iter());
        assert_eq!(again.used(), 999);
        assert!(again.get(ids[10]).vacant());
    }
}
