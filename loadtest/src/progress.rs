//! What whoever watches a run is told while it runs.

use crate::summary::{FaultReport, Second};

/// Something happened.
#[derive(Debug, Clone, Copy)]
pub enum Progress<'a> {
    /// So much of the data set is there.
    Seeding {
        /// Programme, shops, coupons and wallets that were made.
        done: u64,
        /// Of how many.
        total: u64,
    },
    /// The load begins.
    Begins {
        /// How long it lasts, in s.
        seconds: f64,
    },
    /// A second of it is over.
    Second(&'a Second),
    /// A fault, an extension, or a persona, is over.
    Fault(&'a FaultReport),
    /// The load is over; so many outcomes are not known and are asked for.
    Resolving {
        /// Attempts.
        unknown: usize,
    },
    /// The ledger is joined with what the clients were told.
    Joining,
}

/// Is told what happens, from several threads.
pub type Watcher<'a> = dyn Fn(Progress<'_>) + Sync + 'a;
