//! The same key while its first request is in flight: the same answer when it is there; at the repeat's own deadline
//! "in progress"; never two answers to one request (FIELD, idempotency). The journal stalls by not calling
//! `durable`, time passes by an argument.

use std::collections::BTreeMap;
use tegata_engine::{Engine, scope_hash};
use tegata_model::{
    AccountId, Advice, Amount, Code, Command, Envelope, Key, LotKind, NamespaceId, Operation, Position, Programme,
    ProgrammeId, Purchase, Settings, ShopId, TerminalId, Timestamp, encode,
};
use tegata_node::{Answer, Carried, Inbound, Limits, Node, Outbound, Question, Reply, Report, Waiter};

const START_S: i64 = 1_780_000_000;
const NAMESPACE: NamespaceId = NamespaceId::new(1);

fn at(s: i64) -> Timestamp {
    Timestamp::from_micros((START_S + s) * 1_000_000)
}

fn account(name: &str) -> AccountId {
    AccountId::from_text(name).expect("an account")
}

fn key(n: u128) -> Key {
    Key::new(at(0), n << 72)
}

fn debit(yen: u64) -> Operation {
    Operation::Debit(Purchase {
        shop: ShopId::from_text("S1").expect("a shop"),
        terminal: TerminalId::NONE,
        amount: Amount::new(yen).expect("in range"),
        token: Position::ZERO,
        partial: false,
    })
}

/// A node, its journal, and everyone who asks.
struct Rig {
    node: Node,
    now: Timestamp,
    sealed: u64,
    asked: u64,
    answers: BTreeMap<u64, Answer>,
}

impl Rig {
    /// Two coupons, C1 and C2, of 10,000 yen, and a shop.
    fn new(limits: Limits) -> Self {
        let node = Node::new(Engine::new(2), limits, Settings::default(), Carried::default(), at(0));
        let mut rig = Self { node, now: at(0), sealed: 0, asked: 0, answers: BTreeMap::new() };
        let programme = Programme::with_defaults(ProgrammeId::new(1));
        let shop = Operation::Shop {
            shop: ShopId::from_text("S1").expect("a shop"),
            programme: ProgrammeId::NONE,
            name: [0; 48],
        };
        let issue = Operation::Issue {
            programme: ProgrammeId::new(1),
            amount: Amount::new(10_000).expect("in range"),
            expires_at: Timestamp::ZERO,
            valid_from: Timestamp::ZERO,
            stay_end_day: 0,
            kind: LotKind::Promo,
        };
        rig.send("", key(1), 60, Operation::Programme(programme));
        rig.send("", key(2), 60, shop);
        rig.send("C1", key(3), 60, issue);
        rig.send("C2", key(4), 60, issue);
        while rig.node.has_work() {
            rig.seal();
            rig.durable();
        }
        assert!((1..=4).all(|n| rig.code(n) == Some(Code::Approved)), "{:?}", rig.answers);
        rig
    }

    /// Sends a request whose deadline is at second `deadline`; returns its number.
    fn send(&mut self, name: &str, key: Key, deadline: i64, operation: Operation) -> u64 {
        self.asked += 1;
        let account = if name.is_empty() { AccountId::NONE } else { account(name) };
        let (received_at, deadline) = (self.now, at(deadline));
        let envelope = Envelope { received_at, deadline, namespace: NAMESPACE, account, key, ..Envelope::default() };
        let mut bundle = Inbound::default();
        encode(&Command { envelope, operation }, &mut bundle.records);
        bundle.waiters.push(Waiter { connection: 1, request: self.asked });
        self.node.accept(0, bundle, self.now);
        self.take_answers();
        self.asked
    }

    fn time(&mut self, now: Timestamp) {
        self.now = now;
        self.node.pass_time(now);
        self.take_answers();
    }

    fn seal(&mut self) {
        let sealed = self.node.seal(self.now).expect("something to seal");
        self.sealed = sealed.first_position + u64::from(sealed.count) - 1;
    }

    /// The journal has everything that was sealed.
    fn durable(&mut self) {
        self.node.durable(self.sealed);
        while self.node.apply_some(1) {}
        self.take_answers();
    }

