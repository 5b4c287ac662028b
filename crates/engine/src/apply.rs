//! One command, one decision. The order of the questions is the contract: known key → clock of the key → deadline →
//! the operation itself.

use crate::Engine;
use crate::funds::Taken;
use crate::hint::Hint;
use crate::lease::Lease;
use crate::rules::Rules;
use crate::shard::{Shard, account_hash, key_hash};
use crate::slots::{Remembered, flag};
use std::collections::BTreeMap;
use tegata_model::{
    Approval, Code, Command, Decision, Envelope, Key, NamespaceId, Operation, Position, PurchaseRecord, RecordError,
    State, Timestamp, Yen, decode, decode_purchase,
};

/// A receipt is never logged as more than this before its batch (FIELD, lots and expiry).
const RECEIPT_AGE_MAX_US: u64 = 30_000_000;
/// Decisions that one command may make the engine forget: two for the one it adds.
const FORGET_PER_COMMAND: usize = 2;

/// Where and when a command is applied.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Context {
    pub(crate) at: Timestamp,
    pub(crate) received: Timestamp,
    pub(crate) position: Position,
    pub(crate) envelope: Envelope,
    pub(crate) account_hash: u64,
    pub(crate) key_hash: u64,
    pub(crate) shard: usize,
}

/// What an operation came to, before it is stored.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Verdict {
    pub(crate) code: Code,
    pub(crate) amount: u64,
    pub(crate) balance: u64,
    pub(crate) related: Position,
    pub(crate) state: State,
    pub(crate) flags: u8,
    pub(crate) shop: u32,
    pub(crate) terminal: u32,
    pub(crate) detail: u32,
    pub(crate) like_before: u32,
}

impl Verdict {
    /// Nothing moved.
    #[inline]
    pub(crate) fn of(code: Code) -> Self {
        Self {
            code,
            amount: 0,
            balance: 0,
            related: Position::ZERO,
            state: State::Final,
            flags: 0,
            shop: 0,
            terminal: 0,
            detail: 0,
            like_before: 0,
        }
    }
}

/// What became of one command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Effect {
    /// Decided now, and stored under its key.
    Decided,
    /// Decided before; the stored decision again.
    Replayed,
    /// Nothing changed and nothing is stored.
    NotRecorded,
    /// A command of the node itself; nobody waits for an answer.
    Noted,
}

/// The answer to one command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Applied {
    /// The decision or refusal.
    pub decision: Decision,
    /// Whether it is new.
    pub effect: Effect,
    /// Executed although a like debit was seen.
    pub flagged: bool,
}

impl Applied {
    pub(crate) fn refused(code: Code, at: Timestamp) -> Self {
        Self { decision: Decision::refusal(code, at), effect: Effect::NotRecorded, flagged: false }
    }
}

impl Context {
    #[inline]
    fn new(envelope: Envelope, position: Position, at: Timestamp, hint: &Hint) -> Self {
        let received = envelope.received_at.min(at).max(at.minus_micros(RECEIPT_AGE_MAX_US));
        let (account_hash, key_hash, shard) = (hint.account, hint.key, hint.shard as usize);
        Self { at, received, position, envelope, account_hash, key_hash, shard }
    }
}

/// What the key alone decides.
pub(crate) enum KeyCheck {
    New,
    Known(u32),
    Refused(Code),
}

impl Rules {
    /// True when a decision under a key made at `created` may still be known at `at`.
    #[inline]
    pub(crate) fn remembers(&self, created: Timestamp, at: Timestamp) -> bool {
        created >= self.keys_from
            && at <= created.plus_seconds(u64::from(self.settings.horizon_s) + u64::from(self.settings.skew_s))
    }

    /// The last instant at which a decision under `key` is known.
    pub(crate) fn known_until(&self, key: &Key) -> Timestamp {
        let period = u64::from(self.settings.horizon_s) + u64::from(self.settings.skew_s);
        key.created_at().map_or(Timestamp::ZERO, |created| created.plus_seconds(period))
    }

    /// What the time in a key says when nothing is stored under it.
    #[inline]
    pub(crate) fn key_time(&self, key: &Key, at: Timestamp) -> Result<Timestamp, Code> {
        let created = key.created_at().ok_or(Code::KeyClock)?;
        if created > at.plus_seconds(u64::from(self.settings.skew_s)) {
            return Err(Code::KeyClock);
        }
        if created < self.keys_from || created.plus_seconds(u64::from(self.settings.horizon_s)) < at {
            return Err(Code::KeyTooOld);
        }
        Ok(created)
    }
}

