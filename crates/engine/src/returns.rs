//! Value goes back: reversals ("as if it had never been made") and refunds (a new credit).

use crate::Engine;
use crate::apply::{Context, Verdict};
use crate::funds::{SHORTFALL, Taken, taken_from};
use crate::rules::Rules;
use crate::shard::{Shard, key_hash};
use crate::slots::{Allocation, Remembered, flag, kind, lot_id};
use tegata_model::{Code, Envelope, ExpiredRefund, Key, Life, Position, State, Timestamp};

/// The vacant slot: an advice about an account that is not known took from nobody.
const NOBODY: Option<u32> = Some(0);

impl Engine {
    /// Leaves `remain` yen of the original, or fences it when it was never seen.
    pub(crate) fn reverse(&mut self, c: &Context, original: &Key, remain: u64) -> Verdict {
        let i = self.shard_of_hash(c.account_hash);
        let (rules, shard) = (&self.rules, &mut self.shards[i]);
        if *original == c.envelope.key {
            return Verdict::of(Code::OriginalKind);
        }
        let n = match shard.original_that_took(rules, c, original) {
            Ok(n) => n,
            Err(Code::OriginalUnknown) => {
                shard.fence_original(c, original);
                return Verdict::of(Code::Approved);
            }
            Err(code) => return Verdict::of(code),
        };
        if remain == 0
            && let Some(d) = shard.decisions.get_mut(n).filter(|d| !d.took())
        {
            d.flags |= flag::UNDONE;
        }
        let Some(n) = shard.resolve(rules, n, c.at) else { return Verdict::of(Code::OriginalTooOld) };
        let account = shard.account(c.account_hash, &c.envelope.account);
        if let Some(a) = account {
            shard.settle_holds(a, c.at);
        }
        let Some(d) = shard.decisions.get(n).copied() else { return Verdict::of(Code::Approved) };
        let Some(account) = account.or(NOBODY.filter(|_| d.kind == kind::ADVICE)) else {
            return Verdict::of(Code::Approved);
        };
        let amount = match d.kind {
            _ if !d.took() => 0,
            kind::DEBIT | kind::DEBIT_CONFIRMED | kind::HOLD | kind::ADVICE => {
                shard.reverse_purchase(account, n, &d, remain, c.at)
            }
            kind::ISSUE | kind::LOAD => shard.reverse_credit(account, n, &d, remain, c.at),
            kind::CHARGE => self.reverse_charge(i, account, n, &d, remain, c.at),
            _ => return Verdict { related: d.position, ..Verdict::of(Code::OriginalKind) },
        };
        let shard = &mut self.shards[i];
        let balance = shard.spendable(&self.rules, account, self.rules.expiry_clock(c.received), c.at);
        let v = Verdict { amount, balance, related: d.position, ..Verdict::of(Code::Approved) };
        shard.with_original(v, n)
    }

    /// Moves what is left of a charge from the wallet back to the coupon.
    fn reverse_charge(&mut self, i: usize, coupon: u32, n: u32, d: &Remembered, remain: u64, at: Timestamp) -> u64 {
        let shard = &mut self.shards[i];
        let detail = *shard.details.get(d.detail);
        let other = usize::from(detail.other_shard);
        let mut due = detail.taken.saturating_sub(remain).saturating_sub(detail.returned);
        let parts: Vec<(u32, Allocation)> = shard.allocations_of(d.detail).collect();
        self.shards[other].settle_holds(detail.other, at);
        let mut sum = 0;
        for (slot, x) in parts.into_iter().rev() {
            let wallet = &mut self.shards[other];
            let yen = wallet.take_from_lot(detail.other, x.lot, due.min(x.amount - x.returned), at);
            if yen == 0 {
                continue;
            }
            due -= yen;
            sum += yen;
            // Both accounts hold value of the same programme; only the shards' shares of its balances change.
            wallet.sums_of(x.programme).lower_balances(yen);
            let shard = &mut self.shards[i];
            shard.sums_of(x.programme).balances += u128::from(yen);
            shard.allocations.get_mut(slot).returned += yen;
            let t = taken_from(&x, yen);
            shard.put(coupon, &t, at);
            shard.taken.push(t);
        }
        self.shards[i].count_returned(n, d.detail, sum);
        sum
    }
}

impl Shard {
    /// The decision under a key; where that took nothing, the advice that stands beside it.
    pub(crate) fn original_that_took(&self, rules: &Rules, c: &Context, key: &Key) -> Result<u32, Code> {
        let n = self.original(rules, c, key)?;
        if self.decisions.get(n).is_some_and(Remembered::took) {
            return Ok(n);
        }
        Ok(self.beside(&Envelope { key: *key, ..c.envelope }, c.account_hash).unwrap_or(n))
    }

