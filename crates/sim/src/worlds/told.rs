//! A short history of a store, and what its writer was told on the way: the promises that every crash must keep.

use crate::disk::SimDisk;
use std::time::Duration;
use tegata_journal::{
    BATCH_HEADER_BYTES, BLOCK, BatchMeta, Folder, Journal, MARGIN_BYTES, OpenError, Options, ReadError, SnapshotWriter,
    Trailer, WriteError, Writer, archive_retired, drop_archived, dropped_to, open, read_log, read_snapshot,
    remove_drafts, remove_snapshot, snapshots,
};

pub(super) const STORE: [u8; 16] = *b"a small world...";
const BATCH_BYTES: usize = BLOCK;
/// A header and two batches.
const SEGMENT_BYTES: u64 = 3 * BLOCK as u64;
/// Two batches.
const WINDOW_BYTES: u64 = 2 * BLOCK as u64;

/// Why a history did not go on.
#[derive(Debug)]
pub enum Stop {
    /// The store was not opened or read.
    Refused(OpenError),
    /// The disk failed.
    Disk(String),
    /// A promise was broken.
    Broken(String),
}

impl From<OpenError> for Stop {
    fn from(e: OpenError) -> Self {
        Self::Refused(e)
    }
}

impl From<WriteError> for Stop {
    fn from(e: WriteError) -> Self {
        Self::Disk(e.to_string())
    }
}

impl From<std::io::Error> for Stop {
    fn from(e: std::io::Error) -> Self {
        Self::Disk(e.to_string())
    }
}

impl From<ReadError<Stop>> for Stop {
    fn from(e: ReadError<Stop>) -> Self {
        match e {
            ReadError::Journal(e) => e.into(),
            ReadError::Consumer(e) => e,
        }
    }
}

/// What was appended, and what was promised of it.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Told {
    /// Bodies by position, from 1 on.
    log: Vec<Vec<u8>>,
    /// Everything up to here was called flushed, or was handed out by a recovery.
    flushed: u64,
    /// The newest snapshot that is finished.
    snapshot: u64,
    /// A snapshot up to which the archive may have been dropped.
    droppable: u64,
    /// Starts so far, complete or not.
    starts: u8,
}

/// A store on a simulated disk, and its history.
#[derive(Debug)]
pub struct Teller {
    /// The disk.
    pub disk: SimDisk,
    /// What was told.
    pub told: Told,
}

impl Teller {
    fn dir(&self) -> Folder {
        self.disk.folder("/data")
    }

    /// Opens the store, holds what it finds against what was told, and starts a writer.
    pub fn start(&mut self) -> Result<Writer, Stop> {
        let mut journal = self.open()?;
        self.check(&mut journal)?;
        remove_drafts(self.dir())?;
        Ok(journal.into_writer()?)
    }

    fn open(&mut self) -> Result<Journal, Stop> {
        self.told.starts += 1;
        let mut options = Options::new(self.dir());
        (options.segment_bytes, options.batch_bytes_max) = (SEGMENT_BYTES, BATCH_BYTES);
        (options.window_bytes, options.writes_in_flight_max) = (WINDOW_BYTES, 2);
        options.store_id = STORE;
        Ok(open(options)?)
    }

    /// What was called flushed is there; what is there was appended, in this order, without a gap.
    fn check(&mut self, journal: &mut Journal) -> Result<(), Stop> {
        let broken = |what: String| Err(Stop::Broken(what));
        let dropped = dropped_to(self.dir(), &STORE)?;
        if dropped > self.told.droppable {
            return broken(format!("dropped to {dropped}, asked for {}", self.told.droppable));
        }
        let mut next = dropped + 1;
        let told = &self.told;
        let last = journal.replay::<Stop>(dropped, None, &mut |b| {
            let body = told.log.get(b.first_position as usize - 1);
            if b.first_position != next || body.is_none_or(|body| body != b.body) {
                return Err(Stop::Broken(format!("position {} is not what was appended there", b.first_position)));
            }
            next += 1;
            Ok(())
        })?;
        if last < told.flushed {
            return broken(format!("the log ends at {last}; up to {} was called flushed", told.flushed));
        }
        if last != journal.recovery().last_position || next != last + 1 {
            return broken(format!("found {}, read {last}", journal.recovery().last_position));
        }
        self.told.log.truncate(last as usize);
        self.told.flushed = last;
        self.check_snapshots()
    }

