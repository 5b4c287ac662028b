//! One thread of the generator: an open loop over many connections. Payments are due whatever the server does; each is
//! written to the clients' journal before its frame is handed to a socket, sent again under the same key when no answer
//! comes, and given up at its deadline as a till would.
//!
//! ```text
//! due ─▶ attempt ─▶ journal ─▶ socket ─▶ answer ─▶ journal
//!          ▲ repeat, other connection ┘      └─ none by the deadline: fence, new key, or unknown
//! ```

use crate::arrivals::Schedule;
use crate::attempts::{Attempt, Journal, Keys, Said, What};
use crate::frames::{Frames, Send};
use crate::offer::Purchases;
use crate::scenario::{Scenario, Till};
use crate::seed::{DataSet, now};
use hdrhistogram::Histogram;
use rustix::event::{Timespec, epoll};
use std::collections::VecDeque;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, Sender, TryRecvError, channel};
use std::time::{Duration, Instant};
use tegata_client::{Link, LinkError};
use tegata_wire::{self as wire, DecisionBody, Scan};

/// Bytes read from a connection at once.
const READ_BYTES: usize = 64 << 10;
/// How often it is looked what is due.
const TICK_NANOS: u64 = 200_000;
const MILLI: u64 = 1_000_000;
const SECOND: u64 = 1_000_000_000;
/// A payment that is sent later than this, with a connection free, is late by the generator's own fault. Being late adds
/// to the response time, which counts from when the payment was due: it hides nothing.
const LATE_NANOS: u64 = 10 * MILLI;
/// How long a fence, or a reversal, is asked for before its outcome is left to the end of the run.
const SETTLE_NANOS: u64 = 20 * SECOND;
/// How long to wait before a server that refused a connection is tried again.
const CONNECT_AGAIN: Duration = Duration::from_millis(20);
/// How long a server may take to greet.
const GREETING: Duration = Duration::from_secs(2);
/// A rejection without a time of its own is tried again after so long, in ms.
const RETRY_MS: u64 = 50;
/// Niceness of the generator's threads.
const PROMPT: i32 = -10;
/// Queues of deadlines.
const PAYMENTS: usize = 0;
const AGAIN: usize = 1;
const SETTLES: usize = 2;
/// Bits of a request's number that are the attempt's count; its slot stands above them.
const COUNT_BITS: u32 = 40;

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
    /// For whoever shows progress.
    pub(crate) sent: &'a AtomicU64,
    pub(crate) answered: &'a AtomicU64,
}

/// What one second saw. `summary.rs` explains the fields.
#[derive(Debug, Clone)]
pub(crate) struct Tick {
    pub(crate) offered: u64,
    pub(crate) sent: u64,
    pub(crate) approved: u64,
    pub(crate) declined: u64,
    pub(crate) suspected: u64,
    pub(crate) rejected: u64,
    pub(crate) unanswered: u64,
    pub(crate) response: Histogram<u64>,
}

impl Tick {
    /// Adds another thread's.
    pub(crate) fn add(&mut self, o: &Self) {
        self.offered += o.offered;
        self.sent += o.sent;
        self.approved += o.approved;
        self.declined += o.declined;
        self.suspected += o.suspected;
        self.rejected += o.rejected;
        self.unanswered += o.unanswered;
        // The bounds are equal: adding cannot fail.
        let _ = self.response.add(&o.response);
    }
}

/// What one thread did.
#[derive(Debug)]
pub(crate) struct Load {
    pub(crate) seconds: Vec<Tick>,
    /// From when a payment was due to its first definite answer, ns.
    pub(crate) response: Histogram<u64>,
    /// From a send to its answer, ns.
    pub(crate) service: Histogram<u64>,
    pub(crate) offered: u64,
    pub(crate) sends: u64,
    pub(crate) repeated: u64,
    /// Payments with a definite answer within their deadline, and those of them that were decided.
    pub(crate) in_time: u64,
    pub(crate) decided_in_time: u64,
    pub(crate) late: u64,
    pub(crate) cpu_nanos: u64,
    pub(crate) wall_nanos: u64,
}

/// A histogram of ns, up to a minute, to three digits.
pub(crate) fn histogram() -> Histogram<u64> {
    Histogram::new_with_bounds(1_000, 120 * SECOND, 3).expect("fixed bounds")
}

