//! The wall clock as far as it is followed: as long as it goes like the monotonic one. After a step it is not, and time
//! goes on as if there had been none: a wrong clock must not expire every coupon (D7).
//!
//! ```text
//! trusted ──the two part by more than STEP between two looks──▶ suspect ──they agree again──▶ trusted
//! ```
//!
//! Slewing is followed: it is far below the bound between two looks, and somebody looks at least ten times a second.
//! Time never goes back, nor does it stand still, which would be as bad: what is received would count as received earlier
//! than it was, and be past its deadline. Where the wall clock is behind by no step, time goes on more slowly until it has
//! caught up.
//! A suspect clock stays so until it is right again, or an operator vouches for it. A new start has no earlier look; it
//! has the time of the log, behind which no clock can be.

use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};

/// A wall clock that moved so much more or less than the monotonic one has stepped, in µs.
const STEP_US: i64 = 5_000_000;

/// Of so much time one part is left out while the wall clock is behind: five seconds are caught up in 100.
const SLOWED: i64 = 20;

/// How far what is followed is ahead of the monotonic clock, and whether the wall clock still agrees.
#[derive(Debug)]
pub struct Steady {
    offset_us: AtomicI64,
    suspect: AtomicBool,
    /// The monotonic clock when the wall clock was not behind, or was last waited for.
    waited_at_us: AtomicI64,
    /// The latest time that was told.
    told_us: AtomicI64,
}

impl Steady {
    /// From what both clocks say, in µs.
    #[must_use]
    pub fn new(wall_us: i64, monotonic_us: i64) -> Self {
        let offset_us = wall_us.saturating_sub(monotonic_us);
        Self {
            offset_us: AtomicI64::new(offset_us),
            suspect: AtomicBool::new(false),
            waited_at_us: AtomicI64::new(monotonic_us),
            told_us: AtomicI64::new(i64::MIN),
        }
    }

    /// A log is found that already says `logged_us`: where that is ahead of what is followed, time goes on from the log's.
    /// Where it is ahead by more than a step, the wall clock is suspect.
    pub fn not_before(&self, logged_us: i64, wall_us: i64, monotonic_us: i64) {
        let now = self.look(wall_us, monotonic_us);
        if now < logged_us {
            self.offset_us.store(logged_us.saturating_sub(monotonic_us), Ordering::Relaxed);
            self.suspect.store(now < logged_us.saturating_sub(STEP_US), Ordering::Relaxed);
        }
    }

    /// Follows the wall clock as it is now, because somebody vouches for it. False where it is so far behind that time
    /// would stand still until it caught up: no request would be in time.
    pub fn trust(&self, wall_us: i64, monotonic_us: i64) -> bool {
        let expected = self.expected(monotonic_us);
        let follows = wall_us >= expected.saturating_sub(STEP_US);
        if follows {
            // What is behind by less is caught up by and by.
            if wall_us > expected {
                self.offset_us.store(wall_us.saturating_sub(monotonic_us), Ordering::Relaxed);
            }
            self.suspect.store(false, Ordering::Relaxed);
        }
        follows
    }

    /// True while the wall clock is not followed.
    #[must_use]
    pub fn is_suspect(&self) -> bool {
        self.suspect.load(Ordering::Relaxed)
    }

    /// What time it is if nothing stepped.
    fn expected(&self, monotonic_us: i64) -> i64 {
        monotonic_us.saturating_add(self.offset_us.load(Ordering::Relaxed))
    }

    /// What time it is, by what the two clocks say; never earlier than it was. Several threads may look at once: each of
    /// them is right.
    pub fn look(&self, wall_us: i64, monotonic_us: i64) -> i64 {
        let expected = self.expected(monotonic_us);
        let stepped = wall_us.saturating_sub(expected).saturating_abs() > STEP_US;
        if self.suspect.load(Ordering::Relaxed) != stepped {
            self.suspect.store(stepped, Ordering::Relaxed);
        }
        let now = if stepped { expected } else { self.follow(wall_us, monotonic_us, expected) };
        now.max(self.told_us.fetch_max(now, Ordering::Relaxed))
    }

