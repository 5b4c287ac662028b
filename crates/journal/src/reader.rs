//! Reading the log in order, also beside a running writer: only what is vouched for as flushed is handed out.

use crate::archive;
use crate::disk::Folder;
use crate::error::{OpenError, ReadError};
use crate::layout::{self, BLOCK, BatchHeader, Damage, MARGIN_BYTES};
use crate::scan::{Place, live_segments, read_beacon, read_segment};
use crate::snapshots::snapshot_path;
use crate::store::{segment_path, store_path};

/// One batch of the log.
#[derive(Debug, Clone, Copy)]
pub struct Batch<'a> {
    /// Position of its first record.
    pub first_position: u64,
    /// Records in it.
    pub count: u32,
    /// Logged time, µs UTC.
    pub at_us: i64,
    /// The writer's own bytes.
    pub margin: &'a [u8; MARGIN_BYTES],
    /// The records.
    pub body: &'a [u8],
    /// The start of the node that wrote it.
    pub boot_epoch: u32,
    /// The segment it lies in.
    pub segment: u32,
    /// Its offset there.
    pub offset: u64,
    /// Bytes on disk.
    pub disk_bytes: u64,
    /// The chain hash after it.
    pub chain: [u8; 32],
}

impl<'a> Batch<'a> {
    fn new(h: &'a BatchHeader, body: &'a [u8], segment: u32, offset: u64) -> Self {
        Self {
            first_position: h.first_position,
            count: h.count,
            at_us: h.at_us,
            margin: &h.margin,
            body,
            boot_epoch: h.boot_epoch,
            segment,
            offset,
            disk_bytes: h.disk_bytes() as u64,
            chain: h.chain(),
        }
    }
}

/// Reads a data folder without locking it. Batches with positions above `after` and up to `up_to` go to `each`; when
/// `up_to` is not given, everything up to the highest position that the folder itself vouches for, and what is whole
/// behind it, as a recovery would find it.
pub fn read_log<E>(
    dir: impl Into<Folder>,
    after: u64,
    up_to: Option<u64>,
    each: &mut dyn FnMut(&Batch<'_>) -> Result<(), E>,
) -> Result<u64, ReadError<E>> {
    let dir = &dir.into();
    let store = read_store(dir).map_err(ReadError::Journal)?.0;
    match up_to {
        Some(up_to) => walk(dir, &store, After { position: after, chain: None }, up_to, up_to, each),
        None => {
            let vouched = vouched(dir, &store).map_err(ReadError::Journal)?;
            walk(dir, &store, After { position: after, chain: None }, u64::MAX, vouched, each)
        }
    }
}

/// Store id, shards and segment size of a folder.
pub fn read_store(dir: impl Into<Folder>) -> Result<([u8; 16], u32, u64), OpenError> {
    let dir = dir.into();
    let path = store_path(&dir);
    let block = dir.read(&path).map_err(OpenError::io("reading", &path))?;
    layout::decode_store_block(&block).map_err(|damage| OpenError::damaged(&path, 0, 0, damage, 0))
}

fn vouched(dir: &Folder, store: &[u8; 16]) -> Result<u64, OpenError> {
    let start = archive::start(dir, store)?;
    let mut highest = read_beacon(dir, store)?.map_or(0, |b| b.flushed).max(start.position);
    for number in live_segments(dir, &start)? {
        let bytes = read_segment(dir, store, number)?;
        let mut offset = BLOCK;
        while let Some(h) = bytes.get(offset..).and_then(|b| BatchHeader::decode(b).ok()) {
            highest = highest.max(h.flushed);
            offset += h.disk_bytes();
        }
    }
    Ok(highest)
}

/// Where a reader begins: behind a position, at which the chain hash may be known.
#[derive(Debug, Clone, Copy)]
pub(crate) struct After<'a> {
    pub(crate) position: u64,
    pub(crate) chain: Option<&'a [u8; 32]>,
}

impl After<'_> {
    /// Refuses a log that has another chain hash at this position: it is not the one that the caller speaks of.
    pub(crate) fn agrees(&self, dir: &Folder, position: u64, chain: &[u8; 32]) -> Result<(), OpenError> {
        if position != self.position || self.chain.is_none_or(|c| c == chain) { Ok(()) } else { Err(self.foreign(dir)) }
    }

    /// The same for a batch, inside of which no snapshot ends.
    fn agrees_with(&self, dir: &Folder, h: &BatchHeader) -> Result<(), OpenError> {
        let last = h.last_position();
        match (h.first_position..last).contains(&self.position) && self.chain.is_some() {
            true => Err(self.foreign(dir)),
            false if last == self.position => self.agrees(dir, last, &h.chain()),
            false => Ok(()),
        }
    }

    fn foreign(&self, dir: &Folder) -> OpenError {
        OpenError::Foreign { file: snapshot_path(dir.path(), self.position), position: self.position }
    }
}

/// Hands out batches up to `up_to`, and returns the last position. Damage at or below `vouched` is an error; behind it
/// the first batch that is not whole ends the log.
pub(crate) fn walk<E>(
    dir: &Folder,
    store: &[u8; 16],
    from: After<'_>,
    up_to: u64,
    vouched: u64,
    each: &mut dyn FnMut(&Batch<'_>) -> Result<(), E>,
) -> Result<u64, ReadError<E>> {
    let start = archive::start(dir, store).map_err(ReadError::Journal)?;
    let after = from.position;
    let mut last = after;
    from.agrees(dir, start.position, &start.chain)?;
    archive::walk::<ReadError<E>>(dir, store, from, &mut |h, body| {
        from.agrees_with(dir, h)?;
        if h.last_position() > after && h.last_position() <= up_to {
            last = h.last_position();
            let batch = Batch::new(h, body, h.segment, h.offset);
            each(&batch).map_err(ReadError::Consumer)?;
        }
        Ok(())
    })?;
    let mut expected = start.expected(store);
    for segment in live_segments(dir, &start).map_err(ReadError::Journal)? {
        let bytes = read_segment(dir, store, segment).map_err(ReadError::Journal)?;
        let mut offset = BLOCK as u64;
        while expected.next <= up_to && offset < bytes.len() as u64 {
            let at = Place { segment, offset };
            let corrupt = |damage, position| {
                ReadError::Journal(OpenError::damaged(&segment_path(dir, segment), offset, position, damage, vouched))
            };
            let rest = &bytes[offset as usize..];
            if rest[..8] == [0; 8] {
                // The rest of a segment into which the next batch did not fit.
                break;
            }
            let next = expected.next;
            let (h, body) = match layout::batch(rest) {
                Ok(batch) => batch,
                // A tail that a newer version wrote is not torn.
                Err(d) if next > vouched && !matches!(d, Damage::Version { .. }) => return Ok(last),
                Err(d) => return Err(corrupt(d, next)),
            };
            match expected.follow(&h, at) {
                Ok(()) => {}
                Err(_) if next > vouched => return Ok(last),
                Err(d) => return Err(corrupt(d, next)),
            }
            offset += h.disk_bytes() as u64;
            if h.last_position() > up_to {
                return Ok(last);
            }
            from.agrees_with(dir, &h)?;
            if h.last_position() > after {
                last = h.last_position();
                let batch = Batch::new(&h, body, segment, at.offset);
                each(&batch).map_err(ReadError::Consumer)?;
            }
        }
    }
    if last < vouched {
        let damage = Damage::Hole;
        let file = segment_path(dir, 0);
        return Err(ReadError::Journal(OpenError::Corrupt { file, offset: 0, position: last + 1, damage, vouched }));
    }
    Ok(last)
}
