//! Debits, confirmed debits and holds: taking value at a shop.

use crate::apply::{Applied, Context, Verdict};
use crate::funds::{HOLDS_MAX, Taken, obstacle};
use crate::guard::{Suspicion, like_hash, terminal_hash};
use crate::rules::Rules;
use crate::shard::Shard;
use crate::slots::{Account, flag};
use tegata_model::{Code, Life, Position, PurchaseRecord, State};

/// No hold lives longer, whatever its programme says: 7 days (FIELD, holds).
const HOLD_S_MAX: u32 = 604_800;
/// Record kind of a plain debit; the other two are holds.
const KIND_DEBIT: u16 = 4;

impl Shard {
    /// Decides a purchase under a key that is new.
    #[inline]
    pub(crate) fn purchase(
        &mut self,
        rules: &Rules,
        c: &Context,
        r: &PurchaseRecord,
        fingerprint: u64,
        shop: u32,
    ) -> Applied {
        let p = &r.purchase;
        let shop = if shop == 0 { rules.shop(&p.shop).unwrap_or(0) } else { shop };
        let like = like_hash(c.account_hash, shop, p.amount.get());
        let newest = if shop == 0 { None } else { self.newest_like(like, c, shop, p.amount.get()) };
        let mut v = self.decide_purchase(rules, c, r, shop, newest);
        v.shop = shop;
        v.terminal = terminal_hash(&p.terminal);
        let approved = matches!(v.code, Code::Approved | Code::PartiallyApproved);
        if approved {
            v.like_before = newest.unwrap_or(0);
        } else {
            v.shop = 0;
        }
        let (applied, n) = self.conclude(c, r.kind, fingerprint, &v);
        if approved {
            match newest {
                Some(old) => self.like_index.replace(like, old, n),
                None => self.like_index.insert(like, n),
            }
        }
        applied
    }

    #[inline]
    fn decide_purchase(
        &mut self,
        rules: &Rules,
        c: &Context,
        r: &PurchaseRecord,
        shop: u32,
        newest: Option<u32>,
    ) -> Verdict {
        let p = &r.purchase;
        let Some(account) = self.account(c.account_hash, &c.envelope.account) else {
            return Verdict::of(Code::AccountUnknown);
        };
        self.settle_holds(account, c.at);
        let clock = rules.expiry_clock(c.received);
        let declined =
            |s: &Self, code| Verdict { balance: s.spendable(rules, account, clock, c.at), ..Verdict::of(code) };
        let a = *self.accounts.get(account);
        match a.life() {
            Life::Active => {}
            Life::Suspended => return declined(self, Code::AccountSuspended),
            Life::Closed => return declined(self, Code::AccountClosed),
        }
        if shop == 0 {
            return declined(self, Code::ShopUnknown);
        }
        let here = rules.shops.get(shop);
        assert!(here.id == p.shop, "the slot is that of the shop that the record names");
        if here.life != Life::Active {
            return declined(self, Code::ShopSuspended);
        }
        let known = self.known_to_caller(rules, newest, p.token, c.at);
        let flagged = match self.suspicion(rules, c, a.programme, newest, p, known) {
            Suspicion::None => Position::ZERO,
            Suspicion::Flag(position) => position,
            Suspicion::Ask(n) => return self.suspected(n),
        };
        let earlier = flagged.max(known);
        let plain = r.kind == KIND_DEBIT;
        if plain && a.lots == 0 && earlier == Position::ZERO && !p.partial {
            return self.debit_first_lot(rules, c, &a, account, shop, p.amount.get());
        }
        if !plain && self.holds_of(account).count() >= HOLDS_MAX {
            return declined(self, Code::HoldLimit);
        }
        let (sum, why) = self.choose(rules, account, Some(here), clock);
        let amount = match p.amount.get() {
            all if all <= sum => all,
            _ if p.partial && sum > 0 => sum,
            _ => return declined(self, why),
        };
        if let Err(code) = self.allocate(rules, amount) {
            return declined(self, code);
        }
        self.take(account, c.at);
        let mut v = Verdict::of(if amount < p.amount.get() { Code::PartiallyApproved } else { Code::Approved });
        v.amount = amount;
        v.related = earlier;
        v.flags = if flagged == Position::ZERO { 0 } else { flag::FLAGGED };
        let single = matches!(self.taken[..], [Taken { first: true, .. }]);
        if plain && single && v.code == Code::Approved && earlier == Position::ZERO {
            v.flags |= flag::FIRST_LOT;
        } else {
            v.detail = self.detail_of_taken();
            if v.code == Code::PartiallyApproved {
                self.details.get_mut(v.detail).asked = p.amount.get();
            }
        }
        if plain {
            for i in 0..self.taken.len() {
                let t = self.taken[i];
                self.sums_of(t.programme).spend(t.amount);
            }
            self.count_spent(shop, amount);
        } else {
            self.open_hold(rules, c, account, a.programme, r.seconds, v.detail);
            v.state = State::Open;
        }
        v.balance = self.spendable(rules, account, clock, c.at);
        v
    }

