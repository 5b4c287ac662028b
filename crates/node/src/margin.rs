//! The 64 bytes of a batch that are the node's own: how far deliveries were known, and the digest of an earlier
//! position, so that replay proves itself.
//!
//! ```text
//! 0 u64 delivered_to | 8 u64 digest position | 16 u128 digest | 32 zero
//! ```

/// The margin of a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Margin {
    /// Every decision up to here was known to be delivered, or is logged as undelivered.
    pub delivered_to: u64,
    /// The position after which `digest` was taken.
    pub digest_position: u64,
    /// The engine's digest there.
    pub digest: u128,
}

impl Margin {
    /// Its bytes.
    #[must_use]
    pub fn encode(&self) -> [u8; 64] {
        let mut b = [0; 64];
        b[..8].copy_from_slice(&self.delivered_to.to_le_bytes());
        b[8..16].copy_from_slice(&self.digest_position.to_le_bytes());
        b[16..32].copy_from_slice(&self.digest.to_le_bytes());
        b
    }

    /// From its bytes; nothing when reserved space is not zero.
    #[must_use]
    pub fn decode(b: &[u8; 64]) -> Option<Self> {
        let mut r = tegata_model::Reader::new(b);
        let (delivered_to, digest_position) = (r.u64().ok()?, r.u64().ok()?);
        let digest = u128::from_le_bytes(r.array().ok()?);
        r.rest_is_zero().then_some(Self { delivered_to, digest_position, digest })
    }
}
