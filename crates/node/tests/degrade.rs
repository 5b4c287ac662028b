//! What the node does while something is wrong: who is told what, what the log says, and what comes back.

use std::cell::Cell;
use std::collections::VecDeque;
use tegata_engine::Engine;
use tegata_model::{
    AccountId, Advice, Allowance, Amount, Code, Command, Envelope, GatewayId, Key, Life, NamespaceId, Operation,
    Position, Programme, ProgrammeId, Purchase, Settings, ShopId, TerminalId, Timestamp, encode, mix,
};
use tegata_node::{
    BreakerState, Carried, Cause, Inbound, Limits, Mode, Node, Order, Outbound, Question, Rank, Reply, Room, Waiter,
};

const START: i64 = 1_700_000_000_000_000;

/// A node, and a clock that goes on when told.
struct Rig {
    node: Node,
    now: Cell<i64>,
    next: u64,
}

fn ms(n: i64) -> Timestamp {
    Timestamp::from_micros(START + n * 1_000)
}

fn purchase(yen: u64) -> Purchase {
    Purchase {
        shop: ShopId::from_text("SHOP1").expect("a shop"),
        terminal: TerminalId::NONE,
        amount: Amount::new(yen).expect("an amount"),
        token: Position::ZERO,
        partial: false,
    }
}

fn key(n: u64) -> Key {
    Key::new(ms(0), u128::from(mix(n, 1)) << 64 | u128::from(mix(n, 2)))
}

impl Rig {
    fn new(limits: Limits) -> Self {
        let mut rig = Self {
            node: Node::new(Engine::new(2), limits, Settings::default(), Carried::default(), ms(0)),
            now: Cell::new(0),
            next: 0,
        };
        rig.flush();
        rig
    }

    /// Sends; the answer is found under the number that this returns.
    fn send(&mut self, n: u64, deadline_ms: i64, operation: Operation) -> u64 {
        self.send_over(0, n, deadline_ms, operation)
    }

    fn send_over(&mut self, gateway: u32, n: u64, deadline_ms: i64, operation: Operation) -> u64 {
        let (record, number) = self.record(gateway, n, deadline_ms, operation);
        self.bundle(record, vec![number]);
        number
    }

    fn bundle(&mut self, records: Vec<u8>, numbers: Vec<u64>) {
        let waiters = numbers.into_iter().map(|request| Waiter { connection: 1, request }).collect();
        self.node.accept(0, Inbound { records, waiters, ..Inbound::default() }, ms(self.now.get()));
    }

    fn unlooked(&mut self, unlooked: Vec<u8>, numbers: &[u64]) {
        let unlooked_waiters = numbers.iter().map(|request| Waiter { connection: 1, request: *request }).collect();
        let bundle = Inbound { unlooked, unlooked_waiters, ..Inbound::default() };
        let back = self.node.accept(0, bundle, ms(self.now.get()));
        assert!(back.is_empty() && back.unlooked.is_empty());
    }

    /// The refusal that was given as a reply, last; the answers go on waiting.
    fn reply(&mut self) -> Option<(u64, Code)> {
        let mut out = self.node.take_outbound(0, Outbound::default())?;
        let last = out.replies.drain(..).next_back();
        self.node.put_back(0, out);
        match last {
            Some((waiter, Reply::Refused { decision, .. })) => Some((waiter.request, decision.code)),
            _ => None,
        }
    }

    fn record(&mut self, gateway: u32, n: u64, deadline_ms: i64, operation: Operation) -> (Vec<u8>, u64) {
        let now = self.now.get();
        let envelope = Envelope {
            received_at: ms(now),
            deadline: ms(now + deadline_ms),
            gateway: GatewayId::new(gateway),
            namespace: NamespaceId::new(1),
            account: AccountId::from_text("C1").expect("an account"),
            key: key(n),
        };
        let mut records = Vec::new();
        encode(&Command { envelope, operation }, &mut records);
        self.next += 1;
        (records, self.next)
    }

    fn debit(&mut self, n: u64, deadline_ms: i64) -> u64 {
        self.send(n, deadline_ms, Operation::Debit(purchase(100 + n)))
    }

    /// Time goes on, in the steps that a core makes.
    fn pass(&mut self, until_ms: i64) {
        while self.now.get() < until_ms {
            self.now.set((self.now.get() + 10).min(until_ms));
            self.node.look(ms(self.now.get()), false);
            self.node.pass_time(ms(self.now.get()));
        }
    }

    fn seal(&mut self) -> u64 {
        self.node.seal(ms(self.now.get())).map_or(0, |s| s.first_position + u64::from(s.count) - 1)
    }

    fn durable(&mut self, position: u64) {
        self.node.durable(position);
        while self.node.apply_some(1_000) {}
    }

    fn flush(&mut self) {
        let last = self.seal();
        if last > 0 {
            self.durable(last);
        }
    }

    fn codes(&mut self) -> Vec<(u64, Code)> {
        let out = self.node.take_outbound(0, Outbound::default()).unwrap_or_default();
        let mut codes: Vec<_> = out
            .answers
            .iter()
            .filter(|a| a.waiter.connection != 0)
            .map(|a| (a.waiter.request, a.decision.code))
            .collect();
        codes.sort_unstable_by_key(|c| c.0);
        codes
    }

    fn ask(&mut self, question: Question) -> Reply {
        let waiter = Waiter { connection: 1, request: 0 };
        let questions = vec![(waiter, question)];
        self.node.accept(0, Inbound { questions, ..Inbound::default() }, ms(self.now.get()));
        let out = self.node.take_outbound(0, Outbound::default()).expect("an answer");
        out.replies.into_iter().next_back().expect("a reply").1
    }
}

