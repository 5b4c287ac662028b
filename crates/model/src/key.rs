//! The idempotency key: a UUIDv7, made by the caller once per customer's decision and stored before the first send.

use crate::Timestamp;
use core::fmt;

/// 16 bytes, time-ordered: the first 48 bits are milliseconds since 1970 (RFC 9562, section 5.7).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Key([u8; 16]);

impl Key {
    /// Absent.
    pub const NONE: Self = Self([0; 16]);

    /// From its bytes, whatever they are; [`Key::created_at`] tells whether it is a UUIDv7.
    #[must_use]
    #[inline]
    pub const fn from_bytes(b: [u8; 16]) -> Self {
        Self(b)
    }

    /// A key made at `at` from 74 random bits (the rest of `random` is not used).
    #[must_use]
    pub fn new(at: Timestamp, random: u128) -> Self {
        let ms = (at.micros() / 1000).max(0) as u64;
        let mut b = random.to_le_bytes();
        b[..6].copy_from_slice(&ms.to_be_bytes()[2..]);
        b[6] = 0x70 | (b[6] & 0x0F);
        b[8] = 0x80 | (b[8] & 0x3F);
        Self(b)
    }

    /// Its bytes.
    #[must_use]
    #[inline]
    pub const fn bytes(&self) -> &[u8; 16] {
        &self.0
    }

    /// When it was made; nothing when it is not a UUIDv7.
    #[must_use]
    #[inline]
    pub fn created_at(&self) -> Option<Timestamp> {
        if self.0[6] >> 4 != 7 || self.0[8] >> 6 != 0b10 {
            return None;
        }
        let mut ms = [0u8; 8];
        ms[2..].copy_from_slice(&self.0[..6]);
        let ms = i64::try_from(u64::from_be_bytes(ms)).ok()?;
        Some(Timestamp::from_micros(ms.checked_mul(1000)?))
    }

    /// The key under which an advice is kept beside another decision: the same 122 bits as a UUIDv8, which no caller can
    /// use. Of a key that is no UUIDv7 it is nothing that is ever asked for.
    #[must_use]
    pub const fn beside(mut self) -> Self {
        self.0[6] = 0x80 | (self.0[6] & 0x0F);
        self
    }

    /// From the usual text form, with or without hyphens.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let mut b = [0u8; 16];
        let mut n = 0;
        for c in text.chars().filter(|c| *c != '-') {
            let d = c.to_digit(16)? as u8;
            *b.get_mut(n / 2)? |= if n % 2 == 0 { d << 4 } else { d };
            n += 1;
        }
        (n == 32).then_some(Self(b))
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, b) in self.0.iter().enumerate() {
            if matches!(i, 4 | 6 | 8 | 10) {
                f.write_str("-")?;
            }
            write!(f, "{b:02x}")?;
        }
        Ok(())
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Key({self})")
    }
}
