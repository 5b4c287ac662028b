//! Stand-in: what this client approves by itself, under a lease, while the core cannot be reached (FIELD, stand-in).
//!
//! ```text
//! decide ──core answers──▶ its outcome
//!    └──nobody can be reached──▶ within the lease? ──▶ spool, flushed ──▶ approved, `stood_in`
//! tend ──▶ reversals, fences, advices, each until it is answered ──▶ done ──▶ a lease, renewed at half its life
//! ```
//!
//! Invariants: nothing is approved that is not on the disk, or beyond the lease; what waits is told before anything new is
//! sent, unless a server does not want it from this caller, or not yet; it is told again under the same key until it is answered, and
//! then never again.

mod allowed;
mod known;
mod telling;

use crate::call::Call;
use crate::client::Client;
use crate::keys::{now, random};
use crate::outcome::{Decided, InDoubt, Outcome};
use crate::retry::pause;
use crate::sends::{Attempt, LEFT_MIN};
use crate::spool::{Append, Entry, Spool, SpoolError, kept_path};
use allowed::{Keys, Scope};
use known::Known;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tegata_model::{
    AccountId, Advice, Allowance, Code, Command, Decision, Envelope, NamespaceId, Operation, Position, ProgrammeId,
    Purchase, State, Timestamp, Yen,
};
use tegata_wire::{AnswerBody, BalanceBody, KIND_BALANCE};
use telling::Told;
use tokio::sync::Notify;
use tokio::time::{Instant, timeout_at};

/// Sends of one command in a row before it waits for later.
const SENDS: u32 = 3;
/// How long one frame of what waits may take to be answered.
const PATIENCE: Duration = Duration::from_secs(5);
/// The longest drill: the server's own is no longer.
const DRILL_MAX: Duration = Duration::from_secs(600);
/// How long a record is waited for in any case, also where its caller's time is over: more than a flush takes.
const FLUSH: Duration = Duration::from_millis(100);
/// After nobody could be reached, nobody is asked for so long: a till does not wait for what the one before it found out.
const DOWN: Duration = Duration::from_secs(1);

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
    /// A write to the spool failed: nothing is approved until it is opened again. What waits is told all the same.
    pub failed: bool,
    /// A last record of the spool could not be read: a payment that was approved here may be in it, and nobody will tell it.
    /// A copy is in `spool.damaged`, for the office; it counts until that file is gone.
    pub damaged: bool,
}

/// A client that approves plain debits by itself, within a lease of one programme, while no server can be reached, and
/// tells afterwards. Cheap to clone; all clones are one.
///
/// - [`StandIn::open`] with a folder of its own, once for each process; what waits from before is there again.
/// - [`StandIn::tend`] every few seconds, for as long as the process lives: it tells what waits and keeps a lease.
/// - [`StandIn::balance`] whenever a customer shows a coupon: nobody whose balance was not asked for in the last 15 minutes
///   is stood in for, and nobody beyond half of it.
/// - [`StandIn::decide`] instead of [`Client::decide`]. Where `stood_in` says so, show "paid": the core will accept it,
///   whatever has become of the account, and what that does not cover is the programme's loss.
/// - [`StandIn::resolve`] instead of [`Client::resolve`].
/// - [`StandIn::undo`] for a full reversal or a fence that got no answer: it is told before advices, so that a payment that
///   was approved here and reversed takes nothing.
///
/// What was approved is on the disk before the caller knows. It is told under the debit's own key until it is answered; a
/// repeat of the debit gets the same answer before and after, unless the key was fenced or decided otherwise at the core: then
/// the core says so, and the office sees the payment beside it. What the core refuses, a key that is out of its horizon
/// say, is kept in [`StandIn::for_office`].
#[derive(Clone)]
pub struct StandIn {
    shared: Arc<Shared>,
}

struct Shared {
    client: Client,
    options: StandInOptions,
    state: Mutex<Known>,
    /// Apart from the state: nobody who only looks waits for a flush.
    spool: Mutex<Spool>,
    /// Held while what waits is told.
    telling: tokio::sync::Mutex<()>,
    /// Told when a record was written, or was not.
    written: Notify,
}

/// What became of a record of the spool.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Written {
    Yes,
    /// Not a byte of it.
    No,
    /// It may be on the disk, or will be.
    Perhaps,
}

