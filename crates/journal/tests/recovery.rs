//! What a crash leaves is cut, told and kept; what no crash explains is refused and left as it is. Every sector of the
//! last batch is torn once, and every field of the vouched ones damaged.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tegata_journal::{BATCH_HEADER_BYTES, BatchMeta, IoChoice, OpenError, Options, Recovery, Writer, open};

const BATCH_MAX: usize = 16 << 10;
const SEGMENT: u64 = 64 << 10;
const BATCHES: u64 = 12;
const SECTOR: usize = 512;

type Log = Vec<(u64, Vec<u8>)>;
type Files = BTreeMap<PathBuf, Vec<u8>>;

fn options(dir: &Path, io: IoChoice) -> Options {
    let mut o = Options::new(dir);
    (o.segment_bytes, o.batch_bytes_max, o.window_bytes) = (SEGMENT, BATCH_MAX, 32 << 10);
    (o.io, o.store_id, o.allow_volatile, o.shards) = (io, [9; 16], true, 3);
    o
}

fn body(position: u64) -> Vec<u8> {
    let len = 600 + (position as usize * 2_311) % 9_000;
    (0..len).map(|i| (position as usize * 31 + i) as u8 | 1).collect()
}

/// Appends batches of one record each, and waits for every one.
fn append(writer: &mut Writer, positions: std::ops::RangeInclusive<u64>) {
    for position in positions {
        while !writer.has_room() {
            writer.wait(Some(Duration::from_millis(20))).expect("the disk works");
            writer.reap().expect("the disk works");
        }
        let meta = BatchMeta { first_position: position, count: 1, at_us: 1_000 + position as i64, margin: [5; 64] };
        writer.append(&meta, &[&body(position)]).expect("the disk works");
        while writer.reap().expect("the disk works") < position {
            writer.wait(Some(Duration::from_millis(20))).expect("the disk works");
        }
    }
}

fn read(dir: &Path) -> Result<(Recovery, Log), OpenError> {
    let mut journal = open(options(dir, IoChoice::Auto))?;
    let mut log = Log::new();
    journal
        .replay::<std::convert::Infallible>(0, None, &mut |b| {
            log.push((b.first_position, b.body.to_vec()));
            Ok(())
        })
        .expect("what was opened is read");
    Ok((journal.recovery().clone(), log))
}

fn expected(last: u64) -> Log {
    (1..=last).map(|p| (p, body(p))).collect()
}

/// A log of [`BATCHES`] batches whose last is not vouched for: the writer was dropped, as by a crash.
fn crashed(dir: &Path, io: IoChoice) {
    let mut writer = open(options(dir, io)).expect("a new folder").into_writer().expect("a writer");
    append(&mut writer, 1..=BATCHES);
}

fn files(dir: &Path) -> Files {
    let mut all = BTreeMap::new();
    let mut folders = vec![dir.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).expect("a folder") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_none_or(|x| x != "tmp") {
                all.insert(path.strip_prefix(dir).expect("inside").to_owned(), std::fs::read(&path).expect("a file"));
            }
        }
    }
    all
}

fn restore(dir: &Path, all: &Files) {
    let _ = std::fs::remove_dir_all(dir);
    for (name, bytes) in all {
        let path = dir.join(name);
        std::fs::create_dir_all(path.parent().expect("a folder")).expect("made");
        std::fs::write(path, bytes).expect("written");
    }
}

/// Segment and offset of every batch.
fn places(all: &Files) -> Vec<(PathBuf, usize, usize)> {
    let mut places = Vec::new();
    for (name, bytes) in all.iter().filter(|(n, _)| n.extension().is_some_and(|x| x == "seg")) {
        let mut at = 4_096;
        while bytes.get(at..at + 8).is_some_and(|m| m == b"TGTBATCH") {
            let len = u32::from_le_bytes(*bytes[at + 60..].first_chunk().expect("four bytes")) as usize;
            let disk = (BATCH_HEADER_BYTES + len).next_multiple_of(4_096);
            places.push((name.clone(), at, disk));
            at += disk;
        }
    }
    places
}