    fn take_answers(&mut self) {
        let Some(out) = self.node.take_outbound(0, Outbound::default()) else { return };
        for answer in out.answers {
            let again = self.answers.insert(answer.waiter.request, answer);
            assert_eq!(again, None, "one answer to one request");
        }
    }

    fn code(&self, request: u64) -> Option<Code> {
        self.answers.get(&request).map(|a| a.decision.code)
    }

    fn in_progress(&mut self, name: &str, key: Key) -> bool {
        let question = Question::Status { namespace: NAMESPACE, account: account(name), key };
        let waiter = Waiter { connection: 1, request: 0 };
        self.node.accept(0, Inbound { questions: vec![(waiter, question)], ..Inbound::default() }, self.now);
        let out = self.node.take_outbound(0, Outbound::default()).expect("a reply");
        matches!(out.replies[0].1, Reply::Status { undecided: Code::InProgress, .. })
    }
}

/// A moment later, the smallest there is.
fn just_after(s: i64) -> Timestamp {
    Timestamp::from_micros(at(s).micros() + 1)
}

#[test]
fn while_the_journal_stalls_a_repeat_is_in_progress_at_its_own_deadline_and_the_first_waits_on() {
    let mut rig = Rig::new(Limits::default());
    let first = rig.send("C1", key(9), 8, debit(700));
    rig.seal();
    rig.time(at(1));
    let repeat = rig.send("C1", key(9), 3, debit(700));
    let accepted = rig.node.facts().accepted;
    rig.time(at(3));
    assert_eq!(rig.code(repeat), None, "its deadline is still to come");
    rig.time(just_after(3));
    assert_eq!((rig.code(first), rig.code(repeat)), (None, Some(Code::InProgress)));
    rig.time(at(20));
    assert_eq!(rig.code(first), None, "sealed in time: it takes effect however late the flush");
    rig.durable();
    assert_eq!(rig.code(first), Some(Code::Approved));
    let later = rig.send("C1", key(9), 40, debit(700));
    let (first, later) = (rig.answers[&first], rig.answers[&later]);
    assert_eq!((later.decision, later.replayed, first.replayed), (first.decision, true, false));
    assert_eq!(rig.node.facts().accepted, accepted, "a repeat makes no record");
}

#[test]
fn a_repeat_gets_the_first_answer_as_soon_as_it_is_there() {
    for sealed in [false, true] {
        let mut rig = Rig::new(Limits::default());
        let first = rig.send("C1", key(9), 8, debit(700));
        if sealed {
            rig.seal();
        }
        let repeats = [rig.send("C1", key(9), 5, debit(700)), rig.send("C1", key(9), 8, debit(700))];
        assert_eq!(rig.node.in_flight(), 3);
        if !sealed {
            rig.seal();
        }
        rig.durable();
        for repeat in repeats {
            let (first, repeat) = (rig.answers[&first], rig.answers[&repeat]);
            assert_eq!((repeat.decision, repeat.replayed), (first.decision, true));
        }
        rig.time(at(30));
        assert_eq!(rig.node.in_flight(), 0);
    }
}

#[test]
fn a_repeat_does_not_wait_for_what_shares_the_batch_with_its_first() {
    let mut rig = Rig::new(Limits::default());
    rig.send("C1", key(9), 8, debit(700));
    let (repeat, behind) = (rig.send("C1", key(9), 8, debit(700)), rig.send("C2", key(8), 8, debit(1)));
    rig.seal();
    rig.node.durable(rig.sealed);
    assert!(rig.node.apply_some(1));
    rig.take_answers();
    assert_eq!((rig.code(repeat), rig.code(behind)), (Some(Code::Approved), None));
}

#[test]
fn a_repeat_that_comes_after_its_deadline_is_in_progress_at_once() {
    let mut rig = Rig::new(Limits::default());
    rig.send("C1", key(9), 8, debit(700));
    rig.time(at(5));
    let repeat = rig.send("C1", key(9), 4, debit(700));
    assert_eq!(rig.code(repeat), Some(Code::InProgress));
}

