//! The data folder: its lock, its identity, and the names of its files.
//!
//! ```text
//! LOCK  STORE  BEACON  journal/00000001.seg …  snapshots/  archive/  torn/
//! ```

use crate::error::OpenError;
use crate::layout::{self, BLOCK};
use crate::options::Options;
use rustix::fs::{FlockOperation, flock};
use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// A folder that this process has for itself.
#[derive(Debug)]
pub(crate) struct Store {
    pub(crate) dir: PathBuf,
    pub(crate) id: [u8; 16],
    pub(crate) shards: u32,
    pub(crate) segment_bytes: u64,
    pub(crate) created: bool,
    /// False where the file system refuses O_DIRECT.
    pub(crate) direct: bool,
    /// True where the file system takes a write without making its caller wait.
    pub(crate) prompt: bool,
    /// It lies in a file system in memory: nothing survives the machine.
    pub(crate) volatile: bool,
    /// Held for as long as the store is open.
    _lock: File,
}

pub(crate) fn segments_dir(dir: &Path) -> PathBuf {
    dir.join("journal")
}

pub(crate) fn segment_path(dir: &Path, number: u32) -> PathBuf {
    segments_dir(dir).join(format!("{number:08}.seg"))
}

pub(crate) fn beacon_path(dir: &Path) -> PathBuf {
    dir.join("BEACON")
}

pub(crate) fn store_path(dir: &Path) -> PathBuf {
    dir.join("STORE")
}

/// Makes renames and creations in a folder durable.
pub(crate) fn sync_dir(dir: &Path) -> io::Result<()> {
    File::open(dir)?.sync_all()
}

/// Creates a folder and what is missing above it, and makes their names durable: without its name nothing in it is found
/// again, however well that was flushed.
pub(crate) fn create_folder(dir: &Path) -> io::Result<()> {
    let dir = std::path::absolute(dir)?;
    let missing: Vec<&Path> = dir.ancestors().take_while(|d| !d.exists()).collect();
    std::fs::create_dir_all(&dir)?;
    // Of a creation that was interrupted the folder may be there, and its name not durable yet.
    let named_in = missing.last().copied().unwrap_or(&dir).parent();
    missing.into_iter().filter(|d| *d != dir).chain(named_in).try_for_each(|parent| match sync_dir(parent) {
        // Whoever may not read it has not created anything in it.
        Err(e) if e.kind() == io::ErrorKind::PermissionDenied => Ok(()),
        done => done,
    })
}

/// Writes a file under another name, makes it durable, and gives it its own name.
pub(crate) fn write_file(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let draft = path.with_extension("tmp");
    let file = File::create(&draft)?;
    file.write_all_at(bytes, 0)?;
    file.sync_all()?;
    std::fs::rename(&draft, path)?;
    path.parent().map_or(Ok(()), sync_dir)
}

/// Opens a file to write whole blocks past the page cache, where that is possible.
pub(crate) fn open_direct(path: &Path, direct: bool) -> io::Result<File> {
    let flags = if direct { libc::O_DIRECT } else { 0 };
    OpenOptions::new().read(true).write(true).custom_flags(flags).open(path)
}

/// `statfs` magic numbers of file systems that live in memory.
const TMPFS: i64 = 0x0102_1994;
const RAMFS: i64 = 0x8584_58F6;
/// And of those that queue a write of whole blocks at once; what others do while they take one may last.
const EXT4: i64 = 0xEF53;
const XFS: i64 = 0x5846_5342;

/// True where a folder lies in memory, or would: nothing survives the machine.
pub fn is_volatile(dir: &Path) -> io::Result<bool> {
    Ok([TMPFS, RAMFS].contains(&kind_of_file_system(dir)?))
}

fn kind_of_file_system(dir: &Path) -> io::Result<i64> {
    let dir = std::path::absolute(dir)?;
    let there = dir.ancestors().find(|d| d.exists()).unwrap_or(&dir);
    Ok(rustix::fs::statfs(there)?.f_type)
}

impl Store {
    /// Locks the folder, and creates what is missing in an empty one. A folder that is refused is left untouched.
    pub(crate) fn open(options: &Options) -> Result<Self, OpenError> {
        options.check()?;
        let dir = &options.dir;
        let volatile = is_volatile(dir).map_err(OpenError::io("looking at", dir))?;
        if volatile && !options.allow_volatile {
            return Err(OpenError::Volatile { dir: dir.clone() });
        }
        // Another process may be creating it just now: the lock tells.
        if dir.exists() && !store_path(dir).exists() {
            Self::check_empty(dir).or_else(|e| if store_path(dir).exists() { Ok(()) } else { Err(e) })?;
        }
        if !store_path(dir).exists() {
            create_folder(dir).map_err(OpenError::io("creating the data folder", dir))?;
        }
        let lock_path = dir.join("LOCK");
        let lock = File::create(&lock_path).map_err(OpenError::io("opening", &lock_path))?;
        flock(&lock, FlockOperation::NonBlockingLockExclusive)
            .map_err(|_| OpenError::InUse { file: lock_path.clone() })?;
        let path = store_path(dir);
        let created = !path.exists();
        if created {
            Self::create(options)?;
        }
        let block = std::fs::read(&path).map_err(OpenError::io("reading", &path))?;
        let (id, shards, segment_bytes) =
            layout::decode_store_block(&block).map_err(|d| OpenError::damaged(&path, 0, 0, d, 0))?;
        let direct = open_direct(&beacon_path(dir), true).is_ok();
        let prompt = [EXT4, XFS].contains(&kind_of_file_system(dir).map_err(OpenError::io("looking at", dir))?);
        Ok(Self { dir: dir.clone(), id, shards, segment_bytes, created, direct, prompt, volatile, _lock: lock })
    }

    /// Nothing is there but what an interrupted creation leaves.
    fn check_empty(dir: &Path) -> Result<(), OpenError> {
        let strangers = std::fs::read_dir(dir).map_err(OpenError::io("reading", dir))?.flatten().any(|e| {
            let name = e.file_name();
            !(name == "LOCK" || name == "BEACON" || name == "journal" || name.to_string_lossy().ends_with(".tmp"))
        });
        if strangers {
            return Err(OpenError::NotAStore { dir: dir.to_owned(), what: "it is not empty and has no file STORE" });
        }
        let segments = segments_dir(dir);
        let old = segments.exists()
            && std::fs::read_dir(&segments)
                .map_err(OpenError::io("reading", &segments))?
                .flatten()
                .any(|e| e.path().extension().is_some_and(|x| x == "seg"));
        if old {
            return Err(OpenError::NotAStore { dir: dir.to_owned(), what: "it has segments but no file STORE" });
        }
        Ok(())
    }

    fn create(options: &Options) -> Result<(), OpenError> {
        let dir = &options.dir;
        Self::check_empty(dir)?;
        let segments = segments_dir(dir);
        std::fs::create_dir_all(&segments).map_err(OpenError::io("creating", &segments))?;
        let beacon = beacon_path(dir);
        write_file(&beacon, &[0; 2 * BLOCK]).map_err(OpenError::io("creating", &beacon))?;
        let store = store_path(dir);
        let block = layout::store_block(&options.store_id, options.shards, options.segment_bytes);
        write_file(&store, &block).map_err(OpenError::io("creating", &store))
    }
}
