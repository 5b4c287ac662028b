//! A linear-hash index from 64-bit hashes to slot numbers: it grows one bucket at a time, so that no insert ever
//! pays for the whole table.
//!
//! A bucket is one cache line: ten references, a 16-bit tag for each, and the number of an overflow bucket. The tag
//! is the 16 bits of the hash above those that choose among the first buckets: it saves most looks at slots that do not match, and it holds the bit that a split
//! needs, so that splitting never touches a slot.

use crate::overflow::Overflow;
use std::hint::{black_box, select_unpredictable};

/// log2 of the buckets that an empty index has, unless it is known to stay small.
const LEVEL_MIN: u32 = 12;
/// Bits of a tag: so often can the buckets double, since the tag's last bit decides the last split.
const DOUBLINGS: u32 = 16;
/// References in a bucket.
const WIDTH: usize = 10;
/// References per bucket, on average, beyond which a bucket is split.
const LOAD: usize = 6;
const CHUNK_SHIFT: u32 = 15;
const CHUNK_MASK: usize = (1 << CHUNK_SHIFT) - 1;
/// Buckets that are made, and buckets about to be split that are loaded, in one go: splits walk through the table in
/// order, but so rarely that the processor does not see it and would wait for memory at each.
const AHEAD: usize = 16;
const _: () = assert!((1usize << CHUNK_SHIFT).is_multiple_of(AHEAD), "never across two chunks");

/// One cache line of references.
#[derive(Debug, Clone, Copy)]
#[repr(C, align(64))]
pub struct Bucket {
    refs: [u32; WIDTH],
    tags: [u16; WIDTH],
    /// Overflow bucket number (0: none) × 16 + references in use.
    meta: u32,
}

const _: () = assert!(size_of::<Bucket>() == 64, "a bucket is one cache line");
const _: () = assert!(WIDTH < 16, "the count fits into four bits");

impl Bucket {
    pub const EMPTY: Self = Self { refs: [0; WIDTH], tags: [0; WIDTH], meta: 0 };

    /// A word of it, to have it loaded.
    #[inline]
    pub fn word(&self) -> u32 {
        self.meta
    }

    #[inline]
    fn count(&self) -> usize {
        ((self.meta & 15) as usize).min(WIDTH)
    }

    #[inline]
    fn next(&self) -> u32 {
        self.meta >> 4
    }

    /// A bit for each reference in use whose tag is `tag`. All tags are compared, without a branch to guess wrong.
    #[inline]
    fn matching(&self, tag: u16) -> u32 {
        let mut bits = 0;
        for i in 0..WIDTH {
            bits |= u32::from(self.tags[i] == tag) << i;
        }
        bits & ((1 << self.count()) - 1)
    }

    fn push(&mut self, tag: u16, slot: u32) -> bool {
        let n = self.count();
        if n == WIDTH {
            return false;
        }
        self.refs[n] = slot;
        self.tags[n] = tag;
        self.meta += 1;
        true
    }

    fn swap_remove(&mut self, i: usize) {
        let last = self.count() - 1;
        self.refs[i] = self.refs[last];
        self.tags[i] = self.tags[last];
        self.meta -= 1;
    }
}

/// The index. It begins with 2^`MIN` buckets and can have 2^(`MIN` + 16).
#[derive(Debug, Clone)]
pub struct Index<const MIN: u32 = LEVEL_MIN> {
    chunks: Vec<Vec<Bucket>>,
    overflow: Overflow,
    level: u32,
    split: usize,
    /// 2^level + split.
    buckets: usize,
    len: usize,
}

impl<const MIN: u32> Index<MIN> {
    const CHECKED: () = assert!((1usize << MIN).is_multiple_of(AHEAD) && MIN <= CHUNK_SHIFT, "buckets come in runs");

    /// An empty index.
    pub fn new() -> Self {
        let () = Self::CHECKED;
        let first = vec![Bucket::EMPTY; 1 << MIN];
        Self { chunks: vec![first], overflow: Overflow::new(), level: MIN, split: 0, buckets: 1 << MIN, len: 0 }
    }

