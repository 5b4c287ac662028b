//! Value comes in: issue, load, charge, reinstatement; and the life of accounts.

use crate::Engine;
use crate::apply::{Context, Verdict};
use crate::funds::{SHORTFALL, Taken};
use crate::rules::Rules;
use crate::shard::{Shard, account_hash};
use crate::slots::{Account, flag, lot_id};
use crate::takes_kind;
use tegata_model::{AccountId, Code, Key, Life, LotKind, ProgrammeId, State, Timestamp};

const DAY_US: i64 = 86_400_000_000;

/// What a new lot shall be.
#[derive(Debug, Clone, Copy)]
pub(crate) struct LotTerms {
    pub(crate) programme: ProgrammeId,
    pub(crate) amount: u64,
    pub(crate) expires_at: Timestamp,
    pub(crate) valid_from: Timestamp,
    pub(crate) kind: LotKind,
}

/// The exclusive end of the day that is `days` after the day of `at`, in a zone that is `minutes` east of UTC.
#[must_use]
pub fn end_of_day(at: Timestamp, days: u32, minutes: i16) -> Timestamp {
    let zone = i64::from(minutes) * 60_000_000;
    let day = at.micros().saturating_add(zone).div_euclid(DAY_US);
    Timestamp::from_micros((day + i64::from(days) + 1).saturating_mul(DAY_US).saturating_sub(zone))
}

impl Shard {
    /// The programme's index and the new lot, or why it cannot be made.
    fn terms(rules: &Rules, c: &Context, t: &LotTerms) -> Result<Taken, Code> {
        let programme = rules.programme(t.programme).ok_or(Code::ProgrammeUnknown)?;
        let p = rules.programme_at(programme);
        if p.life != Life::Active {
            return Err(Code::ProgrammeSuspended);
        }
        let expires_at = if t.expires_at.is_zero() {
            end_of_day(c.at, p.rules.validity_days, p.rules.zone_minutes)
        } else {
            t.expires_at
        };
        if expires_at <= c.at || expires_at <= t.valid_from || t.valid_from < Timestamp::ZERO {
            return Err(Code::ExpiryInvalid);
        }
        if t.amount > p.rules.balance_max {
            return Err(Code::BalanceLimit);
        }
        Ok(Taken {
            lot: lot_id(c.position, 0),
            amount: t.amount,
            first: false,
            programme,
            expires_at: expires_at.micros(),
            valid_from: t.valid_from.micros(),
            kind: t.kind as u8,
        })
    }

    /// Creates a paper coupon with one lot.
    pub(crate) fn issue(&mut self, rules: &Rules, c: &Context, terms: &LotTerms, stay_end_day: u16) -> Verdict {
        if c.envelope.account.is_none() {
            return Verdict::of(Code::AccountUnknown);
        }
        if self.account(c.account_hash, &c.envelope.account).is_some() {
            return Verdict::of(Code::AccountExists);
        }
        let t = match Self::terms(rules, c, terms) {
            Ok(t) => t,
            Err(code) => return Verdict::of(code),
        };
        let lot = Self::lot_from(&t, c.at);
        let a = self.add_account(Account::with_first_lot(c.envelope.account, &lot, false, stay_end_day));
        let sums = self.sums_of(t.programme);
        sums.issued += u128::from(t.amount);
        sums.balances += u128::from(t.amount);
        self.credited(rules, c, a, t)
    }

    fn credited(&mut self, rules: &Rules, c: &Context, account: u32, t: Taken) -> Verdict {
        self.taken.push(t);
        let balance = self.spendable(rules, account, rules.expiry_clock(c.received), c.at);
        Verdict { amount: t.amount, balance, ..Verdict::of(Code::Approved) }
    }

    /// Puts value on a wallet; opens it on first use.
    pub(crate) fn load(&mut self, rules: &Rules, c: &Context, terms: &LotTerms) -> Verdict {
        let t = match Self::terms(rules, c, terms) {
            Ok(t) => t,
            Err(code) => return Verdict::of(code),
        };
        if let Err(code) = self.wallet_takes(rules, &c.envelope.account, &[t], c.at) {
            return Verdict::of(code);
        }
        let a = self.put_in_wallet(&c.envelope.account, &t, c.at);
        let sums = self.sums_of(t.programme);
        sums.charged += u128::from(t.amount);
        sums.balances += u128::from(t.amount);
        self.credited(rules, c, a, t)
    }

