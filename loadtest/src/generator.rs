//! Debits for measurements, on one thread, without a clients' journal: a closed loop that keeps connections × depth
//! requests in flight, or an open one at a constant rate, in which latency counts from when a request was due.

use crate::arrivals::Schedule;
use crate::attempts::{Attempt, Keys};
use crate::codes::class;
use crate::connector::GREETING;
use crate::frames::{Frames, Stamp};
use crate::offers::Offers;
use crate::scenario::{Arrivals, Data, Mix, Phase};
use crate::seed::{DataSet, now};
use crate::socket::Socket;
use crate::tally::histogram;
use hdrhistogram::Histogram;
use rustix::event::{Timespec, epoll};
use std::io;
use std::net::SocketAddr;
use std::time::{Duration, Instant};
use tegata_client::{Link, LinkError};
use tegata_model::{Class, Timestamp, mix};

/// How often an open loop sends what is due, in ns.
const TICK: u64 = 200_000;
/// Longer than any test waits, in ms.
const DEADLINE_MS: u32 = 30_000;

/// What to run.
#[derive(Debug, Clone, Copy)]
pub struct Plan {
    /// Where.
    pub addr: SocketAddr,
    /// Connections.
    pub connections: usize,
    /// Most requests in flight on each.
    pub depth: usize,
    /// Requests a second; nothing: a closed loop.
    pub rate: Option<u64>,
    /// Not counted, before.
    pub warm_up: Duration,
    /// Counted.
    pub window: Duration,
}

/// What came back within the window.
#[derive(Debug)]
pub struct Outcome {
    /// Answers that approved.
    pub approved: u64,
    /// Answers that declined.
    pub declined: u64,
    /// Answers that suspected a duplicate.
    pub suspected: u64,
    /// Everything else.
    pub errors: u64,
    /// To the answer, from send or from when it was due, in ns.
    pub latency: Histogram<u64>,
    /// How long the window was.
    pub seconds: f64,
    /// The generator's own processor time in the window, as a share of one core.
    pub own_cpu: f64,
}

impl Outcome {
    /// All answers a second.
    #[must_use]
    pub fn answers_per_second(&self) -> f64 {
        (self.approved + self.declined + self.suspected + self.errors) as f64 / self.seconds
    }
}

/// A stream of debits, no two alike, that lasts over several runs on one server.
#[derive(Debug)]
pub struct Debits {
    offers: Offers,
    frames: Frames,
    keys: Keys,
    count: u64,
    today: Timestamp,
}

impl Debits {
    /// Uniformly over a data set that is seeded. The same seed gives the same debits under other keys.
    #[must_use]
    pub fn new(data: &DataSet, seed: u64) -> Self {
        let skew = Data { coupons: data.coupons, wallets: data.wallets, shops: data.shops, ..Data::default() };
        let today = now();
        Self {
            offers: Offers::new(&skew, &Mix::default(), 1, 0, seed),
            frames: Frames::new(data),
            keys: Keys::new(mix(seed, today.micros() as u64)),
            count: 0,
            today,
        }
    }

    #[inline]
    fn push(&mut self, request: u64, socket: &mut Socket) {
        let o = self.offers.next();
        let key = *self.keys.key(self.count, self.today).bytes();
        self.count += 1;
        let attempt = Attempt { key, amount: o.amount, account: o.account, shop: o.shop, ..Attempt::default() };
        let stamp = Stamp { request, acked: socket.acked, deadline_ms: DEADLINE_MS, age_ms: 0 };
        self.frames.push(&attempt, stamp, &[0; 16], &mut socket.output);
    }
}

struct Connection {
    socket: Socket,
    sent_at: Vec<u64>,
    /// Places with nothing in flight.
    idle: Vec<u32>,
}

impl Connection {
    /// Sends one request that was due at `at`. False when all places are in flight.
    #[inline]
    fn send(&mut self, at: u64, debits: &mut Debits) -> bool {
        let Some(place) = self.idle.pop() else { return false };
        self.sent_at[place as usize] = at;
        debits.push(u64::from(place), &mut self.socket);
        true
    }

