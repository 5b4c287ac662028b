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

fn read() -> (i64, i64) {
    let monotonic = i64::try_from(START.elapsed().as_micros()).unwrap_or(i64::MAX);
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let wall = i64::try_from(since.as_micros()).unwrap_or(i64::MAX);
    #[cfg(feature = "faults")]
    let wall = wall.saturating_add(STEPPED_US.load(Ordering::Relaxed));
    (wall, monotonic)
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
