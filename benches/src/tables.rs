//! What many coupons and decisions cost: memory for each, the longest pause of one command while tables grow, and how
//! fast a snapshot's pages are copied and made an engine again. In process, without disk or network.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};
use tegata_engine::{Engine, Restorer, Sizes};
use tegata_model::{
    AccountId, Amount, Command, Envelope, Key, LotKind, NamespaceId, Operation, Position, Programme, ProgrammeId,
    Purchase, ShopId, TerminalId, Timestamp, encode, mix,
};

const SHOPS: u64 = 500;

/// What was measured.
#[derive(Debug)]
pub struct Tables {
    /// Bytes of an account, its index included.
    pub bytes_per_coupon: f64,
    /// Bytes of a remembered decision that is no debit, indexes included.
    pub bytes_per_decision: f64,
    /// Bytes of a remembered debit, indexes included.
    pub bytes_per_debit: f64,
    /// Issues applied a second.
    pub issues_per_second: f64,
    /// Debits applied a second, one after the other.
    pub debits_per_second: f64,
    /// The longest time that one command took to be applied.
    pub longest_apply: Duration,
    /// Commands that took more than a millisecond, in each of two runs of the same commands.
    pub slow: [usize; 2],
    /// Commands that took more than a millisecond in both.
    pub slow_in_both: usize,
    /// A snapshot's beginning.
    pub snapshot_begin: Duration,
    /// The longest page of a snapshot.
    pub longest_page: Duration,
    /// All pages.
    pub snapshot_copy: Duration,
    /// An engine from the pages.
    pub restore: Duration,
}

fn account(n: u64) -> AccountId {
    AccountId::from_text(&format!("C{n:011}")).expect("an account")
}

fn command(n: u64, coupons: u64) -> (AccountId, Operation) {
    let amount = |n| Amount::new(n).expect("in range");
    let shop = |n: u64| ShopId::from_text(&format!("S{n}")).expect("a shop");
    match n {
        0 => (AccountId::NONE, Operation::Programme(Programme::with_defaults(ProgrammeId::new(1)))),
        n if n <= SHOPS => {
            (AccountId::NONE, Operation::Shop { shop: shop(n - 1), programme: ProgrammeId::NONE, name: [0; 48] })
        }
        n if n <= SHOPS + coupons => {
            let issue = Operation::Issue {
                programme: ProgrammeId::new(1),
                amount: amount(900_000_000),
                expires_at: Timestamp::ZERO,
                valid_from: Timestamp::ZERO,
                stay_end_day: 0,
                kind: LotKind::Promo,
            };
            (account(n - SHOPS - 1), issue)
        }
        n => {
            let purchase = Purchase {
                shop: shop(mix(n, 13) % SHOPS),
                terminal: TerminalId::NONE,
                // No two are alike: the guard keeps an entry for each.
                amount: amount(1 + n % 900_000),
                token: Position::ZERO,
                partial: false,
            };
            (account(mix(n, 11) % coupons), Operation::Debit(purchase))
        }
    }
}

fn record(n: u64, coupons: u64, out: &mut Vec<u8>) -> Timestamp {
    let at = Timestamp::from_micros(1_700_000_000_000_000 + n as i64);
    let (account, operation) = command(n, coupons);
    let key = Key::new(at, u128::from(mix(n, 3)) << 64 | u128::from(mix(n, 7)));
    let envelope = Envelope { received_at: at, namespace: NamespaceId::new(1), account, key, ..Envelope::default() };
    out.clear();
    encode(&Command { envelope, operation }, out);
    at
}

/// State that grew from nothing, one command after the other.
struct Grown {
    engine: Engine,
    /// Time that issues took, and debits.
    spent: [Duration; 2],
    issued: Sizes,
    longest: Duration,
    /// Commands that took more than a millisecond.
    slow: BTreeSet<u64>,
}

fn grow(coupons: u64, debits: u64) -> Grown {
    let (spent, issued) = ([Duration::ZERO; 2], Sizes::default());
    let mut g = Grown { engine: Engine::new(8), spent, issued, longest: Duration::ZERO, slow: BTreeSet::new() };
    let mut bytes = Vec::with_capacity(256);
    for n in 0..=SHOPS + coupons + debits {
        let at = record(n, coupons, &mut bytes);
        let began = Instant::now();
        g.engine.apply(Position::new(n + 1), at, &bytes).expect("a record");
        let took = began.elapsed();
        g.spent[usize::from(n > SHOPS + coupons)] += took;
        g.longest = g.longest.max(took);
        if took > Duration::from_millis(1) {
            g.slow.insert(n);
        }
        if n == SHOPS + coupons {
            g.issued = g.engine.sizes();
        }
    }
    g
}

/// Applies `coupons` issues and `debits` debits, twice, then copies the state page by page and makes it an engine again.
#[must_use]
pub fn tables(coupons: u64, debits: u64, page: usize) -> Tables {
    // A table that grows does so at the same command every time; what a noisy machine does, it does anywhere.
    let before = grow(coupons, debits).slow;
    let Grown { mut engine, spent, issued, longest, slow } = grow(coupons, debits);
    let sizes = engine.sizes();
    let began = Instant::now();
    let head = engine.start_snapshot();
    let snapshot_begin = began.elapsed();
    let (mut pages, mut longest_page) = (Vec::new(), Duration::ZERO);
    let copying = Instant::now();
    loop {
        let began = Instant::now();
        let Some(page) = engine.snapshot_page(page) else { break };
        longest_page = longest_page.max(began.elapsed());
        pages.push(page);
    }
    let snapshot_copy = copying.elapsed();
    let digest = engine.digest();
    drop(engine);
    let began = Instant::now();
    let mut restorer = Restorer::new(&head).expect("a head");
    for page in pages {
        restorer.page(&page).expect("a page");
    }
    let again = restorer.finish().expect("an engine");
    let restore = began.elapsed();
    assert_eq!(again.digest(), digest, "the snapshot is the state");
    let rate = |count: u64, d: Duration| (count as f64 / d.as_secs_f64().max(1e-9)).round();
    Tables {
        bytes_per_coupon: issued.account_bytes as f64 / coupons as f64,
        bytes_per_decision: issued.decision_bytes as f64 / coupons as f64,
        bytes_per_debit: (sizes.decision_bytes - issued.decision_bytes) as f64 / debits.max(1) as f64,
        issues_per_second: rate(coupons, spent[0]),
        debits_per_second: rate(debits, spent[1]),
        longest_apply: longest,
        slow: [before.len(), slow.len()],
        slow_in_both: slow.intersection(&before).count(),
        snapshot_begin,
        longest_page,
        snapshot_copy,
        restore,
    }
}
