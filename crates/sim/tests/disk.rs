//! The journal's own writer and recovery over the simulated disk: what they do there, and that each fault that can be asked
//! for happens.

use std::time::Duration;
use tegata_journal::{BatchMeta, Journal, OpenError, Options, Room, WriteError, Writer, open, read_log};
use tegata_sim::disk::{Chance, Config, Fault, Odds, Promise, Seeded, SimDisk};

const STORE: [u8; 16] = [9; 16];

fn disk(seed: u64, odds: Odds) -> SimDisk {
    SimDisk::new(Config { odds, ..Config::default() }, Chance::Seeded(Seeded::new(seed)))
}

fn options(disk: &SimDisk) -> Options {
    let mut o = Options::new(disk.folder("/data"));
    (o.segment_bytes, o.batch_bytes_max, o.window_bytes) = (32 << 10, 8 << 10, 16 << 10);
    o.store_id = STORE;
    o
}

fn body(position: u64) -> Vec<u8> {
    (0..500 + position as usize * 997 % 5_000).map(|i| (position as usize * 31 + i) as u8 | 1).collect()
}

/// Appends until `last` is flushed; returns what was flushed, and why not more.
fn append(writer: &mut Writer, from: u64, last: u64) -> (u64, Result<(), WriteError>) {
    let mut flushed = from - 1;
    let mut run = || {
        for position in from..=last {
            while !writer.has_room() {
                writer.wait(Some(Duration::from_secs(5)))?;
                flushed = writer.reap()?;
            }
            let meta = BatchMeta { first_position: position, count: 1, at_us: position as i64, margin: [5; 64] };
            writer.append(&meta, &[&body(position)])?;
        }
        while flushed < last {
            writer.wait(Some(Duration::from_secs(5)))?;
            flushed = writer.reap()?;
        }
        writer.idle()
    };
    let result = run();
    (flushed, result)
}

fn log(journal: &mut Journal) -> Vec<(u64, Vec<u8>)> {
    let mut log = Vec::new();
    let each = &mut |b: &tegata_journal::Batch<'_>| {
        log.push((b.first_position, b.body.to_vec()));
        Ok::<_, std::convert::Infallible>(())
    };
    journal.replay(0, None, each).expect("what was opened is read");
    log
}

fn expected(last: u64) -> Vec<(u64, Vec<u8>)> {
    (1..=last).map(|p| (p, body(p))).collect()
}

#[test]
fn what_was_flushed_is_there_after_a_clean_stop_and_after_a_kill() {
    let disk = disk(1, Odds::default());
    let mut writer = open(options(&disk)).expect("a new folder").into_writer().expect("a writer");
    assert!(matches!(open(options(&disk)), Err(OpenError::InUse { .. })), "one owner at a time");
    append(&mut writer, 1, 40).1.expect("the disk works");
    writer.close().expect("an orderly stop");
    let mut journal = open(options(&disk)).expect("a sound log");
    assert!(journal.recovery().clean_stop && log(&mut journal) == expected(40));
    assert!(disk.files().iter().filter(|(path, _)| path.extension().is_some_and(|x| x == "seg")).count() > 3);
    let mut writer = journal.into_writer().expect("a writer");
    append(&mut writer, 41, 50).1.expect("the disk works");
    disk.kill();
    drop(writer);
    let mut journal = open(options(&disk)).expect("a sound log");
    assert!(!journal.recovery().clean_stop && log(&mut journal) == expected(50));
    drop(journal);
    let last = read_log::<std::convert::Infallible>(disk.folder("/data"), 0, None, &mut |_| Ok(()));
    assert_eq!(last.expect("it is read beside"), 50);
    assert_eq!(disk.fired().promise(), Some(Promise::Survive));
}

#[test]
fn the_same_seed_is_the_same_disk() {
    let run = |seed| {
        let disk = disk(seed, Odds { crash: 10_000, stall: 10_000, ..Odds::default() });
        let mut trace = Vec::new();
        for _ in 0..20 {
            if let Ok(journal) = open(options(&disk)) {
                let last = journal.recovery().last_position;
                if let Ok(mut writer) = journal.into_writer() {
                    trace.push(append(&mut writer, last + 1, last + 5).0);
                }
            }
            if disk.is_dead() {
                disk.restart();
            }
            trace.push(disk.fingerprint());
        }
        (trace, disk.now(), disk.steps())
    };
    assert_eq!(run(3), run(3));
    assert_ne!(run(3).0, run(4).0);
}

