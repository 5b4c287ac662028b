//! The rate at which a caller may ask, over all its connections: a bucket that is one number, so that threads share it
//! without a lock (the generic cell rate algorithm, ITU-T I.371).

use core::sync::atomic::{AtomicU64, Ordering};

/// The highest rate that can be set, in requests a second: beyond it a bucket would be too coarse.
pub const RATE_MAX: u32 = 10_000_000;

/// How many requests a second, and how many at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate {
    /// Requests a second, 1 to [`RATE_MAX`].
    pub per_second: u32,
    /// Requests at once, from 1.
    pub burst: u32,
}

impl Rate {
    fn interval_ns(self) -> u64 {
        1_000_000_000 / u64::from(self.per_second.clamp(1, RATE_MAX))
    }
}

/// Whether a kind of frame counts. What settles or undoes a payment, and what asks about one's own key, never waits for a
/// rate: it is the way out of what went wrong.
#[must_use]
#[inline]
pub const fn is_rated(kind: u8) -> bool {
    !matches!(kind, 8..=10 | 12 | 25 | 64..=68 | 80)
}

/// When the caller will have used up what it asked for, in ns of a clock that does not go back.
#[derive(Debug, Default)]
pub struct Bucket(AtomicU64);

impl Bucket {
    /// Takes one request at `now`, in ns. Otherwise says after how many ns there is room for one.
    #[inline]
    pub fn take(&self, rate: Rate, now: u64) -> Result<(), u64> {
        let interval = rate.interval_ns();
        let most = interval.saturating_mul(u64::from(rate.burst.max(1)));
        let take = |used_up: u64| {
            let next = used_up.max(now).saturating_add(interval);
            (next - now <= most).then_some(next)
        };
        match self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, take) {
            Ok(_) => Ok(()),
            Err(_) => Err(self.room_after(rate, now)),
        }
    }

    /// After how many ns from `now` on there is room for one request.
    #[must_use]
    pub fn room_after(&self, rate: Rate, now: u64) -> u64 {
        let interval = rate.interval_ns();
        let most = interval.saturating_mul(u64::from(rate.burst.max(1)));
        self.0.load(Ordering::Relaxed).saturating_add(interval).saturating_sub(now).saturating_sub(most)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const S: u64 = 1_000_000_000;

    #[test]
    fn a_burst_and_then_the_rate() {
        let (bucket, rate) = (Bucket::default(), Rate { per_second: 10, burst: 3 });
        let mut now = 5 * S;
        let taken = |now| bucket.take(rate, now);
        assert_eq!([taken(now), taken(now), taken(now)], [Ok(()); 3]);
        let Err(wait) = taken(now) else { panic!("the burst is used up") };
        assert_eq!(wait, S / 10);
        assert!(taken(now + wait - 1).is_err(), "not before");
        assert_eq!(taken(now + wait), Ok(()));
        assert!(taken(now + wait).is_err(), "one at a time");
        now += 100 * S;
        assert_eq!((0..10).filter(|_| taken(now).is_ok()).count(), 3, "rest is no credit beyond the burst");
        let granted = (0..1_000).filter(|i| taken(now + i * S / 100).is_ok()).count();
        assert!((99..=100).contains(&granted), "ten seconds at ten a second: {granted}");
    }

    #[test]
    fn threads_share_what_there_is() {
        let (bucket, rate) = (Bucket::default(), Rate { per_second: 1, burst: 1_000 });
        let granted: usize = std::thread::scope(|s| {
            let take = || (0..1_000).filter(|_| bucket.take(rate, S).is_ok()).count();
            let threads: Vec<_> = (0..4).map(|_| s.spawn(take)).collect();
            threads.into_iter().map(|t| t.join().expect("it ends")).sum()
        });
        assert_eq!(granted, 1_000);
    }

    #[test]
    fn the_ends_of_the_clock_are_no_panic() {
        for (per_second, burst) in [(0, 0), (1, u32::MAX), (RATE_MAX, u32::MAX), (u32::MAX, 1)] {
            let bucket = Bucket::default();
            for now in [0, u64::MAX, 0, u64::MAX / 2] {
                let _ = bucket.take(Rate { per_second, burst }, now);
            }
        }
    }
}