impl Shard {
    #[inline]
    pub(crate) fn check_key(&self, rules: &Rules, c: &Context) -> KeyCheck {
        let e = &c.envelope;
        if let Some(n) = self.decision(c.key_hash, e.namespace, &e.account, &e.key)
            && e.key.created_at().is_some_and(|created| rules.remembers(created, c.at))
        {
            return KeyCheck::Known(n);
        }
        match rules.key_time(&e.key, c.at) {
            Err(code) => KeyCheck::Refused(code),
            Ok(_) if !e.deadline.is_zero() && c.at > e.deadline => KeyCheck::Refused(Code::DeadlinePassed),
            Ok(_) => KeyCheck::New,
        }
    }

    /// The stored decision for a repeat, or the conflict that names it.
    #[inline]
    pub(crate) fn repeat(&self, n: u32, fingerprint: u64, fence: bool) -> Applied {
        let Some(d) = self.decisions.get(n) else { return Applied::refused(Code::Unknown, Timestamp::ZERO) };
        let decision = d.decision(self.related(d));
        let flagged = d.flags & flag::FLAGGED != 0;
        if fence || d.fingerprint == fingerprint || d.state == State::Fenced {
            return Applied { decision, effect: Effect::Replayed, flagged };
        }
        let conflict = Decision { code: Code::Conflict, position: Position::ZERO, related: d.position, ..decision };
        Applied { decision: conflict, effect: Effect::NotRecorded, flagged: false }
    }

    /// Stores a verdict under its key, unless it is one that leaves the key free.
    #[inline]
    pub(crate) fn conclude(&mut self, c: &Context, kind: u16, fingerprint: u64, v: &Verdict) -> (Applied, u32) {
        let decision = Decision {
            code: v.code,
            amount: Yen::new(v.amount),
            balance: Yen::new(v.balance),
            position: c.position,
            at: c.at,
            related: v.related,
        };
        if !v.code.is_recorded() && v.code != Code::Fenced {
            let decision = Decision { position: Position::ZERO, ..decision };
            return (Applied { decision, effect: Effect::NotRecorded, flagged: false }, 0);
        }
        let mut detail = v.detail;
        if detail == 0 && v.related != Position::ZERO {
            detail = self.bare_detail();
        }
        if detail != 0 {
            self.details.get_mut(detail).related = v.related.get();
        }
        let d = Remembered {
            key: c.envelope.key,
            account: c.envelope.account,
            fingerprint,
            position: c.position,
            at: c.at,
            amount: v.amount,
            balance: v.balance,
            namespace: c.envelope.namespace,
            shop: v.shop,
            detail,
            like_before: v.like_before,
            terminal: v.terminal,
            code: v.code.number(),
            kind: kind as u8,
            flags: v.flags,
            state: v.state,
        };
        let n = self.remember(c.key_hash, d, v.related);
        if detail != 0 {
            self.details.get_mut(detail).decision = n;
        }
        (Applied { decision, effect: Effect::Decided, flagged: v.flags & flag::FLAGGED != 0 }, n)
    }
}

impl Engine {
    /// Applies the record at `position`, sealed at `at`. Bytes that are not a record change nothing.
    pub fn apply(&mut self, position: Position, at: Timestamp, record: &[u8]) -> Result<Applied, RecordError> {
        self.apply_hinted(position, at, record, &self.hint(record))
    }

    /// [`Engine::apply`] for whoever has the record's hint already. A shop may have been registered since.
    pub fn apply_hinted(
        &mut self,
        position: Position,
        at: Timestamp,
        record: &[u8],
        hint: &Hint,
    ) -> Result<Applied, RecordError> {
        debug_assert!(hint.is_for(&self.hint(record)), "the hint was made from this record");
        assert!(position > self.applied, "positions only grow");
        assert!(at >= self.at, "logged time never goes back");
        if self.planning.is_some() {
            self.plan_ahead(record);
        }
        self.applied = position;
        let last = std::mem::replace(&mut self.at, at);
        if let Some((envelope, purchase)) = decode_purchase(record)? {
            let c = Context::new(envelope, position, at, hint);
            return Ok(self.apply_purchase(&c, &purchase, hint.shop));
        }
        let command = decode(record)?;
        let mut envelope = command.envelope;
        if !Operation::has_deadline(command.operation.kind()) {
            envelope.deadline = Timestamp::ZERO;
        }
        let c = Context::new(envelope, position, at, hint);
        Ok(self.apply_command(&command, &c, last))
    }