    #[inline]
    fn tag(hash: u64) -> u16 {
        (hash >> MIN) as u16
    }

    #[inline]
    fn address(&self, hash: u64) -> usize {
        let mask = (1usize << self.level) - 1;
        let wide = hash as usize & (mask << 1 | 1);
        // Which side of the split a hash falls on cannot be guessed.
        select_unpredictable(wide < self.buckets, wide, wide & mask)
    }

    #[inline]
    fn bucket(&self, a: usize) -> &Bucket {
        &self.chunks[a >> CHUNK_SHIFT][a & CHUNK_MASK]
    }

    #[inline]
    fn bucket_mut(&mut self, a: usize) -> &mut Bucket {
        &mut self.chunks[a >> CHUNK_SHIFT][a & CHUNK_MASK]
    }

    /// The bucket of `hash`, not loaded yet: many of these loaded in a row overlap their waits for memory.
    #[inline]
    pub fn bucket_of(&self, hash: u64) -> &Bucket {
        self.bucket(self.address(hash))
    }

    /// A word of the overflow bucket of a bucket, if it has one.
    #[inline]
    pub fn overflow_word(&self, bucket: &Bucket) -> &u32 {
        &self.overflow[bucket.next()].meta
    }

    /// The first reference in the bucket of `hash` that has its tag, without a look at its slot; 0 when there is none.
    #[inline]
    pub fn guess(&self, bucket: &Bucket, hash: u64) -> u32 {
        let first = bucket.matching(Self::tag(hash)).trailing_zeros() as usize;
        bucket.refs.get(first).copied().unwrap_or(0)
    }

    /// The reference under `hash` that `is_it` confirms.
    #[inline]
    pub fn find(&self, hash: u64, mut is_it: impl FnMut(u32) -> bool) -> Option<u32> {
        let t = Self::tag(hash);
        let mut bucket = self.bucket(self.address(hash));
        loop {
            let mut matching = bucket.matching(t);
            while matching != 0 {
                let slot = bucket.refs[matching.trailing_zeros() as usize % WIDTH];
                if is_it(slot) {
                    return Some(slot);
                }
                matching &= matching - 1;
            }
            match bucket.next() {
                0 => return None,
                n => bucket = &self.overflow[n],
            }
        }
    }

    /// Adds a reference. The caller knows that it is not there yet.
    #[inline]
    pub fn insert(&mut self, hash: u64, slot: u32) {
        let a = self.address(hash);
        if !self.bucket_mut(a).push(Self::tag(hash), slot) {
            self.insert_overflow(a, Self::tag(hash), slot);
        }
        self.len += 1;
        if self.len > LOAD * self.buckets && self.level < MIN + DOUBLINGS {
            self.split_one();
        }
    }

    #[cold]
    fn insert_overflow(&mut self, a: usize, tag: u16, slot: u32) {
        let head = self.bucket(a).next();
        if head != 0 && self.overflow[head].push(tag, slot) {
            return;
        }
        let mut fresh = Bucket { meta: head << 4, ..Bucket::EMPTY };
        fresh.push(tag, slot);
        let n = self.overflow.insert(fresh);
        let bucket = self.bucket_mut(a);
        bucket.meta = n << 4 | (bucket.meta & 15);
    }

