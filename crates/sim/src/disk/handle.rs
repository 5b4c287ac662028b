//! The disk as the journal sees it: names, open files, and the queue of durable writes.

use super::{Order, SimDisk};
use std::any::Any;
use std::io;
use std::os::fd::BorrowedFd;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tegata_journal::{Disk, DiskFile, Open, Queue};

#[derive(Debug)]
struct SimFile {
    disk: SimDisk,
    id: u64,
    boot: u64,
    locked: bool,
}

struct SimQueue {
    disk: SimDisk,
    owner: u64,
    boot: u64,
}

impl SimDisk {
    /// Fails as long as power is gone.
    fn power(&self) -> io::Result<u64> {
        let state = self.state();
        state.alive(state.boot).map(|()| state.boot)
    }
}

impl Disk for SimDisk {
    fn open(&self, path: &Path, how: Open) -> io::Result<Box<dyn DiskFile>> {
        let boot = self.power()?;
        let id = self.state().open(path, how)?;
        Ok(Box::new(SimFile { disk: self.clone(), id, boot, locked: false }))
    }

    fn lock(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        let boot = self.power()?;
        let id = self.state().open(path, Open::Reuse { direct: false })?;
        if !self.state().locks.insert(id) {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        Ok(Box::new(SimFile { disk: self.clone(), id, boot, locked: true }))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.power()?;
        self.state().rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.power()?;
        self.state().remove(path)
    }

    fn list(&self, folder: &Path) -> io::Result<Vec<PathBuf>> {
        self.power()?;
        self.state().list(folder)
    }

    fn create_folder(&self, folder: &Path) -> io::Result<()> {
        self.power()?;
        self.state().create_folder(folder)
    }

    fn exists(&self, path: &Path) -> bool {
        self.state().names.get(path).is_some()
    }

    fn sync_folder(&self, folder: &Path) -> io::Result<()> {
        self.power()?;
        self.state().sync_folder(folder)
    }

    fn is_volatile(&self, _: &Path) -> io::Result<bool> {
        self.power().map(|_| false)
    }

    fn queue(&self) -> Option<Box<dyn Queue>> {
        let mut state = self.state();
        let (owner, boot) = (state.id(), state.boot);
        Some(Box::new(SimQueue { disk: self.clone(), owner, boot }))
    }

    fn elapsed(&self) -> Duration {
        self.now()
    }

    fn rest(&self, _: Duration) {}
}

impl DiskFile for SimFile {
    fn read_at(&self, bytes: &mut [u8], offset: u64) -> io::Result<usize> {
        let mut state = self.disk.state();
        state.alive(self.boot)?;
        state.read(self.id, bytes, offset)
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        let mut state = self.disk.state();
        state.alive(self.boot)?;
        state.write(self.id, bytes, offset)
    }

    fn write_durably(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        let mut state = self.disk.state();
        state.alive(self.boot)?;
        state.write_durably(self.id, bytes, offset)
    }

    fn sync(&self) -> io::Result<()> {
        let mut state = self.disk.state();
        state.alive(self.boot)?;
        state.sync(self.id)
    }

    fn write_back(&self) -> io::Result<()> {
        self.disk.state().alive(self.boot)
    }

    fn bytes(&self) -> io::Result<u64> {
        let state = self.disk.state();
        state.alive(self.boot)?;
        Ok(state.files[&self.id].bytes())
    }

    fn reserve(&self, bytes: u64) -> io::Result<()> {
        let mut state = self.disk.state();
        state.alive(self.boot)?;
        state.reserve(self.id, bytes)
    }

    fn descriptor(&self) -> Option<BorrowedFd<'_>> {
        None
    }
}

impl Drop for SimFile {
    fn drop(&mut self) {
        let mut state = self.disk.state();
        if self.locked && self.boot == state.boot {
            state.locks.remove(&self.id);
        }
    }
}

impl Queue for SimQueue {
    fn submit(&mut self, buffer: usize, file: &dyn DiskFile, bytes: &[u8], offset: u64) -> io::Result<()> {
        let file: &SimFile = (file as &dyn Any).downcast_ref().expect("a file of this disk");
        let mut state = self.disk.state();
        state.alive(self.boot)?;
        state.submit(self.owner, buffer, file.id, bytes, offset)
    }

    fn completed(&mut self, done: &mut Vec<usize>) -> io::Result<()> {
        let mut state = self.disk.state();
        state.alive(self.boot)?;
        state.completed(self.owner, done)
    }

    fn wait(&mut self, timeout: Option<Duration>) -> io::Result<()> {
        let mut state = self.disk.state();
        state.alive(self.boot)?;
        if state.config.order == Order::ByTime {
            let due = state.flights.iter().filter(|f| f.owner == self.owner).map(|f| f.due).min();
            let limit = timeout.map(|t| state.now + t);
            if let Some(until) = due.into_iter().chain(limit).min() {
                state.now = state.now.max(until);
            }
        }
        Ok(())
    }
}

/// A writer that is dropped ends; what it had in flight is with the disk.
impl Drop for SimQueue {
    fn drop(&mut self) {
        let mut state = self.disk.state();
        if self.boot == state.boot && state.ended.is_none() {
            let owner = self.owner;
            let (ended, rest): (Vec<_>, Vec<_>) =
                std::mem::take(&mut state.flights).into_iter().partition(|f| f.owner == owner);
            state.flights = rest;
            state.end_flights(&ended);
        }
    }
}
