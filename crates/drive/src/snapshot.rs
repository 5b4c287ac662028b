//! The files of snapshots: pages of the engine as blocks. When one is whole, older ones go, segments that only they
//! needed are archived, and the oldest of the archive dropped.
//!
//! ```text
//! head, page, page, … ──▶ rkyv block, checksum, flush, name ─▶ archive ─▶ drop
//! ```

use crate::retention::{Taken, decide};
use rkyv::rancor;
use std::cmp::Ordering;
use tegata_engine::{Engine, Page, RestoreError, Restorer};
use tegata_journal::{
    Folder, MARGIN_BYTES, OpenError, ReadError, SnapshotWriter, Trailer, archive_retired, drop_archived, dropped_to,
    read_snapshot, remove_snapshot, snapshot_path, snapshot_trailer, snapshots,
};
use tegata_node::{Carried, Replay};

/// Bytes of a block of the head: its length in eight bytes, then itself. The sums of many shards and programmes are more
/// than one block holds.
const HEAD_BLOCK_BYTES: usize = 1 << 20;
/// Where a trailer says which breakers were latched.
const LATCHED_AT: usize = 24;
/// A page as it is written. `docs/formats/journal.md` has its fields.
#[derive(rkyv::Archive, rkyv::Serialize, rkyv::Deserialize)]
struct Block {
    shard: u32,
    table: u32,
    first: u32,
    words: Vec<u64>,
    undo: Vec<u32>,
    undo_words: Vec<u64>,
}

/// Bytes of a trailer that are ours: `0 u64 delivered to | 8 u128 digest | 24 u8 latched | 25 … 64 zero`.
fn margin(carried: Carried, digest: u128) -> [u8; MARGIN_BYTES] {
    let mut b = [0; MARGIN_BYTES];
    b[..8].copy_from_slice(&carried.delivered_to.to_le_bytes());
    b[8..LATCHED_AT].copy_from_slice(&digest.to_le_bytes());
    b[LATCHED_AT] = carried.latched;
    b
}

/// Why a snapshot cannot be used.
#[derive(Debug)]
pub enum SnapshotError {
    /// The file.
    File(ReadError<RestoreError>),
    /// Its pages give another digest than it says.
    Digest,
    /// It has no head.
    Empty,
}

impl core::fmt::Display for SnapshotError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::File(e) => e.fmt(f),
            Self::Digest => f.write_str("the snapshot's digest is not that of its pages"),
            Self::Empty => f.write_str("the snapshot has no head"),
        }
    }
}

impl std::error::Error for SnapshotError {}

/// A state from a snapshot.
#[derive(Debug)]
pub struct Loaded {
    /// The engine as of the trailer's position.
    pub engine: Engine,
    /// What the node carried then.
    pub carried: Carried,
    /// What the file says at its end.
    pub trailer: Trailer,
}

/// Reads the snapshot as of `position`, and checks everything that it says of itself.
pub fn load(dir: impl Into<Folder>, store: &[u8; 16], position: u64) -> Result<Loaded, SnapshotError> {
    let dir = &dir.into();
    let mut restorer: Option<Restorer> = None;
    let mut head = Vec::new();
    let trailer = read_snapshot(dir, store, position, &mut |block| {
        let Some(restorer) = &mut restorer else {
            head.extend_from_slice(block);
            let Some((length, rest)) = head.split_first_chunk() else { return Err(RestoreError::Order) };
            match (rest.len() as u64).cmp(&u64::from_le_bytes(*length)) {
                Ordering::Less => {}
                Ordering::Equal => restorer = Some(Restorer::new(rest)?),
                Ordering::Greater => return Err(RestoreError::Order),
            }
            return Ok(());
        };
        let block = rkyv::access::<ArchivedBlock, rancor::Error>(block).map_err(|_| RestoreError::Slot)?;
        restorer.page(&Page {
            shard: block.shard.to_native(),
            table: block.table.to_native(),
            first: block.first.to_native(),
            words: block.words.iter().map(|w| w.to_native()).collect(),
            undo: block.undo.iter().map(|n| n.to_native()).collect(),
            undo_words: block.undo_words.iter().map(|w| w.to_native()).collect(),
        })
    })
    .map_err(|e| match e {
        ReadError::Consumer(RestoreError::Version { got }) => {
            OpenError::NewerVersion { file: snapshot_path(dir.path(), position), got }.into()
        }
        e => e,
    })
    .map_err(SnapshotError::File)?;
    let engine = restorer.ok_or(SnapshotError::Empty)?.finish();
    let engine = engine.map_err(|e| SnapshotError::File(ReadError::Consumer(e)))?;
    let delivered_to = trailer.margin.first_chunk().map_or(0, |b| u64::from_le_bytes(*b));
    let carried = Carried::new(delivered_to, trailer.margin[LATCHED_AT]).ok_or(SnapshotError::Digest)?;
    if margin(carried, engine.digest()) != trailer.margin || engine.applied().get() != trailer.position {
        return Err(SnapshotError::Digest);
    }
    Ok(Loaded { engine, carried, trailer })
}