    fn split_one(&mut self) {
        let from = self.split;
        let to = self.buckets;
        if to >> CHUNK_SHIFT == self.chunks.len() {
            self.chunks.push(Vec::with_capacity(1 << CHUNK_SHIFT));
        }
        if from.is_multiple_of(AHEAD) {
            let chunk = &mut self.chunks[to >> CHUNK_SHIFT];
            // Only the first one ever grows, once, while it is small.
            chunk.reserve_exact((1 << CHUNK_SHIFT) - chunk.len());
            chunk.resize(chunk.len() + AHEAD, Bucket::EMPTY);
            let soon = &self.chunks[from >> CHUNK_SHIFT][from & CHUNK_MASK..][..AHEAD];
            black_box(soon.iter().fold(0, |sum, b| sum ^ b.meta));
            black_box(soon.iter().fold(0, |sum, b| sum ^ self.overflow[b.next()].meta));
        }
        let bit = self.level - MIN;
        let mut old = std::mem::replace(self.bucket_mut(from), Bucket::EMPTY);
        loop {
            for i in 0..old.count() {
                let a = if old.tags[i] >> bit & 1 == 1 { to } else { from };
                if !self.bucket_mut(a).push(old.tags[i], old.refs[i]) {
                    self.insert_overflow(a, old.tags[i], old.refs[i]);
                }
            }
            match old.next() {
                0 => break,
                n => old = self.overflow.remove(n),
            }
        }
        self.split += 1;
        self.buckets += 1;
        if self.split == 1 << self.level {
            self.level += 1;
            self.split = 0;
        }
    }

    /// Points the entry of `old` at `new`; adds it when there is none.
    #[inline]
    pub fn replace(&mut self, hash: u64, old: u32, new: u32) {
        match self.place(hash, old) {
            Some((a, 0, i)) => self.bucket_mut(a).refs[i] = new,
            Some((_, n, i)) => self.overflow[n].refs[i] = new,
            None => self.insert(hash, new),
        }
    }

    /// Takes a reference out; does nothing when it is not there.
    pub fn remove(&mut self, hash: u64, slot: u32) {
        match self.place(hash, slot) {
            Some((a, 0, i)) => self.bucket_mut(a).swap_remove(i),
            Some((_, n, i)) => self.overflow[n].swap_remove(i),
            None => return,
        }
        self.len -= 1;
    }

    /// Bucket, overflow bucket (0: none) and index of a reference.
    #[inline]
    fn place(&self, hash: u64, slot: u32) -> Option<(usize, u32, usize)> {
        let a = self.address(hash);
        let (t, mut n) = (Self::tag(hash), 0);
        let mut bucket = self.bucket(a);
        loop {
            for i in 0..bucket.count() {
                if bucket.refs[i] == slot && bucket.tags[i] == t {
                    return Some((a, n, i));
                }
            }
            n = bucket.next();
            if n == 0 {
                return None;
            }
            bucket = &self.overflow[n];
        }
    }

    /// References held.
    #[cfg(test)]
    pub fn len(&self) -> usize {
        self.len
    }

    /// Bytes of memory in use.
    pub fn bytes(&self) -> usize {
        self.chunks.iter().map(Vec::len).sum::<usize>() * size_of::<Bucket>() + self.overflow.bytes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tegata_model::mix;

    #[test]
    fn finds_what_was_put_in_through_every_split() {
        let mut index = Index::<5>::new();
        let n = 200_000u32;
        for i in 1..=n {
            index.insert(mix(u64::from(i), 7), i);
        }
        for i in 1..=n {
            assert_eq!(index.find(mix(u64::from(i), 7), |r| r == i), Some(i));
        }
        for i in (1..=n).step_by(2) {
            index.remove(mix(u64::from(i), 7), i);
        }
        for i in 1..=n {
            let want = (i % 2 == 0).then_some(i);
            assert_eq!(index.find(mix(u64::from(i), 7), |r| r == i), want);
        }
        assert_eq!(index.len(), n as usize / 2);
        assert!(index.bytes() < 64 * n as usize / 4, "about 11 bytes a reference");
    }

    #[test]
    fn equal_hashes_overflow_and_are_still_found() {
        let mut index: Index = Index::new();
        let n = 500_000;
        for i in 1..=n {
            index.insert(42, i);
        }
        for i in (1..=n).filter(|i| *i <= 100 || *i > n - 100) {
            assert_eq!(index.find(42, |r| r == i), Some(i));
        }
        index.replace(42, 400, n + 1);
        assert_eq!(index.find(42, |r| r == 400), None);
        assert_eq!(index.find(42, |r| r == n + 1), Some(n + 1));
    }
}