#[test]
fn a_stalled_journal_refuses_new_payments_and_lets_nobody_wait_past_its_deadline() {
    let mut rig = Rig::new(Limits::default());
    let known = rig.debit(1, 5_000);
    rig.flush();
    assert_eq!(rig.codes(), [(known, Code::AccountUnknown)]);

    let flying = [rig.debit(2, 1_000), rig.debit(3, 8_000)];
    let stalled = rig.seal();
    let open = rig.debit(4, 8_000);
    let short = rig.debit(5, 100);
    rig.pass(150);
    assert_eq!(rig.codes(), [(short, Code::DeadlinePassed)], "it never went to the journal");
    rig.pass(400);
    assert_eq!(rig.node.mode(), Mode::ReadOnly);
    assert_eq!(rig.codes(), [(open, Code::JournalSlow)], "what was not handed over is refused as soon as it is seen");
    let again = [rig.debit(1, 500), rig.debit(2, 300), rig.debit(6, 500)];
    assert_eq!(
        rig.codes(),
        [(again[0], Code::AccountUnknown), (again[2], Code::JournalSlow)],
        "a decided key is answered"
    );
    let undo = rig.send(7, 400, Operation::Reversal { original: key(9), remain: 0 });
    assert_eq!(rig.codes(), [], "kept");
    rig.pass(850);
    assert_eq!(rig.codes(), [(again[1], Code::InProgress), (undo, Code::Unknown)]);
    rig.pass(1_030);
    assert_eq!(rig.codes(), [(flying[0], Code::Unknown)]);

    rig.durable(stalled);
    assert_eq!(rig.codes(), [(flying[1], Code::AccountUnknown)], "told once, each");
    assert!(rig.node.engine().rules().degraded_since.is_none(), "the mark waited for the journal too");
    rig.flush();
    assert!(rig.node.engine().rules().degraded_since.is_some(), "the guard asks longer");
    assert_eq!(rig.codes(), [], "the reversal was told already");
    let repeat = rig.send(7, 400, Operation::Reversal { original: key(9), remain: 0 });
    assert_eq!(rig.codes(), [(repeat, Code::Approved)], "and has taken effect");
    rig.debit(8, 500);
    assert_eq!(rig.codes().pop().map(|c| c.1), Some(Code::JournalSlow), "not yet");

    while rig.node.mode() == Mode::ReadOnly {
        rig.pass(rig.now.get() + 10);
    }
    assert!(rig.node.mode() == Mode::Probing && rig.now.get() < 1_700, "{}", rig.now.get());
    let probes: Vec<u64> = (20..60).map(|n| rig.debit(n, 500)).collect();
    let refused = rig.codes();
    assert_eq!(refused.len(), 40 - 16, "the first stage has sixteen");
    assert!(refused.iter().all(|(_, c)| *c == Code::JournalSlow));
    let probes_at = rig.now.get();
    let last = rig.seal();
    rig.pass(probes_at + 260);
    assert_eq!(rig.node.mode(), Mode::ReadOnly, "sixteen probes that nobody flushes are evidence enough");
    rig.durable(last);
    assert_eq!(rig.codes().len(), 16, "{probes:?}");
    rig.pass(4_000);
    assert_eq!(rig.node.mode(), Mode::Normal);
    rig.flush();
    assert!(rig.node.engine().rules().degraded_since.is_none() && rig.node.engine().rules().degraded_last.is_some());
    rig.debit(70, 500);
    rig.flush();
    assert_eq!(rig.codes().len(), 1);
}

#[test]
fn a_journal_that_goes_on_slowly_is_slow_and_one_hiccup_is_not() {
    let mut rig = Rig::new(Limits::default());
    rig.debit(1, 8_000);
    let last = rig.seal();
    rig.pass(300);
    rig.durable(last);
    rig.debit(2, 8_000);
    rig.flush();
    rig.pass(1_000);
    assert_eq!(rig.node.mode(), Mode::Normal);
    for n in 3..6 {
        rig.debit(n, 8_000);
        let last = rig.seal();
        rig.pass(rig.now.get() + 300);
        rig.durable(last);
    }
    assert_eq!(rig.node.mode(), Mode::ReadOnly);
}

#[test]
fn nothing_of_what_was_refused_is_in_the_log() {
    let mut rig = Rig::new(Limits::default());
    rig.debit(1, 8_000);
    rig.seal();
    rig.debit(2, 8_000);
    rig.debit(3, 8_000);
    rig.pass(400);
    assert_eq!(rig.codes().iter().filter(|(_, c)| *c == Code::JournalSlow).count(), 2);
    let left = rig.node.seal(ms(400)).map(|s| (s.count, u16::from_le_bytes([s.body[0], s.body[1]])));
    assert_eq!(left, Some((1, 23)), "only the mark");
}

#[test]
fn an_operator_opens_closes_and_confirms_and_a_drill_ends_by_itself() {
    let mut rig = Rig::new(Limits::default());
    let order = |rig: &mut Rig, order| match rig.ask(Question::Order(Cause::Memory, order)) {
        Reply::Breakers { mode, breakers, ordered: true } => Some((mode, breakers[Cause::Memory as usize].state)),
        Reply::NotNow { code: Code::NotFromHere, .. } => None,
        other => panic!("{other:?}"),
    };
    assert_eq!(order(&mut rig, Order::Close), None);
    assert_eq!(order(&mut rig, Order::Open), Some((Mode::ReadOnly, BreakerState::Latched)));
    assert_eq!(order(&mut rig, Order::Drill(1_000)), None, "a drill does not make a latch end");
    rig.debit(1, 500);
    assert_eq!(rig.codes().pop().map(|c| c.1), Some(Code::MemoryLimit));
    rig.pass(5_000);
    assert_eq!((order(&mut rig, Order::Close), rig.node.mode()), (None, Mode::ReadOnly), "probes first");
    assert_eq!(order(&mut rig, Order::Confirm), Some((Mode::Probing, BreakerState::HalfOpen)));
    assert_eq!(order(&mut rig, Order::Close), Some((Mode::Normal, BreakerState::Closed)));
    assert_eq!(order(&mut rig, Order::Drill(1_000)), Some((Mode::ReadOnly, BreakerState::Latched)));
    rig.pass(5_990);
    assert_eq!(rig.node.mode(), Mode::ReadOnly);
    rig.pass(8_000);
    assert_eq!(rig.node.mode(), Mode::Normal, "over by itself");
    let told: Vec<_> = rig.node.take_changes().iter().map(|t| (t.change.event.name(), t.mode.name())).collect();
    let all = [
        "force read-only",
        "confirm probing",
        "close normal",
        "drill read-only",
        "drill over probing",
        "proved normal",
    ];
    assert_eq!(told.iter().map(|(e, m)| format!("{e} {m}")).collect::<Vec<_>>(), all);
}

#[test]
fn of_what_is_refused_outright_only_the_header_is_looked_at_and_its_key() {
    let mut rig = Rig::new(Limits::default());
    rig.debit(1, 8_000);
    rig.flush();
    rig.debit(2, 8_000);
    let flying = rig.seal();
    rig.ask(Question::Order(Cause::JournalLatency, Order::Open));
    rig.codes();
    let (mut unlooked, mut numbers) = (Vec::new(), Vec::new());
    for (n, damaged) in [(1, false), (2, false), (3, false), (3, true), (1, true)] {
        let (mut record, number) = rig.record(0, n, 8_000, Operation::Debit(purchase(100 + n)));
        if damaged {
            // No yen at all.
            record[88..96].fill(0);
        }
        unlooked.extend(record);
        numbers.push(number);
    }
    let unlooked_waiters = numbers.iter().map(|request| Waiter { connection: 1, request: *request }).collect();
    let back = rig.node.accept(0, Inbound { unlooked, unlooked_waiters, ..Inbound::default() }, ms(0));
    assert!(back.is_empty() && back.unlooked.is_empty());
    let slow = Code::JournalSlow;
    let out = rig.node.take_outbound(0, Outbound::default()).expect("answers");
    let mut codes: Vec<_> = out.answers.iter().map(|a| (a.waiter.request, a.decision.code)).collect();
    codes.sort_unstable_by_key(|(request, _)| *request);
    let expected = [(0, Code::AccountUnknown), (2, slow), (3, slow)].map(|(i, code)| (numbers[i], code));
    assert_eq!(codes, expected, "the second waits for the first in flight");
    let conflict = |r: &Reply| matches!(r, Reply::Refused { kind: 4, decision } if decision.code == Code::Conflict);
    assert!(out.replies.iter().any(|(w, r)| w.request == numbers[4] && conflict(r)), "{:?}", out.replies);
    rig.durable(flying);
    assert_eq!(rig.codes().pop(), Some((numbers[1], Code::AccountUnknown)));
    assert!(rig.node.seal(ms(0)).is_some_and(|s| s.count == 1 && s.body[0] == 23), "only the mark");
}

