//! What the journal asks of a disk. The machine's own is [`Real`]; another one is given with the [`Folder`] that lies on
//! it, and then the same writer, recovery and archive run over that, on the caller's thread alone.
//!
//! What a disk promises is here; how it keeps the promise, and how it breaks it in a crash, is the disk's.

use crate::real::Real;
use std::any::Any;
use std::fmt::Debug;
use std::io;
use std::os::fd::BorrowedFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

/// How a file is opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Open {
    /// To read; it must be there.
    Read,
    /// To read and write; it must be there. `direct`: past any cache, whole blocks only.
    Write {
        /// Past any cache.
        direct: bool,
    },
    /// To read and write; created when it is not there, its bytes stay when it is.
    Reuse {
        /// Past any cache.
        direct: bool,
    },
    /// To write; empty, whether it was there or not.
    Create,
}

/// A disk.
pub trait Disk: Debug + Send + Sync {
    /// Opens a file.
    fn open(&self, path: &Path, how: Open) -> io::Result<Box<dyn DiskFile>>;
    /// Opens a file that one owner at a time has, until it is dropped; `WouldBlock` when another has it.
    fn lock(&self, path: &Path) -> io::Result<Box<dyn DiskFile>>;
    /// Gives a file another name, in place of what had it. Durable by [`Disk::sync_folder`] only, like a creation and a
    /// removal.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;
    /// Removes a file.
    fn remove(&self, path: &Path) -> io::Result<()>;
    /// Files and folders of a folder, in any order.
    fn list(&self, folder: &Path) -> io::Result<Vec<PathBuf>>;
    /// Creates a folder in one that is there.
    fn create_folder(&self, folder: &Path) -> io::Result<()>;
    /// True when there is something of this name.
    fn exists(&self, path: &Path) -> bool;
    /// Makes what happened to names in a folder durable.
    fn sync_folder(&self, folder: &Path) -> io::Result<()>;
    /// True when nothing on it survives the machine.
    fn is_volatile(&self, path: &Path) -> io::Result<bool>;
    /// Durable writes that are in flight together. Nothing: the machine's own ways are used.
    fn queue(&self) -> Option<Box<dyn Queue>>;
    /// Time since any moment that stays the same.
    fn elapsed(&self) -> Duration;
    /// Leaves the disk to others for so long.
    fn rest(&self, time: Duration);
}

/// An open file.
pub trait DiskFile: Any + Debug + Send {
    /// Reads from `offset`; fewer bytes than were asked for only at the end.
    fn read_at(&self, bytes: &mut [u8], offset: u64) -> io::Result<usize>;
    /// Writes all of it; durable by [`DiskFile::sync`] only.
    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()>;
    /// Writes all of it, and returns when it is on stable storage.
    fn write_durably(&self, bytes: &[u8], offset: u64) -> io::Result<()>;
    /// Makes what was written and the length durable.
    fn sync(&self) -> io::Result<()>;
    /// Starts to write what is only cached, and waits for that; nothing is durable by it.
    fn write_back(&self) -> io::Result<()>;
    /// Its length.
    fn bytes(&self) -> io::Result<u64>;
    /// Makes it so long, and takes the room for it: a full disk says so here.
    fn reserve(&self, bytes: u64) -> io::Result<()>;
    /// Its descriptor, if it is a file of this machine.
    fn descriptor(&self) -> Option<BorrowedFd<'_>>;
}

/// Durable writes in flight. Their buffers have numbers; each number is used again after its write is complete.
pub trait Queue: Send {
    /// Starts a durable write.
    fn submit(&mut self, buffer: usize, file: &dyn DiskFile, bytes: &[u8], offset: u64) -> io::Result<()>;
    /// Numbers of the writes that are complete since the last call. A failed or short one is an error.
    fn completed(&mut self, done: &mut Vec<usize>) -> io::Result<()>;
    /// Lets time go by until a write is complete, no longer than `timeout`.
    fn wait(&mut self, timeout: Option<Duration>) -> io::Result<()>;
}

/// A folder on a disk. A path alone is one on the machine's own.
#[derive(Debug, Clone)]
pub struct Folder {
    path: PathBuf,
    pub(crate) disk: Arc<dyn Disk>,
}

impl Folder {
    /// A folder on a given disk.
    pub fn on(disk: Arc<dyn Disk>, path: impl Into<PathBuf>) -> Self {
        Self { path: path.into(), disk }
    }

    /// Its path.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    pub(crate) fn join(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    pub(crate) fn file(&self, path: &Path, how: Open) -> io::Result<Box<dyn DiskFile>> {
        self.disk.open(path, how)
    }

    /// All bytes of a file.
    pub(crate) fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        let file = self.file(path, Open::Read)?;
        let mut bytes = vec![0; usize::try_from(file.bytes()?).map_err(|_| io::ErrorKind::FileTooLarge)?];
        read_exact_at(&*file, &mut bytes, 0)?;
        Ok(bytes)
    }

    /// Writes a file under another name, makes it durable, and gives it its own name.
    pub(crate) fn write(&self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        let draft = path.with_extension("tmp");
        let file = self.file(&draft, Open::Create)?;
        file.write_at(bytes, 0)?;
        file.sync()?;
        self.disk.rename(&draft, path)?;
        path.parent().map_or(Ok(()), |folder| self.disk.sync_folder(folder))
    }

    /// Creates a folder, and those above it, so that they survive. Also when it is there: whoever made it may have been
    /// killed before it was durable.
    pub(crate) fn create_folder(&self, folder: &Path) -> io::Result<()> {
        let Some(parent) = folder.parent() else { return Ok(()) };
        if !parent.as_os_str().is_empty() && !self.disk.exists(parent) {
            self.create_folder(parent)?;
        }
        self.disk.create_folder(folder)?;
        match self.disk.sync_folder(parent) {
            // Whoever gives us a folder in one that we may not read has made it durable.
            Err(e) if e.kind() == io::ErrorKind::PermissionDenied => Ok(()),
            other => other,
        }
    }

    /// What a folder holds; nothing when it is not there.
    pub(crate) fn list(&self, folder: &Path) -> io::Result<Vec<PathBuf>> {
        match self.disk.list(folder) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
            other => other,
        }
    }
}

impl<P: Into<PathBuf>> From<P> for Folder {
    fn from(path: P) -> Self {
        Self { path: path.into(), disk: Arc::new(Real) }
    }
}

impl From<&Folder> for Folder {
    fn from(folder: &Folder) -> Self {
        folder.clone()
    }
}

/// Reads all of `bytes`; the end of the file before that is an error.
pub(crate) fn read_exact_at(file: &dyn DiskFile, mut bytes: &mut [u8], mut offset: u64) -> io::Result<()> {
    while !bytes.is_empty() {
        match file.read_at(bytes, offset)? {
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            n => {
                bytes = &mut bytes[n..];
                offset += n as u64;
            }
        }
    }
    Ok(())
}

/// A file that is read or written from its beginning to its end.
#[derive(Debug)]
pub(crate) struct Stream {
    pub(crate) file: Box<dyn DiskFile>,
    offset: u64,
}

impl Stream {
    pub(crate) fn new(file: Box<dyn DiskFile>, offset: u64) -> Self {
        Self { file, offset }
    }
}

impl io::Read for Stream {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        let n = self.file.read_at(bytes, self.offset)?;
        self.offset += n as u64;
        Ok(n)
    }
}

impl io::Write for Stream {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.file.write_at(bytes, self.offset)?;
        self.offset += bytes.len() as u64;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
