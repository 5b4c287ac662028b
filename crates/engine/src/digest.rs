//! One number for all decisions: a wrapping sum of one 128-bit hash per decision, so that neither the number of
//! shards nor the order between them shows in it.

use crate::slots::Remembered;
use tegata_model::mix;

/// The hash of one decision.
#[inline]
pub fn of(d: &Remembered, related: u64) -> u128 {
    let k = d.key.bytes();
    let a = d.account.bytes();
    let (k0, k1) = halves(k);
    let (a0, a1) = halves(a);
    let id = mix(mix(k0, k1), mix(a0, a1) ^ u64::from(d.namespace.get()));
    let what = mix(d.position.get() ^ u64::from(d.code) << 56, d.amount ^ u64::from(d.kind) << 48);
    let when = mix(d.at.micros() as u64, d.balance ^ related.rotate_left(32));
    let low = mix(id ^ what, when ^ d.fingerprint);
    u128::from(low) | u128::from(mix(low ^ when, id)) << 64
}

#[inline]
fn halves(b: &[u8; 16]) -> (u64, u64) {
    let n = u128::from_le_bytes(*b);
    (n as u64, (n >> 64) as u64)
}