    /// A capture or a confirmation stands for its hold; nothing when the hold is out of the horizon.
    fn resolve(&self, rules: &Rules, n: u32, at: Timestamp) -> Option<u32> {
        let hold = match self.decisions.get(n) {
            Some(d) if matches!(d.kind, kind::CAPTURE | kind::CONFIRM) && d.detail != 0 => {
                self.details.get(d.detail).original
            }
            _ => 0,
        };
        if hold == 0 {
            return Some(n);
        }
        let created = self.decisions.get(hold)?.key.created_at()?;
        rules.remembers(created, at).then_some(hold)
    }

    /// A tombstone under a key that was never seen: should it still arrive, it is declined.
    fn fence_original(&mut self, c: &Context, original: &Key) {
        let hash = key_hash(c.account_hash, c.envelope.namespace, original);
        let tombstone = Remembered {
            key: *original,
            account: c.envelope.account,
            namespace: c.envelope.namespace,
            position: c.position,
            at: c.at,
            code: Code::Fenced.number(),
            kind: kind::REVERSAL,
            state: State::Fenced,
            flags: flag::UNDONE,
            ..Remembered::default()
        };
        self.remember(hash, tombstone, Position::ZERO);
    }

    fn reverse_purchase(&mut self, account: u32, n: u32, d: &Remembered, remain: u64, at: Timestamp) -> u64 {
        let detail = self.detail_for(account, n);
        let x = *self.details.get(detail);
        self.taken.clear();
        let due = x.returnable().saturating_sub(remain);
        match d.state {
            State::Open if remain == 0 => self.release_hold(account, detail, at, State::Reversed),
            State::Open => self.give_back_rest(account, detail, due, at),
            State::Final | State::Captured | State::PartlyReturned => {
                self.put_back(account, detail, due, at);
                self.count_shop_returned(d.shop, due);
                self.count_returned(n, detail, due);
            }
            State::Voided | State::Reversed | State::Fenced => return 0,
        }
        due
    }

    /// Puts `due` yen of spent value back to exactly the lots that it came from, last-consumed first.
    fn put_back(&mut self, account: u32, detail: u32, mut due: u64, at: Timestamp) {
        let all: Vec<(u32, Allocation)> = self.allocations_of(detail).collect();
        for (slot, x) in all.into_iter().rev() {
            let yen = due.min(x.amount - x.returned);
            if yen > 0 {
                due -= yen;
                let t = taken_from(&x, yen);
                if x.lot == SHORTFALL {
                    self.sums_of(x.programme).lower_shortfall(yen);
                } else {
                    self.put(account, &t, at);
                    self.sums_of(x.programme).give_back(yen);
                }
                self.allocations.get_mut(slot).returned += yen;
                self.taken.push(t);
            }
        }
        assert!(due == 0, "allocations sum to what is taken");
    }

    /// Takes back what remains of an issued or loaded lot.
    fn reverse_credit(&mut self, account: u32, n: u32, d: &Remembered, remain: u64, at: Timestamp) -> u64 {
        let detail = self.detail_for(account, n);
        let returned = self.details.get(detail).returned;
        self.taken.clear();
        let due = d.amount.saturating_sub(returned).saturating_sub(remain);
        let lot = lot_id(d.position, 0);
        let Some((_, l)) = self.lots_of(account).find(|(_, l)| l.id == lot) else { return 0 };
        let yen = self.take_from_lot(account, lot, due, at);
        let sums = self.sums_of(l.programme);
        sums.lower_balances(yen);
        let made = if d.kind == kind::ISSUE { &mut sums.issued } else { &mut sums.charged };
        *made = made.checked_sub(u128::from(yen)).expect("no more is taken back than was made");
        self.taken.push(Taken { amount: yen, ..crate::funds::taken_of_lot(&l, false) });
        self.count_returned(n, detail, yen);
        yen
    }

    /// Takes at most `want` yen out of one lot by name; returns how many it had.
    fn take_from_lot(&mut self, account: u32, lot: u64, want: u64, at: Timestamp) -> u64 {
        use crate::funds::Place;
        let Some((place, l)) = self.lots_of(account).find(|(_, l)| l.id == lot) else { return 0 };
        let yen = want.min(l.remaining);
        match place {
            Place::First => self.accounts.get_mut(account).remaining = l.remaining - yen,
            Place::Slot(n) => {
                let slot = self.lots.get_mut(n);
                slot.remaining = l.remaining - yen;
                slot.touched_s = slot.touched_s.max(crate::funds::seconds(at));
            }
        }
        yen
    }

