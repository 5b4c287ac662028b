//! Numbers from a seed. Each part of a world draws from a stream of its own, so that leaving one part out does not change
//! what the others draw.

use tegata_model::{hash_bytes, mix};

/// A stream of numbers.
#[derive(Debug, Clone)]
pub struct Random(u64);

impl Random {
    /// The stream of this name in the world of this seed.
    #[must_use]
    pub fn new(seed: u64, name: &str) -> Self {
        Self(mix(seed, hash_bytes(seed, name.as_bytes())))
    }

    /// The next number.
    pub fn number(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        mix(self.0, self.0.rotate_left(32))
    }

    /// 128 bits.
    pub fn wide(&mut self) -> u128 {
        u128::from(self.number()) << 64 | u128::from(self.number())
    }

    /// Below `n`; 0 where `n` is.
    pub fn below(&mut self, n: u64) -> u64 {
        ((u128::from(self.number()) * u128::from(n)) >> 64) as u64
    }

    /// From `low` to `high`, both included.
    pub fn between(&mut self, low: u64, high: u64) -> u64 {
        low + self.below(high.saturating_sub(low) + 1)
    }

    /// True so many times in a thousand.
    pub fn chance(&mut self, per_mille: u64) -> bool {
        self.below(1_000) < per_mille
    }

    /// One of them.
    ///
    /// # Panics
    /// When there are none.
    pub fn pick<'a, T>(&mut self, of: &'a [T]) -> &'a T {
        &of[self.below(of.len() as u64) as usize]
    }

    /// Mostly near `low`, now and then up to `high`: every power of two between them is as likely as the next.
    pub fn spread(&mut self, low: u64, high: u64) -> u64 {
        let (from, to) = (low.max(1).ilog2(), high.max(1).ilog2());
        let top = 1u64 << self.between(u64::from(from), u64::from(to.max(from)));
        self.between(top, top * 2 - 1).clamp(low, high)
    }
}
