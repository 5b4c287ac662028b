//! What is approved, and what is told first, of a client alone.

use super::*;
use crate::client::Options;
use crate::connection::{Credential, Role};
use crate::keys::new_key;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use tegata_model::{Amount, Key, ShopId, TerminalId};
use tegata_wire::{self as wire, DecisionBody, HelloAnswer, Request, Scan};

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

fn lease(epoch: u64, allowance: Allowance) -> Entry {
    let operation = Operation::Lease { programme: ProgrammeId::new(1), holder: [1; 16], allowance };
    let command = Command { envelope: Envelope { received_at: now(), ..Envelope::default() }, operation };
    Entry::Lease { epoch: Position::new(epoch), command }
}

/// With a lease of now, and nobody to reach.
fn alone(folder: &std::path::Path, allowance: Allowance) -> StandIn {
    watched(folder, allowance, Arc::new(|_| {}))
}

fn watched(folder: &std::path::Path, allowance: Allowance, watch: Arc<dyn Fn(Step) + Send + Sync>) -> StandIn {
    let addr = TcpListener::bind("127.0.0.1:0").and_then(|l| l.local_addr()).expect("a port that is free again");
    before(addr, folder, allowance, watch)
}

/// With a lease of now, before a core that is at this address.
fn before(
    addr: SocketAddr,
    folder: &std::path::Path,
    allowance: Allowance,
    watch: Arc<dyn Fn(Step) + Send + Sync>,
) -> StandIn {
    let (mut spool, found) = Spool::open(folder, [1; 16]).expect("a spool");
    if found.len() == 1 {
        spool.append(&lease(9, allowance), &mut |_| {}).expect("it is written");
    }
    drop(spool);
    let credential = Credential { gateway: 1, role: Role::Gateway, namespaces: Vec::new() };
    let options = StandInOptions {
        folder: folder.to_owned(),
        programme: ProgrammeId::new(1),
        namespace: NamespaceId::new(1),
        allowance,
        watch,
    };
    let stand_in = StandIn::open(Client::new(Options { addrs: vec![addr], credential }), options);
    let stand_in = stand_in.expect("a sound spool");
    (0..10).for_each(|n| stand_in.state().seen.note(account(n), 50_000, now()));
    stand_in
}

/// A core that decides as it is told, and goes away for good where there is no decision.
fn core(mut decide: impl FnMut(Command) -> Option<Decision> + Send + 'static) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let addr = listener.local_addr().expect("its address");
    std::thread::spawn(move || {
        for caller in listener.incoming() {
            let (mut caller, mut bytes, mut chunk) = (caller.expect("a caller"), Vec::new(), [0; 4_096]);
            while let Ok(n @ 1..) = caller.read(&mut chunk) {
                bytes.extend_from_slice(&chunk[..n]);
                let mut out = Vec::new();
                while let Scan::Frame { frame, rest } = wire::scan(&bytes, 4_096) {
                    match wire::decode_request(frame).expect("a request") {
                        Request::Hello(h, _) => {
                            let hello = HelloAnswer { version: u16::from(wire::VERSION), ..HelloAnswer::default() };
                            wire::encode_hello_answer(&mut out, h.request_id, &HelloAnswer { credits: 64, ..hello });
                        }
                        Request::Command(h, operation) => {
                            let (account, key) = (AccountId::from_bytes(h.account), Key::from_bytes(h.key));
                            let envelope =
                                Envelope { account: account.expect("an account"), key, ..Envelope::default() };
                            let Some(d) = decide(Command { envelope, operation }) else { return };
                            let body = DecisionBody::of(&d, State::Final, 0);
                            wire::encode_decision_answer(&mut out, h.kind, 0, 0, h.request_id, &body);
                        }
                        _ => {}
                    }
                    bytes = rest.to_vec();
                }
                if caller.write_all(&out).is_err() {
                    break;
                }
            }
        }
    });
    addr
}

