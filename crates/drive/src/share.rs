//! Which part of its time a core applies while the queue stands. Where one thread does everything, whoever is to be refused
//! waits for a pass through all connections until it is read, and what is applied meanwhile makes the pass long:
//!
//! ```text
//! pass ──longer than it may be──▶ a smaller part is for applying
//!      ──shorter────────────────▶ a larger one
//! ```
//!
//! The more are refused the shorter it may be, until twice of what is done comes; beyond that visits of connections would take
//! all of the time. Where hardly anybody is refused passes are long, so that a crowd goes that can be served; where visits take
//! much of the time some stay all the same (the tests say which).

use std::time::Duration;

/// How long a pass may be where nobody is refused, in µs: half of the 50 ms within which 99 of 100 are to be answered.
const PASS_US_MAX: u64 = 25_000;
/// Where the share f is refused a pass may take [`PASS_US_MAX`] ÷ (1 + f × so much). Were it more, more crowds would stay that
/// could be served: what the visits of shorter passes cost would be refused instead.
const SHORTER: u64 = 20;
/// For every tenth of what is done that comes it may be so long at least, in µs: where far more comes, all of the time would
/// go into visits.
const PASS_US_PER_TENTH: u64 = 100;
/// And so long for every connection that is visited, in µs. A visit takes some 10 µs of a processor.
const VISIT_US: u64 = 150;
/// What a part is a part of.
const WHOLE: u32 = 1_024;
/// At least a fifth of the time is for applying and at most two thirds: the queue goes, and who waits is read. Of a turn that was
/// longer than a pass may be only as much counts.
const PART_MIN: u32 = WHOLE / 5;
const PART_MAX: u32 = WHOLE / 3 * 2;
/// At most one part of so many is lost and won in a turn: how long one pass was says little.
const LOSES: i64 = 8;
const WINS: i64 = 16;
/// With each turn one part of so many of what was lately is forgotten.
const LATELY: u64 = 16;

/// How many visits of connections brought what a turn took in, and the longest wait for one of them, in µs.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Visits {
    pub(crate) count: u64,
    pub(crate) waited_us: u64,
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Share {
    part: u32,
    /// How long a pass may be, in µs.
    may_us: u64,
    /// Of turns lately, the older the less: the µs they took, the visits, and the passes in µs.
    lately: [u64; 3],
}

impl Share {
    pub(crate) const fn new() -> Self {
        Self { part: PART_MAX, may_us: PASS_US_MAX, lately: [0; 3] }
    }

    /// How much of so long is for applying. What is longer than a pass may be is mostly a pause, which is not to be followed by
    /// another.
    pub(crate) fn of(&self, time: Duration) -> Duration {
        time.min(Duration::from_micros(self.may_us)) * self.part / WHOLE
    }

    /// A turn came `since_us` after the last one, with what was read meanwhile. So much comes, in tenths of what is done.
    pub(crate) fn steer(&mut self, since_us: u64, visits: Visits, tenths: u64) {
        // Whoever came when its connection had just been read was seen only after the last turn, and has waited from there on.
        let pass_us = visits.waited_us.saturating_add(since_us);
        for (sum, new) in self.lately.iter_mut().zip([since_us, visits.count, pass_us]) {
            *sum = (*sum - *sum / LATELY).saturating_add(new);
        }
        self.may_us = pass_us_max(tenths).max(self.visits_in_a_pass().saturating_mul(VISIT_US)).min(PASS_US_MAX);
        let may_us = self.may_us as i64;
        let too_short = may_us.saturating_sub_unsigned(pass_us).max(-may_us);
        let most = if too_short < 0 { LOSES } else { WINS };
        let step = i64::from(self.part) * too_short / (may_us * most);
        let step = if step == 0 { too_short.signum() } else { step };
        self.part = (i64::from(self.part) + step).clamp(PART_MIN.into(), PART_MAX.into()) as u32;
    }

    fn visits_in_a_pass(&self) -> u64 {
        let [us, visits, passes_us] = self.lately;
        let all = u128::from(visits) * u128::from(passes_us) / (u128::from(us.max(1)) * u128::from(LATELY));
        u64::try_from(all).unwrap_or(u64::MAX)
    }
}