    fn count_returned(&mut self, n: u32, detail: u32, yen: u64) {
        if yen == 0 {
            return;
        }
        let x = self.details.get_mut(detail);
        x.returned += yen;
        let state = if x.returnable() == 0 { State::Reversed } else { State::PartlyReturned };
        if let Some(d) = self.decisions.get_mut(n) {
            d.state = state;
        }
    }

    fn count_shop_returned(&mut self, shop: u32, yen: u64) {
        // An advice may name a shop that is not registered.
        if shop == 0 {
            return;
        }
        let s = self.shop_sums(shop);
        s.returned = s.returned.saturating_add(yen);
    }

    /// New credit for an earlier debit: to the lots it came from, last-consumed first.
    pub(crate) fn refund(&mut self, rules: &Rules, c: &Context, key: &Key, amount: u64) -> Verdict {
        let n = match self.original_that_took(rules, c, key) {
            Ok(n) => n,
            Err(code) => return Verdict::of(code),
        };
        let Some(n) = self.resolve(rules, n, c.at) else { return Verdict::of(Code::OriginalTooOld) };
        let account = self.account(c.account_hash, &c.envelope.account);
        let Some(d) = self.decisions.get(n).copied() else { return Verdict::of(Code::OriginalUnknown) };
        let Some(account) = account.or(NOBODY.filter(|_| d.kind == kind::ADVICE)) else {
            return Verdict::of(Code::OriginalUnknown);
        };
        self.settle_holds(account, c.at);
        let clock = rules.expiry_clock(c.received);
        let d = self.decisions.get(n).copied().unwrap_or(d);
        let refused = |s: &Self, code| Verdict {
            balance: s.spendable(rules, account, clock, c.at),
            related: d.position,
            ..Verdict::of(code)
        };
        if !matches!(d.kind, kind::DEBIT | kind::DEBIT_CONFIRMED | kind::HOLD | kind::ADVICE) {
            return refused(self, Code::OriginalKind);
        }
        if !d.took() {
            return refused(self, Code::OriginalDeclined);
        }
        match d.state {
            State::Final | State::Captured | State::PartlyReturned => {}
            State::Reversed => return refused(self, Code::AlreadyReversed),
            State::Open => return refused(self, Code::OriginalKind),
            State::Voided | State::Fenced => return refused(self, Code::HoldVoided),
        }
        if self.accounts.get(account).life() == Life::Closed {
            return refused(self, Code::AccountClosed);
        }
        let detail = self.detail_for(account, n);
        let x = *self.details.get(detail);
        self.taken.clear();
        if amount > x.returnable() {
            return refused(self, Code::ExceedsOriginal);
        }
        if !self.lot_room(rules, account, c.at) {
            return refused(self, Code::LotLimit);
        }
        self.refund_lots(rules, c, account, detail, amount);
        self.count_shop_returned(d.shop, amount);
        self.count_returned(n, detail, amount);
        let v = Verdict { amount, ..refused(self, Code::Approved) };
        self.with_original(v, n)
    }

    fn refund_lots(&mut self, rules: &Rules, c: &Context, account: u32, detail: u32, amount: u64) {
        let clock = rules.expiry_clock(c.received);
        let all: Vec<(u32, Allocation)> = self.allocations_of(detail).collect();
        let mut due = amount;
        for (i, (slot, x)) in all.into_iter().enumerate().rev() {
            let yen = due.min(x.amount - x.returned);
            if yen == 0 {
                continue;
            }
            due -= yen;
            self.allocations.get_mut(slot).returned += yen;
            if x.lot == SHORTFALL {
                self.sums_of(x.programme).lower_shortfall(yen);
                self.taken.push(taken_from(&x, yen));
                continue;
            }
            let p = &rules.programme_at(x.programme).rules;
            let expired = clock >= rules.expiry(x.expires_at, x.programme, x.lot);
            let sums = self.sums_of(x.programme);
            match (expired, p.expired_refund) {
                (false, _) => {
                    sums.give_back(yen);
                    let t = taken_from(&x, yen);
                    self.put(account, &t, c.at);
                    self.taken.push(t);
                }
                (true, ExpiredRefund::Reinstate) => {
                    sums.give_back(yen);
                    let expires_at = crate::operate::end_of_day(c.at, p.refund_days, p.zone_minutes).micros();
                    let t = Taken { lot: lot_id(c.position, i as u64), expires_at, ..taken_from(&x, yen) };
                    self.put(account, &t, c.at);
                    self.taken.push(t);
                }
                (true, ExpiredRefund::Forfeit) => {
                    sums.returned += u128::from(yen);
                    sums.expired += u128::from(yen);
                }
                (true, ExpiredRefund::PayOut) => {
                    sums.returned += u128::from(yen);
                    sums.paid_out += u128::from(yen);
                }
            }
        }
        assert!(due == 0, "the limit was checked");
    }
}
