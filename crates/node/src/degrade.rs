//! What is done while something is wrong: for each cause and each rank of requests, one word. The mode is a pure function
//! of the breakers that are not closed. `docs/degrade.md` is printed from these tables.

use crate::breaker::BreakerState;
use tegata_model::Code;

/// Requests by how late they are shed; the first are never shed for load.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum Rank {
    /// Status, fence, confirm; repeats of decided keys.
    Settle = 0,
    /// Reversal, void; suspending a programme or a shop, which must work when all else fails (F28) and is never much.
    Undo = 1,
    /// Capture; suspending and closing an account.
    Finish = 2,
    /// Debit, confirmed debit, hold.
    Pay = 3,
    /// Load, charge, refund.
    Add = 4,
    /// Issue; corrections and rules.
    Issue = 5,
    /// Balance, history.
    Look = 6,
    /// Plans, lists, sums.
    Report = 7,
}

impl Rank {
    /// All of them, by number.
    pub const ALL: [Self; 8] =
        [Self::Settle, Self::Undo, Self::Finish, Self::Pay, Self::Add, Self::Issue, Self::Look, Self::Report];

    /// Those that commands have, as bits.
    pub const COMMANDS: u8 = (Self::Issue.bit() << 1) - 1;
    /// Those of them that are shed for load, as bits.
    pub const SHEDDABLE: u8 = Self::COMMANDS & !(Self::Pay.bit() - 1);

    /// Of a record of this kind.
    #[must_use]
    #[inline]
    pub const fn of(kind: u16) -> Self {
        match kind {
            9 | 12 => Self::Settle,
            8 | 10 | 16 | 17 | 25 => Self::Undo,
            7 | 15 => Self::Finish,
            4..=6 => Self::Pay,
            2 | 3 | 11 | 24 => Self::Add,
            _ => Self::Issue,
        }
    }

    /// Its requests, in words.
    #[must_use]
    pub const fn words(self) -> &'static str {
        match self {
            Self::Settle => "fence, confirm",
            Self::Undo => "reversal, void, advice; a shop or programme suspended, resumed, closed",
            Self::Finish => "capture; an account suspended, resumed, closed",
            Self::Pay => "debit, hold",
            Self::Add => "load, charge, refund; lease",
            Self::Issue => "issue; corrections, rules",
            Self::Look => "balance, history",
            Self::Report => "plans, lists, sums",
        }
    }

    /// Its bit in a set of ranks.
    #[must_use]
    pub const fn bit(self) -> u8 {
        1 << self as u8
    }
}

/// What becomes of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Treatment {
    /// As ever.
    Served,
    /// Taken, within the bounds of the queue; answered when it is durable.
    Kept,
    /// Taken from what was set aside for it at the start.
    Reserve,
    /// Newest first, by turns of the gateways; what waited too long is refused.
    Limited,
    /// Refused with the cause's code.
    Refused,
}

impl Treatment {
    /// Its word in the docs.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Served => "served",
            Self::Kept => "kept",
            Self::Reserve => "from the reserve",
            Self::Limited => "limited",
            Self::Refused => "refused",
        }
    }
}

/// How the server is, the worst of its causes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub enum Mode {
    /// Everything is served.
    #[default]
    Normal,
    /// On the way back: a few capped requests of what was refused are let through.
    Probing,
    /// Payments are taken as far as there is time for them; questions that can wait are refused where there is not.
    Brownout,
    /// New payments are refused; what settles or undoes payments is taken, and a suspension.
    ReadOnly,
    /// Nothing is taken. Known keys and questions are answered.
    Halted,
}

impl Mode {
    /// All of them, the better first.
    pub const ALL: [Self; 5] = [Self::Normal, Self::Probing, Self::Brownout, Self::ReadOnly, Self::Halted];

    /// Its number on the wire and in metrics. 0 to 2 are older than the others.
    #[must_use]
    pub const fn number(self) -> u8 {
        match self {
            Self::Normal => 0,
            Self::ReadOnly => 1,
            Self::Halted => 2,
            Self::Brownout => 3,
            Self::Probing => 4,
        }
    }

    /// Its name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Normal => "normal",
            Self::Probing => "probing",
            Self::Brownout => "brownout",
            Self::ReadOnly => "read-only",
            Self::Halted => "halted",
        }
    }

    /// What it means, in words.
    #[must_use]
    pub const fn words(self) -> &'static str {
        match self {
            Self::Normal => "everything is served",
            Self::Probing => "on the way back: a few capped requests are let through, more as they succeed",
            Self::Brownout => {
                "payments are taken as far as there is time for them; questions that can wait are refused where there is not"
            }
            Self::ReadOnly => {
                "new payments are refused; fence, confirm, reversal, void, advice, and a shop or programme suspended are taken"
            }
            Self::Halted => "nothing is taken; known keys and questions are answered",
        }
    }

    /// From its number.
    #[must_use]
    pub fn from_number(n: u64) -> Option<Self> {
        Self::ALL.into_iter().find(|m| u64::from(m.number()) == n)
    }
}

/// What may be wrong. Each has one breaker and one row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Cause {
    /// Batches are not flushed in time.
    JournalLatency = 0,
    /// No further segment can be made.
    JournalSpace = 1,
    /// Requests wait too long before they are looked at.
    QueueDelay = 2,
    /// A table is at its limit.
    Memory = 3,
    /// The wall clock stepped.
    Clock = 4,
    /// The quorum is lost. Reserved: nothing measures it while there is one node.
    Replication = 5,
}

impl Cause {
    /// All of them, by number.
    pub const ALL: [Self; 6] =
        [Self::JournalLatency, Self::JournalSpace, Self::QueueDelay, Self::Memory, Self::Clock, Self::Replication];