#[test]
fn another_request_under_a_key_in_flight_is_a_conflict_and_never_in_progress() {
    let mut rig = Rig::new(Limits::default());
    let first = rig.send("C1", key(9), 8, debit(700));
    rig.seal();
    let (late, early) = (rig.send("C1", key(9), 30, debit(701)), rig.send("C1", key(9), 2, debit(701)));
    rig.time(just_after(2));
    assert_eq!((rig.code(late), rig.code(early)), (None, Some(Code::Conflict)));
    rig.durable();
    let (first, late) = (rig.answers[&first].decision, rig.answers[&late].decision);
    assert_eq!((late.code, late.related), (Code::Conflict, first.position), "it names the decision");
}

#[test]
fn a_fresh_key_in_the_slot_of_another_is_no_repeat() {
    let slot = |k: &Key| scope_hash(NAMESPACE, &account("C1"), k) & 0xFFFF;
    let like = (10..).map(key).find(|k| slot(k) == slot(&key(9))).expect("some key shares a slot");
    let mut rig = Rig::new(Limits::default());
    rig.send("C1", key(9), 8, debit(700));
    assert!(!rig.in_progress("C1", like) && rig.in_progress("C1", key(9)) && !rig.in_progress("C2", key(9)));
    let fresh = [rig.send("C1", like, 2, debit(300)), rig.send("C2", key(9), 2, debit(700))];
    let repeat = rig.send("C1", key(9), 2, debit(700));
    rig.seal();
    rig.time(just_after(2));
    assert_eq!(rig.code(repeat), Some(Code::InProgress), "found behind the other");
    rig.durable();
    assert!(fresh.iter().all(|n| rig.code(*n) == Some(Code::Approved)));
    assert!(!rig.in_progress("C1", key(9)), "applied is no longer in flight");
}

#[test]
fn where_the_first_is_overdue_the_repeat_takes_its_place() {
    let mut rig = Rig::new(Limits::default());
    let first = rig.send("C1", key(9), 1, debit(700));
    let repeats = [rig.send("C1", key(9), 9, debit(700)), rig.send("C1", key(9), 9, debit(700))];
    rig.time(at(2));
    rig.seal();
    rig.durable();
    assert_eq!(rig.code(first), Some(Code::DeadlinePassed), "it never went to the journal");
    let [a, b] = repeats.map(|n| rig.answers[&n]);
    assert_eq!((a.decision.code, a.replayed, b.replayed), (Code::Approved, false, true));
    assert_eq!((a.decision.balance.get(), b.decision), (9_300, a.decision), "taken once");
}

#[test]
fn a_fence_waits_in_the_log_and_what_comes_after_it_is_fenced() {
    let mut rig = Rig::new(Limits::default());
    let first = rig.send("C1", key(9), 1, debit(700));
    let fence = rig.send("C1", key(9), 3, Operation::Fence);
    rig.time(at(2));
    rig.seal();
    let late = rig.send("C2", key(8), 9, Operation::Fence);
    let original = [rig.send("C2", key(8), 3, debit(100)), rig.send("C2", key(8), 30, debit(100))];
    rig.time(just_after(3));
    assert_eq!((rig.code(fence), rig.code(original[0])), (None, Some(Code::InProgress)));
    rig.seal();
    rig.durable();
    assert_eq!((rig.code(first), rig.code(fence)), (Some(Code::DeadlinePassed), Some(Code::Fenced)));
    assert_eq!((rig.code(late), rig.code(original[1])), (Some(Code::Fenced), Some(Code::Fenced)));
}

#[test]
fn when_the_journal_fails_a_repeat_knows_no_more_than_its_first() {
    let mut rig = Rig::new(Limits::default());
    let mut all = vec![rig.send("C1", key(9), 8, debit(700))];
    rig.seal();
    all.push(rig.send("C1", key(9), 8, debit(700)));
    let open = [rig.send("C2", key(9), 8, debit(700)), rig.send("C2", key(9), 8, debit(700))];
    rig.node.halt();
    rig.take_answers();
    all.push(rig.send("C1", key(9), 8, debit(700)));
    assert!(all.iter().all(|n| rig.code(*n) == Some(Code::Unknown)), "{:?}", rig.answers);
    assert!(open.iter().all(|n| rig.code(*n) == Some(Code::Halted)), "it never went to the journal");
    assert_eq!(rig.node.in_flight(), 0);
}