fn decision(code: Code) -> Decision {
    let (amount, balance) = (Yen::ZERO, Yen::ZERO);
    Decision { code, amount, balance, position: Position::new(9), at: now(), related: Position::ZERO }
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
    let mut known = Known::default();
    let operation = Operation::Advice(advice(&attempt(1, "S1", 100)));
    known.queued(1, Command { envelope, operation });
    known.queued(2, Command { envelope, operation: Operation::Fence });
    known.done(2, Code::Approved.number());
    let key = (envelope.key, envelope.namespace, envelope.account);
    assert_eq!(known.told_later.get(&key), Some(&1), "a repeat gets the answer that the first one got");
    known.done(1, Code::Approved.number());
    assert!(known.told_later.is_empty() && known.waiting.is_empty());
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

#[test]
fn nobody_who_asks_makes_the_core_count_as_down_for_longer() {
    let folder = tempfile::tempdir().expect("a folder");
    run(async {
        let stand_in = alone(folder.path(), Allowance::with_defaults(100_000));
        stand_in.drill(Duration::from_secs(60));
        let until = stand_in.state().down_until;
        assert_eq!(stood_in(&stand_in, (0..4).map(|n| attempt(n, "S1", 100)).collect()).await, 4);
        let fence = Attempt { operation: Operation::Fence, ..attempt(5, "S1", 100) };
        assert!(matches!(stand_in.decide(&fence).await, Outcome::NotExecuted { .. }));
        stand_in.drill(Duration::from_secs(1));
        let sooner = stand_in.state().down_until;
        assert!(sooner < until);
        let again = stand_in.decide(&fence).await;
        assert!(matches!(again, Outcome::NotExecuted { .. }), "{again:?}");
        assert_eq!(stand_in.state().down_until, sooner, "it ends when it was to end");
    });
}

#[test]
fn what_was_told_counts_under_the_next_lease_and_what_was_sent_counts_at_once() {
    let folder = tempfile::tempdir().expect("a folder");
    run(async {
        let stand_in = alone(folder.path(), Allowance::with_defaults(100_000));
        let first = attempt(1, "S1", 100);
        assert_eq!(stood_in(&stand_in, vec![first]).await, 1);
        {
            let mut state = stand_in.state();
            let number = *state.waiting.first_key_value().expect("it waits").0;
            state.done(number, Code::Approved.number());
            state.take(0, lease(10, Allowance::with_defaults(100_000)));
        }
        assert_eq!(stood_in(&stand_in, vec![attempt(1, "S1", 100)]).await, 0, "just before, under the lease before");
        assert_eq!(stood_in(&stand_in, vec![attempt(1, "S2", 100)]).await, 1);
        // More than may be leased: it was sent, nobody answered, and it may have taken something.
        let large = attempt(2, "S1", 50_000);
        let unknown = Outcome::Unknown(InDoubt { attempt: large, code: Code::Unknown });
        assert!(matches!(stand_in.approve(&large, Instant::now(), unknown).await, Outcome::Unknown(_)));
        assert_eq!(stood_in(&stand_in, vec![attempt(2, "S1", 100)]).await, 0);
    });
}

#[test]
fn what_still_waits_counts_under_the_next_lease_also_when_the_spool_is_opened_again() {
    let folder = tempfile::tempdir().expect("a folder");
    let allowance = Allowance { total_max: 150, ..Allowance::with_defaults(100_000) };
    run(async {
        let stand_in = alone(folder.path(), allowance);
        assert_eq!(stood_in(&stand_in, vec![attempt(1, "S1", 80)]).await, 1);
        // It is written when the next lease has come.
        let late = attempt(4, "S4", 20);
        let operation = Operation::Advice(stand_in.state().reserve(&late, now()).expect("covered"));
        let late = Envelope { account: late.account, key: late.key, namespace: late.namespace, ..Envelope::default() };
        assert_eq!(stand_in.append(lease(10, allowance), [None, None], Instant::now()).await, Written::Yes);
        assert_eq!(stood_in(&stand_in, vec![attempt(2, "S2", 51)]).await, 0, "more than is left while it is written");
        let late = Entry::Queued(Command { envelope: late, operation });
        assert_eq!(stand_in.append(late, [None, None], Instant::now()).await, Written::Yes);
        assert_eq!(stood_in(&stand_in, vec![attempt(1, "S1", 10)]).await, 0, "just before, under the lease before");
        assert_eq!(stood_in(&stand_in, vec![attempt(2, "S2", 51)]).await, 0, "more than is left");
        assert_eq!(stood_in(&stand_in, vec![attempt(2, "S2", 40)]).await, 1);
        drop(stand_in);
        let stand_in = alone(folder.path(), allowance);
        assert_eq!(stood_in(&stand_in, vec![attempt(3, "S3", 11)]).await, 0, "more than is left");
        assert_eq!(stood_in(&stand_in, vec![attempt(3, "S3", 10)]).await, 1);
    });
}

#[test]
fn what_waits_of_another_programme_takes_nothing_of_this_one() {
    let mut known = Known::default();
    known.take(0, lease(10, Allowance::with_defaults(100_000)));
    let first = attempt(1, "S1", 100);
    let covers = |known: &Known| {
        let allowed = known.allowed.as_ref().expect("a lease");
        allowed.covers(first.account, &first.operation, Some(50_000), now()).is_ok()
    };
    known.count(first.account, &Advice { programme: ProgrammeId::new(2), ..advice(&first) });
    assert!(covers(&known));
    known.count(first.account, &advice(&first));
    assert!(!covers(&known), "just before");
}

#[test]
fn an_approval_that_may_be_on_the_disk_is_unknown_until_the_spool_is_opened_again() {
    let folder = tempfile::tempdir().expect("a folder");
    run(async {
        let stand_in = alone(folder.path(), Allowance::with_defaults(100_000));
        let first = attempt(1, "S1", 100);
        // While it is written, and after that failed.
        stand_in.state().reserve(&first, now()).expect("covered");
        assert!(matches!(stand_in.decide(&first).await, Outcome::Unknown(_)));
        let doubt = InDoubt { attempt: first, code: Code::Unknown };
        assert!(
            matches!(stand_in.resolve(doubt, Duration::from_millis(10)).await, Outcome::Unknown(_)),
            "it is not fenced"
        );
        let paid = attempt(2, "S1", 100);
        assert_eq!(stood_in(&stand_in, vec![paid]).await, 1);
        let doubt = InDoubt { attempt: paid, code: Code::Unknown };
        let resolved = stand_in.resolve(doubt, Duration::from_secs(1)).await;
        assert!(matches!(resolved, Outcome::Approved(d) if d.stood_in), "nor is what was approved: {resolved:?}");
    });
}

#[test]
fn nothing_is_approved_under_a_key_that_is_to_be_fenced() {
    let folder = tempfile::tempdir().expect("a folder");
    run(async {
        let stand_in = alone(folder.path(), Allowance::with_defaults(100_000));
        let doubtful = attempt(1, "S1", 100);
        let doubt = InDoubt { attempt: doubtful, code: Code::Unknown };
        assert!(matches!(stand_in.resolve(doubt, Duration::ZERO).await, Outcome::Unknown(_)), "nobody is there");
        assert_eq!(stood_in(&stand_in, vec![doubtful]).await, 0, "its fence may have been taken");
        assert_eq!(stood_in(&stand_in, vec![attempt(1, "S1", 100)]).await, 1);
    });
}

#[test]
fn what_is_approved_is_not_fenced_beside_it_nor_what_is_to_be_fenced_approved() {
    let folder = tempfile::tempdir().expect("a folder");
    run(async {
        let stand_in = alone(folder.path(), Allowance::with_defaults(100_000));
        let fence = |of: &Attempt| Attempt { operation: Operation::Fence, deadline: Duration::ZERO, ..*of };
        let (approved, late) = (attempt(1, "S1", 100), attempt(2, "S1", 100));
        assert_eq!(stood_in(&stand_in, vec![approved]).await, 1);
        assert!(!stand_in.undo(&fence(&approved)).await, "its advice would take the value all the same");
        assert!(matches!(stand_in.decide(&approved).await, Outcome::Approved(_)));
        // The disk stands still while the fence is written.
        let outcome = {
            let disk = stand_in.shared.spool.lock();
            assert!(!stand_in.undo(&fence(&late)).await, "nobody knows");
            let begun = tokio::spawn({
                let stand_in = stand_in.clone();
                async move { stand_in.decide(&late).await }
            });
            tokio::time::sleep(Duration::from_millis(300)).await;
            drop(disk);
            begun.await.expect("an outcome")
        };
        assert!(matches!(outcome, Outcome::Unknown(_)), "{outcome:?}");
        while stand_in.state().waiting.len() < 2 {
            tokio::task::yield_now().await;
        }
        assert_eq!(stand_in.state().told_later.len(), 1, "the other is the fence");
    });
}

#[test]
fn what_waits_behind_a_write_that_failed_is_not_unknown() {
    let folder = tempfile::tempdir().expect("a folder");
    let fails = |step| assert_ne!(step, Step::ApprovalFlush, "as a disk that fails");
    run(async {
        let stand_in = watched(folder.path(), Allowance::with_defaults(100_000), Arc::new(fails));
        let mut all = tokio::task::JoinSet::new();
        for n in 0..6 {
            let stand_in = stand_in.clone();
            all.spawn(async move { stand_in.decide(&attempt(n, "S1", 100)).await });
        }
        let all = all.join_all().await;
        assert_eq!(all.iter().filter(|outcome| matches!(outcome, Outcome::Unknown(_))).count(), 1, "{all:?}");
        assert_eq!(all.iter().filter(|outcome| matches!(outcome, Outcome::NotExecuted { .. })).count(), 5, "{all:?}");
        let Some(Outcome::Unknown(doubt)) = all.iter().find(|outcome| matches!(outcome, Outcome::Unknown(_))) else {
            unreachable!("there is one")
        };
        assert!(!stand_in.undo(&Attempt { operation: Operation::Fence, ..doubt.attempt }).await, "it is not written");
        assert!(matches!(stand_in.decide(&doubt.attempt).await, Outcome::Unknown(_)), "it may be on the disk still");
        assert_eq!(stand_in.state().doubtful.len(), 1);
    });
}

#[test]
fn nobody_who_asks_twice_at_once_is_told_no_beside_the_approval() {
    let folder = tempfile::tempdir().expect("a folder");
    run(async {
        let stand_in = alone(folder.path(), Allowance::with_defaults(100_000));
        let twice = attempt(1, "S1", 100);
        let mut all = tokio::task::JoinSet::new();
        for _ in 0..6 {
            let stand_in = stand_in.clone();
            all.spawn(async move { stand_in.decide(&twice).await });
        }
        let all = all.join_all().await;
        assert!(all.iter().any(|outcome| matches!(outcome, Outcome::Approved(_))));
        assert!(all.iter().all(|outcome| matches!(outcome, Outcome::Approved(_) | Outcome::Unknown(_))), "{all:?}");
        assert_eq!(stand_in.tend().await.waiting, 1);
    });
}

/// What an endless wait would make a test that never ends.
async fn in_time<T>(work: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(60), work).await.expect("it is answered")
}