    /// A snapshot that has its name is whole, and one that was finished is there.
    fn check_snapshots(&mut self) -> Result<(), Stop> {
        let all = snapshots(self.dir())?;
        let newest = all.first().copied().unwrap_or(0);
        if newest < self.told.snapshot || newest > self.told.flushed {
            return Err(Stop::Broken(format!("newest snapshot {newest}, finished was {}", self.told.snapshot)));
        }
        self.told.snapshot = newest;
        for position in all {
            let mut bytes = Vec::new();
            read_snapshot::<Stop>(self.dir(), &STORE, position, &mut |b| {
                bytes.extend_from_slice(b);
                Ok(())
            })?;
            if bytes != state(position) {
                return Err(Stop::Broken(format!("snapshot {position} is not what was written")));
            }
        }
        Ok(())
    }

    /// Reads everything that is there, and is told what is wrong with it.
    pub fn read_all(&mut self) -> Result<(), Stop> {
        let mut journal = self.open()?;
        self.check(&mut journal)?;
        read_log::<Stop>(self.dir(), dropped_to(self.dir(), &STORE)?, None, &mut |_| Ok(()))?;
        Ok(())
    }

    fn reap(&mut self, writer: &mut Writer) -> Result<u64, Stop> {
        writer.wait(Some(Duration::from_millis(1)))?;
        self.told.flushed = writer.reap()?;
        Ok(self.told.flushed)
    }

    /// Appends a batch with a body of so many bytes, when there is room for it.
    pub fn append(&mut self, writer: &mut Writer, bytes: usize) -> Result<(), Stop> {
        assert!(BATCH_HEADER_BYTES + bytes <= BATCH_BYTES, "it fits");
        while !writer.has_room() {
            self.reap(writer)?;
        }
        let position = self.told.log.len() as u64 + 1;
        let tag = position as u8 * 16 + self.told.starts;
        let body: Vec<u8> = (0..bytes).map(|i| tag.wrapping_add(i as u8) | 1).collect();
        let meta =
            BatchMeta { first_position: position, count: 1, at_us: position as i64, margin: [tag; MARGIN_BYTES] };
        self.told.log.push(body.clone());
        Ok(writer.append(&meta, &[&body])?)
    }

    /// Waits until everything is flushed.
    pub fn flush(&mut self, writer: &mut Writer) -> Result<(), Stop> {
        while self.reap(writer)? < self.told.log.len() as u64 {}
        Ok(())
    }

    /// The log is quiet: the beacon says so.
    pub fn quiet(&mut self, writer: &mut Writer) -> Result<(), Stop> {
        writer.idle()?;
        while writer.beacon_is_due() {
            self.reap(writer)?;
        }
        Ok(())
    }

    /// Takes a snapshot as of the last position that is flushed.
    pub fn snapshot(&mut self, writer: &Writer) -> Result<u64, Stop> {
        let position = self.told.flushed;
        let (at_us, chain) = writer.chain_at(position).ok_or_else(|| Stop::Broken("no chain hash".into()))?;
        let trailer =
            Trailer { position, at_us, boot_epoch: writer.boot_epoch(), segment: 0, chain, margin: [7; MARGIN_BYTES] };
        let mut out = SnapshotWriter::create(self.dir(), &STORE, position)?;
        out.block(&state(position))?;
        out.finish(&trailer)?;
        self.told.snapshot = position;
        Ok(position)
    }

    /// Archives the segments that a snapshot made needless.
    pub fn archive(&mut self, position: u64) -> Result<u32, Stop> {
        Ok(archive_retired(self.dir(), &STORE, position)?)
    }

    /// Drops what was archived and is in a snapshot.
    pub fn drop_archived(&mut self, position: u64) -> Result<u32, Stop> {
        self.told.droppable = position;
        Ok(drop_archived(self.dir(), &STORE, position)?)
    }

    /// Removes a snapshot that a newer one makes needless.
    pub fn remove_snapshot(&mut self, position: u64) -> Result<(), Stop> {
        assert!(position < self.told.snapshot, "the newest stays");
        Ok(remove_snapshot(self.dir(), position)?)
    }
}

/// What a snapshot holds.
fn state(position: u64) -> Vec<u8> {
    (0..700).map(|i| (position * 7 + i) as u8 | 1).collect()
}
