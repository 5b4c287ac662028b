//! Snapshots: the owner's blocks as of one position. The newest valid one and the log behind it give the state.

use crate::archive;
use crate::blocks::{self, BlocksReader, BlocksWriter, Trailer};
use crate::disk::Folder;
use crate::error::{OpenError, ReadError};
use std::io;
use std::path::{Path, PathBuf};

const MAGIC: [u8; 8] = *b"TGTSNAPS";

pub(crate) fn folder(dir: &Path) -> PathBuf {
    dir.join("snapshots")
}

/// The file of the snapshot as of a position.
#[must_use]
pub fn snapshot_path(dir: &Path, position: u64) -> PathBuf {
    folder(dir).join(format!("{position:020}.snap"))
}

/// A snapshot that is being written. Dropped before its end, it leaves nothing.
#[derive(Debug)]
pub struct SnapshotWriter {
    blocks: BlocksWriter,
}

impl SnapshotWriter {
    /// Begins the snapshot as of `position` in a data folder.
    pub fn create(dir: impl Into<Folder>, store: &[u8; 16], position: u64) -> io::Result<Self> {
        let dir = dir.into();
        dir.create_folder(&folder(dir.path()))?;
        let path = snapshot_path(dir.path(), position);
        Ok(Self { blocks: BlocksWriter::create(&dir, &path, MAGIC, store)? })
    }

    /// Appends a block of 1 byte to 8 MiB.
    pub fn block(&mut self, payload: &[u8]) -> io::Result<()> {
        self.blocks.block(payload)
    }

    /// Ends it: flushed, then named.
    pub fn finish(self, trailer: &Trailer) -> io::Result<()> {
        self.blocks.finish(trailer)
    }
}

/// Removes what a killed process left of a snapshot or an archived segment that it was writing. To be called by the owner
/// of the data folder, before it writes any.
pub fn remove_drafts(dir: impl Into<Folder>) -> io::Result<()> {
    let dir = dir.into();
    blocks::remove_drafts(&dir, &folder(dir.path()))?;
    blocks::remove_drafts(&dir, &archive::folder(&dir))
}

/// Positions of the snapshots in a data folder, newest first.
pub fn snapshots(dir: impl Into<Folder>) -> io::Result<Vec<u64>> {
    let dir = dir.into();
    let mut positions = Vec::new();
    for path in dir.list(&folder(dir.path()))? {
        if path.extension().is_some_and(|x| x == "snap") {
            positions.extend(path.file_stem().and_then(|s| s.to_str()).and_then(|s| s.parse::<u64>().ok()));
        }
    }
    positions.sort_unstable_by(|a, b| b.cmp(a));
    Ok(positions)
}

/// What the end of a snapshot says, without reading the rest.
pub fn snapshot_trailer(dir: impl Into<Folder>, store: &[u8; 16], position: u64) -> Result<Trailer, OpenError> {
    let dir = dir.into();
    Ok(*BlocksReader::open(&dir, &snapshot_path(dir.path(), position), MAGIC, store)?.trailer())
}

/// Reads a snapshot: every block goes to `each`.
pub fn read_snapshot<E>(
    dir: impl Into<Folder>,
    store: &[u8; 16],
    position: u64,
    each: &mut dyn FnMut(&[u8]) -> Result<(), E>,
) -> Result<Trailer, ReadError<E>> {
    let dir = dir.into();
    let path = snapshot_path(dir.path(), position);
    let mut reader = BlocksReader::open(&dir, &path, MAGIC, store).map_err(ReadError::Journal)?;
    while let Some(block) = reader.next().map_err(ReadError::Journal)? {
        each(block).map_err(ReadError::Consumer)?;
    }
    Ok(*reader.trailer())
}

/// Removes a snapshot.
pub fn remove_snapshot(dir: impl Into<Folder>, position: u64) -> io::Result<()> {
    let dir = dir.into();
    dir.disk.remove(&snapshot_path(dir.path(), position))
}
