//! One circuit breaker: measured evidence opens it, probes close it, an operator may latch it. A pure state machine;
//! levels and the time are given.
//!
//! ```text
//! closed ──bad──▶ open ──rested──▶ half-open ──proved, or closed by hand──▶ closed
//!    │              ▲                │  │
//!    │              └──────bad───────┘  │
//!    └──jump, force──▶ latched ◀────────┘   latched ──confirmed, or the drill is over──▶ half-open
//! ```
//!
//! Invariants: nothing measured leaves `latched`; nothing but a whole row of probes, or an operator who sees them, closes
//! a breaker; a stage lets through no more than its cap, and the next one begins only after those were answered that passed
//! before its time was over.

use tegata_model::{Timestamp, mix};

/// Where a breaker is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[repr(u8)]
pub enum BreakerState {
    /// All is well.
    #[default]
    Closed = 0,
    /// Evidence opened it: what its row refuses is refused.
    Open = 1,
    /// A few capped requests are let through, more as they succeed.
    HalfOpen = 2,
    /// Open until somebody says otherwise.
    Latched = 3,
}

/// What happens to a breaker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Event {
    /// The least level of the window was at or above the threshold; of a breaker that probes: one level was.
    Bad = 0,
    /// Every level of the rest was below the lower threshold.
    Rested = 1,
    /// The last stage of probes was answered in time.
    Proved = 2,
    /// What is measured jumped, and only a human can tell what is right.
    Jumped = 3,
    /// An operator opens it.
    Force = 4,
    /// An operator closes it.
    Close = 5,
    /// An operator confirms that what latched it is over.
    Confirm = 6,
    /// The time of a drill is over.
    DrillOver = 7,
    /// It was latched when the server last ran, and nobody has confirmed it since.
    Kept = 8,
    /// An operator opens it for a bounded time.
    Drill = 9,
}

impl BreakerState {
    /// All of them, by number.
    pub const ALL: [Self; 4] = [Self::Closed, Self::Open, Self::HalfOpen, Self::Latched];

    /// Its name on the command line, in metrics and in the docs.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::Open => "open",
            Self::HalfOpen => "half-open",
            Self::Latched => "latched",
        }
    }

    /// From its number.
    #[must_use]
    pub fn from_u8(n: u8) -> Option<Self> {
        Self::ALL.get(usize::from(n)).copied()
    }

    /// Where an event leads; nothing where it changes nothing, or is refused to an operator.
    #[must_use]
    pub const fn after(self, event: Event) -> Option<Self> {
        TRANSITIONS[self as usize][event as usize]
    }

    /// True when what its row refuses is refused, but for probes.
    #[must_use]
    pub const fn is_tripped(self) -> bool {
        matches!(self, Self::Open | Self::Latched)
    }
}

impl Event {
    /// All of them, by number.
    pub const ALL: [Self; 10] = [
        Self::Bad,
        Self::Rested,
        Self::Proved,
        Self::Jumped,
        Self::Force,
        Self::Close,
        Self::Confirm,
        Self::DrillOver,
        Self::Kept,
        Self::Drill,
    ];

    /// Its name in the docs and in the file of events.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Bad => "bad",
            Self::Rested => "rested",
            Self::Proved => "proved",
            Self::Jumped => "jumped",
            Self::Force => "force",
            Self::Close => "close",
            Self::Confirm => "confirm",
            Self::DrillOver => "drill over",
            Self::Kept => "kept",
            Self::Drill => "drill",
        }
    }
}

