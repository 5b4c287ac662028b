//! One attempt over all its sends, and the way out of an unknown outcome, as state machines without I/O and clock:
//! whoever drives them brings connections, answers, time and randomness. Times are since the machine began.
//!
//! ```text
//! Sends:     Connect ─▶ Send ─▶ Wait ──quiet──▶ Retire ─▶ Wait ─▶ Connect … ─▶ End
//! Resolving: Ask status ──undecided──▶ Ask fence ──no answer──▶ Wait ─▶ Ask status … ─▶ End
//! ```
//!
//! Invariants: every send has the attempt's key; `NotExecuted` is said only when every send of the attempt was definitely refused.

use crate::call::{Ask, Call};
use crate::connection::Lost;
use crate::outcome::{Decided, InDoubt, Outcome};
use crate::retry::{Budget, jittered, pause};
use std::time::Duration;
use tegata_model::{AccountId, Class, Code, Key, NamespaceId, Operation, State};
use tegata_wire::{Answer, AnswerBody, KIND_STATUS};

/// How long one send waits before its connection is given up for another, at most.
pub(crate) const PATIENCE: Duration = Duration::from_secs(2);
/// With less than this left of a deadline nothing is sent any more.
pub(crate) const LEFT_MIN: Duration = Duration::from_millis(5);

/// What a customer decided: it keeps its key over every send.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Attempt {
    /// The coupon or wallet; absent for rules.
    pub account: AccountId,
    /// From [`crate::new_key`], stored by the caller before the first send.
    pub key: Key,
    /// Whose key it is.
    pub namespace: NamespaceId,
    /// What.
    pub operation: Operation,
    /// How long the customer waits, at most 30 s.
    pub deadline: Duration,
}

/// What is to be done next.
#[derive(Debug, Clone, PartialEq)]
pub enum Next {
    /// Get a connection, until the end at most, and say [`Sends::connected`] or [`Sends::unconnected`].
    Connect,
    /// Give the connection of the last send up for new calls: it has gone quiet.
    Retire,
    /// Wait for an answer, until then at most.
    Wait(Duration),
    /// Ask this, and say [`Resolving::heard`] what came of it.
    Ask(Call),
    /// It is over.
    End(Outcome),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Begin,
    Connecting,
    /// The last send may be answered until then.
    Patient(Duration),
    Resting,
    Over,
}

/// One attempt over all its sends.
#[derive(Debug)]
pub struct Sends {
    tally: Tally,
    phase: Phase,
    /// No next send before this.
    again: Duration,
    sends: u32,
    /// How often in a row no connection could be made, and how often at most.
    alone: u32,
    alone_max: u32,
    outcome: Option<Outcome>,
}

impl Sends {
    /// Begins. It does not wait for the deadline when no connection could be made `alone_max` times in a row.
    #[must_use]
    pub fn new(attempt: &Attempt, alone_max: u32) -> Self {
        let tally = Tally::of(attempt);
        let (phase, again) = (Phase::Begin, Duration::ZERO);
        Self { tally, phase, again, sends: 0, alone: 0, alone_max, outcome: None }
    }

    /// Until when it goes on.
    #[must_use]
    pub fn until(&self) -> Duration {
        self.tally.attempt.deadline
    }

    /// What to do now. `random` gives 128 even bits.
    pub fn next(&mut self, now: Duration, budget: &Budget, mut random: impl FnMut() -> u128) -> Next {
        let until = self.until();
        loop {
            if let Some(outcome) = &self.outcome {
                return Next::End(outcome.clone());
            }
            match self.phase {
                Phase::Begin => {
                    if until.saturating_sub(now) < LEFT_MIN || self.alone >= self.alone_max {
                        self.phase = Phase::Over;
                        continue;
                    }
                    self.again = now + pause(self.sends, random());
                    if self.sends == 0 || budget.spend() {
                        self.phase = Phase::Connecting;
                        return Next::Connect;
                    }
                    self.phase = Phase::Resting;
                }
                Phase::Connecting => return Next::Wait(until),
                Phase::Patient(end) if now >= end => {
                    self.phase = Phase::Resting;
                    return Next::Retire;
                }
                Phase::Patient(end) => return Next::Wait(end),
                // Nothing would be sent before the deadline, and nobody may answer any more: it is told now.
                Phase::Resting if self.tally.outstanding == 0 && self.again + LEFT_MIN > until => {
                    self.phase = Phase::Over
                }
                // An answer to an earlier send counts for as long as the deadline runs.
                Phase::Resting if now < until.min(self.again) => return Next::Wait(until.min(self.again)),
                Phase::Resting => self.phase = Phase::Begin,
                Phase::Over => self.outcome = Some(self.tally.end()),
            }
        }
    }