#[test]
fn what_was_flushed_comes_back_by_every_way_of_writing() {
    let mut bytes = Vec::new();
    for io in [IoChoice::Uring, IoChoice::Pwritev2, IoChoice::Buffered] {
        let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a folder");
        let mut writer = open(options(folder.path(), io)).expect("a new folder").into_writer().expect("a writer");
        append(&mut writer, 1..=40);
        writer.close().expect("an orderly stop");
        let (recovery, log) = read(folder.path()).expect("a sound log");
        assert!(recovery.clean_stop && recovery.torn.is_none());
        assert!(log == expected(40), "{io:?}");
        let all = files(folder.path());
        let batches: Vec<Vec<u8>> =
            places(&all).iter().map(|(name, at, len)| all[name][*at..at + len].to_vec()).collect();
        assert!(batches.len() == 40 && places(&all).last().expect("batches").0 != places(&all)[0].0);
        bytes.push(batches);
    }
    assert!(bytes[0] == bytes[1] && bytes[1] == bytes[2], "the same bytes, however they are written");
}

#[test]
fn every_torn_sector_of_the_last_batch_is_cut() {
    let folder = tempfile::tempdir().expect("a folder");
    let dir = folder.path().join("data");
    crashed(&dir, IoChoice::Auto);
    let all = files(&dir);
    let (name, at, disk) = places(&all).pop().expect("batches");
    let mut torn = 0;
    for sector in (at..at + disk).step_by(SECTOR) {
        for zero in [true, false] {
            let mut damaged = all.clone();
            let bytes = &mut damaged.get_mut(&name).expect("the segment")[sector..sector + SECTOR];
            if zero && bytes.iter().all(|b| *b == 0) {
                continue;
            }
            bytes.fill(if zero { 0 } else { 0xA5 });
            restore(&dir, &damaged);
            let (recovery, log) = read(&dir).unwrap_or_else(|e| panic!("sector {sector}: {e}"));
            assert!(log == expected(BATCHES - 1), "sector {sector}");
            let whole_batch_gone = recovery.torn.is_none();
            if let Some(tail) = recovery.torn {
                assert_eq!((tail.position, tail.offset), (BATCHES, at as u64));
                assert!(tail.kept_at.exists(), "a copy is kept");
            }
            assert!(!whole_batch_gone || zero, "damage that leaves bytes is told");
            torn += 1;
            let (again, log) = read(&dir).expect("a log that was cut is sound");
            assert!(again.torn.is_none() && log == expected(BATCHES - 1));
        }
    }
    assert!(torn > 5, "{torn} sectors were torn");
    let mut writer = open(options(&dir, IoChoice::Auto)).expect("sound").into_writer().expect("a writer");
    append(&mut writer, BATCHES..=BATCHES + 3);
    drop(writer);
    assert!(read(&dir).expect("sound").1 == expected(BATCHES + 3), "the log goes on behind the cut");
}

fn refused(dir: &Path, damaged: &Files, what: &str) -> OpenError {
    restore(dir, damaged);
    let before = files(dir);
    let Err(e) = read(dir) else { panic!("{what}: it was opened") };
    assert!(files(dir) == before, "{what}: a refused folder was changed");
    e
}

#[test]
fn damage_that_was_vouched_for_is_refused_and_left_alone() {
    let folder = tempfile::tempdir().expect("a folder");
    let dir = folder.path().join("data");
    crashed(&dir, IoChoice::Auto);
    let all = files(&dir);
    let places = places(&all);
    assert_eq!(places.len() as u64, BATCHES);
    let mut tried = 0;
    for (i, (name, at, disk)) in places.iter().enumerate().take(BATCHES as usize - 1) {
        // Every eighth byte of the header, and bytes all over the body and its padding.
        let header = (0..BATCH_HEADER_BYTES).step_by(8);
        for offset in header.chain((BATCH_HEADER_BYTES..*disk).step_by(1_009)) {
            let mut damaged = all.clone();
            damaged.get_mut(name).expect("the segment")[at + offset] ^= 0x10;
            match refused(&dir, &damaged, &format!("batch {i}, byte {offset}")) {
                OpenError::Corrupt { file, offset: told, position, vouched, .. } => {
                    assert!(file.ends_with(name), "{} is named", file.display());
                    assert_eq!((told, position), (*at as u64, i as u64 + 1));
                    assert!(vouched >= position);
                }
                other => panic!("batch {i}, byte {offset}: {other}"),
            }
            tried += 1;
        }
    }
    assert!(tried > 300, "{tried}");
}