    /// Whether a wallet, which need not exist yet, may take these lots.
    fn wallet_takes(&mut self, rules: &Rules, id: &AccountId, lots: &[Taken], at: Timestamp) -> Result<(), Code> {
        if id.is_none() {
            return Err(Code::AccountUnknown);
        }
        let (mut total, mut room) = (0, true);
        if let Some(w) = self.account(account_hash(id), id) {
            self.settle_holds(w, at);
            let a = *self.accounts.get(w);
            match a.life() {
                _ if !a.is_wallet() => return Err(Code::AccountKind),
                Life::Active => {}
                Life::Suspended => return Err(Code::AccountSuspended),
                Life::Closed => return Err(Code::AccountClosed),
            }
            total = self.total(w);
            room = self.lot_room(rules, w, at)
                && usize::from(self.accounts.get(w).lot_count) + lots.len() <= usize::from(crate::funds::LOTS_MAX);
        }
        if !room {
            return Err(Code::LotLimit);
        }
        let sum: u64 = lots.iter().map(|t| t.amount).sum();
        let fits = |t: &Taken| total.saturating_add(sum) <= rules.programme_at(t.programme).rules.balance_max;
        if lots.iter().all(fits) { Ok(()) } else { Err(Code::BalanceLimit) }
    }

    fn put_in_wallet(&mut self, id: &AccountId, t: &Taken, at: Timestamp) -> u32 {
        match self.account(account_hash(id), id) {
            Some(w) => {
                self.put(w, t, at);
                w
            }
            None => self.add_account(Account::with_first_lot(*id, &Self::lot_from(t, at), true, 0)),
        }
    }

    /// The operator gives value back (F17): a new lot on an account that exists.
    pub(crate) fn reinstate(
        &mut self,
        rules: &Rules,
        c: &Context,
        programme: ProgrammeId,
        amount: u64,
        expires_at: Timestamp,
        corrects: &Key,
    ) -> Verdict {
        let Some(a) = self.account(c.account_hash, &c.envelope.account) else {
            return Verdict::of(Code::AccountUnknown);
        };
        self.settle_holds(a, c.at);
        if self.accounts.get(a).life() == Life::Closed {
            return Verdict::of(Code::AccountClosed);
        }
        let corrected = match self.original_that_took(rules, c, corrects) {
            _ if *corrects == Key::NONE => None,
            Ok(n) => Some(n),
            // Too old to be looked up: the office has looked elsewhere. Anything else names no debit.
            Err(Code::OriginalTooOld) => None,
            Err(_) => return Verdict::of(Code::OriginalUnknown),
        };
        let mut kind = LotKind::Promo;
        if let Some(n) = corrected {
            match self.corrects(a, n, amount) {
                Ok(k) => kind = k,
                Err(code) => return Verdict::of(code),
            }
        }
        let terms = LotTerms { programme, amount, expires_at, valid_from: Timestamp::ZERO, kind };
        let t = match Self::terms(rules, c, &terms) {
            Ok(t) => t,
            Err(code) => return Verdict::of(code),
        };
        if !self.lot_room(rules, a, c.at) {
            return Verdict::of(Code::LotLimit);
        }
        self.taken.clear();
        let mut related = tegata_model::Position::ZERO;
        if let Some(n) = corrected {
            let detail = self.detail_for(a, n);
            self.taken.clear();
            self.details.get_mut(detail).reinstated += amount;
            related = self.decisions.get(n).map_or(related, |d| d.position);
        }
        self.put(a, &t, c.at);
        let sums = self.sums_of(t.programme);
        sums.reinstated += u128::from(amount);
        sums.balances += u128::from(amount);
        Verdict { related, ..self.credited(rules, c, a, t) }
    }