#[test]
fn a_programme_is_suspended_while_the_journal_is_slow_or_the_disk_full() {
    let all = Programme::with_defaults(ProgrammeId::new(1));
    let suspend = Operation::ProgrammeLife { programme: all.id, life: Life::Suspended };
    let close_account = Operation::AccountLife(Life::Closed);
    for full in [false, true] {
        let mut rig = Rig::new(Limits::default());
        rig.send(1, 8_000, Operation::Programme(all));
        rig.flush();
        rig.codes();
        let refused = if full {
            rig.node.set_room(Room::Reserve);
            Code::DiskFull
        } else {
            rig.ask(Question::Order(Cause::JournalLatency, Order::Open));
            Code::JournalSlow
        };
        let asked = [
            rig.send(2, 8_000, Operation::Debit(purchase(100))),
            rig.send(3, 8_000, close_account),
            rig.send(4, 8_000, suspend),
        ];
        let refusals = [(asked[0], refused), (asked[1], refused)];
        assert_eq!(rig.codes(), refusals, "the suspension waits for the disk");
        rig.flush();
        assert_eq!(rig.codes(), [(asked[2], Code::Approved)]);
    }
}

#[test]
fn without_a_quorum_nothing_is_called_not_seen() {
    let mut rig = Rig::new(Limits::default());
    let known = rig.debit(1, 8_000);
    rig.flush();
    assert_eq!(rig.codes(), [(known, Code::AccountUnknown)]);
    let asked = |rig: &mut Rig, n| {
        let account = AccountId::from_text("C1").expect("an account");
        match rig.ask(Question::Status { namespace: NamespaceId::new(1), account, key: key(n) }) {
            Reply::Status { decided, undecided } => decided.map_or(undecided, |(d, _)| d.code),
            other => panic!("{other:?}"),
        }
    };
    assert_eq!((asked(&mut rig, 1), asked(&mut rig, 2)), (Code::AccountUnknown, Code::NotSeen));
    rig.ask(Question::Order(Cause::Replication, Order::Drill(60_000)));
    assert_eq!((asked(&mut rig, 1), asked(&mut rig, 2)), (Code::AccountUnknown, Code::Unknown));
}

#[test]
fn a_probe_that_was_taken_back_keeps_nobody_waiting() {
    let mut rig = Rig::new(Limits::default());
    rig.ask(Question::Order(Cause::Memory, Order::Open));
    rig.ask(Question::Order(Cause::Memory, Order::Confirm));
    rig.flush();
    let probe = rig.debit(1, 30);
    rig.pass(40);
    rig.flush();
    assert_eq!(rig.codes(), [(probe, Code::DeadlinePassed)]);
    rig.pass(2_000);
    assert_eq!(rig.node.mode(), Mode::Normal);
}

#[test]
fn a_clock_that_jumped_stays_latched_and_payments_go_on() {
    let mut rig = Rig::new(Limits::default());
    rig.node.clock_jumped();
    rig.flush();
    assert!(rig.node.engine().rules().trusted_until.is_some(), "nothing expires");
    rig.pass(60_000);
    assert_eq!((rig.node.mode(), rig.node.breaker(Cause::Clock)), (Mode::Brownout, BreakerState::Latched));
    rig.debit(1, 500);
    rig.flush();
    assert_eq!(rig.codes().pop().map(|c| c.1), Some(Code::AccountUnknown), "decided as ever");
    rig.ask(Question::Order(Cause::Clock, Order::Confirm));
    rig.flush();
    assert!(rig.node.engine().rules().trusted_until.is_none());
    rig.pass(62_000);
    assert_eq!(rig.node.mode(), Mode::Normal);
}

#[test]
fn a_full_disk_and_full_tables_bring_their_modes() {
    let mut rig = Rig::new(Limits { decisions_max: 16, ..Limits::default() });
    for (room, mode) in [(Room::Reserve, Mode::ReadOnly), (Room::None, Mode::Halted), (Room::Reserve, Mode::ReadOnly)] {
        rig.node.set_room(room);
        rig.pass(rig.now.get() + 10);
        assert_eq!(rig.node.mode(), mode);
    }
    rig.node.set_room(Room::Ample);
    rig.pass(rig.now.get() + 3_000);
    assert_eq!(rig.node.mode(), Mode::Normal);
    for n in 0..16 {
        rig.debit(n, 500);
        rig.flush();
    }
    rig.codes();
    rig.pass(rig.now.get() + 10);
    assert_eq!(rig.node.mode(), Mode::ReadOnly);
    rig.debit(17, 500);
    rig.send(18, 500, Operation::Fence);
    rig.flush();
    let codes: Vec<Code> = rig.codes().into_iter().map(|c| c.1).collect();
    assert_eq!(codes, [Code::MemoryLimit, Code::Fenced]);
    rig.pass(rig.now.get() + 10);
    assert_eq!(rig.node.mode(), Mode::Halted, "the reserve is used up");
}

#[test]
fn a_restart_in_the_middle_ends_what_the_log_called_degraded() {
    let drill = || Question::Order(Cause::Memory, Order::Drill(60_000));
    let mut rig = Rig::new(Limits::default());
    rig.ask(drill());
    rig.flush();
    assert!(rig.node.engine().rules().degraded_since.is_some());
    let mut replay = tegata_node::Replay::new(Engine::new(2), Carried::default());
    let mut log = Rig::new(Limits::default());
    log.ask(drill());
    let sealed = log.node.seal(ms(0)).expect("the mark");
    // The log of the first start is its epoch and this mark; a replay of the mark alone is enough for the rules.
    replay.batch(1, sealed.count, sealed.at_us, &sealed.margin, sealed.body, |_, _, _, _| {}).expect("it replays");
    let (engine, carried) = replay.finish();
    let mut node = Node::new(engine, Limits::default(), Settings::default(), carried, ms(20));
    node.look(ms(30), false);
    let last = node.seal(ms(40)).map_or(0, |s| s.first_position + u64::from(s.count) - 1);
    node.durable(last);
    while node.apply_some(100) {}
    assert!(node.engine().rules().degraded_since.is_none() && node.engine().rules().degraded_last.is_some());
}

type Log = Vec<(u64, u32, i64, [u8; 64], Vec<u8>)>;

/// What a node has to say goes to the log.
fn seal_into(log: &mut Log, node: &mut Node) {
    let sealed = node.seal(ms(20)).expect("a mark");
    log.push((sealed.first_position, sealed.count, sealed.at_us, sealed.margin, sealed.body.to_vec()));
}

fn started_from(log: &Log) -> Node {
    let mut replay = tegata_node::Replay::new(Engine::new(2), Carried::default());
    for (first, count, at_us, margin, body) in log {
        replay.batch(*first, *count, *at_us, margin, body, |_, _, _, _| {}).expect("it replays");
    }
    let (engine, carried) = replay.finish();
    Node::new(engine, Limits::default(), Settings::default(), carried, ms(20))
}

