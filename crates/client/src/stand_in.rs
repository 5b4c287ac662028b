//! Stand-in: what this client approves by itself, under a lease, while the core cannot be reached (FIELD, stand-in).
//!
//! ```text
//! decide ──core answers──▶ its outcome
//!    └──nobody can be reached──▶ within the lease? ──▶ spool, flushed ──▶ approved, `stood_in`
//! tend ──▶ reversals, fences, advices, each until it is answered ──▶ done ──▶ a lease, renewed at half its life
//! ```
//!
//! Invariants: nothing is approved that is not on the disk; nothing is approved beyond the lease; while something waits to
//! be told, it is told before anything new is sent, unless a server does not want it from this caller; what was told is told again under the same key until it is answered,
//! and then never again.

mod allowed;

use crate::call::{Ask, Call};
use crate::client::{Attempt, Client};
use crate::keys::{new_key, now, random};
use crate::outcome::{Decided, InDoubt, Outcome};
use crate::retry::pause;
use crate::spool::{Append, Dones, Entry, Spool, SpoolError};
use allowed::{Allowed, Forbidden, Seen};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tegata_model::{
    AccountId, Advice, Allowance, Class, Code, Command, Decision, Envelope, Key, NamespaceId, Operation, Position,
    ProgrammeId, State, Timestamp, Yen,
};
use tegata_wire::{AnswerBody, BalanceBody, KIND_BALANCE};
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout_at};

/// Sends of one command in a row before it waits for later.
const SENDS: u32 = 3;
/// How long one frame of what waits may take to be answered.
const PATIENCE: Duration = Duration::from_secs(5);
/// After nobody could be reached, nobody is asked for so long: a till does not wait for what the one before it found out.
const DOWN: Duration = Duration::from_secs(1);
/// A client whose clock differs by more from the core's does not stand in: its keys would be refused as from the future,
/// and its approvals be outside of their lease. The core allows keys 300 s.
const CLOCK_MAX_US: u64 = 60_000_000;

/// What may be approved, for whom, and where it is kept.
#[derive(Clone)]
pub struct StandInOptions {
    /// A folder on a disk that survives this machine's crash; of this client alone.
    pub folder: PathBuf,
    /// Accounts with value of this programme.
    pub programme: ProgrammeId,
    /// Whose keys the leases have.
    pub namespace: NamespaceId,
    /// The caps to ask for, within those of the programme.
    pub allowance: Allowance,
    /// Told of each step before it is done: for logs, and for tests that end the process there.
    pub watch: Arc<dyn Fn(Step) + Send + Sync>,
}

/// A step on the way of a stood-in payment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// An approval is written.
    ApprovalWrite,
    /// It is flushed.
    ApprovalFlush,
    /// The caller is told.
    ApprovalAnswer,
    /// It is sent to the core, perhaps not for the first time.
    Send,
    /// The core's answer is there.
    Heard,
    /// That it is done is written.
    DoneWrite,
    /// That is flushed.
    DoneFlush,
    /// It is forgotten.
    Forget,
}

/// What is left after [`StandIn::tend`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Tended {
    /// Commands that still wait to be told.
    pub waiting: usize,
    /// Until when the lease lives that may be used; zero: there is none.
    pub leased_until: Timestamp,
    /// Why the core granted none, the last time that it was asked.
    pub refused: Option<Code>,
}

/// See the module. Cheap to clone; all clones are one.
#[derive(Clone)]
pub struct StandIn {
    shared: Arc<Shared>,
}

struct Shared {
    client: Client,
    options: StandInOptions,
    state: Mutex<Inner>,
    /// Held while what waits is told.
    telling: tokio::sync::Mutex<()>,
}

struct Inner {
    spool: Spool,
    holder: [u8; 16],
    allowed: Option<Allowed>,
    seen: Seen,
    /// By number in the spool.
    waiting: BTreeMap<u64, Command>,
    /// Advices that wait, by whose key.
    told_later: HashMap<(NamespaceId, AccountId, Key), u64>,
    /// Told, and answered with a refusal: for the office.
    for_office: Vec<(Command, Code)>,
    refused: Option<Code>,
    /// What waits, and a server does not want from this caller: it holds nothing else up.
    aside: BTreeSet<u64>,
    /// When a server answered last.
    heard_at: Option<Instant>,
    /// Nobody could be reached just now, and nobody is asked until then.
    down_until: Option<Instant>,
}

