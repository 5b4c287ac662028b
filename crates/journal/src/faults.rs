//! Faults that tests put into the device: the journal stalls as if the disk did not answer. Only with the cargo feature
//! `faults`, which no default build has.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// A hand on the device. All clones hold the same one.
#[derive(Debug, Clone, Default)]
pub struct Faults(Arc<AtomicBool>);

impl Faults {
    /// From now on, or no longer, completed writes are held back: nothing becomes durable.
    pub fn stall(&self, stalls: bool) {
        self.0.store(stalls, Ordering::Release);
    }

    pub(crate) fn is_stalled(&self) -> bool {
        self.0.load(Ordering::Acquire)
    }
}

/// Settings are compared without it.
impl PartialEq for Faults {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl Eq for Faults {}
