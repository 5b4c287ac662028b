//! The machine's own disk.

use crate::disk::{Disk, DiskFile, Open, Queue};
use rustix::fs::{FallocateFlags, FlockOperation, flock};
use rustix::io::{Errno, ReadWriteFlags};
use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::LazyLock;
use std::time::{Duration, Instant};

/// `statfs` magic numbers of file systems that live in memory.
const TMPFS: i64 = 0x0102_1994;
const RAMFS: i64 = 0x8584_58F6;
/// And of those that queue a write of whole blocks at once; what others do while they take one may last.
const EXT4: i64 = 0xEF53;
const XFS: i64 = 0x5846_5342;

static START: LazyLock<Instant> = LazyLock::new(Instant::now);

#[derive(Debug, Clone, Copy)]
pub(crate) struct Real;

/// True where the file system takes a write without making its caller wait.
pub(crate) fn is_prompt(path: &Path) -> io::Result<bool> {
    Ok([EXT4, XFS].contains(&kind_of_file_system(path)?))
}

fn kind_of_file_system(path: &Path) -> io::Result<i64> {
    let path = std::path::absolute(path)?;
    let there = path.ancestors().find(|d| d.exists()).unwrap_or(&path);
    Ok(rustix::fs::statfs(there)?.f_type)
}

impl Disk for Real {
    fn open(&self, path: &Path, how: Open) -> io::Result<Box<dyn DiskFile>> {
        let mut options = OpenOptions::new();
        let direct = match how {
            Open::Read => options.read(true),
            Open::Write { .. } => options.read(true).write(true),
            Open::Reuse { .. } => options.read(true).write(true).create(true).truncate(false),
            Open::Create => options.write(true).create(true).truncate(true),
        };
        if matches!(how, Open::Write { direct: true } | Open::Reuse { direct: true }) {
            direct.custom_flags(libc::O_DIRECT);
        }
        Ok(Box::new(options.open(path)?))
    }

    fn lock(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        let file = File::create(path)?;
        flock(&file, FlockOperation::NonBlockingLockExclusive).map_err(|_| io::ErrorKind::WouldBlock)?;
        Ok(Box::new(file))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        std::fs::rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        std::fs::remove_file(path)
    }

    fn list(&self, folder: &Path) -> io::Result<Vec<PathBuf>> {
        std::fs::read_dir(folder)?.map(|entry| Ok(entry?.path())).collect()
    }

    fn create_folder(&self, folder: &Path) -> io::Result<()> {
        match std::fs::create_dir(folder) {
            Err(_) if folder.is_dir() => Ok(()),
            other => other,
        }
    }

    fn exists(&self, path: &Path) -> bool {
        path.exists()
    }

    fn sync_folder(&self, folder: &Path) -> io::Result<()> {
        let folder = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
        File::open(folder)?.sync_all()
    }

    fn is_volatile(&self, path: &Path) -> io::Result<bool> {
        Ok([TMPFS, RAMFS].contains(&kind_of_file_system(path)?))
    }

    fn queue(&self) -> Option<Box<dyn Queue>> {
        None
    }

    fn elapsed(&self) -> Duration {
        START.elapsed()
    }

    fn rest(&self, time: Duration) {
        std::thread::sleep(time);
    }
}

impl DiskFile for File {
    fn read_at(&self, bytes: &mut [u8], offset: u64) -> io::Result<usize> {
        loop {
            match FileExt::read_at(self, bytes, offset) {
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                other => return other,
            }
        }
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.write_all_at(bytes, offset)
    }

    fn write_durably(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        write_durably(self.as_fd(), bytes, offset)
    }

    fn sync(&self) -> io::Result<()> {
        self.sync_all()
    }

    #[allow(unsafe_code, reason = "sync_file_range has no safe wrapper among the dependencies")]
    fn write_back(&self) -> io::Result<()> {
        use std::os::fd::AsRawFd;
        const ALL: u32 =
            libc::SYNC_FILE_RANGE_WAIT_BEFORE | libc::SYNC_FILE_RANGE_WRITE | libc::SYNC_FILE_RANGE_WAIT_AFTER;
        // SAFETY: sync_file_range takes numbers only; a length of 0 means up to the end.
        match unsafe { libc::sync_file_range(self.as_raw_fd(), 0, 0, ALL) } {
            0 => Ok(()),
            // A file system that cannot, flushes.
            _ => self.sync_data(),
        }
    }

    fn bytes(&self) -> io::Result<u64> {
        Ok(self.metadata()?.len())
    }

    fn reserve(&self, bytes: u64) -> io::Result<()> {
        self.set_len(bytes)?;
        match rustix::fs::fallocate(self, FallocateFlags::empty(), 0, bytes) {
            Ok(()) | Err(Errno::OPNOTSUPP) => Ok(()),
            Err(e) => Err(e.into()),
        }
    }

    fn descriptor(&self) -> Option<BorrowedFd<'_>> {
        Some(self.as_fd())
    }
}

/// Writes all of `bytes` and returns when they are on stable storage.
pub(crate) fn write_durably(fd: BorrowedFd<'_>, bytes: &[u8], offset: u64) -> io::Result<()> {
    let n = rustix::io::pwritev2(fd, &[io::IoSlice::new(bytes)], offset, ReadWriteFlags::DSYNC)?;
    if n == bytes.len() { Ok(()) } else { Err(io::Error::new(io::ErrorKind::WriteZero, "a short write")) }
}
