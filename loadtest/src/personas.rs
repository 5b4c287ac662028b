//! Callers that behave badly beside the load: one that does not read, one that sends byte by byte, a herd that connects at
//! once, a gateway that wants everything for itself, one that breaks the protocol. They ask for balances, or for payments of a coupon that there is not,
//! under keys of another namespace: nothing of theirs is to be reconciled. Each shows that it was there.

mod malformed;

use crate::attempts::{Attempt, Keys};
use crate::codes::is_refused;
use crate::frames::{Frames, Stamp};
use crate::scenario::{Persona, PersonaKind};
use crate::seed::{DataSet, now};
use crate::summary::FaultReport;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::sleep;
use std::time::{Duration, Instant};
use tegata_client::{Link, LinkError};
use tegata_model::mix;
use tegata_wire::{
    ANSWER_BYTES_MAX, AnswerBody, Hello, KIND_BALANCE, RequestHeader, Scan, VERSION, encode_request, scan,
};

/// The number of a gateway that floods, and whose keys it takes.
const GREEDY: u32 = 2;
const GREEDY_NAMESPACE: u32 = 999;
/// How long its customers wait, in ms.
const DEADLINE_MS: u32 = 2_000;
/// How often it is looked whether a persona's time has come.
const LOOK_EVERY: Duration = Duration::from_millis(5);
/// Between two bytes that a slow reader reads, or a dribbler sends.
const BYTE_EVERY: Duration = Duration::from_millis(5);
/// How long a caller waits for an answer, or for room.
const PATIENCE: Duration = Duration::from_secs(2);
/// Between two rounds of a herd.
const HERD_RESTS: Duration = Duration::from_millis(200);

/// Plays one persona at its time, until its end or until `over`.
pub(crate) fn play(p: &Persona, addr: SocketAddr, data: &DataSet, begin: Instant, over: &AtomicBool) -> FaultReport {
    let since = || u64::try_from(begin.elapsed().as_millis()).unwrap_or(u64::MAX);
    while since() < p.at_ms && !over.load(Ordering::Relaxed) {
        sleep(LOOK_EVERY);
    }
    let at_ms = since();
    let lasts = || since() < p.at_ms + p.for_ms && !over.load(Ordering::Relaxed);
    let mut request = Vec::new();
    let account = data.account_bytes(0);
    encode_request(&RequestHeader { kind: KIND_BALANCE, account, ..RequestHeader::default() }, &mut request);
    let (mut frames, mut wrong) = (0, 0);
    let (fired, proof) = match p.kind {
        PersonaKind::SlowReader => slow_readers(p.connections, addr, &request, &lasts),
        PersonaKind::Dribbler => dribblers(p.connections, addr, &request, &lasts),
        PersonaKind::Herd => herd(p.connections, addr, &request, &lasts),
        PersonaKind::Flood => flood(p.connections, addr, data, &lasts),
        PersonaKind::Malformed => {
            let tally = malformed::malformed(p.connections, p.rate, addr, data, &lasts);
            (frames, wrong) = (tally.frames.load(Ordering::Relaxed), tally.wrong.load(Ordering::Relaxed));
            (frames > 0, tally.proof())
        }
    };
    FaultReport {
        kind: p.kind.name().to_owned(),
        at_ms,
        until_ms: Some(since()),
        fired,
        proof,
        frames,
        wrong,
        ..FaultReport::default()
    }
}

fn greeted(addr: SocketAddr) -> Option<TcpStream> {
    let stream = Link::open_within(addr, false, PATIENCE).ok()?.into_stream();
    stream.set_nonblocking(true).is_ok().then_some(stream)
}

/// Each sends as much as it can and reads a byte now and then, until the server takes no more of it or closes it.
fn slow_readers(n: usize, addr: SocketAddr, request: &[u8], lasts: &dyn Fn() -> bool) -> (bool, String) {
    let mut callers: Vec<_> = (0..n).filter_map(|_| Some((greeted(addr)?, 0usize))).collect();
    let (mut sent, mut read, mut held_back, mut closed) = (0u64, 0u64, 0u64, 0u64);
    while lasts() {
        callers.retain_mut(|(stream, at)| {
            loop {
                match stream.write(&request[*at..]) {
                    Ok(n) => {
                        *at = (*at + n) % request.len();
                        sent += n as u64;
                    }
                    Err(e) if e.kind() == io::ErrorKind::WouldBlock => {
                        held_back += 1;
                        break;
                    }
                    Err(_) => {
                        closed += 1;
                        return false;
                    }
                }
            }
            match stream.read(&mut [0]) {
                Ok(n) => read += n as u64,
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => {}
                Err(_) => {
                    closed += 1;
                    return false;
                }
            }
            true
        });
        sleep(BYTE_EVERY);
    }
    let proof = format!("{sent} bytes sent and {read} read; held back {held_back} times, {closed} connections closed");
    (held_back + closed > 0, proof)
}

