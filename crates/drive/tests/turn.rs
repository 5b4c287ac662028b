//! How a core shares its time where more is asked for than it can do. The clock goes on by what is done, so that it is the
//! same every time.

use std::collections::VecDeque;
use std::ops::Range;
use std::time::Duration;
use tegata_drive::{Around, Beginning, Copying, Core, Keeping};
use tegata_engine::Engine;
use tegata_journal::{Options, open};
use tegata_model::{
    AccountId, Amount, Command, Envelope, GatewayId, Key, LotKind, NamespaceId, Operation, Programme, ProgrammeId,
    Settings, Timestamp, encode,
};
use tegata_node::{
    BreakerState, Carried, Cause, Inbound, Limits, Node, Order, Outbound, Question, Sealed, Transition, Waiter,
};

const START_US: u64 = 1_700_000_000_000_000;
/// What applying one record takes here.
const APPLY_US: u64 = 2;
/// What a turn takes beside it.
const BESIDE_US: u64 = 1_000;

/// What surrounds the core: a clock that only what is applied moves, and one thread of connections.
#[derive(Default)]
struct Surroundings {
    now_us: u64,
    applied: u64,
    inbox: VecDeque<Inbound>,
    /// What the next looks at the clock find; the last one stays.
    suspect: VecDeque<bool>,
    trusted: u32,
}

impl Around for Surroundings {
    type Copy = NoCopy;

    fn now(&mut self) -> Timestamp {
        Timestamp::from_micros((START_US + self.now_us) as i64)
    }

    fn elapsed(&mut self) -> Duration {
        Duration::from_micros(self.now_us)
    }

    fn clock_is_suspect(&mut self) -> bool {
        let next = if self.suspect.len() > 1 { self.suspect.pop_front() } else { self.suspect.front().copied() };
        next.unwrap_or(false)
    }

    fn trust_clock(&mut self) -> bool {
        self.trusted += 1;
        self.suspect = [false].into();
        true
    }

    fn is_stopping(&self) -> bool {
        false
    }

    fn threads(&self) -> usize {
        1
    }

    fn take_in(&mut self, _: usize) -> Option<Inbound> {
        self.inbox.pop_front()
    }

    fn give_back(&mut self, _: usize, bundle: Inbound) {
        assert_eq!(bundle.visits, 0, "what it is filled with next comes with its own");
    }

    fn is_silent(&self) -> bool {
        self.inbox.is_empty()
    }

    fn empty_outbound(&mut self, _: usize) -> Outbound {
        Outbound::default()
    }

    fn hand_out(&mut self, _: usize, _: Outbound) -> Result<(), Outbound> {
        Ok(())
    }

    fn submitted(&mut self, _: &Sealed<'_>) {}

    fn durable(&mut self, _: u64) {}

    fn applied(&mut self, node: &Node) {
        let applied = node.engine().applied().get();
        self.now_us += APPLY_US * (applied - std::mem::replace(&mut self.applied, applied));
    }

    fn changed(&mut self, _: &[Transition], _: u8) {}

    fn publish(&mut self, _: &mut Node) {}

    fn begin_snapshot(&mut self, _: Beginning) -> Option<NoCopy> {
        None
    }
}

/// No snapshot is taken here.
enum NoCopy {}

impl Copying for NoCopy {
    fn step(&mut self, _: &mut Engine) -> bool {
        match *self {}
    }

    fn is_over(&self) -> bool {
        match *self {}
    }

    fn was_taken(self) -> bool {
        match self {}
    }
}

/// Commands with these keys, of which the first has waited for 20 ms since it came, of a connection that waited for so long
/// until it was read.
fn bundle(keys: Range<u64>, now_us: u64, waited_us: u64, operation: Operation) -> Inbound {
    let mut bundle = Inbound { waited_us, ..Inbound::default() };
    let at = |us: u64| Timestamp::from_micros((START_US + us) as i64);
    for n in keys.clone() {
        let envelope = Envelope {
            received_at: at(if n == keys.start { now_us.saturating_sub(20_000) } else { now_us }),
            deadline: at(now_us + 1_000_000),
            gateway: GatewayId::new(1),
            namespace: NamespaceId::new(1),
            account: AccountId::from_text(&format!("C{n}")).expect("an account"),
            key: Key::new(at(now_us), u128::from(n)),
        };
        encode(&Command { envelope, operation }, &mut bundle.records);
        bundle.waiters.push(Waiter { connection: 1, request: n });
    }
    bundle
}

/// A core, in whose every turn some issues come.
struct Crowded {
    core: Core<Surroundings>,
    next: u64,
    /// In how many visits what comes in a turn was read.
    visits: u32,
    _folder: tempfile::TempDir,
}

impl Crowded {
    fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let journal = open(Options { allow_volatile: true, ..Options::new(folder.path()) }).expect("a new journal");
        let keeping = Keeping { dir: folder.path().to_owned().into(), store: [0; 16], snapshot_bytes: 0, keep_days: 0 };
        let began = Timestamp::from_micros(START_US as i64);
        let node = Node::new(Engine::new(1), Limits::default(), Settings::default(), Carried::default(), began);
        let writer = journal.into_writer().expect("a writer");
        let mut core = Core::new(node, writer, Surroundings::default(), keeping, 0);
        let programme = Operation::Programme(Programme::with_defaults(ProgrammeId::new(1)));
        core.around.inbox.push_back(bundle(0..1, 0, 0, programme));
        Self { core, next: 1, visits: 1, _folder: folder }
    }

