//! Segments before their use: written with zeros, flushed, and only then given their name.

use crate::buffers::Buffers;
use crate::disk::{DiskFile, Folder, Open};
use crate::error::OpenError;
use crate::layout::{BLOCK, segment_block};
use crate::preparer::READY;
use crate::store::{segment_path, segments_dir};
use std::io;
use std::path::{Path, PathBuf};

/// Names of files that were set aside begin with this.
const SPARE: &str = "spare-";
/// Bytes written at once.
const PIECE_BYTES: usize = 1 << 20;

/// A segment that can be written.
#[derive(Debug)]
pub(crate) struct Segment {
    pub(crate) number: u32,
    pub(crate) file: Box<dyn DiskFile>,
}

/// Writes a segment full of zeros under another name, flushes it, and names it.
pub(crate) fn create(dir: &Folder, store: &[u8; 16], number: u32, bytes: u64, direct: bool) -> io::Result<Segment> {
    let path = segment_path(dir, number);
    // A segment that was set aside has its blocks on the disk already. It keeps its name until it has its last one: of two
    // changes of a name a crash may leave the second alone, and then one file has two names.
    let draft = spare(dir)?.unwrap_or_else(|| path.with_extension("tmp"));
    let file = fill(dir, &draft, store, number, bytes, direct).inspect_err(|_| {
        // What it took of a full disk goes back: the archive needs it to make room.
        let _ = dir.disk.remove(&draft);
    })?;
    dir.disk.rename(&draft, &path)?;
    dir.disk.sync_folder(&segments_dir(dir))?;
    Ok(Segment { number, file })
}

fn fill(
    dir: &Folder,
    draft: &Path,
    store: &[u8; 16],
    number: u32,
    bytes: u64,
    direct: bool,
) -> io::Result<Box<dyn DiskFile>> {
    let file = dir.file(draft, Open::Reuse { direct })?;
    // A full disk says so here, before anything is written to it in vain.
    file.reserve(bytes)?;
    let mut zeros = Buffers::new(1, PIECE_BYTES);
    let zeros = zeros.get_mut(0);
    let mut at = 0;
    while at < bytes {
        let n = (bytes - at).min(PIECE_BYTES as u64) as usize;
        file.write_at(&zeros[..n], at)?;
        at += n as u64;
    }
    zeros[..BLOCK].copy_from_slice(&segment_block(store, number, bytes));
    file.write_at(&zeros[..BLOCK], 0)?;
    file.sync()?;
    Ok(file)
}

/// Takes an archived segment's file out of the log, to be used again; what is not needed is removed.
pub(crate) fn set_aside(dir: &Folder, number: u32) -> io::Result<()> {
    let path = segment_path(dir, number);
    if spares(dir)?.len() < READY {
        dir.disk.rename(&path, &segments_dir(dir).join(format!("{SPARE}{number}.tmp")))?;
    } else {
        dir.disk.remove(&path)?;
    }
    dir.disk.sync_folder(&segments_dir(dir))
}

fn spares(dir: &Folder) -> io::Result<Vec<PathBuf>> {
    let mut all = dir.disk.list(&segments_dir(dir))?;
    all.retain(|path| path.file_name().and_then(|n| n.to_str()).is_some_and(|n| n.starts_with(SPARE)));
    Ok(all)
}

fn spare(dir: &Folder) -> io::Result<Option<PathBuf>> {
    Ok(spares(dir)?.pop())
}

/// Opens a segment that is there.
pub(crate) fn reopen(dir: &Folder, number: u32, direct: bool) -> Result<Segment, OpenError> {
    let path = segment_path(dir, number);
    let file = dir.file(&path, Open::Write { direct }).map_err(OpenError::io("opening", &path))?;
    Ok(Segment { number, file })
}

/// Writes whole blocks to a segment, durably.
pub(crate) fn copy(segment: &Segment, from: u64, bytes: &[u8]) -> io::Result<()> {
    let mut buffers = Buffers::new(1, PIECE_BYTES);
    let mut at = from;
    for piece in bytes.chunks(PIECE_BYTES) {
        let buffer = &mut buffers.get_mut(0)[..piece.len()];
        buffer.copy_from_slice(piece);
        segment.file.write_durably(buffer, at)?;
        at += piece.len() as u64;
    }
    Ok(())
}

/// Writes zeros over a part of a segment, durably.
pub(crate) fn zero(segment: &Segment, from: u64, to: u64) -> io::Result<()> {
    let mut zeros = Buffers::new(1, PIECE_BYTES);
    let zeros = zeros.get_mut(0);
    let mut at = from;
    while at < to {
        let n = (to - at).min(PIECE_BYTES as u64) as usize;
        segment.file.write_durably(&zeros[..n], at)?;
        at += n as u64;
    }
    Ok(())
}
