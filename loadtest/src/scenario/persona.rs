//! Who misbehaves beside the load.

use super::{between, one};
use serde::{Deserialize, Serialize};

/// Callers that behave badly beside the load. They are done to somebody else's server too.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Persona {
    /// Who.
    pub kind: PersonaKind,
    /// How many connections.
    #[serde(default = "one")]
    pub connections: usize,
    /// From when, in ms from the beginning of the load.
    #[serde(default)]
    pub at_ms: u64,
    /// For how long, in ms.
    pub for_ms: u64,
    /// Malformed frames a second of all its connections together; 0: as many as it can.
    #[serde(default)]
    pub rate: u32,
}

/// How a caller can misbehave.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum PersonaKind {
    /// Asks as much as it can and hardly reads.
    SlowReader,
    /// Sends byte by byte.
    Dribbler,
    /// Connections that come at once, ask, and go at once, again and again.
    Herd,
    /// Another gateway, with as many payments in flight as it has credits on each of its connections.
    Flood,
    /// Another gateway, whose frames break a rule each.
    Malformed,
}

impl PersonaKind {
    /// As the file says it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::SlowReader => "slow-reader",
            Self::Dribbler => "dribbler",
            Self::Herd => "herd",
            Self::Flood => "flood",
            Self::Malformed => "malformed",
        }
    }
}

impl Persona {
    pub(super) fn check(&self, end_ms: u64) -> Result<(), String> {
        between("persona.connections", self.connections, 10_000)?;
        if self.at_ms.saturating_add(self.for_ms) > end_ms {
            return Err(format!("{} lasts longer than the load, which ends at {end_ms} ms", self.kind.name()));
        }
        Ok(())
    }
}
