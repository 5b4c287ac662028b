//! A store over some weeks, its archive dropped on the way: what is left is whole, and says where it begins.

use crate::history::{HistoryError, read};
use crate::snapshot::Taking;
use std::cell::Cell;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tegata_drive::{Beginning, Copying, oldest_state};
use tegata_engine::Engine;
use tegata_journal::{BatchMeta, OpenError, Options, ReadError, Writer, dropped_to, open, read_log, snapshots};
use tegata_model::{
    AccountId, Amount, Command, Envelope, Key, LotKind, NamespaceId, Operation, Programme, ProgrammeId, Settings,
    Timestamp, encode,
};
use tegata_node::{Carried, Inbound, Limits, Node, Replay, ReplayError, Waiter};
use tegata_wire::{HistoryBody, HistoryEntry, HistoryQuery};

const STORE: [u8; 16] = [7; 16];
const START_S: i64 = 1_780_000_000;
/// Issues of a day: more than a segment of the log.
const DAILY: u128 = 1_500;

fn day(n: i64) -> Timestamp {
    Timestamp::from_micros((START_S + n * 86_400) * 1_000_000)
}

/// A node and its journal, driven by hand.
struct Rig {
    node: Node,
    journal: Writer,
    issued: u128,
    keep_days: u32,
}

fn options(dir: &Path) -> Options {
    let mut o = Options::new(dir);
    (o.segment_bytes, o.batch_bytes_max, o.window_bytes) = (128 << 10, 16 << 10, 32 << 10);
    (o.store_id, o.allow_volatile, o.shards) = (STORE, true, 1);
    o
}

impl Rig {
    fn new(dir: &Path, keep_days: u32) -> Self {
        let journal = open(options(dir)).expect("an empty folder").into_writer().expect("it is written");
        let limits = Limits { batch_bytes_max: 8 << 10, ..Limits::default() };
        let node = Node::new(Engine::new(1), limits, Settings::default(), Carried::default(), day(0));
        let mut rig = Self { node, journal, issued: 0, keep_days };
        rig.command(0, AccountId::NONE, Operation::Programme(Programme::with_defaults(ProgrammeId::new(1))));
        rig
    }

    fn command(&mut self, n: i64, account: AccountId, operation: Operation) {
        self.issued += 1;
        let key = Key::new(day(n), self.issued << 72);
        let envelope =
            Envelope { received_at: day(n), namespace: NamespaceId::new(1), account, key, ..Envelope::default() };
        let mut bundle = Inbound::default();
        encode(&Command { envelope, operation }, &mut bundle.records);
        bundle.waiters.push(Waiter::default());
        self.node.accept(0, bundle, day(n));
        if self.issued.is_multiple_of(50) {
            self.write(n);
        }
    }

    fn write(&mut self, n: i64) {
        while let Some(sealed) = self.node.seal(day(n)) {
            let last = sealed.first_position + u64::from(sealed.count) - 1;
            let meta = BatchMeta {
                first_position: sealed.first_position,
                count: sealed.count,
                at_us: sealed.at_us,
                margin: sealed.margin,
            };
            while !self.journal.has_room() {
                self.journal.wait(Some(Duration::from_millis(20))).expect("the disk works");
                self.journal.reap().expect("the disk works");
            }
            self.journal.append(&meta, &[sealed.body]).expect("the disk works");
            while self.journal.reap().expect("the disk works") < last {
                self.journal.wait(Some(Duration::from_millis(20))).expect("the disk works");
            }
            self.node.durable(last);
            while self.node.apply_some(1_000) {}
        }
    }

