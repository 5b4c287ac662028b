//! The breakers of a node, one for each cause, and what they let through.

use crate::breaker::{Breaker, BreakerState, Change, Event, Policy};
use crate::degrade::{Cause, Mode, Rank, mode_of};
use tegata_model::{Code, Timestamp};

/// Causes.
const CAUSES: usize = Cause::ALL.len();
/// A bit for each cause.
pub(crate) const ALL_CAUSES: u8 = (1 << CAUSES) - 1;
/// Most changes that wait to be told: more than a single turn can bring.
const CHANGES_MAX: usize = 256;
/// The longest drill, in ms.
pub const DRILL_MS_MAX: u32 = 600_000;

/// When each breaker opens and closes, in the order of the causes.
pub type Policies = [Policy; CAUSES];

/// What was measured, in the order of the causes; see [`crate::Row::measured`].
pub type Levels = [u64; CAUSES];

/// From which level on a cause is as bad as can be; never, for those that know no such.
const ENTIRELY_AT: Levels = [u64::MAX, 2, u64::MAX, 1_062, u64::MAX, u64::MAX];

/// What a breaker's change was about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Transition {
    /// The cause.
    pub cause: Cause,
    /// The change.
    pub change: Change,
    /// The mode afterwards.
    pub mode: Mode,
}

/// What an operator asks of a breaker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Order {
    /// Open it, until it is confirmed.
    Open,
    /// Close it: only while it probes.
    Close,
    /// What latched it is over: it may probe.
    Confirm,
    /// Open it for so many ms, at most [`DRILL_MS_MAX`].
    Drill(u32),
}

/// How a breaker is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BreakerFacts {
    /// Its cause.
    pub cause: Cause,
    /// Where it is.
    pub state: BreakerState,
    /// Since when.
    pub since: Timestamp,
    /// What was measured last.
    pub level: u64,
    /// From where on that is bad.
    pub open_at: u64,
    /// The stage of its probes.
    pub stage: u32,
    /// Until when a drill keeps it open.
    pub drill_until: Option<Timestamp>,
    /// How often it came into each state since the start.
    pub entered: [u64; 4],
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Breakers {
    all: [Breaker; CAUSES],
    policies: Policies,
    entirely: [bool; CAUSES],
    entered: [[u64; 4]; CAUSES],
    /// Ranks that somebody refuses, as bits: 0 in ordinary times, so that a request pays one comparison.
    refused: u8,
    /// Those of them that nobody refuses outright: probes may pass.
    probed: u8,
    mode: Mode,
    changes: Vec<Transition>,
}

impl Breakers {
    /// All closed, but for those that are still latched.
    pub(crate) fn new(policies: Policies, latched: u8, at: Timestamp) -> Self {
        let mut breakers = Self {
            all: policies.map(|p| Breaker::new(p, at)),
            policies,
            entirely: [false; CAUSES],
            entered: [[0; 4]; CAUSES],
            refused: 0,
            probed: 0,
            mode: Mode::Normal,
            changes: Vec::new(),
        };
        for cause in Cause::ALL.into_iter().filter(|c| latched & c.bit() != 0) {
            let change = breakers.all[cause as usize].take(Event::Kept, at);
            breakers.told(cause, change);
        }
        breakers
    }

    /// Those that are latched until somebody confirms it, as bits.
    pub(crate) fn latched(&self) -> u8 {
        let waits = |b: &Breaker| b.state() == BreakerState::Latched && b.drill_until().is_none();
        Cause::ALL.into_iter().filter(|c| waits(&self.all[*c as usize])).fold(0, |bits, c| bits | c.bit())
    }

    pub(crate) fn state(&self, cause: Cause) -> BreakerState {
        self.all[cause as usize].state()
    }

    /// What was measured last.
    pub(crate) fn level(&self, cause: Cause) -> u64 {
        self.all[cause as usize].level()
    }

    pub(crate) fn mode(&self) -> Mode {
        self.mode
    }

