//! kill -9 under load, again and again, with a client's ledger kept outside: nothing that was answered is lost, nothing
//! is done twice, nothing goes below zero, and every repeat gets the answer of the first time.
//!
//! `KILLS` sets the number of kills (default 50). A few more are with threads of their own for the connections,
//! as machines with more than two processors have them.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Condvar, Mutex};
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tegata_load::{CHILD_SERVE, DataSet, Link, LinkError, ServerProcess, child_main, seed};
use tegata_model::{Amount, Key, Operation, Position, Purchase, TerminalId, Timestamp, mix};
use tegata_server::history;
use tegata_wire::{
    AnswerBody, DecisionBody, HistoryQuery, KIND_BALANCE, RequestHeader, encode_operation, encode_request,
};

const COUPONS: u32 = 2_000;
const SHOPS: u32 = 20;
const WORKERS: u64 = 4;
const IN_FLIGHT: usize = 32;
/// Answers between two kills.
const ANSWERS_PER_KILL: u64 = 3_000;
/// Of so many decided keys one is asked again.
const REPEAT_EVERY: u64 = 50;

fn main() {
    if let Some(code) = child_main() {
        std::process::exit(i32::from(code));
    }
    // A listing is asked for by some runners.
    if std::env::args().any(|a| a == "--list") {
        println!("kill: test");
        return;
    }
    let kills = std::env::var("KILLS").ok().and_then(|k| k.parse().ok()).unwrap_or(50);
    run(kills, 0);
    run((kills / 10).max(3), 2);
}

/// What a worker sent and what it got.
#[derive(Clone, Copy)]
struct Sent {
    coupon: u32,
    amount: u64,
    shop: u32,
    key: Key,
    answer: Option<DecisionBody>,
}

struct World {
    /// Where the server is, and how often it was started.
    server: Mutex<(SocketAddr, u64)>,
    restarted: Condvar,
    answers: AtomicU64,
    repeats: AtomicU64,
    stop: AtomicBool,
}

fn now() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp::from_micros(i64::try_from(since.as_micros()).unwrap_or(i64::MAX))
}

/// A tenth of what is asked of a coupon, so that many run out: a worker's next payment is always a little larger.
fn balance(kills: u64) -> u64 {
    (ANSWERS_PER_KILL * kills).pow(2) / (20 * u64::from(COUPONS))
}

fn data_set() -> DataSet {
    DataSet { coupons: COUPONS, shops: SHOPS, ..DataSet::default() }
}

fn run(kills: u64, io_threads: usize) {
    let balance = balance(kills);
    let dir = tempfile::tempdir().expect("a folder");
    let data = dir.path().join("data");
    let settings = ["segment_bytes=8388608", "warm_bytes=0", "shards=4", &format!("io_threads={io_threads}")];
    let settings = settings.map(str::to_owned);
    let start = || ServerProcess::start(CHILD_SERVE, &data, &settings).expect("the server starts");
    let mut server = start();
    seed(server.operate, &DataSet { balance, ..data_set() }, &mut |_, _| {}).expect("seeding");
    let world = World {
        server: Mutex::new((server.addr, 1)),
        restarted: Condvar::new(),
        answers: AtomicU64::new(0),
        repeats: AtomicU64::new(0),
        stop: AtomicBool::new(false),
    };
    let ledgers: Vec<Vec<Sent>> = std::thread::scope(|s| {
        let workers: Vec<_> = (0..WORKERS)
            .map(|w| {
                s.spawn({
                    let world = &world;
                    move || work(world, w)
                })
            })
            .collect();
        for kill in 1..=kills {
            let target = world.answers.load(Ordering::Relaxed) + ANSWERS_PER_KILL;
            while world.answers.load(Ordering::Relaxed) < target {
                assert!(!workers.iter().any(std::thread::ScopedJoinHandle::is_finished), "a worker ended early");
                std::thread::park_timeout(Duration::from_millis(1));
            }
            server.kill_now().expect("kill -9");
            server = start();
            *world.server.lock().expect("nobody panics with it") = (server.addr, kill + 1);
            world.restarted.notify_all();
        }
        world.stop.store(true, Ordering::Relaxed);
        workers.into_iter().map(|w| w.join().expect("a worker that found nothing wrong")).collect()
    });
    let sent: Vec<Sent> = ledgers.into_iter().flatten().collect();
    check_balances(server.operate, balance, &sent);
    let position = Link::open(server.operate, true).expect("a connection").hello.position;
    server.stop().expect("a clean stop");
    let (approved, declined) = check_history(&data, position, &sent);
    assert!(approved > 0 && declined > 0 && world.repeats.load(Ordering::Relaxed) > 0, "all kinds were seen");
    println!(
        "kill -9 × {kills}, io_threads {io_threads}: {} attempts, {approved} approved, {declined} declined, {} repeats equal, LOST 0 DOUBLE 0 GHOST 0 NEGATIVE 0",
        sent.len(),
        world.repeats.load(Ordering::Relaxed),
    );
}