/// What a snapshot begins with.
#[derive(Debug)]
pub struct Beginning {
    /// The data folder.
    pub dir: Folder,
    /// The store's id.
    pub store: [u8; 16],
    /// What the engine says before its pages.
    pub head: Vec<u8>,
    /// The end of a batch.
    pub position: u64,
    /// Its logged time, µs UTC.
    pub at_us: i64,
    /// The start of the store that takes it.
    pub boot_epoch: u32,
    /// The log's chain hash there.
    pub chain: [u8; 32],
    /// What the node carries.
    pub carried: Carried,
    /// Of all decisions.
    pub digest: u128,
    /// Days that the archive is kept; 0: for ever.
    pub keep_days: u32,
}

/// A snapshot that is being written. Dropped before its end, it leaves nothing that is looked at.
#[derive(Debug)]
pub struct Draft {
    beginning: Beginning,
    out: SnapshotWriter,
}

impl Draft {
    /// Makes its file, and writes the head.
    pub fn begin(beginning: Beginning) -> std::io::Result<Self> {
        let b = &beginning;
        let mut out = SnapshotWriter::create(&b.dir, &b.store, b.position)?;
        let whole = [&(b.head.len() as u64).to_le_bytes()[..], &b.head].concat();
        whole.chunks(HEAD_BLOCK_BYTES).try_for_each(|part| out.block(part))?;
        Ok(Self { beginning, out })
    }

    /// Its position.
    #[must_use]
    pub fn position(&self) -> u64 {
        self.beginning.position
    }

    /// Writes a page.
    pub fn page(&mut self, p: Page) -> std::io::Result<()> {
        let block = Block {
            shard: p.shard,
            table: p.table,
            first: p.first,
            words: p.words,
            undo: p.undo,
            undo_words: p.undo_words,
        };
        self.out.block(&rkyv::to_bytes::<rancor::Error>(&block).map_err(std::io::Error::other)?)
    }

    /// Ends and names it, and clears up behind it.
    pub fn finish(self) -> Result<(), Box<dyn std::error::Error>> {
        let b = self.beginning;
        self.out.finish(&Trailer {
            position: b.position,
            at_us: b.at_us,
            boot_epoch: b.boot_epoch,
            segment: 0,
            chain: b.chain,
            margin: margin(b.carried, b.digest),
        })?;
        tidy(&b.dir, &b.store, b.keep_days)
    }
}

/// Archives and removes what a new snapshot made superfluous.
fn tidy(dir: &Folder, store: &[u8; 16], keep_days: u32) -> Result<(), Box<dyn std::error::Error>> {
    let mut taken: Vec<Taken> = Vec::new();
    for position in snapshots(dir)? {
        // One that cannot be read is nothing to rely on, and evidence.
        if let Ok(t) = snapshot_trailer(dir, store, position) {
            taken.push((position, t.at_us));
        }
    }
    let dropped = dropped_to(dir, store)?;
    let retention = decide(&taken, keep_days, dropped);
    if let Some(position) = retention.archive_to {
        archive_retired(dir, store, position)?;
    }
    if let Some(base) = retention.drop_to.filter(|base| *base > dropped) {
        drop_archived(dir, store, base)?;
    }
    for position in retention.remove {
        remove_snapshot(dir, position)?;
    }
    Ok(())
}

/// A replay of what is left of the log, and the position behind which it begins: an empty state, or the oldest
/// snapshot that can be used where the oldest segments were dropped.
pub fn oldest_state(dir: impl Into<Folder>, store: &[u8; 16], shards: u32) -> Result<(Replay, u64), OpenError> {
    let dir = &dir.into();
    let dropped = dropped_to(dir, store)?;
    if dropped == 0 {
        return Ok((Replay::new(Engine::new(shards), Carried::default()), 0));
    }
    let all = snapshots(dir).map_err(|error| OpenError::Io { doing: "listing", file: dir.path().to_owned(), error })?;
    for position in all.into_iter().rev().filter(|p| *p >= dropped) {
        match load(dir, store, position) {
            Ok(loaded) => return Ok((Replay::new(loaded.engine, loaded.carried), position)),
            Err(SnapshotError::File(ReadError::Journal(e @ OpenError::NewerVersion { .. }))) => return Err(e),
            Err(_) => {}
        }
    }
    Err(OpenError::Dropped { first: dropped + 1 })
}
