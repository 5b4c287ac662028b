//! The node and its journal in one turn, and how a state is kept and found again. Threads, sockets and clocks are
//! whoever's drives it: the server, or a simulation, and both do the same in the same order.
//!
//! ```text
//! turn: look at room and clock ─▶ take in ─▶ apply what is durable ─▶ look around ─▶ seal, append ─▶ hand out ─▶ a page
//! ```
//!
//! Invariants: time comes from [`Around`]; nothing is applied that the journal does not call flushed; a snapshot is of a
//! position that is the end of a batch.
#![forbid(unsafe_code)]

mod around;
mod restore;
mod retention;
mod share;
mod snapshot;
mod steady;
mod turn;

pub use around::{Around, Copying};
pub use restore::{RestoreFailed, Restored, restore};
pub use retention::Taken;
pub use snapshot::{Beginning, Draft, Loaded, SnapshotError, load, oldest_state};
pub use steady::Steady;
pub use turn::{BUNDLES_AT_ONCE, Core, Keeping};