#[test]
fn a_restart_confirms_nothing_and_ends_a_drill() {
    let fresh = || Node::new(Engine::new(2), Limits::default(), Settings::default(), Carried::default(), ms(0));
    let order = |node: &mut Node, cause, order| {
        let question = Question::Order(cause, order);
        node.accept(0, Inbound { questions: vec![(Waiter::default(), question)], ..Inbound::default() }, ms(0));
    };
    let (mut node, mut log) = (fresh(), Vec::new());
    node.clock_jumped();
    order(&mut node, Cause::QueueDelay, Order::Drill(60_000));
    order(&mut node, Cause::JournalLatency, Order::Open);
    seal_into(&mut log, &mut node);
    // The mode is the same, and it is logged nevertheless.
    order(&mut node, Cause::Memory, Order::Open);
    seal_into(&mut log, &mut node);
    let mut node = started_from(&log);
    let states = Cause::ALL.map(|c| node.breaker(c));
    use BreakerState::{Closed, Latched};
    assert_eq!(states, [Latched, Closed, Closed, Latched, Latched, Closed]);
    assert_eq!(node.mode(), Mode::ReadOnly);
    assert!(node.engine().rules().trusted_until.is_some(), "nothing expires");
    node.look(ms(30), false);
    order(&mut node, Cause::Memory, Order::Confirm);
    seal_into(&mut log, &mut node);
    let node = started_from(&log);
    assert_eq!((node.breaker(Cause::Memory), node.breaker(Cause::Clock)), (Closed, Latched), "confirmed is confirmed");

    let (mut node, mut log) = (fresh(), Vec::new());
    order(&mut node, Cause::Clock, Order::Drill(60_000));
    seal_into(&mut log, &mut node);
    let mut node = started_from(&log);
    assert_eq!(node.breaker(Cause::Clock), Closed, "a drill of the clock ends as well");
    assert!(node.engine().rules().trusted_until.is_some());
    node.look(ms(30), false);
    seal_into(&mut log, &mut node);
    assert!(started_from(&log).engine().rules().trusted_until.is_none(), "and is no reason to doubt the clock");
}

#[test]
fn a_clock_that_jumps_during_a_drill_stays_latched_when_that_is_over() {
    let mut rig = Rig::new(Limits::default());
    rig.ask(Question::Order(Cause::Clock, Order::Drill(1_000)));
    rig.node.clock_jumped();
    rig.pass(2_000);
    assert_eq!(rig.node.breaker(Cause::Clock), BreakerState::Latched);
    rig.ask(Question::Order(Cause::Clock, Order::Confirm));
    rig.pass(4_000);
    assert_eq!(rig.node.mode(), Mode::Normal);
}

/// The queue stands, and nothing of what is sent fits into a batch until it is sealed.
fn crowded(batch_bytes_max: usize) -> Rig {
    let mut rig = Rig::new(Limits { batch_bytes_max, ..Limits::default() });
    rig.ask(Question::Order(Cause::QueueDelay, Order::Open));
    assert_eq!(rig.node.mode(), Mode::Brownout);
    rig.flush();
    rig
}

/// The requests of the sealed batches, in the order of the log, by the yen that they ask for.
fn logged(rig: &mut Rig) -> Vec<u64> {
    let mut yen = Vec::new();
    while rig.node.has_work() {
        let Some(sealed) = rig.node.seal(ms(rig.now.get())) else { break };
        let last = sealed.first_position + u64::from(sealed.count) - 1;
        let mut rest = sealed.body;
        while !rest.is_empty() {
            let (record, tail) = rest.split_at(tegata_model::record_len(rest).expect("a record"));
            if let Operation::Debit(p) = tegata_model::decode(record).expect("a command").operation {
                yen.push(p.amount.get());
            }
            rest = tail;
        }
        rig.durable(last);
    }
    yen
}

#[test]
fn while_the_queue_stands_gateways_take_turns_and_the_newest_goes_first() {
    let mut rig = crowded(200);
    rig.send_over(9, 99, 8_000, Operation::Debit(purchase(99)));
    for n in 1..=6 {
        rig.send_over(1, n, 8_000, Operation::Debit(purchase(n)));
    }
    for n in [11, 12] {
        rig.send_over(2, n, 8_000, Operation::Debit(purchase(n)));
    }
    assert_eq!(logged(&mut rig), [99, 6, 12, 5, 11, 4, 3, 2, 1]);
}

#[test]
fn while_the_queue_stands_who_waited_too_long_is_refused_but_not_what_settles() {
    let mut rig = crowded(200);
    let known = rig.debit(1, 8_000);
    rig.flush();
    assert_eq!(rig.codes(), [(known, Code::AccountUnknown)]);
    rig.debit(2, 8_000);
    let (long, short) = (rig.debit(3, 8_000), rig.debit(4, 40));
    let fence = rig.send(5, 8_000, Operation::Fence);
    let undo = rig.send(6, 60, Operation::Reversal { original: key(9), remain: 0 });
    let repeat = rig.debit(1, 8_000);
    assert_eq!(rig.codes(), [], "all wait for room");
    rig.pass(10);
    assert_eq!(rig.codes(), [(short, Code::Overloaded)], "a quarter of its time");
    rig.pass(20);
    assert_eq!(rig.codes(), [(long, Code::Overloaded), (repeat, Code::AccountUnknown)]);
    rig.pass(70);
    assert_eq!(rig.codes(), [(undo, Code::Overloaded)], "nobody waits past a deadline");
    logged(&mut rig);
    assert!(rig.codes().contains(&(fence, Code::Fenced)));
    rig.ask(Question::Server);
    let balance = rig.ask(Question::Balance(AccountId::from_text("C1").expect("an account")));
    assert!(matches!(balance, Reply::NotNow { code: Code::Overloaded, retry_after_ms: 250..=375, .. }), "{balance:?}");
}

#[test]
fn a_queue_that_stands_becomes_a_crowd_by_itself() {
    let mut rig = Rig::new(Limits { batch_bytes_max: 200, ..Limits::default() });
    let all = [rig.debit(1, 8_000), rig.debit(2, 8_000), rig.debit(3, 8_000)];
    rig.pass(100);
    assert_eq!((rig.node.mode(), rig.codes()), (Mode::Normal, vec![]));
    rig.pass(150);
    let refused = [(all[1], Code::Overloaded), (all[2], Code::Overloaded)];
    assert_eq!((rig.node.mode(), rig.codes()), (Mode::Brownout, refused.to_vec()));
}

#[test]
fn a_queue_that_lately_stood_too_long_is_a_crowd_as_soon_as_it_stands() {
    let mut rig = Rig::new(Limits { batch_bytes_max: 200, ..Limits::default() });
    let gather = |rig: &mut Rig, n: u64| {
        rig.debit(n, 8_000);
        rig.debit(n + 1, 8_000);
        rig.pass(rig.now.get() + 10);
        (rig.node.mode(), rig.node.is_crowded())
    };
    assert_eq!(gather(&mut rig, 1), (Mode::Normal, false), "it never stood too long");
    rig.pass(150);
    assert_eq!(rig.node.mode(), Mode::Brownout);
    logged(&mut rig);
    rig.pass(2_000);
    assert_eq!((rig.node.mode(), rig.node.is_crowded()), (Mode::Normal, false));
    assert_eq!(gather(&mut rig, 11), (Mode::Normal, true));
    logged(&mut rig);
    rig.pass(12_000);
    assert_eq!(gather(&mut rig, 21), (Mode::Normal, false), "that was long ago");
}

