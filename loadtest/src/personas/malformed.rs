//! Callers who send what no client would: frames that are wrong by one rule of the grammar each, and otherwise right,
//! checksum included. Of every one it is known what must become of it: an answer with a code, or the end of the connection
//! with a reason.
//!
//! ```text
//! frames that are answered, many at once ─▶ all answers, each with its code ─▶ … ─▶ one that ends the connection
//! ```

use super::{GREEDY, GREEDY_NAMESPACE, PATIENCE};
use crate::attempts::Keys;
use crate::seed::{DataSet, now};
use std::collections::HashMap;
use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::sleep;
use std::time::{Duration, Instant};
use tegata_client::Link;
use tegata_model::{AccountId, Amount, Code, Key, Operation, Position, Purchase, TerminalId, Timestamp, mix};
use tegata_wire::{
    ANSWER_BYTES_MAX, AnswerBody, CloseReason, Hello, KIND_BALANCE, KIND_HELLO, KIND_PING, KIND_STATUS, RequestHeader,
    Scan, VERSION, answer_header, check_crc, decode_answer, encode_operation, encode_request, scan,
};

/// Frames that are sent together, and whose answers are waited for together.
const TOGETHER: u64 = 128;
/// Rounds on one connection before a frame that ends it.
const ROUNDS: u64 = 24;
/// Where a header has its fields; `docs/protocol.md` has the table.
mod at {
    pub(super) const KIND: usize = 8;
    pub(super) const VERSION: usize = 9;
    pub(super) const FLAGS: usize = 10;
    pub(super) const ACKED: usize = 12;
    pub(super) const ACCOUNT: usize = 32;
    pub(super) const KEY: usize = 48;
    pub(super) const NAMESPACE: usize = 64;
    pub(super) const RESERVED: usize = 68;
    pub(super) const BODY: usize = 72;
    pub(super) const TERMINAL: usize = 88;
    pub(super) const AMOUNT: usize = 96;
    pub(super) const FLAG: usize = 116;
}

/// What must become of a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    /// It is answered with this code, or not admitted at all.
    Answered(u16),
    /// It is answered, whatever the code.
    Somehow,
    /// The connection ends with this reason.
    Ends(CloseReason),
    /// The connection ends without one: the caller has left.
    Left,
}

/// What all of them sent, and what became of it.
#[derive(Debug, Default)]
pub(super) struct Tally {
    pub(super) frames: AtomicU64,
    answered: AtomicU64,
    ended: AtomicU64,
    /// Another fate than it must have had.
    pub(super) wrong: AtomicU64,
    first_wrong: std::sync::Mutex<Option<String>>,
}

impl Tally {
    fn wrong(&self, n: u64, what: impl FnOnce() -> String) {
        if self.wrong.fetch_add(n, Ordering::Relaxed) == 0
            && let Ok(mut first) = self.first_wrong.lock()
        {
            *first = Some(what());
        }
    }

    pub(super) fn proof(&self) -> String {
        let n = |of: &AtomicU64| of.load(Ordering::Relaxed);
        let first = self.first_wrong.lock().ok().and_then(|f| f.clone()).map_or_else(String::new, |f| format!(": {f}"));
        format!(
            "{} malformed frames: {} answered with their code, {} connections ended with their reason, {} not so{first}",
            n(&self.frames),
            n(&self.answered),
            n(&self.ended),
            n(&self.wrong)
        )
    }
}

/// Sends malformed frames on `n` connections, `rate` a second of all together (0: as many as it can), until its time is over.
pub(super) fn malformed(
    n: usize,
    rate: u32,
    addr: SocketAddr,
    data: &DataSet,
    lasts: &(dyn Fn() -> bool + Sync),
) -> Tally {
    let tally = Tally::default();
    let each = f64::from(rate) / n.max(1) as f64;
    std::thread::scope(|s| {
        for thread in 0..n {
            let tally = &tally;
            s.spawn(move || {
                let mut caller = Caller::new(thread as u64, data);
                let began = Instant::now();
                let mut sent = 0;
                while lasts() {
                    sent += caller.connection(addr, tally, &|sent_here| {
                        let due =
                            Duration::from_secs_f64(if each > 0.0 { (sent + sent_here) as f64 / each } else { 0.0 });
                        sleep(due.saturating_sub(began.elapsed()));
                        lasts()
                    });
                }
            });
        }
    });
    tally
}

struct Caller<'a> {
    random: u64,
    count: u64,
    keys: Keys,
    data: &'a DataSet,
}

