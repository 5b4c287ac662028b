//! What a run found: the content of `summary.json`, from which verdict, report and comparison are made.

use serde::{Deserialize, Deserializer, Serialize};

/// Version of `summary.json`: it goes up when a field changes its meaning or goes; fields are added without it.
pub const SCHEMA: u32 = 2;

/// The mode of a server that does not say how it is: it is down, or stopped.
pub const MODE_SILENT: u64 = 255;

/// What the run is worth.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum Verdict {
    /// Everything holds.
    Pass,
    /// A goal was missed, or exactly-once, conservation or the digest was violated.
    Fail,
    /// The run measured something else than it says: nothing is to be concluded from it.
    #[default]
    Invalid,
}

impl core::fmt::Display for Verdict {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(match self {
            Self::Pass => "PASS",
            Self::Fail => "FAIL",
            Self::Invalid => "INVALID",
        })
    }
}

/// What the join of the clients' journal with the server's ledger found. All but `attempts` are violations.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Reconciliation {
    /// Keys that were sent at least once.
    pub attempts: u64,
    /// Approved to the client, and not in the ledger.
    pub lost: u64,
    /// Taken more than once under one key.
    pub double: u64,
    /// Declined, refused, fenced or suspected to the client, and taken all the same.
    pub ghost: u64,
    /// Taken at a logged time after its deadline, where it has one.
    pub late: u64,
    /// Taken at a position after its key's fence.
    pub risen: u64,
    /// In the ledger under a key that nobody sent.
    pub orphan: u64,
    /// Taken with another amount, at another coupon, at another shop or with another deadline than was asked and answered.
    pub wrong: u64,
    /// A coupon was below zero at some position.
    pub negative: u64,
    /// One key was given two different decisions.
    pub differs: u64,
    /// Keys whose outcome is still not known after everything was asked again.
    pub unresolved: u64,
}

impl Reconciliation {
    /// True when exactly-once holds for every attempt.
    #[must_use]
    pub fn holds(&self) -> bool {
        let Self { lost, double, ghost, late, risen, orphan, wrong, negative, differs, unresolved, .. } = *self;
        [lost, double, ghost, late, risen, orphan, wrong, negative, differs, unresolved].iter().all(|n| *n == 0)
    }
}

/// A fault of the timeline.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct FaultReport {
    /// kill, stop, restart, …
    pub kind: String,
    /// When it was due, in ms from the beginning of the run.
    pub at_ms: u64,
    /// When it was over (the server ready again, the proxy open again), in ms; nothing where it has no end.
    pub until_ms: Option<u64>,
    /// True when the server was watched during and after it.
    pub watched: bool,
    /// From its beginning until the server said that the breaker of its cause is open, in ms; nothing where it never did.
    pub degraded_ms: Option<u64>,
    /// From its end until the server said that it is normal again, in ms.
    pub normal_ms: Option<u64>,
    /// True when it was seen to have happened.
    pub fired: bool,
    /// What showed it.
    pub proof: String,
    /// Malformed frames that a persona sent.
    pub frames: u64,
    /// Of those, how many had another fate than the protocol says.
    pub wrong: u64,
}

/// A goal of the scenario.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct SloReport {
    /// As the scenario names it: `p99_ms`, `answered_in_deadline`, …
    pub name: String,
    /// The bound, in the unit of the name.
    pub goal: f64,
    /// What was measured, in the same unit; null: it never came to that.
    #[serde(deserialize_with = "or_never")]
    pub measured: f64,
    /// Whether the bound is kept.
    pub met: bool,
}

/// JSON has no infinity: it is written as null.
fn or_never<'de, D: Deserializer<'de>>(d: D) -> Result<f64, D::Error> {
    Ok(Option::deserialize(d)?.unwrap_or(f64::INFINITY))
}

/// Points of a latency distribution, in µs.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Latency {
    /// Median.
    pub p50_us: f64,
    /// 99 of 100.
    pub p99_us: f64,
    /// 999 of 1,000.
    pub p999_us: f64,
    /// The largest.
    pub max_us: f64,
}

/// Where and of what it was measured.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Environment {
    /// Processor, count, memory, kernel.
    pub machine: String,
    /// Commit of the checkout, if there is one.
    pub commit: String,
    /// The command line.
    pub command: String,
    /// The server's version and how it flushes, as it says itself.
    pub server: String,
}

