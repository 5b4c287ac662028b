//! One thread of the generator, over many connections. In an open loop payments are due whatever the server does; each is
//! written to the clients' journal before its frame is handed to a socket, sent again under the same key when no answer
//! comes, and given up at its deadline as a till would.
//!
//! ```text
//! due ─▶ attempt ─▶ journal ─▶ socket ─▶ answer ─▶ journal
//!          ▲ repeat, other connection ┘      └─ none by the deadline: fence, new key, or unknown
//! ```

mod till;

use crate::arrivals::Schedule;
use crate::attempts::{Attempt, Journal, Keys, What};
use crate::connector::{Connector, Made};
use crate::error::RunError;
use crate::frames::{Frames, Stamp};
use crate::lane::Lane;
use crate::offers::{Chance, Offers};
use crate::scenario::Scenario;
use crate::seed::{DataSet, now};
use crate::socket::Socket;
use crate::tally::{Seconds, Tally, Tick};
use rustix::event::{Timespec, epoll};
use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};
use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;
use tegata_client::LinkError;
use tegata_model::Timestamp;

/// How often it is looked what is due, in ns.
const TICK: u64 = 200_000;
const MICRO: u64 = 1_000;
const MILLI: u64 = 1_000_000;
/// A payment that is sent later than this, with a connection free, is late by the generator's own fault, and so is one that
/// is not sent because nobody looked until it was too old. Being sent late adds to the response time, which counts from when
/// the payment was due: it hides nothing.
const LATE: u64 = 10 * MILLI;
/// Niceness of the generator's threads.
const PROMPT: i32 = -10;
/// Bits of a request's number that are the attempt's count; its slot stands above them.
const COUNT_BITS: u32 = 40;

/// In the number of a request that was sent after its attempt was answered: whatever was decided stands before it.
const PRESSED_AGAIN: u64 = 1 << 63;

/// What all threads of a run share.
#[derive(Debug)]
pub(crate) struct Common<'a> {
    pub(crate) scenario: &'a Scenario,
    pub(crate) addr: SocketAddr,
    /// Folder of the clients' journal.
    pub(crate) dir: &'a Path,
    pub(crate) keys: Keys,
    pub(crate) data: DataSet,
    pub(crate) begin: Instant,
    /// Nothing more is offered.
    pub(crate) stop: &'a AtomicBool,
    /// Seconds that are over, of all threads together.
    pub(crate) seconds: &'a Seconds,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Waits {
    /// Nobody.
    Free,
    /// For its decision.
    Answer,
    /// For its fence.
    Fence,
}

/// An attempt that waits for its answer. Times are in ns from the beginning of the load.
#[derive(Debug, Clone, Copy)]
struct Slot {
    attempt: Attempt,
    number: u64,
    /// The key of what it follows from.
    original: [u8; 16],
    sent_at: u64,
    repeats_at: u64,
    gives_up_at: u64,
    connection: u32,
    /// Sends that may still be answered, and whether some never will be.
    outstanding: u32,
    lost: bool,
    /// How often it was tried again after a refusal.
    retries: u32,
    /// Its customer was told something in time.
    told: bool,
    waits: Waits,
}

/// Slots in the order in which their time comes. Within a lane everybody waits equally long, so that the first is always
/// the next.
#[derive(Debug)]
struct Lanes {
    repeats: Lane,
    /// What customers came for, second tries of broken tills, and what nobody waits for.
    wanted: Lane,
    again: Lane,
    settles: Lane,
    /// What waits for a connection with room.
    homeless: Lane,
}

struct Connection {
    socket: Option<Socket>,
    outstanding: usize,
    depth: usize,
    /// Since when something is to be written.
    unwritten_since: Option<u64>,
}

pub(crate) struct Driver<'a> {
    common: &'a Common<'a>,
    schedule: Schedule,
    offers: Offers,
    chance: Chance,
    journal: Journal,
    frames: Frames,
    poll: OwnedFd,
    connector: Connector,
    connections: Vec<Connection>,
    slots: Vec<Slot>,
    free: Vec<u32>,
    lanes: Lanes,
    /// Rejected requests and when they are tried again, each at its own time; the next one on top.
    retries: BinaryHeap<Reverse<(u64, u64)>>,
    turn: usize,
    /// Connections with something to be written, in the order in which it began.
    unwritten: VecDeque<usize>,
    /// Now, in ns from the beginning of the load, and what new keys say.
    at: u64,
    today: Timestamp,
    /// The last instant at which a payment found no connection with room.
    blocked_at: u64,
    tally: Tally,
}

/// The number that a request carries: where its slot is, and which attempt it was.
fn request(slot: u32, number: u64) -> u64 {
    u64::from(slot) << COUNT_BITS | number & ((1 << COUNT_BITS) - 1)
}