#[test]
fn whoever_waits_for_a_disk_that_stands_still_is_told_unknown_and_later_what_it_came_to() {
    let folder = tempfile::tempdir().expect("a folder");
    let (stalls, until) = std::sync::mpsc::channel::<()>();
    let until = Mutex::new(until);
    let watch = move |step| {
        if step == Step::ApprovalFlush {
            // Until the other end is dropped.
            let _ = until.lock().expect("nobody panics").recv();
        }
    };
    let allowance = Allowance { total_max: 1_000_000, ..Allowance::with_defaults(1) };
    run(async {
        let stand_in = watched(folder.path(), allowance, Arc::new(watch));
        let first = Attempt { deadline: Duration::from_millis(1), ..attempt(0, "S0", 100) };
        assert!(matches!(in_time(stand_in.decide(&first)).await, Outcome::Unknown(_)), "its flush stands still");
        assert!(matches!(in_time(stand_in.decide(&first)).await, Outcome::Unknown(_)), "so does it for its repeat");
        let mut others = tokio::task::JoinSet::new();
        for n in 0..2 * known::WRITING_MAX as u32 {
            let account = account(1_000 + n);
            stand_in.state().seen.note(account, 50_000, now());
            let (stand_in, other) = (stand_in.clone(), Attempt { account, key: new_key(), ..first });
            others.spawn(async move { stand_in.decide(&other).await });
        }
        let others = in_time(others.join_all()).await;
        let refused = others.iter().filter(|outcome| matches!(outcome, Outcome::NotExecuted { .. })).count();
        assert_eq!(others.len() - refused, known::WRITING_MAX - 1, "the first one is being written, too");
        assert!(others.iter().all(|outcome| matches!(outcome, Outcome::NotExecuted { .. } | Outcome::Unknown(_))));
        drop(stalls);
        let doubt = InDoubt { attempt: first, code: Code::Unknown };
        let came_to = in_time(stand_in.resolve(doubt, Duration::from_secs(60))).await;
        assert!(matches!(came_to, Outcome::Approved(d) if d.stood_in), "{came_to:?}");
    });
}

