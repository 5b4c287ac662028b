//! Load on one thread, over epoll: a closed loop that keeps connections × depth requests in flight, or an open one that
//! sends at a constant rate whatever comes back. In the open loop latency counts from the instant at which a request was
//! due, so that a server that stalls cannot hide it by slowing the caller down.

use crate::purchases::Purchases;
use crate::seed::now;
use hdrhistogram::Histogram;
use rustix::event::{Timespec, epoll};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};
use tegata_client::{Link, LinkError};
use tegata_wire::{self as wire, DecisionBody, Scan};

/// Bytes read from a connection at once.
const READ_BYTES: usize = 64 << 10;
const NANOS_PER_SECOND: u64 = 1_000_000_000;
/// How often an open loop sends what is due.
const TICK_NANOS: u64 = 200_000;

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

struct Connection {
    stream: TcpStream,
    input: Vec<u8>,
    filled: usize,
    output: Vec<u8>,
    written: usize,
    sent_at: Vec<u64>,
    /// Slots with nothing in flight.
    idle: Vec<u32>,
    acked: u32,
    writable_wanted: bool,
}

/// Runs a plan against a server whose data set is seeded.
pub fn run(plan: &Plan, purchases: &mut Purchases) -> Result<Outcome, LinkError> {
    let poll = epoll::create(epoll::CreateFlags::CLOEXEC).map_err(std::io::Error::from)?;
    let mut connections = Vec::with_capacity(plan.connections);
    for i in 0..plan.connections {
        let stream = Link::open(plan.addr, false)?.into_stream();
        stream.set_nonblocking(true)?;
        watch(&poll, &stream, i, false, true)?;
        connections.push(Connection {
            stream,
            input: vec![0; READ_BYTES],
            filled: 0,
            output: Vec::with_capacity(plan.depth * 128),
            written: 0,
            sent_at: vec![0; plan.depth],
            idle: (0..plan.depth as u32).rev().collect(),
            acked: 0,
            writable_wanted: false,
        });
    }
    let mut outcome = Outcome {
        approved: 0,
        declined: 0,
        suspected: 0,
        errors: 0,
        latency: Histogram::new_with_bounds(1_000, 60_000_000_000, 3).expect("fixed bounds"),
        seconds: 0.0,
        own_cpu: 0.0,
    };
    let begin = Instant::now();
    purchases.set_time(now());
    let mut due = Due { sent: 0, rate: plan.rate, tick: 0, turn: 0 };
    if plan.rate.is_none() {
        for (i, c) in connections.iter_mut().enumerate() {
            let at = nanos(begin);
            while c.send_due(at, purchases) {}
            c.flush(&poll, i)?;
        }
    }
    let (from, to) = (nanos_of(plan.warm_up), nanos_of(plan.warm_up + plan.window));
    let mut events = Vec::with_capacity(plan.connections.max(16));
    let mut cpu_at_start = None;
    loop {
        events.clear();
        let patience = due.patience(nanos(begin));
        match epoll::wait(&poll, rustix::buffer::spare_capacity(&mut events), patience.as_ref()) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(e) => return Err(std::io::Error::from(e).into()),
        }
        let at = nanos(begin);
        purchases.set_time(now());
        if at >= from && cpu_at_start.is_none() {
            cpu_at_start = Some((own_cpu_seconds(), at));
        }
        if at >= to {
            break;
        }
        for event in &events {
            let i = event.data.u64() as usize;
            let c = &mut connections[i];
            c.take(at, at >= from, plan.rate.is_none(), purchases, &mut outcome)?;
            c.flush(&poll, i)?;
        }
        due.send(nanos(begin), &mut connections, purchases, &poll)?;
    }
    let (cpu, at) = cpu_at_start.unwrap_or((0.0, 0));
    outcome.seconds = (nanos(begin) - at) as f64 / 1e9;
    outcome.own_cpu = (own_cpu_seconds() - cpu) / outcome.seconds;
    Ok(outcome)
}

impl Connection {
    /// Sends one request that was due at `at`. False when all slots are in flight.
    fn send_due(&mut self, at: u64, purchases: &mut Purchases) -> bool {
        let Some(slot) = self.idle.pop() else { return false };
        self.sent_at[slot as usize] = at;
        purchases.push(u64::from(slot), self.acked, &mut self.output);
        true
    }

