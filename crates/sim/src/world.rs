//! A world: callers, a network, one server on one disk, and time, which jumps from one event to the next. Everything is
//! decided by the seed; the trace is a hash of everything that happens.

mod callers;
mod faults;
mod healing;
mod server;

use crate::caller::Caller;
use crate::clocks::Clock;
use crate::goals::Goals;
use crate::history::{Place, Scope};
use crate::net::Net;
use crate::oracle::Oracle;
use crate::plan::{Feature, Plan};
use crate::process::Process;
use crate::random::Random;
use crate::storage::Storage;
use crate::workload::{Intent, Workload};
use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap};
use tegata_client::Attempt;
use tegata_model::{hash_bytes, mix};

/// Events after which a world that does not end is called stuck.
const EVENTS_MAX: u64 = 15_000_000;

/// What happens next.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Event {
    /// The core may take a turn.
    Turn,
    /// The threads of connections look at deliveries.
    Tick,
    /// A connection reaches the server.
    Connect(u64),
    /// Bytes reach the server.
    Up(u64, Vec<u8>),
    /// The caller's half has ended.
    UpEnd(u64),
    /// Bytes reach the caller.
    Down(u64, Vec<u8>),
    /// The server's half has ended.
    DownEnd(u64),
    /// A caller has something to do.
    Caller(usize),
    /// Somebody wants something new.
    Arrive,
    /// Somebody wants what follows from something earlier: a caller's number and a place in `later`.
    Later(usize, u64),
    /// Something goes wrong.
    Fault,
    /// The disk is well again.
    Calm,
    /// The process starts.
    Start,
    /// A look at whether everything is settled.
    Settle,
}

/// What a run came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// A hash of everything that happened.
    pub trace: u64,
    /// Simulated time.
    pub simulated_us: u64,
    /// Events.
    pub events: u64,
    /// Records that were decided.
    pub positions: u64,
    /// What was reached.
    pub goals: Goals,
    /// What does not hold, if something does not.
    pub failure: Option<String>,
}

/// See the module.
#[derive(Debug)]
pub struct World {
    plan: Plan,
    now: u64,
    events: BinaryHeap<Reverse<(u64, u64, Event)>>,
    count: u64,
    trace: u64,
    tell: bool,
    random: Random,
    net: Net,
    storage: Storage,
    process: Option<Process>,
    /// The server's wall clock.
    clock: Clock,
    callers: Vec<Caller>,
    workload: Workload,
    oracle: Oracle,
    goals: Goals,
    /// Whose connection it is.
    owners: BTreeMap<u64, usize>,
    next_connection: u64,
    /// What was asked by commands that are not answered.
    asked: BTreeMap<Place, (Scope, u64)>,
    /// What is wanted later, and plans that wait for their answer, by caller and task.
    later: BTreeMap<u64, Intent>,
    next_later: u64,
    planning: BTreeMap<(usize, u64), Attempt>,
    /// Attempts whose outcome is unknown.
    doubts: u64,
    arrived: u64,
    paused_until: u64,
    ticking: bool,
    /// When each caller is looked at next.
    due: Vec<u64>,
    healing: Option<u64>,
    healed: bool,
    faults_left: u64,
    /// Breakers that opened and probed since they were closed last.
    probed: BTreeSet<u8>,
    opened: BTreeSet<u8>,
    roomy: bool,
    /// Until when a full disk waits to be noticed.
    full_until: u64,
}