#[test]
fn what_was_unknown_is_not_told_as_not_executed_until_its_decision_is_heard() {
    let folder = tempfile::tempdir().expect("a folder");
    run(async {
        // It takes the payment, and goes away before it has said so.
        let stand_in = before(core(|_| None), folder.path(), Allowance::with_defaults(100_000), Arc::new(|_| {}));
        let large = attempt(2, "S1", 50_000);
        let Outcome::Unknown(doubt) = stand_in.decide(&large).await else { panic!("it may be paid") };
        let again = stand_in.decide(&large).await;
        let resolved = stand_in.resolve(doubt, Duration::from_millis(10)).await;
        let third = stand_in.decide(&large).await;
        for outcome in [again, resolved, third] {
            assert!(matches!(outcome, Outcome::Unknown(_)), "{outcome:?}");
        }
        let suspected = Outcome::SuspectedDuplicate(approval(&advice(&large)));
        assert!(
            matches!(stand_in.state().told(&large, suspected), Outcome::Unknown(_)),
            "its first send may be on its way"
        );
        let other = stand_in.decide(&attempt(2, "S1", 50_000)).await;
        assert!(matches!(other, Outcome::NotExecuted { .. }), "nothing of this one was sent: {other:?}");
        let fenced = Outcome::Declined(approval(&advice(&large)));
        assert!(matches!(stand_in.state().told(&large, fenced), Outcome::Declined(_)));
        let last = stand_in.decide(&large).await;
        assert!(matches!(last, Outcome::NotExecuted { .. }), "nothing was taken, and never will be: {last:?}");
        let before = Attempt { key: Key::new(now().minus_micros(60_000_000), 1), ..large };
        let before = stand_in.decide(&before).await;
        assert!(matches!(before, Outcome::Unknown(_)), "another process may have sent it: {before:?}");
    });
}

