//! The server: sockets, threads and the journal's disk around the node.
//!
//! ```text
//! threads of connections (tokio) ──bundles──▶ core thread: node + journal + engine
//!                                ◀─answers──
//! ```
//!
//! Invariants: one thread owns the node and the journal; a connection's state belongs to one thread; nothing waits
//! without a bound.
#![forbid(unsafe_code)]

mod access;
pub mod clock;
pub mod config;
mod connection;
mod core;
mod denials;
#[cfg(test)]
mod dropping;
mod events;
mod frames;
#[cfg(test)]
mod golden;
mod handover;
pub mod history;
mod http;
mod io;
mod listen;
mod replies;
mod running;
mod sessions;
mod snapshot;
mod start;

pub use access::AccessPolicy;
pub use config::{Config, ConfigError, JournalIo};
pub use running::{Banner, ReloadError, Running};
pub use sessions::{Session, Sessions};
pub use start::{ServeError, start, start_with};
pub use tegata_drive::{Loaded, SnapshotError, load as load_snapshot, oldest_state};
#[cfg(feature = "faults")]
pub use tegata_journal::Faults;

use std::io::Write as _;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Instant;
use tegata_node::ServerFacts;
use tegata_sync::Positions;
use tokio::sync::Notify;

/// Says something on standard error. That its reader is gone must not end a server, as `eprintln!` would.
pub fn say(words: impl std::fmt::Display) {
    let _ = writeln!(std::io::stderr(), "{words}");
}

/// Where a stop is.
const RUNNING: u8 = 0;
const DRAINING: u8 = 1;
const STOPPED: u8 = 2;

/// What all threads of a server share.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) config: Config,
    pub(crate) store_id: [u8; 16],
    pub(crate) started: Instant,
    pub(crate) flush_us: u64,
    pub(crate) positions: Positions,
    pub(crate) facts: Mutex<ServerFacts>,
    pub(crate) sessions: Sessions,
    /// Who is let in, and as whom.
    pub(crate) access: access::Access,
    pub(crate) denials: denials::Denials,
    /// What stands between sockets and frames; nothing: the frames themselves.
    pub(crate) tunnels: Option<Arc<dyn tegata_wire::Tunnels>>,
    pub(crate) connections: AtomicUsize,
    /// Histories that are being read.
    pub(crate) histories: AtomicUsize,
    pub(crate) failed: AtomicBool,
    /// Ranks of which only the header is looked at, as bits; of questions: that are refused outright.
    pub(crate) unlooked_ranks: AtomicU8,
    /// Events that were left out.
    pub(crate) events_lost: AtomicU64,
    pub(crate) phase: AtomicU8,
    /// Told to the watchers' port when everything else has ended.
    pub(crate) ended: Notify,
    /// Told to every task that waits for input when the server begins to stop.
    pub(crate) stopping: Notify,
    /// Threads of connections that have seen their last connection end after the server began to stop.
    pub(crate) quiet_threads: AtomicUsize,
}

impl Shared {
    /// True once the server takes no new requests.
    pub(crate) fn is_stopping(&self) -> bool {
        self.phase.load(Ordering::Acquire) >= DRAINING
    }

    /// True once every thread of connections has nothing left to ask.
    pub(crate) fn drained(&self) -> bool {
        self.is_stopping() && self.quiet_threads.load(Ordering::Acquire) >= self.config.doors()
    }

    /// True once the core has ended.
    pub(crate) fn stopped(&self) -> bool {
        self.phase.load(Ordering::Acquire) == STOPPED
    }
}
