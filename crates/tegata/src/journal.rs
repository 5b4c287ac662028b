//! `tegata journal`: the data folder itself, without a server, and without changing it.

use crate::exit::Exit;
use crate::output::{Failure, Report, table};
use crate::parse;
use crate::talk::{Reach, expected};
use serde_json::json;
use std::path::PathBuf;
use tegata_client::{Ask, Call, Role};
use tegata_engine::Counts;
use tegata_journal::{OpenError, ReadError, dropped_to, read_log, read_store, snapshot_trailer, snapshots};
use tegata_node::ReplayError;
use tegata_server::SnapshotError;
use tegata_wire::{AnswerBody, KIND_SNAPSHOT_TAKE};

#[derive(Debug, clap::Args)]
pub(crate) struct Folder {
    /// The data folder.
    #[arg(long, env = "TEGATA_DATA", default_value = "tegata-data")]
    pub(crate) data: PathBuf,
    /// Print one JSON value.
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, clap::Subcommand)]
pub(crate) enum JournalCommand {
    /// List the batches of the log.
    Inspect {
        #[command(flatten)]
        folder: Folder,
        /// From this position on.
        #[arg(long, default_value_t = 0, hide_default_value = true)]
        position: u64,
        /// Most batches.
        #[arg(long, default_value_t = 100)]
        limit: usize,
    },
    /// Check every checksum and the chain, replay every record, and hold the result against the digests in the log.
    Verify {
        #[command(flatten)]
        folder: Folder,
    },
}

#[derive(Debug, clap::Subcommand)]
pub(crate) enum SnapshotCommand {
    /// Ask a running server to take one.
    Take {
        #[command(flatten)]
        reach: Reach,
    },
    /// List the snapshots in a data folder.
    List {
        #[command(flatten)]
        folder: Folder,
    },
    /// Read every snapshot in a data folder, and check that each is whole, is consistent and has its digest.
    Verify {
        #[command(flatten)]
        folder: Folder,
    },
}

impl SnapshotCommand {
    pub(crate) fn run(self) -> Result<Report, Failure> {
        match self {
            Self::Take { reach } => take(&reach),
            Self::List { folder } => {
                let (store, ..) = read_store(&folder.data).map_err(|e| Failure::new(exit_of(&e), e))?;
                let mut all = Vec::new();
                for position in positions(&folder)? {
                    let t =
                        snapshot_trailer(&folder.data, &store, position).map_err(|e| Failure::new(exit_of(&e), e))?;
                    all.push((position, t.at_us));
                }
                let rows = all.iter().map(|(p, at)| vec![p.to_string(), parse::japan(*at)]);
                let text = table(&["position", "time (Japan)"], &rows.collect::<Vec<_>>());
                let json = all.iter().map(|(p, at)| json!({ "position": p, "at": parse::utc(*at) }));
                Ok(Report::done(text, json.collect::<Vec<_>>().into()))
            }
            Self::Verify { folder } => {
                let (store, ..) = read_store(&folder.data).map_err(|e| Failure::new(exit_of(&e), e))?;
                let (mut text, mut all) = (String::new(), Vec::new());
                for position in positions(&folder)? {
                    let failed = |exit, e: String| Failure::new(exit, format!("snapshot {position}: {e}"));
                    let loaded = tegata_server::load_snapshot(&folder.data, &store, position).map_err(|e| {
                        let exit = match &e {
                            SnapshotError::File(ReadError::Journal(e)) => exit_of(e),
                            _ => Exit::Damaged,
                        };
                        failed(exit, e.to_string())
                    })?;
                    loaded.engine.audit().map_err(|e| failed(Exit::Damaged, e))?;
                    let Counts { accounts, decisions, .. } = loaded.engine.counts();
                    let digest = format!("{:032x}", loaded.engine.digest());
                    text += &format!(
                        "whole: position {position}  {accounts} accounts  {decisions} decisions  digest {digest}\n"
                    );
                    all.push(json!({
                        "position": position, "accounts": accounts, "decisions": decisions, "digest": digest,
                    }));
                }
                Ok(Report::done(text, all.into()))
            }
        }
    }

    pub(crate) fn json(&self) -> bool {
        match self {
            Self::Take { reach } => reach.json,
            Self::List { folder } | Self::Verify { folder } => folder.json,
        }
    }
}

fn positions(folder: &Folder) -> Result<Vec<u64>, Failure> {
    snapshots(&folder.data).map_err(|e| Failure::new(Exit::Usage, format!("{}: {e}", folder.data.display())))
}