#[test]
fn crashes_at_random_lose_nothing_that_was_flushed() {
    let mut fired = [0; Fault::ALL.len()];
    for seed in 0..200 {
        let disk = disk(seed, Odds { crash: 15_000, ..Odds::default() });
        let mut flushed = 0;
        for _ in 0..12 {
            match open(options(&disk)) {
                Ok(mut journal) => {
                    let found = log(&mut journal);
                    let last = found.len() as u64;
                    assert!(last >= flushed && found == expected(last), "seed {seed}: {last} of {flushed}");
                    if let Ok(mut writer) = journal.into_writer() {
                        flushed = append(&mut writer, last + 1, last + 9).0.max(last);
                    }
                }
                Err(e) => assert!(disk.is_dead(), "seed {seed}: refused after a crash: {e}"),
            }
            if disk.is_dead() {
                disk.restart();
            } else {
                disk.crash();
                disk.restart();
            }
        }
        fired.iter_mut().zip(Fault::ALL).for_each(|(n, f)| *n += disk.fired().count(f));
    }
    for fault in [Fault::Crash, Fault::Torn, Fault::Unflushed, Fault::NameLost] {
        assert!(fired[fault as usize] > 0, "{fault:?} never happened");
    }
}

#[test]
fn a_failed_write_ends_the_writer_for_good() {
    let failing = [
        (Fault::WriteFails, Odds { write_fails: 50_000, ..Odds::default() }),
        (Fault::WriteShort, Odds { write_short: 50_000, ..Odds::default() }),
    ];
    for (fault, odds) in failing {
        let mut fired = 0;
        for seed in 0..50 {
            let disk = disk(seed, Odds::default());
            let mut writer = open(options(&disk)).expect("a new folder").into_writer().expect("a writer");
            disk.configure(|c| c.odds = odds);
            let (flushed, result) = append(&mut writer, 1, 30);
            disk.configure(|c| c.odds = Odds::default());
            if result.is_err() {
                assert!(matches!(writer.reap(), Err(WriteError::Stopped)), "nothing is believed after a failure");
                let meta = BatchMeta { first_position: 31, count: 1, at_us: 31, margin: [5; 64] };
                assert!(matches!(writer.append(&meta, &[&body(31)]), Err(WriteError::Stopped)) && !writer.has_room());
                fired += disk.fired().count(fault);
            }
            drop(writer);
            disk.crash();
            disk.restart();
            let mut journal = open(options(&disk)).unwrap_or_else(|e| panic!("{fault:?}, seed {seed}: {e}"));
            let found = log(&mut journal);
            assert!(found.len() as u64 >= flushed && found == expected(found.len() as u64), "{fault:?}, seed {seed}");
        }
        assert!(fired > 0, "{fault:?} never happened");
    }
}

#[test]
fn a_flush_that_failed_is_not_believed_later() {
    let (mut fired, mut opened) = (0, 0);
    for seed in 0..200 {
        let disk = disk(seed, Odds { sync_fails: 100_000, ..Odds::default() });
        let mut flushed = 0;
        for _ in 0..4 {
            let Ok(mut journal) = open(options(&disk)) else { continue };
            let found = log(&mut journal);
            assert!(found.len() as u64 >= flushed && found == expected(found.len() as u64), "seed {seed}");
            let Ok(mut writer) = journal.into_writer() else { continue };
            opened += 1;
            flushed = append(&mut writer, found.len() as u64 + 1, found.len() as u64 + 9).0;
            drop(writer);
            disk.crash();
            disk.restart();
        }
        fired += disk.fired().count(Fault::SyncFails);
    }
    assert!(fired > 50 && opened > 200, "{fired} of {opened}");
}

#[test]
fn what_a_killed_writer_left_in_the_cache_is_written_again_and_not_only_flushed() {
    let mut more = 0;
    for seed in 0..100 {
        let disk = disk(seed, Odds::default());
        let mut writer = open(options(&disk)).expect("it opens").into_writer().expect("it starts");
        assert_eq!(append(&mut writer, 1, 3).0, 3);
        let meta = BatchMeta { first_position: 4, count: 1, at_us: 4, margin: [5; 64] };
        writer.append(&meta, &[&body(4)]).expect("it is in flight");
        disk.kill();
        drop(writer);
        // The flush of a start fails, and takes what it should have flushed from the cache's list of what is dirty.
        disk.configure(|c| c.odds.sync_fails = 1_000_000);
        assert!(open(options(&disk)).is_err(), "seed {seed}: nothing was flushed");
        disk.configure(|c| c.odds = Odds::default());
        let mut journal = open(options(&disk)).unwrap_or_else(|e| panic!("seed {seed}: {e}"));
        let believed = log(&mut journal).len();
        more += believed - 3;
        drop(journal);
        disk.crash();
        disk.restart();
        let mut journal = open(options(&disk)).unwrap_or_else(|e| panic!("seed {seed}: {e}"));
        assert!(log(&mut journal).len() >= believed, "seed {seed}: what a start had believed is gone");
    }
    assert!(more > 0, "the cache held nothing");
}

