//! What groups of codes mean for whoever asked; `docs/codes.md` has the codes.

use std::time::Duration;
use tegata_wire::DecisionBody;

/// "Unknown": the deadline has passed, and it may be decided yet.
pub(crate) const UNKNOWN: u16 = 140;
/// How long somebody waits who was refused and not told how long.
const AGAIN: Duration = Duration::from_millis(50);

/// Decided, and executed.
pub(crate) fn is_executed(code: u16) -> bool {
    code <= 9
}

/// Refused for now: nothing of this request was executed, and it may be tried again.
pub(crate) fn is_refused(code: u16) -> bool {
    (110..140).contains(&code)
}

/// How long to wait before a refused request is tried again.
pub(crate) fn again_after(d: &DecisionBody) -> Duration {
    match d.retry_after_ms {
        0 => AGAIN,
        ms => Duration::from_millis(u64::from(ms)),
    }
}
