//! The 64 bytes of a batch that are the node's own: what it carries on, and the digest of an earlier position, so that
//! replay proves itself.
//!
//! ```text
//! 0 u64 delivered_to | 8 u64 digest position | 16 u128 digest | 32 u8 latched | 33 zero
//! ```

use crate::breakers::ALL_CAUSES;

/// What a node knows beside the state of its engine, and carries on through the log and its snapshots.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Carried {
    /// Every decision up to here was known to be delivered, or is logged as undelivered.
    pub delivered_to: u64,
    /// Breakers that were latched, and not for a drill: bit n is the cause with the number n.
    pub latched: u8,
}

/// The margin of a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Margin {
    /// As of the batch.
    pub carried: Carried,
    /// The position after which `digest` was taken.
    pub digest_position: u64,
    /// The engine's digest there.
    pub digest: u128,
}

impl Carried {
    /// Nothing when there is no such cause.
    #[must_use]
    pub const fn new(delivered_to: u64, latched: u8) -> Option<Self> {
        if latched & !ALL_CAUSES == 0 { Some(Self { delivered_to, latched }) } else { None }
    }
}

impl Margin {
    /// Its bytes.
    #[must_use]
    pub fn encode(&self) -> [u8; 64] {
        let mut b = [0; 64];
        b[..8].copy_from_slice(&self.carried.delivered_to.to_le_bytes());
        b[8..16].copy_from_slice(&self.digest_position.to_le_bytes());
        b[16..32].copy_from_slice(&self.digest.to_le_bytes());
        b[32] = self.carried.latched;
        b
    }

    /// From its bytes; nothing when reserved space is not zero.
    #[must_use]
    pub fn decode(b: &[u8; 64]) -> Option<Self> {
        let mut r = tegata_model::Reader::new(b);
        let (delivered_to, digest_position) = (r.u64().ok()?, r.u64().ok()?);
        let digest = u128::from_le_bytes(r.array().ok()?);
        let carried = Carried::new(delivered_to, r.u8().ok()?)?;
        r.rest_is_zero().then_some(Self { carried, digest_position, digest })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_margin_is_read_as_it_was_written_and_nothing_else_is() {
        let carried = Carried::new(7, ALL_CAUSES).expect("all causes");
        let margin = Margin { carried, digest_position: 5, digest: 3 };
        let bytes = margin.encode();
        assert_eq!(Margin::decode(&bytes), Some(margin));
        for at in 32..64 {
            let mut other = bytes;
            other[at] |= 0x80;
            assert_eq!(Margin::decode(&other), None, "byte {at}: no cause has this bit, or nothing may be here");
        }
    }
}