/// A histogram of ns that is small enough to have one for each second.
fn coarse_histogram() -> Histogram<u64> {
    Histogram::new_with_bounds(1_000, 120 * SECOND, 2).expect("fixed bounds")
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

/// An attempt that waits for its answer.
#[derive(Debug, Clone, Copy)]
struct Slot {
    waits: Waits,
    number: u64,
    attempt: Attempt,
    /// The key of what a reversal speaks of.
    original: [u8; 16],
    sent_at: u64,
    /// Sends that may still be answered, and whether some never will be.
    outstanding: u32,
    lost: bool,
    connection: usize,
}

struct Connection {
    stream: Option<TcpStream>,
    input: Vec<u8>,
    filled: usize,
    output: Vec<u8>,
    written: usize,
    writable_wanted: bool,
    outstanding: usize,
    acked: u32,
    depth: usize,
}

/// A connection that is made, or the number of one that is wanted.
type Connected = (usize, Link);

pub(crate) struct Driver<'a> {
    common: &'a Common<'a>,
    till: Till,
    schedule: Schedule,
    purchases: Purchases,
    journal: Journal,
    frames: Frames,
    poll: OwnedFd,
    connections: Vec<Connection>,
    slots: Vec<Slot>,
    free: Vec<u32>,
    /// When a slot's attempt is sent again, and when it is given up: payments in the order in which they were due,
    /// second payments of broken tills, and what settles. Each queue is in order of time.
    repeats: VecDeque<(u64, u64)>,
    deadlines: [VecDeque<(u64, u64)>; 3],
    /// Rejections wait for their time, each with its own.
    retries: Vec<(u64, u64)>,
    /// What waits for a connection.
    homeless: VecDeque<u64>,
    wanted: Sender<usize>,
    made: Receiver<Connected>,
    turn: usize,
    dirty: Vec<usize>,
    /// The last instant at which a payment found no connection with room.
    blocked_at: u64,
    load: Load,
}

/// The number that a request carries: where its slot is, and which attempt it was.
fn request(slot: u32, number: u64) -> u64 {
    u64::from(slot) << COUNT_BITS | number & ((1 << COUNT_BITS) - 1)
}

/// Makes connections for a driver, which must not wait for them, until the driver is gone.
fn connector(addr: SocketAddr, wanted: &Receiver<usize>, made: &Sender<Connected>) {
    while let Ok(i) = wanted.recv() {
        let mut waiting = VecDeque::from([i]);
        while let Some(i) = waiting.pop_front() {
            match Link::open_within(addr, false, GREETING) {
                Ok(link) => {
                    if made.send((i, link)).is_err() {
                        return;
                    }
                }
                Err(_) => {
                    waiting.push_front(i);
                    std::thread::sleep(CONNECT_AGAIN);
                }
            }
            loop {
                match wanted.try_recv() {
                    Ok(i) => waiting.push_back(i),
                    Err(TryRecvError::Empty) => break,
                    Err(TryRecvError::Disconnected) => return,
                }
            }
        }
    }
}

/// Runs thread `thread` of the load to its end.
pub(crate) fn drive(common: &Common<'_>, thread: usize) -> Result<Load, LinkError> {
    let (wanted, to_connect) = channel();
    let (connected, made) = channel();
    let addr = common.addr;
    std::thread::scope(|s| {
        s.spawn(move || connector(addr, &to_connect, &connected));
        Driver::new(common, thread, wanted, made)?.run()
    })
}

impl<'a> Driver<'a> {
    fn new(
        common: &'a Common<'a>,
        thread: usize,
        wanted: Sender<usize>,
        made: Receiver<Connected>,
    ) -> Result<Self, LinkError> {
        let s = common.scenario;
        let mine = (thread..s.connections).step_by(s.threads).count();
        let slots = mine * s.depth;
        let mut driver = Self {
            common,
            till: s.till,
            schedule: Schedule::new(&s.phase, s.threads, thread, s.seed),
            purchases: Purchases::new(&s.data, s.threads, thread, s.seed),
            journal: Journal::create(common.dir, thread)?,
            frames: Frames::new(&common.data),
            poll: epoll::create(epoll::CreateFlags::CLOEXEC).map_err(io::Error::from)?,
            connections: Vec::with_capacity(mine),
            slots: vec![
                Slot {
                    waits: Waits::Free,
                    number: 0,
                    attempt: Attempt::default(),
                    original: [0; 16],
                    sent_at: 0,
                    outstanding: 0,
                    lost: false,
                    connection: 0,
                };
                slots
            ],
            free: (0..slots as u32).rev().collect(),
            repeats: VecDeque::new(),
            deadlines: Default::default(),
            retries: Vec::new(),
            homeless: VecDeque::new(),
            wanted,
            made,
            turn: 0,
            dirty: Vec::new(),
            blocked_at: 0,
            load: Load {
                seconds: Vec::new(),
                response: histogram(),
                service: histogram(),
                offered: 0,
                sends: 0,
                repeated: 0,
                in_time: 0,
                decided_in_time: 0,
                late: 0,
                cpu_nanos: 0,
                wall_nanos: 0,
            },
        };
        for i in 0..mine {
            driver.connections.push(Connection {
                stream: None,
                input: vec![0; READ_BYTES],
                filled: 0,
                output: Vec::with_capacity(s.depth * 128),
                written: 0,
                writable_wanted: false,
                outstanding: 0,
                acked: 0,
                depth: s.depth,
            });
            driver.connect(i);
        }
        Ok(driver)
    }

