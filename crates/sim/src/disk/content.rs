//! The bytes of one file: what is read, what is on the disk, and what is on its way there.
//!
//! ```text
//! write ─▶ seen (what reads give)      pending: images of sectors, in order ──sync, end of a durable write──▶ stable
//! crash:   each sector has its stable image or one of the pending ones; which one is decided when it is first read
//! ```
//!
//! So a run looks at every combination that it can tell from another, and at no other.

use super::chance::Chance;
use std::collections::{BTreeMap, BTreeSet};

/// A sector's number.
type Sector = usize;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Way {
    /// Cached; the next sync makes it durable.
    Cached,
    /// On its way as a durable write of its own.
    Flying,
    /// A flush failed: no later one makes it durable.
    Forgotten,
}

#[derive(Debug, Clone, Hash)]
struct Write {
    id: u64,
    way: Way,
    end: u64,
    images: Vec<(Sector, Box<[u8]>)>,
}

#[derive(Debug, Clone)]
pub(super) struct Content {
    sector: usize,
    seen: Vec<u8>,
    /// Grows only; how much of it there is, `lengths` say.
    stable: Vec<u8>,
    /// Lengths that the file may have on the disk; one, when it is known.
    lengths: Vec<u64>,
    pending: Vec<Write>,
    pending_lengths: Vec<u64>,
    /// What a sector may be on the disk, where that was not decided yet.
    unknown: BTreeMap<Sector, Vec<Box<[u8]>>>,
    /// Undecided sectors that nothing was written over since.
    unseen: BTreeSet<Sector>,
    /// The length was not decided yet.
    unopened: bool,
}

/// What a crash did to a file.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Left {
    pub(super) flying: bool,
    pub(super) cached: bool,
}

impl Content {
    pub(super) fn new(sector: usize) -> Self {
        Self {
            sector,
            seen: Vec::new(),
            stable: Vec::new(),
            lengths: vec![0],
            pending: Vec::new(),
            pending_lengths: Vec::new(),
            unknown: BTreeMap::new(),
            unseen: BTreeSet::new(),
            unopened: false,
        }
    }

    pub(super) fn bytes(&self) -> u64 {
        self.seen.len() as u64
    }

    fn of(bytes: &[u8], sector: Sector, size: usize) -> Box<[u8]> {
        let mut image = vec![0; size].into_boxed_slice();
        let from = bytes.get(sector * size..).unwrap_or_default();
        let n = from.len().min(size);
        image[..n].copy_from_slice(&from[..n]);
        image
    }

    fn sectors(&self, offset: u64, bytes: usize) -> std::ops::Range<Sector> {
        offset as usize / self.sector..(offset as usize + bytes).div_ceil(self.sector)
    }

    /// A file is opened: its length is decided. Not by whoever empties it.
    pub(super) fn open(&mut self, chance: &mut Chance) {
        if !std::mem::take(&mut self.unopened) {
            return;
        }
        let length = self.lengths[chance.pick(self.lengths.len() as u32) as usize];
        self.lengths = vec![length];
        self.stable.resize((length as usize).max(self.stable.len()), 0);
        self.seen = self.stable[..length as usize].to_vec();
        // Nothing that lay behind the end comes back.
        let size = self.sector as u64;
        self.unknown.retain(|s, _| (*s as u64) * size < length);
        self.unseen.retain(|s| (*s as u64) * size < length);
    }

    /// Decides what a sector is, where that matters now.
    fn decide(&mut self, sector: Sector, chance: &mut Chance) {
        if !self.unseen.remove(&sector) {
            return;
        }
        let ways = self.unknown.remove(&sector).expect("an unseen sector is unknown");
        let image = &ways[chance.pick(ways.len() as u32) as usize];
        Self::put(&mut self.stable, sector, self.sector, image);
        let from = (sector * self.sector).min(self.seen.len());
        let n = (self.seen.len() - from).min(self.sector);
        self.seen[from..from + n].copy_from_slice(&image[..n]);
    }

    fn put(bytes: &mut Vec<u8>, sector: Sector, size: usize, image: &[u8]) {
        let from = sector * size;
        if bytes.len() < from + size {
            bytes.resize(from + size, 0);
        }
        bytes[from..from + size].copy_from_slice(image);
    }

    pub(super) fn read(&mut self, into: &mut [u8], offset: u64, chance: &mut Chance) -> usize {
        let n = into.len().min(self.seen.len().saturating_sub(offset as usize));
        if n == 0 {
            return 0;
        }
        if !self.unseen.is_empty() {
            for sector in self.sectors(offset, n) {
                self.decide(sector, chance);
            }
        }
        into[..n].copy_from_slice(&self.seen[offset as usize..offset as usize + n]);
        n
    }

    /// Writes what reads give from now on; on the disk it is by [`Content::sync`] or [`Content::land`].
    pub(super) fn write(&mut self, id: u64, way: Way, bytes: &[u8], offset: u64, chance: &mut Chance) {
        let end = offset as usize + bytes.len();
        let range = self.sectors(offset, bytes.len());
        for sector in range.clone() {
            let whole = offset as usize <= sector * self.sector && (sector + 1) * self.sector <= end;
            if whole {
                self.unseen.remove(&sector);
            } else {
                self.decide(sector, chance);
            }
        }
        if end > self.seen.len() {
            self.set_length(end as u64);
        }
        self.seen[offset as usize..end].copy_from_slice(bytes);
        let images = range.map(|s| (s, Self::of(&self.seen, s, self.sector))).collect();
        self.pending.push(Write { id, way, end: end as u64, images });
    }