/// The content of `summary.json`. Counts are of attempts (one key each) unless it says otherwise.
///
/// A field that a file does not have is zero: an older file can be read and compared.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Summary {
    /// [`SCHEMA`].
    pub schema: u32,
    /// What the run is worth.
    pub verdict: Verdict,
    /// The exit code of the program.
    pub exit_code: u8,
    /// Why it is not PASS, a sentence each; empty for PASS.
    pub why: Vec<String>,
    /// Name of the scenario.
    pub scenario: String,
    /// Seed of everything random.
    pub seed: u64,
    /// Beginning, RFC 3339 UTC.
    pub started_at: String,
    /// Length of the load without preparation and reconciliation, in s.
    pub seconds: f64,
    /// True when it was interrupted: partial results.
    pub interrupted: bool,
    /// True when a phase was a closed loop: response times hide how long customers would have waited.
    pub closed_loop: bool,
    /// Frames that were sent, repeats included.
    pub sends: u64,
    /// Executed in full or in part.
    pub approved: u64,
    /// Decided against.
    pub declined: u64,
    /// Suspected duplicates.
    pub suspected: u64,
    /// Definitely not executed: rejected, refused, fenced.
    pub rejected: u64,
    /// Had no answer by their deadline and were resolved afterwards by status and fence.
    pub resolved: u64,
    /// Sent again under the same key.
    pub repeated: u64,
    /// What the join found.
    #[serde(flatten)]
    pub reconciliation: Reconciliation,
    /// Whether every programme's sums are conserved.
    pub conserved: bool,
    /// Whether an independent replay of the journal gives the server's digest; nothing where the journal is elsewhere.
    pub digest_equal: Option<bool>,
    /// Payments that were due, per second.
    pub offered_per_second: f64,
    /// Payments that were sent, per second.
    pub achieved_per_second: f64,
    /// Payments that were decided within their deadline, per second.
    pub goodput_per_second: f64,
    /// Share of payments with an early and definite answer within their deadline, 0 to 1.
    pub answered_in_deadline: f64,
    /// Share of payments that were told anything, "unknown" included, within their deadline and 100 ms, 0 to 1.
    pub told: f64,
    /// Payments that the gateway itself refused, because no connection had room in time; nothing of them was sent.
    pub held_back: u64,
    /// From when a payment was due to its decision.
    pub decided: Latency,
    /// From a send to its refusal.
    pub refusal: Latency,
    /// From when a payment was due to its first definite answer, or until it was given up without one.
    #[serde(flatten)]
    pub response: Latency,
    /// From a send to its answer.
    pub service: Latency,
    /// Share of payments that were sent more than 10 ms late, or not at all, by the generator's own fault, 0 to 1.
    pub generator_late: f64,
    /// Processor time of the generator's threads as a share of what they were entitled to, 0 to 1.
    pub generator_cpu: f64,
    /// Processor time that the host of a virtual machine took during the load, in ms of all processors.
    pub stolen_ms: u64,
    /// The peak that the scenario's rates are multiples of, per second; 0: they are not.
    pub peak_per_second: f64,
    /// The most memory that the server took at any time of the load, in bytes; nothing where it is elsewhere.
    pub server_grew_bytes: Option<u64>,
    /// How long the reconciliation took, in s.
    pub reconciled_in_s: f64,
    /// The most memory that the harness held, in bytes.
    pub memory_peak_bytes: u64,
    /// The timeline's faults.
    pub faults: Vec<FaultReport>,
    /// The scenario's goals.
    pub slos: Vec<SloReport>,
    /// Where it was measured.
    pub environment: Environment,
}

/// Refusals by code, 110 to 139. As text `110:5;117:300`; nothing where there were none.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Refusals([u32; 30]);

/// The first code that a refusal can have.
const REFUSAL_FIRST: u16 = 110;

impl Refusals {
    /// Counts one with this code; another code is none.
    #[inline]
    pub(crate) fn count(&mut self, code: u16) {
        if let Some(n) = code.checked_sub(REFUSAL_FIRST).and_then(|i| self.0.get_mut(usize::from(i))) {
            *n = n.saturating_add(1);
        }
    }

    /// Adds another thread's.
    pub(crate) fn add(&mut self, o: &Self) {
        self.0.iter_mut().zip(o.0).for_each(|(n, m)| *n = n.saturating_add(m));
    }

    /// Codes with how often each was given.
    pub fn iter(&self) -> impl Iterator<Item = (u16, u32)> {
        (REFUSAL_FIRST..).zip(self.0).filter(|(_, n)| *n > 0)
    }

    /// All together.
    #[must_use]
    pub fn sum(&self) -> u64 {
        self.0.iter().map(|n| u64::from(*n)).sum()
    }
}

impl core::fmt::Display for Refusals {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        for (i, (code, n)) in self.iter().enumerate() {
            write!(f, "{}{code}:{n}", if i == 0 { "" } else { ";" })?;
        }
        Ok(())
    }
}

impl core::str::FromStr for Refusals {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let mut all = Self::default();
        for part in text.split(';').filter(|p| !p.is_empty()) {
            let (code, n) = part.split_once(':').ok_or(())?;
            let code: u16 = code.parse().map_err(|_| ())?;
            let place = code.checked_sub(REFUSAL_FIRST).and_then(|i| all.0.get_mut(usize::from(i))).ok_or(())?;
            *place = n.parse().map_err(|_| ())?;
        }
        Ok(all)
    }
}