/// Runs thread `thread` of the load to its end.
pub(crate) fn drive(common: &Common<'_>, thread: usize) -> Result<Tally, RunError> {
    std::thread::scope(|s| Driver::new(common, thread, Connector::start(s, common.addr))?.run())
}

impl<'a> Driver<'a> {
    fn new(common: &'a Common<'a>, thread: usize, connector: Connector) -> Result<Self, RunError> {
        let s = common.scenario;
        let mine = (thread..s.connections).step_by(s.threads).count();
        let slots = mine * s.depth;
        let nobody = Slot {
            attempt: Attempt::default(),
            number: 0,
            original: [0; 16],
            sent_at: 0,
            repeats_at: 0,
            gives_up_at: 0,
            connection: 0,
            outstanding: 0,
            lost: false,
            retries: 0,
            told: false,
            waits: Waits::Free,
        };
        let lane = || Lane::new(slots);
        let nothing = || Connection { socket: None, outstanding: 0, depth: s.depth, unwritten_since: None };
        (0..mine).for_each(|i| connector.want(i));
        Ok(Self {
            common,
            schedule: Schedule::new(&s.phase, s.threads, thread, s.seed),
            offers: Offers::new(&s.data, &s.mix, s.threads, thread, s.seed),
            chance: Chance::new(s.seed, thread),
            journal: Journal::create(common.dir, thread).map_err(RunError::folder)?,
            frames: Frames::new(&common.data),
            poll: epoll::create(epoll::CreateFlags::CLOEXEC).map_err(RunError::server)?,
            connector,
            connections: (0..mine).map(|_| nothing()).collect(),
            slots: vec![nobody; slots],
            free: (0..slots as u32).rev().collect(),
            lanes: Lanes { repeats: lane(), wanted: lane(), again: lane(), settles: lane(), homeless: lane() },
            retries: BinaryHeap::new(),
            turn: 0,
            unwritten: VecDeque::new(),
            at: 0,
            today: now(),
            blocked_at: 0,
            tally: Tally::new(),
        })
    }

    fn run(mut self) -> Result<Tally, RunError> {
        // A generator that waits for its turn measures itself. Without the right to ask it stays as it is.
        let _ = rustix::process::setpriority_process(None, PROMPT);
        // The load begins when the connections are there, and its time has come.
        while self.connections.iter().any(|c| c.socket.is_none()) {
            let made = self.connector.wait().map_err(|_| RunError::Server("it does not greet".to_owned()))?;
            self.welcome(made).map_err(RunError::server)?;
        }
        std::thread::sleep(self.common.begin.saturating_duration_since(Instant::now()));
        self.look_at_clocks();
        let (began, cpu) = (self.at, own_cpu_nanos());
        let mut events = Vec::with_capacity(self.connections.len().max(16));
        loop {
            events.clear();
            self.look_at_clocks();
            let patience = Timespec { tv_sec: 0, tv_nsec: (TICK - self.at % TICK) as i64 };
            match epoll::wait(&self.poll, rustix::buffer::spare_capacity(&mut events), Some(&patience)) {
                Ok(_) | Err(rustix::io::Errno::INTR) => {}
                Err(e) => return Err(RunError::server(e)),
            }
            for event in &events {
                self.take(event.data.u64() as usize).map_err(RunError::server)?;
            }
            while let Some(made) = self.connector.made() {
                self.welcome(made).map_err(RunError::server)?;
            }
            self.look_at_clocks();
            self.pass_time();
            if self.is_over() {
                break;
            }
            self.send_due();
            // What was not written is not sent.
            self.journal.flush().map_err(RunError::folder)?;
            self.flush();
        }
        self.journal.finish().map_err(RunError::folder)?;
        self.tally.hand_over(self.common.seconds);
        self.tally.ended_at = self.at;
        self.tally.wall_nanos = self.at - began;
        self.tally.cpu_nanos = own_cpu_nanos() - cpu;
        Ok(self.tally)
    }

    fn look_at_clocks(&mut self) {
        self.at = u64::try_from(self.common.begin.elapsed().as_nanos()).unwrap_or(u64::MAX);
        self.today = now();
    }

    #[inline]
    fn tick(&mut self) -> &mut Tick {
        self.tally.tick(self.at, self.common.seconds)
    }

    fn stops(&self) -> bool {
        self.common.stop.load(Ordering::Relaxed)
    }

    fn is_over(&self) -> bool {
        self.stops() || self.schedule.is_over() && self.free.len() == self.slots.len()
    }

    /// How long a customer waits, in ns.
    fn patience(&self) -> u64 {
        u64::from(self.common.scenario.till.deadline_ms) * MILLI
    }

