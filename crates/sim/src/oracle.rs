//! What should be: a second engine fed with the log alone, the reference beside it, and the invariants that look on.

use crate::goals::{Goal, Goals};
use crate::history::Event;
use crate::invariants::{self, Invariant};
use crate::process::Batch;
use std::collections::BTreeMap;
use tegata_engine::{Applied, Effect, Engine};
use tegata_model::{Code, Command, Operation, Position, Timestamp, decode, hash_bytes};
use tegata_node::{Carried, Replay};
use tegata_reference::Reference;

/// See the module.
#[derive(Debug)]
pub(crate) struct Oracle {
    replay: Replay,
    pub(crate) reference: Reference,
    invariants: Invariants,
    /// Handed to the journal and not called durable.
    pub(crate) uncertain: Vec<Batch>,
    /// Last position, and a hash of each batch that is durable, by its first position.
    batches: BTreeMap<u64, u64>,
    pub(crate) durable: u64,
}

struct Invariants(Vec<Box<dyn Invariant>>);

impl std::fmt::Debug for Invariants {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.iter().map(|i| i.name()).collect::<Vec<_>>().fmt(f)
    }
}

fn hash(b: &Batch) -> u64 {
    hash_bytes(b.first ^ b.at as u64, &b.body)
}

impl Oracle {
    pub(crate) fn new(shards: u32) -> Self {
        Self {
            replay: Replay::new(Engine::new(shards), Carried::default()),
            reference: Reference::default(),
            invariants: Invariants(invariants::all()),
            uncertain: Vec::new(),
            batches: BTreeMap::new(),
            durable: 0,
        }
    }

    pub(crate) fn see(&mut self, event: &Event<'_>) -> Result<(), String> {
        invariants::check(&mut self.invariants.0, event)
    }

    pub(crate) fn sealed(&mut self, batch: Batch) -> Result<(), String> {
        self.see(&Event::Sealed { first: batch.first, at: batch.at })?;
        self.uncertain.push(batch);
        Ok(())
    }

    /// The journal says that everything up to here is durable.
    pub(crate) fn durable(&mut self, position: u64, goals: &mut Goals) -> Result<(), String> {
        let certain = self.uncertain.iter().take_while(|b| b.last() <= position).count();
        for batch in self.uncertain.drain(..certain).collect::<Vec<_>>() {
            self.take(&batch, goals)?;
        }
        Ok(())
    }

    /// The latest time that was handed to the journal, µs UTC.
    pub(crate) fn logged_at(&self) -> i64 {
        let last = self.uncertain.last().map_or(i64::MIN, |b| b.at);
        last.max(self.replay.engine().at().micros())
    }

    /// A start found this batch.
    pub(crate) fn found(&mut self, batch: &Batch, goals: &mut Goals) -> Result<(), String> {
        if batch.last() > self.durable {
            return self.take(batch, goals);
        }
        match self.batches.get(&batch.first) {
            Some(before) if *before == hash(batch) => Ok(()),
            _ => Err(format!("log-is-whole: the batch at position {} is not what was written", batch.first)),
        }
    }

    fn take(&mut self, batch: &Batch, goals: &mut Goals) -> Result<(), String> {
        let Self { replay, reference, invariants, .. } = self;
        let at = Timestamp::from_micros(batch.at);
        let mut bad = Ok(());
        replay
            .batch(batch.first, batch.count, batch.at, &batch.margin, &batch.body, |_, position, record, applied| {
                let Ok(command) = decode(record) else { return bad = Err("a record does not decode".into()) };
                let expected = reference.apply(position, at, &command);
                note(&command, applied, goals);
                let event = Event::Decided { position, at, command: &command, applied, expected: &expected };
                if bad.is_ok() {
                    bad = invariants::check(&mut invariants.0, &event);
                }
            })
            .map_err(|e| format!("log-is-whole: {e}"))?;
        bad?;
        self.durable = batch.last();
        self.batches.insert(batch.first, hash(batch));
        Ok(())
    }

    /// Holds the live engine against the reference and against its own log.
    pub(crate) fn compare(&mut self, live: &Engine, recovered: bool, all: bool) -> Result<(), String> {
        if live.applied() != self.replay.engine().applied() {
            return Ok(());
        }
        let (digest, replayed) = (live.digest(), self.replay.engine().digest());
        self.see(&Event::Digests { live: digest, replayed, recovered })?;
        if !all {
            return Ok(());
        }
        for (programme, engine) in live.sums() {
            let reference = self.reference.sums(programme);
            self.see(&Event::Books { programme, engine, reference })?;
        }
        self.see(&Event::Audited(&live.audit()))?;
        let at = live.at();
        for account in self.reference.accounts.keys().copied().collect::<Vec<_>>() {
            let same = live.account(&account, at) == self.reference.view(&account, at);
            self.see(&Event::Compared { account, same })?;
        }
        Ok(())
    }
}

/// What a decision reaches.
fn note(command: &Command, applied: &Applied, goals: &mut Goals) {
    let (code, kind) = (applied.decision.code, &command.operation);
    let decided = applied.effect == Effect::Decided;
    let approved = decided && matches!(code, Code::Approved | Code::PartiallyApproved);
    let goal = match (kind, code) {
        (Operation::Debit(p), _) if approved && p.token != Position::ZERO => Goal::TokenTaken,
        (Operation::Capture { .. }, _) if approved => Goal::HoldCaptured,
        (Operation::Confirm { .. }, _) if approved => Goal::Unconfirmed,
        (Operation::Confirm { .. }, Code::HoldVoided) => Goal::LateConfirm,
        (Operation::Capture { .. } | Operation::Void { .. }, Code::HoldVoided) => Goal::HoldExpired,
        (Operation::Reversal { .. }, _) if approved && applied.decision.amount.get() > 0 => Goal::Reversed,
        (Operation::Reversal { .. }, _) if approved => Goal::ReversalFirst,
        (Operation::Refund { .. }, _) if approved => Goal::Refunded,
        (Operation::Extend { .. } | Operation::Reinstate { .. }, _) if approved => Goal::PlanApplied,
        (Operation::Fence, _) => return,
        (_, Code::Fenced) => Goal::FenceWon,
        (_, Code::SuspectedDuplicate) => Goal::GuardAsked,
        (_, Code::AccountSuspended) => Goal::Suspended,
        (_, Code::KeyTooOld) => Goal::KeyTooOld,
        (_, Code::Conflict) => Goal::ConflictSeen,
        _ => return,
    };
    goals.reach(goal);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_batch_that_is_not_what_was_written_is_seen() {
        let mut oracle = Oracle::new(1);
        let batch = Batch { first: 1, count: 0, at: 1, margin: [0; 64], body: Vec::new() };
        oracle.durable = 1;
        oracle.batches.insert(1, hash(&batch));
        assert_eq!(oracle.found(&batch, &mut Goals::default()), Ok(()));
        let other = Batch { at: 2, ..batch };
        assert!(oracle.found(&other, &mut Goals::default()).is_err());
    }
}