    /// There is a connection: what to send on it.
    pub fn connected(&mut self, now: Duration) -> Call {
        let a = &self.tally.attempt;
        self.alone = 0;
        Call {
            account: a.account,
            key: a.key,
            namespace: a.namespace,
            deadline_ms: millis(a.deadline),
            age_ms: millis(now),
            ask: Ask::Do(a.operation),
        }
    }

    /// There is none; `said` tells whether a server refused to have one.
    pub fn unconnected(&mut self, said: bool) {
        self.tally.heard |= said;
        self.alone += 1;
        self.phase = Phase::Resting;
    }

    /// The call is on its way, or will never be: then that is told as an answer.
    pub fn sent(&mut self, now: Duration, random: impl FnOnce() -> u128) {
        self.tally.outstanding += 1;
        self.sends += 1;
        let patience = jittered((self.until() / 3).min(PATIENCE), random());
        self.phase = Phase::Patient(self.until().min(now + patience));
    }

    /// The deadline came while the call waited for credits: it was not sent.
    pub fn not_sent(&mut self) {
        self.phase = Phase::Over;
    }

    /// An answer to one of the sends, or the news that there will be none.
    pub fn heard(&mut self, now: Duration, got: Result<Answer, Lost>) {
        if self.outcome.is_some() {
            return;
        }
        self.outcome = self.tally.hear(got);
        if let Phase::Patient(_) = self.phase {
            // The core tells each another time: nobody comes earlier, and they do not come together.
            self.again = self.again.max(now + self.tally.retry_after.unwrap_or_default());
            self.phase = Phase::Resting;
        }
    }

    /// True when a server said something, if only that it does not know.
    #[must_use]
    pub fn was_heard(&self) -> bool {
        self.tally.heard
    }
}

/// The way out of an unknown outcome: status, then a fence, until one of them is answered or patience ends.
#[derive(Debug)]
pub struct Resolving {
    doubt: InDoubt,
    patience: Duration,
    fences: bool,
    tries: u32,
    wait_until: Option<Duration>,
    outcome: Option<Outcome>,
}

impl Resolving {
    /// Begins.
    #[must_use]
    pub fn new(doubt: InDoubt, patience: Duration) -> Self {
        Self { doubt, patience, fences: false, tries: 0, wait_until: None, outcome: None }
    }

    /// Until when it goes on.
    #[must_use]
    pub fn until(&self) -> Duration {
        self.patience
    }

    /// What to do now.
    pub fn next(&mut self, now: Duration) -> Next {
        if let Some(outcome) = &self.outcome {
            return Next::End(outcome.clone());
        }
        if let Some(at) = self.wait_until.filter(|at| now < *at) {
            return Next::Wait(at);
        }
        self.wait_until = None;
        let a = &self.doubt.attempt;
        let status =
            Call { account: a.account, key: a.key, namespace: a.namespace, ..Call::of(Ask::Question(KIND_STATUS)) };
        Next::Ask(if self.fences { Call { ask: Ask::Do(Operation::Fence), ..status } } else { status })
    }

