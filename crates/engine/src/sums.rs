//! What came in, what went out, and what is there: per programme and per shop. `issued + charged + reinstated +
//! shortfall = balances + spent − returned + expired + paid out`, at every position.

use crate::slab::Slot;

/// Sums of one programme, in yen. 128 bits: no sequence of valid amounts overflows them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Sums {
    /// Issued on paper.
    pub issued: u128,
    /// Loaded by cash or bank.
    pub charged: u128,
    /// Given back by the operator.
    pub reinstated: u128,
    /// On accounts, held value included.
    pub balances: u128,
    /// Taken by debits and captures.
    pub spent: u128,
    /// Given back by reversals and refunds.
    pub returned: u128,
    /// Expired and booked, or forfeited.
    pub expired: u128,
    /// Owed in cash.
    pub paid_out: u128,
    /// Spent under a lease, and not covered by the account: the programme owes it to the shops.
    pub shortfall: u128,
}

impl Sums {
    /// True when nothing was made or lost.
    #[must_use]
    pub fn conserved(&self) -> bool {
        self.issued + self.charged + self.reinstated + self.returned + self.shortfall
            == self.balances + self.spent + self.expired + self.paid_out
    }

    /// True when every sum is one that yen could have come to: what reads them from outside asks first.
    pub(crate) fn plausible(&self) -> bool {
        let Self { issued, charged, reinstated, balances, spent, returned, expired, paid_out, shortfall } = *self;
        [issued, charged, reinstated, balances, spent, returned, expired, paid_out, shortfall]
            .iter()
            .all(|n| *n < 1 << 112)
    }

    /// Adds another shard's.
    pub fn add(&mut self, o: &Self) {
        self.issued += o.issued;
        self.charged += o.charged;
        self.reinstated += o.reinstated;
        self.balances += o.balances;
        self.spent += o.spent;
        self.returned += o.returned;
        self.expired += o.expired;
        self.paid_out += o.paid_out;
        self.shortfall += o.shortfall;
    }

    /// Value leaves the accounts of this shard.
    #[inline]
    pub(crate) fn lower_balances(&mut self, yen: u64) {
        self.balances = self.balances.checked_sub(u128::from(yen)).expect("only what is on accounts leaves them");
    }

    /// Value leaves the accounts to a shop.
    #[inline]
    pub(crate) fn spend(&mut self, yen: u64) {
        self.lower_balances(yen);
        self.spent += u128::from(yen);
    }

    /// Spent value comes back to the accounts.
    #[inline]
    pub(crate) fn give_back(&mut self, yen: u64) {
        self.balances += u128::from(yen);
        self.returned += u128::from(yen);
    }

    /// What an account did not cover is not spent any more.
    pub(crate) fn lower_shortfall(&mut self, yen: u64) {
        self.shortfall = self.shortfall.checked_sub(u128::from(yen)).expect("only what was missing comes back");
        self.returned += u128::from(yen);
    }
}

/// What one shop took, in yen.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ShopSums {
    /// Debits and captures.
    pub spent: u64,
    /// Reversals and refunds.
    pub returned: u64,
    /// Debits and captures, counted.
    pub count: u64,
}

impl Slot for ShopSums {
    const WORDS: usize = 3;

    fn vacant(&self) -> bool {
        *self == Self::default()
    }

    fn put(&self, w: &mut Vec<u64>) {
        w.extend([self.spent, self.returned, self.count]);
    }

    fn take(w: &[u64]) -> Option<Self> {
        Some(Self { spent: w[0], returned: w[1], count: w[2] })
    }
}

impl ShopSums {
    /// Adds another shard's.
    pub fn add(&mut self, o: &Self) {
        self.spent = self.spent.saturating_add(o.spent);
        self.returned = self.returned.saturating_add(o.returned);
        self.count = self.count.saturating_add(o.count);
    }
}