#[test]
fn a_queue_that_gathered_while_the_core_stood_still_is_not_its_fault() {
    let mut rig = Rig::new(Limits { batch_bytes_max: 200, ..Limits::default() });
    rig.debit(1, 8_000);
    rig.debit(2, 8_000);
    rig.node.look(ms(10), false);
    // Stopped, or robbed of its processor.
    rig.now.set(210);
    rig.node.look(ms(210), false);
    rig.pass(340);
    assert_eq!(rig.node.mode(), Mode::Normal, "50 ms are for catching up, then the window begins");
    rig.pass(370);
    assert_eq!(rig.node.mode(), Mode::Brownout);
}

#[test]
fn what_is_admitted_ahead_of_the_engine_is_bounded_in_ordinary_times_too() {
    let mut rig = Rig::new(Limits::default());
    for n in 1..=2_000 {
        rig.debit(n, 8_000);
    }
    let mut sealed = Vec::new();
    while rig.node.has_work() {
        let (count, last) =
            rig.node.seal(ms(0)).map_or((0, 0), |s| (s.count, s.first_position + u64::from(s.count) - 1));
        sealed.push(count);
        rig.durable(last);
        rig.pass(rig.now.get() + 10);
    }
    assert_eq!((sealed[0], sealed.iter().sum::<u32>()), (512, 2_000), "the others wait, and can still be refused");
    assert_eq!(rig.codes().len(), 2_000);
}

#[test]
fn when_the_journal_fails_those_who_wait_to_be_admitted_are_told_so() {
    let mut rig = Rig::new(Limits::default());
    for n in 1..=2_000 {
        rig.debit(n, 8_000);
    }
    rig.seal();
    rig.node.halt();
    let codes = rig.codes();
    let told = |code| codes.iter().filter(|c| c.1 == code).count();
    assert_eq!((told(Code::Unknown), told(Code::Halted)), (512, 2_000 - 512));
}

#[test]
fn what_is_admitted_ahead_of_the_engine_is_bounded_while_the_queue_stands() {
    let mut rig = crowded(1 << 20);
    for n in 1..=2_000 {
        rig.debit(n, 8_000);
    }
    let sealed = rig.node.seal(ms(0)).map(|s| s.count);
    assert_eq!(sealed, Some(512), "what is in a batch cannot be refused any more");
    rig.pass(40);
    assert_eq!(rig.codes().len(), 2_000 - 512);
}

#[test]
fn a_crowd_takes_no_more_memory_than_the_limit() {
    let mut rig = Rig::new(Limits { batch_bytes_max: 200, waiting_bytes_max: 10_000, ..Limits::default() });
    rig.debit(1, 8_000);
    rig.flush();
    rig.ask(Question::Order(Cause::QueueDelay, Order::Open));
    rig.flush();
    for n in 2..=200 {
        rig.debit(n, 8_000);
    }
    let repeat = rig.debit(1, 8_000);
    let codes = rig.codes();
    assert!(codes.contains(&(repeat, Code::AccountUnknown)), "a decided key gets its decision: {codes:?}");
    let refused = codes.iter().filter(|(_, c)| *c == Code::Overloaded).count();
    assert!((100..190).contains(&refused), "{refused} of 199");
    assert_eq!(rig.node.in_flight(), 199 - refused);
}

#[test]
fn of_those_who_wait_the_header_is_enough_until_their_turn() {
    let mut rig = crowded(200);
    let decided = rig.debit(1, 8_000);
    rig.flush();
    assert_eq!(rig.codes(), [(decided, Code::AccountUnknown)]);
    assert_eq!(rig.node.unlooked_ranks() & Rank::COMMANDS, Rank::SHEDDABLE);
    let flying = rig.debit(2, 8_000);
    let last = rig.seal();
    let debit = |n: u64| (n, Operation::Debit(purchase(100 + n)));
    // The newest first: the last needs no room, because its amount is damaged; the one before it takes what there is.
    let asked = [debit(1), debit(2), debit(3), debit(4), debit(5)];
    let (mut unlooked, mut numbers) = (Vec::new(), Vec::new());
    for (n, operation) in asked {
        let (mut record, number) = rig.record(0, n, 8_000, operation);
        if n == 5 || n == 3 {
            record[88..96].fill(0);
        }
        unlooked.extend(record);
        numbers.push(number);
    }
    rig.unlooked(unlooked, &numbers);
    let reply = rig.reply();
    assert!(matches!(reply, Some((n, Code::AmountInvalid)) if n == numbers[4]), "{reply:?}");
    rig.pass(20);
    let told = [(numbers[0], Code::AccountUnknown), (numbers[2], Code::Overloaded)];
    let codes = rig.codes();
    assert!(told.iter().all(|t| codes.contains(t)), "a decided key has its decision: {codes:?}");
    assert!(!codes.iter().any(|(n, _)| *n == numbers[1]), "one that is on its way is waited for: {codes:?}");
    rig.durable(last);
    rig.flush();
    let codes = rig.codes();
    for number in [flying, numbers[1], numbers[3]] {
        assert!(codes.contains(&(number, Code::AccountUnknown)), "{number} of {codes:?}");
    }
}

#[test]
fn what_was_not_looked_at_is_looked_at_when_the_queue_no_longer_stands() {
    let mut rig = Rig::new(Limits::default());
    let (good, number) = rig.record(0, 1, 8_000, Operation::Debit(purchase(100)));
    let (mut bad, damaged) = rig.record(0, 2, 8_000, Operation::Debit(purchase(100)));
    bad[88..96].fill(0);
    rig.unlooked([good, bad].concat(), &[number, damaged]);
    assert_eq!(rig.reply(), Some((damaged, Code::AmountInvalid)));
    rig.flush();
    assert_eq!(rig.codes(), [(number, Code::AccountUnknown)]);
}

#[test]
fn in_a_crowd_a_request_whose_deadline_has_passed_is_told_so_by_its_header() {
    let mut rig = crowded(1 << 20);
    rig.now.set(30);
    let (mut late, number) = rig.record(0, 1, -1, Operation::Debit(purchase(100)));
    // Whoever looks at the whole of it says so.
    late[88..96].fill(0);
    let (undo, reversal) = rig.record(0, 2, -1, Operation::Reversal { original: key(1_000), remain: 0 });
    let (good, served) = rig.record(0, 3, 8_000, Operation::Debit(purchase(100)));
    rig.unlooked([late, undo, good].concat(), &[number, reversal, served]);
    assert_eq!(rig.codes(), [(number, Code::DeadlinePassed)]);
    rig.flush();
    let codes = rig.codes();
    assert_eq!(
        codes.iter().map(|c| c.0).collect::<Vec<_>>(),
        [reversal, served],
        "a reversal has no deadline: {codes:?}"
    );
}

#[test]
fn no_more_wait_than_can_be_served_and_the_longest_queue_loses_its_oldest() {
    let mut rig = crowded(1);
    let others: Vec<_> = (1..=4).map(|n| rig.send_over(2, n, 8_000, Operation::Debit(purchase(n)))).collect();
    let fence = rig.send_over(1, 5_000, 8_000, Operation::Fence);
    let charge = rig.send_over(
        1,
        5_001,
        8_000,
        Operation::Charge { wallet: AccountId::from_text("W1").expect("an account"), amount: 0 },
    );
    let flood: Vec<_> = (10..2_010).map(|n| rig.send_over(1, n, 8_000, Operation::Debit(purchase(n)))).collect();
    // A thousand may wait: 50 a millisecond are counted on.
    let codes = rig.codes();
    assert!(codes.iter().all(|(_, code)| *code == Code::Overloaded));
    let told: Vec<_> = codes.into_iter().map(|c| c.0).collect();
    let expected: Vec<_> = [charge].into_iter().chain(flood[..2_000 - 996].iter().copied()).collect();
    assert_eq!(told, expected, "the last rank first, then the oldest, of the flood alone");
    assert_eq!(rig.node.in_flight(), 1_001);
    rig.pass(20);
    let told: Vec<_> = rig.codes().into_iter().map(|c| c.0).collect();
    assert!(others.iter().all(|n| told.contains(n)) && !told.contains(&fence) && told.len() == 1_000);
}