/// By state, then by event.
const TRANSITIONS: [[Option<BreakerState>; 10]; 4] = {
    use BreakerState::{Closed, HalfOpen, Latched, Open};
    const STAYS: Option<BreakerState> = None;
    [
        // bad, rested, proved, jumped, force, close, confirm, drill over, kept, drill
        [Some(Open), STAYS, STAYS, Some(Latched), Some(Latched), STAYS, STAYS, STAYS, Some(Latched), Some(Latched)],
        [STAYS, Some(HalfOpen), STAYS, Some(Latched), Some(Latched), STAYS, STAYS, STAYS, STAYS, Some(Latched)],
        [
            Some(Open),
            STAYS,
            Some(Closed),
            Some(Latched),
            Some(Latched),
            Some(Closed),
            STAYS,
            STAYS,
            STAYS,
            Some(Latched),
        ],
        [STAYS, STAYS, STAYS, STAYS, STAYS, STAYS, Some(HalfOpen), Some(HalfOpen), STAYS, STAYS],
    ]
};

/// The whole table as text, a line for each state and event.
#[must_use]
pub fn transitions() -> String {
    let mut out = String::from("| state | event | then |\n| --- | --- | --- |\n");
    for state in BreakerState::ALL {
        for event in Event::ALL {
            let then = state.after(event).map_or("–", BreakerState::name);
            out += &format!("| {} | {} | {then} |\n", state.name(), event.name());
        }
    }
    out
}

/// When a breaker opens and how it closes. Levels are in whatever its cause is measured in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Policy {
    /// A level from here on is bad.
    pub open_at: u64,
    /// A level below this is good: lower than `open_at`, so that a level between the two changes nothing.
    pub close_below: u64,
    /// Levels must be bad for so long, in µs; 0: one is enough.
    pub window_us: u64,
    /// Levels must be good for so long before anything is probed, in µs. Stretched by up to a quarter, so that several
    /// servers do not begin to probe at the same time.
    pub rest_us: u64,
    /// A stage of probes lasts at least so long, in µs.
    pub stage_us: u64,
    /// Probes of the first stage; each stage lets through four times as many as the one before.
    pub probes: u32,
}

/// Stages of probes before a breaker closes.
pub const STAGES: u32 = 6;

/// See the module.
#[derive(Debug, Clone)]
pub struct Breaker {
    policy: Policy,
    state: BreakerState,
    since: Timestamp,
    level: u64,
    bad_since: Option<Timestamp>,
    good_since: Option<Timestamp>,
    stage: u32,
    stage_since: Timestamp,
    probes_left: u32,
    drill_until: Option<Timestamp>,
    /// How often it changed: the jitter is made of it.
    changes: u64,
}

/// One change of a breaker's state.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Change {
    /// From.
    pub from: BreakerState,
    /// To.
    pub to: BreakerState,
    /// Why.
    pub event: Event,
    /// What was measured last.
    pub level: u64,
    /// When.
    pub at: Timestamp,
}

impl Breaker {
    /// A closed one.
    #[must_use]
    pub fn new(policy: Policy, at: Timestamp) -> Self {
        Self {
            policy,
            state: BreakerState::Closed,
            since: at,
            level: 0,
            bad_since: None,
            good_since: None,
            stage: 0,
            stage_since: at,
            probes_left: 0,
            drill_until: None,
            changes: 0,
        }
    }

    /// Where it is.
    #[must_use]
    pub fn state(&self) -> BreakerState {
        self.state
    }

    /// Since when.
    #[must_use]
    pub fn since(&self) -> Timestamp {
        self.since
    }

    /// What was measured last.
    #[must_use]
    pub fn level(&self) -> u64 {
        self.level
    }

    /// The stage of its probes, from 0; 0 when it does not probe.
    #[must_use]
    pub fn stage(&self) -> u32 {
        if self.state == BreakerState::HalfOpen { self.stage } else { 0 }
    }

    /// Until when a drill keeps it open.
    #[must_use]
    pub fn drill_until(&self) -> Option<Timestamp> {
        self.drill_until
    }