    /// The answer to what was asked last, if there was one.
    pub fn heard(&mut self, now: Duration, answer: Option<Answer>, random: impl FnOnce() -> u128) {
        let answered = answer.is_some();
        match answer.map(|answer| judge(Ok(answer), &self.doubt.attempt.operation)) {
            Some(Heard::Final(outcome)) => {
                self.outcome = Some(outcome);
                return;
            }
            Some(Heard::InDoubt(code)) => self.doubt.code = code,
            _ => {}
        }
        if answered && !self.fences {
            self.fences = true;
            return;
        }
        self.fences = false;
        let wait = pause(self.tries, random());
        self.tries += 1;
        if now + wait >= self.patience {
            self.outcome = Some(Outcome::Unknown(self.doubt.clone()));
        }
        self.wait_until = Some(now + wait);
    }
}

fn millis(d: Duration) -> u32 {
    u32::try_from(d.as_millis()).unwrap_or(u32::MAX)
}

/// What has been heard of one attempt's sends.
#[derive(Debug)]
struct Tally {
    attempt: Attempt,
    /// Sends that may still be answered.
    outstanding: u32,
    /// Sends that will never be answered, and those that were answered with "unknown".
    lost: u32,
    doubt: Option<Code>,
    refused: Option<Code>,
    retry_after: Option<Duration>,
    /// A server said something, if only that it does not know.
    heard: bool,
}

impl Tally {
    fn of(attempt: &Attempt) -> Self {
        Self { attempt: *attempt, outstanding: 0, lost: 0, doubt: None, refused: None, retry_after: None, heard: false }
    }

    /// True when a send may have taken effect, or may yet.
    fn in_doubt(&self) -> bool {
        self.outstanding + self.lost > 0
    }

    fn hear(&mut self, got: Result<Answer, Lost>) -> Option<Outcome> {
        self.outstanding -= 1;
        self.heard |= got.is_ok();
        match judge(got, &self.attempt.operation) {
            Heard::Final(outcome) => return Some(outcome),
            Heard::Suspected(d) if !self.in_doubt() => return Some(Outcome::SuspectedDuplicate(d)),
            // An earlier send may be on its way still: the same key is asked again until that is settled.
            Heard::Suspected(_) | Heard::NotSent => {}
            Heard::Lost => self.lost += 1,
            Heard::InDoubt(code) => {
                self.doubt = Some(code);
                self.lost += 1;
            }
            Heard::Refused(code, after) => {
                (self.refused, self.retry_after) = (Some(code), after);
                // Sent again unchanged it would only be refused again.
                if code.class() == Class::Refused && self.outstanding == 0 {
                    return Some(self.end());
                }
            }
        }
        None
    }

    /// What can be said when nothing more will be heard.
    fn end(&self) -> Outcome {
        if self.in_doubt() {
            return Outcome::Unknown(InDoubt { attempt: self.attempt, code: self.doubt.unwrap_or(Code::Unknown) });
        }
        Outcome::NotExecuted { code: self.refused.unwrap_or(Code::Overloaded), retry_after: self.retry_after }
    }
}

/// What one answer, or its absence, says about an attempt.
#[expect(clippy::large_enum_variant, reason = "it lives for a moment, and most of them are the large one")]
enum Heard {
    Final(Outcome),
    Suspected(Decided),
    /// One frame was refused: nothing about any other.
    Refused(Code, Option<Duration>),
    InDoubt(Code),
    NotSent,
    Lost,
}

