//! Snapshots beside the running engine: the core hands out pages between its turns, and a thread of its own writes them.
//! When one is whole, older ones go, segments that only they needed are archived, and the oldest of the archive dropped.
//!
//! ```text
//! core: head, page, page, … ──bounded channel──▶ writer: rkyv block, checksum, flush, name ─▶ archive ─▶ drop
//! ```

use crate::retention::{Taken, decide};
use rkyv::rancor;
use std::cmp::Ordering;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::thread::JoinHandle;
use tegata_engine::{Engine, Page, RestoreError, Restorer};
use tegata_journal::{
    MARGIN_BYTES, OpenError, ReadError, SnapshotWriter, Trailer, archive_retired, be_idle, drop_archived, dropped_to,
    read_snapshot, remove_snapshot, snapshot_path, snapshot_trailer, snapshots,
};
use tegata_node::Replay;

/// Bytes of a block of the head: its length in eight bytes, then itself. The sums of many shards and programmes are more
/// than one block holds.
const HEAD_BLOCK_BYTES: usize = 1 << 20;
/// Slots of a page. It is copied in some microseconds, and is small enough for the allocator to use its memory again:
/// memory that is touched for the first time costs more than the copying.
const PAGE_SLOTS: usize = 256;
/// Pages that wait for the disk; then the copying waits, and payments go on.
const PAGES_WAITING: usize = 32;

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

/// Bytes of a trailer that are ours: `0 u64 delivered to | 8 u128 digest | 24 … 64 zero`.
fn margin(delivered_to: u64, digest: u128) -> [u8; MARGIN_BYTES] {
    let mut b = [0; MARGIN_BYTES];
    b[..8].copy_from_slice(&delivered_to.to_le_bytes());
    b[8..24].copy_from_slice(&digest.to_le_bytes());
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
    /// The last position that was known to be delivered then.
    pub delivered_to: u64,
    /// What the file says at its end.
    pub trailer: Trailer,
}

/// Reads the snapshot as of `position`, and checks everything that it says of itself.
pub fn load(dir: &Path, store: &[u8; 16], position: u64) -> Result<Loaded, SnapshotError> {
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
            OpenError::NewerVersion { file: snapshot_path(dir, position), got }.into()
        }
        e => e,
    })
    .map_err(SnapshotError::File)?;
    let engine = restorer.ok_or(SnapshotError::Empty)?.finish();
    let engine = engine.map_err(|e| SnapshotError::File(ReadError::Consumer(e)))?;
    let delivered_to = trailer.margin.first_chunk().map_or(0, |b| u64::from_le_bytes(*b));
    if margin(delivered_to, engine.digest()) != trailer.margin || engine.applied().get() != trailer.position {
        return Err(SnapshotError::Digest);
    }
    Ok(Loaded { engine, delivered_to, trailer })
}

/// What a snapshot begins with.
pub(crate) struct Beginning {
    pub(crate) dir: PathBuf,
    pub(crate) store: [u8; 16],
    pub(crate) head: Vec<u8>,
    pub(crate) position: u64,
    pub(crate) at_us: i64,
    pub(crate) boot_epoch: u32,
    pub(crate) chain: [u8; 32],
    pub(crate) delivered_to: u64,
    pub(crate) digest: u128,
    /// Days that the archive is kept; 0: for ever.
    pub(crate) keep_days: u32,
}

/// A snapshot that is being taken.
#[derive(Debug)]
pub(crate) struct Taking {
    /// Nothing once all pages are handed out.
    pages: Option<SyncSender<Piece>>,
    waiting: Option<Piece>,
    writer: JoinHandle<bool>,
}

#[derive(Debug)]
enum Piece {
    Page(Page),
    End,
}

impl Taking {
    /// Starts the writer.
    pub(crate) fn start(b: Beginning) -> std::io::Result<Self> {
        let (pages, pieces) = sync_channel(PAGES_WAITING);
        let write = move || {
            be_idle();
            let written = write(&b, &pieces);
            if let Err(e) = &written {
                eprintln!("tegata: the snapshot at position {} was not taken: {e}", b.position);
            }
            written.is_ok()
        };
        let writer = std::thread::Builder::new().name("snapshot".into()).spawn(write)?;
        Ok(Self { pages: Some(pages), waiting: None, writer })
    }

    /// Hands out one page, if the writer has room. True when it did.
    pub(crate) fn step(&mut self, engine: &mut Engine) -> bool {
        let Some(pages) = &self.pages else { return false };
        let piece =
            self.waiting.take().unwrap_or_else(|| engine.snapshot_page(PAGE_SLOTS).map_or(Piece::End, Piece::Page));
        let last = matches!(piece, Piece::End);
        match pages.try_send(piece) {
            Ok(()) if last => {
                self.pages = None;
                true
            }
            Ok(()) => true,
            Err(TrySendError::Full(piece)) => {
                self.waiting = Some(piece);
                false
            }
            Err(TrySendError::Disconnected(_)) => {
                self.pages = None;
                false
            }
        }
    }

    /// True when the writer has ended and the next snapshot may begin. What is left of a failed one is not copied on.
    pub(crate) fn is_over(&self) -> bool {
        self.writer.is_finished()
    }

    /// True when it was taken. To be asked when it is over.
    pub(crate) fn was_taken(self) -> bool {
        self.writer.join().unwrap_or(false)
    }
}

fn write(b: &Beginning, pieces: &Receiver<Piece>) -> Result<(), Box<dyn std::error::Error>> {
    let mut out = SnapshotWriter::create(&b.dir, &b.store, b.position)?;
    let whole = [&(b.head.len() as u64).to_le_bytes()[..], &b.head].concat();
    whole.chunks(HEAD_BLOCK_BYTES).try_for_each(|part| out.block(part))?;
    loop {
        match pieces.recv() {
            Ok(Piece::Page(p)) => {
                let block = Block {
                    shard: p.shard,
                    table: p.table,
                    first: p.first,
                    words: p.words,
                    undo: p.undo,
                    undo_words: p.undo_words,
                };
                out.block(&rkyv::to_bytes::<rancor::Error>(&block)?)?;
            }
            Ok(Piece::End) => break,
            // The server ended meanwhile: nothing is left of it.
            Err(_) => return Ok(()),
        }
    }
    out.finish(&Trailer {
        position: b.position,
        at_us: b.at_us,
        boot_epoch: b.boot_epoch,
        segment: 0,
        chain: b.chain,
        margin: margin(b.delivered_to, b.digest),
    })?;
    tidy(&b.dir, &b.store, b.keep_days)
}

/// Archives and removes what a new snapshot made superfluous.
fn tidy(dir: &Path, store: &[u8; 16], keep_days: u32) -> Result<(), Box<dyn std::error::Error>> {
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
pub fn oldest_state(dir: &Path, store: &[u8; 16], shards: u32) -> Result<(Replay, u64), OpenError> {
    let dropped = dropped_to(dir, store)?;
    if dropped == 0 {
        return Ok((Replay::new(Engine::new(shards), 0), 0));
    }
    let all = snapshots(dir).map_err(|error| OpenError::Io { doing: "listing", file: dir.to_owned(), error })?;
    for position in all.into_iter().rev().filter(|p| *p >= dropped) {
        match load(dir, store, position) {
            Ok(loaded) => return Ok((Replay::new(loaded.engine, loaded.delivered_to), position)),
            Err(SnapshotError::File(ReadError::Journal(e @ OpenError::NewerVersion { .. }))) => return Err(e),
            Err(_) => {}
        }
    }
    Err(OpenError::Dropped { first: dropped + 1 })
}