    /// So many turns, in each of which so many issues come that have waited for so long until they were read.
    fn turns(&mut self, turns: u64, each_turn: u64, waited_us: u64) {
        let issue = Operation::Issue {
            programme: ProgrammeId::new(1),
            amount: Amount::new(100).expect("an amount"),
            expires_at: Timestamp::ZERO,
            valid_from: Timestamp::ZERO,
            stay_end_day: 0,
            kind: LotKind::Promo,
        };
        for _ in 0..turns {
            let keys = self.next..self.next + each_turn;
            self.next = keys.end;
            self.core.around.now_us += BESIDE_US;
            let came = bundle(keys, self.core.around.now_us, waited_us, issue);
            self.core.around.inbox.push_back(Inbound { visits: self.visits, ..came });
            self.turn();
        }
        assert!(self.core.node.is_crowded(), "they waited for longer than the queue may stand");
    }

    /// One turn, and what it wrote is durable. How many records it applied.
    fn turn(&mut self) -> u64 {
        let before = self.core.around.applied;
        self.core.turn().expect("the journal writes");
        if self.core.journal.in_flight() > 0 {
            self.core.journal.wait(Some(Duration::from_secs(10))).expect("a write completes");
        }
        self.core.around.applied - before
    }
}

/// The share of its time that a core applies, in per mille, while `each_turn` issues come in every turn, from so many visits.
fn applied_share(each_turn: u64, visits: u32, waited_us: u64) -> u64 {
    let mut crowded = Crowded { visits, ..Crowded::new() };
    crowded.turns(100, each_turn, waited_us);
    let (began_us, before) = (crowded.core.around.now_us, crowded.core.around.applied);
    crowded.turns(100, each_turn, waited_us);
    let Surroundings { now_us, applied, .. } = crowded.core.around;
    (applied - before) * APPLY_US * 1_000 / (now_us - began_us)
}

#[test]
fn the_longer_one_waits_to_be_read_the_less_of_the_time_is_for_applying() {
    let shares = [0, 1_000, 8_000].map(|waited_us| applied_share(1_000, 1, waited_us));
    assert_eq!(shares, [657, 408, 199], "958 of 1,000, 345 and 124");
    let shares = [1, 16].map(|visits| applied_share(1_000, visits, 8_000));
    assert_eq!(shares, [199, 510], "a pass takes its time where many are visited");
    let shares = [0, 1_000, 8_000].map(|waited_us| applied_share(200, 1, waited_us));
    // 200 come in 1.4 ms, of which they take 0.4: a pass of 9.4 ms is none too many where nobody is refused.
    assert_eq!(shares, [285; 3], "all can be served");
}

#[test]
fn where_nothing_comes_a_crowd_is_worked_off_as_in_ordinary_times() {
    let mut crowded = Crowded::new();
    crowded.turns(100, 1_000, 8_000);
    // No time has passed: where something came a turn would apply the least that it may, 64.
    assert_eq!([crowded.turn(), crowded.turn()], [256, 256]);
    assert!(crowded.core.node.is_crowded(), "and it still is one");
}

#[test]
fn a_clock_that_steps_is_trusted_only_after_somebody_confirmed_it_whenever_the_step_is_seen() {
    for looks in [vec![true], vec![false, true], vec![false, false, true], vec![false, true, false, true]] {
        let mut crowded = Crowded::new();
        let turns = |core: &mut Crowded, order: Option<Order>| {
            let questions = order.map(|o| (Waiter { connection: 1, request: 1 }, Question::Order(Cause::Clock, o)));
            core.core.around.inbox.extend(questions.map(|q| Inbound { questions: vec![q], ..Inbound::default() }));
            for _ in 0..4 {
                core.core.around.now_us += BESIDE_US;
                core.turn();
            }
            (core.core.around.trusted, core.core.node.breaker(Cause::Clock))
        };
        assert_eq!(turns(&mut crowded, None), (0, BreakerState::Closed));
        crowded.core.around.suspect = looks.clone().into();
        assert_eq!(turns(&mut crowded, None), (0, BreakerState::Latched), "{looks:?}");
        assert_eq!(turns(&mut crowded, Some(Order::Confirm)), (1, BreakerState::HalfOpen));
        crowded.core.around.suspect = looks.clone().into();
        assert_eq!(turns(&mut crowded, None), (1, BreakerState::Latched), "again, while it probes: {looks:?}");
        // Nobody confirms what is not latched.
        turns(&mut crowded, Some(Order::Confirm));
        turns(&mut crowded, Some(Order::Close));
        assert_eq!(turns(&mut crowded, None), (2, BreakerState::Closed));
        crowded.core.around.suspect = looks.clone().into();
        assert_eq!(turns(&mut crowded, Some(Order::Drill(1))), (2, BreakerState::Latched), "in a drill: {looks:?}");
        crowded.core.around.now_us += 10_000;
        assert_eq!(turns(&mut crowded, None), (2, BreakerState::Latched), "which it ends");
    }
}