#[test]
fn who_waits_for_room_is_told_at_its_deadline_too() {
    let mut rig = Rig::new(Limits { batch_bytes_max: 200, ..Limits::default() });
    rig.send("C1", key(9), 8, debit(700));
    let repeat = rig.send("C1", key(9), 3, debit(700));
    let (other, behind) = (rig.send("C2", key(8), 3, debit(1)), rig.send("C1", key(9), 3, debit(700)));
    rig.time(at(3));
    assert!([repeat, other, behind].iter().all(|n| rig.code(*n).is_none()));
    rig.time(just_after(3));
    assert_eq!(rig.code(repeat), Some(Code::InProgress));
    assert_eq!((rig.code(other), rig.code(behind)), (Some(Code::DeadlinePassed), Some(Code::InProgress)));
}

#[test]
fn a_repeat_needs_room_in_a_batch_only_where_it_takes_the_first_ones_place() {
    for (yen, answer) in [(700, Code::SuspectedDuplicate), (600, Code::Approved)] {
        let mut rig = Rig::new(Limits { batch_bytes_max: 200, ..Limits::default() });
        rig.send("C1", key(7), 8, debit(700));
        rig.seal();
        rig.durable();
        rig.send("C1", key(9), 8, debit(yen));
        let repeat = rig.send("C1", key(9), 8, debit(yen));
        rig.time(at(2));
        rig.seal();
        rig.send("C2", key(8), 8, debit(1));
        rig.durable();
        let changes_nothing = answer == Code::SuspectedDuplicate;
        assert_eq!(rig.code(repeat), (!changes_nothing).then_some(answer), "the open batch is full");
        while rig.node.has_work() {
            rig.seal();
            rig.durable();
        }
        assert_eq!(rig.code(repeat), Some(answer));
    }
}

fn advice(yen: u64) -> Operation {
    let Operation::Debit(purchase) = debit(yen) else { unreachable!("a debit") };
    let (programme, lease, approved_at) = (ProgrammeId::new(1), Position::new(1), at(0));
    Operation::Advice(Advice { purchase, programme, lease, approved_at })
}

#[test]
fn an_advice_is_told_whatever_is_in_flight_and_takes_once() {
    let mut rig = Rig::new(Limits::default());
    let first = rig.send("C1", key(9), 8, debit(700));
    let told = [rig.send("C1", key(9), 0, advice(700)), rig.send("C1", key(9), 0, advice(700))];
    rig.seal();
    rig.time(just_after(8));
    assert_eq!(told.map(|n| rig.code(n)), [None, Some(Code::InProgress)], "it has no deadline, and its repeat has one");
    rig.durable();
    let first = rig.answers[&first];
    for told in [told[0], rig.send("C1", key(9), 8, advice(700))].map(|n| rig.answers[&n]) {
        assert_eq!((told.decision, told.replayed), (first.decision, true));
    }
    assert_eq!(first.decision.balance.get(), 9_300);
}

#[test]
fn of_many_fences_under_a_key_in_flight_one_gets_a_record() {
    let mut rig = Rig::new(Limits::default());
    let before = rig.node.facts().accepted;
    let first = rig.send("C1", key(9), 8, debit(700));
    let fences: Vec<_> = (0..1_000).map(|_| rig.send("C1", key(9), 8, Operation::Fence)).collect();
    rig.seal();
    rig.durable();
    assert_eq!(rig.node.facts().accepted, before + 2, "the debit and a fence");
    let first = rig.answers[&first];
    for fence in fences.iter().map(|n| rig.answers[n]) {
        assert_eq!((fence.decision, fence.replayed), (first.decision, true));
    }
    // Where the first changes nothing, one of them decides the key for all.
    let suspected = rig.send("C1", key(10), 8, debit(700));
    let fences = [0; 3].map(|_| rig.send("C1", key(10), 8, Operation::Fence));
    rig.seal();
    rig.durable();
    assert_eq!(rig.code(suspected), Some(Code::SuspectedDuplicate));
    let fences = fences.map(|n| rig.answers[&n]);
    assert_eq!(fences.map(|f| f.decision), [fences[0].decision; 3]);
    let late = rig.send("C1", key(10), 8, debit(700));
    assert_eq!(rig.code(late), Some(Code::Fenced));
}

