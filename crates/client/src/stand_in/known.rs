//! What this client knows and has to tell: all that is in its spool, and what it heard since it was opened.

use super::allowed::{Allowed, Forbidden, Keys, Scope, Seen, is_fresh};
use super::telling::CLOCK_MAX_US;
use super::{Written, approval, doubt, may_have_taken, purchase_of};
use crate::outcome::Outcome;
use crate::sends::Attempt;
use crate::spool::{Dones, Entry, SpoolError};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use tegata_model::{AccountId, Advice, Class, Code, Command, Envelope, Operation, Position, Timestamp};
use tokio::time::Instant;

/// Approvals that are being written at once. They are flushed one by one: for who comes then nothing is done here.
pub(super) const WRITING_MAX: usize = 64;

fn scope(e: &Envelope) -> Scope {
    (e.key, e.namespace, e.account)
}

/// See the module.
#[derive(Default)]
pub(super) struct Known {
    pub(super) holder: [u8; 16],
    pub(super) allowed: Option<Allowed>,
    pub(super) seen: Seen,
    /// Keys that the core answered for, or is to be told to undo: what a customer was told "no" about is not approved here.
    pub(super) answered: Keys,
    /// Keys under which something may stand: one note for each send or approval that was not definitely refused.
    pub(super) may_stand: Keys,
    /// By number in the spool.
    pub(super) waiting: BTreeMap<u64, Command>,
    /// Advices that wait, by whose key.
    pub(super) told_later: HashMap<Scope, u64>,
    /// Told, and answered with a refusal: for the office.
    pub(super) for_office: Vec<(Command, Code)>,
    pub(super) refused: Option<Code>,
    /// One was granted: none is asked for before.
    pub(super) lease_again: Option<Instant>,
    /// This clock is off the core's, as its last answer has it.
    pub(super) clock_off: bool,
    /// A write to the spool failed.
    pub(super) failed: bool,
    /// What waits, and a server does not want from this caller, or not yet: it holds nothing else up.
    pub(super) aside: BTreeSet<u64>,
    /// Approvals that are being written, or whose write failed: what those come to is seen when the spool is opened again.
    pub(super) doubtful: HashMap<Scope, Advice>,
    /// When a server answered last.
    pub(super) heard_at: Option<Instant>,
    /// Nobody could be reached just now, and nobody is asked until then.
    pub(super) down_until: Option<Instant>,
}

impl Known {
    pub(super) fn take(&mut self, number: u64, entry: Entry) {
        match entry {
            Entry::Opened { holder } => self.holder = holder,
            Entry::Lease { epoch, command } => self.leased(epoch, &command),
            Entry::Queued(command) => self.queued(number, command),
            Entry::Done(dones) => dones.as_slice().iter().for_each(|(number, code)| self.done(*number, *code)),
        }
    }

    /// What became of a record that was to be written. After one that failed nothing is written any more, and what waited
    /// behind it surely was not: its key is free again.
    pub(super) fn appended(&mut self, appended: Result<u64, SpoolError>, entry: Entry) -> Written {
        match appended {
            Ok(number) => {
                self.take(number, entry);
                return Written::Yes;
            }
            Err(SpoolError::Failed) => {}
            Err(_) => {
                self.failed = true;
                return Written::Perhaps;
            }
        }
        self.failed = true;
        // A fence has the key of its debit, whose approval may be on the disk.
        if let Entry::Queued(Command { envelope: e, operation: Operation::Advice(_) }) = entry {
            self.doubtful.remove(&scope(&e));
        }
        Written::No
    }

    /// What still waits under the lease before, or is being written, counts under the next one: the core knows nothing of it.
    fn leased(&mut self, epoch: Position, command: &Command) {
        self.allowed = Allowed::new(epoch, command);
        let Some(allowed) = &mut self.allowed else { return };
        for Command { envelope, operation } in self.waiting.values() {
            if let Operation::Advice(advice) = operation {
                allowed.count(envelope.account, advice);
            }
        }
        self.doubtful.iter().for_each(|((.., account), advice)| allowed.count(*account, advice));
    }

    pub(super) fn queued(&mut self, number: u64, command: Command) {
        let e = &command.envelope;
        match command.operation {
            Operation::Advice(advice) => {
                // What was approved by this process was counted before it was written.
                if self.doubtful.remove(&scope(e)).is_none() {
                    self.count(e.account, &advice);
                }
                self.told_later.insert(scope(e), number);
            }
            Operation::Reversal { original, .. } => self.undoes((original, e.namespace, e.account)),
            _ => self.undoes(scope(e)),
        }
        self.waiting.insert(number, command);
    }

    /// Whoever undoes a payment is not to see it approved, nor to hear that nothing was done before that is known.
    pub(super) fn undoes(&mut self, scope: Scope) {
        self.answered.note(scope);
        self.may_stand.note(scope);
    }

