//! Real faults on the real server: each is done to a process under load whose callers keep a ledger of their own, each shows
//! that it happened, and each says which promise was held against it.
//!
//! ```text
//! load ─▶ server ─▶ fault (proved) ─▶ end ─▶ start ─▶ balances, journal, linearizability against the callers' ledger
//! ```
//!
//! What a machine forbids is skipped, said, and never counted as held.

mod books;
mod disk;
mod fuse;
pub mod linear;
mod load;
mod server;
mod sys;
mod trial;
mod trials;

use std::time::{Duration, Instant};

pub use server::child_main;
pub use trial::{FAULTS, Fault, Outcome, Scale};

/// How often a condition is looked at.
const LOOK_EVERY: Duration = Duration::from_micros(500);

/// Waits for a condition; nothing when it does not come within `time`.
fn until<T>(time: Duration, mut what: impl FnMut() -> Option<T>) -> Option<T> {
    let began = Instant::now();
    loop {
        if let Some(t) = what() {
            return Some(t);
        }
        if began.elapsed() >= time {
            return None;
        }
        std::thread::sleep(LOOK_EVERY);
    }
}