#[test]
fn of_one_bundle_only_as_many_join_as_may_wait_and_what_is_known_is_told() {
    let mut rig = crowded(200);
    let known = rig.debit(1, 8_000);
    rig.flush();
    assert_eq!(rig.codes(), [(known, Code::AccountUnknown)]);
    let flying = rig.debit(2, 8_000);
    let last = rig.seal();
    rig.debit(3, 8_000);
    let (mut records, mut numbers) = (Vec::new(), Vec::new());
    for n in [1, 2].into_iter().chain(10..2_008) {
        let (record, number) = rig.record(1, n, 8_000, Operation::Debit(purchase(100 + n)));
        records.extend(record);
        numbers.push(number);
    }
    rig.bundle(records, numbers.clone());
    let told = rig.codes();
    assert_eq!(told[0], (numbers[0], Code::AccountUnknown), "a decided key gets its decision");
    // A thousand of its gateway may wait; the one that waits for the first in flight is none of them.
    let refused: Vec<_> = told[1..].iter().map(|(n, _)| *n).collect();
    assert!(told[1..].iter().all(|(_, code)| *code == Code::Overloaded));
    assert_eq!(refused, numbers[2..numbers.len() - 1_000], "the oldest, and nobody twice");
    rig.durable(last);
    let codes = rig.codes();
    assert!(codes.contains(&(flying, Code::AccountUnknown)) && codes.contains(&(numbers[1], Code::AccountUnknown)));
}

#[test]
fn a_bundle_pushes_out_who_goes_before_it_first() {
    // A thousand may wait. Of one gateway there are charges and debits, of two others debits, when so many of the first
    // come at once. Of whom then so many go, its own or those of the second: who has more than a third goes first.
    let own = true;
    for (charges, old, second, third, at_once, whose, too_many) in [
        (10, 0, 1, 1, 1_003, own, 15),
        (3, 100, 330, 237, 338, own, 8),
        (0, 0, 590, 100, 338, !own, 28),
        (0, 50, 500, 100, 355, !own, 5),
    ] {
        let mut rig = crowded(1);
        let wallet = AccountId::from_text("W1").expect("an account");
        let charge = Operation::Charge { wallet, amount: 0 };
        let charges: Vec<_> = (0..charges).map(|n| rig.send_over(1, 9_000 + n, 8_000, charge)).collect();
        let debit = |rig: &mut Rig, gateway, n| rig.send_over(gateway, n, 8_000, Operation::Debit(purchase(n)));
        let old: Vec<_> = (0..old).map(|n| debit(&mut rig, 1, 8_000 + n)).collect();
        let second: Vec<_> = (0..second).map(|n| debit(&mut rig, 2, 7_000 + n)).collect();
        for n in 0..third {
            debit(&mut rig, 3, 6_000 + n);
        }
        assert_eq!(rig.codes(), [], "there is room");
        let (mut records, mut new) = (Vec::new(), Vec::new());
        for n in 1..=at_once {
            let (record, number) = rig.record(1, n, 8_000, Operation::Debit(purchase(n)));
            records.extend(record);
            new.push(number);
        }
        rig.bundle(records, new.clone());
        let mut told: Vec<_> = rig.codes().into_iter().map(|c| c.0).collect();
        told.sort_unstable();
        let mut expected: Vec<_> = if whose == own { [charges, old, new].concat() } else { second };
        expected.truncate(too_many);
        expected.sort_unstable();
        assert_eq!(told, expected, "{at_once} came");
    }
}

#[test]
fn where_far_more_comes_than_is_done_whoever_is_passed_over_is_told_at_once() {
    let told_after = |each: u64| {
        let mut rig = crowded(200);
        let mut n = 0;
        // A batch takes one of them; so many come for each.
        for step in 1..=40 {
            for _ in 0..each {
                n += 1;
                rig.debit(n, 8_000);
            }
            rig.flush();
            rig.now.set(step * 3);
            rig.node.look(ms(step * 3), false);
            rig.node.pass_time(ms(step * 3));
        }
        rig.codes();
        let (first, second) = (rig.debit(10_000, 8_000), rig.debit(10_001, 8_000));
        let third = rig.debit(10_002, 8_000);
        rig.now.set(rig.now.get() + 2);
        rig.node.pass_time(ms(rig.now.get()));
        let told: Vec<_> = rig.codes().into_iter().map(|(n, _)| n).collect();
        [first, second, third].map(|n| told.contains(&n))
    };
    assert_eq!(told_after(1), [false; 3], "they wait for their turn");
    assert_eq!(told_after(4), [true; 3], "newer ones would have it");
}

#[test]
fn where_far_more_comes_than_is_done_less_is_admitted_ahead_of_the_engine() {
    let admitted_at_once = |each: u64| {
        let mut rig = crowded(1 << 20);
        let mut n = 0;
        // 400 are applied in 2 ms; `each` come.
        for step in 1..=40 {
            rig.now.set(step * 2);
            for _ in 0..each {
                n += 1;
                rig.debit(n, 8_000);
            }
            let last = rig.seal();
            rig.node.durable(last);
            rig.node.apply_some(400);
            rig.node.look(ms(step * 2), false);
            rig.node.pass_time(ms(step * 2));
        }
        while rig.node.has_work() {
            rig.flush();
        }
        for more in 0..4_000 {
            rig.debit(n + 1 + more, 8_000);
        }
        rig.node.seal(ms(rig.now.get())).map_or(0, |s| s.count)
    };
    assert_eq!(admitted_at_once(400), 2_000, "10 ms at 200 a millisecond");
    let fewer = admitted_at_once(1_600);
    assert!((513..=800).contains(&fewer), "4 ms, and no flush took any time: {fewer}");
}

#[test]
fn what_a_start_replayed_is_nobodys_load() {
    let mut log = Log::new();
    let mut first = Rig { node: started_from(&log), now: Cell::new(0), next: 0 };
    for n in 1..=400 {
        first.debit(n, 8_000);
    }
    seal_into(&mut log, &mut first.node);
    let mut rig = Rig { node: started_from(&log), now: Cell::new(20), next: 0 };
    rig.flush();
    for n in 401..=440 {
        rig.debit(n, 8_000);
    }
    let last = rig.node.seal(ms(21)).map_or(0, |s| s.first_position + u64::from(s.count) - 1);
    rig.node.durable(last);
    rig.node.apply_some(4);
    rig.node.look(ms(23), false);
    assert!(rig.node.pressure() > 15, "forty came for a few that were applied: {}", rig.node.pressure());
}

