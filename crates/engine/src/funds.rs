//! Lots: which may be taken, in which order, what was taken, and how it goes back.
//!
//! Order of consumption: programme priority → earliest expiry → promo before paid → start → name. A total order.

use crate::rules::{Rules, Shop};
use crate::shard::Shard;
use crate::slots::{Allocation, Detail, Lot, flag};
use tegata_model::{Code, Life, State, Timestamp};

/// Lots that one debit may take from, and lots that it may leave.
pub const ALLOCATIONS_MAX: usize = 32;
/// Lots beyond the first that an account may hold.
pub const LOTS_MAX: u8 = 250;
/// From so many lots on, empty ones are looked for when a lot is added.
const LOTS_TIDY: u8 = 8;

/// Stands for a lot in what an advice took: the programme's shortfall.
pub const SHORTFALL: u64 = u64::MAX;

/// Open holds that an account may have: every payment looks at all of them.
pub const HOLDS_MAX: usize = 64;

/// Where a lot is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Place {
    /// In the account itself.
    First,
    /// In a slot.
    Slot(u32),
}

/// A lot that may be taken, with what orders it.
#[derive(Debug, Clone, Copy)]
pub struct Candidate {
    order: (u8, i64, u8, i64, u64),
    place: Place,
    lot: Lot,
}

impl Candidate {
    /// Yen that may be taken.
    pub(crate) fn yen(&self) -> u64 {
        self.lot.remaining
    }
}

/// What one operation took from, or put into, one lot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Taken {
    /// The lot's name, or [`SHORTFALL`].
    pub lot: u64,
    /// Yen.
    pub amount: u64,
    pub(crate) first: bool,
    pub(crate) programme: u32,
    pub(crate) expires_at: i64,
    pub(crate) valid_from: i64,
    pub(crate) kind: u8,
}

impl Shard {
    /// Every lot of an account, its first one first.
    pub(crate) fn lots_of(&self, account: u32) -> impl Iterator<Item = (Place, Lot)> {
        let first = self.accounts.get(account).first_lot();
        let mut next = first.next;
        std::iter::once((Place::First, first)).chain(std::iter::from_fn(move || {
            let n = next;
            (n != 0).then(|| {
                let lot = *self.lots.get(n);
                next = lot.next;
                (Place::Slot(n), lot)
            })
        }))
    }

    /// Details of the account's holds, newest first.
    pub(crate) fn holds_of(&self, account: u32) -> impl Iterator<Item = (u32, &Detail)> {
        let mut next = self.accounts.get(account).holds;
        std::iter::from_fn(move || {
            let n = next;
            (n != 0).then(|| {
                let detail = self.details.get(n);
                next = detail.next_hold;
                (n, detail)
            })
        })
    }

    /// Slots of a detail's allocations, in the order of consumption.
    pub(crate) fn allocations_of(&self, detail: u32) -> impl Iterator<Item = (u32, Allocation)> {
        let mut next = self.details.get(detail).allocations;
        std::iter::from_fn(move || {
            let n = next;
            (n != 0).then(|| {
                let a = *self.allocations.get(n);
                next = a.next;
                (n, a)
            })
        })
    }

    /// Yen that can be spent at `clock`. Holds that are dead at `at` count as given back.
    pub(crate) fn spendable(&self, rules: &Rules, account: u32, clock: i64, at: Timestamp) -> u64 {
        let valid = |expires: i64, from: i64, programme: u32, lot: u64| {
            from <= clock && clock < rules.expiry(expires, programme, lot)
        };
        let a = self.accounts.get(account);
        let mut sum = 0;
        if a.lots == 0 {
            if valid(a.expires_at, a.valid_from, a.programme, a.lot) {
                sum = a.remaining;
            }
        } else {
            for (_, lot) in self.lots_of(account) {
                if valid(lot.expires_at, lot.valid_from, lot.programme, lot.id) {
                    sum += lot.remaining;
                }
            }
        }
        for (n, hold) in self.holds_of(account) {
            if hold.dies_at <= at.micros() {
                for (_, x) in self.allocations_of(n) {
                    if clock < rules.expiry(x.expires_at, x.programme, x.lot) {
                        sum += x.amount - x.returned;
                    }
                }
            }
        }
        sum
    }