    /// A day's work, and a snapshot at its end.
    fn pass_day(&mut self, dir: &Path, n: i64) {
        for _ in 0..DAILY {
            let issue = Operation::Issue {
                programme: ProgrammeId::new(1),
                amount: Amount::new(500).expect("in range"),
                expires_at: Timestamp::ZERO,
                valid_from: Timestamp::ZERO,
                stay_end_day: 0,
                kind: LotKind::Promo,
            };
            self.command(n, AccountId::from_text(&format!("C{}", self.issued)).expect("an account"), issue);
        }
        self.write(n);
        let position = self.node.engine().applied().get();
        let (at_us, chain) = self.journal.chain_at(position).expect("between two batches");
        let carried = self.node.carried();
        let engine = self.node.engine_to_copy();
        let mut taking = Taking::start(Beginning {
            dir: dir.into(),
            store: STORE,
            digest: engine.digest(),
            head: engine.start_snapshot(),
            position,
            at_us,
            boot_epoch: self.journal.boot_epoch(),
            chain,
            carried,
            keep_days: self.keep_days,
        })
        .expect("a thread");
        while !taking.is_over() {
            if !taking.step(engine) {
                std::thread::yield_now();
            }
        }
    }
}

fn history(dir: &Path, query: &HistoryQuery, up_to: u64) -> Result<Vec<HistoryEntry>, HistoryError> {
    let mut entries = Vec::new();
    let mut give = |body: HistoryBody| {
        entries.extend(body.entries);
        Ok(())
    };
    read(dir, query, up_to, &mut give, &|| false)?;
    Ok(entries)
}

/// The first position that there is, as a reader who asks for too much is told.
fn told(result: Result<Vec<HistoryEntry>, HistoryError>) -> u64 {
    match result {
        Err(HistoryError::Log(ReadError::Journal(OpenError::Dropped { first }))) => first,
        other => panic!("{:?} entries instead of the first position", other.map(|e| e.len())),
    }
}

fn archive(dir: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(dir.join("archive")).into_iter().flatten().flatten().map(|e| e.path());
    let mut all: Vec<PathBuf> = entries.filter(|p| p.extension().is_some_and(|x| x == "arc")).collect();
    all.sort();
    all
}

#[test]
fn who_waits_for_what_nothing_matches_is_noticed_to_be_gone() {
    let folder = tempfile::tempdir().expect("a folder");
    let dir = folder.path();
    let mut rig = Rig::new(dir, 0);
    for n in 0..4 {
        rig.pass_day(dir, n);
    }
    let last = rig.node.engine().applied().get();
    drop(rig);
    let nothing = HistoryQuery { account: *b"C-NOBODY\0\0\0\0\0\0\0\0", ..HistoryQuery::default() };
    let asked = Cell::new(0);
    let after = |batches: u32| {
        asked.set(0);
        let is_gone = || asked.replace(asked.get() + 1) == batches;
        (read(dir, &nothing, last, &mut |_| panic!("nothing matches"), &is_gone), asked.get())
    };
    let (all, batches) = after(u32::MAX);
    assert!(all.is_ok_and(|up_to| up_to == last) && batches > 3, "{batches}");
    assert!(matches!(after(1), (Err(HistoryError::Gone), 2)), "the rest is not read for nobody");
}