    /// The way that most payments take: one coupon, one lot.
    #[inline]
    fn debit_first_lot(
        &mut self,
        rules: &Rules,
        c: &Context,
        a: &Account,
        account: u32,
        shop: u32,
        amount: u64,
    ) -> Verdict {
        let clock = rules.expiry_clock(c.received);
        let lot = a.first_lot();
        let refusal = if a.remaining == 0 {
            Some(Code::InsufficientFunds)
        } else if let Some((_, code)) = obstacle(rules, &lot, Some(rules.shops.get(shop)), clock) {
            Some(code)
        } else if a.remaining < amount {
            Some(Code::InsufficientFunds)
        } else if amount > rules.programme_at(a.programme).rules.payment_max {
            Some(Code::AmountLimit)
        } else {
            None
        };
        if let Some(code) = refusal {
            return Verdict { balance: self.spendable(rules, account, clock, c.at), ..Verdict::of(code) };
        }
        let slot = self.accounts.get_mut(account);
        slot.remaining = a.remaining.checked_sub(amount).expect("compared just now");
        self.taken.push(Taken { amount, ..crate::funds::taken_of_lot(&lot, true) });
        self.sums_of(a.programme).spend(amount);
        self.count_spent(shop, amount);
        let balance = if a.holds == 0 { a.remaining - amount } else { self.spendable(rules, account, clock, c.at) };
        Verdict { amount, balance, flags: flag::FIRST_LOT, ..Verdict::of(Code::Approved) }
    }

    /// Adds to what a shop took.
    pub(crate) fn count_spent(&mut self, shop: u32, amount: u64) {
        let s = self.shop_sums(shop);
        s.spent = s.spent.saturating_add(amount);
        s.count = s.count.saturating_add(1);
    }

    fn suspected(&self, earlier: u32) -> Verdict {
        let Some(d) = self.decisions.get(earlier) else { return Verdict::of(Code::SuspectedDuplicate) };
        Verdict { amount: d.amount, balance: d.balance, related: d.position, ..Verdict::of(Code::SuspectedDuplicate) }
    }

    fn open_hold(&mut self, rules: &Rules, c: &Context, account: u32, programme: u32, seconds: u32, detail: u32) {
        let p = &rules.programme_at(programme).rules;
        let wanted = if seconds == 0 { p.hold_default_s } else { seconds };
        // A hold never outlives the memory of its key, which may have been made long before.
        let lives = wanted.min(p.hold_max_s).min(HOLD_S_MAX).min(rules.settings.horizon_s);
        let known_until = rules.known_until(&c.envelope.key);
        let next_hold = self.accounts.get(account).holds;
        let d = self.details.get_mut(detail);
        d.dies_at = c.at.plus_seconds(u64::from(lives)).min(known_until).micros();
        d.next_hold = next_hold;
        self.accounts.get_mut(account).holds = detail;
    }
}
