//! Scenarios: what is offered, to what data, with which tills, with which faults, and what must hold at the end.
//! `docs/load.md` explains every name.

mod data;
mod fault;
mod named;
mod persona;
mod phase;
mod server;
mod slo;
mod till;

pub use data::{Data, Extend, Mix};
pub use fault::{Fault, FaultKind};
pub use named::{ScenarioError, load, named, parse};
pub use persona::{Persona, PersonaKind};
pub use phase::{Arrivals, Phase};
pub use server::Server;
pub use slo::Slo;
pub use till::Till;

use serde::{Deserialize, Serialize};

/// What a peak is: the highest rate at which these hold.
const PEAK_P99_MS: f64 = 50.0;
const PEAK_ANSWERED: f64 = 0.999;
/// Most payments in flight: a request's number has room for so many.
const SLOTS_MAX: usize = 1 << 24;

/// A scenario, as its file says.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Scenario {
    /// What it is for, in one sentence.
    pub about: String,
    /// Seed of everything random.
    #[serde(default = "seed")]
    pub seed: u64,
    /// Connections of the gateway.
    #[serde(default = "connections")]
    pub connections: usize,
    /// Most requests in flight on each; never more than the server's credits.
    #[serde(default = "depth")]
    pub depth: usize,
    /// Threads of the generator.
    #[serde(default = "one")]
    pub threads: usize,
    /// Above 0: rates are multiples of the peak, the highest rate at which p99 stays within 50 ms. It is searched for
    /// before, in steps of so many s.
    #[serde(default)]
    pub peak_step_seconds: f64,
    /// What is offered, one phase after the other.
    pub phase: Vec<Phase>,
    /// What is there before.
    #[serde(default)]
    pub data: Data,
    /// What customers ask for besides debits.
    #[serde(default)]
    pub mix: Mix,
    /// How tills behave.
    #[serde(default)]
    pub till: Till,
    /// The server that the harness starts.
    #[serde(default)]
    pub server: Server,
    /// What goes wrong, and when.
    #[serde(default)]
    pub fault: Vec<Fault>,
    /// Who misbehaves beside the load.
    #[serde(default)]
    pub persona: Vec<Persona>,
    /// What the office does about coupons that expire.
    pub extend: Option<Extend>,
    /// What must hold besides exactly-once.
    #[serde(default)]
    pub slo: Slo,
}

impl Scenario {
    /// One phase, and everything else as by default.
    #[must_use]
    pub fn of(phase: Phase) -> Self {
        Self {
            about: String::new(),
            seed: seed(),
            connections: connections(),
            depth: depth(),
            threads: one(),
            peak_step_seconds: 0.0,
            phase: vec![phase],
            data: Data::default(),
            mix: Mix::default(),
            till: Till::default(),
            server: Server::default(),
            fault: Vec::new(),
            persona: Vec::new(),
            extend: None,
            slo: Slo::default(),
        }
    }

    /// How long the load lasts, in s.
    #[must_use]
    pub fn seconds(&self) -> f64 {
        self.phase.iter().map(|p| p.seconds).sum()
    }

    /// The same load in another time: phases and faults are stretched alike. In less, the peak is searched for in shorter
    /// steps, too.
    pub fn stretch_to(&mut self, seconds: f64) {
        let by = seconds / self.seconds();
        self.peak_step_seconds *= by.min(1.0);
        self.phase.iter_mut().for_each(|p| p.seconds *= by);
        for f in &mut self.fault {
            f.at_ms = (f.at_ms as f64 * by) as u64;
            f.until_ms = f.until_ms.map(|ms| (ms as f64 * by) as u64);
        }
        for p in &mut self.persona {
            p.at_ms = (p.at_ms as f64 * by) as u64;
            p.for_ms = (p.for_ms as f64 * by) as u64;
        }
        self.data.expires_ms = (self.data.expires_ms as f64 * by) as u64;
        if let Some(extend) = &mut self.extend {
            extend.at_ms = (extend.at_ms as f64 * by) as u64;
        }
    }

