//! An engine from the head and the pages of a snapshot: all of it is checked, and nothing is taken for granted.

use super::{Page, SHOPS, TABLES, VERSION, life};
use crate::fifo::Fifo;
use crate::guard::like_hash;
use crate::lease::Lease;
use crate::rules::{ExtensionEntry, ProgrammeEntry, Restart, Rules};
use crate::shard::{Shard, account_hash, key_hash};
use crate::slab::Slot;
use crate::slots::{Detail, kind};
use crate::sums::Sums;
use crate::{Engine, SHARDS_MAX};
use std::collections::BTreeMap;
use tegata_model::{
    AccountId, Extension, GatewayId, PROGRAMME_BYTES, Position, ProgrammeId, Reader, Settings, ShopId, Short,
    Timestamp, get_allowance, get_programme,
};

/// Bytes of a programme's rules in version 1.
const PROGRAMME_BYTES_1: usize = 98;

/// Why there is no engine in these pages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RestoreError {
    /// The head or a page ends early.
    Short,
    /// A newer version wrote it.
    Version {
        /// Its number.
        got: u32,
    },
    /// A page is missing, or came twice, or is of no table.
    Order,
    /// Words that are no slot, or a reference to nothing.
    Slot,
}

impl core::fmt::Display for RestoreError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::Short => f.write_str("the snapshot ends early"),
            Self::Version { got } => write!(f, "snapshot version {got}, newer than this program's {VERSION}"),
            Self::Order => f.write_str("a page of the snapshot is missing or out of order"),
            Self::Slot => f.write_str("a page of the snapshot has a slot that cannot be"),
        }
    }
}

impl std::error::Error for RestoreError {}

impl From<Short> for RestoreError {
    fn from(_: Short) -> Self {
        Self::Short
    }
}

/// Puts an engine together again.
#[derive(Debug)]
pub struct Restorer {
    engine: Engine,
    /// Slots of each shard's tables, and of the shops', that must come back.
    lengths: Vec<[u64; TABLES as usize]>,
    shops_len: u32,
    /// Undo pages: applied when all slots are back.
    undo: Vec<(u32, u32, Vec<u32>, Vec<u64>)>,
}

impl Restorer {
    /// From the head of a snapshot.
    pub fn new(head: &[u8]) -> Result<Self, RestoreError> {
        let r = &mut Reader::new(head);
        let version = match r.u32()? {
            version @ 1..=VERSION => version,
            got => return Err(RestoreError::Version { got }),
        };
        let shards = r.u32()?;
        if !(1..=SHARDS_MAX).contains(&shards) {
            return Err(RestoreError::Slot);
        }
        let mut engine = Engine::new(shards);
        (engine.applied, engine.at) = (Position::new(r.u64()?), Timestamp::from_micros(r.i64()?));
        let (rules, shops_len) = rules(r, version)?;
        engine.rules = rules;
        let mut lengths = Vec::new();
        for s in &mut engine.shards {
            s.decisions = Fifo::starting_at(r.u32()?);
            let _zero = r.u32()?;
            (s.digest, s.decided) = (u128::from_le_bytes(r.array()?), r.u64()?);
            let mut table = || r.u64();
            lengths.push([table()?, table()?, table()?, table()?, table()?, table()?]);
            let (sums, _zero) = (r.u32()?, r.u32()?);
            for _ in 0..sums {
                s.sums.push(get_sums(r, version)?);
            }
        }
        if r.rest().is_empty() {
            Ok(Self { engine, lengths, shops_len, undo: Vec::new() })
        } else {
            Err(RestoreError::Order)
        }
    }

    /// The next page, in the order in which they were taken.
    pub fn page(&mut self, p: &Page) -> Result<(), RestoreError> {
        if p.table == SHOPS {
            let shops = &mut self.engine.rules.shops;
            slots_back(p, shops.len(), |slot| shops.restore(slot))?;
        } else {
            let s = self.engine.shards.get_mut(p.shard as usize).ok_or(RestoreError::Order)?;
            match p.table {
                0 => slots_back(p, s.accounts.len(), |slot| s.accounts.restore(slot))?,
                1 => slots_back(p, s.lots.len(), |slot| s.lots.restore(slot))?,
                2 => slots_back(p, s.decisions.len(), |slot| s.decisions.restore(slot))?,
                3 => slots_back(p, s.details.len(), |slot| s.details.restore(slot))?,
                4 => slots_back(p, s.allocations.len(), |slot| s.allocations.restore(slot))?,
                5 => slots_back(p, s.shops.len(), |slot| s.shops.restore(slot))?,
                _ => return Err(RestoreError::Order),
            }
        }
        if !p.undo.is_empty() {
            self.undo.push((p.shard, p.table, p.undo.clone(), p.undo_words.clone()));
        }
        Ok(())
    }