    /// A connection is there: what waited for one goes out on it.
    fn welcome(&mut self, (i, link): Made) -> io::Result<()> {
        let c = &mut self.connections[i];
        c.depth = self.common.scenario.depth.min(link.hello.credits as usize).max(1);
        c.outstanding = 0;
        c.socket = Some(Socket::new(link, &self.poll, i as u64)?);
        Ok(())
    }

    /// A connection is gone: what was sent on it will not be answered, and is sent again on another.
    fn lose(&mut self, i: usize) {
        self.connections[i].socket = None;
        self.connections[i].outstanding = 0;
        for (n, slot) in (0..).zip(&mut self.slots) {
            if slot.waits != Waits::Free && slot.connection as usize == i {
                (slot.outstanding, slot.lost) = (0, true);
                self.lanes.homeless.push(n);
            }
        }
        self.connector.want(i);
    }

    /// The slot of a request, if the attempt still waits in it.
    #[inline]
    fn slot(&self, request: u64) -> Option<u32> {
        let n = (request >> COUNT_BITS) as u32;
        let slot = self.slots.get(n as usize).filter(|s| s.waits != Waits::Free)?;
        (self::request(n, slot.number) == request).then_some(n)
    }

    /// The next connection with room.
    #[inline]
    fn room(&mut self) -> Option<usize> {
        for _ in 0..self.connections.len() {
            let i = self.turn;
            self.turn = if i + 1 == self.connections.len() { 0 } else { i + 1 };
            let c = &self.connections[i];
            if c.socket.is_some() && c.outstanding < c.depth {
                return Some(i);
            }
        }
        None
    }

    /// Payments that are due.
    fn send_due(&mut self) {
        let patience = match self.common.scenario.till.gateway_waits_ms {
            0 => self.patience(),
            ms => u64::from(ms) * MILLI,
        };
        while let Some(due) = self.schedule.due(self.at) {
            if self.at - due >= patience {
                // Nothing was sent: the gateway says so itself, or the customer has left before.
                self.tally.offer(due, self.common.seconds);
                if self.common.scenario.till.gateway_waits_ms > 0 {
                    self.tally.held_back += 1;
                } else {
                    self.leave_unanswered(due);
                }
                // Where no connection had room an earlier look has seen that; otherwise it was let grow old unseen.
                self.tally.late += u64::from(due > self.blocked_at);
                self.schedule.advance_one();
                continue;
            }
            let connection = if self.free.is_empty() { None } else { self.room() };
            let Some(i) = connection else {
                self.blocked_at = self.at;
                return;
            };
            self.schedule.advance_one();
            self.tally.offer(due, self.common.seconds);
            self.tally.late += u64::from(self.at - due > LATE && due > self.blocked_at);
            self.tick().sent += 1;
            let o = self.offers.next();
            let attempt =
                Attempt { due, amount: o.amount, what: o.what, account: o.account, shop: o.shop, ..Attempt::default() };
            self.begin(attempt, [0; 16], i);
        }
    }

    /// A new attempt gets its key, its place in the journal, and its first send.
    fn begin(&mut self, mut attempt: Attempt, original: [u8; 16], connection: usize) {
        let Some(n) = self.free.pop() else { return };
        let number = self.journal.next_number();
        attempt.key = *self.common.keys.key(number, self.today).bytes();
        self.journal.attempt(&attempt);
        let waits = self.patience();
        let (lane, patience) = match attempt.what {
            What::DebitAgain => (&mut self.lanes.again, waits + till::LEEWAY),
            what if what.is_wanted() => (&mut self.lanes.wanted, waits + till::LEEWAY),
            _ => (&mut self.lanes.settles, till::SETTLE),
        };
        lane.push(n);
        let repeat = u64::from(self.common.scenario.till.repeat_after_ms) * MILLI;
        if repeat > 0 {
            self.lanes.repeats.push(n);
        }
        self.slots[n as usize] = Slot {
            attempt,
            number,
            original,
            sent_at: self.at,
            repeats_at: self.at + repeat,
            gives_up_at: attempt.due + patience,
            connection: connection as u32,
            outstanding: 0,
            lost: false,
            retries: 0,
            told: false,
            waits: Waits::Answer,
        };
        self.send(n, connection);
    }

    fn release(&mut self, n: u32) {
        self.slots[n as usize].waits = Waits::Free;
        let Lanes { repeats, wanted, again, settles, homeless } = &mut self.lanes;
        [repeats, wanted, again, settles, homeless].into_iter().for_each(|lane| lane.remove(n));
        self.free.push(n);
    }