impl World {
    /// The world of a plan.
    #[must_use]
    pub fn new(plan: Plan) -> Self {
        let mut random = Random::new(plan.seed, "world");
        let mut drift = |feature, most: u64| {
            let ppm = random.below(2 * most + 1) as i64 - most as i64;
            if plan.has(feature) { ppm } else { 0 }
        };
        let clock = Clock::new(drift(Feature::ClockDrift, 400), 0);
        let callers = (0..=plan.gateways).map(|i| {
            let off = drift(Feature::CallersClocks, 200_000_000);
            let clock = Clock::new(drift(Feature::ClockDrift, 400), off);
            Caller::new(i as u32 + 1, i == 0, clock, Random::new(plan.seed, &format!("caller {i}")))
        });
        let mut world = Self {
            callers: callers.collect(),
            now: 1_000_000,
            events: BinaryHeap::new(),
            count: 0,
            trace: plan.seed,
            tell: false,
            net: Net::new(&plan),
            storage: Storage::new(&plan),
            process: None,
            clock,
            workload: Workload::new(&plan),
            oracle: Oracle::new(plan.shards),
            goals: Goals::default(),
            owners: BTreeMap::new(),
            next_connection: 1,
            asked: BTreeMap::new(),
            later: BTreeMap::new(),
            next_later: 0,
            planning: BTreeMap::new(),
            doubts: 0,
            arrived: 0,
            paused_until: 0,
            ticking: false,
            due: vec![u64::MAX; plan.gateways as usize + 1],
            healing: None,
            healed: false,
            faults_left: plan.faults,
            probed: BTreeSet::new(),
            opened: BTreeSet::new(),
            roomy: false,
            full_until: 0,
            random,
            plan,
        };
        world.at(world.now, Event::Start);
        world.at(world.now + 50_000, Event::Arrive);
        world.at(world.now + world.plan.fault_us, Event::Fault);
        world
    }

    /// Tells every event on the standard output.
    pub fn tell(&mut self) {
        self.tell = true;
    }

    /// Runs to its end.
    #[must_use]
    pub fn run(mut self) -> Report {
        let failure = self.go().err();
        Report {
            trace: self.trace,
            simulated_us: self.now,
            events: self.count,
            positions: self.oracle.durable,
            goals: self.goals,
            failure,
        }
    }

    fn go(&mut self) -> Result<(), String> {
        while let Some(Reverse((at, _, event))) = self.events.pop() {
            assert!(at >= self.now, "time goes on");
            self.now = at;
            self.count += 1;
            if self.count > EVENTS_MAX {
                return Err("everything-settles: the world does not end".into());
            }
            self.note(&event);
            self.handle(event)?;
            if self.healed {
                return self.last_look();
            }
        }
        Err("everything-settles: nothing happens any more".into())
    }

    fn note(&mut self, event: &Event) {
        let (kind, which, bytes): (u64, u64, &[u8]) = match event {
            Event::Turn => (1, 0, &[]),
            Event::Tick => (2, 0, &[]),
            Event::Connect(c) => (3, *c, &[]),
            Event::Up(c, b) => (4, *c, b),
            Event::UpEnd(c) => (5, *c, &[]),
            Event::Down(c, b) => (6, *c, b),
            Event::DownEnd(c) => (7, *c, &[]),
            Event::Caller(i) => (8, *i as u64, &[]),
            Event::Arrive => (9, 0, &[]),
            Event::Later(i, n) => (10, *i as u64 ^ n << 8, &[]),
            Event::Fault => (11, 0, &[]),
            Event::Start => (12, 0, &[]),
            Event::Settle => (13, 0, &[]),
            Event::Calm => (14, 0, &[]),
        };
        self.trace = mix(self.trace ^ self.now, hash_bytes(kind ^ which << 4, bytes));
        if self.tell && kind > 2 && kind != 8 {
            let name = format!("{event:?}");
            let name = name.split(['(', '[']).next().unwrap_or_default();
            println!("{:>14} {name} {which} {} bytes", self.now, bytes.len());
        }
    }

    fn say(&self, what: impl FnOnce() -> String) {
        if self.tell {
            println!("{:>14} {}", self.now, what());
        }
    }

    fn handle(&mut self, event: Event) -> Result<(), String> {
        match event {
            Event::Turn => self.turn(),
            Event::Tick => self.tick(),
            Event::Connect(c) => self.connect(c),
            Event::Up(c, bytes) => self.receive(c, &bytes),
            Event::UpEnd(c) => self.caller_left(c),
            Event::Down(c, bytes) => self.answered(c, &bytes),
            Event::DownEnd(c) => self.server_left(c),
            Event::Caller(i) => self.poll(i),
            Event::Arrive => self.arrive(),
            Event::Later(i, n) => match self.later.remove(&n) {
                Some(intent) => self.want(i, intent),
                None => Ok(()),
            },
            Event::Fault => self.fault(),
            Event::Start => self.start(),
            Event::Calm => {
                self.calm();
                Ok(())
            }
            Event::Settle => self.settle(),
        }
    }

    fn at(&mut self, at: u64, event: Event) {
        self.count += 1;
        self.events.push(Reverse((at.max(self.now), self.count, event)));
    }
}