    /// The account's lots that hold value at `at`: what a dead hold has not given back yet is in them.
    pub(crate) fn lots_at(&self, account: u32, at: Timestamp) -> Vec<Lot> {
        let mut lots: Vec<Lot> = self.lots_of(account).map(|(_, lot)| lot).collect();
        for (n, _) in self.holds_of(account).filter(|(_, h)| h.dies_at <= at.micros()) {
            for (_, x) in self.allocations_of(n) {
                let value = taken_from(&x, x.amount - x.returned);
                match lots.iter_mut().find(|l| l.id == x.lot) {
                    Some(lot) => lot.remaining += value.amount,
                    None => lots.push(Self::lot_from(&value, at)),
                }
            }
        }
        lots.retain(|l| l.remaining > 0);
        lots
    }

    /// Yen on the account, whatever can be spent of it, held value included.
    pub(crate) fn total(&self, account: u32) -> u64 {
        let lots: u64 = self.lots_of(account).map(|(_, l)| l.remaining).sum();
        let held: u64 =
            self.holds_of(account).flat_map(|(n, _)| self.allocations_of(n)).map(|(_, x)| x.amount - x.returned).sum();
        lots + held
    }

    /// Fills `candidates` with the lots that may be taken, in order; returns their sum, and why the others may not.
    pub(crate) fn choose(&mut self, rules: &Rules, account: u32, shop: Option<&Shop>, clock: i64) -> (u64, Code) {
        let mut candidates = std::mem::take(&mut self.candidates);
        candidates.clear();
        let (mut sum, mut why) = (0, Code::InsufficientFunds);
        let mut rank = 0;
        for (place, lot) in self.lots_of(account).filter(|(_, l)| l.remaining > 0) {
            match obstacle(rules, &lot, shop, clock) {
                Some((r, code)) => {
                    if r > rank {
                        (rank, why) = (r, code);
                    }
                }
                None => {
                    let end = rules.expiry(lot.expires_at, lot.programme, lot.id);
                    let priority = rules.programme_at(lot.programme).rules.priority;
                    candidates.push(Candidate { order: (priority, end, lot.kind, lot.valid_from, lot.id), place, lot });
                    sum += lot.remaining;
                }
            }
        }
        candidates.sort_unstable_by_key(|c| c.order);
        self.candidates = candidates;
        (sum, if sum > 0 { Code::InsufficientFunds } else { why })
    }

    /// Says in `taken` what `amount` would be taken from the candidates, within each programme's limit for one
    /// payment. Nothing moves.
    pub(crate) fn allocate(&mut self, rules: &Rules, amount: u64) -> Result<(), Code> {
        self.allocate_unlimited(amount)?;
        for t in &self.taken {
            let of_programme: u64 = self.taken.iter().filter(|o| o.programme == t.programme).map(|o| o.amount).sum();
            if of_programme > rules.programme_at(t.programme).rules.payment_max {
                self.taken.clear();
                return Err(Code::AmountLimit);
            }
        }
        Ok(())
    }

    /// [`Shard::allocate`] without the limit of a payment.
    pub(crate) fn allocate_unlimited(&mut self, amount: u64) -> Result<(), Code> {
        self.taken.clear();
        let mut left = amount;
        for c in &self.candidates {
            if left == 0 {
                break;
            }
            if self.taken.len() == ALLOCATIONS_MAX {
                self.taken.clear();
                return Err(Code::LotLimit);
            }
            let yen = left.min(c.lot.remaining);
            left -= yen;
            self.taken.push(Taken {
                lot: c.lot.id,
                amount: yen,
                first: c.place == Place::First,
                programme: c.lot.programme,
                expires_at: c.lot.expires_at,
                valid_from: c.lot.valid_from,
                kind: c.lot.kind,
            });
        }
        assert!(left == 0, "the caller checked the sum");
        Ok(())
    }

