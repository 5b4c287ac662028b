//! The wall clock as far as it is followed: as long as it goes like the monotonic one. After a step it is not, and time
//! goes on as if there had been none: a wrong clock must not expire every coupon (D7).
//!
//! ```text
//! trusted ──the two part by more than STEP between two looks──▶ suspect ──they agree again──▶ trusted
//! ```
//!
//! Slewing is followed: it is far below the bound between two looks, and somebody looks at least ten times a second.
//! A suspect clock stays so until it is right again, or an operator vouches for it. A new start has no earlier look; it
//! has the time of the log, behind which no clock can be.

use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};

/// A wall clock that moved so much more or less than the monotonic one has stepped, in µs.
const STEP_US: i64 = 5_000_000;

/// How far the wall clock is ahead of the monotonic one, and whether it still is.
#[derive(Debug)]
pub struct Steady {
    offset_us: AtomicI64,
    suspect: AtomicBool,
}

impl Steady {
    /// From what both clocks say, in µs.
    #[must_use]
    pub fn new(wall_us: i64, monotonic_us: i64) -> Self {
        let offset_us = wall_us.saturating_sub(monotonic_us);
        Self { offset_us: AtomicI64::new(offset_us), suspect: AtomicBool::new(false) }
    }

    /// A log is found that already says `logged_us`: where that is more than a step ahead of what is followed, time goes
    /// on from the log's, and the wall clock is suspect.
    pub fn not_before(&self, logged_us: i64, wall_us: i64, monotonic_us: i64) {
        if self.look(wall_us, monotonic_us) < logged_us.saturating_sub(STEP_US) {
            self.offset_us.store(logged_us.saturating_sub(monotonic_us), Ordering::Relaxed);
            self.suspect.store(true, Ordering::Relaxed);
        }
    }

    /// Follows the wall clock as it is now, because somebody vouches for it. False where it is so far behind that time
    /// would stand still until it caught up: no request would be in time.
    pub fn trust(&self, wall_us: i64, monotonic_us: i64) -> bool {
        let expected = monotonic_us.saturating_add(self.offset_us.load(Ordering::Relaxed));
        let follows = wall_us >= expected.saturating_sub(STEP_US);
        if follows {
            self.offset_us.store(wall_us.saturating_sub(monotonic_us), Ordering::Relaxed);
            self.suspect.store(false, Ordering::Relaxed);
        }
        follows
    }

    /// True while the wall clock is not followed.
    #[must_use]
    pub fn is_suspect(&self) -> bool {
        self.suspect.load(Ordering::Relaxed)
    }

    /// What time it is, by what the two clocks say. Several threads may look at once: each of them is right.
    pub fn look(&self, wall_us: i64, monotonic_us: i64) -> i64 {
        let expected = monotonic_us.saturating_add(self.offset_us.load(Ordering::Relaxed));
        let stepped = wall_us.saturating_sub(expected).saturating_abs() > STEP_US;
        if self.suspect.load(Ordering::Relaxed) != stepped {
            self.suspect.store(stepped, Ordering::Relaxed);
        }
        if stepped {
            return expected;
        }
        self.offset_us.store(wall_us.saturating_sub(monotonic_us), Ordering::Relaxed);
        wall_us
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: i64 = 86_400_000_000;

    #[test]
    fn a_step_is_not_followed_and_slewing_is() {
        let clock = Steady::new(1_000 * DAY, 7);
        let (mut wall, mut monotonic) = (1_000 * DAY, 7);
        // A day of slewing by 500 parts in a million, looked at every 100 ms.
        for _ in 0..864_000 {
            (wall, monotonic) = (wall + 100_050, monotonic + 100_000);
            assert_eq!(clock.look(wall, monotonic), wall);
        }
        for step in [STEP_US + 1, 40 * DAY, -STEP_US - 1, -40 * DAY] {
            assert_eq!(clock.look(wall + step, monotonic), wall, "as if there had been none");
            assert!(clock.suspect.load(Ordering::Relaxed));
            assert_eq!(clock.look(wall + step + 1_000, monotonic + 1_000), wall + 1_000, "time goes on");
            assert_eq!(clock.look(wall + 2_000, monotonic + 2_000), wall + 2_000);
            assert!(!clock.suspect.load(Ordering::Relaxed), "right again");
            (wall, monotonic) = (wall + 2_000, monotonic + 2_000);
        }
        assert_eq!(clock.look(wall + STEP_US, monotonic), wall + STEP_US, "what is within the bound is followed");
        assert_eq!(clock.look(i64::MAX, monotonic), wall + STEP_US);
        assert_eq!(clock.look(i64::MIN, monotonic), wall + STEP_US);
    }

    #[test]
    fn a_start_does_not_follow_a_clock_that_is_behind_the_log() {
        let log = 1_000 * DAY;
        let started = |wall| {
            let clock = Steady::new(wall, 7);
            clock.not_before(log, wall, 7);
            clock
        };
        for wall in [log - STEP_US, log, log + 40 * DAY] {
            let clock = started(wall);
            assert_eq!(
                (clock.is_suspect(), clock.look(wall, 7)),
                (false, wall),
                "how long it was down nobody can tell"
            );
        }
        let wall = log - STEP_US - 1;
        let clock = started(wall);
        assert!(clock.is_suspect());
        assert_eq!(clock.look(wall + 1_000, 1_007), log + 1_000, "time goes on");
        assert!(!clock.trust(wall + 1_000, 1_007), "it would stand still");
        assert_eq!(clock.look(log + 2_000, 2_007), log + 2_000);
        assert!(!clock.is_suspect(), "it was put right");
    }

    #[test]
    fn an_operator_vouches_for_a_clock_that_is_ahead_and_not_for_one_that_is_behind() {
        let clock = Steady::new(1_000 * DAY, 0);
        clock.look(1_000 * DAY - 2 * STEP_US, 0);
        assert!(!clock.trust(1_000 * DAY - 2 * STEP_US, 0), "time would stand still");
        assert!(clock.suspect.load(Ordering::Relaxed));
        assert!(clock.trust(1_001 * DAY, 0));
        assert_eq!(clock.look(1_001 * DAY + 7, 7), 1_001 * DAY + 7);
        assert!(!clock.suspect.load(Ordering::Relaxed));
    }
}