#[test]
fn files_in_the_wrong_place_are_refused() {
    let folder = tempfile::tempdir().expect("a folder");
    let dir = folder.path().join("data");
    crashed(&dir, IoChoice::Auto);
    let all = files(&dir);
    let mut segments: Vec<PathBuf> = places(&all).into_iter().map(|(n, ..)| n).collect();
    segments.dedup();
    let (first, second) = (segments[0].clone(), segments[1].clone());
    let change = |work: &dyn Fn(&mut Files)| {
        let mut changed = all.clone();
        work(&mut changed);
        changed
    };
    let missing = change(&|a| {
        a.remove(&first);
    });
    refused(&dir, &missing, "the first segment is missing");
    let swapped = change(&|a| {
        let (one, two) = (a[&first].clone(), a[&second].clone());
        a.insert(first.clone(), two);
        a.insert(second.clone(), one);
    });
    refused(&dir, &swapped, "two segments are swapped");
    let truncated = change(&|a| a.get_mut(&first).expect("it is there").truncate(20_000));
    refused(&dir, &truncated, "a segment is truncated");
    let copied = change(&|a| {
        // A whole batch of this log, once more behind itself.
        let (name, at, disk) = places(a)[0].clone();
        let batch = a[&name][at..at + disk].to_vec();
        let bytes = a.get_mut(&name).expect("it is there");
        bytes[at + disk..at + 2 * disk].copy_from_slice(&batch);
    });
    refused(&dir, &copied, "a batch lies where another belongs");
    let other = tempfile::tempdir().expect("a folder");
    let mut foreign = options(&other.path().join("data"), IoChoice::Auto);
    foreign.store_id = [4; 16];
    let mut writer = open(foreign).expect("a new folder").into_writer().expect("a writer");
    append(&mut writer, 1..=BATCHES);
    drop(writer);
    let theirs = files(&other.path().join("data"));
    let mixed = change(&|a| {
        a.insert(first.clone(), theirs[&first].clone());
    });
    refused(&dir, &mixed, "a segment of another store");
}

#[test]
fn a_folder_is_held_by_one() {
    let folder = tempfile::tempdir().expect("a folder");
    let held = open(options(folder.path(), IoChoice::Auto)).expect("a new folder");
    assert!(matches!(open(options(folder.path(), IoChoice::Auto)), Err(OpenError::InUse { .. })));
    drop(held);
    assert!(open(options(folder.path(), IoChoice::Auto)).is_ok());
}

/// A segment of format version 1 with three batches, without the zeros behind them.
const GOLDEN: &[u8] = include_bytes!("golden/v1.seg");

#[test]
fn version_1_is_written_and_read_as_it_was() {
    let folder = tempfile::tempdir().expect("a folder");
    let dir = folder.path().join("data");
    let mut writer = open(options(&dir, IoChoice::Auto)).expect("a new folder").into_writer().expect("a writer");
    append(&mut writer, 1..=3);
    drop(writer);
    let mut all = files(&dir);
    let name = places(&all)[0].0.clone();
    let segment = all.get_mut(&name).expect("the segment");
    let used = segment.iter().rposition(|b| *b != 0).expect("bytes") + 1;
    assert!(segment[..used] == *GOLDEN, "what is written has changed: that is a new format version");
    segment[..GOLDEN.len()].copy_from_slice(GOLDEN);
    restore(&dir, &all);
    assert!(read(&dir).expect("a sound log").1 == expected(3));
}

