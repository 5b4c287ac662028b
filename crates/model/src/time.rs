//! Instants and positions. Both are given, never taken: this crate knows no clock.

/// Microseconds since 1970-01-01T00:00:00Z. Expiry is exclusive: a lot is spendable while `now < expiry`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Timestamp(i64);

impl Timestamp {
    /// "Not given".
    pub const ZERO: Self = Self(0);
    /// Later than anything.
    pub const MAX: Self = Self(i64::MAX);

    /// From microseconds UTC.
    #[must_use]
    pub const fn from_micros(us: i64) -> Self {
        Self(us)
    }

    /// Microseconds UTC.
    #[must_use]
    pub const fn micros(self) -> i64 {
        self.0
    }

    /// True when it stands for "not given".
    #[must_use]
    pub const fn is_zero(self) -> bool {
        self.0 == 0
    }

    /// Later by `seconds`, saturating at the ends of time.
    #[must_use]
    pub const fn plus_seconds(self, seconds: u64) -> Self {
        let us = if seconds > (i64::MAX as u64) / 1_000_000 { i64::MAX } else { (seconds as i64) * 1_000_000 };
        Self(self.0.saturating_add(us))
    }

    /// Later by `millis`, saturating.
    #[must_use]
    pub const fn plus_millis(self, millis: u64) -> Self {
        let us = if millis > (i64::MAX as u64) / 1_000 { i64::MAX } else { (millis as i64) * 1_000 };
        Self(self.0.saturating_add(us))
    }

    /// Earlier by `micros`, saturating.
    #[must_use]
    pub const fn minus_micros(self, micros: u64) -> Self {
        let us = if micros > i64::MAX as u64 { i64::MAX } else { micros as i64 };
        Self(self.0.saturating_sub(us))
    }

    /// Microseconds from `earlier` to here; 0 when `earlier` is later.
    #[must_use]
    pub const fn since(self, earlier: Self) -> u64 {
        let d = self.0.saturating_sub(earlier.0);
        if d < 0 { 0 } else { d as u64 }
    }
}

/// A place in the log: the first command has position 1; 0 is "before the log".
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Position(u64);

impl Position {
    /// Before the first command.
    pub const ZERO: Self = Self(0);

    /// From its number.
    #[must_use]
    pub const fn new(n: u64) -> Self {
        Self(n)
    }

    /// Its number.
    #[must_use]
    pub const fn get(self) -> u64 {
        self.0
    }

    /// The position after this one. Positions do not wrap: at a million a second, 2^64 lasts half a million years.
    #[must_use]
    pub const fn next(self) -> Self {
        Self(self.0 + 1)
    }
}
