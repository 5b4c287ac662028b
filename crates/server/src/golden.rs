//! What is in a snapshot stays as it is: a state with something in every table is written byte for byte as the golden
//! file and read from it, and the tables of `docs/formats/journal.md` find in it what was put in.

use crate::snapshot::Taking;
use std::path::{Path, PathBuf};
use tegata_drive::{Beginning, Copying, load};
use tegata_engine::Engine;
use tegata_journal::{ReadError, read_snapshot};
use tegata_model::{
    AccountId, Advice, Allowance, Amount, Approval, Command, Envelope, Extension, GatewayId, Key, Life, LotKind, Mark,
    NamespaceId, Operation, Position, Programme, ProgrammeId, Purchase, Settings, ShopId, State, TerminalId, Timestamp,
    encode,
};
use tegata_node::Carried;

const GOLDEN: &[u8] = include_bytes!("../tests/golden/v2.snap");
/// What version 1 wrote: it knew no stand-in.
const GOLDEN_1: &[u8] = include_bytes!("../tests/golden/v1.snap");
const STORE: [u8; 16] = [9; 16];
/// 2026-11-24 00:00 in Japan.
const START: Timestamp = Timestamp::from_micros(1_795_446_000_000_000);
const COUPON: &str = "C1";
const WALLET: &str = "W1";

struct Log {
    engine: Engine,
    position: Position,
}

impl Log {
    fn at(&self) -> Timestamp {
        START.plus_seconds(self.position.get())
    }

    /// The key of the command at a position.
    fn key(position: u64) -> Key {
        Key::new(START.plus_seconds(position), u128::from(position) << 72)
    }

    fn run(&mut self, account: &str, operation: Operation) {
        self.position = self.position.next();
        let envelope = Envelope {
            received_at: self.at(),
            namespace: NamespaceId::new(1),
            gateway: GatewayId::new(1),
            account: AccountId::from_text(account).unwrap_or(AccountId::NONE),
            key: Self::key(self.position.get()),
            ..Envelope::default()
        };
        let mut record = Vec::new();
        encode(&Command { envelope, operation }, &mut record);
        let applied = self.engine.apply(self.position, self.at(), &record).expect("a record");
        assert!(applied.decision.code.number() < 2, "{operation:?}: {:?}", applied.decision);
    }
}

fn yen(n: u64) -> Amount {
    Amount::new(n).expect("in range")
}

fn purchase(amount: u64) -> Purchase {
    let (shop, terminal) = (ShopId::from_text("S1").expect("a shop"), TerminalId::from_text("T1").expect("a terminal"));
    Purchase { shop, terminal, amount: yen(amount), token: Position::ZERO, partial: false }
}

/// Sixteen commands that leave something in every table, and in every field of the head that version 1 had.
fn state_1() -> Log {
    let mut log = Log { engine: Engine::new(1), position: Position::ZERO };
    let programme = ProgrammeId::new(13);
    let expires_at = START.plus_seconds(90 * 86_400);
    let first = Operation::Epoch { delivered_to: Position::ZERO, settings: Settings::default() };
    log.run("", first);
    log.run("", Operation::Programme(Programme { name: [b'p'; 48], ..Programme::with_defaults(programme) }));
    log.run("", Operation::Shop { shop: purchase(1).shop, programme, name: [b's'; 48] });
    let kind = LotKind::Promo;
    let issue =
        Operation::Issue { programme, amount: yen(5_000), expires_at, valid_from: START, stay_end_day: 20_785, kind };
    log.run(COUPON, issue);
    log.run(WALLET, Operation::Load { programme, amount: yen(900), expires_at, kind });
    log.run(WALLET, Operation::Load { programme, amount: yen(70), expires_at, kind: LotKind::Paid });
    log.run(COUPON, Operation::Debit(purchase(500)));
    log.run(COUPON, Operation::Hold { purchase: purchase(300), seconds: 600 });
    log.run(COUPON, Operation::Refund { original: Log::key(7), amount: yen(120) });
    log.run(WALLET, Operation::Debit(purchase(950)));
    let extension = Extension {
        rule: 3,
        programme,
        expiry_from: START,
        expiry_before: expires_at.plus_seconds(1),
        expires_at: expires_at.plus_seconds(86_400),
        as_of: log.position,
        include_expired: true,
    };
    let approval = Approval { maker: [b'm'; 16], approver: [b'a'; 16], reason: [b'r'; 48], incident: 1, plan: 0 };
    log.run("", Operation::Extend { extension, approval });
    log.run("", Operation::Epoch { delivered_to: Position::new(9), settings: Settings::default() });
    for mark in [Mark::Degraded, Mark::Normal, Mark::Degraded, Mark::ClockSuspect] {
        log.run("", Operation::Mark(mark));
    }
    log
}

