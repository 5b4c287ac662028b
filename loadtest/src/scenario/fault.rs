//! What goes wrong, and when.

use super::{Server, between, one};
use serde::{Deserialize, Serialize};

/// How often one fault may happen in a run.
const FAULTS_MAX: usize = 10_000;

/// Something that goes wrong.
#[derive(Debug, Clone, Copy, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Fault {
    /// What.
    pub kind: FaultKind,
    /// When, in ms from the beginning of the load; with `until_ms` and `count`, the earliest instant.
    pub at_ms: u64,
    /// How long it lasts, in ms: how long the process is stopped, or down.
    #[serde(default)]
    pub for_ms: u64,
    /// How often, at seeded instants between `at_ms` and `until_ms`.
    #[serde(default = "one")]
    pub count: usize,
    /// The latest instant, in ms.
    pub until_ms: Option<u64>,
    /// Writes a second that a slow disk lets through.
    #[serde(default = "few_writes")]
    pub writes_per_second: u32,
    /// Number of the breaker that a drill opens, as `docs/protocol.md` numbers them.
    #[serde(default)]
    pub cause: u8,
    /// How far a clock steps forward, in ms; negative: back.
    #[serde(default)]
    pub by_ms: i64,
}

/// What can go wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum FaultKind {
    /// kill -9, then a new start on the same data.
    Kill,
    /// SIGSTOP, then SIGCONT.
    Stop,
    /// An orderly end, then a new start.
    Restart,
    /// Every connection is cut.
    Cut,
    /// Connections stay open, and nothing passes in either direction.
    HalfOpen,
    /// Requests arrive, answers do not.
    DropAnswers,
    /// The disk lets few writes through: a control group limits the server.
    SlowDisk,
    /// The disk is full, and has space again: the server's own disk, `disk_mib`.
    FullDisk,
    /// Nothing that is written becomes durable, by the server's own test seam.
    JournalStall,
    /// A write of the journal fails, by the server's own test seam: the server ends, and is started again.
    FailedDisk,
    /// The office suspends the programme, and resumes it.
    Suspend,
    /// An operator opens the breaker `cause` for a drill.
    Drill,
    /// The wall clock steps by `by_ms` and back, by the server's own test seam; then an operator confirms it.
    ClockStep,
}

impl Fault {
    pub(super) fn check(&self, server: &Server, end_ms: u64) -> Result<(), String> {
        if self.kind == FaultKind::FullDisk && server.disk_mib == 0 {
            return Err("full-disk needs a disk of the server's own: set server.disk_mib".to_owned());
        }
        between("fault.count", self.count, FAULTS_MAX)?;
        if self.at_ms.max(self.until_ms.unwrap_or(0)) > end_ms {
            return Err(format!("a fault at {} ms comes after the load, which ends at {end_ms} ms", self.at_ms));
        }
        Ok(())
    }
}

impl FaultKind {
    /// As the file says it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Kill => "kill",
            Self::Stop => "stop",
            Self::Restart => "restart",
            Self::Cut => "cut",
            Self::HalfOpen => "half-open",
            Self::DropAnswers => "drop-answers",
            Self::SlowDisk => "slow-disk",
            Self::FullDisk => "full-disk",
            Self::JournalStall => "journal-stall",
            Self::ClockStep => "clock-step",
            Self::FailedDisk => "failed-disk",
            Self::Suspend => "suspend",
            Self::Drill => "drill",
        }
    }

    /// True for what happens between clients and server.
    #[must_use]
    pub fn is_on_the_way(self) -> bool {
        matches!(self, Self::Cut | Self::HalfOpen | Self::DropAnswers)
    }
}

fn few_writes() -> u32 {
    20
}
