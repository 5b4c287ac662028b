//! Telling the core what waits, and asking it for a lease.

use super::{DOWN, PATIENCE, SENDS, StandIn, Step, Written};
use crate::call::{Ask, Call};
use crate::keys::random;
use crate::keys::{new_key, now};
use crate::outcome::{Decided, Outcome};
use crate::retry::pause;
use crate::sends::Attempt;
use crate::spool::{Dones, Entry};
use std::time::Duration;
use tegata_model::{AccountId, Class, Code, Command, Operation};
use tokio::task::JoinSet;
use tokio::time::Instant;

/// A client whose clock differs by more from the core's does not stand in: its keys would be refused as from the future,
/// and its approvals be outside of their lease. The core allows keys 300 s.
pub(super) const CLOCK_MAX_US: u64 = 60_000_000;

/// Refused because of who asks, not of what: it may be set right, and then the same is taken.
fn is_of_the_caller(code: Code) -> bool {
    matches!(
        code,
        Code::Unauthenticated
            | Code::NamespaceNotAllowed
            | Code::OperationUnknown
            | Code::VersionUnknown
            | Code::OperationNotPermitted
            | Code::ShopNotPermitted
            | Code::ProgrammeNotPermitted
            | Code::AmountNotPermitted
    )
}

/// What came of telling.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Told {
    /// Answered, all of it.
    All,
    /// A server was there and did not take it.
    NotNow,
    /// Nobody was there.
    Nobody,
}

/// Why one command has no answer that is final.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Silence {
    /// A server was there and did not take it.
    NotNow,
    /// A server does not want this caller, or this of it, or not yet.
    Unwelcome,
    /// Nobody was there.
    Nobody,
}

impl StandIn {
    pub(super) fn was_heard(&self) -> bool {
        self.state().heard_at.is_some_and(|at| at.elapsed() < PATIENCE)
    }

    fn is_down(&self) -> bool {
        self.state().down_until.is_some_and(|until| Instant::now() < until)
    }

    pub(super) fn mark_down(&self) {
        let until = Instant::now() + DOWN;
        let mut state = self.state();
        // A drill lasts as long as it was ordered.
        state.down_until = Some(state.down_until.map_or(until, |drill| drill.max(until)));
    }

    /// Whether there is a connection, or can be.
    pub(super) async fn reach(&self, until: Instant) -> Told {
        for n in 0..SENDS {
            // It is not marked again: where many ask, nobody would ever be tried.
            if self.is_down() {
                return Told::Nobody;
            }
            match self.shared.client.connection_by(until).await {
                Ok(_) => return Told::All,
                Err(true) => return Told::NotNow,
                Err(false) => tokio::time::sleep(pause(n, random())).await,
            }
        }
        self.mark_down();
        Told::Nobody
    }

    /// Tells what waits, some of it side by side.
    pub(super) async fn tell(&self) -> Told {
        let _turn = self.shared.telling.lock().await;
        let mut tries = 0;
        loop {
            if self.is_down() {
                return Told::Nobody;
            }
            let batch = self.state().next();
            if batch.is_empty() {
                return Told::All;
            }
            let (answered, silence) = self.send_all(batch).await;
            if !answered.is_empty() {
                let steps = [Some(Step::DoneWrite), Some(Step::DoneFlush)];
                let done = Entry::Done(Dones::take(&answered));
                // Others wait for what is told, and not for a disk that stands still.
                if self.append(done, steps, Instant::now()).await != Written::Yes {
                    // Whoever opens the spool again tells it once more, under the same keys.
                    self.state().take(0, done);
                }
                self.watch(Step::Forget);
                tries = 0;
            }
            let Some(silence) = silence else { continue };
            tries += 1;
            if tries == SENDS {
                if silence == Silence::Nobody {
                    self.mark_down();
                    return Told::Nobody;
                }
                return Told::NotNow;
            }
            tokio::time::sleep(pause(tries, random())).await;
        }
    }