/// Seven more, for stand-in.
fn state() -> Log {
    let mut log = state_1();
    for mark in [Mark::Normal, Mark::ClockTrusted] {
        log.run("", Operation::Mark(mark));
    }
    let (programme, allowance) = (ProgrammeId::new(13), Allowance::with_defaults(300_000));
    let rules = Programme { name: [b'p'; 48], stand_in: allowance, ..Programme::with_defaults(programme) };
    log.run("", Operation::Programme(rules));
    log.run("", Operation::Lease { programme, holder: [5; 16], allowance });
    let approved_at = log.at().plus_seconds(1);
    let advice = Advice { purchase: purchase(500), programme, lease: log.position, approved_at };
    log.run(WALLET, Operation::Advice(advice));
    for mark in [Mark::Degraded, Mark::ClockSuspect] {
        log.run("", Operation::Mark(mark));
    }
    log
}

fn path(dir: &Path, position: u64) -> PathBuf {
    dir.join(format!("snapshots/{position:020}.snap"))
}

/// Takes a snapshot at position 23 while a debit at 24 changes what is in it.
fn written(dir: &Path, latched: u8) -> Vec<u8> {
    let mut log = state();
    let beginning = Beginning {
        dir: dir.into(),
        store: STORE,
        digest: log.engine.digest(),
        head: log.engine.start_snapshot(),
        position: log.position.get(),
        at_us: log.at().micros(),
        boot_epoch: 2,
        chain: [7; 32],
        carried: Carried { delivered_to: 9, latched },
        keep_days: 0,
    };
    log.run(COUPON, Operation::Debit(purchase(41)));
    let mut taking = Taking::start(beginning).expect("a thread");
    while !taking.is_over() {
        taking.step(&mut log.engine);
    }
    assert!(taking.was_taken());
    std::fs::read(path(dir, 23)).expect("it has its name")
}

#[test]
#[ignore = "writes the golden file"]
fn write_the_golden_file() {
    let folder = tempfile::tempdir().expect("a folder");
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/v2.snap");
    std::fs::write(golden, written(folder.path(), 0)).expect("it is written");
}

#[test]
fn version_2_is_written_and_read_as_it_was() {
    let folder = tempfile::tempdir().expect("a folder");
    assert!(written(folder.path(), 0) == GOLDEN, "what is written has changed: that is a new version");
    std::fs::write(path(folder.path(), 23), GOLDEN).expect("it is written");
    is_read_as(folder.path(), &state());
}

#[test]
fn what_was_latched_is_in_a_snapshot() {
    let folder = tempfile::tempdir().expect("a folder");
    written(folder.path(), 0b01_0001);
    let carried = load(folder.path(), &STORE, 23).expect("a sound snapshot").carried;
    assert_eq!(carried, Carried { delivered_to: 9, latched: 0b01_0001 });
}

#[test]
fn version_1_is_read_as_if_there_had_been_no_stand_in() {
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::create_dir(folder.path().join("snapshots")).expect("a folder");
    std::fs::write(path(folder.path(), 16), GOLDEN_1).expect("it is written");
    is_read_as(folder.path(), &state_1());
}

