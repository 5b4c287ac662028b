//! Writing: batches in log order, several in flight, each durable when its write completes. The owner is one thread;
//! its only blocking call is [`Writer::wait`].
//!
//! ```text
//! append ─▶ buffer ─▶ in flight (≤ W bytes) ─▶ complete ─▶ flushed: everything before it is complete too
//! ```

use crate::buffers::Buffers;
use crate::device::{Device, Doorbell};
use crate::disk::{DiskFile, Open};
use crate::error::{OpenError, WriteError};
use crate::layout::{self, BATCH_HEADER_BYTES, BLOCK, BatchHeader, Beacon, MARGIN_BYTES};
use crate::options::{IoChoice, Options};
use crate::preparer::{Plan, Preparer};
use crate::real::is_prompt;
use crate::segments::Segment;
use crate::store::{Store, beacon_path};
use std::collections::VecDeque;
use std::os::fd::BorrowedFd;
use std::time::Duration;

/// Writes that measure the latency of the disk at the start.
const PROBES: usize = 16;
/// Batches whose chain hash is remembered: more than can be in flight or not yet applied.
const RECENT_BATCHES: usize = 512;

/// What a batch says of itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BatchMeta {
    /// Position of its first record: one above the last of the batch before.
    pub first_position: u64,
    /// Records in it, at least one.
    pub count: u32,
    /// Logged time, µs UTC; never goes back.
    pub at_us: i64,
    /// The writer's own.
    pub margin: [u8; MARGIN_BYTES],
}

/// How far the log can go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Room {
    /// Segments are being made, or are there.
    Ample,
    /// No segment could be made, and the current one is the last.
    LastSegment,
    /// That one is full, too.
    None,
}

pub(crate) struct WriterParts {
    pub(crate) options: Options,
    pub(crate) store: Store,
    pub(crate) current: Segment,
    pub(crate) offset: u64,
    pub(crate) spare: Vec<Segment>,
    pub(crate) next_number: u32,
    pub(crate) last_position: u64,
    pub(crate) chain: [u8; 32],
    pub(crate) boot_epoch: u32,
    pub(crate) beacon_sequence: u64,
}

struct InFlight {
    buffer: usize,
    last_position: u64,
    bytes: u64,
    done: bool,
}

/// The end of the log that grows.
pub struct Writer {
    store: Store,
    device: Device,
    preparer: Preparer,
    current: Segment,
    /// Segments that are full but still have writes in flight keep their files open here.
    retired: VecDeque<(u64, Segment)>,
    offset: u64,
    free: Vec<usize>,
    in_flight: VecDeque<InFlight>,
    done: Vec<usize>,
    #[cfg(feature = "faults")]
    faults: crate::Faults,
    bytes_in_flight: u64,
    window_bytes: u64,
    batch_bytes_max: usize,
    last_position: u64,
    last_at_us: i64,
    flushed: u64,
    chain: [u8; 32],
    /// Last position, logged time and chain hash of the latest batches.
    recent: VecDeque<(u64, i64, [u8; 32])>,
    appended_bytes: u64,
    boot_epoch: u32,
    beacon: Box<dyn DiskFile>,
    beacon_buffer: Buffers,
    beacon_sequence: u64,
    beacon_says: u64,
    /// The device's buffer that only the beacon uses.
    beacon_slot: usize,
    /// What the beacon will say when its write completes.
    beacon_flies: Option<u64>,
    probe_us: u64,
    failed: bool,
}

impl std::fmt::Debug for Writer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Writer")
            .field("segment", &self.current.number)
            .field("offset", &self.offset)
            .field("flushed", &self.flushed)
            .field("in_flight", &self.in_flight.len())
            .finish_non_exhaustive()
    }
}

