//! Writes by pwritev2, one after the other, on a thread of their own: a disk that stalls holds that thread, and not the
//! owner of the journal, who has answers to give meanwhile.
//!
//! ```text
//! owner: buffer ──job──▶ thread: pwritev2, RWF_DSYNC ──end──▶ owner, woken by the doorbell
//! ```
#![allow(unsafe_code, reason = "a buffer is shared with the thread that writes it, and a descriptor is borrowed by it")]

use crate::buffers::Buffers;
use crate::device::Doorbell;
use crate::error::WriteError;
use crate::real::write_durably;
use std::io;
use std::os::fd::{BorrowedFd, RawFd};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::JoinHandle;

/// One write. `address` is that of buffer `buffer`, which nobody touches until its end has come.
struct Job {
    buffer: usize,
    address: usize,
    len: usize,
    fd: RawFd,
    offset: u64,
}

pub(crate) struct Plain {
    pub(crate) direct: bool,
    pub(crate) bell: Doorbell,
    buffers: Buffers,
    /// Nothing once the thread is to end.
    jobs: Option<Sender<Job>>,
    ends: Receiver<(usize, io::Result<()>)>,
    thread: Option<JoinHandle<()>>,
}

impl Plain {
    pub(crate) fn open(count: usize, bytes_each: usize, direct: bool, bell: Doorbell) -> io::Result<Self> {
        let buffers = Buffers::new(count, bytes_each);
        let (jobs, waiting) = channel::<Job>();
        let (end, ends) = channel();
        let wake = bell.clone();
        let work = move || {
            while let Ok(job) = waiting.recv() {
                // SAFETY: the buffer is allocated until the thread was joined, and its owner neither reads nor writes it
                // before this write's end; `len` is within it.
                let bytes = unsafe { std::slice::from_raw_parts(job.address as *const u8, job.len) };
                // SAFETY: the writer keeps the file open until this write's end.
                let fd = unsafe { BorrowedFd::borrow_raw(job.fd) };
                let result = write_durably(fd, bytes, job.offset);
                let failed = result.is_err();
                if end.send((job.buffer, result)).is_err() || failed {
                    // After a failure nothing is written any more.
                    wake.ring();
                    return;
                }
                wake.ring();
            }
        };
        let thread = std::thread::Builder::new().name("journal-write".into()).spawn(work)?;
        Ok(Self { direct, bell, buffers, jobs: Some(jobs), ends, thread: Some(thread) })
    }

    pub(crate) fn buffer(&mut self, i: usize) -> &mut [u8] {
        self.buffers.get_mut(i)
    }

    /// Starts the write of the first `len` bytes of buffer `i`.
    pub(crate) fn submit(&mut self, i: usize, len: usize, fd: RawFd, offset: u64) -> Result<(), WriteError> {
        assert!(len <= self.buffers.get_mut(i).len(), "what is written is in the buffer");
        let job = Job { buffer: i, address: self.buffers.address(i) as usize, len, fd, offset };
        // The thread is gone only after a failure, whose end is in the channel.
        let sent = self.jobs.as_ref().is_some_and(|jobs| jobs.send(job).is_ok());
        if sent { Ok(()) } else { Err(WriteError::Stopped) }
    }

    /// Buffers whose writes are complete.
    pub(crate) fn completed(&mut self, done: &mut Vec<usize>) -> Result<(), WriteError> {
        while let Ok((buffer, result)) = self.ends.try_recv() {
            result.map_err(|error| WriteError::Failed { doing: "writing a batch", error })?;
            done.push(buffer);
        }
        Ok(())
    }
}

impl Drop for Plain {
    fn drop(&mut self) {
        self.jobs = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