#[test]
fn a_batch_of_another_history_is_refused() {
    let folder = tempfile::tempdir().expect("a folder");
    let (dir, other) = (folder.path().join("data"), folder.path().join("other"));
    crashed(&dir, IoChoice::Auto);
    // The same positions, times, lengths and places; of one batch other bytes.
    let mut writer = open(options(&other, IoChoice::Auto)).expect("a new folder").into_writer().expect("a writer");
    append(&mut writer, 1..=2);
    let meta = BatchMeta { first_position: 3, count: 1, at_us: 1_003, margin: [5; 64] };
    let changed: Vec<u8> = body(3).iter().map(|b| b ^ 2).collect();
    writer.append(&meta, &[&changed]).expect("the disk works");
    append(&mut writer, 4..=BATCHES);
    drop(writer);
    let (ours, theirs) = (files(&dir), files(&other));
    assert_eq!(places(&ours), places(&theirs));
    for position in [5, BATCHES - 1] {
        let (name, at, disk) = places(&ours)[position as usize - 1].clone();
        let mut mixed = ours.clone();
        mixed.get_mut(&name).expect("the segment")[at..at + disk].copy_from_slice(&theirs[&name][at..at + disk]);
        match refused(&dir, &mixed, &format!("batch {position} of another history")) {
            OpenError::Corrupt { position: told, .. } => assert_eq!(told, position),
            other => panic!("batch {position}: {other}"),
        }
    }
}

#[test]
fn a_batch_that_says_that_it_lies_elsewhere_is_refused() {
    let folder = tempfile::tempdir().expect("a folder");
    let dir = folder.path().join("data");
    crashed(&dir, IoChoice::Auto);
    let all = files(&dir);
    let (name, at, _) = places(&all)[4].clone();
    // Its segment, its offset: neither is in the chain, and the checksum is right again.
    for (field, value) in [(36, 7), (40, 12_288), (41, 0xFF)] {
        let mut moved = all.clone();
        let header = &mut moved.get_mut(&name).expect("the segment")[at..at + BATCH_HEADER_BYTES];
        header[field..field + 4].copy_from_slice(&u32::to_le_bytes(value));
        let crc = crc32c::crc32c(&header[12..]);
        header[8..12].copy_from_slice(&crc.to_le_bytes());
        match refused(&dir, &moved, &format!("{value} at {field}")) {
            OpenError::Corrupt { position, .. } => assert_eq!(position, 5),
            other => panic!("{other}"),
        }
    }
}

#[test]
fn a_log_that_ends_before_what_was_vouched_for_is_refused() {
    let folder = tempfile::tempdir().expect("a folder");
    let dir = folder.path().join("data");
    let mut writer = open(options(&dir, IoChoice::Auto)).expect("a new folder").into_writer().expect("a writer");
    append(&mut writer, 1..=BATCHES);
    writer.close().expect("an orderly stop");
    let all = files(&dir);
    // As if they had never been written.
    for missing in 1..=3 {
        let mut short = all.clone();
        for (name, at, disk) in &places(&all)[BATCHES as usize - missing..] {
            short.get_mut(name).expect("the segment")[*at..at + disk].fill(0);
        }
        match refused(&dir, &short, &format!("{missing} batches are missing")) {
            OpenError::Corrupt { position, vouched, .. } => {
                assert_eq!((position, vouched), (BATCHES + 1 - missing as u64, BATCHES));
            }
            other => panic!("{other}"),
        }
    }
}

#[test]
fn what_lies_farther_behind_the_end_than_a_crash_can_leave_is_refused() {
    let folder = tempfile::tempdir().expect("a folder");
    let dir = folder.path().join("data");
    crashed(&dir, IoChoice::Auto);
    let all = files(&dir);
    let (name, at, disk) = places(&all).pop().expect("batches");
    let window = options(&dir, IoChoice::Auto).window_bytes as usize;
    // Bytes of no batch from the end on, over as many segments as it takes.
    let littered = |mut left: usize| {
        let mut littered = all.clone();
        for (file, bytes) in littered.iter_mut().filter(|(n, _)| n.extension().is_some_and(|x| x == "seg")) {
            let from = if *file == name { at + disk } else { 4_096 };
            if *file >= name {
                let to = bytes.len().min(from + left);
                bytes[from..to].fill(0xA5);
                left -= to - from;
            }
        }
        assert_eq!(left, 0, "there was room for all of it");
        littered
    };
    restore(&dir, &littered(window));
    let (recovery, log) = read(&dir).expect("a crash may leave as much");
    assert!(recovery.torn.is_some() && log == expected(BATCHES));
    match refused(&dir, &littered(window + SECTOR), "more than the window") {
        OpenError::Corrupt { position, .. } => assert_eq!(position, BATCHES + 1),
        other => panic!("{other}"),
    }
}
