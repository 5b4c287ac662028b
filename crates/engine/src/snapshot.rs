//! The state as a head and pages, taken while the engine stays in use, and an engine from them again.
//!
//! ```text
//! start_snapshot ─▶ head      rules, sums, digests: as of now, at once
//! snapshot_page  ─▶ page …    slots of the tables; what changed meanwhile is undone by a page of the same table
//! ```
//!
//! Indexes are not written: they are made again from the slots. Everything is words of 64 bits, so that whoever keeps
//! pages needs to know nothing of what is in them.

mod restore;

use crate::Engine;
use crate::copy::Slice;
use crate::lease::Lease;
use crate::rules::Shop;
use crate::shard::Shard;
use crate::slab::Slot;
pub use restore::{RestoreError, Restorer};
use tegata_model::{Life, ProgrammeId, ShopId, Timestamp, Writer, put_allowance, put_programme};

/// Version of the head and of the slots' words. Version 1 knew no stand-in, and is read as if there had been none.
const VERSION: u32 = 2;
/// Tables of a shard, in the order in which they are copied; shops come last, in the first shard's name.
const TABLES: u32 = 6;
const SHOPS: u32 = TABLES;

/// A piece of a table.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Page {
    /// The shard.
    pub shard: u32,
    /// The table: accounts, lots, decisions, details, allocations, shops.
    pub table: u32,
    /// Number of the first slot.
    pub first: u32,
    /// The slots' words.
    pub words: Vec<u64>,
    /// Numbers of slots that had changed before they were copied …
    pub undo: Vec<u32>,
    /// … and their words before that.
    pub undo_words: Vec<u64>,
}

impl Engine {
    /// The head of a snapshot as of now; its pages follow from [`Engine::snapshot_page`]. A snapshot that was begun
    /// before is given up.
    pub fn start_snapshot(&mut self) -> Vec<u8> {
        for s in &mut self.shards {
            s.accounts.start_copy();
            s.lots.start_copy();
            s.decisions.start_copy();
            s.details.start_copy();
            s.allocations.start_copy();
            s.shops.start_copy();
        }
        self.rules.shops.start_copy();
        self.copying = Some((0, 0));
        let mut head = Vec::new();
        self.put_head(&mut Writer::new(&mut head));
        head
    }

    /// The next page, of at most `slots` slots; nothing when the snapshot is complete, or none was begun.
    pub fn snapshot_page(&mut self, slots: usize) -> Option<Page> {
        loop {
            let (shard, table) = self.copying?;
            let n = shard as usize;
            let page = if table == SHOPS {
                self.rules.shops.copy_next(slots).map(page)
            } else {
                let s = &mut self.shards[n];
                match table {
                    0 => s.accounts.copy_next(slots).map(page),
                    1 => s.lots.copy_next(slots).map(page),
                    2 => s.decisions.copy_next(slots).map(page),
                    3 => s.details.copy_next(slots).map(page),
                    4 => s.allocations.copy_next(slots).map(page),
                    _ => s.shops.copy_next(slots).map(page),
                }
            };
            if let Some(page) = page {
                return Some(Page { shard, table, ..page });
            }
            self.copying = match (n + 1 == self.shards.len(), table + 1 == TABLES) {
                _ if table == SHOPS => None,
                (true, true) => Some((0, SHOPS)),
                (false, true) => Some((shard + 1, 0)),
                (_, false) => Some((shard, table + 1)),
            };
        }
    }

    fn put_head(&self, w: &mut Writer<'_>) {
        let r = &self.rules;
        w.u32(VERSION).u32(self.shards.len() as u32).u64(self.applied.get()).i64(self.at.micros());
        w.u32(r.settings.rules).u32(r.settings.horizon_s).u32(r.settings.skew_s).u32(r.settings.ack_s);
        w.u32(r.programmes.len() as u32).u32(r.extensions.len() as u32).u32(r.restarts.len() as u32);
        w.u32(r.shops.len() as u32).u32(r.leases.len() as u32).u32(0);
        for p in &r.programmes {
            w.u64(p.life as u64).i64(p.exercised_at.micros());
            put_programme(&p.rules, w);
        }
        for e in &r.extensions {
            let x = &e.rule;
            w.u32(x.rule).u32(x.programme.get()).i64(x.expiry_from.micros()).i64(x.expiry_before.micros());
            w.i64(x.expires_at.micros()).u64(x.as_of.get()).u64(u64::from(x.include_expired)).i64(e.at.micros());
        }
        for restart in &r.restarts {
            w.u64(restart.from.get()).u64(restart.to.get());
        }
        r.leases.iter().for_each(|l| put_lease(l, w));
        w.i64(r.keys_from.micros());
        let (from, until) = r.degraded_last.unzip();
        for instant in [r.degraded_since, from, until, r.trusted_until] {
            w.u64(u64::from(instant.is_some())).i64(instant.map_or(0, Timestamp::micros));
        }
        for s in &self.shards {
            w.u32(s.decisions.first()).u32(0).bytes(&s.digest.to_le_bytes()).u64(s.decided);
            s.lengths().iter().for_each(|n| {
                w.u64(*n);
            });
            w.u32(s.sums.len() as u32).u32(0);
            for sums in &s.sums {
                let all = [
                    sums.issued,
                    sums.charged,
                    sums.reinstated,
                    sums.balances,
                    sums.spent,
                    sums.returned,
                    sums.expired,
                    sums.paid_out,
                    sums.shortfall,
                ];
                all.iter().for_each(|yen| {
                    w.bytes(&yen.to_le_bytes());
                });
            }
        }
    }
}