    /// Puts the frame of what a slot waits for into a connection's output.
    fn send(&mut self, n: u32, i: usize) {
        let slot = &mut self.slots[n as usize];
        let c = &mut self.connections[i];
        let Some(socket) = &mut c.socket else { return };
        let waited = self.at.saturating_sub(slot.attempt.due) / MILLI;
        let stamp = Stamp {
            request: request(n, slot.number),
            acked: socket.acked,
            deadline_ms: self.common.scenario.till.deadline_ms,
            age_ms: u32::try_from(waited).unwrap_or(u32::MAX),
        };
        match slot.waits {
            Waits::Fence => self.frames.push_fence(&slot.attempt, stamp, &mut socket.output),
            _ => self.frames.push(&slot.attempt, stamp, &slot.original, &mut socket.output),
        }
        (slot.sent_at, slot.connection) = (self.at, i as u32);
        slot.outstanding += 1;
        c.outstanding += 1;
        self.tally.sends += 1;
        self.touch(i);
    }

    /// A connection has something to be written.
    #[inline]
    fn touch(&mut self, i: usize) {
        let since = &mut self.connections[i].unwritten_since;
        if since.is_none() {
            *since = Some(self.at);
            self.unwritten.push_back(i);
        }
    }

    /// Sends it again, under the same key, as soon as a connection has room.
    fn send_again(&mut self, n: u32) {
        self.lanes.homeless.push(n);
        while let Some(n) = self.lanes.homeless.first() {
            let Some(i) = self.room() else { return };
            self.lanes.homeless.remove(n);
            self.tally.repeated += 1;
            self.send(n, i);
        }
    }

    /// What waited for a connection, rejections, repeats and deadlines whose time has come.
    fn pass_time(&mut self) {
        let at = self.at;
        if let Some(n) = self.lanes.homeless.first() {
            self.send_again(n);
        }
        while let Some(Reverse((_, id))) = self.retries.peek().copied().filter(|Reverse((when, _))| *when <= at) {
            self.retries.pop();
            if let Some(n) = self.slot(id) {
                self.send_again(n);
            }
        }
        while let Some(n) = self.lanes.repeats.first().filter(|n| self.slots[*n as usize].repeats_at <= at) {
            self.slots[n as usize].repeats_at = at + u64::from(self.common.scenario.till.repeat_after_ms) * MILLI;
            self.lanes.repeats.push(n);
            self.send_again(n);
        }
        let firsts: [fn(&Lanes) -> Option<u32>; 3] = [|l| l.wanted.first(), |l| l.again.first(), |l| l.settles.first()];
        for first in firsts {
            while let Some(n) = first(&self.lanes).filter(|n| self.slots[*n as usize].gives_up_at <= at) {
                self.give_up(n);
            }
        }
    }

    /// Reads what a connection has and looks at every answer.
    fn take(&mut self, i: usize) -> Result<(), LinkError> {
        let is_unwritten = self.connections[i].socket.as_ref().is_some_and(|s| !s.output.is_empty());
        if is_unwritten {
            // The event may have been room for it, and answers make room.
            self.touch(i);
        }
        let Some(socket) = &mut self.connections[i].socket else { return Ok(()) };
        let mut input = match socket.read() {
            Ok(Some(input)) => input,
            Ok(None) => return Ok(()),
            Err(_) => {
                self.lose(i);
                return Ok(());
            }
        };
        self.at = u64::try_from(self.common.begin.elapsed().as_nanos()).unwrap_or(u64::MAX);
        while let Some(heard) = input.next()? {
            let c = &mut self.connections[i];
            c.outstanding = c.outstanding.saturating_sub(1);
            if let Some(socket) = &mut c.socket {
                // The gateway has read it; what it drops afterwards the server takes for delivered.
                socket.acked = socket.acked.max(heard.count);
            }
            self.hear(&heard);
        }
        if let Some(socket) = &mut self.connections[i].socket {
            socket.give_back(input);
        }
        Ok(())
    }

    /// Writes what is to be sent and has gathered for long enough.
    fn flush(&mut self) {
        let until = self.at.saturating_sub(u64::from(self.common.scenario.till.gateway_gathers_us) * MICRO);
        while let Some(i) = self.unwritten.front().copied() {
            let c = &mut self.connections[i];
            if c.unwritten_since.is_some_and(|since| since > until) {
                return;
            }
            self.unwritten.pop_front();
            c.unwritten_since = None;
            if c.socket.as_mut().is_some_and(|s| s.flush(&self.poll).is_err()) {
                self.lose(i);
            }
        }
    }
}

/// Processor time of the calling thread, in ns.
fn own_cpu_nanos() -> u64 {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    text.split(' ').next().and_then(|n| n.parse().ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests;
