//! A fixed, seedless hash: the same bytes give the same number on every machine and in every version.
//!
//! It spreads keys over tables and tells payloads apart; it is not a signature. The multiply-fold step is the
//! well-known 64 × 64 → 128 bit product, folded.

/// Folds two words into one.
#[must_use]
#[inline]
pub const fn mix(a: u64, b: u64) -> u64 {
    let p = (a ^ 0x9E37_79B9_7F4A_7C15) as u128 * (b ^ 0xC2B2_AE3D_27D4_EB4F) as u128;
    (p as u64) ^ ((p >> 64) as u64)
}

/// Hash of bytes of any length.
#[must_use]
#[inline]
pub fn hash_bytes(seed: u64, bytes: &[u8]) -> u64 {
    let mut h = seed ^ (bytes.len() as u64).wrapping_mul(0xA076_1D64_78BD_642F);
    let mut chunks = bytes.chunks_exact(16);
    for c in &mut chunks {
        h = mix(h ^ word(&c[..8]), word(&c[8..]));
    }
    let rest = chunks.remainder();
    let (a, b) = rest.split_at(rest.len().min(8));
    mix(mix(h ^ word(a), word(b)), 0x2D35_8DCC_AA6C_78A5)
}

/// Up to eight bytes as a little-endian word.
#[inline]
fn word(b: &[u8]) -> u64 {
    if let Some(w) = b.first_chunk::<8>() {
        return u64::from_le_bytes(*w);
    }
    let mut w = [0u8; 8];
    w[..b.len()].copy_from_slice(b);
    u64::from_le_bytes(w)
}

/// What a request asks, as a number: operation, account, shop, terminal, amount and the flags that change the
/// effect. Times, repeat marks, the deadline and the duplicate token are left out, so that an honest repeat is
/// never a conflict.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fingerprint(pub u64);
