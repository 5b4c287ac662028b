//! The same decisions from plain lists: nothing is indexed, nothing forgotten, every rule is read off the list of
//! what happened. Slow and plain on purpose; it follows the chapters of FIELD, not the engine's tables.
#![forbid(unsafe_code)]
#![expect(missing_docs, reason = "its names are the engine's, and say the same")]

mod funds;
mod guard;
mod operate;
mod returns;
mod stand_in;

pub use funds::Lot;

use std::collections::{BTreeMap, BTreeSet};
use tegata_engine::{Applied, Effect, ShopSums, Sums};
use tegata_model::{
    AccountId, Advice, Code, Command, Decision, Envelope, Extension, Key, Life, Mark, NamespaceId, Operation, Position,
    Programme, ProgrammeId, Purchase, Settings, ShopId, State, Timestamp, Yen,
};

/// A coupon or a wallet.
#[derive(Debug, Clone)]
pub struct Account {
    pub wallet: bool,
    pub life: Life,
    /// Programme of the first lot: its guard and its hold times are the account's.
    pub home: ProgrammeId,
    /// All lots there ever were, empty ones too.
    pub lots: Vec<Lot>,
}

/// What a decision took from one lot, or put into it.
#[derive(Debug, Clone)]
pub struct Part {
    pub lot: Lot,
    pub returned: u64,
}

/// A decision under its key.
#[derive(Debug, Clone)]
pub struct Entry {
    pub namespace: NamespaceId,
    pub account: AccountId,
    pub key: Key,
    /// What was asked; nothing when a reversal left a fence here.
    pub asked: Option<Operation>,
    pub decision: Decision,
    pub state: State,
    pub flagged: bool,
    /// What the log said last about the answer's delivery.
    pub delivered: Option<bool>,
    pub parts: Vec<Part>,
    pub dies_at: Timestamp,
    /// The hold that a capture or a confirmation refers to.
    pub hold: Option<usize>,
    pub reinstated: u64,
    /// A full reversal found that nothing was taken under its key.
    pub undone: bool,
}

/// What an operation came to.
#[derive(Debug, Clone)]
pub struct Outcome {
    pub code: Code,
    pub amount: u64,
    pub balance: u64,
    pub related: Position,
    pub state: State,
    pub flagged: bool,
    pub parts: Vec<Part>,
    pub dies_at: Timestamp,
    pub hold: Option<usize>,
}

impl Outcome {
    pub fn of(code: Code) -> Self {
        Self {
            code,
            amount: 0,
            balance: 0,
            related: Position::ZERO,
            state: State::Final,
            flagged: false,
            parts: Vec::new(),
            dies_at: Timestamp::ZERO,
            hold: None,
        }
    }
}

/// Where and when.
#[derive(Debug, Clone, Copy)]
pub struct Now {
    pub at: Timestamp,
    /// The instant that expiry is compared with.
    pub clock: Timestamp,
    pub position: Position,
    pub envelope: Envelope,
}

#[derive(Debug, Default)]
pub struct Reference {
    pub settings: Settings,
    /// Keys made before this were forgotten under some earlier horizon.
    pub keys_from: Option<Timestamp>,
    pub programmes: BTreeMap<ProgrammeId, (Programme, Life)>,
    pub shops: BTreeMap<ShopId, (ProgrammeId, Life)>,
    pub extensions: Vec<(Extension, Timestamp)>,
    pub restarts: Vec<(Position, Position)>,
    pub degraded_since: Option<Timestamp>,
    /// Times that the core was degraded or down, without the one that it is in.
    pub degraded: Vec<(Timestamp, Timestamp)>,
    /// When the last command was applied.
    pub at: Timestamp,
    pub trusted_until: Option<Timestamp>,
    pub accounts: BTreeMap<AccountId, Account>,
    /// Every decision ever, in the order of the log.
    pub entries: Vec<Entry>,
    /// Where the decisions under a key are in `entries`.
    pub keys: BTreeMap<(NamespaceId, AccountId, Key), Vec<usize>>,
    /// Where the advices that stand beside a decision are in `entries`.
    pub beside: BTreeMap<(NamespaceId, AccountId, Key), usize>,
    /// Advices of shops that were not registered.
    pub nowhere: BTreeSet<Position>,
    pub leases: Vec<stand_in::Lease>,
    /// When stand-in of a programme was exercised last, or its rules were set.
    pub exercised: BTreeMap<ProgrammeId, Timestamp>,
    /// Entries that are open holds.
    pub open: Vec<usize>,
    /// Everything but the balances, which are counted.
    pub ledger: BTreeMap<ProgrammeId, Sums>,
    pub takings: BTreeMap<ShopId, ShopSums>,
}

