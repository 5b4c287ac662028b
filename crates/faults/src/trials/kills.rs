//! kill -9 in the middle of recovery, of a snapshot, of making a segment; and at any time, beside pauses.

use crate::trial::{PATIENCE, SETTINGS, Scale, Stage, Trouble};
use std::path::Path;
use std::time::Duration;

type Told = Result<(String, String), Trouble>;

/// Kills that may miss their phase before it is given up.
const MISSES_MAX: u32 = 200;
/// Answers between two faults.
const BETWEEN: u64 = 1_500;

fn times(scale: Scale, full: u32) -> u32 {
    if scale == Scale::Short { 1 } else { full }
}

/// The files of a folder that are being written: their name ends with `.tmp`.
fn drafts(folder: &Path) -> Vec<String> {
    let names = std::fs::read_dir(folder).into_iter().flatten().flatten().map(|e| e.file_name());
    let drafts = names.filter_map(|n| n.into_string().ok()).filter(|n| n.ends_with(".tmp") && !n.starts_with("spare"));
    drafts.collect()
}

/// Killed while it has the folder and is not ready.
pub(crate) fn during_recovery(scale: Scale) -> Told {
    let folder = tempfile::tempdir()?;
    let mut stage = Stage::begin(&folder.path().join("data"), folder.path(), &SETTINGS)?;
    // Enough to read that it takes a while.
    stage.answers(if scale == Scale::Short { 20_000 } else { 60_000 })?;
    let (mut hits, mut misses) = (0, 0);
    while hits < times(scale, 10) {
        stage.answers(200)?;
        stage.kill()?;
        // The second start is killed in what the first one left of its recovery.
        for _ in 0..2 {
            let starting = stage.starting()?;
            let fds = format!("/proc/{}/fd", starting.id());
            let reads = || {
                let open = std::fs::read_dir(&fds).into_iter().flatten().flatten();
                let open = open.filter_map(|fd| std::fs::read_link(fd.path()).ok());
                open.filter(|f| f.extension().is_some_and(|x| x == "seg")).map(drop).next()
            };
            let seen = crate::until(Duration::from_secs(10), reads).is_some();
            if starting.kill()? && seen { hits += 1 } else { misses += 1 }
        }
        if misses > MISSES_MAX {
            return Err(format!("{misses} kills came too late, {hits} in time").into());
        }
        stage.start()?;
    }
    let evidence =
        format!("{hits} times killed with a segment open and before it said that it is ready; {misses} missed");
    Ok((evidence, stage.compare()?.to_string()))
}

/// Kills whenever `folder` has a file that is being written, and counts those that left it unfinished.
fn while_written(stage: &mut Stage, folder: &Path, hits: u32, phase: &str) -> Result<String, Trouble> {
    let (mut hit, mut missed) = (0, 0);
    while hit < hits {
        stage.answers(200)?;
        let draft = crate::until(PATIENCE, || drafts(folder).pop()).ok_or_else(|| format!("no {phase} began"))?;
        stage.kill()?;
        if drafts(folder).contains(&draft) {
            hit += 1
        } else {
            missed += 1
        }
        if missed > MISSES_MAX {
            return Err(format!("{missed} kills came too late, {hit} in time").into());
        }
        stage.start()?;
    }
    Ok(format!("{hit} times killed during {phase}, whose unfinished file was there afterwards; {missed} missed"))
}

/// Killed while a snapshot is written.
pub(crate) fn during_snapshot(scale: Scale) -> Told {
    let folder = tempfile::tempdir()?;
    let data = folder.path().join("data");
    let mut settings = SETTINGS.to_vec();
    settings.push("snapshot_bytes = 4194304");
    let mut stage = Stage::begin(&data, folder.path(), &settings)?;
    let evidence = while_written(&mut stage, &data.join("snapshots"), times(scale, 10), "a snapshot")?;
    // One must come to its end, too, and be started from.
    let whole = || tegata_journal::snapshots(&data).ok()?.first().copied();
    let position = crate::until(PATIENCE, whole).ok_or("no snapshot came to its end")?;
    stage.kill()?;
    let loaded: u64 = stage.start()?.said("snapshot").parse().unwrap_or(0);
    if loaded == 0 {
        return Err(format!("the snapshot of {position} was not loaded").into());
    }
    Ok((format!("{evidence}; started from the snapshot of {loaded}"), stage.compare()?.to_string()))
}

/// Killed while the next segment is made.
pub(crate) fn during_rollover(scale: Scale) -> Told {
    let folder = tempfile::tempdir()?;
    let data = folder.path().join("data");
    let mut stage = Stage::begin(&data, folder.path(), &SETTINGS)?;
    let evidence = while_written(&mut stage, &data.join("journal"), times(scale, 10), "the making of a segment")?;
    Ok((evidence, stage.compare()?.to_string()))
}

/// Killed at any time, so many times.
pub(crate) fn again_and_again(stage: &mut Stage, times: u32) -> Result<String, Trouble> {
    for _ in 0..times {
        stage.answers(BETWEEN)?;
        stage.kill()?;
        stage.start()?;
    }
    Ok(format!("{times} times kill -9"))
}

/// Killed, or stopped and let go on, at any time.
pub(crate) fn and_pauses(scale: Scale) -> Told {
    let folder = tempfile::tempdir()?;
    let mut stage = Stage::begin(&folder.path().join("data"), folder.path(), &SETTINGS)?;
    let (mut kills, mut pauses) = (0, 0);
    for n in 0..if scale == Scale::Short { 6 } else { 60 } {
        stage.answers(BETWEEN)?;
        if n % 2 == 0 {
            stage.kill()?;
            stage.start()?;
            kills += 1;
            continue;
        }
        let server = stage.server()?;
        let stopped = server.pause()?;
        let before = stage.load.answers();
        std::thread::sleep(Duration::from_millis(50 + 40 * (n % 5)));
        let during = stage.load.answers() - before;
        stage.server()?.go_on()?;
        if !stopped {
            return Err("it never stood still".into());
        }
        // What the sockets held may still be read.
        if during > 4_096 {
            return Err(format!("{during} answers came from a server that stood still").into());
        }
        pauses += 1;
    }
    let evidence = format!("{kills} times kill -9, {pauses} times in state T and on again");
    Ok((evidence, stage.compare()?.to_string()))
}