/// Each sends its requests byte by byte, and must be answered all the same or closed.
fn dribblers(n: usize, addr: SocketAddr, request: &[u8], lasts: &dyn Fn() -> bool) -> (bool, String) {
    let mut callers: Vec<_> = (0..n).filter_map(|_| Some((greeted(addr)?, 0usize))).collect();
    let (mut bytes, mut answered, mut closed) = (0u64, 0u64, 0u64);
    let mut input = [0; 4096];
    while lasts() {
        callers.retain_mut(|(stream, at)| {
            match stream.write(&request[*at..=*at]) {
                Ok(n) => {
                    *at = (*at + n) % request.len();
                    bytes += n as u64;
                }
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => {}
                Err(_) => {
                    closed += 1;
                    return false;
                }
            }
            // A request takes longer than its answer: they do not gather.
            answered += u64::from(stream.read(&mut input).is_ok_and(|n| n > 0));
            true
        });
        sleep(BYTE_EVERY);
    }
    (answered + closed > 0, format!("{bytes} bytes, one by one; {answered} answers, {closed} connections closed"))
}

/// A gateway of its own number, with as many payments in flight as it has credits, on every connection.
fn flood(n: usize, addr: SocketAddr, data: &DataSet, lasts: &(dyn Fn() -> bool + Sync)) -> (bool, String) {
    let (answered, refused) = (AtomicU64::new(0), AtomicU64::new(0));
    std::thread::scope(|s| {
        for thread in 0..n {
            let (answered, refused) = (&answered, &refused);
            s.spawn(move || {
                // A connection that is lost is not made again: what is left shows it.
                let _ = flood_one(thread, addr, data, lasts, answered, refused);
            });
        }
    });
    let (answered, refused) = (answered.into_inner(), refused.into_inner());
    (answered > 0, format!("{n} connections of gateway {GREEDY}: {answered} answered, {refused} of them refused"))
}

fn flood_one(
    thread: usize,
    addr: SocketAddr,
    data: &DataSet,
    lasts: &dyn Fn() -> bool,
    answered: &AtomicU64,
    refused: &AtomicU64,
) -> Result<(), LinkError> {
    let mut link = Link::open_as(addr, GREEDY, PATIENCE)?;
    let frames = Frames::new(&DataSet { namespace: GREEDY_NAMESPACE, ..*data });
    let keys = Keys::new(mix(thread as u64, now().micros() as u64));
    let (mut count, mut out) = (0, Vec::new());
    while lasts() {
        for _ in 0..link.hello.credits {
            let (key, request) = (*keys.key(count, now()).bytes(), count);
            // One more than there are.
            let attempt = Attempt { key, amount: 1, account: data.accounts(), ..Attempt::default() };
            let stamp = Stamp { request, deadline_ms: DEADLINE_MS, ..Stamp::default() };
            frames.push(&attempt, stamp, &[0; 16], &mut out);
            count += 1;
        }
        link.send(&out)?;
        out.clear();
        for _ in 0..link.hello.credits {
            let AnswerBody::Decision(d) = link.receive()?.body else { continue };
            answered.fetch_add(1, Ordering::Relaxed);
            refused.fetch_add(u64::from(is_refused(d.code)), Ordering::Relaxed);
        }
    }
    Ok(())
}

/// All connect at once, ask, are answered, and are gone at once; again and again.
fn herd(n: usize, addr: SocketAddr, request: &[u8], lasts: &dyn Fn() -> bool) -> (bool, String) {
    let version = u16::from(VERSION);
    let mut words = Vec::new();
    Hello { version_min: version, version_max: version, gateway: 1, role: 1, ..Hello::default() }.encode(0, &mut words);
    words.extend_from_slice(request);
    let (mut rounds, mut answered, mut refused, mut slowest) = (0u64, 0u64, 0u64, Duration::ZERO);
    while lasts() {
        let began = Instant::now();
        let herd: Vec<_> = (0..n).filter_map(|_| TcpStream::connect_timeout(&addr, PATIENCE).ok()).collect();
        herd.iter().for_each(|mut s| drop(s.write_all(&words)));
        // The answer to the hello, and that to the question.
        let heard = herd.iter().filter(|s| (0..2).all(|_| frame(s).is_ok())).count() as u64;
        rounds += 1;
        answered += heard;
        refused += n as u64 - heard;
        slowest = slowest.max(began.elapsed());
        drop(herd);
        sleep(HERD_RESTS);
    }
    let proof = format!(
        "{rounds} rounds of {n} connections at once: {answered} answered, {refused} not; the slowest round took {} ms",
        slowest.as_millis()
    );
    (answered > 0, proof)
}

/// Reads a frame.
fn frame(mut stream: &TcpStream) -> io::Result<()> {
    stream.set_read_timeout(Some(PATIENCE))?;
    let mut bytes = vec![0; 4];
    stream.read_exact(&mut bytes)?;
    let Scan::Incomplete { need } = scan(&bytes, ANSWER_BYTES_MAX) else {
        return Err(io::ErrorKind::InvalidData.into());
    };
    bytes.resize(need, 0);
    stream.read_exact(&mut bytes[4..])
}