impl Writer {
    pub(crate) fn start(p: WriterParts) -> Result<Self, OpenError> {
        let direct = p.store.direct && p.options.io != IoChoice::Buffered;
        let count = p.options.writes_in_flight_max;
        let dir = p.store.dir.clone();
        let beacon = beacon_path(&dir);
        let beacon =
            dir.file(&beacon, Open::Write { direct: p.store.direct }).map_err(OpenError::io("opening", &beacon))?;
        let plan = Plan {
            dir: dir.clone(),
            store: p.store.id,
            next_number: p.next_number,
            bytes: p.store.segment_bytes,
            direct: p.store.direct,
        };
        let queue = dir.disk.queue();
        let by_owner = queue.is_some();
        let device = match queue {
            Some(queue) => Device::given(queue, count + 1, p.options.batch_bytes_max),
            None => is_prompt(dir.path())
                .and_then(|prompt| Device::open(p.options.io, count + 1, p.options.batch_bytes_max, direct, prompt)),
        }
        .map_err(|error| OpenError::NoWriter { error })?;
        let preparer = match by_owner {
            true => Preparer::by_owner(plan, p.spare),
            false => Preparer::start(plan, p.spare, device.bell())
                .map_err(OpenError::io("starting a thread for", dir.path()))?,
        };
        let mut writer = Self {
            store: p.store,
            device,
            preparer,
            current: p.current,
            retired: VecDeque::new(),
            offset: p.offset,
            free: (0..count).rev().collect(),
            in_flight: VecDeque::with_capacity(count),
            done: Vec::with_capacity(count),
            #[cfg(feature = "faults")]
            faults: p.options.faults,
            bytes_in_flight: 0,
            window_bytes: p.options.window_bytes,
            batch_bytes_max: p.options.batch_bytes_max,
            last_position: p.last_position,
            last_at_us: i64::MIN,
            flushed: p.last_position,
            chain: p.chain,
            recent: VecDeque::with_capacity(RECENT_BATCHES),
            appended_bytes: 0,
            boot_epoch: p.boot_epoch,
            beacon,
            beacon_buffer: Buffers::new(1, BLOCK),
            beacon_sequence: p.beacon_sequence,
            beacon_says: u64::MAX,
            beacon_slot: count,
            beacon_flies: None,
            probe_us: 0,
            failed: false,
        };
        writer.probe().map_err(|e| match e {
            WriteError::Failed { error, .. } => OpenError::NoWriter { error },
            WriteError::Stopped => OpenError::NoWriter { error: std::io::ErrorKind::Other.into() },
        })?;
        Ok(writer)
    }

    /// Measures durable writes with the beacon, which says nothing new by it.
    fn probe(&mut self) -> Result<(), WriteError> {
        let mut times = [0u64; PROBES];
        for t in &mut times {
            let start = self.store.dir.disk.elapsed();
            self.write_beacon(false)?;
            *t = u64::try_from((self.store.dir.disk.elapsed() - start).as_micros()).unwrap_or(u64::MAX);
        }
        times.sort_unstable();
        self.probe_us = times[PROBES / 2];
        Ok(())
    }

    /// True when a batch may be appended now: a buffer is free, the window has room for the largest one, and so has
    /// this segment or the next.
    pub fn has_room(&mut self) -> bool {
        let largest = self.batch_bytes_max as u64;
        !self.failed
            && !self.free.is_empty()
            && self.bytes_in_flight + largest <= self.window_bytes
            && (self.fits_here() || self.preparer.has_next())
    }

    /// How far the log can go on. The last segment is the reserve of a full disk: at one lone batch of 4 KiB a second,
    /// 64 MiB last four and a half hours.
    pub fn room(&mut self) -> Room {
        if !self.preparer.is_stuck() || self.preparer.has_next() {
            Room::Ample
        } else if self.fits_here() {
            Room::LastSegment
        } else {
            Room::None
        }
    }

    /// True when the largest batch fits into the current segment.
    fn fits_here(&self) -> bool {
        self.offset + self.batch_bytes_max as u64 <= self.store.segment_bytes
    }

    /// Most bytes of a batch's body.
    #[must_use]
    pub fn body_bytes_max(&self) -> usize {
        self.batch_bytes_max - BATCH_HEADER_BYTES
    }

