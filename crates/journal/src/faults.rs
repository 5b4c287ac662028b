//! Faults that tests put into the device: the journal stalls as if the disk did not answer, or
//! fails as if it were broken. Only with the cargo feature
//! `faults`, which no default build has.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

/// A hand on the device. All clones hold the same one.
#[derive(Debug, Clone, Default)]
pub struct Faults(Arc<AtomicU8>);

const STALLED: u8 = 1;
const BROKEN: u8 = 2;

impl Faults {
    /// From now on, or no longer, completed writes are held back: nothing becomes durable.
    pub fn stall(&self, stalls: bool) {
        self.0.store(if stalls { STALLED } else { 0 }, Ordering::Release);
    }

    pub(crate) fn is_stalled(&self) -> bool {
        self.0.load(Ordering::Acquire) == STALLED
    }

    /// The next write that completes counts as failed.
    pub fn fail(&self) {
        self.0.store(BROKEN, Ordering::Release);
    }

    pub(crate) fn is_broken(&self) -> bool {
        self.0.load(Ordering::Acquire) == BROKEN
    }
}

/// Settings are compared without it.
impl PartialEq for Faults {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl Eq for Faults {}
