//! The latch of a stopping server: it is closed, and drained when every accepted request has its terminal answer. It
//! waits for nothing itself; the server asks it after each answer.
//!
//! ```text
//! open ── enter +1, leave −1 ── close() ──▶ closing ── leave −1 … 0 ──▶ drained
//! ```
//!
//! Invariants:
//! - once anybody has seen it closed, nobody enters;
//! - it is drained only when it is closed and nobody is inside, and then it stays so;
//! - who sees it drained sees everything that was done inside.
//!
//! The closed bit and the count are one word. As two, somebody could find the latch open, be counted late, and work on
//! in a server that believes it is done.

use crate::facade::{AtomicU64, Ordering};
use crossbeam::utils::CachePadded;

const CLOSED: u64 = 1 << 63;

/// The latch.
#[derive(Debug)]
pub struct Drain {
    state: CachePadded<AtomicU64>,
}

/// Proof that somebody is inside. It is given back to [`Drain::leave`] with the terminal answer.
///
/// Dropping it does not leave: a request that is lost without an answer must keep the server from calling itself
/// drained, and show up in [`Drain::inside`].
#[derive(Debug)]
#[must_use = "a pass that is never given back keeps the server from draining"]
pub struct Pass(());

impl Drain {
    /// An open latch with nobody inside.
    #[must_use]
    pub fn new() -> Self {
        Self { state: CachePadded::new(AtomicU64::new(0)) }
    }

    /// Lets a request in, unless the latch is closed.
    #[inline]
    pub fn enter(&self) -> Option<Pass> {
        let mut seen = self.state.load(Ordering::Relaxed);
        loop {
            if seen & CLOSED != 0 {
                return None;
            }
            // Relaxed: the exchange as such decides between entering and closing; entering publishes nothing.
            match self.state.compare_exchange_weak(seen, seen + 1, Ordering::Relaxed, Ordering::Relaxed) {
                Ok(_) => return Some(Pass(())),
                Err(now) => seen = now,
            }
        }
    }

    /// A request has its terminal answer.
    ///
    /// # Panics
    /// When nobody is inside: the pass is from another latch.
    #[inline]
    pub fn leave(&self, pass: Pass) {
        let Pass(()) = pass;
        // Release: who sees the latch drained sees what was done inside, by everybody (all changes of the word are
        // exchanges, so each carries on what the one before released).
        let before = self.state.fetch_sub(1, Ordering::Release);
        assert!(before & !CLOSED > 0, "left a latch with nobody inside");
    }

    /// Lets nobody in from now on. Who is inside finishes.
    pub fn close(&self) {
        self.state.fetch_or(CLOSED, Ordering::Relaxed);
    }

    /// True when nobody is let in any more.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.state.load(Ordering::Relaxed) & CLOSED != 0
    }

    /// True when it is closed and nobody is inside.
    #[inline]
    #[must_use]
    pub fn is_drained(&self) -> bool {
        self.state.load(Ordering::Acquire) == CLOSED
    }

    /// How many are inside: what a server that gives up waiting reports.
    #[must_use]
    pub fn inside(&self) -> u64 {
        self.state.load(Ordering::Relaxed) & !CLOSED
    }
}

impl Default for Drain {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(all(test, not(any(tegata_loom, tegata_shuttle))))]
mod tests {
    use super::*;
    use std::sync::Arc;
    use std::sync::atomic::AtomicU64 as StdAtomicU64;

    #[test]
    fn drains_when_the_last_one_leaves() {
        let drain = Drain::new();
        assert!(!drain.is_drained(), "an idle open server is not drained");
        let a = drain.enter().expect("open");
        let b = drain.enter().expect("open");
        drain.close();
        drain.close();
        assert!(drain.is_closed());
        assert!(drain.enter().is_none());
        drain.leave(a);
        assert!(!drain.is_drained());
        assert_eq!(drain.inside(), 1);
        drain.leave(b);
        assert!(drain.is_drained());
        assert!(drain.enter().is_none());
    }

    #[test]
    fn a_lost_pass_is_told() {
        let drain = Drain::new();
        let _lost = drain.enter();
        drain.close();
        assert!(!drain.is_drained());
        assert_eq!(drain.inside(), 1);
    }

    #[test]
    #[should_panic(expected = "nobody inside")]
    fn a_foreign_pass_is_a_mistake() {
        let (a, b) = (Drain::new(), Drain::new());
        b.leave(a.enter().expect("open"));
    }

    #[test]
    fn threads_finish_what_they_began() {
        let drain = Arc::new(Drain::new());
        let begun = Arc::new(StdAtomicU64::new(0));
        let done = Arc::new(StdAtomicU64::new(0));
        let threads: Vec<_> = (0..4)
            .map(|_| {
                let (drain, begun, done) = (Arc::clone(&drain), Arc::clone(&begun), Arc::clone(&done));
                std::thread::spawn(move || {
                    while let Some(pass) = drain.enter() {
                        begun.fetch_add(1, Ordering::Relaxed);
                        done.fetch_add(1, Ordering::Relaxed);
                        drain.leave(pass);
                    }
                })
            })
            .collect();
        while done.load(Ordering::Relaxed) < 10_000 {
            std::thread::yield_now();
        }
        drain.close();
        while !drain.is_drained() {
            std::thread::yield_now();
        }
        let seen = (begun.load(Ordering::Relaxed), done.load(Ordering::Relaxed));
        assert_eq!(seen.0, seen.1);
        for thread in threads {
            thread.join().expect("the worker ran through");
        }
        assert_eq!(done.load(Ordering::Relaxed), seen.1, "nobody came in after it was drained");
    }
}
