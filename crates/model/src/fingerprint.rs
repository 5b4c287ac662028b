//! A fixed, seedless hash: the same bytes give the same number on every machine and in every version.
//!
//! It spreads keys over tables and tells payloads apart; it is not a signature. The multiply-fold step is the
//! well-known 64 × 64 → 128 bit product, folded.

use crate::record::encode_body;
use crate::{AccountId, Advice, Command, Operation, Purchase, PurchaseRecord, RECORD_BYTES_MAX, Writer};

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

impl Command {
    /// What this asks, as a number. See [`Fingerprint`].
    #[must_use]
    #[inline]
    pub fn fingerprint(&self) -> Fingerprint {
        // An advice tells of a debit: the late debit finds its decision.
        let kind = u64::from(if let Operation::Advice(_) = self.operation { 4 } else { self.operation.kind() });
        let h = mix(kind, hash_bytes(1, self.envelope.account.bytes()));
        Fingerprint(match &self.operation {
            Operation::Debit(p) | Operation::Advice(Advice { purchase: p, .. }) => purchase_print(h, p, 0),
            Operation::DebitConfirmed { purchase, seconds } | Operation::Hold { purchase, seconds } => {
                purchase_print(h, purchase, *seconds)
            }
            Operation::Fence => 0,
            other => {
                let mut body = Vec::with_capacity(RECORD_BYTES_MAX);
                encode_body(other, &mut Writer::new(&mut body));
                hash_bytes(h, &body)
            }
        })
    }
}

#[inline]
fn purchase_print(h: u64, p: &Purchase, seconds: u32) -> u64 {
    let h = hash_bytes(h, p.shop.bytes());
    let h = mix(h ^ u64::from_le_bytes(*p.terminal.bytes()), p.amount.get());
    mix(h, u64::from(seconds) << 1 | u64::from(p.partial))
}

impl PurchaseRecord {
    /// The same number as [`Command::fingerprint`] gives.
    #[must_use]
    #[inline]
    pub fn fingerprint(&self, account: &AccountId) -> u64 {
        let h = mix(u64::from(self.kind), hash_bytes(1, account.bytes()));
        purchase_print(h, &self.purchase, self.seconds)
    }
}
