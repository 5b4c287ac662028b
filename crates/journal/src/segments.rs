//! Segments before their use: written with zeros, flushed, and only then given their name. A thread of its own keeps
//! some ready, so that the log never waits for one in the ordinary case.

use crate::background::be_modest;
use crate::buffers::Buffers;
use crate::device::{Doorbell, write_durably};
use crate::error::OpenError;
use crate::layout::{BLOCK, segment_block};
use crate::store::{open_direct, segment_path, segments_dir, sync_dir};
use rustix::fs::FallocateFlags;
use rustix::io::Errno;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::Duration;

/// Segments that are kept ready.
const READY: usize = 2;
/// Names of files that were set aside begin with this.
const SPARE: &str = "spare-";
/// Bytes of zeros written at once.
const ZERO_BYTES: usize = 1 << 20;
/// How long to wait before trying again when a segment could not be made (a full disk, most likely).
const AGAIN: Duration = Duration::from_secs(1);

/// A segment that can be written.
#[derive(Debug)]
pub(crate) struct Segment {
    pub(crate) number: u32,
    pub(crate) file: File,
}

/// Writes a segment full of zeros under another name, flushes it, and names it.
pub(crate) fn create(dir: &Path, store: &[u8; 16], number: u32, bytes: u64, direct: bool) -> io::Result<Segment> {
    let path = segment_path(dir, number);
    let draft = path.with_extension("tmp");
    // A segment that was set aside has its blocks on the disk already.
    if let Some(aside) = spare(dir)? {
        std::fs::rename(aside, &draft)?;
    }
    let file = fill(&draft, store, number, bytes, direct).inspect_err(|_| {
        // What it took of a full disk goes back: the archive needs it to make room.
        let _ = std::fs::remove_file(&draft);
    })?;
    std::fs::rename(&draft, &path)?;
    sync_dir(&segments_dir(dir))?;
    Ok(Segment { number, file })
}

fn fill(draft: &Path, store: &[u8; 16], number: u32, bytes: u64, direct: bool) -> io::Result<File> {
    let flags = if direct { libc::O_DIRECT } else { 0 };
    let file =
        OpenOptions::new().read(true).write(true).create(true).truncate(false).custom_flags(flags).open(draft)?;
    file.set_len(bytes)?;
    // A full disk says so here, before anything is written to it in vain.
    match rustix::fs::fallocate(&file, FallocateFlags::empty(), 0, bytes) {
        Ok(()) | Err(Errno::OPNOTSUPP) => {}
        Err(e) => return Err(e.into()),
    }
    let mut zeros = Buffers::new(1, ZERO_BYTES);
    let zeros = zeros.get_mut(0);
    let mut at = 0;
    while at < bytes {
        let n = (bytes - at).min(ZERO_BYTES as u64) as usize;
        write_plainly(&file, &zeros[..n], at)?;
        at += n as u64;
    }
    zeros[..BLOCK].copy_from_slice(&segment_block(store, number, bytes));
    write_plainly(&file, &zeros[..BLOCK], 0)?;
    file.sync_all()?;
    Ok(file)
}

/// Takes an archived segment's file out of the log, to be used again; what is not needed is removed.
pub(crate) fn set_aside(dir: &Path, number: u32) -> io::Result<()> {
    let path = segment_path(dir, number);
    if spares(dir)?.len() < READY {
        std::fs::rename(&path, segments_dir(dir).join(format!("{SPARE}{number}.tmp")))?;
    } else {
        std::fs::remove_file(&path)?;
    }
    sync_dir(&segments_dir(dir))
}

fn spares(dir: &Path) -> io::Result<Vec<PathBuf>> {
    let mut all = Vec::new();
    for entry in std::fs::read_dir(segments_dir(dir))? {
        let path = entry?.path();
        if path.file_name().and_then(|n| n.to_str()).is_some_and(|n| n.starts_with(SPARE)) {
            all.push(path);
        }
    }
    Ok(all)
}

fn spare(dir: &Path) -> io::Result<Option<PathBuf>> {
    Ok(spares(dir)?.pop())
}

/// Opens a segment that is there.
pub(crate) fn reopen(dir: &Path, number: u32, direct: bool) -> Result<Segment, OpenError> {
    let path = segment_path(dir, number);
    let file = open_direct(&path, direct).map_err(OpenError::io("opening", &path))?;
    Ok(Segment { number, file })
}

/// Writes zeros over a part of a segment, durably.
pub(crate) fn zero(segment: &Segment, from: u64, to: u64) -> io::Result<()> {
    let mut zeros = Buffers::new(1, ZERO_BYTES);
    let zeros = zeros.get_mut(0);
    let mut at = from;
    while at < to {
        let n = (to - at).min(ZERO_BYTES as u64) as usize;
        write_durably(&segment.file, &zeros[..n], at)?;
        at += n as u64;
    }
    Ok(())
}

fn write_plainly(file: &File, bytes: &[u8], at: u64) -> io::Result<()> {
    use std::os::unix::fs::FileExt;
    file.write_all_at(bytes, at)
}

/// Segments that are made ahead of the log.
#[derive(Debug)]
pub(crate) struct Preparer {
    ready: Receiver<Segment>,
    next: Option<Segment>,
    full: std::sync::Arc<std::sync::atomic::AtomicBool>,
}

impl Preparer {
    /// Starts the thread. `have` are segments that exist already, behind the one in use.
    pub(crate) fn start(
        dir: PathBuf,
        store: [u8; 16],
        have: Vec<Segment>,
        next_number: u32,
        bytes: u64,
        direct: bool,
        bell: Doorbell,
    ) -> io::Result<Self> {
        // One more is in the thread's hand while these are not taken.
        let (send, ready) = sync_channel(READY - 1);
        let full = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
        let told = std::sync::Arc::clone(&full);
        let work = move || {
            be_modest();
            for segment in have {
                if send.send(segment).is_err() {
                    return;
                }
                bell.ring();
            }
            make(&dir, &store, next_number, bytes, direct, &send, &bell, &told);
        };
        std::thread::Builder::new().name("segments".into()).spawn(work)?;
        Ok(Self { ready, next: None, full })
    }

    /// True when a segment is ready to be taken.
    pub(crate) fn has_next(&mut self) -> bool {
        if self.next.is_none() {
            self.next = self.ready.try_recv().ok();
        }
        self.next.is_some()
    }

    /// The next segment, if one is ready.
    pub(crate) fn take(&mut self) -> Option<Segment> {
        self.has_next();
        self.next.take()
    }

    /// True while the last attempt to make a segment failed: a full disk, most likely.
    pub(crate) fn is_stuck(&self) -> bool {
        self.full.load(std::sync::atomic::Ordering::Relaxed)
    }
}

fn make(
    dir: &Path,
    store: &[u8; 16],
    mut number: u32,
    bytes: u64,
    direct: bool,
    send: &SyncSender<Segment>,
    bell: &Doorbell,
    stuck: &std::sync::atomic::AtomicBool,
) {
    loop {
        match create(dir, store, number, bytes, direct) {
            Ok(segment) => {
                stuck.store(false, std::sync::atomic::Ordering::Relaxed);
                if send.send(segment).is_err() {
                    return;
                }
                bell.ring();
                number += 1;
            }
            Err(_) => {
                if !stuck.swap(true, std::sync::atomic::Ordering::Relaxed) {
                    bell.ring();
                }
                std::thread::sleep(AGAIN);
            }
        }
    }
}