    pub(super) fn set_length(&mut self, bytes: u64) {
        if bytes == self.bytes() && !self.unopened {
            return;
        }
        self.unopened = false;
        if bytes < self.bytes() || bytes == 0 {
            self.pending.retain(|w| w.way != Way::Cached);
            let keep = bytes as usize / self.sector;
            self.unseen.retain(|s| *s < keep);
        }
        self.seen.resize(bytes as usize, 0);
        self.pending_lengths.push(bytes);
    }

    /// Everything that is cached is on the disk.
    pub(super) fn sync(&mut self) {
        if let Some(least) = self.pending_lengths.iter().min().copied() {
            self.stable.truncate(least as usize);
            self.unknown.retain(|s, _| ((s * self.sector) as u64) < least);
        }
        self.pending_lengths.clear();
        self.lengths = vec![self.bytes()];
        let (landed, rest): (Vec<_>, Vec<_>) = self.pending.drain(..).partition(|w| w.way == Way::Cached);
        self.pending = rest;
        landed.iter().for_each(|w| self.put_down(w));
    }

    /// A flush failed: what it should have flushed is forgotten.
    pub(super) fn forget(&mut self) {
        self.pending.iter_mut().filter(|w| w.way == Way::Cached).for_each(|w| w.way = Way::Forgotten);
    }

    fn put_down(&mut self, write: &Write) {
        for (sector, image) in &write.images {
            Self::put(&mut self.stable, *sector, self.sector, image);
            self.unknown.remove(sector);
        }
        if self.lengths.iter().any(|n| *n < write.end) {
            self.lengths.iter_mut().for_each(|n| *n = (*n).max(write.end));
        }
    }

    /// A durable write is complete: the first `bytes` of it are on the disk.
    pub(super) fn land(&mut self, id: u64, bytes: u64) {
        let Some(at) = self.pending.iter().position(|w| w.id == id) else { return };
        let mut write = self.pending.remove(at);
        let lost = write.images.split_off((bytes as usize).div_ceil(self.sector).min(write.images.len()));
        self.put_down(&write);
        // What was written before to the same sectors never comes back.
        for older in self.pending.iter_mut().filter(|w| w.id < id) {
            older.images.retain(|(s, _)| write.images.iter().all(|(landed, _)| landed != s));
        }
        // What did not land is not read either.
        for (sector, _) in lost {
            let newest = self.pending.iter().rev().flat_map(|w| &w.images).find(|(s, _)| *s == sector);
            let image = newest.map_or_else(|| Self::of(&self.stable, sector, self.sector), |(_, i)| i.clone());
            let from = (sector * self.sector).min(self.seen.len());
            let n = (self.seen.len() - from).min(self.sector);
            self.seen[from..from + n].copy_from_slice(&image[..n]);
        }
    }

    /// A write that was said to be durable stays where a crash may take it.
    pub(super) fn strand(&mut self, id: u64) {
        self.pending.iter_mut().filter(|w| w.id == id).for_each(|w| w.way = Way::Forgotten);
    }

    /// A process was killed: what it had in flight is as if cached.
    pub(super) fn orphan(&mut self) {
        self.pending.iter_mut().filter(|w| w.way == Way::Flying).for_each(|w| w.way = Way::Cached);
    }

    /// After a crash: nothing is known of what was pending.
    pub(super) fn restart(&mut self) -> Left {
        let mut left = Left::default();
        for write in std::mem::take(&mut self.pending) {
            left.flying |= write.way == Way::Flying;
            left.cached |= write.way != Way::Flying;
            for (sector, image) in write.images {
                let stable = || vec![Self::of(&self.stable, sector, self.sector)];
                let ways = self.unknown.entry(sector).or_insert_with(stable);
                if !ways.contains(&image) {
                    ways.push(image);
                }
            }
        }
        self.unknown.retain(|_, ways| ways.len() > 1);
        self.lengths.append(&mut self.pending_lengths);
        self.lengths.sort_unstable();
        self.lengths.dedup();
        self.unseen = self.unknown.keys().copied().collect();
        self.unopened = true;
        self.seen.clear();
        left
    }

    /// Changes bytes at rest, on the disk and in every cache.
    pub(super) fn alter(&mut self, offset: u64, change: &dyn Fn(&mut [u8]), bytes: usize, chance: &mut Chance) {
        self.open(chance);
        for sector in self.sectors(offset, bytes) {
            self.decide(sector, chance);
        }
        let range = offset as usize..(offset as usize + bytes).min(self.seen.len());
        for copy in [&mut self.seen, &mut self.stable] {
            if let Some(bytes) = copy.get_mut(range.clone()) {
                change(bytes);
            }
        }
    }

    pub(super) fn fingerprint(&self, hash: &mut impl std::hash::Hasher) {
        use std::hash::Hash;
        (&self.seen, &self.stable, &self.lengths, &self.pending_lengths).hash(hash);
        (&self.unknown, &self.unseen, self.unopened).hash(hash);
        for write in &self.pending {
            (write.way, write.end, &write.images).hash(hash);
        }
    }
}
