//! The highest rate at which a scenario's goals are met: a closed loop shows the most that the server does, then open
//! loops halve the way between what it can and what it cannot. Every step is a whole run with its reconciliation.

use crate::error::RunError;
use crate::harness::{Liars, Run, run_scenario};
use crate::progress::Watcher;
use crate::results;
use crate::scenario::{Arrivals, Phase, Scenario};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

/// Steps after the closed loop: the rate is found to a 64th of the most.
const STEPS: usize = 6;

/// A step of a search.
#[derive(Debug)]
pub struct Step {
    /// Payments a second that were offered; of the closed loop, that were decided.
    pub rate: f64,
    /// The run.
    pub run: Run,
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
    let step = |number: usize, phase: Phase| -> Result<Run, RunError> {
        let mut s = scenario.clone();
        s.persona.clear();
        s.phase = vec![phase];
        let folder = folder.join(format!("step-{number}"));
        results::prepare(&folder)?;
        let run = run_scenario(name, &s, None, Liars::default(), &folder, stop, show)?;
        results::write(&folder, &s, &run)?;
        Ok(run)
    };
    let closed = step(0, Phase { seconds, rate: 0.0, to: None, arrivals: Arrivals::Closed })?;
    let most = closed.summary.goodput_per_second;
    tell(&Step { rate: most, run: closed });
    let (mut can, mut cannot) = (None, most);
    for number in 1..=STEPS {
        if stop.load(Ordering::Relaxed) {
            break;
        }
        let rate = f64::midpoint(can.unwrap_or(0.0), cannot).max(1.0);
        let run = step(number, Phase { seconds, rate, to: None, arrivals: Arrivals::Poisson })?;
        if run.summary.exit_code == 0 {
            can = Some(rate);
        } else {
            cannot = rate;
        }
        tell(&Step { rate, run });
    }
    Ok(can)
}
