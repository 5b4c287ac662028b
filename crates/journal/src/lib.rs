//! The write-ahead journal: segments, batches, recovery, and the disk under them. Records are opaque bytes.
//!
//! It knows no domain and no clock: positions, times and bodies come from its owner. `docs/formats/journal.md` has the
//! bytes.
//!
//! Invariants:
//! - what [`Writer::reap`] calls flushed survives any crash; nothing else is ever called so;
//! - after a failed or short write nothing is written or believed again (fail-stop);
//! - a folder that is damaged in a way that no crash explains is refused and left as it is.

#[cfg(not(target_os = "linux"))]
compile_error!("Tegata runs on Linux only: its journal needs O_DIRECT, RWF_DSYNC and flock as Linux has them.");

mod archive;
mod background;
mod blocks;
mod buffers;
mod device;
mod disk;
mod error;
#[cfg(feature = "faults")]
mod faults;
mod layout;
mod options;
mod plain;
mod preparer;
mod reader;
mod real;
mod recovery;
mod scan;
mod segments;
mod snapshots;
mod store;
mod writer;

pub use archive::{archive_retired, drop_archived, dropped_to};
pub use background::{be_idle, be_modest};
pub use blocks::Trailer;
pub use device::Doorbell;
pub use disk::{Disk, DiskFile, Folder, Open, Queue};
pub use error::{OpenError, ReadError, WriteError};
#[cfg(feature = "faults")]
pub use faults::Faults;
pub use layout::{BATCH_HEADER_BYTES, BLOCK, Damage, MARGIN_BYTES, VERSION};
pub use options::{IoChoice, Options};
pub use reader::{Batch, read_log, read_store};
pub use recovery::{Journal, Recovery, TornTail, open};
pub use snapshots::{
    SnapshotWriter, read_snapshot, remove_drafts, remove_snapshot, snapshot_path, snapshot_trailer, snapshots,
};
pub use store::is_volatile;
pub use writer::{BatchMeta, Room, Writer};
