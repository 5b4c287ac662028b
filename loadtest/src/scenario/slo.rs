//! What must hold at the end.

use serde::{Deserialize, Serialize};

/// What must hold. A bound that is not given is not asked.
#[derive(Debug, Clone, Copy, Default, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Slo {
    /// Largest p99 of the response time, in ms.
    pub p99_ms: Option<f64>,
    /// Smallest share of payments that are answered within their deadline, 0 to 1.
    pub answered_in_deadline: Option<f64>,
    /// Longest start after a kill, in ms.
    pub ready_ms: Option<f64>,
    /// Longest time from the beginning of a fault until the server says that the breaker of its cause is open, in ms.
    pub degraded_within_ms: Option<f64>,
    /// Longest time from the end of a fault until the server says that it is normal again, in ms.
    pub normal_within_ms: Option<f64>,
    /// Smallest share of payments that are told anything, "unknown" included, within their deadline and 100 ms, 0 to 1.
    pub told: Option<f64>,
    /// Largest p99 of the time to a decision, in ms.
    pub decided_p99_ms: Option<f64>,
    /// Largest p99 of the time to a refusal, in ms.
    pub refusal_p99_ms: Option<f64>,
    /// Smallest share of payments that are decided within their deadline, 0 to 1.
    pub goodput: Option<f64>,
    /// Most payments that are declined.
    pub declined: Option<f64>,
    /// Smallest rate of payments that are decided within their deadline, as a multiple of the peak.
    pub goodput_of_peak: Option<f64>,
    /// Longest time after the last phase but one until things are as in the first phase, in s: until the first second
    /// whose p99 is at most 1.2 times what it was, as is the middle one of the rest, in which 99.9 % are answered and 99 %
    /// decided.
    pub recovers_within_s: Option<f64>,
    /// Largest p99 of the response time while a persona is there, as a multiple of that before the first one comes: of each,
    /// the middle of its seconds.
    pub beside_p99: Option<f64>,
    /// Fewest malformed frames. Those whose fate was another than the protocol says are asked for beside it: there may be
    /// none.
    pub malformed_frames: Option<f64>,
    /// Most memory that the server may take at any time of the load, in MiB.
    pub memory_growth_mib: Option<f64>,
}

impl Slo {
    /// A bound that is no number is met by nothing and missed by nothing.
    pub(super) fn check(&self) -> Result<(), String> {
        let goals = toml::Table::try_from(self).map_err(|e| e.to_string())?;
        match goals.iter().find(|(_, goal)| !goal.as_float().is_some_and(|g| (0.0..=1e12).contains(&g))) {
            Some((name, goal)) => Err(format!("slo.{name} is from 0 to 1e12, not {goal}")),
            None => Ok(()),
        }
    }
}