fn is_read_as(dir: &Path, log: &Log) {
    let loaded = load(dir, &STORE, log.position.get()).expect("a sound snapshot");
    let then = &log.engine;
    assert_eq!(loaded.engine.rules().leases, then.rules().leases);
    assert_eq!(loaded.engine.audit(), Ok(()));
    assert_eq!((loaded.carried.delivered_to, loaded.trailer.chain, loaded.trailer.boot_epoch), (9, [7; 32], 2));
    assert_eq!((loaded.engine.applied(), loaded.engine.at()), (then.applied(), then.at()));
    assert_eq!((loaded.engine.digest(), loaded.engine.sums()), (then.digest(), then.sums()));
    for name in [COUPON, WALLET] {
        let id = AccountId::from_text(name).expect("an account");
        let view = then.account(&id, then.at());
        assert!(view.is_some() && loaded.engine.account(&id, then.at()) == view, "{name}");
    }
    assert_eq!(loaded.engine.shop_sums(&purchase(1).shop), then.shop_sums(&purchase(1).shop));
}

fn u32_at(b: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(*b[at..].first_chunk().expect("four bytes"))
}

fn u64_at(b: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(*b[at..].first_chunk().expect("eight bytes"))
}

fn pair(low: u32, high: u32) -> u64 {
    u64::from(high) << 32 | u64::from(low)
}

/// The last 36 bytes of a page, and what they point to.
struct Table {
    numbers: (u32, u32, u32),
    words: Vec<u64>,
    undo: Vec<u32>,
    undo_words: Vec<u64>,
}

impl Table {
    fn of(payload: &[u8]) -> Self {
        let end = payload.len() - 36;
        // Where an array begins is counted from its own field.
        let array = |at: usize| {
            let begin = (end + at).checked_add_signed(u32_at(payload, end + at) as i32 as isize).expect("inside");
            (begin, u32_at(payload, end + at + 4) as usize)
        };
        let long = |(begin, n): (usize, usize)| (0..n).map(|i| u64_at(payload, begin + 8 * i)).collect::<Vec<u64>>();
        let ((words, n), (undo, m), (undo_words, k)) = (array(12), array(20), array(28));
        assert_eq!([words, undo, undo_words, end], [0, 8 * n, 8 * n + 4 * m, 8 * n + 4 * m + 8 * k], "no gaps");
        Self {
            numbers: (u32_at(payload, end), u32_at(payload, end + 4), u32_at(payload, end + 8)),
            words: long((words, n)),
            undo: (0..m).map(|i| u32_at(payload, undo + 4 * i)).collect(),
            undo_words: long((undo_words, k)),
        }
    }

    fn slot(&self, n: usize, words: usize) -> &[u64] {
        &self.words[n * words..(n + 1) * words]
    }
}

/// The golden file's blocks.
fn payloads() -> Vec<Vec<u8>> {
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::create_dir(folder.path().join("snapshots")).expect("a folder");
    std::fs::write(path(folder.path(), 23), GOLDEN).expect("it is written");
    let mut payloads = Vec::new();
    let read: Result<_, ReadError<std::fmt::Error>> = read_snapshot(folder.path(), &STORE, 23, &mut |block| {
        payloads.push(block.to_vec());
        Ok(())
    });
    read.expect("a sound file");
    payloads
}