    /// The answer to an attempt whose approval waits to be told, or may be on the disk.
    pub(super) fn here(&self, attempt: &Attempt) -> Option<Outcome> {
        let key = attempt.scope();
        if self.doubtful.contains_key(&key) {
            return Some(doubt(attempt));
        }
        let command = self.waiting.get(self.told_later.get(&key)?)?;
        let Operation::Advice(advice) = &command.operation else { return None };
        let asked = Command { envelope: command.envelope, operation: attempt.operation };
        let mut decided = approval(advice);
        if asked.fingerprint() != command.fingerprint() {
            decided.decision.code = Code::Conflict;
            return Some(Outcome::Conflict(decided));
        }
        Some(Outcome::Approved(decided))
    }

    /// Counts an approval before it is written: two at once are not both within the lease.
    pub(super) fn reserve(&mut self, attempt: &Attempt, at: Timestamp) -> Result<Advice, Forbidden> {
        if self.failed || self.doubtful.len() >= WRITING_MAX {
            return Err(Forbidden::Spool);
        }
        if self.answered.has(&attempt.scope()) {
            return Err(Forbidden::Answered);
        }
        if let Operation::Debit(purchase) = &attempt.operation
            && self.seen.has_paid(&attempt.account, purchase.shop, attempt.key, at)
        {
            return Err(Forbidden::Again);
        }
        if self.clock_off {
            return Err(Forbidden::Clock);
        }
        let seen = self.seen.balance(&attempt.account, at);
        let allowed = self.allowed.as_ref().ok_or(Forbidden::Lease)?;
        is_fresh(&attempt.key, at)?;
        let advice = allowed.covers(attempt.account, &attempt.operation, seen, at)?;
        self.count(attempt.account, &advice);
        self.doubtful.insert(attempt.scope(), advice);
        Ok(advice)
    }

    /// Holds an approval against the lease.
    pub(super) fn count(&mut self, account: AccountId, advice: &Advice) {
        if let Some(allowed) = &mut self.allowed {
            allowed.count(account, advice);
        }
    }

    pub(super) fn done(&mut self, number: u64, code: u8) {
        let Some(command) = self.waiting.remove(&number) else { return };
        let e = &command.envelope;
        let key = scope(e);
        if let Operation::Advice(_) = &command.operation {
            self.may_stand.note(key);
        }
        // A fence has the key of its debit, and is told before the advice of it.
        if self.told_later.get(&key) == Some(&number) {
            self.told_later.remove(&key);
        }
        match Code::from_u8(code) {
            Some(code) if code.class() == Class::Refused && code != Code::Fenced => {
                self.for_office.push((command, code));
            }
            // The next lease knows nothing of it: it counts like a payment that the core was asked for.
            _ => {
                if let Operation::Advice(a) = &command.operation {
                    self.seen.paid(e.account, a.purchase.amount.get(), a.purchase.shop, e.key, a.approved_at);
                }
            }
        }
    }

    /// The core decided something at `core`, by its clock, and that is heard at `here`. Whether the clocks agree.
    pub(super) fn compare(&mut self, core: Timestamp, here: Timestamp) -> bool {
        self.clock_off = here.since(core).max(core.since(here)) > CLOCK_MAX_US;
        !self.clock_off
    }

    /// The core said what became of an attempt, or was heard and did not.
    pub(super) fn heard(&mut self, attempt: &Attempt, outcome: &Outcome, at: Timestamp) {
        if !matches!(outcome, Outcome::Unknown(_) | Outcome::NotExecuted { .. }) {
            self.answered.note(attempt.scope());
            if let Operation::Reversal { original, .. } = attempt.operation {
                self.answered.note((original, attempt.namespace, attempt.account));
            }
        }
        if let Outcome::Approved(d) = outcome
            && !d.replayed
            && !d.stood_in
        {
            self.compare(d.decision.at, at);
        }
        if let (Some(yen), Some(purchase)) = (may_have_taken(outcome), purchase_of(&attempt.operation)) {
            self.seen.paid(attempt.account, yen, purchase.shop, attempt.key, at);
        }
    }

    /// What the caller of an attempt is told that came to `outcome`: where an earlier one under its key may stand, a refusal
    /// of this one says nothing about the key.
    pub(super) fn told(&mut self, attempt: &Attempt, outcome: Outcome) -> Outcome {
        let key = attempt.scope();
        match outcome {
            Outcome::NotExecuted { .. } | Outcome::SuspectedDuplicate(_) if self.may_stand.has(&key) => doubt(attempt),
            Outcome::Declined(_) => {
                self.may_stand.forget(&key);
                outcome
            }
            _ => outcome,
        }
    }

    /// What is told next, side by side: reversals, then fences, then advices. What a server did not want is passed over.
    pub(super) fn next(&self) -> Vec<(u64, Command)> {
        let rank = |c: &Command| match c.operation {
            Operation::Reversal { .. } => 0,
            Operation::Fence => 1,
            _ => 2,
        };
        let all = || self.waiting.iter().filter(|(n, _)| !self.aside.contains(n));
        let first = all().map(|(_, c)| rank(c)).min();
        let of_rank = all().filter(|(_, c)| Some(rank(c)) == first);
        of_rank.take(Dones::MAX).map(|(n, c)| (*n, *c)).collect()
    }
}