#[test]
fn what_there_is_time_for_is_applied_in_however_many_batches_it_lies() {
    let mut rig = Rig::new(Limits::default());
    let mut last = 0;
    for batch in 0..3 {
        for n in 1..=3 {
            rig.debit(3 * batch + n, 8_000);
        }
        last = rig.seal();
    }
    rig.node.durable(last);
    let mut applied = |count| {
        let before = rig.node.engine().applied().get();
        let any = rig.node.apply_some(count);
        (any, rig.node.engine().applied().get() - before)
    };
    assert_eq!(applied(7), (true, 7), "a queue of small batches stays if each takes a turn");
    assert_eq!([applied(0), applied(1_000), applied(1_000)], [(false, 0), (true, 2), (false, 0)]);
}

#[test]
fn what_there_was_no_time_for_is_not_too_much() {
    let after = |could| {
        let mut rig = Rig::new(Limits::default());
        for n in 1..=40 {
            rig.debit(n, 8_000);
        }
        let last = rig.node.seal(ms(1)).map_or(0, |s| s.first_position + u64::from(s.count) - 1);
        rig.node.durable(last);
        rig.node.apply_some(10);
        rig.node.note_could(could);
        rig.node.look(ms(3), false);
        (rig.node.demand(), rig.node.pressure())
    };
    let (demand, pressure) = after(0);
    assert!(demand == pressure && pressure > 30, "nothing is known but what was applied: {demand}, {pressure}");
    assert_eq!(after(40), (10, pressure), "there was time for all");
    assert_eq!(after(80), (5, pressure));
}

#[test]
fn everybody_is_answered_exactly_once_however_the_queue_changes() {
    for seed in 0..60u64 {
        let mut rig = Rig::new(Limits { batch_bytes_max: 600, ..Limits::default() });
        let (mut sent, mut answered) = (Vec::new(), Vec::new());
        for step in 0..400 {
            let roll = mix(seed, step);
            match roll % 12 {
                0 => {
                    let order = [Order::Open, Order::Confirm, Order::Close, Order::Drill(5)][(roll >> 8) as usize % 4];
                    let waiter = Waiter { connection: 1, request: 0 };
                    let questions = vec![(waiter, Question::Order(Cause::QueueDelay, order))];
                    rig.node.accept(0, Inbound { questions, ..Inbound::default() }, ms(rig.now.get()));
                }
                1 => rig.flush(),
                2 => rig.pass(rig.now.get() + (roll >> 8) as i64 % 40),
                3 => rig.node.set_room([Room::Ample, Room::Ample, Room::Reserve, Room::None][(roll >> 8) as usize % 4]),
                _ => {
                    let (mut records, mut numbers) = (Vec::new(), Vec::new());
                    for more in 0..1 + (roll >> 50) % 5 {
                        let roll = mix(roll, more);
                        let (n, gateway) = ((roll >> 8) % 200, (roll >> 20) as u32 % 4);
                        let operation = match (roll >> 30) % 4 {
                            0 => Operation::Fence,
                            1 => Operation::Reversal { original: key(n + 1_000), remain: 0 },
                            _ => Operation::Debit(purchase(100 + n)),
                        };
                        let (record, number) = rig.record(gateway, n, 10 + (roll >> 40) as i64 % 500, operation);
                        records.extend(record);
                        numbers.push(number);
                    }
                    sent.extend(&numbers);
                    if (roll >> 60).is_multiple_of(2) {
                        rig.unlooked(records, &numbers)
                    } else {
                        rig.bundle(records, numbers)
                    }
                }
            }
            answered.extend(rig.codes().into_iter().map(|c| c.0));
        }
        if seed % 2 == 0 {
            rig.node.halt();
        }
        rig.node.set_room(Room::Ample);
        for _ in 0..100 {
            rig.flush();
            rig.pass(rig.now.get() + 20);
        }
        answered.extend(rig.codes().into_iter().map(|c| c.0));
        answered.sort_unstable();
        assert_eq!(answered, sent, "seed {seed}");
        assert_eq!(rig.node.is_crowded(), rig.node.breaker(Cause::QueueDelay) != BreakerState::Closed);
    }
}

#[test]
fn an_advice_is_shed_for_no_cause_and_a_lease_for_nearly_every_one() {
    let allowance = Allowance::with_defaults(1_000);
    let lease = Operation::Lease { programme: ProgrammeId::new(1), holder: [1; 16], allowance };
    for cause in [Cause::JournalLatency, Cause::JournalSpace, Cause::QueueDelay, Cause::Memory, Cause::Clock] {
        let mut rig = Rig::new(Limits::default());
        rig.send(1, 8_000, Operation::Programme(Programme::with_defaults(ProgrammeId::new(1))));
        rig.flush();
        rig.ask(Question::Order(cause, Order::Open));
        rig.flush();
        rig.codes();
        let (lease, debit) = (rig.send(2, 8_000, lease), rig.debit(3, 8_000));
        let told = Advice {
            purchase: purchase(700),
            programme: ProgrammeId::new(1),
            lease: Position::new(1),
            approved_at: ms(0),
        };
        let told = rig.send(4, 8_000, Operation::Advice(told));
        let refused = rig.codes();
        assert!(refused.iter().all(|(n, _)| *n != told), "{cause:?}: {refused:?}");
        let served = matches!(cause, Cause::QueueDelay | Cause::Clock);
        let expected = if served { vec![] } else { vec![(lease, cause.row().code), (debit, cause.row().code)] };
        assert_eq!(refused, expected, "{cause:?}");
        while rig.node.has_work() {
            rig.flush();
        }
        assert!(rig.codes().contains(&(told, Code::Approved)), "{cause:?}");
    }
}

#[test]
fn a_reserve_that_is_used_up_is_told_and_so_is_its_return() {
    let mut rig = Rig::new(Limits::default());
    rig.pass(10);
    let mut modes = Vec::new();
    for room in [Room::Reserve, Room::None, Room::Reserve] {
        rig.node.set_room(room);
        rig.pass(rig.now.get() + 10);
        let changes = rig.node.take_changes();
        modes.extend(changes.iter().map(|c| (c.change.from, c.change.to, c.mode)));
    }
    use BreakerState::{Closed, Open};
    let expected = [(Closed, Open, Mode::ReadOnly), (Open, Open, Mode::Halted), (Open, Open, Mode::ReadOnly)];
    assert_eq!(modes, expected);
}

#[test]
fn probes_prove_as_soon_under_steady_traffic_on_a_slow_disk() {
    let us = |n: i64| Timestamp::from_micros(ms(0).micros() + n);
    let mut rig = Rig::new(Limits::default());
    rig.ask(Question::Order(Cause::JournalLatency, Order::Open));
    rig.flush();
    rig.ask(Question::Order(Cause::JournalLatency, Order::Confirm));
    let (mut now, mut n, mut in_flight) = (0, 0, VecDeque::new());
    while rig.node.breaker(Cause::JournalLatency) != BreakerState::Closed {
        now += 1_000;
        assert!(now < 1_300_000, "six stages of a tenth of a second");
        n += 1;
        let envelope = Envelope {
            received_at: us(now),
            deadline: us(now + 5_000_000),
            namespace: NamespaceId::new(1),
            account: AccountId::from_text(&format!("C{n}")).expect("an account"),
            key: Key::new(us(now), u128::from(mix(n, 1)) << 64 | u128::from(mix(n, 2))),
            ..Envelope::default()
        };
        let mut records = Vec::new();
        encode(&Command { envelope, operation: Operation::Debit(purchase(5)) }, &mut records);
        let waiters = vec![Waiter { connection: 1, request: n }];
        rig.node.accept(0, Inbound { records, waiters, ..Inbound::default() }, us(now));
        while let Some((position, _)) = in_flight.pop_front_if(|(_, at)| *at <= now) {
            rig.durable(position);
        }
        rig.node.look(us(now), false);
        rig.node.pass_time(us(now));
        if rig.node.wants_to_seal(in_flight.len())
            && in_flight.len() < 4
            && let Some(sealed) = rig.node.seal(us(now))
        {
            in_flight.push_back((sealed.first_position + u64::from(sealed.count) - 1, now + 10_000));
        }
    }
}