fn judge(got: Result<Answer, Lost>, asked: &Operation) -> Heard {
    let answer = match got {
        Ok(answer) => answer,
        Err(Lost::NotSent) => return Heard::NotSent,
        Err(Lost::Unanswered) => return Heard::Lost,
    };
    // A code that this version does not know is no reason to call a payment failed.
    let Some(d) = Decided::from_answer(&answer) else { return Heard::InDoubt(Code::Unknown) };
    let after = match &answer.body {
        AnswerBody::Decision(b) if b.retry_after_ms > 0 => Some(Duration::from_millis(u64::from(b.retry_after_ms))),
        _ => None,
    };
    match d.decision.code.class() {
        // Approved once, and taken back since.
        Class::Approved if matches!(d.state, State::Voided | State::Reversed) => Heard::Final(Outcome::Declined(d)),
        // Only a status says that it was confirmed.
        Class::Approved
            if matches!(asked, Operation::DebitConfirmed { .. })
                && !matches!(d.state, State::Captured | State::PartlyReturned) =>
        {
            Heard::Final(Outcome::Unconfirmed(d))
        }
        Class::Approved => Heard::Final(Outcome::Approved(d)),
        Class::Declined => Heard::Final(Outcome::Declined(d)),
        Class::Suspected => Heard::Suspected(d),
        Class::NotExecuted => Heard::Refused(d.decision.code, after),
        Class::Unknown => Heard::InDoubt(d.decision.code),
        Class::Refused => match d.decision.code {
            Code::Fenced => Heard::Final(Outcome::Declined(d)),
            Code::Conflict => Heard::Final(Outcome::Conflict(d)),
            // It may have been decided and forgotten: only the office can know.
            Code::KeyTooOld | Code::OriginalTooOld => Heard::InDoubt(d.decision.code),
            code => Heard::Refused(code, None),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tegata_wire::{AnswerHeader, DecisionBody};

    const UNTIL: Duration = Duration::from_secs(10);

    fn ms(n: u64) -> Duration {
        Duration::from_millis(n)
    }

    /// A refusal that says when to come back.
    fn refusal(code: Code, retry_after_ms: u32) -> Result<Answer, Lost> {
        let header = AnswerHeader { kind: 0, flags: 0, number: 0, request_id: 1 };
        let body = DecisionBody { code: u16::from(code as u8), retry_after_ms, ..DecisionBody::default() };
        Ok(Answer { header, body: AnswerBody::Decision(body) })
    }

    fn sends() -> Sends {
        let (account, key) = (AccountId::NONE, crate::new_key());
        let attempt =
            Attempt { account, key, namespace: NamespaceId::new(1), operation: Operation::Fence, deadline: UNTIL };
        Sends::new(&attempt, 3)
    }

    /// Sends at an instant.
    fn send(sends: &mut Sends, at: Duration) {
        assert_eq!(sends.next(at, &Budget::new(), || 0), Next::Connect);
        sends.connected(at);
        sends.sent(at, || 0);
    }

    #[test]
    fn who_is_told_to_come_back_in_time_comes_back_then_and_not_earlier() {
        let mut sends = sends();
        send(&mut sends, ms(0));
        sends.heard(ms(1), refusal(Code::Overloaded, 300));
        assert_eq!(sends.next(ms(2), &Budget::new(), || 0), Next::Wait(ms(301)));
        assert_eq!(sends.next(ms(300), &Budget::new(), || 0), Next::Wait(ms(301)));
        send(&mut sends, ms(301));
    }

    #[test]
    fn who_is_told_to_come_back_after_the_deadline_is_not_kept_waiting_for_it() {
        let refused = || refusal(Code::MemoryLimit, 60_000);
        let mut alone = sends();
        send(&mut alone, ms(0));
        alone.heard(ms(1), refused());
        let retry_after = Some(ms(60_000));
        let told = Next::End(Outcome::NotExecuted { code: Code::MemoryLimit, retry_after });
        assert_eq!(alone.next(ms(2), &Budget::new(), || 0), told);

        // A first send that may be answered still is waited for.
        let mut second = sends();
        send(&mut second, ms(0));
        assert_eq!(second.next(PATIENCE, &Budget::new(), || 0), Next::Retire);
        send(&mut second, PATIENCE);
        second.heard(PATIENCE + ms(1), refused());
        assert_eq!(second.next(PATIENCE + ms(2), &Budget::new(), || 0), Next::Wait(UNTIL));
        second.heard(PATIENCE + ms(3), Err(Lost::Unanswered));
        let Next::End(Outcome::Unknown(doubt)) = second.next(PATIENCE + ms(4), &Budget::new(), || 0) else {
            panic!("it may have been executed")
        };
        assert_eq!(doubt.code, Code::Unknown);
    }
}
