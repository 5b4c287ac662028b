//! Advices: debits that a gateway's client approved under a lease while it could not reach the core (FIELD, stand-in).
//!
//! What an advice tells has happened: it is accepted, once, whatever has become of the account, the shop, the rules, the
//! lease or the key. It takes what a debit could have taken at the instant of the approval, whatever the ceilings; the
//! rest is the programme's shortfall, kept as the last of the debit's allocations, so that it is the first to come back.
//!
//! ```text
//! key new ──────────────────────▶ decides the key, with the debit's fingerprint
//! key decided: same debit done ─▶ that decision; nothing is taken
//! key decided: anything else ───▶ a decision beside it, for the office; of a key that was reversed it takes nothing
//! ```
//!
//! What stands beside a decision came after it, and memory is given back in order: it is known as long as the key.

use crate::Engine;
use crate::apply::{Applied, Context, KeyCheck, Verdict};
use crate::funds::{ALLOCATIONS_MAX, SHORTFALL, Taken};
use crate::guard::{like_hash, terminal_hash};
use crate::rules::Rules;
use crate::shard::{Shard, key_hash};
use crate::slots::{Remembered, flag};
use tegata_model::{Advice, Code, Envelope, Life, Operation, Position, State, Timestamp};

impl Engine {
    /// Accepts an advice.
    pub(crate) fn advise(&mut self, c: &Context, a: &Advice, fingerprint: u64) -> Applied {
        let shard = &self.shards[c.shard];
        let earlier = match shard.check_key(&self.rules, c) {
            KeyCheck::New => None,
            KeyCheck::Refused(code) => return Applied::refused(code, c.at),
            KeyCheck::Known(n) => match shard.advised(&c.envelope, c.account_hash, n, fingerprint) {
                Some(applied) => return applied,
                None => shard.decisions.get(n).copied(),
            },
        };
        // A lease names a programme, and programmes stay: this one was never granted.
        let Some(programme) = self.rules.programme(a.programme) else {
            return Applied::refused(Code::Malformed, c.at);
        };
        self.rules.programmes[programme as usize].exercised_at = c.at;
        let (mut approved_at, mut covered) = (c.received, false);
        if let Some(lease) = self.rules.lease(a.programme, a.lease).filter(|l| l.gateway == c.envelope.gateway) {
            approved_at = a.approved_at.max(lease.from).min(lease.until.minus_micros(1)).min(c.at);
            covered = lease.use_for(c.envelope.account, a);
        }
        let (rules, shard) = (&self.rules, &mut self.shards[c.shard]);
        let Some(earlier) = earlier else {
            let flags = if covered { 0 } else { flag::OVER_LEASE };
            return shard.take_advice(rules, c, a, fingerprint, programme, approved_at, flags, Position::ZERO);
        };
        let key = c.envelope.key.beside();
        let hash = key_hash(c.account_hash, c.envelope.namespace, &key);
        let beside = Context { envelope: Envelope { key, ..c.envelope }, key_hash: hash, ..*c };
        let flags = flag::BESIDE | if covered { 0 } else { flag::OVER_LEASE };
        if earlier.flags & flag::UNDONE != 0 {
            // Treated as never made before it was told of (FIELD, reversal).
            let v = Verdict {
                related: earlier.position,
                state: State::Reversed,
                flags: flags | flag::FLAGGED | flag::DELIVERED,
                ..Verdict::of(Code::Approved)
            };
            return shard.conclude(&beside, Operation::ADVICE, fingerprint, &v).0;
        }
        shard.take_advice(rules, &beside, a, fingerprint, programme, approved_at, flags, earlier.position)
    }
}

impl Shard {
    /// The answer to an advice whose key is decided; nothing when it stands beside that decision.
    pub(crate) fn advised(&self, e: &Envelope, account_hash: u64, n: u32, fingerprint: u64) -> Option<Applied> {
        let d = self.decisions.get(n)?;
        if d.fingerprint == fingerprint && d.took() {
            return Some(self.repeat(n, fingerprint, false));
        }
        self.beside(e, account_hash).map(|n| self.repeat(n, fingerprint, false))
    }