#[test]
fn the_beacon_vouches_for_nothing_that_is_in_flight() {
    let mut lost = 0;
    for seed in 0..200 {
        let disk = disk(seed, Odds { stall: 300_000, ..Odds::default() });
        let mut writer = open(options(&disk)).expect("it opens").into_writer().expect("it starts");
        let submit = |writer: &mut Writer, first_position| {
            let meta = BatchMeta { first_position, count: 1, at_us: first_position as i64, margin: [5; 64] };
            writer.append(&meta, &[&body(first_position)]).expect("the disk works");
        };
        submit(&mut writer, 1);
        while writer.reap().expect("the disk works") < 1 {
            writer.wait(Some(Duration::from_secs(5))).expect("the disk works");
        }
        assert!(writer.beacon_is_due(), "it does not know of the first one");
        submit(&mut writer, 2);
        writer.idle().expect("it says nothing yet");
        writer.wait(Some(Duration::from_millis(seed))).expect("the disk works");
        disk.crash();
        disk.restart();
        drop(writer);
        let mut journal = open(options(&disk)).unwrap_or_else(|e| panic!("seed {seed}: {e}"));
        lost += 2 - log(&mut journal).len();
    }
    assert!(lost > 20, "{lost}: what is in flight was always flushed");
}

#[test]
fn what_lies_is_refused_or_cut_and_never_believed() {
    let lying = [
        (Fault::WriteLost, Odds { write_lost: 30_000, ..Odds::default() }),
        (Fault::WriteStale, Odds { write_stale: 30_000, ..Odds::default() }),
        (Fault::WriteMisdirected, Odds { write_misdirected: 30_000, ..Odds::default() }),
        (Fault::BitFlip, Odds { bit_flip: 30_000, ..Odds::default() }),
        (Fault::ReadFails, Odds { read_fails: 30_000, ..Odds::default() }),
    ];
    for (fault, odds) in lying {
        let (mut fired, mut refused, mut cut) = (0, 0, 0);
        for seed in 0..100 {
            let disk = disk(seed, Odds::default());
            let mut writer = open(options(&disk)).expect("a new folder").into_writer().expect("a writer");
            disk.configure(|c| c.odds = odds);
            append(&mut writer, 1, 30).1.expect("it says that it works");
            drop(writer);
            disk.crash();
            disk.restart();
            if fault != Fault::ReadFails {
                disk.configure(|c| c.odds = Odds::default());
            }
            match open(options(&disk)) {
                Err(_) => refused += 1,
                Ok(mut journal) => {
                    disk.configure(|c| c.odds = Odds::default());
                    let found = log(&mut journal);
                    assert!(found == expected(found.len() as u64), "{fault:?}, seed {seed}: something was invented");
                    cut += u32::from(found.len() < 30);
                }
            }
            fired += disk.fired().count(fault);
        }
        assert!(fired > 20 && refused + cut > 0, "{fault:?}: fired {fired}, refused {refused}, cut {cut}");
    }
}

#[test]
fn a_full_disk_waits_and_goes_on() {
    let disk = disk(5, Odds::default());
    let mut writer = open(options(&disk)).expect("a new folder").into_writer().expect("a writer");
    append(&mut writer, 1, 3).1.expect("the disk works");
    disk.configure(|c| c.capacity = 1);
    let mut position = 4;
    while writer.room() != Room::None {
        if writer.has_room() {
            append(&mut writer, position, position).1.expect("there is room");
            position += 1;
        }
        disk.set_now(disk.now() + Duration::from_secs(2));
        writer.reap().expect("a full disk is no failure");
    }
    assert!(disk.fired().count(Fault::Full) > 0);
    disk.configure(|c| c.capacity = u64::MAX);
    disk.set_now(disk.now() + Duration::from_secs(2));
    append(&mut writer, position, position + 20).1.expect("it goes on by itself");
}
