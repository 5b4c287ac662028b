//! When those who were refused come back.

use crate::degrade::Cause;
use crate::message::Waiter;
use tegata_model::{Code, mix};

/// Told to whoever is refused because the server stops, in ms.
const RETRY_DRAINING_MS: u32 = 250;

/// What the refused are told, in ms; 0: not said. Each is told another time, up to half more: those who were refused together
/// would otherwise come back together.
#[must_use]
#[inline]
pub fn retry_after_ms(code: Code, waiter: Waiter) -> u32 {
    match retry_base_ms(code) {
        0 => 0,
        base => spread(base, waiter),
    }
}

/// A wait, and up to half more: another one for each who waits.
#[must_use]
pub fn spread(base_ms: u32, waiter: Waiter) -> u32 {
    let of_32_bits = mix(waiter.connection, waiter.request) >> 32;
    let more = (of_32_bits * (u64::from(base_ms) / 2 + 1)) >> 32;
    base_ms.saturating_add(more as u32)
}

fn retry_base_ms(code: Code) -> u32 {
    match code {
        Code::Draining => RETRY_DRAINING_MS,
        Code::Overloaded => Cause::QueueDelay.row().retry_after_ms,
        Code::MemoryLimit => Cause::Memory.row().retry_after_ms,
        Code::DiskFull => Cause::JournalSpace.row().retry_after_ms,
        Code::JournalSlow => Cause::JournalLatency.row().retry_after_ms,
        _ => 0,
    }
}
