//! Opening: lock, scan, decide, cut what a crash tore, and hand out the log for replay.

use crate::archive;
use crate::disk::Open;
use crate::error::{OpenError, ReadError};
use crate::layout::{BLOCK, Damage};
use crate::options::Options;
use crate::reader::{After, Batch, walk};
use crate::scan::{Found, scan};
use crate::segments::{Segment, copy, create, reopen, zero};
use crate::snapshots::{self, snapshot_trailer};
use crate::store::{Store, segment_path, segments_dir};
use crate::writer::{Writer, WriterParts};
use std::path::PathBuf;

/// What opening found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recovery {
    /// The folder was made now.
    pub created: bool,
    /// The last writer ended by its own will, with nothing in flight.
    pub clean_stop: bool,
    /// The last position of the log.
    pub last_position: u64,
    /// Logged time of the last batch, µs UTC.
    pub last_at_us: i64,
    /// Batches read.
    pub batches: u64,
    /// Bytes of their bodies.
    pub bytes: u64,
    /// A torn tail that was cut.
    pub torn: Option<TornTail>,
    /// The highest number of a start so far; the writer will be one above.
    pub boot_epoch: u32,
    /// The store's id.
    pub store_id: [u8; 16],
    /// The number kept with the store.
    pub shards: u32,
    /// The folder is in memory only, as the options allowed: nothing survives the machine.
    pub volatile: bool,
}

/// What was cut.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TornTail {
    /// In which file it began.
    pub file: PathBuf,
    /// At which byte.
    pub offset: u64,
    /// The position that was not whole.
    pub position: u64,
    /// What was wrong.
    pub damage: Damage,
    /// Where a copy of the damaged bytes is.
    pub kept_at: PathBuf,
}

/// A journal that is open and not yet written to.
#[derive(Debug)]
pub struct Journal {
    options: Options,
    store: Store,
    found: Found,
    recovery: Recovery,
}

/// Opens a data folder; creates it when it is empty or not there. Damage that a crash does not explain is refused,
/// and then nothing is changed.
pub fn open(options: Options) -> Result<Journal, OpenError> {
    let store = Store::open(&options)?;
    let start = archive::start(&store.dir, &store.id)?;
    let found = scan(&store.dir, &store.id, options.window_bytes, start, witness(&store)?)?;
    let clean_stop = found.torn.is_none() && found.beacon.is_some_and(|b| b.clean && b.flushed == found.last_position);
    let mut recovery = Recovery {
        created: store.created,
        clean_stop: clean_stop || store.created,
        last_position: found.last_position,
        last_at_us: found.last_at_us,
        batches: found.batches,
        bytes: found.bytes,
        torn: None,
        boot_epoch: found.boot_epoch.max(found.beacon.map_or(0, |b| b.boot_epoch)),
        store_id: store.id,
        shards: store.shards,
        volatile: store.volatile,
    };
    if let Some(damage) = found.torn {
        recovery.torn = Some(cut(&store, &found, damage)?);
    }
    settle(&store, &found, options.window_bytes)?;
    Ok(Journal { options, store, found, recovery })
}

/// A snapshot vouches for everything up to its position. One that cannot be read vouches for nothing; one of a newer
/// version says that this program should not go on.
fn witness(store: &Store) -> Result<u64, OpenError> {
    let mut vouched = 0;
    for position in snapshots::snapshots(&store.dir).unwrap_or_default() {
        match snapshot_trailer(&store.dir, &store.id, position) {
            Ok(t) => vouched = t.position.max(vouched),
            Err(e @ OpenError::NewerVersion { .. }) => return Err(e),
            Err(_) => {}
        }
    }
    Ok(vouched)
}

/// Keeps a copy of everything behind the end and writes zeros over it.
fn cut(store: &Store, found: &Found, damage: Damage) -> Result<TornTail, OpenError> {
    let dir = store.dir.join("torn");
    let disk = &store.dir.disk;
    store.dir.create_folder(&dir).map_err(OpenError::io("creating", &dir))?;
    let kept_at = dir.join(format!("after-{}-epoch-{}.bytes", found.last_position, found.boot_epoch));
    let mut kept = Vec::new();
    for (number, from) in behind(store, found) {
        let path = segment_path(&store.dir, number);
        let bytes = store.dir.read(&path).map_err(OpenError::io("reading", &path))?;
        let used = bytes.iter().rposition(|b| *b != 0).map_or(0, |i| (i + 1).next_multiple_of(BLOCK));
        kept.extend_from_slice(bytes.get(from as usize..used).unwrap_or_default());
    }
    let file = disk.open(&kept_at, Open::Create).map_err(OpenError::io("opening", &kept_at))?;
    file.write_at(&kept, 0).map_err(OpenError::io("writing", &kept_at))?;
    file.sync().and_then(|()| disk.sync_folder(&dir)).map_err(OpenError::io("flushing", &kept_at))?;
    for (number, from) in behind(store, found) {
        let segment = reopen(&store.dir, number, store.direct)?;
        zero(&segment, from, store.segment_bytes)
            .map_err(OpenError::io("cutting the torn tail of", segment_path(&store.dir, number)))?;
    }
    Ok(TornTail {
        file: segment_path(&store.dir, found.end.segment),
        offset: found.end.offset,
        position: found.last_position + 1,
        damage,
        kept_at,
    })
}