    /// Takes what was measured; `answered`: every probe is. True when something changed.
    pub(crate) fn observe(&mut self, levels: &Levels, answered: bool, at: Timestamp) -> bool {
        let mut changed = false;
        for (i, cause) in Cause::ALL.into_iter().enumerate() {
            let deep = levels[i] >= ENTIRELY_AT[i];
            let turned = std::mem::replace(&mut self.entirely[i], deep) != deep;
            changed |= turned;
            if let Some(change) = self.all[i].observe(levels[i], answered, at) {
                self.note(cause, change);
                changed = true;
            } else if turned && self.state(cause).is_tripped() {
                // It is as open as before, and refuses more, or less.
                let (state, event) = (self.state(cause), if deep { Event::Bad } else { Event::Rested });
                self.note(cause, Change { from: state, to: state, event, level: levels[i], at });
            }
        }
        if changed {
            self.settle();
        }
        changed
    }

    /// The last `us` say nothing about a cause; see [`Breaker::leave_out`].
    pub(crate) fn leave_out(&mut self, cause: Cause, us: u64) -> bool {
        self.all[cause as usize].leave_out(us)
    }

    /// What is measured jumped: latched until an operator confirms it.
    pub(crate) fn jump(&mut self, cause: Cause, at: Timestamp) -> bool {
        let change = self.all[cause as usize].jump(at);
        self.told(cause, change)
    }

    /// An operator's order. False when it is refused, because nothing less safe is done but from probing.
    pub(crate) fn order(&mut self, cause: Cause, order: Order, at: Timestamp) -> bool {
        let breaker = &mut self.all[cause as usize];
        let change = match order {
            Order::Open => {
                let change = breaker.force(None, at);
                if change.is_none() {
                    return true;
                }
                change
            }
            // What is latched for another reason is no drill.
            Order::Drill(_) if breaker.state() == BreakerState::Latched && breaker.drill_until().is_none() => None,
            Order::Drill(ms) => {
                let change = breaker.force(Some(at.plus_millis(u64::from(ms.min(DRILL_MS_MAX)))), at);
                if change.is_none() {
                    return true;
                }
                change
            }
            Order::Close => breaker.take(Event::Close, at),
            Order::Confirm => breaker.take(Event::Confirm, at),
        };
        self.told(cause, change)
    }

    fn told(&mut self, cause: Cause, change: Option<Change>) -> bool {
        let Some(change) = change else { return false };
        self.note(cause, change);
        self.settle();
        true
    }

    fn note(&mut self, cause: Cause, change: Change) {
        let entered = &mut self.entered[cause as usize][change.to as usize];
        *entered = entered.saturating_add(u64::from(change.from != change.to));
        let mode = self.mode_now();
        if self.changes.len() < CHANGES_MAX {
            self.changes.push(Transition { cause, change, mode });
        }
    }

    fn mode_now(&self) -> Mode {
        let each = |c: Cause| (c.row(), self.all[c as usize].state(), self.entirely[c as usize]);
        mode_of(Cause::ALL.into_iter().map(each))
    }

    /// Works out anew what is let through.
    fn settle(&mut self) {
        let (mut outright, mut probed) = (0, 0);
        for cause in Cause::ALL {
            let refuses = cause.row().refuses(self.entirely[cause as usize]);
            match self.state(cause) {
                BreakerState::Closed => {}
                BreakerState::HalfOpen => probed |= refuses,
                BreakerState::Open | BreakerState::Latched => outright |= refuses,
            }
        }
        (self.refused, self.probed) = (outright | probed, probed & !outright);
        self.mode = self.mode_now();
    }

    /// Ranks that are refused outright, as bits.
    pub(crate) fn refused_outright(&self) -> u8 {
        self.refused & !self.probed
    }

    /// Why a request is refused outright. In ordinary times: one comparison.
    #[inline]
    pub(crate) fn refusal(&self, rank: Rank) -> Option<Code> {
        if self.refused_outright() & rank.bit() == 0 { None } else { self.outright(rank) }
    }

    #[cold]
    fn outright(&self, rank: Rank) -> Option<Code> {
        let trips = |c: &Cause| self.state(*c).is_tripped() && self.concerns(*c, rank);
        Cause::ALL.iter().find(|c| trips(c)).map(|c| c.row().code)
    }

