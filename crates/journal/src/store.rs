//! The data folder: its lock, its identity, and the names of its files.
//!
//! ```text
//! LOCK  STORE  BEACON  journal/00000001.seg …  snapshots/  archive/  torn/
//! ```

use crate::disk::{DiskFile, Folder, Open};
use crate::error::OpenError;
use crate::layout::{self, BLOCK};
use crate::options::Options;
use std::io;
use std::path::PathBuf;

/// A folder that this process has for itself.
#[derive(Debug)]
pub(crate) struct Store {
    pub(crate) dir: Folder,
    pub(crate) id: [u8; 16],
    pub(crate) shards: u32,
    pub(crate) segment_bytes: u64,
    pub(crate) created: bool,
    /// False where the file system refuses O_DIRECT.
    pub(crate) direct: bool,
    /// It lies in a file system in memory: nothing survives the machine.
    pub(crate) volatile: bool,
    /// Held for as long as the store is open.
    _lock: Box<dyn DiskFile>,
}

pub(crate) fn segments_dir(dir: &Folder) -> PathBuf {
    dir.join("journal")
}

pub(crate) fn segment_path(dir: &Folder, number: u32) -> PathBuf {
    segments_dir(dir).join(format!("{number:08}.seg"))
}

pub(crate) fn beacon_path(dir: &Folder) -> PathBuf {
    dir.join("BEACON")
}

pub(crate) fn store_path(dir: &Folder) -> PathBuf {
    dir.join("STORE")
}

/// True where a folder lies in memory, or would: nothing survives the machine.
pub fn is_volatile(dir: impl Into<Folder>) -> io::Result<bool> {
    let dir = dir.into();
    dir.disk.is_volatile(dir.path())
}

impl Store {
    /// Locks the folder, and creates what is missing in an empty one. A folder that is refused is left untouched.
    pub(crate) fn open(options: &Options) -> Result<Self, OpenError> {
        options.check()?;
        let dir = &options.dir;
        let volatile = is_volatile(dir).map_err(OpenError::io("looking at", dir.path()))?;
        if volatile && !options.allow_volatile {
            return Err(OpenError::Volatile { dir: dir.path().to_owned() });
        }
        let path = store_path(dir);
        // Another process may be creating it just now: the lock tells.
        if dir.disk.exists(dir.path()) && !dir.disk.exists(&path) {
            Self::check_empty(dir).or_else(|e| if dir.disk.exists(&path) { Ok(()) } else { Err(e) })?;
        }
        dir.create_folder(dir.path()).map_err(OpenError::io("creating the data folder", dir.path()))?;
        let lock_path = dir.join("LOCK");
        let lock = dir.disk.lock(&lock_path).map_err(|error| match error.kind() {
            io::ErrorKind::WouldBlock => OpenError::InUse { file: lock_path.clone() },
            _ => OpenError::io("opening", &lock_path)(error),
        })?;
        let created = !dir.disk.exists(&path);
        if created {
            Self::create(options)?;
        }
        let block = dir.read(&path).map_err(OpenError::io("reading", &path))?;
        let (id, shards, segment_bytes) =
            layout::decode_store_block(&block).map_err(|d| OpenError::damaged(&path, 0, 0, d, 0))?;
        let direct = dir.file(&beacon_path(dir), Open::Write { direct: true }).is_ok();
        Ok(Self { dir: dir.clone(), id, shards, segment_bytes, created, direct, volatile, _lock: lock })
    }

    /// Nothing is there but what an interrupted creation leaves.
    fn check_empty(dir: &Folder) -> Result<(), OpenError> {
        let refused = |what| Err(OpenError::NotAStore { dir: dir.path().to_owned(), what });
        let ours = |path: &PathBuf| {
            let name = path.file_name().unwrap_or_default();
            name == "LOCK" || name == "BEACON" || name == "journal" || name.to_string_lossy().ends_with(".tmp")
        };
        if !dir.list(dir.path()).map_err(OpenError::io("reading", dir.path()))?.iter().all(ours) {
            return refused("it is not empty and has no file STORE");
        }
        let segments = segments_dir(dir);
        let is_segment = |path: &PathBuf| path.extension().is_some_and(|x| x == "seg");
        if dir.list(&segments).map_err(OpenError::io("reading", &segments))?.iter().any(is_segment) {
            return refused("it has segments but no file STORE");
        }
        Ok(())
    }

    fn create(options: &Options) -> Result<(), OpenError> {
        let dir = &options.dir;
        Self::check_empty(dir)?;
        let segments = segments_dir(dir);
        dir.create_folder(&segments).map_err(OpenError::io("creating", &segments))?;
        let beacon = beacon_path(dir);
        dir.write(&beacon, &[0; 2 * BLOCK]).map_err(OpenError::io("creating", &beacon))?;
        let store = store_path(dir);
        let block = layout::store_block(&options.store_id, options.shards, options.segment_bytes);
        dir.write(&store, &block).map_err(OpenError::io("creating", &store))
    }
}