/// Sets a frame's length and checksum.
fn seal(frame: &mut [u8]) {
    let length = frame.len() as u32;
    frame[..4].copy_from_slice(&length.to_le_bytes());
    let crc = crc32c::crc32c(&frame[8..]);
    frame[4..8].copy_from_slice(&crc.to_le_bytes());
}

impl<'a> Caller<'a> {
    fn new(thread: u64, data: &'a DataSet) -> Self {
        let salt = mix(thread, now().micros() as u64);
        Self { random: salt, count: 0, keys: Keys::new(salt), data }
    }

    fn draw(&mut self, below: u64) -> u64 {
        self.random = mix(self.random, 0xBAD);
        (self.random >> 16) % below
    }

    /// A payment that is right but for its account, which there is not.
    fn payment(&mut self) -> Vec<u8> {
        let purchase = Purchase {
            shop: self.data.shop(0),
            terminal: TerminalId::NONE,
            amount: Amount::new(1 + self.draw(9_999)).expect("in range"),
            token: Position::ZERO,
            partial: false,
        };
        let header = RequestHeader {
            request_id: self.count,
            deadline_ms: 8_000,
            account: *AccountId::from_text("NOBODY").unwrap_or_default().bytes(),
            key: *self.keys.key(self.count, now()).bytes(),
            namespace: GREEDY_NAMESPACE,
            ..RequestHeader::default()
        };
        let mut out = Vec::new();
        encode_operation(&header, &Operation::Debit(purchase), &mut out);
        out
    }

    fn question(&self, kind: u8) -> Vec<u8> {
        let header = RequestHeader {
            kind,
            request_id: self.count,
            account: *AccountId::from_text("NOBODY").unwrap_or_default().bytes(),
            namespace: if kind == KIND_STATUS { GREEDY_NAMESPACE } else { 0 },
            ..RequestHeader::default()
        };
        let mut out = Vec::new();
        encode_request(&header, &mut out);
        out
    }

    fn hello(&self, change: impl FnOnce(&mut Hello)) -> Vec<u8> {
        let version = u16::from(VERSION);
        let mut hello =
            Hello { version_min: version, version_max: version, gateway: GREEDY, role: 1, ..Hello::default() };
        change(&mut hello);
        let mut out = Vec::new();
        hello.encode(self.count, &mut out);
        out
    }

    /// A frame that is answered, and how.
    fn answered(&mut self) -> (Vec<u8>, Fate) {
        self.count += 1;
        let code = |c: Code| Fate::Answered(u16::from(c.number()));
        let which = self.draw(32);
        let mut b = match which {
            0..=1 => self.question([KIND_PING, KIND_BALANCE, KIND_STATUS][(self.count % 3) as usize]),
            24 => self.question([KIND_BALANCE, KIND_STATUS][(self.count % 2) as usize]),
            2..=3 => self.hello(|_| {}),
            _ => self.payment(),
        };
        let fate = match which {
            0 => {
                b[at::FLAGS + (self.count % 2) as usize] = 1 << (self.count % 8);
                code(Code::Malformed)
            }
            1 => {
                // Room for later versions that is not zero.
                b.extend_from_slice(&(1 + self.count).to_le_bytes());
                code(Code::Malformed)
            }
            // A hello again: it replaces the first.
            2 => Fate::Answered(0),
            3 => {
                // More namespaces than a hello may name.
                b[at::BODY + 10] = 17 + (self.count % 200) as u8;
                code(Code::Malformed)
            }
            4..=5 => {
                let unknown = [0, 20, 23, 26, 40, 63, 81, 99, 127, 128, 140, 200, 255];
                b[at::KIND] = unknown[(self.count % 13) as usize];
                code(Code::OperationUnknown)
            }
            6 => {
                // For operators only.
                b[at::KIND] = [1, 13, 14, 18, 19, 70, 73, 76, 77, 79][(self.count % 10) as usize];
                code(Code::OperationUnknown)
            }
            7..=8 => {
                b[at::FLAGS..at::FLAGS + 2].copy_from_slice(&(1u16 << (self.count % 16)).to_le_bytes());
                code(Code::Malformed)
            }
            9 => {
                b[at::NAMESPACE..at::NAMESPACE + 4].fill(0);
                code(Code::NamespaceNotAllowed)
            }
            10..=11 => {
                b[at::ACCOUNT] = [b' ', 0x1F, 0x80, 0xFF][(self.count % 4) as usize];
                code(Code::Malformed)
            }
            12 => {
                b[at::BODY] = 0x80;
                code(Code::Malformed)
            }
            13 => {
                b[at::TERMINAL + 2] = b'x';
                code(Code::Malformed)
            }
            14..=16 => {
                let wrong = [0, u64::MAX, 1 << 63, 1_000_000_000_000, -1i64 as u64, -5_000i64 as u64];
                b[at::AMOUNT..at::AMOUNT + 8].copy_from_slice(&wrong[(self.count % 6) as usize].to_le_bytes());
                code(Code::AmountInvalid)
            }
            17 => {
                b[at::FLAG] = 2 + (self.count % 250) as u8;
                code(Code::Malformed)
            }
            18..=19 => {
                // Longer or shorter than any body of its kind.
                b.resize(at::BODY + [4, 8, 47, 49, 51, 456, 4_024][(self.count % 7) as usize], 0);
                code(Code::Malformed)
            }
            20..=21 => {
                let later = Timestamp::from_micros(now().micros() + 600_000_000 + self.count as i64);
                b[at::KEY..at::KEY + 16].copy_from_slice(Key::new(later, self.random.into()).bytes());
                code(Code::KeyClock)
            }
            22 => {
                let long_ago = Timestamp::from_micros(1_600_000_000_000_000 + self.count as i64);
                b[at::KEY..at::KEY + 16].copy_from_slice(Key::new(long_ago, self.random.into()).bytes());
                code(Code::KeyTooOld)
            }
            23 => {
                b[at::KEY..at::KEY + 16].fill(0);
                code(Code::KeyClock)
            }
            24 => {
                b[at::ACCOUNT] = b' ';
                code(Code::Malformed)
            }
            // Right in every way, and nobody's.
            25 => code(Code::AccountUnknown),
            _ => {
                // Anything at all behind the header, and sometimes as another command.
                if self.draw(2) == 0 {
                    b[at::KIND] = 2 + self.draw(11) as u8;
                }
                for _ in 0..1 + self.draw(6) {
                    let place = at::BODY + self.draw((b.len() - at::BODY) as u64) as usize;
                    b[place] = self.draw(256) as u8;
                }
                Fate::Somehow
            }
        };
        seal(&mut b);
        (b, fate)
    }

