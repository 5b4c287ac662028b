//! Callers who pay, top up, reverse and look, and keep a ledger of their own outside the server: every operation with its
//! key, when it was sent first, and what was answered when. What has no answer is sent again under its key, after every
//! restart; what was refused each time is sometimes given up, and must then never have happened.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use tegata_load::{DataSet, Link, LinkError};
use tegata_model::{
    Amount, Code, Key, LotKind, Operation, Position, ProgrammeId, Purchase, TerminalId, Timestamp, mix,
};
use tegata_wire::{AnswerBody, DecisionBody, KIND_BALANCE, RequestHeader, encode_operation, encode_request};

/// Connections, each with a thread of its own.
const CALLERS: u64 = 4;
/// Requests in flight on each.
const IN_FLIGHT: usize = 16;
/// How long a caller who was refused waits before it sends anything.
const REFUSED: Duration = Duration::from_millis(5);
/// How long it waits for an answer before it looks whether all is over.
const PATIENCE: Duration = Duration::from_secs(5);

/// What was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum What {
    Debit(u64),
    Load(u64),
    /// Of an approved debit of so much.
    Reverse(Key, u64),
    Look,
}

/// An operation as its caller knows it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Sent {
    pub(crate) account: u32,
    pub(crate) what: What,
    pub(crate) key: Key,
    /// ns on the load's clock.
    pub(crate) invoked: u64,
    pub(crate) answer: Option<(u64, Said)>,
    /// How often it was sent, and how often that was definitely refused.
    sends: u32,
    refusals: u32,
    /// Refused each time, and given up.
    pub(crate) given_up: bool,
}

/// A final answer.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Said {
    Decision(DecisionBody),
    Balance(u64),
}

/// Where the server is; a new number for each start.
#[derive(Debug, Default)]
struct At {
    addr: Option<SocketAddr>,
    start: u64,
}

#[derive(Debug)]
struct World {
    data: DataSet,
    began: Instant,
    at: Mutex<At>,
    moved: Condvar,
    answers: AtomicU64,
    repeats: AtomicU64,
    /// Nothing new is asked for.
    ending: AtomicBool,
    /// Nobody waits any longer.
    abandoned: AtomicBool,
}

/// A load that runs until it is ended.
#[derive(Debug)]
pub(crate) struct Load {
    world: Arc<World>,
    callers: Vec<JoinHandle<Result<Vec<Sent>, String>>>,
}

/// The ledger of all callers.
#[derive(Debug)]
pub(crate) struct Ledger {
    pub(crate) data: DataSet,
    pub(crate) sent: Vec<Sent>,
    pub(crate) repeats: u64,
}

/// The accounts that a load works on: wallets, which can be topped up.
pub(crate) fn data_set(accounts: u32, balance: u64) -> DataSet {
    DataSet { coupons: 0, wallets: accounts, shops: 20, balance, ..DataSet::default() }
}

fn now() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp::from_micros(i64::try_from(since.as_micros()).unwrap_or(i64::MAX))
}

impl Load {
    /// Begins as soon as it is told where the server is.
    pub(crate) fn begin(data: DataSet) -> Self {
        let world = Arc::new(World {
            data,
            began: Instant::now(),
            at: Mutex::default(),
            moved: Condvar::new(),
            answers: AtomicU64::new(0),
            repeats: AtomicU64::new(0),
            ending: AtomicBool::new(false),
            abandoned: AtomicBool::new(false),
        });
        let callers = (0..CALLERS).map(|n| {
            let caller = Caller::new(Arc::clone(&world), n);
            std::thread::spawn(move || caller.run())
        });
        Self { callers: callers.collect(), world }
    }

    /// The server is there from now on.
    pub(crate) fn goes_to(&self, addr: SocketAddr) {
        let mut at = self.world.at.lock().unwrap_or_else(PoisonError::into_inner);
        *at = At { addr: Some(addr), start: at.start + 1 };
        self.world.moved.notify_all();
    }

    /// Final answers so far.
    pub(crate) fn answers(&self) -> u64 {
        self.world.answers.load(Ordering::Relaxed)
    }

    /// Waits for so many more answers; false when they do not come within `time`, or a caller found something wrong.
    pub(crate) fn answers_more(&self, n: u64, time: Duration) -> bool {
        let target = self.answers() + n;
        crate::until(time, || {
            let ended = self.callers.iter().any(JoinHandle::is_finished);
            (ended || self.answers() >= target).then_some(())
        });
        self.answers() >= target
    }