    /// Takes what [`Shard::allocate`] said. The sums stay with the caller.
    pub(crate) fn take(&mut self, account: u32, at: Timestamp) {
        for i in 0..self.taken.len() {
            let (t, place) = (self.taken[i], self.candidates[i].place);
            match place {
                Place::First => {
                    let a = self.accounts.get_mut(account);
                    a.remaining = a.remaining.checked_sub(t.amount).expect("a lot is never overdrawn");
                }
                Place::Slot(n) => {
                    let lot = self.lots.get_mut(n);
                    lot.remaining = lot.remaining.checked_sub(t.amount).expect("a lot is never overdrawn");
                    lot.touched_s = seconds(at);
                }
            }
        }
    }

    /// A detail with allocations for everything in `taken`.
    pub(crate) fn detail_of_taken(&mut self) -> u32 {
        let mut head = 0;
        let mut sum = 0;
        for i in (0..self.taken.len()).rev() {
            let t = self.taken[i];
            sum += t.amount;
            head = self.allocations.insert(Allocation {
                lot: t.lot,
                amount: t.amount,
                returned: 0,
                expires_at: t.expires_at,
                programme: t.programme,
                next: head,
                kind: t.kind,
                spare: [0; 7],
            });
        }
        self.details.insert(Detail { taken: sum, allocations: head, used: 1, ..Detail::default() })
    }

    /// A detail that only refers.
    pub(crate) fn bare_detail(&mut self) -> u32 {
        self.details.insert(Detail { used: 1, ..Detail::default() })
    }

    /// Adds value to a lot by name, or makes the lot (again).
    pub(crate) fn put(&mut self, account: u32, t: &Taken, at: Timestamp) {
        let found = self.lots_of(account).find(|(_, l)| l.id == t.lot).map(|(p, _)| p);
        match found {
            Some(Place::First) => self.accounts.get_mut(account).remaining += t.amount,
            Some(Place::Slot(n)) => {
                let lot = self.lots.get_mut(n);
                lot.remaining += t.amount;
                lot.touched_s = lot.touched_s.max(seconds(at));
            }
            None => self.add_lot(account, t, at),
        }
    }

    /// A lot from what was taken elsewhere.
    pub(crate) fn lot_from(t: &Taken, at: Timestamp) -> Lot {
        Lot {
            id: t.lot,
            remaining: t.amount,
            expires_at: t.expires_at,
            valid_from: t.valid_from,
            programme: t.programme,
            next: 0,
            touched_s: seconds(at),
            kind: t.kind,
            spare: [0; 3],
        }
    }

    fn add_lot(&mut self, account: u32, t: &Taken, at: Timestamp) {
        let next = self.accounts.get(account).lots;
        let n = self.lots.insert(Lot { next, ..Self::lot_from(t, at) });
        let a = self.accounts.get_mut(account);
        a.lots = n;
        a.lot_count = a.lot_count.saturating_add(1);
    }

    /// True when another lot may be added. Empty lots whose debits are out of the horizon make room.
    pub(crate) fn lot_room(&mut self, rules: &Rules, account: u32, at: Timestamp) -> bool {
        if self.accounts.get(account).lot_count >= LOTS_TIDY {
            self.tidy_lots(rules, account, at);
        }
        self.accounts.get(account).lot_count < LOTS_MAX
    }

    fn tidy_lots(&mut self, rules: &Rules, account: u32, at: Timestamp) {
        let keep = u64::from(rules.settings.horizon_s) + 2 * u64::from(rules.settings.skew_s);
        let old = u64::from(seconds(at)).saturating_sub(keep);
        let held: Vec<u64> =
            self.holds_of(account).flat_map(|(n, _)| self.allocations_of(n)).map(|(_, x)| x.lot).collect();
        let all: Vec<(Place, Lot)> = self.lots_of(account).collect();
        let mut kept = 0;
        let mut count = 0u8;
        for (place, lot) in all.iter().rev() {
            let Place::Slot(n) = *place else { continue };
            if lot.remaining == 0 && u64::from(lot.touched_s) < old && !held.contains(&lot.id) {
                self.lots.remove(n);
            } else {
                self.lots.get_mut(n).next = kept;
                kept = n;
                count = count.saturating_add(1);
            }
        }
        let a = self.accounts.get_mut(account);
        a.lots = kept;
        a.lot_count = count;
    }

