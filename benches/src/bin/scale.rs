//! What many coupons and decisions cost: memory for each, the longest pause of one command while tables grow, and how
//! fast a snapshot's pages are copied and made an engine again. In process, without disk or network.

use clap::Parser;
use std::time::{Duration, Instant};
use tegata_engine::{Engine, Restorer};
use tegata_model::{
    AccountId, Amount, Command, Envelope, Key, LotKind, NamespaceId, Operation, Position, Programme, ProgrammeId,
    Timestamp, encode, mix,
};

#[global_allocator]
static ALLOCATOR: tegata_pages::HugePages = tegata_pages::HugePages;

/// Measures tables at a size.
#[derive(Debug, Parser)]
#[command(version)]
struct Args {
    /// Coupons; each is issued by one decision.
    #[arg(long, default_value_t = 10_000_000)]
    coupons: u64,
    /// Slots of a page of the snapshot.
    #[arg(long, default_value_t = 2_048)]
    page: usize,
    /// Bytes of memory that are touched before.
    #[arg(long, default_value_t = 6_000_000_000)]
    warm_bytes: usize,
}

fn record(n: u64, out: &mut Vec<u8>) -> Timestamp {
    let at = Timestamp::from_micros(1_700_000_000_000_000 + n as i64);
    let operation = match n {
        0 => Operation::Programme(Programme::with_defaults(ProgrammeId::new(1))),
        _ => Operation::Issue {
            programme: ProgrammeId::new(1),
            amount: Amount::new(5_000).expect("in range"),
            expires_at: Timestamp::ZERO,
            valid_from: Timestamp::ZERO,
            stay_end_day: 0,
            kind: LotKind::Promo,
        },
    };
    let account = match n {
        0 => AccountId::NONE,
        _ => AccountId::from_text(&format!("C{n:011}")).expect("an account"),
    };
    let key = Key::new(at, u128::from(mix(n, 3)) << 64 | u128::from(mix(n, 7)));
    let envelope = Envelope { received_at: at, namespace: NamespaceId::new(1), account, key, ..Envelope::default() };
    out.clear();
    encode(&Command { envelope, operation }, out);
    at
}

fn main() {
    let args = Args::parse();
    if tegata_pages::keep_warm(args.warm_bytes).is_ok() {
        tegata_pages::wait_until_warm();
    }
    let mut engine = Engine::new(8);
    let (mut spent, mut longest, mut over) = (Duration::ZERO, Duration::ZERO, 0u64);
    let mut bytes = Vec::with_capacity(256);
    for n in 0..=args.coupons {
        let at = record(n, &mut bytes);
        let began = Instant::now();
        engine.apply(Position::new(n + 1), at, &bytes).expect("a record");
        let took = began.elapsed();
        spent += took;
        longest = longest.max(took);
        over += u64::from(took > Duration::from_millis(1));
    }
    let sizes = engine.sizes();
    let began = Instant::now();
    let head = engine.start_snapshot();
    let first = began.elapsed();
    let (mut pages, mut step) = (Vec::new(), Duration::ZERO);
    let copying = Instant::now();
    loop {
        let began = Instant::now();
        let Some(page) = engine.snapshot_page(args.page) else { break };
        step = step.max(began.elapsed());
        pages.push(page);
    }
    let copied = copying.elapsed();
    let digest = engine.digest();
    drop(engine);
    let began = Instant::now();
    let mut restorer = Restorer::new(&head).expect("a head");
    for page in pages {
        restorer.page(&page).expect("a page");
    }
    let again = restorer.finish().expect("an engine");
    let restored = began.elapsed();
    assert_eq!(again.digest(), digest, "the snapshot is the state");
    let each = |bytes: u64| bytes as f64 / args.coupons as f64;
    println!(
        "{}",
        serde_json::json!({
            "coupons": args.coupons, "bytes_per_coupon": each(sizes.account_bytes),
            "bytes_per_decision": each(sizes.decision_bytes),
            "applied_per_second": (args.coupons as f64 / spent.as_secs_f64()).round(),
            "longest_apply_us": longest.as_micros() as u64, "applies_over_1_ms": over,
            "snapshot_begin_us": first.as_micros() as u64, "snapshot_copy_ms": copied.as_millis() as u64,
            "longest_page_us": step.as_micros() as u64, "restore_ms": restored.as_millis() as u64,
        })
    );
}
