//! The one place where clocks are read. What it says is followed as [`Steady`] says.

use std::sync::LazyLock;
use std::sync::OnceLock;
#[cfg(feature = "faults")]
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Instant, SystemTime, UNIX_EPOCH};
use tegata_drive::Steady;
use tegata_model::Timestamp;

static START: LazyLock<Instant> = LazyLock::new(Instant::now);
static STEADY: OnceLock<Steady> = OnceLock::new();

/// Two clocks that are read further apart than this, in µs, were not read at one instant: the process stood still between.
const APART_US_MAX: i64 = 1_000;
/// How often they are read again.
const READS_MAX: u32 = 10;

fn read() -> (i64, i64) {
    let monotonic = || i64::try_from(START.elapsed().as_micros()).unwrap_or(i64::MAX);
    let wall = || {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let wall = i64::try_from(since.as_micros()).unwrap_or(i64::MAX);
        #[cfg(feature = "faults")]
        let wall = wall.saturating_add(STEPPED_US.load(Ordering::Relaxed));
        wall
    };
    at_once(wall, monotonic)
}

/// Reads both at one instant: a process that is stopped between the two and goes on later would see a step of the wall
/// clock, and the clock's breaker would stay latched until a human came.
fn at_once(mut wall: impl FnMut() -> i64, mut monotonic: impl FnMut() -> i64) -> (i64, i64) {
    let mut before = monotonic();
    for _ in 1..READS_MAX {
        let (now, after) = (wall(), monotonic());
        if after.saturating_sub(before) <= APART_US_MAX {
            return (now, before);
        }
        before = after;
    }
    (wall(), before)
}

/// How far tests have put the wall clock forward, in µs.
#[cfg(feature = "faults")]
static STEPPED_US: AtomicI64 = AtomicI64::new(0);

/// Puts the wall clock of this process forward by so many µs, or back. Only with the feature `faults`.
#[cfg(feature = "faults")]
pub fn step_wall(us: i64) {
    STEPPED_US.fetch_add(us, Ordering::Relaxed);
}

/// Microseconds UTC. What it says is handed on as a [`Timestamp`]; the node makes sure that logged time never goes back.
#[must_use]
pub fn now() -> Timestamp {
    let (wall, monotonic) = read();
    Timestamp::from_micros(STEADY.get_or_init(|| Steady::new(wall, monotonic)).look(wall, monotonic))
}

/// A log was found: see [`Steady::not_before`].
pub(crate) fn not_before(logged: Timestamp) {
    let (wall, monotonic) = read();
    STEADY.get_or_init(|| Steady::new(wall, monotonic)).not_before(logged.micros(), wall, monotonic);
}

/// True while the wall clock is not followed.
#[must_use]
pub fn is_suspect() -> bool {
    STEADY.get().is_some_and(Steady::is_suspect)
}

/// Follows the wall clock as it is now; see [`Steady::trust`].
pub(crate) fn trust() -> bool {
    let (wall, monotonic) = read();
    STEADY.get().is_none_or(|s| s.trust(wall, monotonic))
}

#[cfg(test)]
mod tests {
    use super::{READS_MAX, at_once};
    use std::cell::Cell;

    /// A process that is stopped for ten seconds before the n-th clock is read. What both say, and how many were read.
    fn read_with_a_stop(before: u32) -> ((i64, i64), u32) {
        const STOP_US: i64 = 10_000_000;
        let (reads, now) = (Cell::new(0), Cell::new(0));
        let look = || {
            if reads.replace(reads.get() + 1) == before {
                now.set(now.get() + STOP_US);
            }
            now.set(now.get() + 1);
            now.get()
        };
        let both = at_once(look, look);
        (both, reads.get())
    }

    #[test]
    fn a_stop_between_two_clocks_is_no_step() {
        for before in 0..4 {
            let ((wall, monotonic), reads) = read_with_a_stop(before);
            assert!((0..1_000).contains(&(wall - monotonic)), "stopped before read {before}: {wall}, {monotonic}");
            assert_eq!(reads, if (1..3).contains(&before) { 5 } else { 3 });
        }
    }

    #[test]
    fn a_machine_that_always_stands_still_is_read_all_the_same() {
        let mut now = 0;
        let mut late = || {
            now += 2_000;
            now
        };
        let mut reads = 0;
        let mut wall = || {
            reads += 1;
            0
        };
        at_once(&mut wall, &mut late);
        assert_eq!(reads, READS_MAX);
    }
}