#[test]
fn a_core_that_has_its_processor_in_slices_is_not_excused_for_ever() {
    for (runs, pause) in [(100, 0), (60, 40), (50, 50), (30, 70)] {
        let mut rig = Rig::new(Limits { batch_bytes_max: 200, ..Limits::default() });
        rig.debit(1, 60_000);
        rig.node.look(ms(2), false);
        rig.now.set(2 + pause);
        rig.node.look(ms(rig.now.get()), false);
        (2..50).for_each(|n| _ = rig.debit(n, 60_000));
        let mut periods = 0;
        while rig.node.breaker(Cause::QueueDelay) == BreakerState::Closed {
            periods += 1;
            assert!(periods < 10, "{runs} ms of {}: a second, and it is not seen", runs + pause);
            for _ in 0..runs {
                rig.now.set(rig.now.get() + 1);
                rig.node.look(ms(rig.now.get()), false);
                rig.node.pass_time(ms(rig.now.get()));
            }
            rig.now.set(rig.now.get() + pause);
        }
    }
}

#[test]
fn what_the_journal_does_not_take_is_told_at_its_deadline_and_opens_the_breaker() {
    let mut rig = Rig::new(Limits::default());
    rig.pass(100);
    (0..1_000).for_each(|n| _ = rig.debit(n, 500));
    let mut told = rig.codes().len();
    rig.pass(500);
    assert!(rig.node.breaker(Cause::JournalLatency).is_tripped());
    rig.pass(1_000);
    told += rig.codes().len();
    assert_eq!(told, 1_000);
}

#[test]
fn where_nothing_is_admitted_a_decided_key_is_fenced_at_once() {
    let mut rig = Rig::new(Limits::default());
    rig.debit(1, 8_000);
    rig.flush();
    rig.debit(2, 30_000);
    rig.seal();
    for n in 10..700 {
        rig.send(n, 30_000, Operation::Fence);
    }
    rig.pass(600);
    rig.codes();
    let fence = rig.send(1, 8_000, Operation::Fence);
    assert!(rig.codes().iter().any(|(n, _)| *n == fence));
}

#[test]
fn a_frame_that_can_only_be_refused_denies_nothing_of_a_key_in_flight_or_forgotten() {
    let mut rig = Rig::new(Limits::default());
    rig.debit(2, 8_000);
    let sealed = rig.seal();
    let (namespace, account) = (NamespaceId::new(1), AccountId::from_text("C1").expect("an account"));
    let question = Question::Refused { kind: 4, namespace, account, key: key(2), code: Code::AmountInvalid };
    let code = |rig: &mut Rig| match rig.ask(question) {
        Reply::Refused { decision, .. } => decision.code,
        other => panic!("{other:?}"),
    };
    assert_eq!(code(&mut rig), Code::InProgress);
    rig.durable(sealed);
    assert_eq!(code(&mut rig), Code::Conflict);
    rig.now.set(30 * 86_400_000);
    assert_eq!(code(&mut rig), Code::KeyTooOld);
}

#[test]
fn a_clock_that_is_confirmed_and_cannot_be_followed_leaves_the_last_trusted_time() {
    let mut rig = Rig::new(Limits::default());
    let trusted = |rig: &Rig| rig.node.engine().rules().trusted_until;
    rig.node.clock_jumped();
    rig.flush();
    let before = trusted(&rig);
    assert!(before.is_some());
    rig.now.set(3_600_000);
    rig.node.look(ms(3_600_000), true);
    rig.ask(Question::Order(Cause::Clock, Order::Confirm));
    assert_eq!(rig.node.breaker(Cause::Clock), BreakerState::HalfOpen);
    // It is behind, as the next turn finds.
    rig.node.clock_jumped();
    rig.flush();
    assert_eq!((rig.node.breaker(Cause::Clock), trusted(&rig)), (BreakerState::Latched, before));
    rig.ask(Question::Order(Cause::Clock, Order::Confirm));
    rig.node.look(ms(3_600_010), false);
    rig.flush();
    assert_eq!(trusted(&rig), None, "it is right");
}

/// A programme whose doubt lasts a minute, and one coupon of it.
fn with_doubt(rig: &mut Rig) {
    let doubt = Programme { guard_window_s: 0, doubt_window_s: 60, ..Programme::with_defaults(ProgrammeId::new(1)) };
    let shop = ShopId::from_text("SHOP1").expect("a shop");
    let issue = Operation::Issue {
        programme: doubt.id,
        amount: Amount::new(10_000).expect("an amount"),
        expires_at: Timestamp::ZERO,
        valid_from: Timestamp::ZERO,
        stay_end_day: 0,
        kind: tegata_model::LotKind::Promo,
    };
    let shop = Operation::Shop { shop, programme: ProgrammeId::NONE, name: [0; 48] };
    for (n, operation) in (900..).zip([Operation::Programme(doubt), shop, issue]) {
        rig.send(n, 8_000, operation);
        rig.flush();
    }
    assert!(rig.codes().iter().all(|(_, code)| *code == Code::Approved));
}

#[test]
fn a_second_press_after_a_long_stall_or_a_long_full_disk_is_asked_about() {
    for stalls in [true, false] {
        let mut rig = Rig::new(Limits::default());
        with_doubt(&mut rig);
        rig.send(1, 1_000, Operation::Debit(purchase(500)));
        let first = rig.seal();
        if stalls {
            rig.pass(61_000);
            rig.durable(first);
        } else {
            rig.durable(first);
            rig.node.set_room(Room::None);
            rig.pass(61_000);
            rig.node.set_room(Room::Ample);
        }
        // Nobody acknowledged it.
        let undelivered = vec![first];
        rig.node.accept(0, Inbound { undelivered, ..Inbound::default() }, ms(rig.now.get()));
        rig.flush();
        while rig.node.mode() != Mode::Normal {
            rig.pass(rig.now.get() + 10);
            rig.flush();
        }
        assert!(rig.now.get() < 64_000, "{}", rig.now.get());
        rig.codes();
        rig.send(2, 1_000, Operation::Debit(purchase(500)));
        rig.flush();
        assert_eq!(rig.codes().pop().map(|c| c.1), Some(Code::SuspectedDuplicate), "stalls: {stalls}");
    }
}

#[test]
fn who_undoes_while_the_journal_takes_nothing_is_told_at_its_deadline() {
    let mut rig = Rig::new(Limits::default());
    let undo = rig.send(7, 400, Operation::Reversal { original: key(9), remain: 0 });
    rig.pass(390);
    assert_eq!(rig.codes(), []);
    rig.pass(450);
    assert_eq!(rig.codes(), [(undo, Code::Unknown)]);
    rig.pass(800);
    assert_eq!(rig.node.mode(), Mode::ReadOnly);
}
