//! What a refusal costs codec and node, without disk and network, while the queue stands: frames become bundles, bundles
//! go in, and what comes out is written together. A few in a hundred are admitted and applied in between, as under load.

use clap::Parser;
use std::time::{Duration, Instant};
use tegata_bench::now;
use tegata_engine::Engine;
use tegata_model::{
    AccountId, Amount, Class, Code, GatewayId, Key, Operation, Position, Purchase, Settings, ShopId, TerminalId,
    Timestamp, mix,
};
use tegata_node::{Answer, Carried, Cause, Guard, Inbound, Limits, Node, Order, Outbound, Question, Waiter};
use tegata_wire::{self as wire, Refusals, RequestHeader, Scan};

#[global_allocator]
static ALLOCATOR: tegata_pages::HugePages = tegata_pages::HugePages;

/// Measures refusals.
#[derive(Debug, Parser)]
#[command(version)]
struct Args {
    /// Requests.
    #[arg(long, default_value_t = 4_000_000)]
    requests: u64,
    /// Requests of one bundle, of one connection.
    #[arg(long, default_value_t = 94)]
    bundle: u64,
    /// Bundles of a turn.
    #[arg(long, default_value_t = 8)]
    turn: u64,
    /// Records that are applied in a turn.
    #[arg(long, default_value_t = 64)]
    applied: usize,
    /// They are denied, as whoever asks too often is, and none is admitted.
    #[arg(long)]
    denied: bool,
}

/// What a connection sent.
fn frames(requests: std::ops::Range<u64>, at: Timestamp) -> Vec<u8> {
    let mut frames = Vec::new();
    for n in requests {
        let account = AccountId::from_text(&format!("C{:010}", mix(n, 11) % 10_000_000)).expect("an account");
        let header = RequestHeader {
            request_id: n,
            deadline_ms: 1_000,
            account: *account.bytes(),
            key: *Key::new(at, u128::from(mix(n, 3)) << 64 | u128::from(mix(n, 7))).bytes(),
            namespace: 1,
            ..RequestHeader::default()
        };
        let debit = Operation::Debit(Purchase {
            shop: ShopId::from_text("S1").expect("a shop"),
            terminal: TerminalId::NONE,
            amount: Amount::new(100).expect("in range"),
            token: Position::ZERO,
            partial: false,
        });
        wire::encode_operation(&header, &debit, &mut frames);
    }
    frames
}

fn take(frames: &[u8], connection: u64, at: Timestamp, denied: bool, bundle: &mut Inbound) {
    let gateway = GatewayId::new(1);
    let mut rest = frames;
    while let Scan::Frame { frame, rest: tail } = wire::scan(rest, wire::FRAME_BYTES_MAX) {
        wire::check_crc(frame).expect("it was sealed");
        let header = wire::request_header(frame).expect("a whole frame");
        let waiter = Waiter { connection, request: header.request_id };
        if denied {
            wire::record_unlooked(frame, &header, at, gateway, &mut bundle.guarded).expect("a command");
            bundle.guards.push((waiter, Guard::Denied(Code::RateExceeded)));
        } else {
            wire::record_unlooked(frame, &header, at, gateway, &mut bundle.unlooked).expect("a command");
            bundle.unlooked_waiters.push(waiter);
        }
        rest = tail;
    }
}

/// Writes the refusals among the answers; how many they were.
fn write(answers: &[Answer], out: &mut Vec<u8>) -> usize {
    let mut row: Option<Refusals> = None;
    let refused = answers.iter().filter(|a| a.decision.code.class() == Class::NotExecuted);
    let count = refused.clone().count();
    for a in refused {
        let (code, at) = (u16::from(a.decision.code.number()), a.decision.at.micros());
        if let Some(full) = row.take_if(|row| !row.takes(code, at)) {
            full.end(out);
        }
        row.get_or_insert_with(|| Refusals::begin(out, code, at)).push(out, a.waiter.request, a.retry_after_ms);
    }
    if let Some(row) = row {
        row.end(out);
    }
    count
}

/// Adds the time that `does` takes.
fn time<T>(sum: &mut Duration, does: impl FnOnce() -> T) -> T {
    let began = Instant::now();
    let result = does();
    *sum += began.elapsed();
    result
}

fn main() {
    let args = Args::parse();
    let mut node = Node::new(Engine::new(8), Limits::default(), Settings::default(), Carried::default(), now());
    let operator = Waiter { connection: args.turn, request: 0 };
    let order = Question::Order(Cause::QueueDelay, Order::Open);
    node.accept(0, Inbound { questions: vec![(operator, order)], ..Inbound::default() }, now());
    let [mut reading, mut refusing, mut writing] = [Duration::ZERO; 3];
    let (mut sent, mut refused) = (0, 0);
    let (mut spare, mut answers, mut out) = (Vec::new(), Outbound::default(), Vec::new());
    while sent < args.requests {
        let mut bundles = Vec::new();
        for connection in 0..args.turn {
            let at = now();
            let frames = frames(sent..sent + args.bundle, at);
            sent += args.bundle;
            let mut bundle: Inbound = spare.pop().unwrap_or_default();
            time(&mut reading, || take(&frames, connection, at, args.denied, &mut bundle));
            bundles.push(bundle);
        }
        time(&mut refusing, || {
            spare.extend(bundles.into_iter().map(|bundle| node.accept(0, bundle, now())));
            node.pass_time(now());
        });
        node.look(now(), false);
        if let Some(sealed) = node.seal(now()) {
            let last = sealed.first_position + u64::from(sealed.count) - 1;
            node.durable(last);
        }
        node.apply_some(args.applied);
        answers.answers.clear();
        answers.replies.clear();
        if let Some(full) = node.take_outbound(0, std::mem::take(&mut answers)) {
            refused += time(&mut writing, || write(&full.answers, &mut out));
            answers = full;
        }
        out.clear();
    }
    let each = |d: Duration| d.as_nanos() as f64 / sent as f64;
    println!(
        "{}",
        serde_json::json!({
            "requests": sent, "refused": refused, "read_ns": each(reading), "refuse_ns": each(refusing),
            "write_ns": each(writing), "all_ns": each(reading + refusing + writing),
        })
    );
}
