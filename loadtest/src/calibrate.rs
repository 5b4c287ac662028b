//! What the generator itself can do: the same threads that load a server load an echo that does nothing, on another
//! processor. What it offers there is the most that it can offer anywhere.

use crate::attempts::Keys;
use crate::driver::{Common, drive};
use crate::error::RunError;
use crate::launch::{CHILD_BARE_ECHO, ServerProcess};
use crate::scenario::{Arrivals, Data, Phase, Scenario};
use crate::seed::{DataSet, now};
use crate::summary::Summary;
use crate::tally::Seconds;
use crate::verdict;
use std::sync::atomic::AtomicBool;
use std::time::Instant;

/// Connections and requests in flight on each: few and deep, so that the kernel's part is small.
const CONNECTIONS: usize = 8;
const DEPTH: usize = 512;
/// What is offered in the open loop, as a share of what the closed one did.
const OPEN: f64 = 0.9;

/// A closed loop, and an open one at nine tenths of its rate, for `seconds` each, on one thread.
pub fn calibrate(seconds: f64) -> Result<[Summary; 2], RunError> {
    let closed = against_echo(Phase { seconds, rate: 0.0, to: None, arrivals: Arrivals::Closed })?;
    let rate = closed.achieved_per_second * OPEN;
    let open = against_echo(Phase { seconds, rate, to: None, arrivals: Arrivals::Poisson })?;
    Ok([closed, open])
}

fn against_echo(phase: Phase) -> Result<Summary, RunError> {
    let dir = tempfile::tempdir().map_err(RunError::folder)?;
    let echo = ServerProcess::start(CHILD_BARE_ECHO, dir.path(), &[]).map_err(RunError::server)?;
    let data = Data::default();
    let scenario = Scenario { connections: CONNECTIONS, depth: DEPTH, data, ..Scenario::of(phase) };
    let seconds = Seconds::default();
    let stop = AtomicBool::new(false);
    let common = Common {
        scenario: &scenario,
        addr: echo.addr,
        dir: dir.path(),
        keys: Keys::new(now().micros() as u64),
        data: DataSet { coupons: data.coupons, shops: data.shops, balance: data.balance, ..DataSet::default() },
        begin: Instant::now(),
        stop: &stop,
        seconds: &seconds,
    };
    let tally = drive(&common, 0)?;
    echo.stop().map_err(RunError::server)?;
    let ticks = seconds.into_inner().expect("nobody panics with the seconds in hand");
    let seconds: Vec<_> = ticks.iter().enumerate().map(|(n, t)| verdict::second(n, t, 0)).collect();
    let closed_loop = phase.arrivals == Arrivals::Closed;
    Ok(Summary { closed_loop, ..verdict::of_load("calibrate", &scenario, &[tally], &seconds) })
}
