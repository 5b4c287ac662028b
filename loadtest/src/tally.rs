//! What a thread of the generator counts, as a whole and second by second.

use crate::codes::class;
use crate::summary::Refusals;
use hdrhistogram::Histogram;
use std::sync::Mutex;
use tegata_model::Class;

const SECOND: u64 = 1_000_000_000;
/// The longest time that is told from longer ones, in ns: four times the longest deadline.
const LONGEST: u64 = 120 * SECOND;

/// What one second saw. `summary.rs` explains the fields.
#[derive(Debug, Clone)]
pub(crate) struct Tick {
    pub(crate) offered: u64,
    pub(crate) sent: u64,
    pub(crate) approved: u64,
    pub(crate) declined: u64,
    pub(crate) suspected: u64,
    pub(crate) rejected: u64,
    pub(crate) unanswered: u64,
    pub(crate) unknown: u64,
    pub(crate) refusals: Refusals,
    pub(crate) response: Histogram<u64>,
}

impl Default for Tick {
    fn default() -> Self {
        Self {
            offered: 0,
            sent: 0,
            approved: 0,
            declined: 0,
            suspected: 0,
            rejected: 0,
            unanswered: 0,
            unknown: 0,
            refusals: Refusals::default(),
            // Two digits: small enough to have one for each second.
            response: Histogram::new_with_bounds(1_000, LONGEST, 2).expect("fixed bounds"),
        }
    }
}

impl Tick {
    /// Adds another thread's.
    pub(crate) fn add(&mut self, o: &Self) {
        self.offered += o.offered;
        self.sent += o.sent;
        self.approved += o.approved;
        self.declined += o.declined;
        self.suspected += o.suspected;
        self.rejected += o.rejected;
        self.unanswered += o.unanswered;
        self.unknown += o.unknown;
        self.refusals.add(&o.refusals);
        // The bounds are equal: adding cannot fail.
        let _ = self.response.add(&o.response);
    }

    /// The counter of an answer with this code.
    pub(crate) fn of(&mut self, code: u16) -> &mut u64 {
        match class(code) {
            Some(Class::Approved) => &mut self.approved,
            Some(Class::Declined) => &mut self.declined,
            Some(Class::Suspected) => &mut self.suspected,
            _ => &mut self.rejected,
        }
    }
}

/// A histogram of ns from 1 µs to two minutes, to three digits.
pub(crate) fn histogram() -> Histogram<u64> {
    Histogram::new_with_bounds(1_000, LONGEST, 3).expect("fixed bounds")
}

/// Seconds that are over, of all threads together, for whoever watches.
pub(crate) type Seconds = Mutex<Vec<Tick>>;

/// What one thread did.
#[derive(Debug)]
pub(crate) struct Tally {
    /// The second that is not over yet, and its number.
    now: Tick,
    second: usize,
    /// From when a payment was due to its first definite answer, or until it was given up without one, ns.
    pub(crate) response: Histogram<u64>,
    /// From a send to its answer, ns.
    pub(crate) service: Histogram<u64>,
    /// From when a payment was due to its decision, ns.
    pub(crate) decided: Histogram<u64>,
    /// From a send to its refusal, ns.
    pub(crate) refusal: Histogram<u64>,
    pub(crate) offered: u64,
    pub(crate) sends: u64,
    pub(crate) repeated: u64,
    /// Payments with a definite answer within their deadline, and those of them that were decided.
    pub(crate) in_time: u64,
    pub(crate) decided_in_time: u64,
    /// Payments that were told anything in time, and those that the gateway itself refused.
    pub(crate) told: u64,
    pub(crate) held_back: u64,
    /// Payments that were sent late, or not at all, by the generator's own fault.
    pub(crate) late: u64,
    /// When it ended, in ns from the beginning of the load.
    pub(crate) ended_at: u64,
    /// Processor time that it used, and time in which it could have used it, in ns.
    pub(crate) cpu_nanos: u64,
    pub(crate) wall_nanos: u64,
}

impl Tally {
    pub(crate) fn new() -> Self {
        Self {
            now: Tick::default(),
            second: 0,
            response: histogram(),
            service: histogram(),
            decided: histogram(),
            refusal: histogram(),
            offered: 0,
            sends: 0,
            repeated: 0,
            in_time: 0,
            decided_in_time: 0,
            told: 0,
            held_back: 0,
            late: 0,
            ended_at: 0,
            cpu_nanos: 0,
            wall_nanos: 0,
        }
    }

    /// The second that `at` belongs to, in ns from the beginning; those before it are over.
    #[inline]
    pub(crate) fn tick(&mut self, at: u64, seconds: &Seconds) -> &mut Tick {
        if (at / SECOND) as usize > self.second {
            self.hand_over(seconds);
            self.second = (at / SECOND) as usize;
        }
        &mut self.now
    }

    /// A payment was due at `due`, which may be in a second that is over.
    #[inline]
    pub(crate) fn offer(&mut self, due: u64, seconds: &Seconds) {
        self.offered += 1;
        let second = (due / SECOND) as usize;
        if second == self.second {
            self.now.offered += 1;
        } else {
            second_of(&mut seconds.lock().expect("nobody panics with the seconds in hand"), second).offered += 1;
        }
    }

    /// Adds the second to those of all threads.
    pub(crate) fn hand_over(&mut self, seconds: &Seconds) {
        let tick = std::mem::take(&mut self.now);
        second_of(&mut seconds.lock().expect("nobody panics with the seconds in hand"), self.second).add(&tick);
    }
}

fn second_of(all: &mut Vec<Tick>, second: usize) -> &mut Tick {
    if all.len() <= second {
        all.resize_with(second + 1, Tick::default);
    }
    &mut all[second]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn threads_add_their_seconds() {
        let seconds = Seconds::default();
        for _ in 0..2 {
            let mut tally = Tally::new();
            for (at, n) in [(0, 1), (999_999_999, 2), (3 * SECOND, 4)] {
                *tally.tick(at, &seconds).of(161) += n;
            }
            tally.offer(SECOND, &seconds);
            tally.offer(3 * SECOND, &seconds);
            tally.hand_over(&seconds);
            assert_eq!(tally.offered, 2);
        }
        let all = seconds.lock().expect("no panic");
        assert_eq!(all.iter().map(|t| (t.offered, t.rejected)).collect::<Vec<_>>(), [(0, 6), (2, 0), (0, 0), (2, 8)]);
    }
}
