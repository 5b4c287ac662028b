//! When payments are due: an endless clock over the phases of a scenario, seeded.

use crate::scenario::{Arrivals, Phase};
use rand::SeedableRng;
use rand::rngs::SmallRng;
use rand_distr::{Distribution, Exp1};

const NANOS: f64 = 1e9;

/// The instants at which one thread's payments are due, in ns from the beginning of the load.
#[derive(Debug)]
pub struct Schedule {
    phases: Vec<Phase>,
    /// Threads that share the rate.
    threads: f64,
    random: SmallRng,
    /// The phase, and when it began, in ns.
    phase: usize,
    began: f64,
    next: f64,
}

impl Schedule {
    /// Of thread `thread` of `threads`.
    #[must_use]
    pub fn new(phases: &[Phase], threads: usize, thread: usize, seed: u64) -> Self {
        let mut s = Self {
            phases: phases.to_vec(),
            threads: threads as f64,
            random: SmallRng::seed_from_u64(seed ^ (thread as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15)),
            phase: 0,
            began: 0.0,
            next: 0.0,
        };
        // Threads at a constant rate take turns.
        s.advance(thread as f64 / threads as f64);
        s
    }

    /// When the next payment is due, if it is by `at`; in a closed loop it always is.
    #[must_use]
    #[inline]
    pub fn due(&mut self, at: u64) -> Option<u64> {
        loop {
            let p = self.phases.get(self.phase)?;
            let at_f = at as f64;
            match p.arrivals {
                Arrivals::Closed if at_f >= self.began + p.seconds * NANOS => self.next_phase(1.0),
                Arrivals::Closed => return (at_f >= self.began).then_some(at),
                _ => return (self.next as u64 <= at).then_some(self.next as u64),
            }
        }
    }

    /// Nothing is due any more.
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.phase >= self.phases.len()
    }

    /// Goes on to the payment after it.
    #[inline]
    pub fn advance_one(&mut self) {
        self.advance(1.0);
    }

    /// By so many mean distances, where they are equal.
    fn advance(&mut self, constant: f64) {
        let Some(p) = self.phases.get(self.phase) else { return };
        let length = p.seconds * NANOS;
        let passed = ((self.next - self.began) / length).clamp(0.0, 1.0);
        let rate = (p.rate + (p.to.unwrap_or(p.rate) - p.rate) * passed) / self.threads;
        let distances = match p.arrivals {
            Arrivals::Constant => constant,
            Arrivals::Poisson => Exp1.sample(&mut self.random),
            Arrivals::Closed => return,
        };
        self.next += distances * NANOS / rate;
        if self.next >= self.began + length {
            self.next_phase(constant);
        }
    }

    /// What is left of a distance belongs to another rate: the next phase begins with its own.
    fn next_phase(&mut self, constant: f64) {
        let Some(p) = self.phases.get(self.phase) else { return };
        self.began += p.seconds * NANOS;
        self.phase += 1;
        self.next = self.began;
        self.advance(constant);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn phase(seconds: f64, rate: f64, to: Option<f64>, arrivals: Arrivals) -> Phase {
        Phase { seconds, rate, to, arrivals }
    }

    fn all(phases: &[Phase], threads: usize) -> Vec<u64> {
        let of = |t| {
            let mut s = Schedule::new(phases, threads, t, 7);
            let mut all = Vec::new();
            while let Some(due) = s.due(u64::MAX) {
                all.push(due);
                s.advance_one();
            }
            assert!(all.is_sorted());
            all
        };
        (0..threads).flat_map(of).collect()
    }

    #[test]
    fn as_many_are_due_as_the_rate_says_however_many_threads_share_it() {
        for threads in [1, 2, 3] {
            for arrivals in [Arrivals::Constant, Arrivals::Poisson] {
                let n = all(&[phase(2.0, 50_000.0, None, arrivals)], threads).len() as f64;
                // Four standard deviations of a Poisson count.
                assert!((n - 100_000.0).abs() < 4.0 * 100_000f64.sqrt(), "{threads} threads, {arrivals:?}: {n}");
            }
        }
    }

    #[test]
    fn a_ramp_offers_the_mean_of_its_ends_and_a_step_changes_at_once() {
        let ramp = all(&[phase(2.0, 1_000.0, Some(9_000.0), Arrivals::Constant)], 1);
        assert!((ramp.len() as f64 - 10_000.0).abs() < 50.0, "{}", ramp.len());
        let first_half = ramp.iter().filter(|due| **due < 1_000_000_000).count() as f64;
        assert!((first_half - 3_000.0).abs() < 50.0, "{first_half}");
        let step = [phase(1.0, 1_000.0, None, Arrivals::Constant), phase(1.0, 20_000.0, None, Arrivals::Constant)];
        let due = all(&step, 1);
        assert_eq!(due.iter().filter(|d| **d < 1_000_000_000).count(), 1_000);
        assert!((19_990..=20_000).contains(&due.iter().filter(|d| **d >= 1_000_000_000).count()));
    }

    #[test]
    fn a_closed_loop_has_always_one_more_for_as_long_as_it_lasts() {
        let open = |rate| phase(1.0, rate, None, Arrivals::Constant);
        let mut s = Schedule::new(&[open(1.0), phase(1.0, 0.0, None, Arrivals::Closed), open(2.0)], 1, 0, 7);
        assert_eq!(s.due(0), Some(0));
        s.advance_one();
        assert_eq!(s.due(999_999_999), None, "the open phase had its one");
        for at in [1_000_000_000, 1_000_000_000, 1_999_999_999] {
            assert_eq!(s.due(at), Some(at));
            s.advance_one();
        }
        assert_eq!((s.due(2_000_000_001), s.is_over()), (None, false));
        assert_eq!(s.due(3_000_000_000), Some(2_500_000_000));
        s.advance_one();
        assert!(s.is_over());
    }

    #[test]
    fn customers_come_independently_of_each_other() {
        let due = all(&[phase(10.0, 10_000.0, None, Arrivals::Poisson)], 1);
        let distances: Vec<f64> = due.windows(2).map(|w| (w[1] - w[0]) as f64).collect();
        let mean = distances.iter().sum::<f64>() / distances.len() as f64;
        let deviation = (distances.iter().map(|d| (d - mean).powi(2)).sum::<f64>() / distances.len() as f64).sqrt();
        assert!((deviation / mean - 1.0).abs() < 0.05, "an exponential distribution's deviation is its mean");
    }
}