    /// Takes a level. `answered`: every probe that was let through is answered.
    pub fn observe(&mut self, level: u64, answered: bool, at: Timestamp) -> Option<Change> {
        self.level = level;
        let bad = level >= self.policy.open_at;
        let good = level < self.policy.close_below;
        self.bad_since = self.bad_since.filter(|_| bad).or(bad.then_some(at));
        self.good_since = self.good_since.filter(|_| good).or(good.then_some(at));
        let lasts = |since: Option<Timestamp>, us| since.is_some_and(|s| at.since(s) >= us);
        match self.state {
            BreakerState::Closed if lasts(self.bad_since, self.policy.window_us) => self.take(Event::Bad, at),
            BreakerState::Open if lasts(self.good_since, self.rest_us()) => self.take(Event::Rested, at),
            BreakerState::HalfOpen if bad => self.take(Event::Bad, at),
            // What is neither good nor bad proves nothing: the stage begins to count anew.
            BreakerState::HalfOpen if !good => {
                self.stage_since = at;
                None
            }
            BreakerState::HalfOpen if answered && at.since(self.stage_since) >= self.policy.stage_us => {
                if self.stage + 1 == STAGES {
                    return self.take(Event::Proved, at);
                }
                self.begin_stage(self.stage + 1, at);
                None
            }
            BreakerState::Latched if self.drill_until.is_some_and(|until| at >= until) => {
                self.take(Event::DrillOver, at)
            }
            _ => None,
        }
    }

    /// The last `us` say nothing: what was bad before goes on where it was. False where nothing bad is being counted.
    pub(crate) fn leave_out(&mut self, us: u64) -> bool {
        let later = |since: Timestamp| since.micros().saturating_add(i64::try_from(us).unwrap_or(i64::MAX));
        self.bad_since = self.bad_since.map(|since| Timestamp::from_micros(later(since)));
        self.state == BreakerState::Closed && self.bad_since.is_some()
    }

    fn rest_us(&self) -> u64 {
        self.policy.rest_us.saturating_add(mix(self.changes, 3) % (self.policy.rest_us / 4).max(1))
    }

    /// Something that is not a level happened. Nothing when it changes nothing here, or is refused.
    pub fn take(&mut self, event: Event, at: Timestamp) -> Option<Change> {
        let from = self.state;
        let to = from.after(event)?;
        (self.state, self.since) = (to, at);
        (self.bad_since, self.good_since, self.drill_until) = (None, None, None);
        self.changes = self.changes.wrapping_add(1);
        self.begin_stage(0, at);
        Some(Change { from, to, event, level: self.level, at })
    }

    /// What is measured jumped: latched, and longer than any drill.
    pub fn jump(&mut self, at: Timestamp) -> Option<Change> {
        self.latch(Event::Jumped, None, at)
    }

    /// An operator opens it, for good or until an instant. What was latched for good stays so; of a drill the newer order
    /// counts, and is told although the state is the same.
    pub fn force(&mut self, until: Option<Timestamp>, at: Timestamp) -> Option<Change> {
        self.latch(if until.is_some() { Event::Drill } else { Event::Force }, until, at)
    }

    fn latch(&mut self, event: Event, until: Option<Timestamp>, at: Timestamp) -> Option<Change> {
        let (from, was_drill) = (self.state, self.drill_until.is_some());
        let change = self.take(event, at);
        if change.is_none() && !was_drill {
            return None;
        }
        self.drill_until = until;
        Some(change.unwrap_or(Change { from, to: from, event, level: self.level, at }))
    }

    fn begin_stage(&mut self, stage: u32, at: Timestamp) {
        (self.stage, self.stage_since) = (stage, at);
        self.probes_left = self.policy.probes.saturating_mul(4u32.saturating_pow(stage));
    }

    /// Takes one of the stage's probes. False when none is left, or nothing is probed.
    pub fn take_probe(&mut self) -> bool {
        if self.state != BreakerState::HalfOpen || self.probes_left == 0 {
            return false;
        }
        self.probes_left -= 1;
        true
    }

    /// Probes that the stage still lets through.
    #[must_use]
    pub fn probes_left(&self) -> u32 {
        if self.state == BreakerState::HalfOpen { self.probes_left } else { 0 }
    }
}
