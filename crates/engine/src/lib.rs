//! The state machine: accounts, lots, keys, holds, the guard, programmes and remediation.
//!
//! It takes durable records in log order and hands back decisions. It is pure: no I/O, no clock, no randomness, no
//! threads, no order that depends on a hash seed. The same log gives the same decisions and the same digest on every
//! machine and for every number of shards.
//!
//! Invariants:
//! - no balance is negative, and per programme `issued + charged + reinstated + shortfall = balances + spent −
//!   returned + expired + paid out`, at every position;
//! - a key has at most one decision, and every repeat gets it byte for byte;
//! - time is the log's: nothing here can tell when it runs.
#![forbid(unsafe_code)]

mod apply;
mod copy;
mod digest;
mod fifo;
mod funds;
mod guard;
mod hint;
mod holds;
mod index;
mod lease;
mod operate;
mod overflow;
mod plan;
mod purchase;
mod recent;
mod returns;
mod rules;
mod shard;
mod slab;
mod slots;
mod snapshot;
mod stand_in;
mod sums;
mod view;

pub use apply::{Applied, Effect};
pub use funds::{SHORTFALL, Taken};
pub use hint::{Hint, TOUCH_MAX, scope_hash};
pub use lease::Lease;
pub use operate::end_of_day;
pub use plan::Plan;
pub use rules::{ExtensionEntry, ProgrammeEntry, Restart, Rules, Shop};
pub use snapshot::{Page, RestoreError, Restorer};
pub use stand_in::AdviceMarks;
pub use sums::{ShopSums, Sums};
pub use view::{AccountView, Counts, LotView, Sizes};

use shard::Shard;
use tegata_model::{AccountId, Position, Timestamp};

/// The engine: rules, and accounts in shards.
#[derive(Debug, Clone)]
pub struct Engine {
    rules: Rules,
    shards: Vec<Shard>,
    applied: Position,
    at: Timestamp,
    touched: usize,
    /// Shard and table of the snapshot that is being taken.
    copying: Option<(u32, u32)>,
    planning: Option<Box<plan::Planning>>,
}

/// Shards that an engine can have.
pub const SHARDS_MAX: u32 = 1_024;

impl Engine {
    /// An empty engine of 1 … [`SHARDS_MAX`] shards.
    #[must_use]
    pub fn new(shards: u32) -> Self {
        let n = shards.clamp(1, SHARDS_MAX);
        Self {
            rules: Rules::new(),
            shards: (0..n).map(|_| Shard::new()).collect(),
            applied: Position::ZERO,
            at: Timestamp::ZERO,
            touched: 0,
            copying: None,
            planning: None,
        }
    }

    /// The position of the last command.
    #[must_use]
    pub fn applied(&self) -> Position {
        self.applied
    }

    /// The logged time of the last command.
    #[must_use]
    pub fn at(&self) -> Timestamp {
        self.at
    }

    /// The shard of an account.
    #[must_use]
    pub fn shard_of(&self, id: &AccountId) -> usize {
        self.shard_of_hash(shard::account_hash(id))
    }

    #[inline]
    fn shard_of_hash(&self, account_hash: u64) -> usize {
        // The high bits: the low ones choose the bucket inside the shard.
        ((u128::from(account_hash) * self.shards.len() as u128) >> 64) as usize
    }
}

/// True for record kinds that take or hold value at a shop: debit, debit-confirmed, hold, advice.
fn takes_kind(kind: u8) -> bool {
    matches!(kind, 4..=6 | 25)
}
