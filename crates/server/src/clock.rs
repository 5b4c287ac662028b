//! The one place where a clock is read. What it says is handed on as a [`Timestamp`]; the node makes sure that logged
//! time never goes back.

use std::time::{SystemTime, UNIX_EPOCH};
use tegata_model::Timestamp;

/// Microseconds UTC, as the machine has them.
#[must_use]
pub fn now() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp::from_micros(i64::try_from(since.as_micros()).unwrap_or(i64::MAX))
}