/// Sends debits until it is told to stop; what has no answer is sent again, with its key, after every restart.
fn work(world: &World, worker: u64) -> Vec<Sent> {
    let mut ledger: Vec<Sent> = Vec::new();
    let mut random = mix(worker, 0x5eed);
    let mut unanswered: Vec<usize> = Vec::new();
    let mut seen_start = 0;
    loop {
        let (addr, start) = {
            let mut at = world.server.lock().expect("nobody panics with it");
            while at.1 == seen_start {
                at = world.restarted.wait(at).expect("nobody panics with it");
            }
            *at
        };
        match talk(world, addr, worker, &mut ledger, &mut unanswered, &mut random) {
            Ok(()) => return ledger,
            Err(LinkError::Unexpected(answer)) => panic!("an answer that must not be: {answer:?}"),
            // The server is gone: wait for the next start.
            Err(_) => seen_start = start,
        }
    }
}

fn talk(
    world: &World,
    addr: SocketAddr,
    worker: u64,
    ledger: &mut Vec<Sent>,
    unanswered: &mut Vec<usize>,
    random: &mut u64,
) -> Result<(), LinkError> {
    let mut link = Link::open(addr, false)?;
    let mut out = Vec::new();
    let mut in_flight = 0;
    let mut repeats: HashMap<usize, DecisionBody> = HashMap::new();
    let mut acked = 0;
    for i in unanswered.iter() {
        push(&ledger[*i], *i, acked, &mut out);
        in_flight += 1;
    }
    loop {
        let stopping = world.stop.load(Ordering::Relaxed);
        while !stopping && in_flight < IN_FLIGHT {
            *random = mix(*random, 11);
            let i = if (*random >> 32).is_multiple_of(REPEAT_EVERY) && !ledger.is_empty() {
                let i = (*random % ledger.len() as u64) as usize;
                let Some(first) = ledger[i].answer.filter(|_| !repeats.contains_key(&i)) else { continue };
                repeats.insert(i, first);
                i
            } else {
                let n = ledger.len() as u64;
                let key = Key::new(now(), u128::from(mix(*random, worker)) << 64 | u128::from(mix(worker, n)));
                // No two payments of a worker are alike, so that the guard has nothing to ask.
                ledger.push(Sent {
                    coupon: (*random % u64::from(COUPONS)) as u32,
                    amount: 1 + n * WORKERS + worker,
                    shop: (n % u64::from(SHOPS)) as u32,
                    key,
                    answer: None,
                });
                unanswered.push(ledger.len() - 1);
                ledger.len() - 1
            };
            push(&ledger[i], i, acked, &mut out);
            in_flight += 1;
        }
        link.send(&out)?;
        out.clear();
        if in_flight == 0 {
            return Ok(());
        }
        let answer = link.receive()?;
        let AnswerBody::Decision(d) = answer.body else { continue };
        let i = answer.header.request_id as usize;
        acked = acked.max(answer.header.number);
        in_flight -= 1;
        if let Some(first) = repeats.remove(&i) {
            assert_eq!(d, first, "a repeat gets the very same answer");
            world.repeats.fetch_add(1, Ordering::Relaxed);
            continue;
        }
        match d.code {
            0 | 10 => {
                let old = ledger[i].answer.replace(d);
                assert!(old.is_none_or(|o| o == d), "one key, one answer");
                unanswered.retain(|u| *u != i);
                world.answers.fetch_add(1, Ordering::Relaxed);
            }
            // Not admitted, or not known: the same key again.
            110..=142 => {
                push(&ledger[i], i, acked, &mut out);
                in_flight += 1;
            }
            _ => return Err(LinkError::Unexpected(Box::new(AnswerBody::Decision(d)))),
        }
    }
}