    /// Why a caller has given up.
    pub(crate) fn trouble(&mut self) -> Option<String> {
        let n = self.callers.iter().position(JoinHandle::is_finished)?;
        match self.callers.swap_remove(n).join() {
            Ok(Ok(_)) => None,
            Ok(Err(why)) => Some(why),
            Err(_) => Some("a caller panicked".to_owned()),
        }
    }

    /// Everything that was asked for is answered; then nothing more is asked.
    pub(crate) fn end(mut self) -> Result<Ledger, String> {
        self.world.ending.store(true, Ordering::Relaxed);
        let mut sent = Vec::new();
        for caller in self.callers.drain(..) {
            sent.extend(caller.join().map_err(|_| "a caller panicked".to_owned())??);
        }
        Ok(Ledger { data: self.world.data, sent, repeats: self.world.repeats.load(Ordering::Relaxed) })
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        self.world.ending.store(true, Ordering::Relaxed);
        self.world.abandoned.store(true, Ordering::Relaxed);
        self.world.moved.notify_all();
        self.callers.drain(..).for_each(|c| drop(c.join()));
    }
}

struct Caller {
    world: Arc<World>,
    number: u64,
    random: u64,
    sent: Vec<Sent>,
    /// What has no final answer.
    open: Vec<usize>,
    /// Approved debits that may be reversed.
    reversible: Vec<usize>,
}

impl Caller {
    fn new(world: Arc<World>, number: u64) -> Self {
        Self { world, number, random: mix(number, 0x5EED), sent: Vec::new(), open: Vec::new(), reversible: Vec::new() }
    }

    fn run(mut self) -> Result<Vec<Sent>, String> {
        let mut seen = 0;
        loop {
            let mut at = self.world.at.lock().unwrap_or_else(PoisonError::into_inner);
            while at.start == seen && !self.world.abandoned.load(Ordering::Relaxed) {
                at = self.world.moved.wait_timeout(at, PATIENCE).unwrap_or_else(PoisonError::into_inner).0;
            }
            let (addr, start) = (at.addr, at.start);
            drop(at);
            if self.world.abandoned.load(Ordering::Relaxed) {
                return Ok(self.sent);
            }
            let Some(addr) = addr else { continue };
            match self.talk(addr) {
                Ok(()) => return Ok(self.sent),
                Err(LinkError::Unexpected(answer)) => return Err(format!("an answer that must not be: {answer:?}")),
                // The server is gone: its next start is waited for.
                Err(_) => seen = start,
            }
        }
    }