    /// Its bit in a set of causes.
    #[must_use]
    pub const fn bit(self) -> u8 {
        1 << self as u8
    }

    /// Its row.
    #[must_use]
    pub const fn row(self) -> &'static Row {
        &ROWS[self as usize]
    }

    /// From its number.
    #[must_use]
    pub fn from_u8(n: u8) -> Option<Self> {
        Self::ALL.get(usize::from(n)).copied()
    }

    /// From its name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|c| c.row().name == name)
    }
}

/// One cause: what is done about it.
#[derive(Debug)]
pub struct Row {
    /// Its name on the command line, in metrics and in the docs.
    pub name: &'static str,
    /// What is measured, and its unit.
    pub measured: &'static str,
    /// What the refused are told.
    pub code: Code,
    /// And when to come back, in ms; 0: not said.
    pub retry_after_ms: u32,
    /// The mode while it is open; the second while it is open entirely.
    pub modes: [Mode; 2],
    /// What becomes of each rank; the second while it is open entirely.
    pub treatments: [[Treatment; 8]; 2],
    /// What the till should show.
    pub till: &'static str,
    /// What ends it.
    pub ends: &'static str,
    /// What is never done meanwhile.
    pub never: &'static str,
}

impl Row {
    /// The ranks that are refused, as bits.
    #[must_use]
    pub const fn refuses(&self, entirely: bool) -> u8 {
        let (mut bits, mut i) = (0, 0);
        while i < 8 {
            if matches!(self.treatments[entirely as usize][i], Treatment::Refused) {
                bits |= Rank::ALL[i].bit();
            }
            i += 1;
        }
        bits
    }

    /// The mode that a breaker of this row brings.
    #[must_use]
    pub const fn mode(&self, state: BreakerState, entirely: bool) -> Mode {
        match state {
            BreakerState::Closed => Mode::Normal,
            BreakerState::HalfOpen => Mode::Probing,
            BreakerState::Open | BreakerState::Latched => self.modes[entirely as usize],
        }
    }
}

/// The mode, of the rows' breakers: the worst.
pub fn mode_of<'a>(breakers: impl IntoIterator<Item = (&'a Row, BreakerState, bool)>) -> Mode {
    breakers.into_iter().map(|(row, state, entirely)| row.mode(state, entirely)).max().unwrap_or_default()
}

const ROWS: [Row; 6] = {
    use Treatment::{Kept as K, Limited as L, Refused as R, Reserve as V, Served as S};
    [
        Row {
            name: "journal-latency",
            measured: "µs that the oldest batch has been in flight, or that the last one took",
            code: Code::JournalSlow,
            retry_after_ms: 1_000,
            modes: [Mode::ReadOnly; 2],
            treatments: [[K, K, R, R, R, R, S, S]; 2],
            till: "a refusal: nothing was taken, pay otherwise or try again; what was on its way: unknown, fence it",
            ends: "by itself: flushes are fast again, then probes",
            never: "an answer before its batch is durable; a refusal of what the journal already has",
        },
        Row {
            name: "journal-space",
            measured: "0 room; 1 only the reserve is left; 2 that is used up",
            code: Code::DiskFull,
            retry_after_ms: 1_000,
            modes: [Mode::ReadOnly, Mode::Halted],
            treatments: [[V, V, R, R, R, R, S, S], [R, R, R, R, R, R, S, S]],
            till: "a refusal: nothing was taken, pay otherwise",
            ends: "by itself: a segment can be made again, then probes",
            never: "a payment from what is set aside for undoing payments",
        },
        Row {
            name: "queue-delay",
            measured: "µs that the oldest request waited before the core looked at it",
            code: Code::Overloaded,
            retry_after_ms: 250,
            modes: [Mode::Brownout; 2],
            treatments: [[S, S, S, L, L, L, R, R]; 2],
            till: "a refusal: nothing was taken, the same key again after the given time",
            ends: "by itself: the queue is short again, then probes",
            never: "a repeat, status, fence or confirmation refused for load before its own deadline",
        },
        Row {
            name: "memory",
            measured: "per mille of the limit of decisions or allocations, whichever is more; from 1,000 on the reserve is used",
            code: Code::MemoryLimit,
            // A key is forgotten after days, by a logged time that goes on once a minute where nothing is admitted.
            retry_after_ms: 60_000,
            modes: [Mode::ReadOnly, Mode::Halted],
            treatments: [[V, V, V, R, R, R, S, S], [R, R, R, R, R, R, S, S]],
            till: "a refusal: nothing was taken, pay otherwise",
            ends: "by itself: keys are forgotten, then probes; or a higher limit and a restart",
            never: "a key forgotten before its time",
        },
        Row {
            name: "clock",
            measured: "1 while the wall clock is not followed",
            code: Code::Halted,
            retry_after_ms: 0,
            modes: [Mode::Brownout; 2],
            treatments: [[S; 8]; 2],
            till: "nothing: payments go on",
            ends: "by an operator, who sets the clock right and confirms it",
            never: "a coupon expired by a clock that nobody vouches for: its end is compared with the last trusted time",
        },
        Row {
            name: "replication",
            measured: "reserved: nothing measures it while there is one node",
            code: Code::Halted,
            retry_after_ms: 0,
            modes: [Mode::Halted; 2],
            treatments: [[R, R, R, R, R, R, S, S]; 2],
            till: "unknown: fence it when the core is back",
            ends: "by itself: a quorum is there again, then probes",
            never: "two primaries; not seen, for what another node may have decided",
        },
    ]
};
