//! What a gateway's client may approve by itself while it cannot reach the core (FIELD, stand-in).

/// Caps of a lease, and the most that a programme leases. The risk is theirs alone: balances are not reserved.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Allowance {
    /// Most yen of one payment.
    pub payment_max: u64,
    /// Most yen of one account.
    pub account_max: u64,
    /// Most yen of one shop.
    pub shop_max: u64,
    /// Most yen of all payments together; 0: no stand-in.
    pub total_max: u64,
    /// Seconds that a lease lives: most of what it can approve lies between its renewal and its end.
    pub seconds: u32,
}

impl Allowance {
    /// Nothing may be approved.
    pub const NONE: Self = Self { payment_max: 0, account_max: 0, shop_max: 0, total_max: 0, seconds: 0 };

    /// The caps of FIELD for `total_max` yen in all: 3,000 of one payment and of one account, ten times that of one shop,
    /// for an hour.
    #[must_use]
    pub const fn with_defaults(total_max: u64) -> Self {
        Self { payment_max: 3_000, account_max: 3_000, shop_max: 30_000, total_max, seconds: 3_600 }
    }

    /// True when it allows nothing.
    #[must_use]
    pub const fn is_none(&self) -> bool {
        self.payment_max == 0 || self.account_max == 0 || self.shop_max == 0 || self.total_max == 0 || self.seconds == 0
    }

    /// True when each of its caps is within the other's.
    #[must_use]
    pub const fn is_within(&self, most: &Self) -> bool {
        self.payment_max <= most.payment_max
            && self.account_max <= most.account_max
            && self.shop_max <= most.shop_max
            && self.total_max <= most.total_max
            && self.seconds <= most.seconds
    }
}