    /// Appends a batch whose body is the concatenation of `parts`, and starts its write.
    ///
    /// # Panics
    /// When there is no room, or positions or time do not follow: the caller's mistake.
    pub fn append(&mut self, meta: &BatchMeta, parts: &[&[u8]]) -> Result<(), WriteError> {
        if self.failed {
            return Err(WriteError::Stopped);
        }
        let body_bytes: usize = parts.iter().map(|p| p.len()).sum();
        assert!(body_bytes <= self.body_bytes_max(), "a batch is never larger than its buffer");
        assert!(meta.count > 0, "a batch has records");
        assert!(meta.first_position == self.last_position + 1, "positions follow each other");
        assert!(meta.at_us >= self.last_at_us, "logged time never goes back");
        let bytes = layout::disk_bytes(body_bytes);
        if self.offset + bytes as u64 > self.store.segment_bytes {
            let next = self.preparer.take().expect("the caller asked whether there is room");
            let full = std::mem::replace(&mut self.current, next);
            self.retired.push_back((self.last_position, full));
            self.offset = BLOCK as u64;
        }
        let buffer = self.free.pop().expect("the caller asked whether there is room");
        let header = self.fill(buffer, meta, parts, body_bytes);
        self.device.submit(buffer, bytes, &*self.current.file, self.offset).inspect_err(|_| self.failed = true)?;
        self.chain = header.chain();
        self.last_position = header.last_position();
        self.last_at_us = meta.at_us;
        if self.recent.len() == RECENT_BATCHES {
            self.recent.pop_front();
        }
        self.recent.push_back((self.last_position, meta.at_us, self.chain));
        self.appended_bytes += bytes as u64;
        self.offset += bytes as u64;
        self.bytes_in_flight += bytes as u64;
        let last_position = self.last_position;
        self.in_flight.push_back(InFlight { buffer, last_position, bytes: bytes as u64, done: false });
        Ok(())
    }

    fn fill(&mut self, buffer: usize, meta: &BatchMeta, parts: &[&[u8]], body_bytes: usize) -> BatchHeader {
        let bytes = self.device.buffer(buffer);
        let mut at = BATCH_HEADER_BYTES;
        for part in parts {
            bytes[at..at + part.len()].copy_from_slice(part);
            at += part.len();
        }
        bytes[at..layout::disk_bytes(body_bytes)].fill(0);
        let header = BatchHeader {
            store: self.store.id,
            boot_epoch: self.boot_epoch,
            segment: self.current.number,
            offset: self.offset,
            first_position: meta.first_position,
            count: meta.count,
            body_bytes: body_bytes as u32,
            at_us: meta.at_us,
            flushed: self.flushed,
            chain_before: self.chain,
            body_hash: *blake3::hash(&bytes[BATCH_HEADER_BYTES..at]).as_bytes(),
            margin: meta.margin,
        };
        header.encode(bytes);
        header
    }

    /// Logged time and chain hash at `position`, if a batch of the latest ended there.
    #[must_use]
    pub fn chain_at(&self, position: u64) -> Option<(i64, [u8; 32])> {
        let i = self.recent.binary_search_by_key(&position, |(last, _, _)| *last).ok()?;
        self.recent.get(i).map(|(_, at, chain)| (*at, *chain))
    }

    /// Bytes appended since the writer was started, padding included.
    #[must_use]
    pub fn appended_bytes(&self) -> u64 {
        self.appended_bytes
    }

    /// Counts the starts of the store.
    #[must_use]
    pub fn boot_epoch(&self) -> u32 {
        self.boot_epoch
    }

    /// Batches in flight.
    #[must_use]
    pub fn in_flight(&self) -> usize {
        self.in_flight.len()
    }

    /// Handles what completed, without blocking; returns the position up to which everything is durable.
    pub fn reap(&mut self) -> Result<u64, WriteError> {
        if self.failed {
            return Err(WriteError::Stopped);
        }
        self.device.completed(&mut self.done).inspect_err(|_| self.failed = true)?;
        #[cfg(feature = "faults")]
        if self.faults.is_stalled() {
            return Ok(self.flushed);
        }
        #[cfg(feature = "faults")]
        if self.faults.is_broken() && !self.done.is_empty() {
            self.failed = true;
            return Err(WriteError::Failed { doing: "writing", error: std::io::Error::from_raw_os_error(5) });
        }
        while let Some(buffer) = self.done.pop() {
            if buffer == self.beacon_slot {
                self.beacon_says = self.beacon_flies.take().expect("the device completes what was submitted");
                continue;
            }
            let batch = self.in_flight.iter_mut().find(|b| b.buffer == buffer && !b.done);
            batch.expect("the device completes what was submitted").done = true;
        }
        while let Some(batch) = self.in_flight.pop_front_if(|b| b.done) {
            self.flushed = batch.last_position;
            self.bytes_in_flight -= batch.bytes;
            self.free.push(batch.buffer);
        }
        self.preparer.work();
        while self.retired.front().is_some_and(|(last, _)| *last <= self.flushed) {
            self.retired.pop_front();
        }
        Ok(self.flushed)
    }