    /// Why a request may not pass as a probe, where only probes may. In ordinary times: one comparison.
    #[inline]
    pub(crate) fn probe(&mut self, rank: Rank) -> Option<Code> {
        if self.is_probed(rank) { self.take_probe(rank) } else { None }
    }

    #[cold]
    fn take_probe(&mut self, rank: Rank) -> Option<Code> {
        let probes = |b: &Self, c: Cause| b.state(c) == BreakerState::HalfOpen && b.concerns(c, rank);
        let none_left = |c: &Cause| probes(self, *c) && self.all[*c as usize].probes_left() == 0;
        if let Some(cause) = Cause::ALL.iter().find(|c| none_left(c)) {
            return Some(cause.row().code);
        }
        for cause in Cause::ALL {
            if probes(self, cause) {
                self.all[cause as usize].take_probe();
            }
        }
        None
    }

    fn concerns(&self, cause: Cause, rank: Rank) -> bool {
        cause.row().refuses(self.entirely[cause as usize]) & rank.bit() != 0
    }

    /// True when a request of this rank passes only as a probe.
    #[inline]
    pub(crate) fn is_probed(&self, rank: Rank) -> bool {
        self.probed & rank.bit() != 0
    }

    pub(crate) fn has_changes(&self) -> bool {
        !self.changes.is_empty()
    }

    /// Changes since they were taken last.
    pub(crate) fn take_changes(&mut self) -> Vec<Transition> {
        std::mem::take(&mut self.changes)
    }

    pub(crate) fn facts(&self) -> [BreakerFacts; CAUSES] {
        Cause::ALL.map(|cause| {
            let i = cause as usize;
            let b = &self.all[i];
            BreakerFacts {
                cause,
                state: b.state(),
                since: b.since(),
                level: b.level(),
                open_at: self.policies[i].open_at,
                stage: b.stage(),
                drill_until: b.drill_until(),
                entered: self.entered[i],
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tegata_model::mix;

    #[test]
    fn what_is_refused_is_what_the_table_says_of_the_breakers_that_are_not_closed() {
        const POLICY: Policy = Policy { open_at: 1, close_below: 1, window_us: 0, rest_us: 4, stage_us: 2, probes: 2 };
        let mut b = Breakers::new([POLICY; CAUSES], 0, Timestamp::ZERO);
        let (mut refused, mut probed) = (0u32, 0u32);
        for step in 0..60_000u64 {
            let (roll, at) = (mix(step, 1), Timestamp::from_micros(step as i64));
            let cause = Cause::ALL[(roll >> 8) as usize % CAUSES];
            if roll.is_multiple_of(3) {
                b.order(
                    cause,
                    [Order::Open, Order::Close, Order::Confirm, Order::Drill(1)][(roll >> 16) as usize % 4],
                    at,
                );
            } else {
                let levels = std::array::from_fn(|i| match (mix(roll, i as u64) % 40, i) {
                    (0, 1) => 2,
                    (1, 3) => 1_062,
                    (0..=2, _) => 1,
                    _ => 0,
                });
                b.observe(&levels, (roll >> 20) % 2 == 0, at);
            }
            for rank in Rank::ALL {
                let concerned = |c: &Cause| c.row().refuses(b.entirely[*c as usize]) & rank.bit() != 0;
                let tripped = Cause::ALL.into_iter().find(|c| concerned(c) && b.state(*c).is_tripped());
                let probing = |c: &Cause| concerned(c) && b.state(*c) == BreakerState::HalfOpen;
                let left = Cause::ALL.iter().filter(|c| probing(c)).map(|c| b.all[*c as usize].probes_left()).min();
                assert_eq!(b.refusal(rank), tripped.map(|c| c.row().code));
                refused += u32::from(tripped.is_some());
                if tripped.is_none() {
                    probed += u32::from(left.is_some());
                    assert_eq!(b.probe(rank).is_some(), left == Some(0), "only while all that probe have probes left");
                }
            }
            let each = Cause::ALL.map(|c| c.row().mode(b.state(c), b.entirely[c as usize]));
            assert_eq!(Some(b.mode()), each.into_iter().max());
        }
        assert!(refused > 10_000 && probed > 1_000, "{refused} {probed}");
    }
}