    /// Sends some commands side by side; returns numbers and codes of those that were answered, and why others were not.
    async fn send_all(&self, batch: Vec<(u64, Command)>) -> (Vec<(u64, u8)>, Option<Silence>) {
        let mut sends = JoinSet::new();
        for (number, command) in batch {
            self.watch(Step::Send);
            let this = self.clone();
            sends.spawn(async move { (number, this.send(&command).await) });
        }
        let (mut answered, mut silence) = (Vec::new(), None);
        while let Some(sent) = sends.join_next().await {
            match sent {
                Ok((number, Ok(code))) => {
                    self.watch(Step::Heard);
                    answered.push((number, code.number()));
                }
                Ok((number, Err(Silence::Unwelcome))) => {
                    self.state().aside.insert(number);
                }
                Ok((_, Err(Silence::Nobody))) if silence.is_none() => silence = Some(Silence::Nobody),
                Ok((_, Err(Silence::Nobody))) => {}
                Ok((_, Err(Silence::NotNow))) | Err(_) => silence = Some(Silence::NotNow),
            }
        }
        answered.sort_unstable();
        (answered, silence)
    }

    /// Sends one command once, under its key; the code of what is final.
    async fn send(&self, command: &Command) -> Result<Code, Silence> {
        let e = &command.envelope;
        let call =
            Call { account: e.account, key: e.key, namespace: e.namespace, ..Call::of(Ask::Do(command.operation)) };
        let answer = match self.shared.client.ask_or_tell(call, Instant::now() + PATIENCE).await {
            Ok(answer) => answer,
            Err(true) => return Err(Silence::NotNow),
            Err(false) => return Err(Silence::Nobody),
        };
        self.state().heard_at = Some(Instant::now());
        // A code that this version does not know is no reason to forget a payment.
        let code = Decided::from_answer(&answer).map(|d| d.decision.code).ok_or(Silence::Unwelcome)?;
        match code {
            code if is_of_the_caller(code) => Err(Silence::Unwelcome),
            // By a clock that was ahead: its time comes, and then the core takes it.
            Code::KeyClock if e.key.created_at().is_some() => Err(Silence::Unwelcome),
            code if matches!(code.class(), Class::NotExecuted | Class::Unknown | Class::Suspected) => {
                Err(Silence::NotNow)
            }
            code => Ok(code),
        }
    }

    /// Asks for a lease when there is none, or when half of its life is over. One that was granted and not taken counts as well:
    /// the core keeps four, and would forget the one under which approvals wait. None is asked for that could not be kept.
    pub(super) async fn renew(&self) {
        let (holder, due) = {
            let state = self.state();
            let old = state.allowed.as_ref().is_none_or(|l| l.is_old(now()));
            let soon = state.lease_again.is_some_and(|at| Instant::now() < at);
            (state.holder, old && !soon && !state.failed)
        };
        if !due {
            return;
        }
        let o = &self.shared.options;
        let operation = Operation::Lease { programme: o.programme, holder, allowance: o.allowance };
        let attempt =
            Attempt { account: AccountId::NONE, key: new_key(), namespace: o.namespace, operation, deadline: PATIENCE };
        let d = match self.shared.client.decide_and_tell(&attempt, SENDS).await.0 {
            Outcome::Approved(d) => d.decision,
            Outcome::Declined(d) => {
                self.state().refused = Some(d.decision.code);
                return;
            }
            _ => return,
        };
        {
            let mut state = self.state();
            state.lease_again = Some(Instant::now() + Duration::from_secs(u64::from(o.allowance.seconds)) / 2);
            if !state.compare(d.at, now()) {
                state.refused = Some(Code::KeyClock);
                return;
            }
        }
        let command = Command { envelope: self.envelope(&attempt, d.at), operation };
        let lease = Entry::Lease { epoch: d.position, command };
        if self.append(lease, [None, None], Instant::now() + PATIENCE).await == Written::Yes {
            self.state().refused = None;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_right_that_is_missing_gives_no_payment_up() {
        let refused = |code: &&Code| code.class() == Class::Refused;
        let missing = |code: &&Code| code.name().ends_with("-not-permitted") || code.name().ends_with("-not-allowed");
        let codes: Vec<_> = Code::ALL.iter().filter(refused).filter(missing).collect();
        assert!(codes.len() >= 5 && codes.iter().all(|code| is_of_the_caller(**code)), "{codes:?}");
        assert!(![Code::Approved, Code::Fenced, Code::Conflict, Code::KeyTooOld].map(is_of_the_caller).contains(&true));
    }
}
