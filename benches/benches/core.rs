//! The parts of a decision, each by itself: applying by kind and number of accounts, finding a key, taking a frame apart,
//! making a batch durable. `TEGATA_LARGE=1` adds 10 million accounts.

use criterion::{BatchSize, BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use std::hint::black_box;
use std::time::{Duration, Instant};
use tegata_access::{Asked, Bucket, Class, Rate};
use tegata_engine::Engine;
use tegata_journal::{BatchMeta, IoChoice, Options};
use tegata_model::{
    AccountId, Amount, Approval, Command, Decision, Envelope, GatewayId, Key, Life, LotKind, NamespaceId, Operation,
    Position, Programme, ProgrammeId, Purchase, ShopId, TerminalId, Timestamp, encode, mix,
};
use tegata_wire::{REQUEST_HEADER_BYTES, RequestHeader, encode_operation, record_from_frame, request_header};

const START_US: i64 = 1_700_000_000_000_000;
const SHOPS: u64 = 100;
const WALLETS: u64 = 10_000;
/// Logged time between two commands: holds of a second die about as fast as they are made.
const STEP_US: i64 = 100;
/// Suspending comes last: what it leaves declines everything.
const KINDS: [&str; 14] = [
    "issue",
    "load",
    "charge",
    "debit",
    "confirmed debit",
    "confirm",
    "hold",
    "capture",
    "void",
    "reversal",
    "refund",
    "reinstate",
    "fence",
    "suspend",
];

fn account(n: u64) -> AccountId {
    AccountId::from_text(&format!("C{n:010}")).expect("an account")
}

fn wallet(n: u64) -> AccountId {
    AccountId::from_text(&format!("W{n:010}")).expect("an account")
}

fn yen(n: u64) -> Amount {
    Amount::new(n).expect("an amount")
}

/// A state with accounts, and the log that goes on from it.
struct World {
    engine: Engine,
    accounts: u64,
    /// Commands made so far.
    made: u64,
}

impl World {
    fn new(accounts: u64) -> Self {
        let mut world = Self { engine: Engine::new(8), accounts, made: 0 };
        world.now(AccountId::NONE, Operation::Programme(Programme::with_defaults(ProgrammeId::new(1))));
        for n in 0..SHOPS {
            world.now(AccountId::NONE, Operation::Shop { shop: shop(n), programme: ProgrammeId::NONE, name: [0; 48] });
        }
        for n in 0..accounts {
            world.now(account(n), issue(900_000_000));
        }
        world
    }

    fn record(&mut self, account: AccountId, operation: Operation) -> (Key, Vec<u8>) {
        self.made += 1;
        let at = Timestamp::from_micros(START_US + self.made as i64 * STEP_US);
        let key = Key::new(at, u128::from(mix(self.made, 3)) << 64 | u128::from(mix(self.made, 7)));
        let namespace = NamespaceId::new(1);
        let envelope = Envelope { received_at: at, namespace, account, key, ..Envelope::default() };
        let mut record = Vec::with_capacity(256);
        encode(&Command { envelope, operation }, &mut record);
        (key, record)
    }

    fn apply(&mut self, record: &[u8]) -> Decision {
        let position = self.engine.applied().next();
        let at = Timestamp::from_micros(START_US + self.made as i64 * STEP_US);
        self.engine.apply(position, at, record).expect("a record").decision
    }

    fn now(&mut self, account: AccountId, operation: Operation) -> Key {
        let (key, record) = self.record(account, operation);
        self.apply(&record);
        key
    }

    fn any(&self) -> AccountId {
        account(mix(self.made, 11) % self.accounts)
    }

    fn purchase(&self) -> Purchase {
        Purchase {
            shop: shop(mix(self.made, 13) % SHOPS),
            terminal: TerminalId::NONE,
            // Hardly ever a like one: the guard is asked, and finds nothing.
            amount: yen(1 + mix(self.made, 17) % 900_000),
            token: Position::ZERO,
            partial: false,
        }
    }
}

fn shop(n: u64) -> ShopId {
    ShopId::from_text(&format!("S{n}")).expect("a shop")
}

fn issue(amount: u64) -> Operation {
    Operation::Issue {
        programme: ProgrammeId::new(1),
        amount: yen(amount),
        expires_at: Timestamp::ZERO,
        valid_from: Timestamp::ZERO,
        stay_end_day: 0,
        kind: LotKind::Promo,
    }
}

/// Commands of one kind, with whatever must come before each applied already.
fn commands(world: &mut World, kind: &str, count: u64) -> Vec<Vec<u8>> {
    let mut all = Vec::with_capacity(count as usize);
    for _ in 0..count {
        let of = world.any();
        let purchase = world.purchase();
        let operation = match kind {
            "issue" => {
                all.push(world.record(account(world.accounts + world.made), issue(5_000)).1);
                continue;
            }
            "load" => {
                let (amount, expires_at, kind) = (yen(1), Timestamp::ZERO, LotKind::Paid);
                let load = Operation::Load { programme: ProgrammeId::new(1), amount, expires_at, kind };
                all.push(world.record(wallet(world.made % WALLETS), load).1);
                continue;
            }
            "charge" => Operation::Charge { wallet: wallet(world.made % WALLETS), amount: 1 },
            "debit" => Operation::Debit(purchase),
            "confirmed debit" => Operation::DebitConfirmed { purchase, seconds: 1 },
            "confirm" => {
                Operation::Confirm { original: world.now(of, Operation::DebitConfirmed { purchase, seconds: 0 }) }
            }
            "void" => Operation::Void { original: world.now(of, Operation::Hold { purchase, seconds: 0 }) },
            "reinstate" => Operation::Reinstate {
                programme: ProgrammeId::new(1),
                amount: yen(1),
                expires_at: Timestamp::from_micros(START_US + 400 * 86_400_000_000),
                corrects: world.now(of, Operation::Debit(purchase)),
                approval: Approval { maker: [1; 16], approver: [2; 16], reason: [0; 48], incident: 0, plan: 1 },
            },
            "suspend" => Operation::AccountLife(Life::Suspended),
            "hold" => Operation::Hold { purchase, seconds: 1 },
            "capture" => {
                Operation::Capture { original: world.now(of, Operation::Hold { purchase, seconds: 0 }), amount: 0 }
            }
            "reversal" => Operation::Reversal { original: world.now(of, Operation::Debit(purchase)), remain: 0 },
            "refund" => Operation::Refund { original: world.now(of, Operation::Debit(purchase)), amount: yen(1) },
            _ => Operation::Fence,
        };
        all.push(world.record(of, operation).1);
    }
    all
}

fn apply(c: &mut Criterion) {
    let large = std::env::var_os("TEGATA_LARGE").is_some();
    let sizes: &[u64] = if large { &[10_000, 1_000_000, 10_000_000] } else { &[10_000, 1_000_000] };
    for accounts in sizes {
        let mut world = World::new(*accounts);
        let mut group = c.benchmark_group("apply");
        group.throughput(Throughput::Elements(1)).sample_size(20).measurement_time(Duration::from_secs(2));
        for kind in KINDS {
            group.bench_function(BenchmarkId::new(kind, accounts), |b| {
                b.iter_custom(|n| {
                    let all = commands(&mut world, kind, n);
                    let began = Instant::now();
                    for record in &all {
                        black_box(world.apply(record));
                    }
                    began.elapsed()
                });
            });
        }
        group.finish();
    }
}

fn tables(c: &mut Criterion) {
    const KEYS: u64 = 1_000_000;
    let mut world = World::new(KEYS);
    let map = dashmap::DashMap::<(AccountId, NamespaceId, Key), [u64; 12]>::new();
    let mut keys = Vec::new();
    for _ in 0..KEYS {
        let (of, purchase) = (world.any(), world.purchase());
        let key = world.now(of, Operation::Debit(purchase));
        map.insert((of, NamespaceId::new(1), key), [world.made; 12]);
        keys.push((of, key));
    }
    let mut group = c.benchmark_group("tables");
    group.throughput(Throughput::Elements(1));
    let at = world.engine.at();
    let pick = |i: &mut u64| {
        *i += 1;
        keys[(mix(*i, 23) % KEYS) as usize]
    };
    let mut i = 0;
    group.bench_function("key: the engine's table", |b| {
        b.iter(|| {
            let (of, key) = pick(&mut i);
            black_box(world.engine.status(NamespaceId::new(1), &of, &key, at))
        });
    });
    group.bench_function("key: dashmap", |b| {
        b.iter(|| {
            let (of, key) = pick(&mut i);
            black_box(map.get(&(of, NamespaceId::new(1), key)).map(|d| *d))
        });
    });
    group.finish();
}

fn codec(c: &mut Criterion) {
    let world = World::new(1);
    let mut frame = Vec::new();
    let header = RequestHeader {
        account: *account(0).bytes(),
        key: *Key::new(world.engine.at(), 7).bytes(),
        namespace: 1,
        ..RequestHeader::default()
    };
    encode_operation(&header, &Operation::Debit(world.purchase()), &mut frame);
    let mut group = c.benchmark_group("codec");
    group.throughput(Throughput::Bytes(frame.len() as u64));
    group.bench_function("a debit's frame to its record", |b| {
        let mut out = Vec::with_capacity(256);
        b.iter(|| {
            out.clear();
            tegata_wire::check_crc(&frame).expect("a sound frame");
            let h = request_header(&frame).expect("a header");
            record_from_frame(&frame, &h, world.engine.at(), GatewayId::new(1), &mut out).expect("a record")
        });
    });
    group.bench_function("a debit to its frame", |b| {
        let operation = Operation::Debit(world.purchase());
        b.iter_batched_ref(
            || Vec::with_capacity(256),
            |out| encode_operation(&header, &operation, out),
            BatchSize::SmallInput,
        );
    });
    group.finish();
}

/// What rights cost a debit, beside taking its frame apart.
fn rights(c: &mut Criterion) {
    let world = World::new(1);
    let mut frame = Vec::new();
    encode_operation(&RequestHeader::default(), &Operation::Debit(world.purchase()), &mut frame);
    let body = &frame[REQUEST_HEADER_BYTES..];
    let any = "operations = \"any\"\nshops = \"any\"\nprogrammes = \"any\"\namount_max = 999_999\n";
    let shops: Vec<String> = (0..SHOPS).map(|n| format!("\"{}\"", shop(n))).collect();
    let by_name = format!("operations = [\"debit\"]\nshops = [{}]\nprogrammes = [1]\n", shops.join(", "));
    let mut group = c.benchmark_group("rights");
    for (name, grant) in [("any shop", any), ("one of 100 shops", &by_name)] {
        let file = format!("[[gateway]]\nnumber = 1\nnamespaces = [1]\n[[gateway.grant]]\n{grant}");
        let rights = tegata_access::read_rights(&file).expect("a file of rights");
        let caller = rights.of(Class::Gateway, GatewayId::new(1)).expect("a caller");
        group.bench_function(BenchmarkId::new("a debit is judged", name), |b| {
            b.iter(|| caller.judge(&Asked::of(black_box(4), black_box(body))));
        });
    }
    group.bench_function("a debit is taken from a rate", |b| {
        let (bucket, rate) = (Bucket::default(), Rate { per_second: 1_000_000, burst: 1_000 });
        let mut now = 0;
        b.iter(|| {
            now += 1_000;
            bucket.take(rate, black_box(now))
        });
    });
    group.finish();
}

fn journal(c: &mut Criterion) {
    let mut group = c.benchmark_group("journal");
    group.sample_size(20).measurement_time(Duration::from_secs(3));
    for (name, io) in [("io_uring", IoChoice::Uring), ("pwritev2", IoChoice::Pwritev2)] {
        for kib in [4usize, 64, 256] {
            let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a folder on the disk");
            let mut options = Options::new(folder.path().join("data"));
            (options.io, options.store_id) = (io, [1; 16]);
            let Ok(journal) = tegata_journal::open(options) else { continue };
            let Ok(mut writer) = journal.into_writer() else { continue };
            let body = vec![7u8; kib * 1_024 - tegata_journal::BATCH_HEADER_BYTES];
            let mut position = 0;
            group.throughput(Throughput::Bytes(kib as u64 * 1_024));
            group.bench_function(BenchmarkId::new(format!("durable batch, {name}"), format!("{kib} KiB")), |b| {
                b.iter(|| {
                    while !writer.has_room() {
                        writer.wait(Some(Duration::from_millis(10))).expect("the disk works");
                        writer.reap().expect("the disk works");
                    }
                    position += 1;
                    let meta = BatchMeta { first_position: position, count: 1, at_us: START_US, margin: [0; 64] };
                    writer.append(&meta, &[&body]).expect("the disk works");
                    while writer.reap().expect("the disk works") < position {
                        writer.wait(Some(Duration::from_millis(10))).expect("the disk works");
                    }
                });
            });
            writer.close().expect("the disk works");
        }
    }
    group.finish();
}

criterion_group!(benches, apply, tables, codec, rights, journal);
criterion_main!(benches);