fn take(reach: &Reach) -> Result<Report, Failure> {
    let mut found = None;
    reach.ask(Role::Operator, Call::of(Ask::Question(KIND_SNAPSHOT_TAKE)), &mut |body| {
        if let AnswerBody::Snapshot(s) = body {
            found = Some(s);
        }
        Ok(())
    })?;
    let s = expected(found)?;
    let words = if s.started { "begins at or after" } else { "is being taken already; the log is at" };
    let text = format!("a snapshot {words} position {}", s.position);
    Ok(Report::done(text, json!({ "started": s.started, "position": s.position })))
}

/// Which exit code a journal's complaint has.
pub(crate) fn exit_of(e: &OpenError) -> Exit {
    match e {
        OpenError::Corrupt { .. } | OpenError::Foreign { .. } => Exit::Damaged,
        OpenError::InUse { .. } => Exit::InUse,
        OpenError::NewerVersion { .. } => Exit::Newer,
        _ => Exit::Usage,
    }
}

fn read_failure(e: ReadError<ReplayError>) -> Failure {
    let exit = match &e {
        ReadError::Journal(e) => exit_of(e),
        ReadError::Consumer(_) => Exit::Damaged,
    };
    Failure::new(exit, e)
}

impl JournalCommand {
    pub(crate) fn run(self) -> Result<Report, Failure> {
        match self {
            Self::Inspect { folder, position, limit } => {
                let mut all = Vec::new();
                let (store, ..) = read_store(&folder.data).map_err(|e| Failure::new(exit_of(&e), e))?;
                let dropped = dropped_to(&folder.data, &store).map_err(|e| Failure::new(exit_of(&e), e))?;
                let last = read_log(&folder.data, dropped, None, &mut |b| {
                    if b.first_position + u64::from(b.count) > position && all.len() < limit {
                        all.push((b.first_position, b.count, b.at_us, b.segment, b.offset, b.disk_bytes, b.boot_epoch));
                    }
                    Ok(())
                })
                .map_err(read_failure)?;
                let rows = all.iter().map(|(first, count, at, segment, offset, bytes, epoch)| {
                    vec![
                        first.to_string(),
                        count.to_string(),
                        parse::japan(*at),
                        segment.to_string(),
                        offset.to_string(),
                        bytes.to_string(),
                        epoch.to_string(),
                    ]
                });
                let head = ["position", "records", "time (Japan)", "segment", "offset", "bytes", "start"];
                let mut text = table(&head, &rows.collect::<Vec<_>>());
                let first = dropped + 1;
                text += &format!("{} batches shown; the log goes from position {first} to {last}", all.len());
                let batches = all.iter().map(|(first, count, at, segment, offset, bytes, epoch)| {
                    json!({
                        "first_position": first, "records": count, "at": parse::utc(*at), "segment": segment,
                        "offset": offset, "disk_bytes": bytes, "boot_epoch": epoch,
                    })
                });
                let json =
                    json!({ "first_position": first, "last_position": last, "batches": batches.collect::<Vec<_>>() });
                Ok(Report::done(text, json))
            }
            Self::Verify { folder } => {
                let (store, shards, _) = read_store(&folder.data).map_err(|e| Failure::new(exit_of(&e), e))?;
                // Where the oldest segments were dropped, the snapshot that stayed for this stands for them.
                let (mut replay, behind) = tegata_server::oldest_state(&folder.data, &store, shards)
                    .map_err(|e| Failure::new(exit_of(&e), e))?;
                let (mut batches, mut bytes, mut chain) = (0u64, 0u64, [0u8; 32]);
                let last = read_log(&folder.data, behind, None, &mut |b| {
                    (batches, bytes, chain) = (batches + 1, bytes + b.disk_bytes, b.chain);
                    replay.batch(b.first_position, b.count, b.at_us, b.margin, b.body, |_, _, _, _| {})
                })
                .map_err(read_failure)?;
                replay
                    .engine()
                    .audit()
                    .map_err(|e| Failure::new(Exit::Damaged, format!("the replayed state is not consistent: {e}")))?;
                let chain: String = chain.iter().map(|b| format!("{b:02x}")).collect();
                let text = format!(
                    "whole: positions {} to {last} in {batches} batches, {bytes} bytes\n\
                     digest {:032x}, held against the log up to position {}\nchain {chain}",
                    behind + 1,
                    replay.engine().digest(),
                    replay.verified()
                );
                let json = json!({
                    "first_position": behind + 1, "last_position": last, "batches": batches, "disk_bytes": bytes, "chain": chain,
                    "digest": format!("{:032x}", replay.engine().digest()), "verified_to": replay.verified(),
                });
                Ok(Report::done(text, json))
            }
        }
    }

    pub(crate) fn json(&self) -> bool {
        match self {
            Self::Inspect { folder, .. } | Self::Verify { folder } => folder.json,
        }
    }
}