    /// Blocks until a write completes, the doorbell rings, or the time is over.
    pub fn wait(&mut self, timeout: Option<Duration>) -> Result<(), WriteError> {
        if self.failed {
            return Err(WriteError::Stopped);
        }
        self.device.wait(timeout).inspect_err(|_| self.failed = true)
    }

    /// A descriptor that becomes readable when a write has completed, for an owner that has other things to wait for.
    #[must_use]
    pub fn completions(&self) -> Option<BorrowedFd<'_>> {
        Some(self.device.completions())
    }

    /// Wakes [`Writer::wait`] from any thread.
    #[must_use]
    pub fn doorbell(&self) -> Doorbell {
        self.device.bell()
    }

    /// The position up to which everything is durable, as of the last [`Writer::reap`].
    #[must_use]
    pub fn flushed(&self) -> u64 {
        self.flushed
    }

    /// True when the log is quiet and the beacon does not say so yet.
    #[must_use]
    pub fn beacon_is_due(&self) -> bool {
        self.in_flight.is_empty() && self.beacon_says != self.flushed && self.beacon_flies.is_none()
    }

    /// The log is quiet: the beacon repeats the flushed position, once. Its write is in flight like that of a batch: a disk
    /// that stalls must not stall the owner.
    pub fn idle(&mut self) -> Result<(), WriteError> {
        if !self.beacon_is_due() {
            return Ok(());
        }
        let (beacon, offset) = self.next_beacon(false);
        let block = &mut self.device.buffer(self.beacon_slot)[..BLOCK];
        block.copy_from_slice(&beacon.encode());
        self.device.submit(self.beacon_slot, BLOCK, &*self.beacon, offset).inspect_err(|_| self.failed = true)?;
        self.beacon_flies = Some(self.flushed);
        Ok(())
    }

    /// The next beacon and its place: the other one keeps what it says.
    fn next_beacon(&mut self, clean: bool) -> (Beacon, u64) {
        self.beacon_sequence += 1;
        let beacon = Beacon {
            store: self.store.id,
            boot_epoch: self.boot_epoch,
            clean,
            sequence: self.beacon_sequence,
            flushed: self.flushed,
        };
        (beacon, (self.beacon_sequence % 2) * BLOCK as u64)
    }

    /// Writes the beacon and waits for it: at the start and at the end.
    fn write_beacon(&mut self, clean: bool) -> Result<(), WriteError> {
        let (beacon, offset) = self.next_beacon(clean);
        let block = self.beacon_buffer.get_mut(0);
        block.copy_from_slice(&beacon.encode());
        self.beacon.write_durably(block, offset).map_err(|error| {
            self.failed = true;
            WriteError::Failed { doing: "writing the beacon", error }
        })?;
        self.beacon_says = self.flushed;
        Ok(())
    }

    /// A clean stop: waits for everything in flight, then says that nothing is.
    pub fn close(mut self) -> Result<(), WriteError> {
        while !self.in_flight.is_empty() || self.beacon_flies.is_some() {
            self.wait(Some(Duration::from_millis(100)))?;
            self.reap()?;
        }
        self.write_beacon(true)
    }

    /// How batches are made durable.
    #[must_use]
    pub fn flush_method(&self) -> &'static str {
        self.device.method()
    }

    /// Median latency of a durable 4 KiB write when the writer was started, µs.
    #[must_use]
    pub fn probe_us(&self) -> u64 {
        self.probe_us
    }
}