/// How long a pass may be, in µs, where so much comes, in tenths of what is done.
fn pass_us_max(tenths: u64) -> u64 {
    let refused_permille = 1_000 - 10_000 / tenths.max(10);
    let shorter = PASS_US_MAX * 1_000 / (1_000 + SHORTER * refused_permille);
    shorter.max(tenths.saturating_mul(PASS_US_PER_TENTH)).min(PASS_US_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A core that does nothing but read, refuse and apply: what these take, in ns, and how many come in a ms.
    struct Model {
        share: Share,
        connections: u64,
        visit_ns: u64,
        read_ns: u64,
        apply_ns: u64,
        comes: u64,
        /// Of the last turns, the older the less.
        lately: [u64; 2],
        since_ns: u64,
    }

    impl Model {
        /// With one of so many parts of a processor, and so many connections.
        fn new(part: u64, connections: u64, comes: u64) -> Self {
            let (share, since_ns) = (Share::new(), 1_000_000);
            let [visit_ns, read_ns, apply_ns] = [10_000, 400, 750].map(|ns| ns * part);
            Self { share, connections, visit_ns, read_ns, apply_ns, comes, lately: [0; 2], since_ns }
        }

        /// One pass in one turn. What came and was applied.
        fn pass(&mut self) -> [u64; 2] {
            let came = self.comes * self.since_ns / 1_000_000;
            let [came_lately, applied_lately] = self.lately;
            let visits = Visits { count: self.connections, waited_us: 0 };
            self.share.steer(self.since_ns / 1_000, visits, came_lately * 10 / applied_lately.max(1));
            let time = self.share.of(Duration::from_nanos(self.since_ns)).as_nanos() as u64;
            let applied = came.min(time / self.apply_ns);
            self.lately = [came_lately - came_lately / 16 + came, applied_lately - applied_lately / 16 + applied];
            self.since_ns = self.connections * self.visit_ns + came * self.read_ns + applied * self.apply_ns;
            [came, applied]
        }

        /// After many passes: how many of a thousand are applied, and how long one takes, in µs.
        fn settled(&mut self) -> [u64; 2] {
            for _ in 0..2_000 {
                self.pass();
            }
            let [came, applied] = (0..100).map(|_| self.pass()).fold([0; 2], |[a, b], [c, d]| [a + c, b + d]);
            [applied * 1_000 / came, self.since_ns / 1_000]
        }
    }

    #[test]
    fn a_crowd_goes_that_can_be_served_and_who_is_refused_hears_of_it_soon() {
        // With half of a processor. 434 in a ms would be all of the time without visits.
        let at = |connections, comes| Model::new(2, connections, comes).settled();
        let few = [300, 400, 425, 500, 600, 800].map(|comes| at(16, comes));
        let many = [300, 350, 400, 500, 600, 800].map(|comes| at(64, comes));
        assert_eq!(
            few,
            [[1000, 1_026], [1000, 3_972], [1000, 14_122], [685, 3_723], [430, 2_401], [236, 4_204]],
            "16 connections"
        );
        assert_eq!(
            many,
            [[1000, 4_122], [1000, 6_553], [1000, 15_972], [622, 9_592], [429, 9_591], [188, 9_615]],
            "64 connections"
        );
    }

    /// How far apart two cores end, in per mille of what comes, of which one begins where nearly all were refused and the other
    /// where none was.
    fn apart(part: u64, connections: u64, comes: u64) -> u64 {
        let [low, high] = [(PART_MIN, [16_000, 4_000]), (PART_MAX, [16_000; 2])].map(|(of_whole, lately)| {
            let mut model = Model { lately, ..Model::new(part, connections, comes) };
            model.share.part = of_whole;
            model.settled()[0]
        });
        low.abs_diff(high)
    }

    #[test]
    fn where_visits_take_little_it_comes_to_the_same_wherever_it_begins() {
        let most = |part, connections| (20..240).map(|n| apart(part, connections, n * 10 / part)).max();
        let few = [(1, 1), (1, 16), (1, 64), (2, 16)].map(|(part, connections)| most(part, connections));
        assert_eq!(few, [Some(6), Some(9), Some(63), Some(19)]);
        // Of a smaller part of a processor visits take much: what those of short passes cost is refused, and so they stay short.
        let much = [(2, 64), (5, 64), (10, 16)].map(|(part, connections)| most(part, connections));
        assert_eq!(much, [Some(131), Some(360), Some(688)]);
    }

    #[test]
    fn a_pass_may_be_the_shorter_the_more_are_refused_until_visits_would_take_all() {
        assert_eq!([0, 10].map(pass_us_max), [25_000; 2], "nobody is");
        assert_eq!([11, 12, 15, 20].map(pass_us_max), [8_865, 5_760, 3_255, 2_272]);
        assert_eq!([30, 100, 250, 251, u64::MAX].map(pass_us_max), [3_000, 10_000, 25_000, 25_000, 25_000]);
    }

    #[test]
    fn a_pause_is_no_reason_for_another() {
        let mut share = Share::new();
        for _ in 0..100 {
            share.steer(2_000, Visits { count: 16, waited_us: 0 }, 20);
        }
        let before = share.part;
        let usual = share.of(Duration::from_micros(share.may_us));
        assert_eq!(share.of(Duration::MAX), usual, "no longer than a pass may be");
        share.steer(u64::MAX, Visits { count: u64::MAX, waited_us: u64::MAX }, u64::MAX);
        assert!((before - before / 8 - 1..before).contains(&share.part), "{before} {}", share.part);
        assert!(share.of(Duration::MAX) <= Duration::from_micros(PASS_US_MAX));
    }
}
