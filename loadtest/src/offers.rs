//! What customers ask for: which account pays which shop how much, and what else they do. Seeded, with the mix and the
//! skew of the scenario; what comes back from the server changes none of it.

use crate::attempts::What;
use crate::scenario::{Data, Mix};
use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};
use rand_distr::{Distribution, Zipf};

/// What one customer asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Offer {
    /// A debit, a hold, a charge or a load.
    pub(crate) what: What,
    /// The account's number: paper coupons first, then wallets.
    pub(crate) account: u32,
    /// The shop's number; of a charge, the number of the wallet.
    pub(crate) shop: u32,
    /// Yen.
    pub(crate) amount: u64,
}

/// A stream of offers of one thread. Threads share the accounts out among themselves, so that each can give its accounts
/// another amount every time: the guard asks only where the scenario wants it to.
#[derive(Debug)]
pub(crate) struct Offers {
    data: Data,
    mix: Mix,
    random: SmallRng,
    zipf: Option<Zipf<f64>>,
    /// How often each of the thread's accounts was asked for something.
    times: Vec<u32>,
    threads: u32,
    thread: u32,
}

impl Offers {
    /// Of thread `thread` of `threads`.
    pub(crate) fn new(data: &Data, mix: &Mix, threads: usize, thread: usize, seed: u64) -> Self {
        let (threads, thread) = (threads as u32, thread as u32);
        let own = data.accounts().saturating_sub(thread).div_ceil(threads).max(1);
        let zipf = (data.coupon_zipf > 0.0).then(|| Zipf::new(f64::from(own), data.coupon_zipf).ok()).flatten();
        Self {
            data: *data,
            mix: *mix,
            random: SmallRng::seed_from_u64(seed.wrapping_add(1 + u64::from(thread))),
            zipf,
            times: vec![0; own as usize],
            threads,
            thread,
        }
    }

    /// The next one.
    #[inline]
    pub(crate) fn next(&mut self) -> Offer {
        let own = match &self.zipf {
            // Ranks begin at 1.
            Some(zipf) => (zipf.sample(&mut self.random) as usize - 1).min(self.times.len() - 1),
            None => self.random.random_range(0..self.times.len()),
        };
        self.times[own] = self.times[own].wrapping_add(1);
        let hot = self.data.hot_share > 0.0 && self.random.random::<f64>() < self.data.hot_share;
        let shops = if hot { self.data.hot_shops } else { self.data.shops };
        let account = own as u32 * self.threads + self.thread;
        let mut offer = Offer {
            what: What::Debit,
            account,
            shop: self.random.random_range(0..shops),
            amount: u64::from(self.times[own]),
        };
        if self.mix.is_of_debits() {
            return offer;
        }
        let Mix { charge, load, hold, .. } = self.mix;
        let is_wallet = account >= self.data.coupons;
        match self.random.random::<f64>() {
            x if x < hold => offer.what = What::Hold,
            // A wallet is topped up; the share of paper coupons is charged into one. Any wallet will do.
            x if x < hold + charge && !is_wallet => {
                offer.what = What::Charge;
                offer.shop = self.data.coupons + self.random.random_range(0..self.data.wallets);
            }
            x if x < hold + load && is_wallet => offer.what = What::Load,
            _ => {}
        }
        offer
    }
}

/// Decides what happens to a share of something, at random. It is not the customers' randomness: that must not depend on
/// what the server answers, and when.
#[derive(Debug)]
pub(crate) struct Chance(SmallRng);

impl Chance {
    /// Of one thread.
    pub(crate) fn new(seed: u64, thread: usize) -> Self {
        Self(SmallRng::seed_from_u64(seed.rotate_left(32) ^ thread as u64))
    }

    /// True for this share of the calls.
    #[inline]
    pub(crate) fn happens(&mut self, share: f64) -> bool {
        share > 0.0 && self.0.random::<f64>() < share
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn the_same_seed_gives_the_same_offers_and_no_two_are_alike() {
        let data = Data { coupons: 9, wallets: 2, shops: 3, hot_share: 0.5, ..Data::default() };
        let mix = Mix { charge: 0.2, load: 0.3, hold: 0.1, ..Mix::default() };
        let mut all = BTreeSet::new();
        for thread in 0..2 {
            let new = || Offers::new(&data, &mix, 2, thread, 9);
            let (mut a, mut b) = (new(), new());
            for _ in 0..5_000 {
                let o = a.next();
                assert_eq!(o, b.next());
                assert!(o.account < 11);
                assert!(all.insert((o.account, o.amount)), "the same account is asked for the same sum only once");
                match o.what {
                    What::Charge => assert!(o.account < 9 && (9..11).contains(&o.shop)),
                    What::Load => assert!(o.account >= 9),
                    _ => assert!(o.shop < 3),
                }
            }
        }
    }

    #[test]
    fn skew_and_mix_are_as_the_scenario_says() {
        let data = Data { coupons: 1_000, shops: 100, coupon_zipf: 1.0, hot_share: 0.9, ..Data::default() };
        let mix = Mix { hold: 0.25, ..Mix::default() };
        let mut offers = Offers::new(&data, &mix, 1, 0, 3);
        let (mut first, mut hot, mut holds) = (0, 0, 0);
        for _ in 0..100_000 {
            let o = offers.next();
            first += u32::from(o.account == 0);
            hot += u32::from(o.shop == 0);
            holds += u32::from(o.what == What::Hold);
        }
        // Zipf with exponent 1 over 1,000: the first has 1 / H(1000), 13.4 %.
        assert!((13_000..14_000).contains(&first), "{first}");
        assert!((90_000..90_500).contains(&hot), "{hot}");
        assert!((24_500..25_500).contains(&holds), "{holds}");
    }
}