    /// A frame that ends the connection, and how.
    fn ending(&mut self) -> (Vec<u8>, Fate) {
        self.count += 1;
        let mut b = self.payment();
        let reason = match self.draw(11) {
            0 => {
                seal(&mut b);
                b[4] ^= 1;
                CloseReason::BadChecksum
            }
            1 => {
                let short = self.draw(24) as u32;
                b[..4].copy_from_slice(&short.to_le_bytes());
                CloseReason::ProtocolError
            }
            2 => {
                let long = [4_097, 65_536, 0x7FFF_FFFF, u32::MAX][(self.count % 4) as usize];
                b[..4].copy_from_slice(&long.to_le_bytes());
                CloseReason::FrameTooLarge
            }
            3 => {
                b[at::VERSION] = [0, 2, 255][(self.count % 3) as usize];
                seal(&mut b);
                CloseReason::Version
            }
            4 => {
                b[at::ACKED..at::ACKED + 4].copy_from_slice(&(1u32 << 30).to_le_bytes());
                seal(&mut b);
                CloseReason::ProtocolError
            }
            5 => {
                b[at::RESERVED + (self.count % 4) as usize] = 1;
                seal(&mut b);
                CloseReason::ProtocolError
            }
            6 => {
                // Long enough for an answer, too short for a request.
                b.truncate(24 + self.draw(48) as usize);
                seal(&mut b);
                CloseReason::ProtocolError
            }
            7 => {
                // A proof without a challenge.
                b = self.hello(|h| (h.auth_method, h.auth) = (1, [7; 32]));
                CloseReason::Unauthenticated
            }
            8 => {
                b = self.hello(|h| (h.version_min, h.version_max) = (2, 9));
                CloseReason::Version
            }
            9 => {
                // A goodbye in the middle: what follows it is not looked at.
                let mut goodbye = self.question(tegata_wire::KIND_GOODBYE);
                goodbye.extend_from_slice(&b);
                return (goodbye, Fate::Left);
            }
            _ => {
                // A frame that never comes to its end.
                let half = self.draw(b.len() as u64 - 1) as usize + 1;
                b.truncate(half);
                return (b, Fate::Left);
            }
        };
        (b, Fate::Ends(reason))
    }