    /// The engine, with its indexes.
    pub fn finish(self) -> Result<Engine, RestoreError> {
        let mut engine = self.engine;
        let whole = engine.shards.iter().map(Shard::lengths).eq(self.lengths.iter().copied());
        let shops = self.shops_len as usize;
        let of_shops = engine.shards.iter().all(|s| s.shops.len() == shops) && engine.rules.shops.len() == shops;
        if !whole || !of_shops {
            return Err(RestoreError::Order);
        }
        for (shard, table, numbers, words) in &self.undo {
            let s = engine.shards.get_mut(*shard as usize).ok_or(RestoreError::Order)?;
            match table {
                0 => undo(numbers, words, |n, slot| s.accounts.undo(n, slot))?,
                1 => undo(numbers, words, |n, slot| s.lots.undo(n, slot))?,
                2 => undo(numbers, words, |n, slot| s.decisions.undo(n, slot))?,
                3 => undo(numbers, words, |n, slot| s.details.undo(n, slot))?,
                4 => undo(numbers, words, |n, slot| s.allocations.undo(n, slot))?,
                5 => undo(numbers, words, |n, slot| s.shops.undo(n, slot))?,
                _ => undo(numbers, words, |n, slot| engine.rules.shops.undo(n, slot))?,
            }
        }
        engine.rules.shops.restored();
        engine.rules = engine.rules.indexed();
        let programmes = engine.rules.programmes.len() as u32;
        sums_of_all(&engine.shards)?;
        for s in &mut engine.shards {
            s.restored(programmes)?;
        }
        let accounts: Vec<usize> = engine.shards.iter().map(|s| s.accounts.len()).collect();
        let there = |d: &Detail| accounts.get(usize::from(d.other_shard)).is_some_and(|len| (d.other as usize) < *len);
        if engine.shards.iter().any(|s| s.details.iter().any(|(_, d)| !there(d))) {
            return Err(RestoreError::Slot);
        }
        // Balances and holds are what the sums say: what follows from them never comes out below zero.
        engine.audit().map_err(|_| RestoreError::Slot)?;
        Ok(engine)
    }
}

/// Puts a page's slots behind the `len` that are back.
fn slots_back<T: Slot>(p: &Page, len: usize, mut restore: impl FnMut(T)) -> Result<(), RestoreError> {
    if p.first as usize != len {
        return Err(RestoreError::Order);
    }
    if !p.words.len().is_multiple_of(T::WORDS) {
        return Err(RestoreError::Short);
    }
    for words in p.words.chunks_exact(T::WORDS) {
        restore(T::take(words).ok_or(RestoreError::Slot)?);
    }
    Ok(())
}

fn undo<T: Slot>(numbers: &[u32], words: &[u64], mut put: impl FnMut(u32, T) -> bool) -> Result<(), RestoreError> {
    if words.len() != numbers.len() * T::WORDS {
        return Err(RestoreError::Short);
    }
    for (n, words) in numbers.iter().zip(words.chunks_exact(T::WORDS)) {
        if !put(*n, T::take(words).ok_or(RestoreError::Slot)?) {
            return Err(RestoreError::Order);
        }
    }
    Ok(())
}

/// Nothing was made or lost, of any programme, over all shards. Sums that yen cannot come to would overflow later.
fn sums_of_all(shards: &[Shard]) -> Result<(), RestoreError> {
    let programmes = shards.iter().map(|s| s.sums.len()).max().unwrap_or(0);
    for p in 0..programmes {
        let mut all = Sums::default();
        for sums in shards.iter().filter_map(|s| s.sums.get(p)) {
            if !sums.plausible() {
                return Err(RestoreError::Slot);
            }
            all.add(sums);
        }
        if !all.conserved() {
            return Err(RestoreError::Slot);
        }
    }
    Ok(())
}

fn get_sums(r: &mut Reader<'_>, version: u32) -> Result<Sums, Short> {
    let mut yen = || r.array().map(u128::from_le_bytes);
    Ok(Sums {
        issued: yen()?,
        charged: yen()?,
        reinstated: yen()?,
        balances: yen()?,
        spent: yen()?,
        returned: yen()?,
        expired: yen()?,
        paid_out: yen()?,
        shortfall: if version == 1 { 0 } else { yen()? },
    })
}

fn get_lease(r: &mut Reader<'_>) -> Result<Lease, RestoreError> {
    let slot = |_| RestoreError::Slot;
    let mut lease = Lease {
        epoch: Position::new(r.u64()?),
        programme: ProgrammeId::new(r.u32()?),
        gateway: GatewayId::new(r.u32()?),
        holder: r.array()?,
        from: Timestamp::from_micros(r.i64()?),
        until: Timestamp::from_micros(r.i64()?),
        allowance: get_allowance(r).map_err(|_| RestoreError::Slot)?,
        used: r.u64()?,
        places: BTreeMap::new(),
        shops: BTreeMap::new(),
    };
    let (places, shops) = (r.u32()?, r.u32()?);
    for _ in 0..places {
        let account = AccountId::from_bytes(r.array()?).map_err(slot)?;
        let shop = ShopId::from_bytes(r.array()?).map_err(slot)?;
        lease.places.insert((account, shop), r.u64()?);
    }
    for _ in 0..shops {
        lease.shops.insert(ShopId::from_bytes(r.array()?).map_err(slot)?, r.u64()?);
    }
    Ok(lease)
}