impl StandIn {
    /// Opens or makes the spool. What waits in it is told by [`StandIn::tend`].
    pub fn open(client: Client, options: StandInOptions) -> Result<Self, SpoolError> {
        let (mut spool, entries) = Spool::open(&options.folder, random().to_le_bytes())?;
        let mut known = Known { answered: Keys::new(now()), may_stand: Keys::new(now()), ..Known::default() };
        for (number, entry) in entries {
            known.take(number, entry);
        }
        let over = known.allowed.as_ref().is_none_or(|l| l.until <= now());
        if over && known.waiting.is_empty() && known.for_office.is_empty() {
            spool.empty()?;
            known.allowed = None;
        }
        let (telling, written) = (tokio::sync::Mutex::new(()), Notify::new());
        let (state, spool) = (Mutex::new(known), Mutex::new(spool));
        Ok(Self { shared: Arc::new(Shared { client, options, state, spool, telling, written }) })
    }

    fn state(&self) -> MutexGuard<'_, Known> {
        // What is in memory is changed only after the disk: whoever panicked left it whole.
        self.shared.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn watch(&self, step: Step) {
        (self.shared.options.watch)(step);
    }

    /// Decides an attempt like [`Client::decide`]; where nobody can be reached, a plain debit within the lease is approved
    /// here, and `stood_in` says so. An attempt that was approved so gets that answer again until the core was told.
    ///
    /// An approval is written first, so that it may take 100 ms longer than the attempt's deadline. Where the disk stands still
    /// it is unknown then; [`StandIn::resolve`] tells later what it came to. At most 64 are being written at once.
    ///
    /// Of a key that was unknown before, also to a caller that did not wait for it, and of one that was made before this process
    /// began, no refusal and no suspicion is told: it is unknown until its decision is heard, or [`StandIn::resolve`] has fenced it.
    pub async fn decide(&self, attempt: &Attempt) -> Outcome {
        let outcome = self.attempt(attempt).await;
        self.state().told(attempt, outcome)
    }

    async fn attempt(&self, attempt: &Attempt) -> Outcome {
        if let Some(outcome) = self.here(attempt) {
            return outcome;
        }
        let until = Instant::now() + attempt.deadline;
        // Not a byte was sent, and nothing new is sent before what happened.
        let nothing_sent = Outcome::NotExecuted { code: Code::Overloaded, retry_after: None };
        let waits = !self.state().next().is_empty() && !goes_first(&attempt.operation);
        let reached = async { if waits { self.tell().await } else { self.reach(until).await } };
        let reached = timeout_at(until, reached).await;
        // Another clone may have approved it meanwhile.
        if let Some(outcome) = self.here(attempt) {
            return outcome;
        }
        match reached {
            Ok(Told::All) => {}
            Ok(Told::NotNow) => return nothing_sent,
            // What waits is being told, and there is too much of it.
            Err(_) if self.was_heard() => return nothing_sent,
            Ok(Told::Nobody) => return self.approve(attempt, until, nothing_sent).await,
            Err(_) => {
                // The next one does not wait for what took this one so long.
                if attempt.deadline >= DOWN {
                    self.mark_down();
                }
                return self.approve(attempt, until, nothing_sent).await;
            }
        }
        let left = Attempt { deadline: until.saturating_duration_since(Instant::now()), ..*attempt };
        if left.deadline < LEFT_MIN {
            // A server was there; there is no time left to ask it, and so nobody who could not be reached.
            return nothing_sent;
        }
        // Before it is sent: its caller may not wait for what becomes of it.
        self.state().may_stand.note(attempt.scope());
        let (outcome, heard) = self.shared.client.decide_and_tell(&left, SENDS).await;
        if let Outcome::NotExecuted { .. } | Outcome::SuspectedDuplicate(_) = outcome {
            self.state().may_stand.take_back(&attempt.scope());
        }
        match &outcome {
            Outcome::Unknown(_) | Outcome::NotExecuted { .. } if !heard => self.approve(attempt, until, outcome).await,
            _ => {
                let mut state = self.state();
                state.heard(attempt, &outcome, now());
                match (&outcome, state.here(attempt)) {
                    // Another clone found nobody meanwhile, and approved it: that is paid, whatever the core said to this one.
                    (Outcome::Approved(_) | Outcome::Unconfirmed(_), _) | (_, None) => outcome,
                    (_, Some(known)) => known,
                }
            }
        }
    }