/// Segments from the end of the log on, and the byte from which nothing of them belongs to it.
fn behind(store: &Store, found: &Found) -> Vec<(u32, u64)> {
    let from = |n: u32| if n == found.end.segment { found.end.offset } else { BLOCK as u64 };
    let all = found.segments.iter().filter(|n| **n >= found.end.segment);
    all.map(|n| (*n, from(*n))).filter(|(_, from)| *from < store.segment_bytes).collect()
}

/// What was read must be on the disk before it is trusted, names included: their maker may have been killed before they
/// were. A flush is not enough for the batches that nothing vouches for: where an earlier one failed, they are still in
/// the cache, clean, and this one would say that they are flushed. So they are written again. And nothing may stand in
/// the way of the next batches.
fn settle(store: &Store, found: &Found, window_bytes: u64) -> Result<(), OpenError> {
    let dir = &store.dir;
    for folder in [segments_dir(dir), snapshots::folder(dir.path()), archive::folder(dir), dir.path().to_owned()] {
        if dir.disk.exists(&folder) {
            dir.disk.sync_folder(&folder).map_err(OpenError::io("flushing", &folder))?;
        }
    }
    for number in &found.segments {
        let path = segment_path(&store.dir, *number);
        let file = store.dir.file(&path, Open::Read).map_err(OpenError::io("opening", &path))?;
        file.sync().map_err(OpenError::io("flushing", &path))?;
    }
    if let Some(first) = found.unvouched {
        for number in found.segments.iter().copied().filter(|n| (first.segment..=found.end.segment).contains(n)) {
            let from = if number == first.segment { first.offset } else { BLOCK as u64 };
            let to = if number == found.end.segment { found.end.offset } else { store.segment_bytes };
            rewrite(store, number, from, to)?;
        }
    }
    let mut left = window_bytes;
    for (number, from) in behind(store, found) {
        let to = (from + left).min(store.segment_bytes);
        let segment = reopen(&store.dir, number, store.direct)?;
        zero(&segment, from, to).map_err(OpenError::io("clearing", segment_path(&store.dir, number)))?;
        left -= to - from;
        if left == 0 {
            break;
        }
    }
    Ok(())
}

/// Writes a part of a segment again as it was read, durably.
fn rewrite(store: &Store, number: u32, from: u64, to: u64) -> Result<(), OpenError> {
    let path = segment_path(&store.dir, number);
    let bytes = store.dir.read(&path).map_err(OpenError::io("reading", &path))?;
    let bytes = bytes.get(from as usize..to as usize).unwrap_or_default();
    copy(&reopen(&store.dir, number, store.direct)?, from, bytes).map_err(OpenError::io("writing", &path))
}

impl Journal {
    /// What opening found.
    #[must_use]
    pub fn recovery(&self) -> &Recovery {
        &self.recovery
    }

    /// Hands every batch with a position above `after` to `each`, in log order; returns the last position. With a
    /// snapshot's position comes its chain hash, which must be the log's at that position.
    pub fn replay<E>(
        &mut self,
        after: u64,
        chain: Option<&[u8; 32]>,
        each: &mut dyn FnMut(&Batch<'_>) -> Result<(), E>,
    ) -> Result<u64, ReadError<E>> {
        let last = self.found.last_position;
        walk(&self.store.dir, &self.store.id, After { position: after, chain }, last, last, each)
    }

    /// From here on the log is written. To be called on the thread that will write.
    pub fn into_writer(self) -> Result<Writer, OpenError> {
        let (store, found) = (self.store, self.found);
        let make = |number| {
            create(&store.dir, &store.id, number, store.segment_bytes, store.direct)
                .map_err(OpenError::io("creating", segment_path(&store.dir, number)))
        };
        let last = found.segments.last().copied();
        let mut spare: Vec<Segment> = Vec::new();
        let (current, offset) = if last.is_none() {
            (make(1)?, BLOCK as u64)
        } else {
            for number in found.segments.iter().filter(|n| **n > found.end.segment) {
                spare.push(reopen(&store.dir, *number, store.direct)?);
            }
            (reopen(&store.dir, found.end.segment, store.direct)?, found.end.offset)
        };
        let next_number = last.unwrap_or(1) + 1;
        Writer::start(WriterParts {
            options: self.options,
            store,
            current,
            offset,
            spare,
            next_number,
            last_position: found.last_position,
            chain: found.chain,
            boot_epoch: self.recovery.boot_epoch + 1,
            beacon_sequence: found.beacon.map_or(0, |b| b.sequence),
        })
    }
}