#[test]
fn an_advice_under_a_fenced_key_gets_a_record_and_its_repeat_none() {
    let mut rig = Rig::new(Limits::default());
    rig.send("C1", key(9), 8, Operation::Fence);
    rig.seal();
    rig.durable();
    let told = rig.send("C1", key(9), 8, advice(700));
    rig.seal();
    rig.durable();
    let accepted = rig.node.facts().accepted;
    let again = rig.send("C1", key(9), 8, advice(700));
    let (told, again) = (rig.answers[&told], rig.answers[&again]);
    assert_eq!((told.decision.code, told.flagged, told.replayed), (Code::Approved, true, false));
    assert_eq!((again.decision, again.replayed), (told.decision, true));
    assert_eq!(rig.node.facts().accepted, accepted);
    let late = rig.send("C1", key(9), 8, debit(700));
    assert_eq!(rig.code(late), Some(Code::Fenced));
}

#[test]
fn full_tables_still_take_an_advice() {
    // A sixteenth of what is allowed is kept for what ends something.
    let mut rig = Rig::new(Limits { decisions_max: 16, ..Limits::default() });
    for n in 20..32 {
        rig.send("C1", key(n), 8, debit(n as u64));
    }
    rig.seal();
    rig.durable();
    let (refused, told) = (rig.send("C1", key(11), 8, debit(1)), rig.send("C1", key(12), 8, advice(700)));
    assert_eq!((rig.code(refused), rig.code(told)), (Some(Code::MemoryLimit), None));
}

#[test]
fn of_a_key_out_of_its_horizon_nobody_says_that_nothing_was_taken() {
    let mut rig = Rig::new(Limits::default());
    let later = 604_800 + 301;
    rig.time(at(later));
    rig.node.halt();
    let old = rig.send("C1", key(9), later + 60, debit(5));
    assert_eq!(rig.code(old), Some(Code::KeyTooOld), "it may have been decided and forgotten");
    let new = rig.send("C1", Key::new(at(later), 7 << 72), later + 60, debit(5));
    assert_eq!(rig.code(new), Some(Code::Halted), "a new key was never decided");
}

#[test]
fn a_second_press_whose_batch_waited_is_behind_the_news_that_the_first_was_not_delivered() {
    // The open batch has room for the news, or is full of payments.
    for others in [0, 400] {
        let limits = Limits { batch_bytes_max: 24_000, ..Limits::default() };
        let mut rig = Rig::new(limits);
        let unguarded = Programme { guard_window_s: 0, ..Programme::with_defaults(ProgrammeId::new(1)) };
        rig.send("", key(8), 60, Operation::Programme(unguarded));
        let first = rig.send("C1", key(9), 60, debit(700));
        rig.seal();
        rig.durable();
        let position = rig.answers[&first].decision.position.get();
        rig.time(at(1));
        let in_flight = rig.send("C2", key(10), 60, debit(1));
        rig.seal();
        rig.time(at(2));
        let press = rig.send("C1", key(11), 60, debit(700));
        let others: Vec<u64> = (0..others).map(|n| rig.send("C2", key(100 + n), 60, debit(1))).collect();
        rig.time(at(3));
        rig.node.accept(0, Inbound { undelivered: vec![position], ..Inbound::default() }, rig.now);
        // Nobody asks by the time alone any more.
        rig.time(at(6));
        rig.durable();
        while rig.node.has_work() {
            rig.seal();
            rig.durable();
        }
        assert_eq!(rig.code(in_flight), Some(Code::Approved));
        assert_eq!(rig.code(press), Some(Code::SuspectedDuplicate), "{} others", others.len());
        assert!(others.iter().all(|n| rig.code(*n).is_some()), "every one has an answer");
    }
}

