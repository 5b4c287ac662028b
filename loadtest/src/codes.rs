//! What groups of codes mean for whoever asked; `docs/codes.md` has the codes.

use std::time::Duration;
use tegata_model::{Class, Code};
use tegata_wire::DecisionBody;

/// "Unknown": the deadline has passed, and it may be decided yet.
pub(crate) const UNKNOWN: u16 = 140;
/// How long somebody waits who was refused and not told how long.
const AGAIN: Duration = Duration::from_millis(50);

/// What kind of answer a code is; of one that this version does not know, nothing.
pub(crate) fn class(code: u16) -> Option<Class> {
    u8::try_from(code).ok().and_then(Code::from_u8).map(Code::class)
}

/// Decided, and executed.
pub(crate) fn is_executed(code: u16) -> bool {
    class(code) == Some(Class::Approved)
}

/// Refused for now: nothing of this request was executed, and it may be tried again.
pub(crate) fn is_refused(code: u16) -> bool {
    class(code) == Some(Class::NotExecuted)
}

/// Decided, or refused for good.
pub(crate) fn is_final(code: u16) -> bool {
    class(code).is_some_and(|class| !matches!(class, Class::NotExecuted | Class::Unknown))
}

/// How long to wait before a refused request is tried again.
pub(crate) fn again_after(d: &DecisionBody) -> Duration {
    match d.retry_after_ms {
        0 => AGAIN,
        ms => Duration::from_millis(u64::from(ms)),
    }
}