impl Inner {
    fn take(&mut self, number: u64, entry: Entry) {
        match entry {
            Entry::Opened { holder } => self.holder = holder,
            Entry::Lease { epoch, command } => self.allowed = Allowed::new(epoch, &command),
            Entry::Queued(command) => self.queued(number, command),
            Entry::Done(dones) => dones.as_slice().iter().for_each(|(number, code)| self.done(*number, *code)),
        }
    }

    fn queued(&mut self, number: u64, command: Command) {
        let e = &command.envelope;
        if let Operation::Advice(advice) = &command.operation {
            if let Some(allowed) = &mut self.allowed {
                allowed.count(e.account, advice);
            }
            self.told_later.insert((e.namespace, e.account, e.key), number);
        }
        self.waiting.insert(number, command);
    }

    fn done(&mut self, number: u64, code: u8) {
        let Some(command) = self.waiting.remove(&number) else { return };
        let e = &command.envelope;
        self.told_later.remove(&(e.namespace, e.account, e.key));
        match Code::from_u8(code) {
            Some(code) if code.class() == Class::Refused && code != Code::Fenced => {
                self.for_office.push((command, code));
            }
            _ => {}
        }
    }

    /// What is told next, side by side: reversals, then fences, then advices. What a server did not want is passed over.
    fn next(&self) -> Vec<(u64, Command)> {
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

/// What came of telling.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Told {
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
    /// A server does not want this caller, or this of it.
    Unwelcome,
    /// Nobody was there.
    Nobody,
}

impl StandIn {
    /// Opens or makes the spool. What waits in it is told by [`StandIn::tend`].
    pub fn open(client: Client, options: StandInOptions) -> Result<Self, SpoolError> {
        let (spool, entries) = Spool::open(&options.folder, random().to_le_bytes())?;
        let mut inner = Inner {
            spool,
            holder: [0; 16],
            allowed: None,
            seen: Seen::default(),
            waiting: BTreeMap::new(),
            told_later: HashMap::new(),
            for_office: Vec::new(),
            refused: None,
            aside: BTreeSet::new(),
            heard_at: None,
            down_until: None,
        };
        for (number, entry) in entries {
            inner.take(number, entry);
        }
        let over = inner.allowed.as_ref().is_none_or(|l| l.until <= now());
        if over && inner.waiting.is_empty() && inner.for_office.is_empty() {
            inner.spool.empty()?;
            inner.allowed = None;
        }
        let telling = tokio::sync::Mutex::new(());
        Ok(Self { shared: Arc::new(Shared { client, options, state: Mutex::new(inner), telling }) })
    }

    fn state(&self) -> MutexGuard<'_, Inner> {
        // What is in memory is changed only after the disk: whoever panicked left it whole.
        self.shared.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn watch(&self, step: Step) {
        (self.shared.options.watch)(step);
    }

    /// Decides an attempt like [`Client::decide`]; where nobody can be reached, a plain debit within the lease is approved
    /// here, and `stood_in` says so. An attempt that was approved so gets that answer again until the core was told.
    pub async fn decide(&self, attempt: &Attempt) -> Outcome {
        if let Some(outcome) = self.approved_before(attempt) {
            return outcome;
        }
        let until = Instant::now() + attempt.deadline;
        // Not a byte was sent, and nothing new is sent before what happened.
        let nothing_sent = Outcome::NotExecuted { code: Code::Overloaded, retry_after: None };
        let waits = !self.state().next().is_empty() && !goes_first(&attempt.operation);
        let reached = async { if waits { self.tell().await } else { self.reach(until).await } };
        match timeout_at(until, reached).await {
            Ok(Told::All) => {}
            Ok(Told::NotNow) => return nothing_sent,
            // What waits is being told, and there is too much of it.
            Err(_) if self.was_heard() => return nothing_sent,
            Ok(Told::Nobody) | Err(_) => return self.approve(attempt, nothing_sent).await,
        }
        let left = Attempt { deadline: until.saturating_duration_since(Instant::now()), ..*attempt };
        let (outcome, heard) = self.shared.client.decide_and_tell(&left, SENDS).await;
        match &outcome {
            Outcome::Approved(d) if !d.replayed => {
                self.state().seen.lower(&attempt.account, d.decision.amount.get());
                outcome
            }
            Outcome::Unknown(_) | Outcome::NotExecuted { .. } if !heard => self.approve(attempt, outcome).await,
            _ => outcome,
        }
    }