#[test]
fn what_is_left_of_a_dropped_log_is_whole_and_says_where_it_begins() {
    let folder = tempfile::tempdir().expect("a folder");
    let dir = folder.path();
    let mut rig = Rig::new(dir, 8);
    for n in 0..8 {
        rig.pass_day(dir, n);
    }
    let before = rig.node.engine().applied().get();
    let all = history(dir, &HistoryQuery::default(), before).expect("nothing is dropped");
    assert_eq!(all.len() as u128, rig.issued);
    assert_eq!(dropped_to(dir, &STORE).expect("it is read"), 0);
    let oldest = *snapshots(dir).expect("listed").last().expect("one");
    let snapshot = |position: u64| dir.join("snapshots").join(format!("{position:020}.snap"));
    let bytes = std::fs::read(snapshot(oldest)).expect("it is read");
    for n in [9, 10, 12] {
        rig.pass_day(dir, n);
    }
    // As after a crash before it was removed.
    assert!(!snapshot(oldest).exists());
    std::fs::write(snapshot(oldest), bytes).expect("it is written");
    let last = rig.node.engine().applied().get();
    let digest = rig.node.engine().digest();
    drop(rig);

    let first = told(history(dir, &HistoryQuery::default(), last));
    assert_eq!(told(history(dir, &HistoryQuery { from: first - 1, ..HistoryQuery::default() }, last)), first);
    let left = history(dir, &HistoryQuery { from: first, ..HistoryQuery::default() }, last).expect("it is there");
    let kept: Vec<_> = all.iter().filter(|e| e.position >= first).cloned().collect();
    assert!(!kept.is_empty() && first > 1);
    assert_eq!(left[..kept.len()], kept[..], "as it was told before");
    assert!(left[0].at > day(0).micros() && left[0].at <= day(12 - 8 + 1).micros(), "eight days are there");
    let by_time = HistoryQuery { from_us: left[0].at, ..HistoryQuery::default() };
    assert_eq!(history(dir, &by_time, last).expect("later than what was dropped"), left);

    let dropped = dropped_to(dir, &STORE).expect("it is read");
    assert!(0 < dropped && dropped < first, "only whole segments go");
    let too_much = read_log::<ReplayError>(dir, dropped - 1, None, &mut |_| Ok(()));
    assert!(matches!(too_much, Err(ReadError::Journal(OpenError::Dropped { first })) if first == dropped + 1));
    let raw = read_log::<ReplayError>(dir, dropped, None, &mut |_| Ok(())).expect("everything behind it");
    assert_eq!(raw, last);
    let (replay, behind) = oldest_state(dir, &STORE, 1).expect("a base");
    assert_eq!(replay_from(dir, replay, behind), digest);

    open(options(dir)).expect("a start does not need what was dropped");
    let newest = snapshots(dir).expect("listed")[0];
    for position in snapshots(dir).expect("listed").into_iter().filter(|p| *p < newest) {
        tegata_journal::remove_snapshot(dir, position).expect("removed");
    }
    assert_eq!(told(history(dir, &HistoryQuery { from: first, ..HistoryQuery::default() }, last)), newest + 1);
    std::fs::remove_file(&archive(dir)[0]).expect("removed");
    let lost = open(options(dir)).err();
    assert!(matches!(lost, Some(OpenError::NotAStore { .. })), "lost is not dropped: {lost:?}");
}

fn replay_from(dir: &Path, mut replay: Replay, behind: u64) -> u128 {
    read_log(dir, behind, None, &mut |b| {
        replay.batch(b.first_position, b.count, b.at_us, b.margin, b.body, |_, _, _, _| {})
    })
    .expect("it replays");
    replay.engine().digest()
}

#[test]
fn nothing_is_dropped_behind_a_base_that_cannot_be_read_nor_without_a_policy() {
    for (keep_days, damaged) in [(8, true), (0, false)] {
        let folder = tempfile::tempdir().expect("a folder");
        let dir = folder.path();
        let mut rig = Rig::new(dir, keep_days);
        for n in 0..3 {
            rig.pass_day(dir, n);
        }
        if damaged {
            for position in snapshots(dir).expect("listed") {
                let path = dir.join("snapshots").join(format!("{position:020}.snap"));
                let mut bytes = std::fs::read(&path).expect("it is read");
                bytes[200] ^= 1;
                std::fs::write(&path, bytes).expect("it is written");
            }
        }
        for n in [40, 41] {
            rig.pass_day(dir, n);
            if damaged && n == 40 {
                assert_eq!(dropped_to(dir, &STORE).expect("it is read"), 0);
            }
        }
        let last = rig.node.engine().applied().get();
        if keep_days == 0 {
            let all = history(dir, &HistoryQuery::default(), last).expect("everything is there");
            assert_eq!(all.len() as u128, rig.issued);
            assert_eq!(archive(dir)[0].file_stem().and_then(|s| s.to_str()), Some("0000000001"));
        }
    }
}
