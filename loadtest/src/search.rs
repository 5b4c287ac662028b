//! The highest rate at which a scenario's goals are met: a closed loop shows the most that the server does, then open
//! loops halve the way between what it can and what it cannot. Every step is a whole run with its reconciliation.

use crate::error::RunError;
use crate::harness::{Liars, Run, run_scenario};
use crate::progress::Watcher;
use crate::results;
use crate::scenario::{Arrivals, Phase, Scenario};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

/// Steps after the closed loop: the rate is found to a 32nd of what it did.
const STEPS: usize = 7;
/// What an open loop may do more than the closed one, whose few requests in flight wait for each other.
const HEADROOM: f64 = 4.0;
/// Most requests in flight on each connection in the closed loop: enough to keep the server busy, too few to flood it.
const CLOSED_DEPTH: usize = 16;
/// Share of what is offered that must be decided in time: a refusal in time is an answer, and no capacity.
const DECIDED: f64 = 0.99;
/// How often a rate is tried before it counts as too high: a moment of the machine's own is not the server's limit.
const TRIES: usize = 2;
/// A peak that is not held for as long as the load lasts is lowered by this part of it.
const LOWER_BY: f64 = 1.0 / 16.0;
/// How often, at most.
const LOWER_MAX: usize = 6;

/// A step of a search.
#[derive(Debug)]
pub struct Step {
    /// Payments a second that were offered; of the closed loop, that were decided.
    pub rate: f64,
    /// The run.
    pub run: Run,
}

/// The peak of a scenario whose rates are multiples of it: found in short steps, then held for as long as its load lasts.
pub fn peak_of(
    name: &str,
    scenario: &Scenario,
    folder: &Path,
    stop: &AtomicBool,
    tell: &mut dyn FnMut(&Step),
) -> Result<f64, RunError> {
    let (at_peak, seconds) = (scenario.at_its_peak(), scenario.peak_step_seconds);
    let mut rate = search(name, &at_peak, seconds, folder, stop, &|_| {}, tell)?.ok_or(RunError::NoPeak)?;
    let whole = scenario.phase.iter().map(|p| p.seconds).sum();
    for number in 0..=LOWER_MAX {
        let phase = Phase { seconds: whole, rate, to: None, arrivals: Arrivals::Poisson };
        let run = step(name, &at_peak, &format!("hold-{number}"), phase, folder, stop, &|_| {})?;
        let holds = is_met(&run);
        tell(&Step { rate, run });
        if holds || stop.load(Ordering::Relaxed) {
            return Ok(rate);
        }
        rate *= 1.0 - LOWER_BY;
    }
    Err(RunError::NoPeak)
}

/// A run of one phase, which is reconciled like any other, in a folder of its own.
fn step(
    name: &str,
    scenario: &Scenario,
    number: &str,
    phase: Phase,
    folder: &Path,
    stop: &AtomicBool,
    show: &Watcher<'_>,
) -> Result<Run, RunError> {
    let mut s = scenario.clone();
    s.persona.clear();
    if phase.arrivals == Arrivals::Closed {
        s.depth = s.depth.min(CLOSED_DEPTH);
    }
    s.phase = vec![phase];
    let folder = folder.join(format!("step-{number}"));
    results::prepare(&folder)?;
    let run = run_scenario(name, &s, None, None, Liars::default(), &folder, stop, show)?;
    results::write(&folder, &s, &run)?;
    Ok(run)
}

/// The goals are met, and what was offered was decided.
fn is_met(run: &Run) -> bool {
    let m = &run.summary;
    m.exit_code == 0 && m.goodput_per_second >= m.offered_per_second * DECIDED
}

/// Searches with `seconds` for each step. Results go into folders below `folder`; `tell` sees each step.
pub fn search(
    name: &str,
    scenario: &Scenario,
    seconds: f64,
    folder: &Path,
    stop: &AtomicBool,
    show: &Watcher<'_>,
    tell: &mut dyn FnMut(&Step),
) -> Result<Option<f64>, RunError> {
    if !scenario.fault.is_empty() || scenario.extend.is_some() {
        return Err(RunError::Usage("a search takes a scenario without faults and extension".to_owned()));
    }
    let step = |number: &str, phase: Phase| step(name, scenario, number, phase, folder, stop, show);
    let closed = step("0", Phase { seconds, rate: 0.0, to: None, arrivals: Arrivals::Closed })?;
    let most = closed.summary.goodput_per_second;
    tell(&Step { rate: most, run: closed });
    let (mut can, mut cannot) = (None, most * HEADROOM);
    for number in 1..=STEPS {
        if stop.load(Ordering::Relaxed) {
            break;
        }
        let rate = f64::midpoint(can.unwrap_or(0.0), cannot).max(1.0);
        let mut met = false;
        for attempt in 0..TRIES {
            let phase = Phase { seconds, rate, to: None, arrivals: Arrivals::Poisson };
            let run = step(&format!("{number}{}", ["", "-again"][attempt]), phase)?;
            met = is_met(&run);
            tell(&Step { rate, run });
            if met || stop.load(Ordering::Relaxed) {
                break;
            }
        }
        (can, cannot) = if met { (Some(rate), cannot) } else { (can, rate) };
    }
    Ok(can)
}