impl Reference {
    pub fn apply(&mut self, position: Position, at: Timestamp, command: &Command) -> Applied {
        let e = command.envelope;
        self.bury(at);
        let last = std::mem::replace(&mut self.at, at);
        if self.note(position, last, at, command) {
            let decision = Decision { position, ..Decision::refusal(Code::Approved, at) };
            return Applied { decision, effect: Effect::Noted, flagged: false };
        }
        if let Operation::Advice(a) = &command.operation {
            return self.advise(position, at, &e, a);
        }
        if let Some(i) = self.known(e.namespace, e.account, &e.key, at) {
            return self.repeat(i, &command.operation);
        }
        let refused =
            |code| Applied { decision: Decision::refusal(code, at), effect: Effect::NotRecorded, flagged: false };
        if let Err(code) = self.key_time(&e.key, at) {
            return refused(code);
        }
        let late_is_fine =
            matches!(command.operation, Operation::Void { .. } | Operation::Reversal { .. } | Operation::Fence);
        if !late_is_fine && e.deadline != Timestamp::ZERO && at > e.deadline {
            return refused(Code::DeadlinePassed);
        }
        let thirty_seconds_ago = at.minus_micros(30_000_000);
        let received = e.received_at.clamp(thirty_seconds_ago, at);
        let clock = self.clock(received);
        let now = Now { at, clock, position, envelope: e };
        let outcome = self.execute(&now, &command.operation);
        self.conclude(&now, &command.operation, outcome)
    }

    pub fn clock(&self, received: Timestamp) -> Timestamp {
        self.trusted_until.map_or(received, |t| t.min(received))
    }

    /// The decision under a key, while its time is within the horizon and the allowed skew.
    pub fn known(&self, namespace: NamespaceId, account: AccountId, key: &Key, at: Timestamp) -> Option<usize> {
        let last = *self.keys.get(&(namespace, account, *key))?.last()?;
        self.remembers(key, at).then_some(last)
    }

    pub fn remembers(&self, key: &Key, at: Timestamp) -> bool {
        let s = &self.settings;
        let period = u64::from(s.horizon_s) + u64::from(s.skew_s);
        key.created_at().is_some_and(|t| Some(t) >= self.keys_from && at <= t.plus_seconds(period))
    }

    /// What the time in an undecided key says.
    pub fn key_time(&self, key: &Key, at: Timestamp) -> Result<(), Code> {
        let Some(created) = key.created_at() else { return Err(Code::KeyClock) };
        if created > at.plus_seconds(u64::from(self.settings.skew_s)) {
            return Err(Code::KeyClock);
        }
        if at > created.plus_seconds(u64::from(self.settings.horizon_s)) || Some(created) < self.keys_from {
            return Err(Code::KeyTooOld);
        }
        Ok(())
    }

    /// The decision under the key of an original.
    pub fn original(&self, now: &Now, key: &Key) -> Result<usize, Code> {
        let e = &now.envelope;
        if let Some(i) = self.known(e.namespace, e.account, key, now.at) {
            return Ok(i);
        }
        match self.key_time(key, now.at) {
            Ok(()) => Err(Code::OriginalUnknown),
            Err(Code::KeyTooOld) => Err(Code::OriginalTooOld),
            Err(code) => Err(code),
        }
    }

    pub fn repeat(&self, i: usize, operation: &Operation) -> Applied {
        let entry = &self.entries[i];
        let same = entry.asked.is_some_and(|asked| what(&asked) == what(operation));
        if same || *operation == Operation::Fence || entry.state == State::Fenced {
            return Applied { decision: entry.decision, effect: Effect::Replayed, flagged: entry.flagged };
        }
        let stored = entry.decision;
        let decision = Decision { code: Code::Conflict, position: Position::ZERO, related: stored.position, ..stored };
        Applied { decision, effect: Effect::NotRecorded, flagged: false }
    }

    fn conclude(&mut self, now: &Now, operation: &Operation, o: Outcome) -> Applied {
        let recorded = o.code.is_recorded() || o.code == Code::Fenced;
        let decision = Decision {
            code: o.code,
            amount: Yen::new(o.amount),
            balance: Yen::new(o.balance),
            position: if recorded { now.position } else { Position::ZERO },
            at: now.at,
            related: o.related,
        };
        if !recorded {
            return Applied { decision, effect: Effect::NotRecorded, flagged: false };
        }
        if o.state == State::Open {
            self.open.push(self.entries.len());
        }
        let flagged = o.flagged;
        self.enter(Entry {
            namespace: now.envelope.namespace,
            account: now.envelope.account,
            key: now.envelope.key,
            asked: Some(*operation),
            decision,
            state: o.state,
            flagged,
            delivered: None,
            parts: o.parts,
            dies_at: o.dies_at,
            hold: o.hold,
            reinstated: 0,
            undone: false,
        });
        Applied { decision, effect: Effect::Decided, flagged }
    }

    pub fn enter(&mut self, entry: Entry) {
        let name = (entry.namespace, entry.account, entry.key);
        self.keys.entry(name).or_default().push(self.entries.len());
        self.entries.push(entry);
    }