    fn at(&self) -> u64 {
        u64::try_from(self.world.began.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }

    fn draw(&mut self, below: u64) -> u64 {
        self.random = mix(self.random, 11);
        (self.random >> 16) % below.max(1)
    }

    /// A new operation.
    fn invent(&mut self) -> usize {
        let n = self.sent.len() as u64;
        let key = Key::new(now(), u128::from(mix(self.random, self.number)) << 64 | u128::from(mix(self.number, n)));
        let mut account = self.draw(u64::from(self.world.data.wallets)) as u32;
        // No two sums of all callers are alike, so that the guard has nothing to ask.
        let amount = 1 + n * CALLERS + self.number;
        let what = match self.draw(20) {
            0..=1 => What::Look,
            2..=3 => What::Load(amount),
            4..=5 if !self.reversible.is_empty() => {
                let n = self.draw(self.reversible.len() as u64) as usize;
                let debit = &self.sent[self.reversible.swap_remove(n)];
                account = debit.account;
                let What::Debit(amount) = debit.what else { return self.invent() };
                What::Reverse(debit.key, amount)
            }
            _ => What::Debit(amount),
        };
        let invoked = self.at();
        self.sent.push(Sent { account, what, key, invoked, answer: None, sends: 0, refusals: 0, given_up: false });
        self.open.push(self.sent.len() - 1);
        self.sent.len() - 1
    }

    fn talk(&mut self, addr: SocketAddr) -> Result<(), LinkError> {
        let mut link = Link::open_within(addr, false, PATIENCE)?;
        let (mut out, mut in_flight, mut acked) = (Vec::new(), 0, 0);
        // Looking again would be looking later: what was not answered is forgotten.
        let sent = &mut self.sent;
        self.open.retain(|i| sent[*i].what != What::Look);
        let mut repeats: HashMap<usize, DecisionBody> = HashMap::new();
        for i in self.open.clone() {
            self.push(i, acked, &mut out);
            in_flight += 1;
        }
        loop {
            if self.world.abandoned.load(Ordering::Relaxed) {
                return Ok(());
            }
            while in_flight < IN_FLIGHT && !self.world.ending.load(Ordering::Relaxed) {
                // One in fifty is one that was decided, again.
                let again = self.draw(self.sent.len() as u64) as usize;
                let decided = self.sent.get(again).and_then(|s| match s.answer {
                    Some((_, Said::Decision(d))) if !repeats.contains_key(&again) => Some(d),
                    _ => None,
                });
                let i = match decided.filter(|_| self.draw(50) == 0) {
                    Some(first) => {
                        repeats.insert(again, first);
                        again
                    }
                    None => self.invent(),
                };
                self.push(i, acked, &mut out);
                in_flight += 1;
            }
            link.send(&out)?;
            out.clear();
            if in_flight == 0 {
                return Ok(());
            }
            let answer = link.receive()?;
            let i = answer.header.request_id as usize;
            acked = acked.max(answer.header.number);
            in_flight -= 1;
            let at = self.at();
            match answer.body {
                AnswerBody::Balance(b) => {
                    self.sent[i].answer = Some((at, Said::Balance(b.balance)));
                    self.open.retain(|o| *o != i);
                }
                AnswerBody::Decision(d) => match repeats.remove(&i) {
                    Some(first) if d == first => {
                        self.world.repeats.fetch_add(1, Ordering::Relaxed);
                    }
                    // Of one that was decided, a busy server may say that it does not look.
                    Some(_) if is_no_answer(d.code) => {}
                    Some(_) => return Err(LinkError::Unexpected(Box::new(AnswerBody::Decision(d)))),
                    None if self.heard(i, d, at)? => {
                        self.push(i, acked, &mut out);
                        in_flight += 1;
                    }
                    None => {}
                },
                // What is said at the end.
                _ => {}
            }
        }
    }

    /// A decision. True when it is to be sent again.
    fn heard(&mut self, i: usize, d: DecisionBody, at: u64) -> Result<bool, LinkError> {
        let abandoned = self.draw(8) == 0;
        let s = &mut self.sent[i];
        if is_no_answer(d.code) {
            if s.what == What::Look {
                self.open.retain(|o| *o != i);
                return Ok(false);
            }
            if d.code < u16::from(Code::Unknown.number()) {
                s.refusals += 1;
                std::thread::sleep(REFUSED);
                if abandoned && s.refusals == s.sends {
                    s.given_up = true;
                    self.open.retain(|o| *o != i);
                    return Ok(false);
                }
            }
            return Ok(true);
        }
        if d.code >= 100 {
            return Err(LinkError::Unexpected(Box::new(AnswerBody::Decision(d))));
        }
        s.answer = Some((at, Said::Decision(d)));
        if d.code == 0 && matches!(s.what, What::Debit(_)) {
            self.reversible.push(i);
        }
        self.open.retain(|o| *o != i);
        self.world.answers.fetch_add(1, Ordering::Relaxed);
        Ok(false)
    }

    fn push(&mut self, i: usize, acked: u32, out: &mut Vec<u8>) {
        let data = self.world.data;
        let s = &mut self.sent[i];
        s.sends += 1;
        let header = RequestHeader {
            acked,
            request_id: i as u64,
            deadline_ms: 30_000,
            account: *data.account(s.account).bytes(),
            key: *s.key.bytes(),
            namespace: data.namespace,
            ..RequestHeader::default()
        };
        let yen = |n| Amount::new(n).expect("a load ends long before its sums are too large");
        let operation = match s.what {
            What::Look => {
                let header = RequestHeader { kind: KIND_BALANCE, key: [0; 16], namespace: 0, ..header };
                return encode_request(&header, out);
            }
            What::Debit(amount) => Operation::Debit(Purchase {
                shop: data.shop(amount as u32 % data.shops),
                terminal: TerminalId::NONE,
                amount: yen(amount),
                token: Position::ZERO,
                partial: false,
            }),
            What::Load(amount) => Operation::Load {
                programme: ProgrammeId::new(data.programme),
                amount: yen(amount),
                expires_at: Timestamp::ZERO,
                kind: LotKind::Paid,
            },
            What::Reverse(original, _) => Operation::Reversal { original, remain: 0 },
        };
        encode_operation(&header, &operation, out);
    }
}

/// Not executed, or not known: the same key may be sent again.
fn is_no_answer(code: u16) -> bool {
    (110..150).contains(&code)
}