    /// What an unknown outcome came to, like [`Client::resolve`]; but what was approved here is not fenced: its advice would
    /// take the value all the same, beside the fence. Nothing is approved here any more under a key that is to be fenced.
    pub async fn resolve(&self, doubt: InDoubt, patience: Duration) -> Outcome {
        let until = Instant::now() + patience;
        loop {
            let mut written = std::pin::pin!(self.shared.written.notified());
            // From here on it hears of every record that is written.
            written.as_mut().enable();
            let (known, failed) = {
                let mut state = self.state();
                let known = state.here(&doubt.attempt);
                if known.is_none() {
                    state.undoes(doubt.attempt.scope());
                }
                (known, state.failed)
            };
            match known {
                None => {
                    let left = until.saturating_duration_since(Instant::now());
                    let attempt = doubt.attempt;
                    let outcome = self.shared.client.resolve(doubt, left).await;
                    return self.state().told(&attempt, outcome);
                }
                Some(Outcome::Unknown(_)) if !failed && timeout_at(until, written).await.is_ok() => {}
                Some(outcome) => return outcome,
            }
        }
    }

    /// The answer to an attempt whose approval is here, or may be.
    fn here(&self, attempt: &Attempt) -> Option<Outcome> {
        self.state().here(attempt)
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
            tokio::time::sleep(pause(n, random())).await;
        }
        let AnswerBody::Balance(body) = answer.ok()?.body else { return None };
        let at = now();
        let of_programme = body.lots.iter().filter(|l| {
            l.programme == self.shared.options.programme.get()
                && l.valid_from <= at.micros()
                && at.micros() < l.expires_at
        });
        let yen = if body.life == 0 {
            of_programme.fold(0, |sum: u64, l| sum.saturating_add(l.remaining)).min(body.balance)
        } else {
            0
        };
        self.state().seen.note(account, yen, at);
        Some(body)
    }

    /// Queues a full reversal or a fence that has no answer yet, durably. True when it will be told; false when nobody knows,
    /// also where the disk stands still until the attempt's deadline, or for 100 ms, and for a fence of what was approved here:
    /// as in [`StandIn::resolve`].
    pub async fn undo(&self, attempt: &Attempt) -> bool {
        {
            let mut state = self.state();
            // Before it is written, so that nobody approves it meanwhile.
            match attempt.operation {
                Operation::Reversal { original, remain: 0 } => {
                    state.undoes((original, attempt.namespace, attempt.account));
                }
                Operation::Fence if state.here(attempt).is_none() => state.undoes(attempt.scope()),
                _ => return false,
            }
        }
        let envelope = self.envelope(attempt, now());
        let entry = Entry::Queued(Command { envelope, operation: attempt.operation });
        self.append(entry, [None, None], Instant::now() + attempt.deadline).await == Written::Yes
    }

    /// Tells what waits, and renews the lease. To be called every few seconds, and soon after something was approved.
    pub async fn tend(&self) -> Tended {
        self.state().aside.clear();
        if self.tell().await == Told::All {
            self.renew().await;
        }
        let state = self.state();
        let at = now();
        let until = state.allowed.as_ref().map(|l| l.until).filter(|until| at < *until && !state.clock_off);
        Tended {
            waiting: state.waiting.len(),
            leased_until: until.unwrap_or(Timestamp::ZERO),
            refused: state.refused,
            failed: state.failed,
            damaged: kept_path(&self.shared.options.folder).exists(),
        }
    }

    /// Stands in for so long, 600 s at most, as if nobody could be reached: an allowance that was not exercised for 60 days is
    /// not granted any more (FIELD). It is no rehearsal: what it approves is paid, and told when it is over. Whoever the lease does not
    /// cover is refused meanwhile. A second one counts instead of the first; zero ends it.
    pub fn drill(&self, lasts: Duration) {
        self.state().down_until = Some(Instant::now() + lasts.min(DRILL_MAX));
    }

    /// What the core answered with a refusal, such as a key that is out of the horizon: only the office can settle it.
    #[must_use]
    pub fn for_office(&self) -> Vec<(Command, Code)> {
        self.state().for_office.clone()
    }

    fn envelope(&self, attempt: &Attempt, at: Timestamp) -> Envelope {
        let (namespace, account, key) = (attempt.namespace, attempt.account, attempt.key);
        Envelope { received_at: at, namespace, account, key, ..Envelope::default() }
    }

    /// Approves an attempt, whose deadline is `until`, if the lease covers it; otherwise it comes to what it came to.
    async fn approve(&self, attempt: &Attempt, until: Instant, outcome: Outcome) -> Outcome {
        let at = now();
        let advice = {
            let mut state = self.state();
            // Another clone may have approved it meanwhile.
            if let Some(known) = state.here(attempt) {
                return known;
            }
            let Ok(advice) = state.reserve(attempt, at) else {
                if let Outcome::Unknown(_) = outcome {
                    // It was sent, and may have taken something.
                    state.heard(attempt, &outcome, at);
                }
                return outcome;
            };
            advice
        };
        let command = Command { envelope: self.envelope(attempt, at), operation: Operation::Advice(advice) };
        let steps = [Some(Step::ApprovalWrite), Some(Step::ApprovalFlush)];
        match self.append(Entry::Queued(command), steps, until).await {
            Written::Yes => {
                self.watch(Step::ApprovalAnswer);
                Outcome::Approved(approval(&advice))
            }
            Written::No => outcome,
            Written::Perhaps => doubt(attempt),
        }
    }

    /// Writes, flushes, and takes it over. A disk that stands still is waited for until `until`, but for [`FLUSH`] in any case.
    async fn append(&self, entry: Entry, steps: [Option<Step>; 2], until: Instant) -> Written {
        let this = self.clone();
        let work = move || {
            let _fails = Fails(&this);
            let mut watch = |step: Append| {
                if let Some(step) = steps[step as usize] {
                    this.watch(step);
                }
            };
            let mut spool = this.shared.spool.lock().unwrap_or_else(PoisonError::into_inner);
            let appended = spool.append(&entry, &mut watch);
            // Here, because whoever asked may wait no longer.
            let written = this.state().appended(appended, entry);
            this.shared.written.notify_waiters();
            written
        };
        match timeout_at(until.max(Instant::now() + FLUSH), tokio::task::spawn_blocking(work)).await {
            Ok(Ok(written)) => written,
            Ok(Err(_)) | Err(_) => Written::Perhaps,
        }
    }
}