    /// Follows the wall clock: at once where it is ahead, and as far as time goes on where it is behind.
    fn follow(&self, wall_us: i64, monotonic_us: i64, expected: i64) -> i64 {
        let waits = wall_us < expected;
        let since = monotonic_us.saturating_sub(self.waited_at_us.load(Ordering::Relaxed)).max(0);
        if waits && since < SLOWED {
            return expected;
        }
        let now = if waits { wall_us.max(expected.saturating_sub(since / SLOWED)) } else { wall_us };
        self.waited_at_us.store(monotonic_us, Ordering::Relaxed);
        self.offset_us.store(now.saturating_sub(monotonic_us), Ordering::Relaxed);
        now
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
                (false, wall.max(log)),
                "how long it was down nobody can tell, and it was not before the log's end"
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

    /// From a wall clock that is behind by less than a step, looked at every so often: until when it is caught up.
    fn caught_up(clock: &Steady, mut wall: i64, mut monotonic: i64, every: i64) -> i64 {
        let mut before = clock.look(wall, monotonic);
        assert!(before > wall);
        while before > wall {
            (wall, monotonic) = (wall + every, monotonic + every);
            let now = clock.look(wall, monotonic);
            assert!(!clock.is_suspect());
            let went = now - before;
            assert!((every - every / SLOWED - 1..=every).contains(&went), "{went} of {every}");
            before = now;
        }
        monotonic
    }

    #[test]
    fn time_goes_on_a_little_slower_until_a_clock_that_was_put_back_a_little_has_caught_up() {
        const BACK: i64 = 4_500_000;
        for every in [20, 1_000, 100_000] {
            let clock = Steady::new(1_000 * DAY, 0);
            // What went before is no time in which it was waited for.
            assert_eq!(clock.look(1_001 * DAY, DAY), 1_001 * DAY);
            assert_eq!(clock.look(1_001 * DAY - BACK, DAY), 1_001 * DAY);
            let took = caught_up(&clock, 1_001 * DAY - BACK, DAY, every) - DAY;
            assert!((0..=every).contains(&(took - BACK * SLOWED)), "{took}");
            let now = 1_001 * DAY - BACK + took;
            assert_eq!(clock.look(now + 7, DAY + took + 7), now + 7, "and then as it goes");
        }
    }

    #[test]
    fn neither_an_operator_nor_a_start_puts_time_back() {
        let clock = Steady::new(1_000 * DAY, 0);
        clock.look(1_000 * DAY + 2 * STEP_US, 0);
        assert!(clock.is_suspect());
        assert!(clock.trust(1_000 * DAY - STEP_US, 0), "it is hardly behind");
        assert_eq!(clock.look(1_000 * DAY - STEP_US, 0), 1_000 * DAY);
        assert_eq!(caught_up(&clock, 1_000 * DAY - STEP_US, 0, 1_000), STEP_US * SLOWED);

        let clock = Steady::new(1_000 * DAY - STEP_US, 0);
        clock.not_before(1_000 * DAY, 1_000 * DAY - STEP_US, 0);
        assert_eq!(caught_up(&clock, 1_000 * DAY - STEP_US, 0, 1_000), STEP_US * SLOWED);
    }

    #[test]
    fn who_looks_late_is_told_no_earlier_time_than_another_was_before() {
        let clock = Steady::new(1_000 * DAY, 0);
        assert_eq!(clock.look(1_000 * DAY + 500, 500), 1_000 * DAY + 500);
        assert_eq!(clock.look(1_000 * DAY + 100, 100), 1_000 * DAY + 500);
    }

    #[test]
    fn no_clock_is_too_far_off() {
        for wall in [i64::MIN, 0, i64::MAX] {
            for monotonic in [0, i64::MAX] {
                let clock = Steady::new(wall, monotonic);
                for (other, later) in [(i64::MIN, i64::MAX), (i64::MAX, 0), (0, i64::MAX), (wall, monotonic)] {
                    clock.look(other, later);
                    clock.trust(other, later);
                    clock.not_before(other, wall, later);
                }
            }
        }
    }
}