    #[inline]
    fn apply_purchase(&mut self, c: &Context, purchase: &PurchaseRecord, shop: u32) -> Applied {
        let fingerprint = purchase.fingerprint(&c.envelope.account);
        self.touched = c.shard;
        // Forgetting ends dead holds, of any account; while a plan is counted it waits.
        let forget = if self.planning.is_some() { 0 } else { FORGET_PER_COMMAND };
        let (rules, shard) = (&self.rules, &mut self.shards[c.shard]);
        shard.taken.clear();
        shard.forget(rules, c.at, forget);
        match shard.check_key(rules, c) {
            KeyCheck::Known(n) => shard.repeat(n, fingerprint, false),
            KeyCheck::Refused(code) => Applied::refused(code, c.at),
            KeyCheck::New => shard.purchase(rules, c, purchase, fingerprint, shop),
        }
    }

    /// Gives back the memory of up to `count` decisions of each shard whose keys nobody may use any more by logged time, where
    /// no command of theirs is applied that would.
    pub fn forget_some(&mut self, count: usize) {
        if self.planning.is_none() {
            self.shards.iter_mut().for_each(|shard| shard.forget(&self.rules, self.at, count));
        }
    }

    fn apply_command(&mut self, command: &Command, c: &Context, last: Timestamp) -> Applied {
        let op = &command.operation;
        if self.note(op, c, last) {
            self.shards[self.touched].taken.clear();
            let decision = Decision { position: c.position, ..Decision::refusal(Code::Approved, c.at) };
            return Applied { decision, effect: Effect::Noted, flagged: false };
        }
        let fingerprint = command.fingerprint().0;
        self.touched = c.shard;
        let forget = if self.planning.is_some() { 0 } else { FORGET_PER_COMMAND };
        let shard = &mut self.shards[c.shard];
        shard.taken.clear();
        shard.forget(&self.rules, c.at, forget);
        if let Operation::Advice(advice) = op {
            return self.advise(c, advice, fingerprint);
        }
        match shard.check_key(&self.rules, c) {
            KeyCheck::Known(n) => return shard.repeat(n, fingerprint, matches!(op, Operation::Fence)),
            KeyCheck::Refused(code) => return Applied::refused(code, c.at),
            KeyCheck::New => {}
        }
        let verdict = self.execute(op, c);
        self.shards[c.shard].conclude(c, op.kind(), fingerprint, &verdict).0
    }

    /// Commands of the node itself, `last` is when it applied the one before. True when it was one.
    fn note(&mut self, op: &Operation, c: &Context, last: Timestamp) -> bool {
        match op {
            Operation::Undelivered(list) => self.flag_all(list.as_slice(), flag::UNDELIVERED, flag::DELIVERED),
            Operation::Delivered(list) => self.flag_all(list.as_slice(), flag::DELIVERED, flag::UNDELIVERED),
            Operation::Epoch { delivered_to, settings } => {
                self.rules.restart(*delivered_to, *settings, c.position, last, c.at)
            }
            Operation::Mark(mark) => self.rules.mark(*mark, c.envelope.received_at.min(c.at), c.at),
            _ => return false,
        }
        true
    }

    fn flag_all(&mut self, positions: &[u64], set: u8, clear: u8) {
        for p in positions {
            for shard in &mut self.shards {
                shard.flag_at(Position::new(*p), set, clear);
            }
        }
    }