/// A write that ends in a panic has failed, whether or not somebody waits for it.
struct Fails<'a>(&'a StandIn);

impl Drop for Fails<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.state().failed = true;
            self.0.shared.written.notify_waiters();
        }
    }
}

impl Attempt {
    fn scope(&self) -> Scope {
        (self.key, self.namespace, self.account)
    }
}

/// It may have been done, or an approval of it be on the disk.
fn doubt(attempt: &Attempt) -> Outcome {
    Outcome::Unknown(InDoubt { attempt: *attempt, code: Code::Unknown })
}

/// A full reversal and a fence are told before advices.
fn goes_first(operation: &Operation) -> bool {
    matches!(operation, Operation::Reversal { remain: 0, .. } | Operation::Fence)
}

/// How many yen an account may have less by this; nothing where there is no payment. What is counted twice, because it was
/// decided before, is only too careful.
fn may_have_taken(outcome: &Outcome) -> Option<u64> {
    match outcome {
        Outcome::Approved(d) | Outcome::Unconfirmed(d) => Some(d.decision.amount.get()),
        Outcome::Unknown(doubt) => purchase_of(&doubt.attempt.operation).map(|p| p.amount.get()),
        // There is another payment, of which the answer tells.
        Outcome::SuspectedDuplicate(_) => Some(0),
        Outcome::Declined(_) | Outcome::NotExecuted { .. } | Outcome::Conflict(_) => None,
    }
}

fn purchase_of(operation: &Operation) -> Option<&Purchase> {
    match operation {
        Operation::Debit(p) | Operation::DebitConfirmed { purchase: p, .. } | Operation::Hold { purchase: p, .. } => {
            Some(p)
        }
        _ => None,
    }
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

#[cfg(test)]
mod tests;
