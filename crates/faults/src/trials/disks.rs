//! Disks that fail for real: one that promised more space than there is, and file systems that are shut down.

use crate::disk::{Disk, Memory};
use crate::server::DISK_FAILED;
use crate::sys;
use crate::trial::{PATIENCE, SETTINGS, Scale, Stage, Trouble};
use std::fs::File;
use std::io::{self, Write};
use std::path::Path;

static PROBE: [u8; 65_536] = [0xA5; 65_536];

type Told = Result<(String, String), Trouble>;

fn needs<T>(made: Result<T, String>) -> Result<T, Trouble> {
    made.map_err(Trouble::Skipped)
}

/// Waits until the server ends by itself, as one does whose disk failed. Gives what it said.
pub(crate) fn stops_by_itself(stage: &mut Stage) -> Result<String, Trouble> {
    let server = stage.server()?;
    let status = server.ends_within(PATIENCE).ok_or("it went on as if nothing had happened")?;
    let words = server.words().trim().to_owned();
    stage.kill()?;
    match status.code() {
        Some(DISK_FAILED) => Ok(words.lines().last().unwrap_or_default().to_owned()),
        _ => Err(format!("it ended with {status} and said: {words}").into()),
    }
}

/// What a file system says when the blocks of a file are written again and flushed, and flushed again; true when it lies.
fn flushes(probe: &Path) -> (String, bool) {
    let told = |r: io::Result<()>| r.map_or_else(|e| e.to_string(), |()| "Ok".to_owned());
    let first = File::options().write(true).open(probe).map(|mut f| {
        let written = f.write_all(&PROBE);
        let (once, again) = (f.sync_data(), f.sync_data());
        let lied = once.is_err() && again.is_ok();
        (format!("write {}, flush {}, flush again {}", told(written), told(once), told(again)), lied)
    });
    first.unwrap_or_else(|e| (format!("open {e}"), false))
}

/// An ext4 on a device whose file is in memory that is too small: blocks that were written with zeros long ago are taken
/// away behind its back, so that writing them again fails, as on a thin volume whose pool is full.
pub(crate) fn thin(_: Scale) -> Told {
    let folder = tempfile::tempdir()?;
    let memory = needs(Memory::new(&folder.path().join("memory"), 160))?;
    let mut disk = needs(Disk::new("ext4", memory.path(), 512))?;
    let data = disk.path().join("data");
    let mut stage = Stage::begin(&data, folder.path(), &SETTINGS)?;
    stage.answers(3_000)?;
    let probe = disk.path().join("probe");
    let file = File::create(&probe)?;
    (&file).write_all(&[0; PROBE.len()])?;
    file.sync_all()?;
    drop(file);
    // Segments that are ready have their blocks. While nobody writes, those of zeros are taken away.
    stage.server()?.pause()?;
    let taken = disk.make_thin()?;
    let ballast = memory.fill();
    stage.server()?.go_on()?;
    let said = stops_by_itself(&mut stage)?;
    let (flushes, lied) = flushes(&probe);
    std::fs::remove_file(ballast)?;
    disk.mount_again()?;
    stage.start()?;
    stage.answers(3_000)?;
    let lied = if lied { "; a second flush of a file whose first one failed said Ok" } else { "" };
    let evidence = format!("{} KiB taken away; the server: {said}; the disk: {flushes}{lied}", taken >> 10);
    let agreed = stage.compare()?;
    Ok((evidence, agreed.to_string()))
}

pub(crate) fn ext4_shutdown(scale: Scale) -> Told {
    shutdown("ext4", scale)
}

pub(crate) fn xfs_shutdown(scale: Scale) -> Told {
    shutdown("xfs", scale)
}

/// The file system is shut down without a flush, again and again; what was not flushed is lost for real.
fn shutdown(kind: &'static str, scale: Scale) -> Told {
    let folder = tempfile::tempdir()?;
    let mut disk = needs(Disk::new(kind, folder.path(), 512))?;
    let data = disk.path().join("data");
    let mut stage = Stage::begin(&data, folder.path(), &SETTINGS)?;
    let times = if scale == Scale::Short { 1 } else { 5 };
    let mut said = String::new();
    for _ in 0..times {
        stage.answers(3_000)?;
        let unflushed = disk.path().join("unflushed");
        std::fs::write(&unflushed, [1; 65_536])?;
        sys::shut_down(disk.path()).map_err(|e| Trouble::Skipped(format!("shutting {kind} down: {e}")))?;
        said = stops_by_itself(&mut stage)?;
        disk.mount_again()?;
        if std::fs::read(&unflushed).is_ok_and(|b| b == [1; 65_536]) {
            return Err("what was not flushed is still there: nothing was shut down".into());
        }
        stage.start()?;
    }
    let evidence =
        format!("{times} times shut down; a file that was not flushed was gone each time; the server: {said}");
    Ok((evidence, stage.compare()?.to_string()))
}