    /// The scenario whose peak the rates are multiples of: the same server, data and tills, and nothing that goes wrong.
    #[must_use]
    pub fn at_its_peak(&self) -> Self {
        let slo = Slo { p99_ms: Some(PEAK_P99_MS), answered_in_deadline: Some(PEAK_ANSWERED), ..Slo::default() };
        Self { peak_step_seconds: 0.0, fault: Vec::new(), persona: Vec::new(), extend: None, slo, ..self.clone() }
    }

    /// Multiples of a peak become rates.
    pub fn scale_to(&mut self, peak: f64) {
        self.peak_step_seconds = 0.0;
        for p in &mut self.phase {
            p.rate *= peak;
            p.to = p.to.map(|to| to * peak);
        }
    }

    /// The same customers in a closed loop.
    pub fn close(&mut self) {
        self.peak_step_seconds = 0.0;
        for p in &mut self.phase {
            (p.rate, p.to, p.arrivals) = (0.0, None, Arrivals::Closed);
        }
    }

    fn check(&self) -> Result<(), String> {
        if self.phase.is_empty() {
            return Err("there is no [[phase]]: nothing is offered".to_owned());
        }
        if !(0.0..=3_600.0).contains(&self.peak_step_seconds) {
            return Err(format!("peak_step_seconds is from 0 to 3600, not {}", self.peak_step_seconds));
        }
        for (i, p) in self.phase.iter().enumerate() {
            p.check(self.peak_step_seconds > 0.0).map_err(|what| format!("phase {}: {what}", i + 1))?;
        }
        between("connections", self.connections, 10_000)?;
        between("depth", self.depth, 65_536)?;
        between("connections × depth", self.connections.saturating_mul(self.depth), SLOTS_MAX)?;
        between("threads", self.threads, 64)?;
        let end_ms = (self.seconds() * 1_000.0) as u64;
        self.data.check()?;
        self.mix.check(&self.data)?;
        self.till.check(&self.mix)?;
        self.server.check()?;
        self.fault.iter().try_for_each(|f| f.check(&self.server, end_ms))?;
        self.persona.iter().try_for_each(|p| p.check(end_ms))?;
        self.extend.map_or(Ok(()), |e| e.check(&self.data, end_ms))?;
        self.slo.check()
    }
}

fn seed() -> u64 {
    20_230_224
}

fn connections() -> usize {
    64
}

fn depth() -> usize {
    64
}

fn one() -> usize {
    1
}

/// A share, by its name.
fn share(name: &str, v: f64) -> Result<(), String> {
    if (0.0..=1.0).contains(&v) { Ok(()) } else { Err(format!("{name} is a share from 0 to 1, not {v}")) }
}

/// Shares, by their names.
fn shares<const N: usize>(of: [(&str, f64); N]) -> Result<(), String> {
    of.into_iter().try_for_each(|(name, v)| share(name, v))
}

/// A number from 1 to `max`, by its name.
fn between(name: &str, v: usize, max: usize) -> Result<(), String> {
    if (1..=max).contains(&v) { Ok(()) } else { Err(format!("{name} is from 1 to {max}, not {v}")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stretched_scenario_has_its_faults_at_the_same_places() {
        let mut s = load("kill-under-load").expect("a scenario");
        let before = s.fault[0].at_ms as f64 / s.seconds();
        s.stretch_to(12.0);
        assert!((s.seconds() - 12.0).abs() < 1e-6);
        assert!((s.fault[0].at_ms as f64 / s.seconds() - before).abs() < 1.0);
    }

    #[test]
    fn a_short_form_searches_its_peak_in_short_steps_and_a_long_one_as_ever() {
        let step = |seconds| {
            let mut s = load("refused-2x").expect("a scenario");
            s.stretch_to(seconds);
            (s.peak_step_seconds * 1_000.0).round()
        };
        assert_eq!([step(2.0), step(10.0), step(60.0)], [600.0, 3_000.0, 3_000.0]);
    }
}