    /// Tells what an account has, and remembers it: only accounts whose balance was asked for are stood in for.
    pub async fn balance(&self, account: AccountId) -> Option<BalanceBody> {
        let (until, call) = (Instant::now() + PATIENCE, Call::question(KIND_BALANCE, account));
        let mut answer = Err(false);
        for n in 0..SENDS {
            answer = self.shared.client.ask_or_tell(call, until).await;
            if answer.is_ok() {
                break;
            }
            tokio::time::sleep(pause(n)).await;
        }
        let AnswerBody::Balance(body) = answer.ok()?.body else { return None };
        let at = now();
        let of_programme = body.lots.iter().filter(|l| {
            l.programme == self.shared.options.programme.get()
                && l.valid_from <= at.micros()
                && at.micros() < l.expires_at
        });
        let yen = if body.life == 0 { of_programme.map(|l| l.remaining).sum::<u64>().min(body.balance) } else { 0 };
        self.state().seen.note(account, yen, at);
        Some(body)
    }

    /// Queues a full reversal or a fence that has no answer yet, durably. True when it will be told.
    pub async fn undo(&self, attempt: &Attempt) -> bool {
        if !goes_first(&attempt.operation) {
            return false;
        }
        let envelope = self.envelope(attempt, now());
        self.append(Entry::Queued(Command { envelope, operation: attempt.operation }), [None, None]).await.is_ok()
    }

    /// Tells what waits, and renews the lease. To be called every few seconds, and soon after something was approved.
    pub async fn tend(&self) -> Tended {
        self.state().aside.clear();
        if self.tell().await == Told::All {
            self.renew().await;
        }
        let state = self.state();
        let at = now();
        let until = state.allowed.as_ref().map(|l| l.until).filter(|until| at < *until);
        Tended { waiting: state.waiting.len(), leased_until: until.unwrap_or(Timestamp::ZERO), refused: state.refused }
    }

    /// What the core answered with a refusal, such as a key that is out of the horizon: only the office can settle it.
    #[must_use]
    pub fn for_office(&self) -> Vec<(Command, Code)> {
        self.state().for_office.clone()
    }

    fn was_heard(&self) -> bool {
        self.state().heard_at.is_some_and(|at| at.elapsed() < PATIENCE)
    }

    fn is_down(&self) -> bool {
        self.state().down_until.is_some_and(|until| Instant::now() < until)
    }

    fn mark_down(&self) {
        self.state().down_until = Some(Instant::now() + DOWN);
    }

    /// Whether there is a connection, or can be.
    async fn reach(&self, until: Instant) -> Told {
        for n in 0..SENDS {
            if self.is_down() {
                break;
            }
            match self.shared.client.connection_by(until).await {
                Ok(_) => return Told::All,
                Err(true) => return Told::NotNow,
                Err(false) => tokio::time::sleep(pause(n)).await,
            }
        }
        self.mark_down();
        Told::Nobody
    }

    fn envelope(&self, attempt: &Attempt, at: Timestamp) -> Envelope {
        let (namespace, account, key) = (attempt.namespace, attempt.account, attempt.key);
        Envelope { received_at: at, namespace, account, key, ..Envelope::default() }
    }

    /// The answer to an attempt that was approved here and is not told yet.
    fn approved_before(&self, attempt: &Attempt) -> Option<Outcome> {
        let state = self.state();
        let number = state.told_later.get(&(attempt.namespace, attempt.account, attempt.key))?;
        let command = state.waiting.get(number)?;
        let Operation::Advice(advice) = &command.operation else { return None };
        let asked = Command { envelope: command.envelope, operation: attempt.operation };
        let mut decided = approval(advice);
        if asked.fingerprint() != command.fingerprint() {
            decided.decision.code = Code::Conflict;
            return Some(Outcome::Conflict(decided));
        }
        Some(Outcome::Approved(decided))
    }

