//! What is there before, what customers ask for, and what the office does about it.

use super::{between, share, shares};
use serde::{Deserialize, Serialize};

/// The data set.
#[derive(Debug, Clone, Copy, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Data {
    /// Paper coupons.
    pub coupons: u32,
    /// App wallets.
    pub wallets: u32,
    /// Yen on each coupon and wallet.
    pub balance: u64,
    /// Shops.
    pub shops: u32,
    /// Exponent of a Zipf distribution over the coupons; 0: uniform.
    pub coupon_zipf: f64,
    /// Share of the payments that go to the hot shops, 0 to 1.
    pub hot_share: f64,
    /// How many shops are hot.
    pub hot_shops: u32,
    /// When all coupons expire, in ms from the beginning of the load; 0: never.
    pub expires_ms: u64,
}

impl Default for Data {
    fn default() -> Self {
        Self {
            coupons: 1_000_000,
            wallets: 0,
            balance: 100_000_000,
            shops: 500,
            coupon_zipf: 0.0,
            hot_share: 0.0,
            hot_shops: 1,
            expires_ms: 0,
        }
    }
}

impl Data {
    /// Coupons and wallets together.
    #[must_use]
    pub fn accounts(&self) -> u32 {
        self.coupons.saturating_add(self.wallets)
    }

    pub(super) fn check(&self) -> Result<(), String> {
        share("data.hot_share", self.hot_share)?;
        between("data.coupons", self.coupons as usize, 100_000_000)?;
        if self.wallets > 100_000_000 {
            return Err(format!("data.wallets is at most 100000000, not {}", self.wallets));
        }
        between("data.shops", self.shops as usize, 60_000)?;
        between("data.hot_shops", self.hot_shops as usize, self.shops as usize)?;
        if !(0.0..=10.0).contains(&self.coupon_zipf) {
            return Err(format!("data.coupon_zipf is from 0 to 10, not {}", self.coupon_zipf));
        }
        Ok(())
    }
}

/// What customers ask for: shares from 0 to 1. What is left are debits.
#[derive(Debug, Clone, Copy, Default, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Mix {
    /// Share that reserve the sum and have it captured, three quarters of it, as soon as the hold is approved.
    pub hold: f64,
    /// Share of the approved holds that are cancelled instead.
    pub void: f64,
    /// Share of paper coupons' customers that move the sum into a wallet.
    pub charge: f64,
    /// Share of wallets' customers that top it up by the sum.
    pub load: f64,
    /// Share of approved debits, half of which is refunded at once.
    pub refund: f64,
}

impl Mix {
    /// True when nothing else is asked for.
    #[must_use]
    pub fn is_of_debits(&self) -> bool {
        self.hold + self.charge + self.load == 0.0
    }

    pub(super) fn check(&self, data: &Data) -> Result<(), String> {
        shares([
            ("mix.hold", self.hold),
            ("mix.void", self.void),
            ("mix.charge", self.charge),
            ("mix.load", self.load),
            ("mix.refund", self.refund),
        ])?;
        if self.hold + self.charge.max(self.load) > 1.0 {
            return Err("mix.hold and mix.charge, or mix.load, are shares of the same: at most 1 together".to_owned());
        }
        if self.charge + self.load > 0.0 && data.wallets == 0 {
            return Err("mix.charge and mix.load need wallets: set data.wallets".to_owned());
        }
        Ok(())
    }
}

/// An extension of every coupon, by plan and apply.
#[derive(Debug, Clone, Copy, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Extend {
    /// When it is made, in ms from the beginning of the load.
    pub at_ms: u64,
    /// By how long, in ms.
    pub by_ms: u64,
}

impl Extend {
    pub(super) fn check(&self, data: &Data, end_ms: u64) -> Result<(), String> {
        if data.expires_ms == 0 {
            return Err("extend: no coupon expires; set data.expires_ms".to_owned());
        }
        if self.at_ms > end_ms {
            return Err(format!("extend comes after the load, which ends at {end_ms} ms"));
        }
        Ok(())
    }
}
