//! Durable writes: several in flight by io_uring, one after the other by pwritev2 on a thread, or as a given disk does them.
//! All give the same promise: a completed write is on stable storage. A failed or short one is an error, for good. None waits for a disk here.
#![allow(unsafe_code, reason = "io_uring's submission is unsafe by nature")]

use crate::buffers::Buffers;
use crate::disk::{DiskFile, Queue};
use crate::error::WriteError;
use crate::options::IoChoice;
use crate::plain::Plain;
use io_uring::{IoUring, opcode, squeue, types};
use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::sync::Arc;
use std::time::Duration;

/// Wakes the owner of the journal out of its wait.
#[derive(Debug, Clone)]
pub struct Doorbell(Arc<OwnedFd>);

impl Doorbell {
    fn new() -> io::Result<Self> {
        Ok(Self(Arc::new(eventfd(0, EventfdFlags::NONBLOCK | EventfdFlags::CLOEXEC)?)))
    }

    /// Wakes it, now or at its next wait.
    pub fn ring(&self) {
        // The counter can only be full after 2^64 - 2 rings nobody took; then it wakes all the same.
        let _ = rustix::io::write(&*self.0, &1u64.to_ne_bytes());
    }

    fn clear(&self) {
        let _ = rustix::io::read(&*self.0, &mut [0u8; 8]);
    }
}

/// User data of the poll on the doorbell; buffers have small numbers.
const BELL: u64 = u64::MAX;

/// A way of writing.
pub(crate) enum Device {
    /// io_uring.
    Uring(Box<Uring>),
    /// pwritev2.
    Plain(Plain),
    /// A disk that was given.
    Given(Given),
}

pub(crate) struct Given {
    queue: Box<dyn Queue>,
    buffers: Buffers,
    bell: Doorbell,
}

pub(crate) struct Uring {
    ring: IoUring,
    buffers: Buffers,
    lengths: Vec<u32>,
    prompt: bool,
    bell: Doorbell,
    bell_armed: bool,
}

impl Device {
    /// A given disk's own way.
    pub(crate) fn given(queue: Box<dyn Queue>, count: usize, bytes_each: usize) -> io::Result<Self> {
        Ok(Self::Given(Given { queue, buffers: Buffers::new(count, bytes_each), bell: Doorbell::new()? }))
    }

    /// Opens the way that was asked for, or the best that works. `direct` tells whether files are open with O_DIRECT,
    /// `prompt` whether their file system takes a write without making its caller wait.
    pub(crate) fn open(io: IoChoice, count: usize, bytes_each: usize, direct: bool, prompt: bool) -> io::Result<Self> {
        let bell = Doorbell::new()?;
        if matches!(io, IoChoice::Auto | IoChoice::Uring) && direct {
            match Uring::open(count, bytes_each, prompt, bell.clone()) {
                Ok(uring) => return Ok(Self::Uring(Box::new(uring))),
                Err(e) if io == IoChoice::Uring => return Err(e),
                Err(_) => {}
            }
        }
        if io == IoChoice::Uring {
            return Err(io::Error::new(io::ErrorKind::Unsupported, "this file system refuses O_DIRECT"));
        }
        Plain::open(count, bytes_each, direct, bell).map(Self::Plain)
    }

    pub(crate) fn method(&self) -> &'static str {
        match self {
            Self::Uring(_) => "io_uring O_DIRECT RWF_DSYNC",
            Self::Plain(p) if p.direct => "pwritev2 O_DIRECT RWF_DSYNC",
            Self::Plain(_) => "pwritev2 RWF_DSYNC",
            Self::Given(_) => "a given disk",
        }
    }

    /// Readable when something has completed.
    pub(crate) fn completions(&self) -> BorrowedFd<'_> {
        match self {
            // SAFETY: the ring keeps its descriptor open for as long as `self` lives.
            Self::Uring(u) => unsafe { BorrowedFd::borrow_raw(u.ring.as_raw_fd()) },
            Self::Plain(p) => p.bell.0.as_fd(),
            Self::Given(g) => g.bell.0.as_fd(),
        }
    }

    pub(crate) fn bell(&self) -> Doorbell {
        match self {
            Self::Uring(u) => u.bell.clone(),
            Self::Plain(p) => p.bell.clone(),
            Self::Given(g) => g.bell.clone(),
        }
    }

    /// A free buffer to fill.
    pub(crate) fn buffer(&mut self, i: usize) -> &mut [u8] {
        match self {
            Self::Uring(u) => u.buffers.get_mut(i),
            Self::Plain(p) => p.buffer(i),
            Self::Given(g) => g.buffers.get_mut(i),
        }
    }

    /// Starts the write of the first `len` bytes of buffer `i`.
    pub(crate) fn submit(&mut self, i: usize, len: usize, file: &dyn DiskFile, offset: u64) -> Result<(), WriteError> {
        let fd = || file.descriptor().expect("a file of this machine has one").as_raw_fd();
        match self {
            Self::Uring(u) => u.submit(i, len, fd(), offset),
            Self::Plain(p) => p.submit(i, len, fd(), offset),
            Self::Given(g) => g.queue.submit(i, file, &g.buffers.get_mut(i)[..len], offset).map_err(failed_write),
        }
    }

    /// Buffers whose writes are complete. Does not block.
    pub(crate) fn completed(&mut self, done: &mut Vec<usize>) -> Result<(), WriteError> {
        match self {
            Self::Uring(u) => u.completed(done),
            Self::Plain(p) => p.completed(done),
            Self::Given(g) => g.queue.completed(done).map_err(failed_write),
        }
    }

    /// Blocks until a write completes, the doorbell rings, or the time is over.
    pub(crate) fn wait(&mut self, timeout: Option<Duration>) -> Result<(), WriteError> {
        match self {
            Self::Uring(u) => u.wait(timeout),
            Self::Plain(p) => {
                let limit = timeout.map(|t| Timespec { tv_sec: t.as_secs() as i64, tv_nsec: t.subsec_nanos().into() });
                let mut fds = [PollFd::new(&*p.bell.0, PollFlags::IN)];
                match poll(&mut fds, limit.as_ref()) {
                    Ok(_) | Err(rustix::io::Errno::INTR) => {}
                    Err(e) => return Err(WriteError::Failed { doing: "waiting", error: e.into() }),
                }
                p.bell.clear();
                Ok(())
            }
            Self::Given(g) => g.queue.wait(timeout).map_err(failed_write),
        }
    }
}