    /// Reads what is there and counts the answers; where `again`, a new request takes the place of each.
    fn take(
        &mut self,
        at: u64,
        counts: bool,
        again: bool,
        purchases: &mut Purchases,
        o: &mut Outcome,
    ) -> Result<(), LinkError> {
        match self.stream.read(&mut self.input[self.filled..]) {
            Ok(0) => return Err(LinkError::Io(std::io::ErrorKind::UnexpectedEof.into())),
            Ok(n) => self.filled += n,
            Err(e) if e.kind() == std::io::ErrorKind::WouldBlock => return Ok(()),
            Err(e) => return Err(e.into()),
        }
        let mut input = std::mem::take(&mut self.input);
        let mut rest = &input[..self.filled];
        // Every answer in this read has been seen: the first request that follows says so.
        while let Scan::Frame { frame, rest: tail } = wire::scan(rest, wire::ANSWER_BYTES_MAX) {
            wire::check_crc(frame)?;
            let (header, body) = wire::answer_header(frame)?;
            rest = tail;
            if header.kind > wire::KIND_COMMAND_MAX {
                continue;
            }
            self.acked = self.acked.max(header.number);
            let slot = header.request_id as usize;
            if slot >= self.sent_at.len() {
                o.errors += u64::from(counts);
                continue;
            }
            if counts {
                let code = DecisionBody::decode(body)?.code;
                match code {
                    0 => o.approved += 1,
                    10..=99 => o.declined += 1,
                    100 => o.suspected += 1,
                    _ => o.errors += 1,
                }
                o.latency.saturating_record(at.saturating_sub(self.sent_at[slot]));
            }
            self.idle.push(slot as u32);
            if again {
                self.send_due(at, purchases);
            }
        }
        let left = rest.len();
        let used = self.filled - left;
        input.copy_within(used..self.filled, 0);
        self.input = input;
        self.filled = left;
        Ok(())
    }

    fn flush(&mut self, poll: &OwnedFd, i: usize) -> Result<(), LinkError> {
        while self.written < self.output.len() {
            match self.stream.write(&self.output[self.written..]) {
                Ok(n) => self.written += n,
                Err(e) if e.kind() == std::io::ErrorKind::WouldBlock => break,
                Err(e) => return Err(e.into()),
            }
        }
        let blocked = self.written < self.output.len();
        if !blocked {
            self.output.clear();
            self.written = 0;
        }
        if blocked != self.writable_wanted {
            self.writable_wanted = blocked;
            watch(poll, &self.stream, i, blocked, false)?;
        }
        Ok(())
    }
}

/// Which requests of an open loop are due. They are sent in ticks, on one connection after the other, as a gateway under
/// load would write them: a system call for each would measure the generator.
struct Due {
    sent: u64,
    rate: Option<u64>,
    /// When it is looked again.
    tick: u64,
    turn: usize,
}

impl Due {
    /// How long to wait for answers before the next request is due.
    fn patience(&self, at: u64) -> Option<Timespec> {
        self.rate?;
        let wait = self.tick.saturating_sub(at);
        Some(Timespec { tv_sec: (wait / NANOS_PER_SECOND) as i64, tv_nsec: (wait % NANOS_PER_SECOND) as i64 })
    }

    /// Sends what is due, each on the next connection that has room. What finds none stays due.
    fn send(
        &mut self,
        at: u64,
        connections: &mut [Connection],
        purchases: &mut Purchases,
        poll: &OwnedFd,
    ) -> Result<(), LinkError> {
        let Some(rate) = self.rate.filter(|_| at >= self.tick) else { return Ok(()) };
        self.tick = at + TICK_NANOS;
        let due_at = |n: u64| (u128::from(n) * u128::from(NANOS_PER_SECOND) / u128::from(rate.max(1))) as u64;
        for _ in 0..connections.len() {
            let i = self.turn;
            while due_at(self.sent) <= at && connections[i].send_due(due_at(self.sent), purchases) {
                self.sent += 1;
            }
            connections[i].flush(poll, i)?;
            self.turn = (i + 1) % connections.len();
            if due_at(self.sent) > at {
                break;
            }
        }
        Ok(())
    }
}

fn watch(poll: &OwnedFd, stream: &TcpStream, i: usize, writable: bool, new: bool) -> std::io::Result<()> {
    let mut flags = epoll::EventFlags::IN;
    flags.set(epoll::EventFlags::OUT, writable);
    let data = epoll::EventData::new_u64(i as u64);
    let done = if new { epoll::add(poll, stream, data, flags) } else { epoll::modify(poll, stream, data, flags) };
    Ok(done?)
}

fn nanos(since: Instant) -> u64 {
    nanos_of(since.elapsed())
}

fn nanos_of(d: Duration) -> u64 {
    u64::try_from(d.as_nanos()).unwrap_or(u64::MAX)
}

/// Processor time of this process, in seconds.
fn own_cpu_seconds() -> f64 {
    let text = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let rest = text.rsplit_once(')').map_or("", |x| x.1);
    let ticks: f64 = rest.split_whitespace().skip(11).take(2).filter_map(|x| x.parse::<f64>().ok()).sum();
    ticks / 100.0
}