fn push(s: &Sent, request: usize, acked: u32, out: &mut Vec<u8>) {
    let purchase = Purchase {
        shop: data_set().shop(s.shop),
        terminal: TerminalId::NONE,
        amount: Amount::new(s.amount).expect("in range"),
        token: Position::ZERO,
        partial: false,
    };
    let header = RequestHeader {
        acked,
        request_id: request as u64,
        deadline_ms: 30_000,
        account: *data_set().account(s.coupon).bytes(),
        key: *s.key.bytes(),
        namespace: 1,
        ..RequestHeader::default()
    };
    encode_operation(&header, &Operation::Debit(purchase), out);
}

/// The server's balances are what the clients' ledger says.
fn check_balances(operate: SocketAddr, balance: u64, sent: &[Sent]) {
    let mut spent = vec![0u64; COUPONS as usize];
    for s in sent {
        let answer = s.answer.expect("everything was answered in the end");
        if answer.code == 0 {
            spent[s.coupon as usize] += s.amount;
        }
    }
    let mut link = Link::open(operate, true).expect("a connection");
    for (n, spent) in spent.iter().enumerate() {
        let mut out = Vec::new();
        let header = RequestHeader {
            kind: KIND_BALANCE,
            account: *data_set().account(n as u32).bytes(),
            ..RequestHeader::default()
        };
        encode_request(&header, &mut out);
        link.send(&out).expect("sent");
        match link.receive().expect("an answer").body {
            AnswerBody::Balance(b) => {
                let expected = balance.checked_sub(*spent).expect("never below zero");
                assert_eq!(b.balance, expected, "coupon {n}: what was approved is what is gone");
            }
            other => panic!("not a balance: {other:?}"),
        }
    }
}

/// The journal, replayed from the start, has every answered decision once, as it was answered, and no other debit.
fn check_history(data: &Path, up_to: u64, sent: &[Sent]) -> (u64, u64) {
    let mut by_key: HashMap<[u8; 16], &Sent> = sent.iter().map(|s| (*s.key.bytes(), s)).collect();
    let (mut approved, mut declined) = (0, 0);
    let query = HistoryQuery::default();
    history::read(
        data,
        &query,
        up_to,
        &mut |body| {
            for e in body.entries.iter().filter(|e| e.kind == 4) {
                // A request that met its own decision in flight is in the log twice and decided once.
                if e.flags & (tegata_wire::FLAG_REPLAYED | tegata_wire::FLAG_REFUSED) != 0 {
                    continue;
                }
                let s = by_key.remove(&e.key).expect("a debit that nobody sent, or a second one under its key");
                let answer = s.answer.expect("everything was answered in the end");
                assert_eq!((e.code, e.amount, e.position), (answer.code, answer.amount, answer.position));
                if e.code == 0 { approved += 1 } else { declined += 1 }
            }
            Ok(())
        },
        &|| false,
    )
    .expect("the journal replays");
    assert!(by_key.is_empty(), "{} answered debits are not in the journal", by_key.len());
    (approved, declined)
}