    fn execute(&mut self, op: &Operation, c: &Context) -> Verdict {
        let (rules, shard) = (&mut self.rules, &mut self.shards[c.shard]);
        match op {
            Operation::Issue { programme, amount, expires_at, valid_from, stay_end_day, kind } => {
                let life = crate::operate::LotTerms {
                    programme: *programme,
                    amount: amount.get(),
                    expires_at: *expires_at,
                    valid_from: *valid_from,
                    kind: *kind,
                };
                shard.issue(rules, c, &life, *stay_end_day)
            }
            Operation::Load { programme, amount, expires_at, kind } => {
                let terms = crate::operate::LotTerms {
                    programme: *programme,
                    amount: amount.get(),
                    expires_at: *expires_at,
                    valid_from: Timestamp::ZERO,
                    kind: *kind,
                };
                shard.load(rules, c, &terms)
            }
            Operation::Charge { wallet, amount } => self.charge(c, wallet, *amount),
            Operation::Debit(_) | Operation::DebitConfirmed { .. } | Operation::Hold { .. } => {
                unreachable!("purchases have their own way, see `apply`")
            }
            Operation::Capture { original, amount } => shard.capture(rules, c, original, *amount, false),
            Operation::Confirm { original } => shard.capture(rules, c, original, 0, true),
            Operation::Void { original } => shard.void(rules, c, original),
            Operation::Reversal { original, remain } => self.reverse(c, original, *remain),
            Operation::Refund { original, amount } => shard.refund(rules, c, original, amount.get()),
            Operation::Fence => Verdict { state: State::Fenced, ..Verdict::of(Code::Fenced) },
            Operation::Reinstate { programme, amount, expires_at, corrects, approval } => {
                if same_person(approval) {
                    return Verdict::of(Code::SamePerson);
                }
                shard.reinstate(rules, c, *programme, amount.get(), *expires_at, corrects)
            }
            Operation::Extend { extension, approval } if same_person(approval) || extension.rule == 0 => {
                Verdict::of(if extension.rule == 0 { Code::RuleExists } else { Code::SamePerson })
            }
            Operation::Extend { extension, .. } => Verdict::of(rules.extend(extension, c.at)),
            Operation::AccountLife(life) => shard.account_life(c, *life),
            Operation::ShopLife { shop, life } => Verdict::of(rules.set_shop_life(shop, *life)),
            Operation::ProgrammeLife { programme, life } => Verdict::of(rules.set_programme_life(*programme, *life)),
            Operation::Programme(p) => Verdict::of(rules.set_programme(p, c.at)),
            Operation::Shop { shop, programme, name } => {
                let verdict = Verdict::of(rules.set_shop(*shop, *programme, *name));
                let slots = rules.shops.len();
                self.shards.iter_mut().for_each(|s| s.shops.lengthen(slots));
                verdict
            }
            Operation::Lease { programme, holder, allowance } => {
                let code = rules.grant(Lease {
                    epoch: c.position,
                    programme: *programme,
                    gateway: c.envelope.gateway,
                    holder: *holder,
                    from: c.at,
                    until: c.at.plus_seconds(u64::from(allowance.seconds)),
                    allowance: *allowance,
                    used: 0,
                    places: BTreeMap::new(),
                    shops: BTreeMap::new(),
                });
                let amount = if code == Code::Approved { allowance.total_max } else { 0 };
                Verdict { amount, ..Verdict::of(code) }
            }
            Operation::Undelivered(_)
            | Operation::Delivered(_)
            | Operation::Epoch { .. }
            | Operation::Mark(_)
            | Operation::Advice(_) => unreachable!("done before"),
        }
    }

    /// Which lots the last applied command took from or gave to, and how much.
    pub fn last_lots(&self) -> &[Taken] {
        &self.shards[self.touched].taken
    }

    /// What is decided under a key, if anything is, and what became of it.
    #[must_use]
    pub fn status(
        &self,
        namespace: NamespaceId,
        account: &tegata_model::AccountId,
        key: &Key,
        at: Timestamp,
    ) -> Option<(Decision, State)> {
        let hash = account_hash(account);
        let shard = &self.shards[self.shard_of_hash(hash)];
        let n = shard.decision(key_hash(hash, namespace, key), namespace, account, key)?;
        if !key.created_at().is_some_and(|created| self.rules.remembers(created, at)) {
            return None;
        }
        let d = shard.decisions.get(n)?;
        let dead = d.state == State::Open && shard.details.get(d.detail).dies_at <= at.micros();
        Some((d.decision(shard.related(d)), if dead { State::Voided } else { d.state }))
    }

    /// What can be said of a key under which nothing is found: not seen, or that it may have been decided and forgotten,
    /// or that its time is wrong.
    #[must_use]
    pub fn unseen(&self, key: &Key, at: Timestamp) -> Code {
        self.rules.key_time(key, at).err().unwrap_or(Code::NotSeen)
    }

    /// The answer that a request of a kind would get because its key is decided already; nothing when it is not, and for
    /// an advice that stands beside what is decided.
    #[must_use]
    #[inline]
    pub fn known(
        &self,
        envelope: &Envelope,
        hint: &Hint,
        fingerprint: impl FnOnce() -> u64,
        kind: u16,
        at: Timestamp,
    ) -> Option<Applied> {
        let shard = &self.shards[hint.shard as usize];
        let n = shard.decision(hint.key, envelope.namespace, &envelope.account, &envelope.key)?;
        if !envelope.key.created_at().is_some_and(|created| self.rules.remembers(created, at)) {
            return None;
        }
        if kind == Operation::ADVICE {
            return shard.advised(envelope, hint.account, n, fingerprint());
        }
        Some(shard.repeat(n, fingerprint(), kind == Operation::Fence.kind()))
    }
}

/// A name is what stands before its padding, however it is spelt. Nobody is nobody else.
fn same_person(a: &Approval) -> bool {
    let name = |b: &[u8; 16]| b.iter().take_while(|c| **c != 0).map(u8::to_ascii_lowercase).collect::<Vec<u8>>();
    let (maker, approver) = (name(&a.maker), name(&a.approver));
    maker.is_empty() || approver.is_empty() || maker == approver
}