impl Uring {
    fn open(count: usize, bytes_each: usize, prompt: bool, bell: Doorbell) -> io::Result<Self> {
        let entries = (count as u32 + 2).next_power_of_two();
        let ring = IoUring::builder().setup_coop_taskrun().build(entries)?;
        let buffers = Buffers::new(count, bytes_each);
        // SAFETY: the buffers live as long as the ring: both are fields of one value, and the ring is dropped first.
        unsafe { ring.submitter().register_buffers(&buffers.iovecs())? };
        Ok(Self { ring, lengths: vec![0; count], buffers, prompt, bell, bell_armed: false })
    }

    fn submit(&mut self, i: usize, len: usize, fd: RawFd, offset: u64) -> Result<(), WriteError> {
        self.lengths[i] = len as u32;
        let write = opcode::WriteFixed::new(types::Fd(fd), self.buffers.address(i), len as u32, i as u16)
            .offset(offset)
            .rw_flags(libc::RWF_DSYNC)
            .build()
            .user_data(i as u64);
        // Else the kernel may write here and now, and this thread waits for the disk.
        let write = if self.prompt { write } else { write.flags(squeue::Flags::ASYNC) };
        // SAFETY: buffer `i` is registered, stays allocated until the ring is gone, and is not handed out again
        // before its completion; the file is kept open by the segment that the writer holds.
        unsafe { self.ring.submission().push(&write) }
            .map_err(|_| WriteError::Failed { doing: "queueing a write", error: io::ErrorKind::OutOfMemory.into() })?;
        self.enter(0, None)
    }

    fn enter(&mut self, want: usize, timeout: Option<Duration>) -> Result<(), WriteError> {
        let result = match timeout {
            None => self.ring.submit_and_wait(want),
            Some(t) => {
                let limit = types::Timespec::new().sec(t.as_secs()).nsec(t.subsec_nanos());
                self.ring.submitter().submit_with_args(want, &types::SubmitArgs::new().timespec(&limit))
            }
        };
        match result {
            Ok(_) => Ok(()),
            Err(e) if matches!(e.raw_os_error(), Some(libc::ETIME | libc::EINTR | libc::EAGAIN | libc::EBUSY)) => {
                Ok(())
            }
            Err(error) => Err(WriteError::Failed { doing: "entering io_uring", error }),
        }
    }

    fn completed(&mut self, done: &mut Vec<usize>) -> Result<(), WriteError> {
        let failed = |error| Err(failed_write(error));
        for entry in self.ring.completion() {
            if entry.user_data() == BELL {
                self.bell_armed = false;
                self.bell.clear();
                continue;
            }
            let i = entry.user_data() as usize;
            let expected = self.lengths.get(i).copied().unwrap_or(0);
            match entry.result() {
                n if n < 0 => return failed(io::Error::from_raw_os_error(-n)),
                n if n as u32 != expected => return failed(io::Error::new(io::ErrorKind::WriteZero, "a short write")),
                _ => done.push(i),
            }
        }
        Ok(())
    }

    fn wait(&mut self, timeout: Option<Duration>) -> Result<(), WriteError> {
        if !self.bell_armed {
            let fd = types::Fd(self.bell.0.as_raw_fd());
            let ring = opcode::PollAdd::new(fd, libc::POLLIN as u32).build().user_data(BELL);
            // SAFETY: a poll has no buffer; the descriptor is kept open by `self.bell`.
            let pushed = unsafe { self.ring.submission().push(&ring) };
            self.bell_armed = pushed.is_ok();
        }
        if !self.ring.completion().is_empty() {
            return self.enter(0, None);
        }
        self.enter(1, timeout)
    }
}

fn failed_write(error: io::Error) -> WriteError {
    WriteError::Failed { doing: "writing a batch", error }
}