    /// The kind of value that a corrected debit took; an error when more would come back than it took.
    fn corrects(&self, account: u32, n: u32, amount: u64) -> Result<LotKind, Code> {
        let d = self.decisions.get(n).ok_or(Code::OriginalUnknown)?;
        if !takes_kind(d.kind) {
            return Err(Code::OriginalKind);
        }
        if !matches!(Code::from_u8(d.code), Some(Code::Approved | Code::PartiallyApproved)) {
            return Err(Code::OriginalDeclined);
        }
        match d.state {
            State::Final | State::Captured | State::PartlyReturned | State::Reversed => {}
            State::Open => return Err(Code::OriginalKind),
            State::Voided | State::Fenced => return Err(Code::HoldVoided),
        }
        // What the account did not cover was never the holder's. It is the first to come back.
        let missing: u64 =
            self.allocations_of(d.detail).filter(|(_, x)| x.lot == SHORTFALL).map(|(_, x)| x.amount - x.returned).sum();
        let left =
            if d.detail == 0 { d.amount } else { self.details.get(d.detail).returnable().saturating_sub(missing) };
        if amount > left {
            return Err(Code::ExceedsOriginal);
        }
        if d.flags & flag::FIRST_LOT != 0 {
            return Ok(self.accounts.get(account).first_lot().lot_kind());
        }
        let paid = d.detail != 0 && self.allocations_of(d.detail).any(|(_, x)| x.kind == LotKind::Paid as u8);
        Ok(if paid { LotKind::Paid } else { LotKind::Promo })
    }

    /// Suspends, resumes or closes an account; what is closed stays closed.
    pub(crate) fn account_life(&mut self, c: &Context, life: Life) -> Verdict {
        let Some(n) = self.account(c.account_hash, &c.envelope.account) else {
            return Verdict::of(Code::AccountUnknown);
        };
        if self.accounts.get(n).life() == Life::Closed && life != Life::Closed {
            return Verdict::of(Code::AccountClosed);
        }
        self.accounts.get_mut(n).set_life(life);
        Verdict::of(Code::Approved)
    }
}

impl Engine {
    /// Moves a coupon's lots into a wallet, at one position, whichever shards they live in. `amount` 0 moves all
    /// that can be spent.
    pub(crate) fn charge(&mut self, c: &Context, wallet: &AccountId, amount: u64) -> Verdict {
        let (i, j) = (self.shard_of_hash(c.account_hash), self.shard_of_hash(account_hash(wallet)));
        let (rules, shard) = (&self.rules, &mut self.shards[i]);
        let clock = rules.expiry_clock(c.received);
        let Some(coupon) = shard.account(c.account_hash, &c.envelope.account) else {
            return Verdict::of(Code::AccountUnknown);
        };
        shard.settle_holds(coupon, c.at);
        let a = *shard.accounts.get(coupon);
        let declined =
            |s: &Shard, code| Verdict { balance: s.spendable(rules, coupon, clock, c.at), ..Verdict::of(code) };
        match a.life() {
            _ if a.is_wallet() || *wallet == c.envelope.account => return declined(shard, Code::AccountKind),
            Life::Active => {}
            Life::Suspended => return declined(shard, Code::AccountSuspended),
            Life::Closed => return declined(shard, Code::AccountClosed),
        }
        let (sum, why) = shard.choose(rules, coupon, None, clock);
        let amount = if amount == 0 { sum } else { amount };
        if amount == 0 || amount > sum {
            return declined(shard, why);
        }
        if let Err(code) = shard.allocate_unlimited(amount) {
            return declined(shard, code);
        }
        let lots = std::mem::take(&mut shard.taken);
        let refused = self.shards[j].wallet_takes(rules, wallet, &lots, c.at).err();
        let shard = &mut self.shards[i];
        shard.taken = lots;
        if let Some(code) = refused {
            shard.taken.clear();
            return Verdict { balance: shard.spendable(rules, coupon, clock, c.at), ..Verdict::of(code) };
        }
        shard.take(coupon, c.at);
        let detail = shard.detail_of_taken();
        let mut other = 0;
        let lots = std::mem::take(&mut shard.taken);
        for t in &lots {
            self.shards[i].sums_of(t.programme).lower_balances(t.amount);
            other = self.shards[j].put_in_wallet(wallet, t, c.at);
            self.shards[j].sums_of(t.programme).balances += u128::from(t.amount);
        }
        let shard = &mut self.shards[i];
        shard.taken = lots;
        let d = shard.details.get_mut(detail);
        (d.other, d.other_shard) = (other, j as u16);
        let balance = shard.spendable(rules, coupon, clock, c.at);
        Verdict { amount, balance, detail, ..Verdict::of(Code::Approved) }
    }
}
