//! The five ordered positions of a node and their one checker. It says how far the log has come; it does not make
//! anything durable and waits for nothing.
//!
//! ```text
//! accepted ──▶ submitted ──▶ durable ──▶ applied ──▶ acked          acked ≤ applied ≤ durable ≤ submitted ≤ accepted
//!  in the log's  handed to    flushed     decided     delivered, or
//!  order         the disk                             logged as not
//! ```
//!
//! Invariants:
//! - each position has one writer, only grows, and never passes the one before it;
//! - a reader may look at any time, from any thread. It reads **the last of the order first**: acked, applied,
//!   durable, submitted, accepted. Whoever wrote `acked = n` had seen `applied ≥ n`, so who sees the one finds the
//!   other at least as far. In the opposite order a position could move past one that was read before it, and a
//!   sound node would look broken.

use crate::facade::{AtomicU64, Ordering};
use crossbeam::utils::CachePadded;

/// Which position.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Mark {
    /// Has its place in the log.
    Accepted,
    /// Was handed to the disk.
    Submitted,
    /// Is flushed.
    Durable,
    /// Is decided.
    Applied,
    /// Is delivered, or logged as undelivered.
    Acked,
}

impl Mark {
    const COUNT: usize = 5;

    /// The mark that this one must not pass.
    const fn limit(self) -> Option<Self> {
        match self {
            Self::Accepted => None,
            Self::Submitted => Some(Self::Accepted),
            Self::Durable => Some(Self::Submitted),
            Self::Applied => Some(Self::Durable),
            Self::Acked => Some(Self::Applied),
        }
    }
}

/// The positions of one node.
#[derive(Debug)]
pub struct Positions {
    // Padded: the writers may be different threads.
    marks: [CachePadded<AtomicU64>; Mark::COUNT],
}

/// What a reader saw.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Snapshot {
    /// The last position that has its place in the log.
    pub accepted: u64,
    /// The last position handed to the disk.
    pub submitted: u64,
    /// The last position known to be flushed.
    pub durable: u64,
    /// The last position that is decided.
    pub applied: u64,
    /// The last position up to which every decision is delivered, or logged as undelivered.
    pub acked: u64,
}

/// A position is beyond one that must come before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OutOfOrder {
    /// The mark that is too far.
    pub mark: Mark,
    /// Where it is.
    pub got: u64,
    /// Where it may be at most.
    pub limit: u64,
}

impl std::fmt::Display for OutOfOrder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:?} is at {} and must not pass {}", self.mark, self.got, self.limit)
    }
}

impl std::error::Error for OutOfOrder {}

impl Positions {
    /// All five at `start`: everything up to it was read back from the journal, applied, and has no caller waiting.
    #[must_use]
    pub fn new(start: u64) -> Self {
        Self { marks: std::array::from_fn(|_| CachePadded::new(AtomicU64::new(start))) }
    }

    /// Moves `mark` to `to`. Only the one writer of `mark` calls this.
    ///
    /// # Panics
    /// When `mark` would go back or pass the mark before it: the node is about to break its promise, and must not go
    /// on.
    #[inline]
    pub fn advance(&self, mark: Mark, to: u64) {
        let own = &self.marks[mark as usize];
        // Relaxed: this thread is the only writer.
        let from = own.load(Ordering::Relaxed);
        assert!(to >= from, "{mark:?} went back from {from} to {to}");
        if let Some(limit) = mark.limit() {
            // Acquire: it takes over what the writer of the limit had seen, and the Release below passes it on.
            let limit_at = self.get(limit);
            assert!(to <= limit_at, "{mark:?} passed {limit:?}: {to} > {limit_at}");
        }
        own.store(to, Ordering::Release);
    }

    /// Where `mark` is.
    #[inline]
    #[must_use]
    pub fn get(&self, mark: Mark) -> u64 {
        self.marks[mark as usize].load(Ordering::Acquire)
    }

    /// All five, read in the order that keeps the invariant for every reader.
    #[must_use]
    pub fn snapshot(&self) -> Snapshot {
        let acked = self.get(Mark::Acked);
        let applied = self.get(Mark::Applied);
        let durable = self.get(Mark::Durable);
        let submitted = self.get(Mark::Submitted);
        let accepted = self.get(Mark::Accepted);
        Snapshot { accepted, submitted, durable, applied, acked }
    }
}

impl Snapshot {
    /// The one checker.
    ///
    /// # Errors
    /// The first mark, from the front, that is too far.
    pub fn check(&self) -> Result<(), OutOfOrder> {
        let pairs = [
            (Mark::Submitted, self.submitted, self.accepted),
            (Mark::Durable, self.durable, self.submitted),
            (Mark::Applied, self.applied, self.durable),
            (Mark::Acked, self.acked, self.applied),
        ];
        for (mark, got, limit) in pairs {
            if got > limit {
                return Err(OutOfOrder { mark, got, limit });
            }
        }
        Ok(())
    }
}

#[cfg(all(test, not(any(tegata_loom, tegata_shuttle))))]
mod tests {
    use super::*;
    use std::sync::Arc;

    const ORDER: [Mark; 5] = [Mark::Accepted, Mark::Submitted, Mark::Durable, Mark::Applied, Mark::Acked];

    #[test]
    fn the_checker_names_the_first_that_is_too_far() {
        let sound = Snapshot { accepted: 9, submitted: 7, durable: 7, applied: 4, acked: 0 };
        assert_eq!(sound.check(), Ok(()));
        let cases = [
            (Snapshot { submitted: 10, ..sound }, Mark::Submitted, 10, 9),
            (Snapshot { durable: 8, ..sound }, Mark::Durable, 8, 7),
            (Snapshot { applied: 8, acked: 8, ..sound }, Mark::Applied, 8, 7),
            (Snapshot { acked: 5, ..sound }, Mark::Acked, 5, 4),
        ];
        for (bad, mark, got, limit) in cases {
            assert_eq!(bad.check(), Err(OutOfOrder { mark, got, limit }));
        }
    }

    #[test]
    #[should_panic(expected = "Applied passed Durable: 3 > 2")]
    fn nothing_is_applied_before_it_is_durable() {
        let positions = Positions::new(0);
        positions.advance(Mark::Accepted, 3);
        positions.advance(Mark::Submitted, 3);
        positions.advance(Mark::Durable, 2);
        positions.advance(Mark::Applied, 3);
    }

    #[test]
    #[should_panic(expected = "Accepted went back from 5 to 4")]
    fn nothing_goes_back() {
        Positions::new(5).advance(Mark::Accepted, 4);
    }

    #[test]
    fn every_reader_sees_the_order() {
        const LAST: u64 = 50_000;
        let positions = Arc::new(Positions::new(0));
        let mut threads = Vec::new();
        for mark in ORDER {
            let positions = Arc::clone(&positions);
            threads.push(std::thread::spawn(move || {
                let mut at = 0;
                while at < LAST {
                    let to = match mark.limit() {
                        None => at + 1,
                        Some(limit) => positions.get(limit),
                    };
                    if to == at {
                        std::thread::yield_now();
                    } else {
                        positions.advance(mark, to);
                        at = to;
                    }
                }
            }));
        }
        loop {
            let seen = positions.snapshot();
            assert_eq!(seen.check(), Ok(()), "{seen:?}");
            if seen.acked == LAST {
                break;
            }
            std::thread::yield_now();
        }
        for thread in threads {
            thread.join().expect("the writer ran through");
        }
    }
}