    /// Approves an attempt if the lease covers it; otherwise it comes to what it came to.
    async fn approve(&self, attempt: &Attempt, outcome: Outcome) -> Outcome {
        let this = self.clone();
        let attempt = *attempt;
        let approved = tokio::task::spawn_blocking(move || this.approve_now(&attempt)).await;
        match approved {
            Ok(Ok(advice)) => {
                self.watch(Step::ApprovalAnswer);
                Outcome::Approved(approval(&advice))
            }
            // It may be on the disk, and then it will be told.
            Ok(Err(Forbidden::Spool)) | Err(_) => Outcome::Unknown(InDoubt { attempt, code: Code::Unknown }),
            Ok(Err(_)) => outcome,
        }
    }

    fn approve_now(&self, attempt: &Attempt) -> Result<Advice, Forbidden> {
        let mut state = self.state();
        let at = now();
        let seen = state.seen.balance(&attempt.account, at);
        let allowed = state.allowed.as_ref().ok_or(Forbidden::Lease)?;
        let advice = allowed.covers(attempt.account, &attempt.operation, seen, at)?;
        let command = Command { envelope: self.envelope(attempt, at), operation: Operation::Advice(advice) };
        self.append_in(&mut state, Entry::Queued(command), [Some(Step::ApprovalWrite), Some(Step::ApprovalFlush)])
            .map_err(|_| Forbidden::Spool)?;
        Ok(advice)
    }

    /// Writes, flushes, and takes it over.
    fn append_in(&self, state: &mut Inner, entry: Entry, steps: [Option<Step>; 2]) -> Result<(), SpoolError> {
        let mut watch = |step: Append| {
            if let Some(step) = steps[step as usize] {
                self.watch(step);
            }
        };
        let number = state.spool.append(&entry, &mut watch)?;
        state.take(number, entry);
        Ok(())
    }

    async fn append(&self, entry: Entry, steps: [Option<Step>; 2]) -> Result<(), SpoolError> {
        let this = self.clone();
        let done = tokio::task::spawn_blocking(move || this.append_in(&mut this.state(), entry, steps)).await;
        done.unwrap_or(Err(SpoolError::Failed))
    }

    /// Tells what waits, some of it side by side.
    async fn tell(&self) -> Told {
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
                if self.append(Entry::Done(Dones::take(&answered)), steps).await.is_err() {
                    return Told::NotNow;
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
            tokio::time::sleep(pause(tries)).await;
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
            // Of this caller, not of the payment: it may be set right.
            Code::Unauthenticated | Code::NamespaceNotAllowed | Code::OperationUnknown | Code::VersionUnknown => {
                Err(Silence::Unwelcome)
            }
            code if matches!(code.class(), Class::NotExecuted | Class::Unknown | Class::Suspected) => {
                Err(Silence::NotNow)
            }
            code => Ok(code),
        }
    }

    /// Asks for a lease when there is none, or when half of its life is over.
    async fn renew(&self) {
        let (holder, due) = {
            let state = self.state();
            (state.holder, state.allowed.as_ref().is_none_or(|l| l.is_old(now())))
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
        let here = now();
        if here.since(d.at).max(d.at.since(here)) > CLOCK_MAX_US {
            self.state().refused = Some(Code::KeyClock);
            return;
        }
        let command = Command { envelope: self.envelope(&attempt, d.at), operation };
        if self.append(Entry::Lease { epoch: d.position, command }, [None, None]).await.is_ok() {
            self.state().refused = None;
        }
    }
}

/// A full reversal and a fence are told before advices.
fn goes_first(operation: &Operation) -> bool {
    matches!(operation, Operation::Reversal { remain: 0, .. } | Operation::Fence)
}

/// What the caller is told of an advice: the core has decided nothing yet.
fn approval(a: &Advice) -> Decided {
    let decision = Decision {
        code: Code::Approved,
        amount: a.purchase.amount.yen(),
        balance: Yen::ZERO,
        position: Position::ZERO,
        at: a.approved_at,
        related: Position::ZERO,
    };
    Decided { decision, state: State::Final, replayed: false, flagged: false, stood_in: true }
}