    /// One connection from its hello to its end; returns how many frames went out.
    fn connection(&mut self, addr: SocketAddr, tally: &Tally, goes_on: &dyn Fn(u64) -> bool) -> u64 {
        // Where no connection is to be had another persona may have taken them all: that is not this one's question.
        let Ok(link) = Link::open_as(addr, GREEDY, PATIENCE) else { return 0 };
        let mut reader = Reader { stream: link.into_stream(), buffer: Vec::new() };
        if reader.stream.set_read_timeout(Some(PATIENCE)).is_err() {
            return 0;
        }
        let mut sent = 0;
        let mut fates = HashMap::new();
        for _ in 0..ROUNDS {
            if !goes_on(sent) {
                break;
            }
            let mut out = Vec::new();
            fates.clear();
            for _ in 0..TOGETHER {
                let (frame, fate) = self.answered();
                out.extend_from_slice(&frame);
                fates.insert(self.count, fate);
            }
            sent += TOGETHER;
            tally.frames.fetch_add(TOGETHER, Ordering::Relaxed);
            if reader.stream.write_all(&out).is_err() || !reader.answers(&mut fates, tally) {
                tally.wrong(fates.len() as u64, || format!("no answer: {:?}", fates.values().next()));
                return sent;
            }
        }
        let (frame, fate) = self.ending();
        tally.frames.fetch_add(1, Ordering::Relaxed);
        let written = reader.stream.write_all(&frame);
        if fate == Fate::Left {
            let _ = reader.stream.shutdown(Shutdown::Write);
        }
        match (written.is_ok(), reader.end()) {
            (true, Some(end)) if end == fate => drop(tally.ended.fetch_add(1, Ordering::Relaxed)),
            (_, end) => tally.wrong(1, || format!("{fate:?} was due, and {end:?} came")),
        }
        sent + 1
    }
}

struct Reader {
    stream: TcpStream,
    buffer: Vec<u8>,
}

impl Reader {
    /// The next frame; nothing when the connection has ended or nothing came in time. `true` beside it: it ended.
    fn next(&mut self) -> (Option<Vec<u8>>, bool) {
        loop {
            match scan(&self.buffer, ANSWER_BYTES_MAX) {
                Scan::Frame { frame, .. } => {
                    let frame = frame.to_vec();
                    self.buffer.drain(..frame.len());
                    return (Some(frame), false);
                }
                Scan::Bad(_) => return (None, false),
                Scan::Incomplete { .. } => {}
            }
            let mut chunk = [0; 65_536];
            match self.stream.read(&mut chunk) {
                Ok(0) => return (None, true),
                // What was not read of us may make the end a reset.
                Err(e) if e.kind() == std::io::ErrorKind::ConnectionReset => return (None, true),
                Err(_) => return (None, false),
                Ok(n) => self.buffer.extend_from_slice(&chunk[..n]),
            }
        }
    }

    /// Reads until everything has its answer. False when that does not come.
    fn answers(&mut self, fates: &mut HashMap<u64, Fate>, tally: &Tally) -> bool {
        while !fates.is_empty() {
            let (Some(frame), _) = self.next() else { return false };
            let Ok((header, _)) = answer_header(&frame) else { return false };
            let Some(fate) = fates.remove(&header.request_id) else { return false };
            let code = match decode_answer(&frame).map(|a| a.body) {
                Ok(AnswerBody::Decision(d)) => Some(d.code),
                Ok(AnswerBody::Hello(h)) => Some(h.code),
                Ok(_) => None,
                Err(_) => return false,
            };
            let right = match (fate, code) {
                _ if check_crc(&frame).is_err() => false,
                (Fate::Somehow, _) => true,
                (Fate::Answered(due), Some(code)) => code == due || (110..118).contains(&code),
                _ => false,
            };
            if right {
                tally.answered.fetch_add(1, Ordering::Relaxed);
            } else {
                tally
                    .wrong(1, || format!("{fate:?} was due for request {}, and code {code:?} came", header.request_id));
            }
        }
        true
    }

    /// How the connection ends.
    fn end(&mut self) -> Option<Fate> {
        let mut reason = None;
        loop {
            match self.next() {
                (Some(frame), _) => match decode_answer(&frame).map(|a| a.body) {
                    Ok(AnswerBody::Goodbye(g)) => reason = Some(g.reason),
                    // The answer to a hello that is refused comes before.
                    Ok(_) if frame[at::KIND] & 0x7F == KIND_HELLO => {}
                    _ => return None,
                },
                (None, true) => return Some(reason.map_or(Fate::Left, Fate::Ends)),
                (None, false) => return None,
            }
        }
    }
}