    /// The advice that stands beside the decision under a key.
    pub(crate) fn beside(&self, e: &Envelope, account_hash: u64) -> Option<u32> {
        let key = e.key.beside();
        self.decision(key_hash(account_hash, e.namespace, &key), e.namespace, &e.account, &key)
    }

    fn take_advice(
        &mut self,
        rules: &Rules,
        c: &Context,
        a: &Advice,
        fingerprint: u64,
        programme: u32,
        approved_at: Timestamp,
        flags: u8,
        related: Position,
    ) -> Applied {
        let p = &a.purchase;
        let (shop, amount) = (rules.shop(&p.shop).unwrap_or(0), p.amount.get());
        let account = self.account(c.account_hash, &c.envelope.account);
        if let Some(account) = account {
            self.settle_holds(account, c.at);
            self.take_what_is_there(rules, account, shop, amount, rules.expiry_clock(approved_at), c.at);
        }
        for i in 0..self.taken.len() {
            let t = self.taken[i];
            self.sums_of(t.programme).spend(t.amount);
        }
        let missing = amount - self.taken.iter().map(|t| t.amount).sum::<u64>();
        if missing > 0 {
            self.taken.push(Taken::shortfall(programme, missing));
            let sums = self.sums_of(programme);
            sums.shortfall += u128::from(missing);
            sums.spent += u128::from(missing);
        }
        let mut v = Verdict { amount, related, shop, ..Verdict::of(Code::Approved) };
        v.terminal = terminal_hash(&p.terminal);
        v.detail = self.detail_of_taken();
        // Its caller has shown what it knows: it was the first to know.
        v.flags = flags | flag::DELIVERED | if flags == 0 { 0 } else { flag::FLAGGED };
        let clock = rules.expiry_clock(c.received);
        v.balance = account.map_or(0, |n| self.spendable(rules, n, clock, c.at));
        let like = like_hash(c.account_hash, shop, amount);
        let newest = if shop == 0 { None } else { self.newest_like(like, c, shop, amount) };
        if shop != 0 {
            self.count_spent(shop, amount);
            v.like_before = newest.unwrap_or(0);
        }
        let (applied, n) = self.conclude(c, Operation::ADVICE, fingerprint, &v);
        match newest {
            _ if shop == 0 => {}
            Some(old) => self.like_index.replace(like, old, n),
            None => self.like_index.insert(like, n),
        }
        applied
    }

    /// Takes as much of `amount` as a debit could have taken, whatever the ceilings.
    fn take_what_is_there(&mut self, rules: &Rules, account: u32, shop: u32, amount: u64, clock: i64, at: Timestamp) {
        let here = rules.shops.get(shop);
        if shop == 0 || here.life != Life::Active || self.accounts.get(account).life() != Life::Active {
            return;
        }
        self.choose(rules, account, Some(here), clock);
        // One allocation is left for the shortfall.
        self.candidates.truncate(ALLOCATIONS_MAX - 1);
        let there = self.candidates.iter().map(|c| c.yen()).sum();
        if self.allocate_unlimited(amount.min(there)).is_ok() {
            self.take(account, at);
        }
    }
}

impl Remembered {
    /// True when it took value, or held it.
    pub(crate) fn took(&self) -> bool {
        matches!(Code::from_u8(self.code), Some(Code::Approved | Code::PartiallyApproved))
    }
}

impl Taken {
    fn shortfall(programme: u32, amount: u64) -> Self {
        Self { lot: SHORTFALL, amount, first: false, programme, expires_at: i64::MAX, valid_from: 0, kind: 0 }
    }
}

/// What an advice is besides approved.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct AdviceMarks {
    /// Its lease does not cover it.
    pub over_lease: bool,
    /// It stands beside another decision under its key.
    pub beside: bool,
}

impl Engine {
    /// The marks of the advice at a position, while it is remembered.
    #[must_use]
    pub fn advice_marks(&self, position: Position) -> AdviceMarks {
        let flags = self.shards.iter().fold(0, |flags, s| flags | s.flags_at(position));
        AdviceMarks { over_lease: flags & flag::OVER_LEASE != 0, beside: flags & flag::BESIDE != 0 }
    }
}
