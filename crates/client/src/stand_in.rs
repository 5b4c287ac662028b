//! Stand-in: what this client approves by itself, under a lease, while the core cannot be reached (FIELD, stand-in).
//!
//! ```text
//! decide ──core answers──▶ its outcome
//!    └──nobody can be reached──▶ within the lease? ──▶ spool, flushed ──▶ approved, `stood_in`
//! tend ──▶ reversals, fences, advices, each until it is answered ──▶ done ──▶ a lease, renewed at half its life
//! ```
//!
//! Invariants: nothing is approved that is not on the disk, or beyond the lease; what waits is told before anything new is
//! sent, unless a server does not want it from this caller; it is told again under the same key until it is answered, and
//! then never again.

mod allowed;
mod telling;

use crate::call::Call;
use crate::client::Client;
use crate::keys::{now, random};
use crate::outcome::{Decided, InDoubt, Outcome};
use crate::retry::pause;
use crate::sends::{Attempt, LEFT_MIN};
use crate::spool::{Append, Dones, Entry, Spool, SpoolError, kept_path};
use allowed::{Allowed, Answered, Forbidden, Seen};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tegata_model::{
    AccountId, Advice, Allowance, Class, Code, Command, Decision, Envelope, Key, NamespaceId, Operation, Position,
    ProgrammeId, Purchase, State, Timestamp, Yen,
};
use tegata_wire::{AnswerBody, BalanceBody, KIND_BALANCE};
use telling::Told;
use tokio::time::{Instant, timeout_at};

/// Sends of one command in a row before it waits for later.
const SENDS: u32 = 3;
/// How long one frame of what waits may take to be answered.
const PATIENCE: Duration = Duration::from_secs(5);
/// The longest drill: the server's own is no longer.
const DRILL_MAX: Duration = Duration::from_secs(600);
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
    state: Mutex<Inner>,
    /// Apart from the state: nobody who only looks waits for a flush.
    spool: Mutex<Spool>,
    /// Held while what waits is told.
    telling: tokio::sync::Mutex<()>,
}

