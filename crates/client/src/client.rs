//! The client: one attempt, one outcome, however many connections and sends that takes.

use crate::call::{Ask, Call};
use crate::connection::{Access, Connection, Credential, Lost, OpenError};
use crate::outcome::{Decided, InDoubt, Outcome};
use crate::retry::{Budget, jittered, pause};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tegata_model::{AccountId, Class, Code, Key, NamespaceId, Operation, State};
use tegata_wire::{Answer, AnswerBody, KIND_STATUS};
use tokio::sync::{Mutex, mpsc};
use tokio::time::{Instant, sleep, timeout_at};

/// How long one send waits before its connection is given up for another, at most.
const PATIENCE: Duration = Duration::from_secs(2);
/// With less than this left of a deadline nothing is sent any more.
const LEFT_MIN: Duration = Duration::from_millis(5);
/// How long connecting may take.
const CONNECT_MAX: Duration = Duration::from_secs(3);

/// Where and as whom to connect.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Options {
    /// The servers that hold the same state, in the order in which they are tried.
    pub addrs: Vec<SocketAddr>,
    /// Who calls.
    pub credential: Credential,
}

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

/// A client. Cheap to clone; all clones share one connection, which is made when it is first needed and made again
/// whenever it is lost.
#[derive(Debug, Clone)]
pub struct Client {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    options: Options,
    access: Access,
    current: Mutex<Option<Arc<Connection>>>,
    budget: Budget,
}

fn millis(d: Duration) -> u32 {
    u32::try_from(d.as_millis()).unwrap_or(u32::MAX)
}

impl Client {
    /// A client; nothing is connected yet.
    #[must_use]
    pub fn new(options: Options) -> Self {
        Self::with_access(options, Access::default())
    }

    /// The same, and proves who calls.
    #[must_use]
    pub fn with_access(options: Options, access: Access) -> Self {
        Self { shared: Arc::new(Shared { options, access, current: Mutex::new(None), budget: Budget::new() }) }
    }

    /// The connection, made now if there is none.
    pub async fn connection(&self) -> Result<Arc<Connection>, OpenError> {
        let mut current = self.shared.current.lock().await;
        if let Some(connection) = current.as_ref().filter(|c| c.is_usable()) {
            return Ok(Arc::clone(connection));
        }
        let mut error = OpenError::TimedOut;
        for addr in &self.shared.options.addrs {
            match Connection::open_with(*addr, &self.shared.options.credential, &self.shared.access, CONNECT_MAX).await
            {
                Ok(connection) => {
                    let connection = Arc::new(connection);
                    *current = Some(Arc::clone(&connection));
                    return Ok(connection);
                }
                Err(e) => error = e,
            }
        }
        Err(error)
    }

    /// Ends the connection in order: what was answered is acknowledged first.
    pub async fn close(&self) {
        let connection = self.shared.current.lock().await.take();
        if let Some(connection) = connection {
            connection.close().await;
        }
    }

    /// Sends an attempt until it has an outcome or its deadline passes: again under the same key, over another
    /// connection where one has gone quiet.
    pub async fn decide(&self, attempt: &Attempt) -> Outcome {
        self.decide_and_tell(attempt, u32::MAX).await.0
    }

    /// The outcome, and whether anything was heard of a server meanwhile. It does not wait for the deadline when no
    /// connection could be made so many times in a row.
    pub(crate) async fn decide_and_tell(&self, attempt: &Attempt, alone_max: u32) -> (Outcome, bool) {
        self.shared.budget.earn();
        let began = Instant::now();
        let until = began + attempt.deadline;
        let (answers, mut inbox) = mpsc::unbounded_channel();
        let mut tally = Tally::of(attempt);
        let (mut sends, mut alone) = (0, 0);
        while until.saturating_duration_since(Instant::now()) >= LEFT_MIN && alone < alone_max {
            let mut again = Instant::now() + pause(sends);
            if (sends == 0 || self.shared.budget.spend())
                && let Ok(connection) = self.connection_by(until).await.map_err(|said| {
                    tally.heard |= said;
                    alone += 1;
                })
            {
                alone = 0;
                let call = Call {
                    account: attempt.account,
                    key: attempt.key,
                    namespace: attempt.namespace,
                    deadline_ms: millis(attempt.deadline),
                    age_ms: millis(began.elapsed()),
                    ask: Ask::Do(attempt.operation),
                };
                // What still waits for credits when the deadline comes was not sent.
                if timeout_at(until, connection.send(call, answers.clone())).await.is_err() {
                    break;
                }
                tally.outstanding += 1;
                sends += 1;
                let patience = jittered((attempt.deadline / 3).min(PATIENCE));
                match timeout_at(until.min(Instant::now() + patience), inbox.recv()).await {
                    Err(_) => connection.retire(),
                    Ok(None) => break,
                    Ok(Some(got)) => {
                        if let Some(outcome) = tally.hear(got) {
                            return (outcome, tally.heard);
                        }
                        again = again.max(Instant::now() + jittered(tally.retry_after.unwrap_or_default()));
                    }
                }
            }
            // An answer to an earlier send counts for as long as the deadline runs.
            while let Ok(Some(got)) = timeout_at(until.min(again), inbox.recv()).await {
                if let Some(outcome) = tally.hear(got) {
                    return (outcome, tally.heard);
                }
            }
        }
        (tally.end(), tally.heard)
    }

    /// The way out of an unknown outcome: asks for the status, and fences the key if nothing is decided under it.
    /// After a fence the original never takes effect, and [`Outcome::Declined`] means that nothing was taken. Goes on
    /// for `patience`; what is still unknown then is given back. A refusal of the question or of the fence says nothing
    /// about the key.
    pub async fn resolve(&self, doubt: InDoubt, patience: Duration) -> Outcome {
        let until = Instant::now() + patience;
        let a = doubt.attempt;
        let status =
            Call { account: a.account, key: a.key, namespace: a.namespace, ..Call::of(Ask::Question(KIND_STATUS)) };
        let fence = Call { ask: Ask::Do(Operation::Fence), ..status };
        let (mut tries, mut code) = (0, doubt.code);
        loop {
            for call in [status, fence] {
                let Some(answer) = self.ask_once(call, until).await else { break };
                match judge(Ok(answer), &a.operation) {
                    Heard::Final(outcome) => return outcome,
                    Heard::InDoubt(c) => code = c,
                    _ => {}
                }
            }
            let wait = pause(tries);
            tries += 1;
            if Instant::now() + wait >= until {
                return Outcome::Unknown(InDoubt { code, ..doubt });
            }
            sleep(wait).await;
        }
    }

    async fn ask_once(&self, call: Call, until: Instant) -> Option<Answer> {
        self.ask_or_tell(call, until).await.ok()
    }

    /// The answer to one send, or whether a server said that it does not want this caller.
    pub(crate) async fn ask_or_tell(&self, call: Call, until: Instant) -> Result<Answer, bool> {
        let until = until.min(Instant::now() + PATIENCE);
        let connection = self.connection_by(until).await?;
        match timeout_at(until, connection.ask(call)).await {
            Ok(answer) => answer.map_err(|_| false),
            Err(_) => {
                connection.retire();
                Err(false)
            }
        }
    }

    /// The connection, or whether a server refused to have one.
    pub(crate) async fn connection_by(&self, until: Instant) -> Result<Arc<Connection>, bool> {
        match timeout_at(until, self.connection()).await {
            Ok(Ok(connection)) => Ok(connection),
            Ok(Err(e)) => Err(e.is_of_server()),
            Err(_) => Err(false),
        }
    }
}

/// What has been heard of one attempt's sends.
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
