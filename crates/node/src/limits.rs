//! Bounds of a node, and when its breakers open and close.

use crate::breaker::Policy;
use crate::breakers::Policies;

/// Bounds of a node.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Threads of connections.
    pub threads: usize,
    /// Most bytes of records in one batch.
    pub batch_bytes_max: usize,
    /// From so many bytes on a batch is sealed although others are in flight.
    pub seal_bytes: usize,
    /// Most batches in flight.
    pub in_flight_max: usize,
    /// Most bytes of records that wait for room in a batch; what comes beyond is refused. Most bytes of repeats that
    /// wait for a first request; what comes beyond is in progress at once.
    pub waiting_bytes_max: usize,
    /// While the queue has stood too long, whoever may be shed waits no longer than this, in µs, and no longer than a
    /// quarter of its own time.
    pub wait_us_max: u64,
    /// Most accounts; what would make more is refused.
    pub accounts_max: u64,
    /// Most lots beyond the accounts' first; what adds value is refused, and what may make one when a reserve is used up.
    pub lots_max: u64,
    /// Most decisions remembered; payments are refused, and everything when a reserve is used up.
    pub decisions_max: u64,
    /// Most allocations of these decisions; likewise.
    pub allocations_max: u64,
    /// When breakers open and close.
    pub policies: Policies,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            threads: 1,
            batch_bytes_max: 256 << 10,
            seal_bytes: 64 << 10,
            in_flight_max: 4,
            waiting_bytes_max: 64 << 20,
            wait_us_max: 20_000,
            accounts_max: 100_000_000,
            lots_max: 100_000_000,
            decisions_max: 100_000_000,
            allocations_max: 100_000_000,
            policies: POLICIES,
        }
    }
}

/// The breakers' defaults, in the order of the causes. `docs/degrade.md` says why.
const POLICIES: Policies = {
    const MS: u64 = 1_000;
    const NEVER: u64 = u64::MAX;
    let quick = Policy { open_at: 1, close_below: 1, window_us: 0, rest_us: 500 * MS, stage_us: 100 * MS, probes: 16 };
    [
        Policy { open_at: 250 * MS, close_below: 100 * MS, window_us: 100 * MS, ..quick },
        quick,
        Policy { open_at: 20 * MS, close_below: 10 * MS, window_us: 100 * MS, ..quick },
        Policy { open_at: 1_000, close_below: 990, ..quick },
        Policy { open_at: NEVER, ..quick },
        Policy { open_at: NEVER, ..quick },
    ]
};
