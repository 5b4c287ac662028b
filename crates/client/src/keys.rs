//! Keys: one per customer's decision, made and stored before the first send.

use std::time::{SystemTime, UNIX_EPOCH};
use tegata_model::{Key, Timestamp};

/// A fresh idempotency key: a UUIDv7 of now. Store it with what it is for before the first send.
///
/// # Panics
///
/// When the operating system has no randomness to give: two customers must never share a key.
#[must_use]
pub fn new_key() -> Key {
    Key::new(now(), random())
}

pub(crate) fn now() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp::from_micros(i64::try_from(since.as_micros()).unwrap_or(i64::MAX))
}

pub(crate) fn random() -> u128 {
    let mut b = [0; 16];
    getrandom::fill(&mut b).expect("the operating system has randomness");
    u128::from_le_bytes(b)
}