    /// Gives back the value of every hold of the account that is dead at `at`.
    #[inline]
    pub(crate) fn settle_holds(&mut self, account: u32, at: Timestamp) {
        if self.accounts.get(account).holds != 0 {
            let dead: Vec<(u32, i64)> =
                self.holds_of(account).map(|(n, h)| (n, h.dies_at)).filter(|(_, d)| *d <= at.micros()).collect();
            for (n, dies_at) in dead {
                self.release_hold(account, n, Timestamp::from_micros(dies_at), State::Voided);
            }
        }
    }

    /// Ends an open hold and puts all of its value back.
    pub(crate) fn release_hold(&mut self, account: u32, detail: u32, at: Timestamp, state: State) {
        let slots: Vec<(u32, Allocation)> = self.allocations_of(detail).collect();
        for (n, x) in slots {
            let left = x.amount - x.returned;
            self.put(account, &taken_from(&x, left), at);
            self.allocations.get_mut(n).returned = x.amount;
        }
        self.unlink_hold(account, detail);
        let d = self.details.get_mut(detail);
        d.returned = d.taken;
        let owner = d.decision;
        if let Some(d) = self.decisions.get_mut(owner) {
            d.state = state;
        }
    }

    /// Takes a hold out of the account's list.
    pub(crate) fn unlink_hold(&mut self, account: u32, detail: u32) {
        let next = self.details.get(detail).next_hold;
        if self.accounts.get(account).holds == detail {
            self.accounts.get_mut(account).holds = next;
        } else {
            let before = self.holds_of(account).find(|(_, h)| h.next_hold == detail).map(|(n, _)| n);
            if let Some(before) = before {
                self.details.get_mut(before).next_hold = next;
            }
        }
        self.details.get_mut(detail).next_hold = 0;
    }

    /// The detail of a debit, made now when the plain case had none.
    pub(crate) fn detail_for(&mut self, account: u32, decision: u32) -> u32 {
        let Some(d) = self.decisions.get(decision).copied() else { return 0 };
        if d.detail != 0 {
            return d.detail;
        }
        self.taken.clear();
        if d.flags & flag::FIRST_LOT != 0 {
            let lot = self.accounts.get(account).first_lot();
            self.taken.push(Taken { amount: d.amount, ..taken_of_lot(&lot, true) });
        }
        let n = self.detail_of_taken();
        let detail = self.details.get_mut(n);
        detail.decision = decision;
        detail.taken = d.amount;
        if let Some(d) = self.decisions.get_mut(decision) {
            d.detail = n;
        }
        n
    }
}

/// All of a lot, as if it were taken.
pub(crate) fn taken_of_lot(lot: &Lot, first: bool) -> Taken {
    Taken {
        lot: lot.id,
        amount: lot.remaining,
        first,
        programme: lot.programme,
        expires_at: lot.expires_at,
        valid_from: lot.valid_from,
        kind: lot.kind,
    }
}

/// `amount` of an allocation, as if it were taken now.
pub(crate) fn taken_from(x: &Allocation, amount: u64) -> Taken {
    Taken {
        lot: x.lot,
        amount,
        first: false,
        programme: x.programme,
        expires_at: x.expires_at,
        valid_from: 0,
        kind: x.kind,
    }
}

/// Why a lot cannot be taken here and now, with the rank of the reason: the highest is told.
#[inline]
pub(crate) fn obstacle(rules: &Rules, lot: &Lot, shop: Option<&Shop>, clock: i64) -> Option<(u8, Code)> {
    let p = rules.programme_at(lot.programme);
    if p.life != Life::Active {
        return Some((4, Code::ProgrammeSuspended));
    }
    if let Some(shop) = shop
        && shop.programme != p.rules.id
        && !(shop.programme.is_none() && p.rules.any_shop)
    {
        return Some((3, if shop.programme.is_none() { Code::ShopNotAllowed } else { Code::WrongProgramme }));
    }
    if clock >= rules.expiry(lot.expires_at, lot.programme, lot.id) {
        return Some((2, Code::Expired));
    }
    if clock < lot.valid_from {
        return Some((1, Code::NotYetValid));
    }
    None
}

/// Seconds since 1970, for a slot's small field.
pub(crate) fn seconds(at: Timestamp) -> u32 {
    u32::try_from(at.micros().max(0) / 1_000_000).unwrap_or(u32::MAX)
}