#[test]
fn the_head_is_as_the_page_says() {
    let first = payloads().remove(0);
    let (length, head) = (u64_at(&first, 0) as usize, &first[8..]);
    let (programme, extension) = (64, 64 + 160);
    let restarts = extension + 56;
    let lease = restarts + 2 * 16;
    let keys_from = lease + 104 + 40 + 24;
    let instants = keys_from + 8;
    let shard = instants + 64;
    assert_eq!((length, head.len()), (shard + 88 + 144, length), "nothing else");
    let small: Vec<u32> = [0, 4, 24, 28, 32, 36, 40, 44, 48, 52, 56, 60].map(|at| u32_at(head, at)).to_vec();
    assert_eq!(small, [2, 1, 1, 604_800, 300, 5, 1, 1, 2, 2, 1, 0]);
    let at = |seconds| START.plus_seconds(seconds).micros() as u64;
    assert_eq!([u64_at(head, 8), u64_at(head, 16)], [23, at(23)]);
    assert_eq!([u64_at(head, programme), u64_at(head, programme + 8)], [Life::Active as u64, at(21)]);
    let caps: Vec<u64> = (0..5).map(|i| u64_at(head, programme + 16 + 104 + 8 * i)).collect();
    assert_eq!(caps, [3_000, 3_000, 30_000, 300_000, 3_600]);
    assert_eq!(
        [u64_at(head, lease), u64_at(head, lease + 8), u64_at(head, lease + 16)],
        [20, pair(13, 1), u64::from_le_bytes([5; 8])]
    );
    assert_eq!([u64_at(head, lease + 32), u64_at(head, lease + 40)], [at(20), at(3_620)]);
    assert_eq!((0..5).map(|i| u64_at(head, lease + 48 + 8 * i)).collect::<Vec<u64>>(), caps);
    assert_eq!([u64_at(head, lease + 88), u64_at(head, lease + 96)], [500, pair(1, 1)]);
    let (wallet, shop) = (u64::from_le_bytes(*b"W1\0\0\0\0\0\0"), u64::from_le_bytes(*b"S1\0\0\0\0\0\0"));
    let used: Vec<u64> = (0..8).map(|i| u64_at(head, lease + 104 + 8 * i)).collect();
    assert_eq!(used, [wallet, 0, shop, 0, 500, shop, 0, 500]);
    assert_eq!([u32_at(head, extension), u32_at(head, extension + 4)], [3, 13]);
    let expires = 90 * 86_400;
    let instants_of: Vec<u64> = (0..6).map(|i| u64_at(head, extension + 8 + 8 * i)).collect();
    assert_eq!(instants_of, [at(0), at(expires + 1), at(expires + 86_400), 10, 1, at(11)]);
    assert_eq!((0..4).map(|i| u64_at(head, restarts + 8 * i)).collect::<Vec<u64>>(), [0, 1, 9, 12]);
    assert_eq!(u64_at(head, keys_from), at(12) - (604_800 + 300) * 1_000_000);
    let given: Vec<u64> = (0..4).map(|i| u64_at(head, instants + 16 * i)).collect();
    assert_eq!(given, [1, 1, 1, 1]);
    let when: Vec<u64> = (0..4).map(|i| u64_at(head, instants + 16 * i + 8)).collect();
    // Each time it degraded within ten minutes after a start, which ended the one that had begun with the command before.
    assert_eq!(when, [at(11), at(11), at(17), at(23)]);
    assert_eq!([0, 4, 80, 84].map(|at| u32_at(head, shard + at)), [1, 0, 1, 0]);
    assert_eq!(head[shard + 8..shard + 24], state().engine.digest().to_le_bytes());
    let lengths: Vec<u64> = (0..6).map(|i| u64_at(head, shard + 32 + 8 * i)).collect();
    // Slot 0 counts, but not among decisions.
    assert_eq!(lengths, [3, 2, 13, 6, 7, 2]);
    let sums: Vec<u64> = (0..9).map(|i| u64_at(head, shard + 88 + 16 * i)).collect();
    assert_eq!(sums, [5_000, 970, 0, 4_620, 1_950, 120, 0, 0, 480]);
}

