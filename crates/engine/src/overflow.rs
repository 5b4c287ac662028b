//! The buckets of an index that hold what did not fit into its own. They never move: a table that doubles copies itself,
//! in the middle of somebody's payment. The first piece is small, because most indexes need no other.

use crate::index::Bucket;
use std::ops::{Index, IndexMut};

/// Buckets of the first piece: 64 KiB.
const FIRST: usize = 1 << 10;
/// log2 of the buckets of every other: 2 MiB.
const SHIFT: u32 = 15;
const MASK: usize = (1 << SHIFT) - 1;

/// Overflow buckets by number. Number 0 is empty for ever and stands for "none".
#[derive(Debug, Clone)]
pub(crate) struct Overflow {
    first: Vec<Bucket>,
    more: Vec<Vec<Bucket>>,
    free: Vec<u32>,
}

impl Overflow {
    /// Only number 0.
    pub(crate) fn new() -> Self {
        Self { first: vec![Bucket::EMPTY], more: Vec::new(), free: Vec::new() }
    }

    /// Puts `bucket` under a free number and returns that.
    pub(crate) fn insert(&mut self, bucket: Bucket) -> u32 {
        if let Some(n) = self.free.pop() {
            self[n] = bucket;
            return n;
        }
        if self.first.len() < FIRST {
            self.first.push(bucket);
            return self.first.len() as u32 - 1;
        }
        if self.more.last().is_none_or(|piece| piece.len() > MASK) {
            self.more.push(Vec::with_capacity(1 << SHIFT));
        }
        let whole = self.more.len() - 1;
        let piece = &mut self.more[whole];
        piece.push(bucket);
        (FIRST + (whole << SHIFT) + piece.len() - 1) as u32
    }

    /// Takes bucket `n` out; its number may be used again.
    pub(crate) fn remove(&mut self, n: u32) -> Bucket {
        self.free.push(n);
        std::mem::replace(&mut self[n], Bucket::EMPTY)
    }

    /// Bytes of memory in use.
    pub(crate) fn bytes(&self) -> usize {
        let buckets = self.first.len() + self.more.iter().map(Vec::len).sum::<usize>();
        buckets * size_of::<Bucket>() + self.free.capacity() * size_of::<u32>()
    }
}

impl Index<u32> for Overflow {
    type Output = Bucket;

    #[inline]
    fn index(&self, n: u32) -> &Bucket {
        match (n as usize).checked_sub(FIRST) {
            None => &self.first[n as usize],
            Some(n) => &self.more[n >> SHIFT][n & MASK],
        }
    }
}

impl IndexMut<u32> for Overflow {
    #[inline]
    fn index_mut(&mut self, n: u32) -> &mut Bucket {
        match (n as usize).checked_sub(FIRST) {
            None => &mut self.first[n as usize],
            Some(n) => &mut self.more[n >> SHIFT][n & MASK],
        }
    }
}