    fn connect(&self, i: usize) {
        // The connector outlives the driver: it ends when this sender is dropped.
        let _ = self.wanted.send(i);
    }

    fn run(mut self) -> Result<Load, LinkError> {
        // A generator that waits for its turn measures itself. Without the right to ask it stays as it is.
        let _ = rustix::process::setpriority_process(None, PROMPT);
        // The clock of the load starts when the connections are there.
        while self.connections.iter().any(|c| c.stream.is_none()) {
            match self.made.recv_timeout(GREETING) {
                Ok(connected) => self.welcome(connected)?,
                Err(_) => return Err(io::Error::from(io::ErrorKind::TimedOut).into()),
            }
        }
        let began = self.now();
        let cpu = own_cpu_nanos();
        let mut events = Vec::with_capacity(self.connections.len().max(16));
        loop {
            events.clear();
            let at = self.now();
            let wait = TICK_NANOS - at % TICK_NANOS;
            let patience = Timespec { tv_sec: 0, tv_nsec: wait as i64 };
            match epoll::wait(&self.poll, rustix::buffer::spare_capacity(&mut events), Some(&patience)) {
                Ok(_) | Err(rustix::io::Errno::INTR) => {}
                Err(e) => return Err(io::Error::from(e).into()),
            }
            for event in &events {
                self.take(event.data.u64() as usize)?;
            }
            while let Ok(connected) = self.made.try_recv() {
                self.welcome(connected)?;
            }
            self.pass_time();
            if self.is_over() {
                break;
            }
            self.send_due();
            // What was not written is not sent.
            self.journal.flush()?;
            self.flush();
        }
        self.journal.finish()?;
        self.load.wall_nanos = self.now() - began;
        self.load.cpu_nanos = own_cpu_nanos() - cpu;
        Ok(self.load)
    }

