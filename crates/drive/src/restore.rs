//! From the files to the state: the newest snapshot that can be used, and the log behind it.

use crate::snapshot::{SnapshotError, load};
use tegata_engine::Engine;
use tegata_journal::{Batch, Folder, Journal, OpenError, ReadError, Recovery, snapshots};
use tegata_node::{Carried, Replay, ReplayError};

/// Why there is no state.
#[derive(Debug)]
pub enum RestoreFailed {
    /// The journal.
    Journal(OpenError),
    /// The journal is whole, but does not replay to what was decided.
    Replay(ReadError<ReplayError>),
}

impl core::fmt::Display for RestoreFailed {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::Journal(e) => e.fmt(f),
            Self::Replay(e) => write!(f, "the journal does not replay: {e}"),
        }
    }
}

impl std::error::Error for RestoreFailed {}

/// The state as of the end of the log, and how it was come by.
#[derive(Debug)]
pub struct Restored {
    /// The state.
    pub replay: Replay,
    /// The position of the snapshot that it began with; 0: none.
    pub snapshot: u64,
    /// Snapshots that were passed over, and why.
    pub skipped: Vec<String>,
    /// Bytes of the log behind the snapshot.
    pub since_snapshot: u64,
}

/// From the newest snapshot that can be used and the log behind it; without any, from the whole log. What a newer
/// version wrote is not passed over: what it decided is not this version's to go on with. Where all snapshots that can be
/// read are of another log, nothing tells which of the two belongs here.
///
/// `each` is told of every batch that is replayed.
pub fn restore(
    dir: &Folder,
    journal: &mut Journal,
    each: &mut dyn FnMut(&Batch<'_>),
) -> Result<Restored, RestoreFailed> {
    let Recovery { store_id, last_position, shards, .. } = *journal.recovery();
    let (mut skipped, mut foreign) = (Vec::new(), None);
    let mut since_snapshot = 0;
    let mut from = |mut replay: Replay, after, chain: Option<&[u8; 32]>| {
        since_snapshot = 0;
        let replayed = journal.replay(after, chain, &mut |b| {
            since_snapshot += b.disk_bytes;
            each(b);
            replay.batch(b.first_position, b.count, b.at_us, b.margin, b.body, |_, _, _, _| {})
        });
        replayed.map(|_| (replay, since_snapshot))
    };
    for position in snapshots(dir).unwrap_or_default() {
        let why = match load(dir, &store_id, position) {
            Err(SnapshotError::File(ReadError::Journal(e @ OpenError::NewerVersion { .. }))) => {
                return Err(RestoreFailed::Journal(e));
            }
            Err(e) => e.to_string(),
            Ok(_) if position > last_position => format!("the log ends at {last_position}"),
            Ok(l) => match from(Replay::new(l.engine, l.carried), position, Some(&l.trailer.chain)) {
                Ok((replay, since_snapshot)) => {
                    return Ok(Restored { replay, snapshot: position, skipped, since_snapshot });
                }
                Err(ReadError::Journal(e @ OpenError::Foreign { .. })) => {
                    let why = e.to_string();
                    foreign.get_or_insert(e);
                    why
                }
                Err(e) => return Err(RestoreFailed::Replay(e)),
            },
        };
        skipped.push(format!("snapshot {position}: {why}"));
    }
    if let Some(e) = foreign {
        return Err(RestoreFailed::Replay(e.into()));
    }
    let (replay, since_snapshot) =
        from(Replay::new(Engine::new(shards), Carried::default()), 0, None).map_err(RestoreFailed::Replay)?;
    Ok(Restored { replay, snapshot: 0, skipped, since_snapshot })
}