/// One second of the run: a line of `timeline.csv`.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Second {
    /// From the beginning of the run.
    pub second: u32,
    /// Payments that were due.
    pub offered: u64,
    /// Payments that were sent for the first time.
    pub sent: u64,
    /// Answers by what they say.
    pub approved: u64,
    /// Declined.
    pub declined: u64,
    /// Suspected duplicates.
    pub suspected: u64,
    /// Definitely not executed.
    pub rejected: u64,
    /// Deadlines that passed without a definite answer.
    pub unanswered: u64,
    /// Answers that said "unknown" (140).
    pub unknown: u64,
    /// Answers that refused, by code; those of tills that tried again, too.
    pub refusals: Refusals,
    /// Median of the response times of payments that were answered, or given up, in this second, µs.
    pub p50_us: f64,
    /// 99 of 100.
    pub p99_us: f64,
    /// The largest.
    pub max_us: f64,
    /// The server's mode, as its status says it: 0 normal; [`MODE_SILENT`]: it said nothing.
    pub mode: u64,
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::Value;

    const PUBLISHED: &str = include_str!("../../docs/formats/summary.schema.json");

    /// Holds a value against its schema: the same fields, each of a type that is allowed.
    fn check(at: &str, value: &Value, schema: &Value) {
        let is = match value {
            Value::Null => "null",
            Value::Bool(_) => "boolean",
            Value::Number(n) if n.is_u64() => "integer",
            Value::Number(_) => "number",
            Value::String(_) => "string",
            Value::Array(_) => "array",
            Value::Object(_) => "object",
        };
        match &schema["type"] {
            Value::String(one) => assert_eq!(one, is, "{at}"),
            Value::Array(some) => assert!(some.contains(&is.into()), "{at}: {is}"),
            _ => assert!(
                schema["const"] == *value || schema["enum"].as_array().is_some_and(|e| e.contains(value)),
                "{at}"
            ),
        }
        if let (Some(fields), Some(published)) = (value.as_object(), schema["properties"].as_object()) {
            let names =
                |o: &serde_json::Map<String, Value>| o.keys().cloned().collect::<std::collections::BTreeSet<_>>();
            assert_eq!(names(fields), names(published), "{at}");
            assert_eq!(schema["required"].as_array().map(Vec::len), Some(fields.len()), "{at}: every field is there");
            fields.iter().for_each(|(name, field)| check(&format!("{at}.{name}"), field, &published[name]));
        }
        value.as_array().into_iter().flatten().for_each(|item| check(at, item, &schema["items"]));
    }

    #[test]
    fn the_published_schema_is_that_of_a_summary() {
        let schema: Value = serde_json::from_str(PUBLISHED).expect("JSON");
        let (faults, slos) = (vec![FaultReport::default()], vec![SloReport::default()]);
        let mut m = Summary { schema: SCHEMA, why: vec!["why".into()], faults, slos, ..Summary::default() };
        check("summary", &serde_json::to_value(&m).expect("JSON"), &schema);
        (m.digest_equal, m.server_grew_bytes, m.faults[0].until_ms) = (Some(true), Some(1), Some(1));
        (m.faults[0].degraded_ms, m.faults[0].normal_ms) = (Some(1), Some(1));
        m.slos[0].measured = f64::INFINITY;
        let never = serde_json::to_value(&m).expect("JSON");
        check("summary", &never, &schema);
        assert_eq!(serde_json::from_value::<Summary>(never).expect("a summary"), m, "what never came is read again");
    }

    #[test]
    fn an_older_summary_is_read_with_zeros_for_what_it_does_not_have() {
        let old = r#"{"schema":1,"verdict":"PASS","p99_us":5.0,"attempts":7,"faults":[{"kind":"kill","at_ms":1,
            "until_ms":null,"fired":true,"proof":""}]}"#;
        let m: Summary = serde_json::from_str(old).expect("a summary");
        assert_eq!((m.response.p99_us, m.reconciliation.attempts, m.told), (5.0, 7, 0.0));
    }

    #[test]
    fn refusals_are_read_as_they_are_written() {
        let mut r = Refusals::default();
        [110, 117, 117, 139, 109, 140, 0].into_iter().for_each(|code| r.count(code));
        assert_eq!((r.to_string().as_str(), r.sum()), ("110:1;117:2;139:1", 4));
        assert_eq!(r.to_string().parse(), Ok(r));
        for wrong in ["110", "110:x", "x:1", "109:1", "140:1", "110:4294967296"] {
            assert_eq!(wrong.parse::<Refusals>(), Err(()), "{wrong}");
        }
    }
}
