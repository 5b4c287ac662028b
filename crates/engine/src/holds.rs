//! What becomes of a hold: captured, confirmed, voided. A hold that is past its instant was settled before.

use crate::apply::{Context, Verdict};
use crate::rules::Rules;
use crate::shard::{Shard, key_hash};
use crate::slots::{Remembered, kind};
use tegata_model::{Code, Key, State, Timestamp};

impl Shard {
    /// The decision under another key of the same account and namespace.
    pub(crate) fn original(&self, rules: &Rules, c: &Context, key: &Key) -> Result<u32, Code> {
        let hash = key_hash(c.account_hash, c.envelope.namespace, key);
        if let Some(n) = self.decision(hash, c.envelope.namespace, &c.envelope.account, key)
            && key.created_at().is_some_and(|created| rules.remembers(created, c.at))
        {
            return Ok(n);
        }
        match rules.key_time(key, c.at) {
            Err(Code::KeyTooOld) => Err(Code::OriginalTooOld),
            Err(code) => Err(code),
            Ok(_) => Err(Code::OriginalUnknown),
        }
    }

    /// Takes what a hold reserved, or less; `amount` 0 takes all. A confirmation takes all, and may be repeated.
    pub(crate) fn capture(&mut self, rules: &Rules, c: &Context, key: &Key, amount: u64, confirm: bool) -> Verdict {
        let (account, n, d) = match self.hold(rules, c, key) {
            Ok(found) => found,
            Err(v) => return v,
        };
        let clock = rules.expiry_clock(c.received);
        let refused = |s: &Self, code| Verdict {
            balance: s.spendable(rules, account, clock, c.at),
            related: d.position,
            ..Verdict::of(code)
        };
        let fits = if confirm { d.kind == kind::DEBIT_CONFIRMED } else { d.kind == kind::HOLD };
        if !fits {
            return refused(self, Code::OriginalKind);
        }
        let detail = d.detail;
        let held = self.details.get(detail).taken;
        match d.state {
            State::Open => {}
            State::Captured | State::PartlyReturned if confirm => {
                let v = Verdict { amount: held, ..refused(self, Code::Approved) };
                return self.with_original(v, n);
            }
            State::Captured | State::PartlyReturned => return refused(self, Code::HoldCaptured),
            State::Reversed => return refused(self, Code::AlreadyReversed),
            State::Voided | State::Final | State::Fenced => return refused(self, Code::HoldVoided),
        }
        let wanted = if amount == 0 { held } else { amount };
        if wanted > held {
            return refused(self, Code::ExceedsOriginal);
        }
        self.give_back_rest(account, detail, held - wanted, c.at);
        let parts: Vec<(u32, u64)> = self.allocations_of(detail).map(|(_, x)| (x.programme, x.amount)).collect();
        for (programme, yen) in parts {
            self.sums_of(programme).spend(yen);
        }
        self.count_spent(d.shop, wanted);
        self.unlink_hold(account, detail);
        if let Some(d) = self.decisions.get_mut(n) {
            d.state = State::Captured;
        }
        let v = Verdict { amount: wanted, ..refused(self, Code::Approved) };
        self.with_original(v, n)
    }

    /// Cancels a hold.
    pub(crate) fn void(&mut self, rules: &Rules, c: &Context, key: &Key) -> Verdict {
        let (account, n, d) = match self.hold(rules, c, key) {
            Ok(found) => found,
            Err(v) => return v,
        };
        let clock = rules.expiry_clock(c.received);
        let (code, amount) = match d.state {
            State::Open => {
                let held = self.details.get(d.detail).taken;
                self.release_hold(account, d.detail, c.at, State::Voided);
                (Code::Approved, held)
            }
            // The caller wants nothing to stay reserved, and nothing is.
            State::Voided | State::Reversed => (Code::Approved, 0),
            State::Captured | State::PartlyReturned => (Code::HoldCaptured, 0),
            State::Final | State::Fenced => (Code::OriginalKind, 0),
        };
        let balance = self.spendable(rules, account, clock, c.at);
        self.with_original(Verdict { amount, balance, related: d.position, ..Verdict::of(code) }, n)
    }

    /// A verdict that refers to another decision keeps its number, so that a reversal of it finds the original.
    pub(crate) fn with_original(&mut self, mut v: Verdict, original: u32) -> Verdict {
        if v.detail == 0 {
            v.detail = self.bare_detail();
        }
        self.details.get_mut(v.detail).original = original;
        v
    }

    /// The account, the number and the decision of a hold under `key`.
    fn hold(&mut self, rules: &Rules, c: &Context, key: &Key) -> Result<(u32, u32, Remembered), Verdict> {
        let n = self.original(rules, c, key).map_err(Verdict::of)?;
        let account = self.account(c.account_hash, &c.envelope.account);
        let account = account.ok_or(Verdict::of(Code::AccountUnknown))?;
        self.settle_holds(account, c.at);
        let d = self.decisions.get(n).copied().ok_or(Verdict::of(Code::OriginalUnknown))?;
        if d.kind != kind::HOLD && d.kind != kind::DEBIT_CONFIRMED {
            return Err(Verdict { related: d.position, ..Verdict::of(Code::OriginalKind) });
        }
        if !matches!(Code::from_u8(d.code), Some(Code::Approved | Code::PartiallyApproved)) {
            return Err(Verdict { related: d.position, ..Verdict::of(Code::OriginalDeclined) });
        }
        Ok((account, n, d))
    }

    /// Puts `rest` of a hold back, last-consumed lots first, and lowers the allocations by it.
    pub(crate) fn give_back_rest(&mut self, account: u32, detail: u32, mut rest: u64, at: Timestamp) {
        let given = rest;
        let all: Vec<_> = self.allocations_of(detail).collect();
        for (slot, x) in all.into_iter().rev() {
            let yen = rest.min(x.amount);
            if yen == 0 {
                continue;
            }
            rest -= yen;
            self.put(account, &crate::funds::taken_from(&x, yen), at);
            self.allocations.get_mut(slot).amount = x.amount - yen;
        }
        assert!(rest == 0, "a hold's allocations sum to what it holds");
        let d = self.details.get_mut(detail);
        d.taken -= given;
    }
}
