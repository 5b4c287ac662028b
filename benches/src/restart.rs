//! How long a server with many coupons takes to come back, from its log and from a snapshot, and what payments feel
//! while a snapshot is written. Real processes, real files.

use crate::rate::{data_set, per_second, us};
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};
use tegata_load::{CHILD_SERVE, Debits, Link, LinkError, Plan, ServerProcess, run, seed};
use tegata_wire::{AnswerBody, KIND_SNAPSHOT_TAKE, RequestHeader, encode_request};

/// How long payments are watched, with a snapshot and without.
const WINDOW: Duration = Duration::from_secs(5);
/// How often with and without, in turns.
const PAIRS: usize = 3;
/// Longer than one segment takes to be archived.
const ARCHIVE_QUIET: Duration = Duration::from_secs(3);
/// How long archiving may take.
const ARCHIVE_WITHIN: Duration = Duration::from_secs(60);
/// How often it is looked whether a snapshot is whole.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// What was measured.
#[derive(Debug)]
pub struct Restarts {
    /// Records that the restart from the log replayed.
    pub replayed: u64,
    /// From the start of the process to ready, by the server's own clock, ms.
    pub replay_ms: u64,
    /// Size of the snapshot's file.
    pub snapshot_bytes: u64,
    /// To ready from the snapshot, ms.
    pub snapshot_ms: u64,
    /// Debits a second in a closed loop; the other runs offer half of it.
    pub full_load: f64,
    /// Of the pairs of runs at half load the one with the median ratio.
    pub beside: Beside,
    /// The ratios of all pairs, in the order in which they were run.
    pub ratios: Vec<f64>,
    /// Answers at half load that were not approved.
    pub not_approved: u64,
}

/// The same load without a snapshot and, at once after it, beside one.
#[derive(Debug, Clone, Copy)]
pub struct Beside {
    /// p99, µs: with no snapshot.
    pub p99_us: f64,
    /// p99, µs: while one is written.
    pub p99_beside_us: f64,
    /// How long the snapshot took.
    pub snapshot_took: Duration,
    not_approved: u64,
}

impl Beside {
    /// How many times higher the p99 is beside a snapshot.
    #[must_use]
    pub fn ratio(&self) -> f64 {
        self.p99_beside_us / self.p99_us
    }
}

/// Measures with so many coupons, each issued by one decision.
pub fn restarts(coupons: u32, warm_bytes: usize, dir: Option<&Path>) -> Result<Restarts, LinkError> {
    let dir = match dir {
        Some(d) => tempfile::tempdir_in(d)?,
        None => tempfile::tempdir()?,
    };
    let data = dir.path().join("data");
    let start = |warm: usize| {
        ServerProcess::start(CHILD_SERVE, &data, &["snapshot_bytes=0".to_owned(), format!("warm_bytes={warm}")])
    };
    let server = start(warm_bytes)?;
    seed(server.operate, &data_set(coupons), &mut |_, _| {})?;
    server.stop()?;
    // From here on as after a failure: no memory is touched before.
    let server = start(0)?;
    let (replayed, replay_ms) = (server.replayed, server.ready_ms);
    let snapshot_bytes = take_snapshot(&server, &data)?;
    server.stop()?;
    let server = start(warm_bytes)?;
    let snapshot_ms = server.ready_ms;
    assert!(server.snapshot > 0, "the start came from the snapshot");

    let mut debits = Debits::new(&data_set(coupons), 20_230_224);
    let plan = |rate, window| Plan {
        addr: server.addr,
        connections: 64,
        depth: 16,
        rate,
        warm_up: Duration::from_secs(1),
        window,
    };
    let full_load = per_second(&run(&plan(None, Duration::from_secs(2)), &mut debits)?);
    let half = Some((full_load / 2.0) as u64);
    let mut pair = || -> Result<Beside, LinkError> {
        // What the last snapshot made superfluous is being archived.
        wait_for_archive(&data);
        let without = run(&plan(half, WINDOW), &mut debits)?;
        let began = Instant::now();
        let (beside, took) = thread::scope(|s| {
            let taking = s.spawn(|| take_snapshot(&server, &data).map(|_| began.elapsed()));
            // The window lies wholly inside the snapshot if that takes longer than warm-up and window.
            let beside = run(&plan(half, WINDOW), &mut debits);
            (beside, taking.join().expect("no panic"))
        });
        let (beside, snapshot_took) = (beside?, took?);
        let not_approved = [&without, &beside].iter().map(|o| o.declined + o.suspected + o.errors).sum();
        let (p99_us, p99_beside_us) = (us(&without, 0.99), us(&beside, 0.99));
        Ok(Beside { p99_us, p99_beside_us, snapshot_took, not_approved })
    };
    let pairs = (0..PAIRS).map(|_| pair()).collect::<Result<Vec<_>, _>>()?;
    server.stop()?;
    let mut sorted = pairs.clone();
    sorted.sort_by(|a, b| a.ratio().total_cmp(&b.ratio()));
    Ok(Restarts {
        replayed,
        replay_ms,
        snapshot_bytes,
        snapshot_ms,
        full_load,
        beside: sorted[PAIRS / 2],
        ratios: pairs.iter().map(Beside::ratio).collect(),
        not_approved: pairs.iter().map(|p| p.not_approved).sum(),
    })
}

/// Waits until no segment was archived for a while.
fn wait_for_archive(data: &Path) {
    let count = || match std::fs::read_dir(data.join("archive")) {
        Ok(entries) => entries.count(),
        Err(_) => 0,
    };
    let began = Instant::now();
    let (mut last, mut since) = (count(), Instant::now());
    while since.elapsed() < ARCHIVE_QUIET && began.elapsed() < ARCHIVE_WITHIN {
        thread::sleep(LOOK_EVERY);
        let now = count();
        if now != last {
            (last, since) = (now, Instant::now());
        }
    }
}

/// Has a snapshot taken and waits until it is whole; returns the bytes of all snapshots there.
fn take_snapshot(server: &ServerProcess, data: &Path) -> Result<u64, LinkError> {
    let newest = || tegata_journal::snapshots(data).map(|all| all.first().copied().unwrap_or(0));
    let before = newest()?;
    let mut link = Link::open(server.operate, true)?;
    let mut out = Vec::new();
    encode_request(&RequestHeader { kind: KIND_SNAPSHOT_TAKE, ..RequestHeader::default() }, &mut out);
    // A snapshot is listed a little before its writer is free for the next.
    loop {
        link.send(&out)?;
        match link.receive()?.body {
            AnswerBody::Snapshot(s) if s.started => break,
            AnswerBody::Snapshot(_) => thread::sleep(LOOK_EVERY),
            other => return Err(LinkError::Unexpected(Box::new(other))),
        }
    }
    loop {
        if newest()? > before {
            return std::fs::read_dir(data.join("snapshots"))?
                .try_fold(0, |sum, entry| Ok(sum + entry?.metadata()?.len()))
                .map_err(LinkError::Io);
        }
        thread::sleep(LOOK_EVERY);
    }
}