fn get_programme_of(r: &mut Reader<'_>, version: u32) -> Result<ProgrammeEntry, RestoreError> {
    let life = life(r.u64()?)?;
    if version == 1 {
        let mut rules = [0; PROGRAMME_BYTES];
        rules[..PROGRAMME_BYTES_1].copy_from_slice(&r.array::<PROGRAMME_BYTES_1>()?);
        let rules = get_programme(&mut Reader::new(&rules)).map_err(|_| RestoreError::Slot)?;
        return Ok(ProgrammeEntry { rules, life, exercised_at: Timestamp::ZERO });
    }
    let exercised_at = Timestamp::from_micros(r.i64()?);
    Ok(ProgrammeEntry { rules: get_programme(r).map_err(|_| RestoreError::Slot)?, life, exercised_at })
}

fn rules(r: &mut Reader<'_>, version: u32) -> Result<(Rules, u32), RestoreError> {
    let mut rules = Rules::new();
    rules.settings = Settings { rules: r.u32()?, horizon_s: r.u32()?, skew_s: r.u32()?, ack_s: r.u32()? };
    let (programmes, extensions, restarts) = (r.u32()?, r.u32()?, r.u32()?);
    let shops = r.u32()?;
    let (leases, _zero) = if version == 1 { (0, 0) } else { (r.u32()?, r.u32()?) };
    for _ in 0..programmes {
        rules.programmes.push(get_programme_of(r, version)?);
    }
    for _ in 0..extensions {
        let rule = Extension {
            rule: r.u32()?,
            programme: ProgrammeId::new(r.u32()?),
            expiry_from: Timestamp::from_micros(r.i64()?),
            expiry_before: Timestamp::from_micros(r.i64()?),
            expires_at: Timestamp::from_micros(r.i64()?),
            as_of: Position::new(r.u64()?),
            include_expired: r.u64()? != 0,
        };
        rules.extensions.push(ExtensionEntry { rule, at: Timestamp::from_micros(r.i64()?) });
    }
    for _ in 0..restarts {
        rules.restarts.push(Restart { from: Position::new(r.u64()?), to: Position::new(r.u64()?) });
    }
    for _ in 0..leases {
        rules.leases.push(get_lease(r)?);
    }
    rules.keys_from = Timestamp::from_micros(r.i64()?);
    let mut instant = || -> Result<Option<Timestamp>, Short> {
        let (given, us) = (r.u64()?, r.i64()?);
        Ok((given != 0).then_some(Timestamp::from_micros(us)))
    };
    rules.degraded_since = instant()?;
    rules.degraded_last = instant()?.zip(instant()?);
    rules.trusted_until = instant()?;
    Ok((rules, shops))
}

impl Shard {
    /// All slots are back: what refers to nothing is refused, and the indexes are made.
    fn restored(&mut self, programmes: u32) -> Result<(), RestoreError> {
        self.accounts.restored();
        self.lots.restored();
        self.details.restored();
        self.allocations.restored();
        let slot = |good: bool| if good { Ok(()) } else { Err(RestoreError::Slot) };
        let there = |n: u32, slots: usize| slot((n as usize) < slots);
        let (mut lots, mut holds) = (self.lots.links(), self.details.links());
        let (mut details, mut allocations) = (self.details.links(), self.allocations.links());
        for (n, a) in self.accounts.iter() {
            there(a.programme, programmes as usize)?;
            slot(lots.take(a.lots) && holds.take(a.holds))?;
            self.account_index.insert(account_hash(&a.id), n);
        }
        for (_, l) in self.lots.iter() {
            there(l.programme, programmes as usize)?;
            slot(lots.take(l.next))?;
        }
        for (_, d) in self.details.iter() {
            slot(holds.take(d.next_hold) && allocations.take(d.allocations))?;
        }
        for (_, x) in self.allocations.iter() {
            there(x.programme, programmes as usize)?;
            slot(allocations.take(x.next) && x.returned <= x.amount)?;
        }
        for (n, d) in self.decisions.iter() {
            slot(details.take(d.detail) && (d.detail == 0 || self.details.get(d.detail).decision == n))?;
            if d.detail != 0 && matches!(d.kind, kind::DEBIT..=kind::HOLD | kind::ADVICE) {
                // What can still be given back was taken from somewhere.
                let left = self.allocations_of(d.detail).map(|(_, x)| u128::from(x.amount - x.returned)).sum::<u128>();
                slot(left >= u128::from(self.details.get(d.detail).returnable()))?;
            }
            there(d.shop, self.shops.len())?;
            let hash = account_hash(&d.account);
            let key = key_hash(hash, d.namespace, &d.key);
            self.key_index.insert(key, n);
            self.recent.add(&d.key, key);
            if d.shop == 0 {
                continue;
            }
            let asked = if d.detail == 0 { 0 } else { self.details.get(d.detail).asked };
            let like = like_hash(hash, d.shop, if asked == 0 { d.amount } else { asked });
            // The index has the newest of a chain only.
            if self.decisions.get(d.like_before).is_some() {
                self.like_index.replace(like, d.like_before, n);
            } else {
                self.like_index.insert(like, n);
            }
        }
        Ok(())
    }
}