    /// Reads what is there and counts the answers; in a closed loop a new request takes the place of each.
    fn take(&mut self, at: u64, counts: bool, closed: bool, d: &mut Debits, o: &mut Outcome) -> Result<(), LinkError> {
        let Some(mut input) = self.socket.read()? else { return Ok(()) };
        while let Some(heard) = input.next()? {
            self.socket.acked = self.socket.acked.max(heard.count);
            let place = heard.request as usize;
            let Some(sent_at) = self.sent_at.get(place) else { continue };
            if counts {
                *match class(heard.decision.code) {
                    Some(Class::Approved) => &mut o.approved,
                    Some(Class::Declined) => &mut o.declined,
                    Some(Class::Suspected) => &mut o.suspected,
                    _ => &mut o.errors,
                } += 1;
                o.latency.saturating_record(at.saturating_sub(*sent_at));
            }
            self.idle.push(place as u32);
            if closed {
                self.send(at, d);
            }
        }
        self.socket.give_back(input);
        Ok(())
    }
}

/// Runs a plan against a server whose data set is seeded.
pub fn run(plan: &Plan, debits: &mut Debits) -> Result<Outcome, LinkError> {
    let poll = epoll::create(epoll::CreateFlags::CLOEXEC).map_err(io::Error::from)?;
    let mut connections = Vec::with_capacity(plan.connections);
    for i in 0..plan.connections {
        connections.push(Connection {
            socket: Socket::new(Link::open_together(plan.addr, GREETING)?, &poll, i as u64)?,
            sent_at: vec![0; plan.depth],
            idle: (0..plan.depth as u32).rev().collect(),
        });
    }
    let mut outcome =
        Outcome { approved: 0, declined: 0, suspected: 0, errors: 0, latency: histogram(), seconds: 0.0, own_cpu: 0.0 };
    let seconds = (plan.warm_up + plan.window).as_secs_f64();
    let open = plan.rate.map(|rate| Phase { seconds, rate: rate as f64, to: None, arrivals: Arrivals::Constant });
    let mut schedule = Schedule::new(open.as_slice(), 1, 0, 0);
    let (from, to) = (nanos_of(plan.warm_up), nanos_of(plan.warm_up + plan.window));
    let begin = Instant::now();
    let (mut turn, mut at, mut cpu_at_start) = (0, 0, None);
    debits.today = now();
    if open.is_none() {
        for c in &mut connections {
            while c.send(at, debits) {}
            c.socket.flush(&poll)?;
        }
    }
    let mut events = Vec::with_capacity(plan.connections.max(16));
    loop {
        events.clear();
        // A system call for each request would measure the generator: an open loop sends in ticks.
        let patience = open.map(|_| Timespec { tv_sec: 0, tv_nsec: (TICK - at % TICK) as i64 });
        match epoll::wait(&poll, rustix::buffer::spare_capacity(&mut events), patience.as_ref()) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(e) => return Err(io::Error::from(e).into()),
        }
        at = nanos_of(begin.elapsed());
        debits.today = now();
        if at >= from && cpu_at_start.is_none() {
            cpu_at_start = Some((own_cpu_seconds(), at));
        }
        if at >= to {
            break;
        }
        for event in &events {
            let c = &mut connections[event.data.u64() as usize];
            c.take(at, at >= from, open.is_none(), debits, &mut outcome)?;
            c.socket.flush(&poll)?;
        }
        at = nanos_of(begin.elapsed());
        // What finds no room on any connection stays due.
        let mut full = 0;
        while let Some(due) = schedule.due(at).filter(|_| full < connections.len()) {
            if connections[turn].send(due, debits) {
                schedule.advance_one();
                full = 0;
            } else {
                connections[turn].socket.flush(&poll)?;
                turn = (turn + 1) % connections.len();
                full += 1;
            }
        }
        connections[turn].socket.flush(&poll)?;
        turn = (turn + 1) % connections.len();
    }
    let (cpu, from) = cpu_at_start.unwrap_or((0.0, 0));
    outcome.seconds = (nanos_of(begin.elapsed()) - from) as f64 / 1e9;
    outcome.own_cpu = (own_cpu_seconds() - cpu) / outcome.seconds;
    Ok(outcome)
}

fn nanos_of(d: Duration) -> u64 {
    u64::try_from(d.as_nanos()).unwrap_or(u64::MAX)
}

/// Processor time of this process, in seconds.
fn own_cpu_seconds() -> f64 {
    let text = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let rest = text.rsplit_once(')').map_or("", |x| x.1);
    let ticks: f64 = rest.split_whitespace().skip(11).take(2).filter_map(|x| x.parse::<f64>().ok()).sum();
    // The kernel counts in hundredths of a second (USER_HZ).
    ticks / 100.0
}
