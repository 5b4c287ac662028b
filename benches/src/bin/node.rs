//! What admission and engine cost a debit, without disk and network: bundles go in, batches are sealed and called
//! durable at once, answers come out. The window of requests in flight is that of 64 connections × 16.

use clap::Parser;
use std::time::{Duration, Instant};
use tegata_bench::now;
use tegata_engine::Engine;
use tegata_model::{
    AccountId, Amount, Command, Envelope, Key, LotKind, NamespaceId, Operation, Position, Programme, ProgrammeId,
    Purchase, Settings, ShopId, TerminalId, Timestamp, encode, mix,
};
use tegata_node::{Carried, Inbound, Limits, Node, Outbound, Waiter};

#[global_allocator]
static ALLOCATOR: tegata_pages::HugePages = tegata_pages::HugePages;

/// Measures node and engine.
#[derive(Debug, Parser)]
#[command(version)]
struct Args {
    /// Coupons.
    #[arg(long, default_value_t = 1_000_000)]
    coupons: u64,
    /// Debits.
    #[arg(long, default_value_t = 4_000_000)]
    debits: u64,
    /// Requests of one bundle.
    #[arg(long, default_value_t = 128)]
    bundle: u64,
    /// Requests in flight.
    #[arg(long, default_value_t = 1_024)]
    window: u64,
    /// Partitions of the state.
    #[arg(long, default_value_t = 8)]
    shards: u32,
    /// Bytes of memory that are touched before.
    #[arg(long, default_value_t = 3_000_000_000)]
    warm_bytes: usize,
}

const SHOPS: u64 = 500;

fn shop(n: u64) -> ShopId {
    ShopId::from_text(&format!("S{n}")).expect("a shop")
}

fn account(n: u64) -> AccountId {
    let mut id = [0; 16];
    id[0] = b'C';
    let mut n = n;
    for i in (1..=10).rev() {
        id[i] = b'0' + (n % 10) as u8;
        n /= 10;
    }
    AccountId::from_bytes(id).expect("an account")
}

fn operation(n: u64, coupons: u64) -> (AccountId, Operation) {
    let amount = |n| Amount::new(n).expect("in range");
    match n {
        0 => (AccountId::NONE, Operation::Programme(Programme::with_defaults(ProgrammeId::new(1)))),
        n if n <= SHOPS => {
            (AccountId::NONE, Operation::Shop { shop: shop(n - 1), programme: ProgrammeId::NONE, name: [0; 48] })
        }
        n if n <= SHOPS + coupons => (
            account(n - 1 - SHOPS),
            Operation::Issue {
                programme: ProgrammeId::new(1),
                amount: amount(900_000_000),
                expires_at: Timestamp::ZERO,
                valid_from: Timestamp::ZERO,
                stay_end_day: 0,
                kind: LotKind::Promo,
            },
        ),
        n => (
            account(mix(n, 11) % coupons),
            Operation::Debit(Purchase {
                shop: shop(mix(n, 13) % SHOPS),
                terminal: TerminalId::NONE,
                amount: amount(1 + n % 900_000),
                token: Position::ZERO,
                partial: false,
            }),
        ),
    }
}

/// Seals what is open; its last position.
fn sealed_to(node: &mut Node) -> Option<u64> {
    node.seal(now()).map(|sealed| sealed.first_position + u64::from(sealed.count) - 1)
}

fn main() {
    let args = Args::parse();
    if tegata_pages::keep_warm(args.warm_bytes).is_ok() {
        tegata_pages::wait_until_warm();
    }
    let mut node =
        Node::new(Engine::new(args.shards), Limits::default(), Settings::default(), Carried::default(), now());
    let (mut accepting, mut applying, mut refused) = (Duration::ZERO, Duration::ZERO, 0u64);
    let first_debit = 1 + SHOPS + args.coupons;
    let total = first_debit + args.debits;
    let (mut sent, mut answered) = (0, 0);
    let mut bundle = Inbound::default();
    let mut out = Outbound::default();
    let mut durable: std::collections::VecDeque<u64> = std::collections::VecDeque::new();
    while answered < total {
        while sent < total && sent - answered + args.bundle <= args.window {
            for _ in 0..args.bundle.min(total - sent) {
                let (account, operation) = operation(sent, args.coupons);
                let at = now();
                let key = Key::new(at, u128::from(mix(sent, 3)) << 64 | u128::from(mix(sent, 7)));
                let envelope =
                    Envelope { received_at: at, namespace: NamespaceId::new(1), account, key, ..Envelope::default() };
                encode(&Command { envelope, operation }, &mut bundle.records);
                bundle.waiters.push(Waiter { connection: 1, request: sent });
                sent += 1;
            }
            let began = Instant::now();
            bundle = node.accept(0, std::mem::take(&mut bundle), now());
            if sent > first_debit {
                accepting += began.elapsed();
            }
            durable.extend(sealed_to(&mut node));
        }
        // No more than a bounded time of work is ahead of the engine: the others waited for a place.
        durable.extend(sealed_to(&mut node));
        node.durable(durable.pop_front().expect("something is in flight"));
        let began = Instant::now();
        while node.apply_some(128) {}
        if answered >= first_debit {
            applying += began.elapsed();
        }
        out.answers.clear();
        if let Some(full) = node.take_outbound(0, std::mem::take(&mut out)) {
            answered += full.answers.len() as u64;
            refused += full.answers.iter().filter(|a| a.decision.code.number() != 0).count() as u64;
            out = full;
        }
    }
    let each = |d: Duration| d.as_nanos() as f64 / args.debits as f64;
    println!(
        "{}",
        serde_json::json!({
            "coupons": args.coupons, "debits": args.debits, "refused": refused,
            "accept_ns": each(accepting), "apply_ns": each(applying), "both_ns": each(accepting + applying),
        })
    );
}