#[test]
fn what_was_sent_is_not_told_as_not_executed_where_nobody_waited_for_it() {
    let folder = tempfile::tempdir().expect("a folder");
    let (sent, mut is_sent) = tokio::sync::mpsc::unbounded_channel();
    run(async {
        let gone = core(move |_| {
            sent.send(()).expect("somebody listens");
            None
        });
        let stand_in = before(gone, folder.path(), Allowance::with_defaults(100_000), Arc::new(|_| {}));
        let large = attempt(2, "S1", 50_000);
        tokio::select! {
            biased;
            _ = is_sent.recv() => {}
            outcome = stand_in.decide(&large) => panic!("it was not sent: {outcome:?}"),
        }
        stand_in.drill(Duration::from_secs(60));
        let again = stand_in.decide(&large).await;
        assert!(matches!(again, Outcome::Unknown(_)), "{again:?}");
    });
}

#[test]
fn what_was_approved_here_and_told_is_not_told_as_not_executed() {
    let folder = tempfile::tempdir().expect("a folder");
    run(async {
        let stand_in = alone(folder.path(), Allowance::with_defaults(100_000));
        let paid = attempt(1, "S1", 100);
        assert_eq!(stood_in(&stand_in, vec![paid]).await, 1);
        let number = *stand_in.state().waiting.first_key_value().expect("it waits").0;
        stand_in.state().done(number, Code::Approved.number());
        let again = stand_in.decide(&paid).await;
        assert!(matches!(again, Outcome::Unknown(_)), "{again:?}");
    });
}

#[test]
fn whoever_is_answered_by_the_core_beside_an_approval_hears_the_approval() {
    run(async {
        for no in [Code::AccountSuspended, Code::SuspectedDuplicate, Code::Conflict, Code::Fenced] {
            let folder = tempfile::tempdir().expect("a folder");
            let ((asked, mut is_asked), (go, goes)) =
                (tokio::sync::mpsc::unbounded_channel(), std::sync::mpsc::channel());
            let addr = core(move |_| {
                asked.send(()).expect("somebody listens");
                goes.recv().ok().map(|()| decision(no))
            });
            let stand_in = before(addr, folder.path(), Allowance::with_defaults(100_000), Arc::new(|_| {}));
            let twice = attempt(1, "S1", 100);
            let clone = stand_in.clone();
            let first = tokio::spawn(async move { clone.decide(&twice).await });
            in_time(is_asked.recv()).await.expect("it is sent");
            // Another clone finds nobody.
            stand_in.drill(Duration::from_secs(60));
            assert_eq!(stood_in(&stand_in, vec![twice]).await, 1);
            go.send(()).expect("the core waits");
            let first = in_time(first).await.expect("it ends");
            assert!(matches!(first, Outcome::Approved(d) if d.stood_in), "{no:?}: {first:?}");
        }
    });
}