fn put_lease(l: &Lease, w: &mut Writer<'_>) {
    w.u64(l.epoch.get()).u32(l.programme.get()).u32(l.gateway.get()).bytes(&l.holder);
    w.i64(l.from.micros()).i64(l.until.micros());
    put_allowance(&l.allowance, w);
    w.u64(l.used).u32(l.places.len() as u32).u32(l.shops.len() as u32);
    for ((account, shop), yen) in &l.places {
        w.bytes(account.bytes()).bytes(shop.bytes()).u64(*yen);
    }
    for (shop, yen) in &l.shops {
        w.bytes(shop.bytes()).u64(*yen);
    }
}

fn page<T: Slot>(slice: Slice<T>) -> Page {
    let words = |slots: &mut dyn Iterator<Item = &T>, n: usize| {
        let mut words = Vec::with_capacity(n * T::WORDS);
        slots.for_each(|s| s.put(&mut words));
        words
    };
    Page {
        first: slice.first,
        words: words(&mut slice.slots.iter(), slice.slots.len()),
        undo: slice.undo.iter().map(|(n, _)| *n).collect(),
        undo_words: words(&mut slice.undo.iter().map(|(_, s)| s), slice.undo.len()),
        ..Page::default()
    }
}

impl Shard {
    /// Slots of each table, in the order in which they are copied.
    fn lengths(&self) -> [u64; TABLES as usize] {
        let (accounts, lots, decisions) = (self.accounts.len(), self.lots.len(), self.decisions.len());
        let (details, allocations, shops) = (self.details.len(), self.allocations.len(), self.shops.len());
        [accounts, lots, decisions, details, allocations, shops].map(|n| n as u64)
    }
}

impl Slot for Shop {
    const WORDS: usize = 10;

    fn vacant(&self) -> bool {
        self.id.is_none()
    }

    fn put(&self, w: &mut Vec<u64>) {
        put_bytes(self.id.bytes(), w);
        w.push(u64::from(self.programme.get()));
        put_bytes(&self.name, w);
        w.push(self.life as u64);
    }

    fn take(w: &[u64]) -> Option<Self> {
        Some(Self {
            id: ShopId::from_bytes(take_bytes(w, 0)).ok()?,
            programme: ProgrammeId::new(u32::try_from(w[2]).ok()?),
            name: take_bytes(w, 3),
            life: life(w[9]).ok()?,
        })
    }
}

fn life(n: u64) -> Result<Life, RestoreError> {
    match n {
        0 => Ok(Life::Active),
        1 => Ok(Life::Suspended),
        2 => Ok(Life::Closed),
        _ => Err(RestoreError::Slot),
    }
}

/// Bytes as words, little-endian.
pub(crate) fn put_bytes(b: &[u8], w: &mut Vec<u64>) {
    w.extend(b.chunks_exact(8).map(|c| u64::from_le_bytes(*c.first_chunk().expect("eight bytes"))));
}

/// `N` bytes from word `at` on.
pub(crate) fn take_bytes<const N: usize>(w: &[u64], at: usize) -> [u8; N] {
    let mut b = [0; N];
    for (c, word) in b.chunks_exact_mut(8).zip(&w[at..]) {
        c.copy_from_slice(&word.to_le_bytes());
    }
    b
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::slab::Slab;
    use crate::slab::tests::N;

    #[test]
    fn a_copy_taken_while_the_table_changes_is_the_table_as_it_was() {
        let mut slab = Slab::new();
        let ids: Vec<u32> = (1..=1_000u64).map(|n| slab.insert(N(n))).collect();
        slab.remove(ids[10]);
        let before: Vec<N> = (1..=1_000).map(|n| *slab.get(n)).collect();
        slab.start_copy();
        let (mut again, mut undone, mut step) = (Slab::new(), Vec::new(), 0u64);
        while let Some(slice) = slab.copy_next(37) {
            slice.slots.into_iter().for_each(|s| again.restore(s));
            undone.extend(slice.undo);
            for k in 0..20 {
                let n = ids[((step * 7_919 + k * 31) % 1_000) as usize];
                if n != ids[10] {
                    slab.get_mut(n).0 += 1_000_000;
                }
            }
            slab.insert(N(5));
            step += 1;
            assert!(step < 1_000, "the copy ends");
        }
        assert!(undone.len() > 100, "slots changed before their turn");
        assert!(undone.iter().all(|(n, old)| again.undo(*n, *old)));
        again.restored();
        assert_eq!((1..=1_000).map(|n| *again.get(n)).collect::<Vec<N>>(), before);
        assert_eq!(again.used(), 999);
        assert_eq!(again.insert(N(7)), ids[10]);
    }

    #[test]
    fn words_are_slots_again() {
        let d = crate::slots::Remembered { kind: 4, amount: 7, like_before: 9, flags: 3, ..Default::default() };
        let mut w = Vec::new();
        d.put(&mut w);
        assert_eq!(w.len(), crate::slots::Remembered::WORDS);
        assert_eq!(crate::slots::Remembered::take(&w), Some(d));
    }
}