#[test]
fn a_second_press_after_the_core_itself_stood_still_for_long_is_asked_about() {
    // The open batch has room for the news, or is full of payments; it is looked at before it is sealed, or too late.
    for (others, looks) in [(0, true), (400, true), (0, false), (400, false)] {
        let mut rig = Rig::new(Limits { batch_bytes_max: 24_000, ..Limits::default() });
        let doubt =
            Programme { guard_window_s: 0, doubt_window_s: 60, ..Programme::with_defaults(ProgrammeId::new(1)) };
        rig.send("", key(8), 60, Operation::Programme(doubt));
        let first = rig.send("C1", key(9), 60, debit(700));
        rig.seal();
        rig.durable();
        let position = rig.answers[&first].decision.position.get();
        // A core that has nothing to do looks up once a second.
        for s in 1..=10 {
            rig.node.look(at(s), false);
        }
        assert!(!rig.node.has_work(), "that is no pause");
        // It is stopped, and goes on.
        rig.now = at(310);
        rig.node.accept(0, Inbound { undelivered: vec![position], ..Inbound::default() }, rig.now);
        let press = rig.send("C1", key(11), 340, debit(700));
        let others: Vec<u64> = (0..others).map(|n| rig.send("C2", key(100 + n), 340, debit(1))).collect();
        if looks {
            rig.node.look(rig.now, false);
        }
        while rig.node.has_work() {
            rig.seal();
            rig.durable();
            rig.now = rig.now.plus_millis(10);
            rig.node.look(rig.now, false);
        }
        assert_eq!(rig.code(press), Some(Code::SuspectedDuplicate), "{} others, {looks}", others.len());
        assert!(others.iter().all(|n| rig.code(*n).is_some()), "every one has an answer");
        assert_eq!(rig.node.engine().rules().degraded_since, None, "it is back to normal");
        // Ten minutes later that is over.
        for s in 311..=920 {
            rig.node.look(at(s), false);
        }
        rig.now = at(920);
        let late = rig.send("C1", key(12), 980, debit(700));
        rig.seal();
        rig.durable();
        assert_eq!(rig.code(late), Some(Code::Approved));
    }
}

#[test]
fn after_the_core_stood_still_a_second_press_may_come_before_another_threads_news_of_the_first() {
    let mut rig = Rig::new(Limits { threads: 2, ..Limits::default() });
    let unguarded = Programme { guard_window_s: 0, ..Programme::with_defaults(ProgrammeId::new(1)) };
    rig.send("", key(8), 60, Operation::Programme(unguarded));
    let mut paid = |n, yen| {
        let first = rig.send("C1", key(n), 60, debit(yen));
        rig.seal();
        rig.durable();
        rig.answers[&first].decision.position.get()
    };
    let (known, first) = (paid(9, 300), paid(10, 700));
    let report = Some(Report { taken_over: first, oldest_waiting: Some(first) });
    rig.node.accept(0, Inbound { report, ..Inbound::default() }, rig.now);
    rig.node.look(rig.now, false);
    // All are stopped for longer than an answer counts as in flight. The thread of the second press is the first to go on.
    rig.now = at(6);
    let mut press = |n, yen| {
        let (received_at, deadline) = (rig.now, at(60));
        let (namespace, account) = (NAMESPACE, account("C1"));
        let envelope = Envelope { received_at, deadline, namespace, account, key: key(n), ..Envelope::default() };
        let mut bundle = Inbound::default();
        encode(&Command { envelope, operation: debit(yen) }, &mut bundle.records);
        bundle.waiters.push(Waiter { connection: 2, request: n as u64 });
        rig.node.accept(1, bundle, rig.now);
        rig.node.look(rig.now, false);
        rig.seal();
        rig.durable();
        let out = rig.node.take_outbound(1, Outbound::default()).expect("an answer");
        (out.answers[0].decision.code, out.answers[0].decision.related.get())
    };
    assert_eq!(press(11, 700), (Code::SuspectedDuplicate, first));
    assert_eq!(press(12, 300).0, Code::Approved, "position {known} was known to be delivered");
    // What is acknowledged after all is in doubt no longer.
    let (undelivered, delivered) = (vec![first], vec![first]);
    rig.node.accept(0, Inbound { undelivered, ..Inbound::default() }, rig.now);
    rig.node.accept(0, Inbound { delivered, ..Inbound::default() }, rig.now);
    rig.seal();
    rig.durable();
    let again = rig.send("C1", key(13), 60, debit(700));
    rig.seal();
    rig.durable();
    assert_eq!(rig.code(again), Some(Code::Approved));
}