    /// Commands of the node itself.
    fn note(&mut self, position: Position, last: Timestamp, at: Timestamp, command: &Command) -> bool {
        match &command.operation {
            Operation::Undelivered(list) => self.deliver(list.as_slice(), false),
            Operation::Delivered(list) => self.deliver(list.as_slice(), true),
            Operation::Epoch { delivered_to, settings } => {
                let old = self.settings;
                let forgotten = at.minus_micros(u64::from(old.horizon_s + old.skew_s) * 1_000_000);
                self.keys_from = self.keys_from.max(Some(forgotten));
                self.settings = *settings;
                self.restarts.push((*delivered_to, position));
                if self.degraded_since.is_none() && last != Timestamp::ZERO {
                    self.degraded.push((last, at));
                }
            }
            Operation::Mark(Mark::Degraded) => {
                let seen = command.envelope.received_at.min(at);
                self.degraded_since = self.degraded_since.or(Some(seen));
            }
            Operation::Mark(Mark::Normal) => {
                if let Some(since) = self.degraded_since.take() {
                    self.degraded.push((since, at));
                }
            }
            Operation::Mark(Mark::ClockSuspect) => self.trusted_until = self.trusted_until.or(Some(at)),
            Operation::Mark(Mark::ClockTrusted) => self.trusted_until = None,
            _ => return false,
        }
        true
    }

    fn deliver(&mut self, positions: &[u64], delivered: bool) {
        for p in positions {
            let found = self.entries.iter_mut().find(|e| e.decision.position.get() == *p);
            if let Some(entry) = found {
                entry.delivered = Some(delivered);
            }
        }
    }

    /// Holds that are past their instant give everything back.
    fn bury(&mut self, at: Timestamp) {
        for i in std::mem::take(&mut self.open) {
            match self.entries[i].state {
                State::Open if self.entries[i].dies_at <= at => self.give_all_back(i, State::Voided),
                State::Open => self.open.push(i),
                _ => {}
            }
        }
    }

    fn execute(&mut self, now: &Now, operation: &Operation) -> Outcome {
        match operation {
            Operation::Issue { programme, amount, expires_at, valid_from, kind, .. } => {
                self.issue(now, *programme, amount.get(), *expires_at, *valid_from, *kind)
            }
            Operation::Load { programme, amount, expires_at, kind } => {
                self.load(now, *programme, amount.get(), *expires_at, *kind)
            }
            Operation::Charge { wallet, amount } => self.charge(now, wallet, *amount),
            Operation::Debit(p) => self.purchase(now, p, None),
            Operation::DebitConfirmed { purchase, seconds } | Operation::Hold { purchase, seconds } => {
                self.purchase(now, purchase, Some(*seconds))
            }
            Operation::Capture { original, amount } => self.capture(now, original, *amount, false),
            Operation::Confirm { original } => self.capture(now, original, 0, true),
            Operation::Void { original } => self.void(now, original),
            Operation::Reversal { original, remain } => self.reverse(now, original, *remain),
            Operation::Refund { original, amount } => self.refund(now, original, amount.get()),
            Operation::Lease { programme, holder, allowance } => self.lease(now, *programme, *holder, *allowance),
            Operation::Fence => Outcome { state: State::Fenced, ..Outcome::of(Code::Fenced) },
            Operation::Reinstate { approval, .. } | Operation::Extend { approval, .. }
                if approval.maker == approval.approver =>
            {
                Outcome::of(Code::SamePerson)
            }
            Operation::Reinstate { programme, amount, expires_at, corrects, .. } => {
                self.reinstate(now, *programme, amount.get(), *expires_at, corrects)
            }
            other => Outcome::of(self.rule(now, other)),
        }
    }
}

/// What a request asks, without the token: the same customer's decision with and without it is one.
pub fn what(operation: &Operation) -> Operation {
    let plain = |p: &Purchase| Purchase { token: Position::ZERO, ..*p };
    match operation {
        Operation::Debit(p) | Operation::Advice(Advice { purchase: p, .. }) => Operation::Debit(plain(p)),
        Operation::Hold { purchase, seconds } => Operation::Hold { purchase: plain(purchase), seconds: *seconds },
        Operation::DebitConfirmed { purchase, seconds } => {
            Operation::DebitConfirmed { purchase: plain(purchase), seconds: *seconds }
        }
        other => *other,
    }
}

impl Entry {
    pub fn approved(&self) -> bool {
        matches!(self.decision.code, Code::Approved | Code::PartiallyApproved)
    }

    /// What a debit, a confirmed debit or a hold asked for.
    pub fn purchase(&self) -> Option<&Purchase> {
        match self.asked.as_ref()? {
            Operation::Debit(p) | Operation::Advice(Advice { purchase: p, .. }) => Some(p),
            Operation::DebitConfirmed { purchase, .. } | Operation::Hold { purchase, .. } => Some(purchase),
            _ => None,
        }
    }

    pub fn taken(&self) -> u64 {
        self.parts.iter().map(|p| p.lot.yen).sum()
    }

    pub fn returned(&self) -> u64 {
        self.parts.iter().map(|p| p.returned).sum()
    }

    /// What a reversal or a refund can still give back.
    pub fn to_return(&self) -> u64 {
        self.taken().saturating_sub(self.returned() + self.reinstated)
    }

    /// Changes the state to what was returned so far.
    pub fn mark_returned(&mut self, yen: u64) {
        if yen > 0 {
            self.state = if self.to_return() == 0 { State::Reversed } else { State::PartlyReturned };
        }
    }
}
