//! When to send again: jittered, ever later, and never more than a tenth on top of the first sends, so that clients
//! do not bring down what is just coming back.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

/// Shortest pause before a key is sent again.
const PAUSE_MIN: Duration = Duration::from_millis(50);
/// Longest pause.
const PAUSE_MAX: Duration = Duration::from_secs(2);
/// What one repeat costs; a first send earns one.
const REPEAT_COST: u32 = 10;
/// Repeats that may be saved up.
const SAVED_MAX: u32 = 100 * REPEAT_COST;

/// Repeats that one client may send: ten first sends earn one.
#[derive(Debug)]
pub struct Budget(AtomicU32);

impl Default for Budget {
    fn default() -> Self {
        Self::new()
    }
}

impl Budget {
    /// A full one.
    #[must_use]
    pub fn new() -> Self {
        Self(AtomicU32::new(SAVED_MAX))
    }

    /// A first send.
    pub fn earn(&self) {
        let _ = self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |n| Some((n + 1).min(SAVED_MAX)));
    }

    /// True when one more repeat may be sent.
    pub fn spend(&self) -> bool {
        self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |n| n.checked_sub(REPEAT_COST)).is_ok()
    }
}

/// The pause before repeat number `n` (from 0), by 128 random bits: between half and the whole of a doubling step.
pub(crate) fn pause(n: u32, random: u128) -> Duration {
    jittered(PAUSE_MIN.saturating_mul(1 << n.min(10)).min(PAUSE_MAX), random)
}

/// Between a half of `d` and `d`.
pub(crate) fn jittered(d: Duration, random: u128) -> Duration {
    let half = d / 2;
    let span = u128::from(u64::try_from(half.as_micros()).unwrap_or(u64::MAX)) + 1;
    half + Duration::from_micros(u64::try_from(random % span).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keys::random;

    #[test]
    fn a_tenth_on_top_of_the_first_sends() {
        let budget = Budget::new();
        let saved = (0..1_000).filter(|_| budget.spend()).count();
        assert_eq!(saved, 100, "what was saved up");
        (0..95).for_each(|_| budget.earn());
        assert_eq!((0..100).filter(|_| budget.spend()).count(), 9, "ten first sends earn one repeat");
    }

    #[test]
    fn pauses_grow_to_a_bound_and_vary() {
        for n in 0..40 {
            let whole = PAUSE_MIN.saturating_mul(1 << n.min(10)).min(PAUSE_MAX);
            let p = pause(n, random());
            assert!(p >= whole / 2 && p <= whole, "{n}: {p:?}");
        }
        let some: std::collections::BTreeSet<Duration> = (0..50).map(|_| pause(5, random())).collect();
        assert!(some.len() > 10, "clients do not come back all at once");
    }
}