#[derive(Default)]
struct Inner {
    holder: [u8; 16],
    allowed: Option<Allowed>,
    seen: Seen,
    answered: Answered,
    /// By number in the spool.
    waiting: BTreeMap<u64, Command>,
    /// Advices that wait, by whose key.
    told_later: HashMap<(NamespaceId, AccountId, Key), u64>,
    /// Told, and answered with a refusal: for the office.
    for_office: Vec<(Command, Code)>,
    refused: Option<Code>,
    /// A write to the spool failed.
    failed: bool,
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
        match command.operation {
            Operation::Advice(_) => {
                self.told_later.insert((e.namespace, e.account, e.key), number);
            }
            // Whoever undoes a payment is not to see it approved.
            Operation::Reversal { original, .. } => self.answered.note(original),
            _ => self.answered.note(e.key),
        }
        self.waiting.insert(number, command);
    }

    /// Holds an approval against its lease.
    fn count(&mut self, account: AccountId, advice: &Advice) {
        if let Some(allowed) = &mut self.allowed {
            allowed.count(account, advice);
        }
    }

    fn done(&mut self, number: u64, code: u8) {
        let Some(command) = self.waiting.remove(&number) else { return };
        let e = &command.envelope;
        let key = (e.namespace, e.account, e.key);
        // A fence has the key of its debit, and is told before the advice of it.
        if self.told_later.get(&key) == Some(&number) {
            self.told_later.remove(&key);
        }
        match Code::from_u8(code) {
            Some(code) if code.class() == Class::Refused && code != Code::Fenced => {
                self.for_office.push((command, code));
            }
            _ => {}
        }
    }

    /// The core said what became of an attempt, or was heard and did not.
    fn heard(&mut self, attempt: &Attempt, outcome: &Outcome, at: Timestamp) {
        if !matches!(outcome, Outcome::Unknown(_) | Outcome::NotExecuted { .. }) {
            self.answered.note(attempt.key);
            if let Operation::Reversal { original, .. } = attempt.operation {
                self.answered.note(original);
            }
        }
        if let (Some(yen), Some(purchase)) = (may_have_taken(outcome), purchase_of(&attempt.operation)) {
            self.seen.paid(attempt.account, yen, purchase.shop, attempt.key, at);
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

impl StandIn {
    /// Opens or makes the spool. What waits in it is told by [`StandIn::tend`].
    pub fn open(client: Client, options: StandInOptions) -> Result<Self, SpoolError> {
        let (mut spool, entries) = Spool::open(&options.folder, random().to_le_bytes())?;
        let mut inner = Inner { answered: Answered::new(now()), ..Inner::default() };
        for (number, entry) in entries {
            if let Entry::Queued(Command { envelope, operation: Operation::Advice(advice) }) = &entry {
                inner.count(envelope.account, advice);
            }
            inner.take(number, entry);
        }
        let over = inner.allowed.as_ref().is_none_or(|l| l.until <= now());
        if over && inner.waiting.is_empty() && inner.for_office.is_empty() {
            spool.empty()?;
            inner.allowed = None;
        }
        let telling = tokio::sync::Mutex::new(());
        let (state, spool) = (Mutex::new(inner), Mutex::new(spool));
        Ok(Self { shared: Arc::new(Shared { client, options, state, spool, telling }) })
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
        if left.deadline < LEFT_MIN {
            // A server was there; there is no time left to ask it, and so nobody who could not be reached.
            return nothing_sent;
        }
        let (outcome, heard) = self.shared.client.decide_and_tell(&left, SENDS).await;
        match &outcome {
            Outcome::Unknown(_) | Outcome::NotExecuted { .. } if !heard => self.approve(attempt, outcome).await,
            _ => {
                self.state().heard(attempt, &outcome, now());
                outcome
            }
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
        let at = now();
        let Ok(advice) = self.reserve(attempt, at) else { return outcome };
        let command = Command { envelope: self.envelope(attempt, at), operation: Operation::Advice(advice) };
        let steps = [Some(Step::ApprovalWrite), Some(Step::ApprovalFlush)];
        if self.append(Entry::Queued(command), steps).await.is_err() {
            // It may be on the disk, and then it will be told.
            return Outcome::Unknown(InDoubt { attempt: *attempt, code: Code::Unknown });
        }
        self.watch(Step::ApprovalAnswer);
        Outcome::Approved(approval(&advice))
    }

    /// Counts an approval before it is written: two at once are not both within the lease.
    fn reserve(&self, attempt: &Attempt, at: Timestamp) -> Result<Advice, Forbidden> {
        let mut state = self.state();
        if state.failed {
            return Err(Forbidden::Spool);
        }
        if state.answered.has(&attempt.key) {
            return Err(Forbidden::Answered);
        }
        if let Operation::Debit(purchase) = &attempt.operation
            && state.seen.has_paid(&attempt.account, purchase.shop, attempt.key, at)
        {
            return Err(Forbidden::Again);
        }
        let seen = state.seen.balance(&attempt.account, at);
        let allowed = state.allowed.as_ref().ok_or(Forbidden::Lease)?;
        allowed::is_fresh(&attempt.key, at)?;
        let advice = allowed.covers(attempt.account, &attempt.operation, seen, at)?;
        state.count(attempt.account, &advice);
        Ok(advice)
    }

    /// Writes, flushes, and takes it over.
    async fn append(&self, entry: Entry, steps: [Option<Step>; 2]) -> Result<(), SpoolError> {
        let this = self.clone();
        let work = move || {
            let mut watch = |step: Append| {
                if let Some(step) = steps[step as usize] {
                    this.watch(step);
                }
            };
            let mut spool = this.shared.spool.lock().unwrap_or_else(PoisonError::into_inner);
            let number = spool.append(&entry, &mut watch)?;
            this.state().take(number, entry);
            Ok(())
        };
        let appended = tokio::task::spawn_blocking(work).await.unwrap_or(Err(SpoolError::Failed));
        self.state().failed |= appended.is_err();
        appended
    }
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
mod tests {
    use super::*;
    use crate::client::Options;
    use crate::connection::{Credential, Role};
    use crate::keys::new_key;
    use std::net::TcpListener;
    use tegata_model::{Amount, ShopId, TerminalId};

    fn account(n: u32) -> AccountId {
        AccountId::from_text(&format!("C{n}")).expect("an account")
    }

    fn attempt(n: u32, shop: &str, yen: u64) -> Attempt {
        let purchase = Purchase {
            shop: ShopId::from_text(shop).expect("a shop"),
            terminal: TerminalId::NONE,
            amount: Amount::new(yen).expect("in range"),
            token: Position::ZERO,
            partial: false,
        };
        let (namespace, operation) = (NamespaceId::new(1), Operation::Debit(purchase));
        Attempt { account: account(n), key: new_key(), namespace, operation, deadline: Duration::from_secs(5) }
    }

    /// What would be told of it, approved now.
    fn advice(attempt: &Attempt) -> Advice {
        let purchase = *purchase_of(&attempt.operation).expect("a payment");
        Advice { purchase, programme: ProgrammeId::new(1), lease: Position::new(9), approved_at: now() }
    }

    /// With a lease of now, and nobody to reach.
    fn alone(folder: &std::path::Path, allowance: Allowance) -> StandIn {
        let (mut spool, found) = Spool::open(folder, [1; 16]).expect("a spool");
        if found.len() == 1 {
            let operation = Operation::Lease { programme: ProgrammeId::new(1), holder: [1; 16], allowance };
            let command = Command { envelope: Envelope { received_at: now(), ..Envelope::default() }, operation };
            spool.append(&Entry::Lease { epoch: Position::new(9), command }, &mut |_| {}).expect("it is written");
        }
        drop(spool);
        let addr = TcpListener::bind("127.0.0.1:0").and_then(|l| l.local_addr()).expect("a port that is free again");
        let credential = Credential { gateway: 1, role: Role::Gateway, namespaces: Vec::new() };
        let options = StandInOptions {
            folder: folder.to_owned(),
            programme: ProgrammeId::new(1),
            namespace: NamespaceId::new(1),
            allowance,
            watch: Arc::new(|_| {}),
        };
        let stand_in = StandIn::open(Client::new(Options { addrs: vec![addr], credential }), options);
        let stand_in = stand_in.expect("a sound spool");
        (0..10).for_each(|n| stand_in.state().seen.note(account(n), 50_000, now()));
        stand_in
    }

    fn run<T>(work: impl Future<Output = T>) -> T {
        tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime").block_on(work)
    }

    async fn stood_in(stand_in: &StandIn, attempts: Vec<Attempt>) -> usize {
        let mut all = tokio::task::JoinSet::new();
        for attempt in attempts {
            let stand_in = stand_in.clone();
            all.spawn(async move { matches!(stand_in.decide(&attempt).await, Outcome::Approved(d) if d.stood_in) });
        }
        all.join_all().await.into_iter().filter(|paid| *paid).count()
    }

    #[test]
    fn a_fence_that_was_told_leaves_the_approval_that_was_not() {
        let envelope = Envelope { account: account(1), key: new_key(), ..Envelope::default() };
        let mut inner = Inner::default();
        let operation = Operation::Advice(advice(&attempt(1, "S1", 100)));
        inner.queued(1, Command { envelope, operation });
        inner.queued(2, Command { envelope, operation: Operation::Fence });
        inner.done(2, Code::Approved.number());
        let key = (envelope.namespace, envelope.account, envelope.key);
        assert_eq!(inner.told_later.get(&key), Some(&1), "a repeat gets the answer that the first one got");
        inner.done(1, Code::Approved.number());
        assert!(inner.told_later.is_empty() && inner.waiting.is_empty());
    }

    #[test]
    fn what_may_be_gone_is_no_longer_stood_in_for() {
        let debit = attempt(1, "S1", 100);
        let decided = |replayed| Decided { replayed, ..approval(&advice(&debit)) };
        let gone = [
            Outcome::Approved(decided(false)),
            // The answer to the first send was lost.
            Outcome::Approved(decided(true)),
            Outcome::Unconfirmed(decided(false)),
            Outcome::Unknown(InDoubt { attempt: debit, code: Code::Unknown }),
        ];
        assert_eq!(gone.map(|outcome| may_have_taken(&outcome)), [Some(100); 4]);
        let nothing = [Outcome::Declined(decided(false)), Outcome::Conflict(decided(false))];
        assert_eq!(nothing.map(|outcome| may_have_taken(&outcome)), [None; 2]);
    }

    #[test]
    fn nobody_is_stood_in_for_who_was_told_no_or_is_to_be_undone_or_paid_there_just_before() {
        let folder = tempfile::tempdir().expect("a folder");
        run(async {
            let stand_in = alone(folder.path(), Allowance::with_defaults(100_000));
            let told = |n, outcome: fn(Decided) -> Outcome, code| {
                let attempt = attempt(n, "S1", 100);
                let mut d = approval(&advice(&attempt));
                d.decision.code = code;
                stand_in.state().heard(&attempt, &outcome(d), now());
                attempt
            };
            let reversal = |of: &Attempt| {
                let operation = Operation::Reversal { original: of.key, remain: 0 };
                Attempt { operation, key: new_key(), ..*of }
            };
            let answered = [
                told(0, Outcome::Declined, Code::AccountSuspended),
                told(1, Outcome::Declined, Code::Fenced),
                told(2, Outcome::SuspectedDuplicate, Code::SuspectedDuplicate),
                told(3, Outcome::Approved, Code::Approved),
            ];
            assert_eq!(stood_in(&stand_in, answered.to_vec()).await, 0, "not under these keys");
            assert_eq!(stood_in(&stand_in, vec![attempt(2, "S1", 100), attempt(3, "S1", 100)]).await, 0, "nor there");
            assert_eq!(stood_in(&stand_in, vec![attempt(0, "S1", 100), attempt(3, "S2", 100)]).await, 2);
            let (fenced, reversed) = (attempt(4, "S1", 100), attempt(5, "S1", 100));
            assert!(stand_in.undo(&Attempt { operation: Operation::Fence, ..fenced }).await);
            assert!(stand_in.undo(&reversal(&reversed)).await);
            assert_eq!(stood_in(&stand_in, vec![fenced, reversed]).await, 0, "undone before it was done");
            let undone = attempt(7, "S1", 100);
            let d = approval(&advice(&undone));
            stand_in.state().heard(&reversal(&undone), &Outcome::Approved(d), now());
            assert_eq!(stood_in(&stand_in, vec![undone]).await, 0, "undone at the core");
            let before = Attempt { key: Key::new(now().minus_micros(60_000_000), 1), ..attempt(6, "S1", 100) };
            assert_eq!(stood_in(&stand_in, vec![before]).await, 0, "another process may have been told");
        });
    }

    #[test]
    fn those_who_come_at_once_are_within_the_lease_together() {
        let allowance = Allowance { total_max: 5_000, ..Allowance::with_defaults(1) };
        let folder = tempfile::tempdir().expect("a folder");
        run(async {
            let stand_in = alone(folder.path(), allowance);
            let same = (0..6).map(|_| attempt(0, "S1", 100)).collect();
            assert_eq!(stood_in(&stand_in, same).await, 1, "one of an account and shop");
            let many = (1..10).map(|n| attempt(n, "S2", 1_500)).collect();
            assert_eq!(stood_in(&stand_in, many).await, 3, "of 4,900 yen that are left");
        });
        // What was approved is held against the lease after a restart, too.
        run(async {
            let stand_in = alone(folder.path(), allowance);
            assert_eq!(stand_in.tend().await.waiting, 4);
            assert_eq!(stood_in(&stand_in, vec![attempt(0, "S1", 100), attempt(9, "S3", 401)]).await, 0);
            assert_eq!(stood_in(&stand_in, vec![attempt(9, "S3", 400)]).await, 1);
        });
    }
}