#[test]
fn the_pages_are_as_the_page_says() {
    let tables: Vec<Table> = payloads()[1..].iter().map(|p| Table::of(p)).collect();
    let numbers: Vec<_> = tables.iter().map(|t| t.numbers).collect();
    assert_eq!(numbers, [(0, 0, 1), (0, 1, 1), (0, 2, 0), (0, 3, 1), (0, 4, 1), (0, 5, 1), (0, 6, 1)]);
    let [accounts, lots, decisions, details, allocations, shop_sums, shops] = &tables[..] else { panic!("seven") };
    let at = |seconds| START.plus_seconds(seconds).micros() as u64;
    let expires = at(90 * 86_400);
    let id = u64::from_le_bytes(*b"C1\0\0\0\0\0\0");
    let coupon = |remaining| [id, 0, remaining, expires, at(0), 4 * 64, pair(0, 0), pair(1, 20_785 << 16)];
    assert_eq!(accounts.slot(0, 8), coupon(4_320 - 41), "as it is now");
    assert_eq!((&accounts.undo[..], &accounts.undo_words[..]), (&[1][..], &coupon(4_320)[..]), "as it was");
    assert_eq!(accounts.slot(1, 8)[7] >> 32, 4 << 8 | 1, "a wallet with one more lot");
    let second = (at(21) / 1_000_000) as u32;
    assert_eq!(lots.slot(0, 6), [6 * 64, 0, expires, 0, pair(0, 0), pair(second, 1)]);
    let debit = decisions.slot(5, 12);
    assert_eq!((debit[0], debit[1]), (u64_at(Log::key(7).bytes(), 0), u64_at(Log::key(7).bytes(), 8)));
    assert_eq!((debit[2], debit[3]), (id, 0));
    assert_eq!(debit[5..11], [7, at(7), 500, 4_500, pair(1, 1), pair(2, 0)]);
    let state = State::PartlyReturned as u8;
    assert_eq!((debit[11] >> 32).to_le_bytes()[..4], [0, 4, 4, state], "approved, a debit, all of the first lot");
    assert_eq!(details.slot(0, 9), [0, at(8 + 600), 0, 300, pair(7, 0), pair(0, 1), pair(0, 1), 0, 0], "the hold");
    assert_eq!(details.slot(1, 9), [0, 0, 120, 500, pair(6, 0), pair(0, 2), pair(0, 1), 0, 0], "the debit");
    assert_eq!(details.slot(2, 9), [7, 0, 0, 0, pair(8, 6), 0, pair(0, 1), 0, 0], "the refund");
    assert_eq!(allocations.slot(1, 6), [4 * 64, 500, 120, expires, pair(0, 0), 0]);
    assert_eq!(allocations.slot(2, 6), [6 * 64, 50, 0, expires, pair(0, 0), 1]);
    assert_eq!(allocations.slot(3, 6), [5 * 64, 900, 0, expires, pair(0, 3), 0], "promotional value goes first");
    let advice = decisions.slot(12, 12);
    assert_eq!((advice[2], advice[7]), (u64::from_le_bytes(*b"W1\0\0\0\0\0\0"), 500));
    assert_eq!((advice[11] >> 32).to_le_bytes()[..4], [0, 25, 2, State::Final as u8], "approved, an advice, delivered");
    assert_eq!(details.slot(4, 9), [0, 0, 0, 500, pair(13, 0), pair(0, 6), pair(0, 1), 0, 0], "the advice");
    assert_eq!(allocations.slot(5, 6), [6 * 64, 20, 0, expires, pair(0, 5), 1], "what was there");
    let missing = [u64::MAX, 480, 0, i64::MAX as u64, pair(0, 0), 0];
    assert_eq!(allocations.slot(4, 6), missing, "and what was not");
    assert_eq!((&shop_sums.words[..], &shop_sums.undo_words[..]), (&[1_991, 120, 4][..], &[1_950, 120, 3][..]));
    let name = [u64::from_le_bytes([b's'; 8]); 6];
    assert_eq!(shops.words[..], [&[u64::from_le_bytes(*b"S1\0\0\0\0\0\0"), 0, 13][..], &name, &[0]].concat());
}