#[test]
fn an_advice_under_a_key_from_the_future_is_told_again_until_it_is_taken() {
    let folder = tempfile::tempdir().expect("a folder");
    let told = Arc::new(Mutex::new(Vec::new()));
    let hears = Arc::clone(&told);
    run(async {
        let addr = core(move |command| {
            let mut told = hears.lock().expect("nobody panics");
            told.push(command.envelope.key);
            let early = told.len() == 1 || command.envelope.key.created_at().is_none();
            Some(decision(if early { Code::KeyClock } else { Code::Approved }))
        });
        let stand_in = before(addr, folder.path(), Allowance::with_defaults(100_000), Arc::new(|_| {}));
        let paid = attempt(1, "S1", 100);
        stand_in.drill(Duration::from_secs(60));
        assert_eq!(stood_in(&stand_in, vec![paid]).await, 1);
        stand_in.drill(Duration::ZERO);
        assert_eq!(stand_in.tend().await.waiting, 1);
        assert!(stand_in.here(&paid).is_some(), "a repeat gets its answer meanwhile");
        assert_eq!(stand_in.tend().await.waiting, 0);
        assert_eq!(stand_in.tend().await.waiting, 0);
        assert_eq!(*told.lock().expect("nobody panics"), [paid.key; 2]);
        assert_eq!(stand_in.for_office(), []);
        // No time will ever come for a key that has none.
        let envelope = Envelope { account: paid.account, key: Key::from_bytes([0x11; 16]), ..Envelope::default() };
        let entry = Entry::Queued(Command { envelope, operation: Operation::Advice(advice(&paid)) });
        assert_eq!(stand_in.append(entry, [None, None], Instant::now()).await, Written::Yes);
        assert_eq!(stand_in.tend().await.waiting, 0);
        assert_eq!(stand_in.for_office().len(), 1);
    });
}

#[test]
fn a_lease_that_was_granted_and_not_taken_is_asked_for_again_after_half_its_life() {
    let folder = tempfile::tempdir().expect("a folder");
    let (asked, ahead_s) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(120)));
    let (asks, by) = (Arc::clone(&asked), Arc::clone(&ahead_s));
    run(async {
        let addr = core(move |command| {
            asks.fetch_add(u64::from(matches!(command.operation, Operation::Lease { .. })), Relaxed);
            Some(Decision { at: now().plus_seconds(by.load(Relaxed)), ..decision(Code::Approved) })
        });
        let allowance = Allowance::with_defaults(100_000);
        let stand_in = before(addr, folder.path(), allowance, Arc::new(|_| {}));
        let Entry::Lease { epoch, mut command } = lease(9, allowance) else { unreachable!() };
        command.envelope.received_at = now().minus_micros(2_000_000_000);
        stand_in.state().take(0, Entry::Lease { epoch, command });
        for _ in 0..4 {
            let tended = stand_in.tend().await;
            assert_eq!((tended.refused, tended.leased_until), (Some(Code::KeyClock), Timestamp::ZERO));
        }
        assert_eq!(asked.load(Relaxed), 1);
        stand_in.drill(Duration::from_secs(60));
        assert_eq!(stood_in(&stand_in, vec![attempt(1, "S1", 100)]).await, 0, "its clock is off");
        // An answer shows that the clock is right again.
        stand_in.drill(Duration::ZERO);
        ahead_s.store(0, Relaxed);
        assert!(matches!(stand_in.decide(&attempt(2, "S1", 100)).await, Outcome::Approved(_)));
        stand_in.drill(Duration::from_secs(60));
        assert_eq!(stood_in(&stand_in, vec![attempt(1, "S1", 100)]).await, 1, "under the lease that it has");
        stand_in.drill(Duration::ZERO);
        assert_eq!((stand_in.tend().await.waiting, asked.load(Relaxed)), (0, 1));
        let at = stand_in.state().lease_again.expect("it was granted").saturating_duration_since(Instant::now());
        assert!(at > Duration::from_secs(1_700) && at <= Duration::from_secs(1_800), "{at:?}");
        stand_in.state().lease_again = Some(Instant::now());
        assert_eq!((stand_in.tend().await.refused, asked.load(Relaxed)), (None, 2));
        // None is asked for that could not be kept.
        {
            let mut state = stand_in.state();
            (state.allowed, state.lease_again, state.failed) = (None, None, true);
        }
        assert_eq!((stand_in.tend().await.leased_until, asked.load(Relaxed)), (Timestamp::ZERO, 2));
    });
}
