//! Money: whole yen, checked arithmetic, no negatives.

/// A sum of yen: a balance or a total, 0 or more. All arithmetic is checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Yen(u64);

impl Yen {
    /// Nothing.
    pub const ZERO: Self = Self(0);

    /// From a number of yen.
    #[must_use]
    pub const fn new(yen: u64) -> Self {
        Self(yen)
    }

    /// The number of yen.
    #[must_use]
    pub const fn get(self) -> u64 {
        self.0
    }

    /// The sum, or nothing when it does not fit.
    #[must_use]
    pub const fn checked_add(self, other: Self) -> Option<Self> {
        match self.0.checked_add(other.0) {
            Some(v) => Some(Self(v)),
            None => None,
        }
    }

    /// The difference, or nothing when it would be negative.
    #[must_use]
    pub const fn checked_sub(self, other: Self) -> Option<Self> {
        match self.0.checked_sub(other.0) {
            Some(v) => Some(Self(v)),
            None => None,
        }
    }
}

impl core::fmt::Display for Yen {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        let digits = self.0.to_string();
        for (i, c) in digits.chars().enumerate() {
            if i > 0 && (digits.len() - i).is_multiple_of(3) {
                f.write_str(",")?;
            }
            write!(f, "{c}")?;
        }
        Ok(())
    }
}

/// What one operation moves: 1 … 999,999,999,999 yen (ISO 8583 field 4 has twelve digits).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Amount(u64);

impl Amount {
    /// The largest amount of one operation.
    pub const MAX: u64 = 999_999_999_999;

    /// From a number of yen in range.
    #[must_use]
    pub const fn new(yen: u64) -> Option<Self> {
        if yen == 0 || yen > Self::MAX { None } else { Some(Self(yen)) }
    }

    /// The number of yen.
    #[must_use]
    pub const fn get(self) -> u64 {
        self.0
    }

    /// As a sum.
    #[must_use]
    pub const fn yen(self) -> Yen {
        Yen(self.0)
    }
}
