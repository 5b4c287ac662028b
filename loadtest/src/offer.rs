//! Which coupon pays which shop how much: seeded, with the skew of the scenario.

use crate::scenario::Data;
use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};
use rand_distr::{Distribution, Zipf};

/// What one payment is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Purchase {
    /// The coupon's number.
    pub coupon: u32,
    /// The shop's number.
    pub shop: u32,
    /// Yen.
    pub amount: u64,
}

/// A stream of purchases of one thread. Threads share the coupons out among themselves, so that each can give its
/// coupons another amount every time: the guard asks only where the scenario wants it to.
#[derive(Debug)]
pub struct Purchases {
    data: Data,
    random: SmallRng,
    zipf: Option<Zipf<f64>>,
    /// How often each of the thread's coupons has paid.
    times: Vec<u32>,
    threads: u32,
    thread: u32,
}

impl Purchases {
    /// Of thread `thread` of `threads`.
    #[must_use]
    pub fn new(data: &Data, threads: usize, thread: usize, seed: u64) -> Self {
        let own = data.coupons / threads as u32 + u32::from((thread as u32) < data.coupons % threads as u32);
        let zipf = (data.coupon_zipf > 0.0).then(|| Zipf::new(f64::from(own.max(1)), data.coupon_zipf).ok()).flatten();
        Self {
            data: *data,
            random: SmallRng::seed_from_u64(seed.wrapping_add(1 + thread as u64)),
            zipf,
            times: vec![0; own.max(1) as usize],
            threads: threads as u32,
            thread: thread as u32,
        }
    }

    /// The next one.
    #[inline]
    pub fn take(&mut self) -> Purchase {
        let own = match &self.zipf {
            // Ranks begin at 1; the most popular coupon is spread over the id space like any other.
            Some(zipf) => zipf.sample(&mut self.random) as usize - 1,
            None => self.random.random_range(0..self.times.len()),
        };
        let own = own.min(self.times.len() - 1);
        self.times[own] += 1;
        let hot = self.data.hot_share > 0.0 && self.random.random::<f64>() < self.data.hot_share;
        let shops = if hot { self.data.hot_shops } else { self.data.shops };
        Purchase {
            coupon: own as u32 * self.threads + self.thread,
            shop: self.random.random_range(0..shops),
            amount: u64::from(self.times[own]),
        }
    }

    /// True for this share of the calls.
    #[inline]
    pub fn happens(&mut self, share: f64) -> bool {
        share > 0.0 && self.random.random::<f64>() < share
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn the_same_seed_gives_the_same_purchases_and_no_two_are_alike() {
        let data = Data { coupons: 11, shops: 3, hot_share: 0.5, ..Data::default() };
        let mut all = BTreeSet::new();
        for thread in 0..2 {
            let (mut a, mut b) = (Purchases::new(&data, 2, thread, 9), Purchases::new(&data, 2, thread, 9));
            for _ in 0..5_000 {
                let p = a.take();
                assert_eq!(p, b.take());
                assert!(p.coupon < 11 && p.shop < 3);
                assert!(all.insert((p.coupon, p.amount)), "the same coupon pays the same sum only once");
            }
        }
    }

    #[test]
    fn skew_is_as_the_scenario_says() {
        let data = Data { coupons: 1_000, shops: 100, coupon_zipf: 1.0, hot_share: 0.9, ..Data::default() };
        let mut p = Purchases::new(&data, 1, 0, 3);
        let (mut first, mut hot) = (0, 0);
        for _ in 0..100_000 {
            let x = p.take();
            first += u32::from(x.coupon == 0);
            hot += u32::from(x.shop == 0);
        }
        // Zipf with exponent 1 over 1,000: the first has 1 / H(1000), 13.4 %.
        assert!((13_000..14_000).contains(&first), "{first}");
        assert!((90_000..90_500).contains(&hot), "{hot}");
    }
}