    /// ns from the beginning of the load.
    #[inline]
    fn now(&self) -> u64 {
        u64::try_from(self.common.begin.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }

    fn tick(&mut self, at: u64) -> &mut Tick {
        let second = (at / SECOND) as usize;
        while self.load.seconds.len() <= second {
            let zero = Tick {
                offered: 0,
                sent: 0,
                approved: 0,
                declined: 0,
                suspected: 0,
                rejected: 0,
                unanswered: 0,
                response: coarse_histogram(),
            };
            self.load.seconds.push(zero);
        }
        &mut self.load.seconds[second]
    }

    fn is_over(&self) -> bool {
        let offered = self.schedule.due().is_none() || self.common.stop.load(Ordering::Relaxed);
        let settled = self.free.len() == self.slots.len();
        offered && (settled || self.common.stop.load(Ordering::Relaxed))
    }

    /// A connection is there: what waited for one goes out on it.
    fn welcome(&mut self, (i, link): Connected) -> io::Result<()> {
        let c = &mut self.connections[i];
        c.depth = self.common.scenario.depth.min(link.hello.credits as usize).max(1);
        let stream = link.into_stream();
        stream.set_nonblocking(true)?;
        epoll::add(&self.poll, &stream, epoll::EventData::new_u64(i as u64), epoll::EventFlags::IN)?;
        (c.filled, c.written, c.writable_wanted, c.outstanding, c.acked) = (0, 0, false, 0, 0);
        c.output.clear();
        c.stream = Some(stream);
        Ok(())
    }

    /// A connection is gone: what was sent on it will not be answered, and is sent again on another.
    fn lose(&mut self, i: usize) {
        self.connections[i].stream = None;
        self.connections[i].outstanding = 0;
        for n in 0..self.slots.len() {
            let slot = &mut self.slots[n];
            if slot.waits == Waits::Free || slot.connection != i {
                continue;
            }
            (slot.outstanding, slot.lost) = (0, true);
            self.homeless.push_back(request(n as u32, slot.number));
        }
        self.connect(i);
    }

    /// The slot of a request, if the attempt still waits in it.
    fn slot(&self, request: u64) -> Option<u32> {
        let n = (request >> COUNT_BITS) as u32;
        let slot = self.slots.get(n as usize).filter(|s| s.waits != Waits::Free)?;
        (self::request(n, slot.number) == request).then_some(n)
    }

    /// The next connection with room.
    fn room(&mut self) -> Option<usize> {
        let n = self.connections.len();
        for _ in 0..n {
            let i = self.turn;
            self.turn = (self.turn + 1) % n;
            let c = &self.connections[i];
            if c.stream.is_some() && c.outstanding < c.depth {
                return Some(i);
            }
        }
        None
    }

    /// Payments that are due.
    fn send_due(&mut self) {
        let at = self.now();
        if self.common.stop.load(Ordering::Relaxed) {
            return;
        }
        let patience = u64::from(self.till.deadline_ms) * MILLI;
        while let Some(due) = self.schedule.due().filter(|due| *due <= at) {
            if at - due >= patience {
                // The customer has left before anything could be sent.
                self.tick(due).offered += 1;
                self.tick(at).unanswered += 1;
                self.load.offered += 1;
                self.schedule.advance_one();
                self.blocked_at = at;
                continue;
            }
            let connection = if self.free.is_empty() { None } else { self.room() };
            let Some(i) = connection else {
                self.blocked_at = at;
                return;
            };
            self.schedule.advance_one();
            self.load.offered += 1;
            self.load.late += u64::from(at - due > LATE_NANOS && due > self.blocked_at);
            self.tick(due).offered += 1;
            self.tick(at).sent += 1;
            let p = self.purchases.take();
            let attempt = Attempt { due, amount: p.amount, coupon: p.coupon, shop: p.shop, ..Attempt::default() };
            self.begin(attempt, [0; 16], i);
        }
    }

    /// A new attempt gets its key, its place in the journal, and its first send.
    fn begin(&mut self, mut attempt: Attempt, original: [u8; 16], connection: usize) {
        let Some(n) = self.free.pop() else { return };
        let (at, number) = (self.now(), self.journal.next_number());
        attempt.key = *self.common.keys.key(number, now()).bytes();
        self.journal.attempt(&attempt);
        let waits = Waits::Answer;
        let (outstanding, lost) = (0, false);
        self.slots[n as usize] = Slot { waits, number, attempt, original, sent_at: at, outstanding, lost, connection };
        let id = request(n, number);
        if self.till.repeat_after_ms > 0 {
            self.repeats.push_back((at + u64::from(self.till.repeat_after_ms) * MILLI, id));
        }
        let (queue, patience) = match attempt.what {
            What::Debit => (PAYMENTS, u64::from(self.till.deadline_ms) * MILLI),
            What::DebitAgain => (AGAIN, u64::from(self.till.deadline_ms) * MILLI),
            What::Reversal => (SETTLES, SETTLE_NANOS),
        };
        self.deadlines[queue].push_back((attempt.due + patience, id));
        self.common.sent.fetch_add(1, Ordering::Relaxed);
        self.send(n, connection);
    }

    /// Puts the frame of what a slot waits for into a connection's output.
    fn send(&mut self, n: u32, i: usize) {
        let at = self.now();
        let slot = &mut self.slots[n as usize];
        let c = &mut self.connections[i];
        let waited = at.saturating_sub(slot.attempt.due) / MILLI;
        let (deadline_ms, age_ms) = (self.till.deadline_ms, waited.min(u64::from(u32::MAX)) as u32);
        let send = Send { request: request(n, slot.number), acked: c.acked, deadline_ms, age_ms };
        match slot.waits {
            Waits::Fence => self.frames.push_fence(&slot.attempt, send, &mut c.output),
            _ => self.frames.push(&slot.attempt, send, Some(&slot.original), &mut c.output),
        }
        (slot.sent_at, slot.connection) = (at, i);
        slot.outstanding += 1;
        c.outstanding += 1;
        self.load.sends += 1;
        self.dirty.push(i);
    }

    /// Sends it again, under the same key, on a connection with room.
    fn send_again(&mut self, n: u32) {
        match self.room() {
            Some(i) => {
                self.load.repeated += 1;
                self.send(n, i);
            }
            None => {
                let number = self.slots[n as usize].number;
                self.homeless.push_back(request(n, number));
            }
        }
    }

    /// Repeats, retries and deadlines whose time has come.
    fn pass_time(&mut self) {
        let at = self.now();
        for _ in 0..self.homeless.len() {
            let Some(id) = self.homeless.pop_front() else { break };
            if let Some(n) = self.slot(id) {
                self.send_again(n);
                if self.homeless.back() == Some(&id) {
                    break;
                }
            }
        }
        let mut due = Vec::new();
        self.retries.retain(|(when, id)| {
            let waits = *when > at;
            if !waits {
                due.push(*id);
            }
            waits
        });
        for id in due {
            if let Some(n) = self.slot(id) {
                self.send_again(n);
            }
        }
        while let Some((_, id)) = self.repeats.pop_front_if(|(when, _)| *when <= at) {
            if let Some(n) = self.slot(id) {
                self.send_again(n);
                self.repeats.push_back((at + u64::from(self.till.repeat_after_ms) * MILLI, id));
            }
        }
        for queue in [PAYMENTS, AGAIN, SETTLES] {
            while let Some((_, id)) = self.deadlines[queue].pop_front_if(|(when, _)| *when <= at) {
                if let Some(n) = self.slot(id) {
                    self.give_up(n, at);
                }
            }
        }
    }

    /// The deadline has passed without a definite answer.
    fn give_up(&mut self, n: u32, at: u64) {
        let slot = self.slots[n as usize];
        let a = slot.attempt;
        if slot.waits == Waits::Fence || a.what == What::Reversal {
            // The end of the run finds out.
            return self.release(n);
        }
        self.tick(at).unanswered += 1;
        let fences = self.purchases.happens(self.till.cash);
        if fences {
            self.slots[n as usize].waits = Waits::Fence;
            let id = request(n, slot.number);
            self.deadlines[SETTLES].push_back((at + SETTLE_NANOS, id));
            return self.send_again(n);
        }
        self.release(n);
        let broken = self.till.cash < 1.0 && self.purchases.happens(self.till.new_key / (1.0 - self.till.cash));
        if broken
            && a.what == What::Debit
            && let Some(i) = self.room()
        {
            self.begin(Attempt { due: at, what: What::DebitAgain, of: slot.number + 1, ..a }, [0; 16], i);
        }
    }

    fn release(&mut self, n: u32) {
        self.slots[n as usize].waits = Waits::Free;
        self.free.push(n);
    }

    /// Reads what a connection has and looks at every answer.
    fn take(&mut self, i: usize) -> Result<(), LinkError> {
        let c = &mut self.connections[i];
        let Some(stream) = &mut c.stream else { return Ok(()) };
        match stream.read(&mut c.input[c.filled..]) {
            Ok(n @ 1..) => c.filled += n,
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => {
                // The event was room for more output.
                self.dirty.push(i);
                return Ok(());
            }
            Ok(_) | Err(_) => {
                self.lose(i);
                return Ok(());
            }
        }
        let mut input = std::mem::take(&mut c.input);
        let filled = c.filled;
        let mut rest = &input[..filled];
        while let Scan::Frame { frame, rest: tail } = wire::scan(rest, wire::ANSWER_BYTES_MAX) {
            wire::check_crc(frame)?;
            let (header, body) = wire::answer_header(frame)?;
            rest = tail;
            if header.kind > wire::KIND_COMMAND_MAX {
                continue;
            }
            let c = &mut self.connections[i];
            c.acked = c.acked.max(header.number);
            c.outstanding = c.outstanding.saturating_sub(1);
            let decision = DecisionBody::decode(body)?;
            self.hear(i, header.request_id, &decision);
        }
        let left = rest.len();
        input.copy_within(filled - left..filled, 0);
        let c = &mut self.connections[i];
        c.input = input;
        c.filled = left;
        // Room was made.
        self.dirty.push(i);
        Ok(())
    }

    /// An answer.
    fn hear(&mut self, i: usize, id: u64, d: &DecisionBody) {
        if self.purchases.happens(self.till.drop_answers) {
            if let Some(n) = self.slot(id) {
                let slot = &mut self.slots[n as usize];
                (slot.outstanding, slot.lost) = (slot.outstanding.saturating_sub(1), true);
            }
            return;
        }
        let thread = self.journal.next_number() >> COUNT_BITS << COUNT_BITS;
        let number = thread | id & ((1 << COUNT_BITS) - 1);
        let said = Said { number, position: d.position, amount: d.amount, code: d.code, hash: hash(d) };
        let Some(n) = self.slot(id) else {
            // A repeat of what was answered before: the reconciliation looks whether it is the same.
            return self.journal.said(&said);
        };
        let at = self.now();
        let slot = &mut self.slots[n as usize];
        slot.outstanding = slot.outstanding.saturating_sub(1);
        let slot = *slot;
        let definite = match d.code {
            0..=100 | 150..=161 => true,
            // Not executed, if no other send of this key may have been.
            110..=139 => {
                let waited = at.saturating_sub(slot.attempt.due) / MILLI;
                let again = u64::from(if d.retry_after_ms > 0 { d.retry_after_ms } else { RETRY_MS as u32 });
                if slot.attempt.what == What::Reversal || waited + again < u64::from(self.till.deadline_ms) {
                    return self.retries.push((at + again * MILLI, id));
                }
                slot.outstanding == 0 && !slot.lost
            }
            _ => false,
        };
        if !definite {
            return;
        }
        self.journal.said(&said);
        self.common.answered.fetch_add(1, Ordering::Relaxed);
        self.release(n);
        self.load.service.saturating_record(at - slot.sent_at);
        if slot.attempt.what == What::Reversal {
            return;
        }
        let response = at.saturating_sub(slot.attempt.due);
        self.load.response.saturating_record(response);
        let in_time = response <= u64::from(self.till.deadline_ms) * MILLI;
        if slot.attempt.what == What::Debit {
            self.load.in_time += u64::from(in_time);
            self.load.decided_in_time += u64::from(in_time && d.code <= 100);
        }
        let tick = self.tick(at);
        tick.response.saturating_record(response);
        *match d.code {
            0..=9 => &mut tick.approved,
            10..=99 => &mut tick.declined,
            100 => &mut tick.suspected,
            _ => &mut tick.rejected,
        } += 1;
        if d.code <= 9 {
            self.afterwards(i, n, &slot);
        }
    }

    /// What some customers and shops do once a payment was approved.
    fn afterwards(&mut self, i: usize, n: u32, slot: &Slot) {
        if self.purchases.happens(self.till.press_again) && self.connections[i].stream.is_some() {
            // No slot waits for this answer: it goes into the journal and nowhere else.
            let c = &mut self.connections[i];
            let send = Send {
                request: request(n, slot.number),
                acked: c.acked,
                deadline_ms: self.till.deadline_ms,
                age_ms: 0,
            };
            self.frames.push(&slot.attempt, send, None, &mut c.output);
            c.outstanding += 1;
            self.load.sends += 1;
            self.load.repeated += 1;
        }
        if self.purchases.happens(self.till.reverse)
            && let Some(i) = self.room()
        {
            let reversal = Attempt { what: What::Reversal, of: slot.number + 1, due: self.now(), ..slot.attempt };
            self.begin(reversal, slot.attempt.key, i);
        }
    }

    /// Writes what is to be sent.
    fn flush(&mut self) {
        let mut dirty = std::mem::take(&mut self.dirty);
        dirty.sort_unstable();
        dirty.dedup();
        for i in dirty.drain(..) {
            if self.connections[i].write(&self.poll, i).is_err() {
                self.lose(i);
            }
        }
        self.dirty = dirty;
    }
}

impl Connection {
    fn write(&mut self, poll: &OwnedFd, i: usize) -> io::Result<()> {
        let Some(stream) = &mut self.stream else { return Ok(()) };
        while self.written < self.output.len() {
            match stream.write(&self.output[self.written..]) {
                Ok(n) => self.written += n,
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => break,
                Err(e) => return Err(e),
            }
        }
        let blocked = self.written < self.output.len();
        if !blocked {
            self.output.clear();
            self.written = 0;
        }
        if blocked != self.writable_wanted {
            self.writable_wanted = blocked;
            let mut flags = epoll::EventFlags::IN;
            flags.set(epoll::EventFlags::OUT, blocked);
            epoll::modify(poll, stream, epoll::EventData::new_u64(i as u64), flags)?;
        }
        Ok(())
    }
}

/// Of what a decision says for ever.
pub(crate) fn hash(d: &DecisionBody) -> u64 {
    let for_ever = DecisionBody { state: 0, retry_after_ms: 0, ..*d };
    u64::from(crc32c::crc32c(&for_ever.encode())) | u64::from(d.code) << 32
}

/// Processor time of the calling thread, in ns.
fn own_cpu_nanos() -> u64 {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    text.split(' ').next().and_then(|n| n.parse().ok()).unwrap_or(0)
}
