//! The simulator's command line: fresh seeds and kept ones, each world in a process of its own, so that an assertion of the
//! product that fails is one more failure and not the end of the run.

mod arguments;
mod shrink;
mod worker;

use arguments::Arguments;
use std::collections::VecDeque;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::process::ExitCode;
use std::time::Duration;
use tegata_sim::{Goal, Goals};
use worker::{Outcome, Worker};

/// Kept seeds, each with what it was.
const KEPT: &str = include_str!("../seeds.txt");

fn kept() -> impl Iterator<Item = u64> {
    KEPT.lines().filter_map(|l| l.split_whitespace().next()?.parse().ok())
}

fn main() -> ExitCode {
    let arguments = match Arguments::parse(std::env::args().skip(1)) {
        Ok(arguments) => arguments,
        Err(why) => {
            eprintln!("{why}\n{}", arguments::USAGE);
            return ExitCode::from(2);
        }
    };
    match arguments.seed {
        Some(seed) if arguments.report => worker::run_here(seed, &arguments),
        Some(seed) => one(seed, &arguments),
        None => all(&arguments),
    }
}

/// One world, told.
fn one(seed: u64, arguments: &Arguments) -> ExitCode {
    let report = worker::simulate(seed, arguments);
    println!(
        "sim: seed={seed} trace={:016x} simulated_s={} events={} positions={} goals={}",
        report.trace,
        report.simulated_us / 1_000_000,
        report.events,
        report.positions,
        report.goals.reached(),
    );
    match report.failure {
        None => ExitCode::SUCCESS,
        Some(why) => {
            println!("FAILED {why}");
            ExitCode::FAILURE
        }
    }
}

fn all(arguments: &Arguments) -> ExitCode {
    let kept: Vec<u64> = kept().collect();
    let from = arguments.from.unwrap_or_else(|| RandomState::new().build_hasher().finish() >> 24);
    println!("sim: {} fresh seeds from {from}, {} kept", arguments.seeds, kept.len());
    let fresh = from..from + arguments.seeds;
    let mut waiting: VecDeque<u64> = kept.iter().copied().chain(fresh).collect();
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let mut running: VecDeque<Worker> = VecDeque::new();
    let (mut goals, mut simulated_us, mut busy) = (Goals::default(), 0u64, Duration::ZERO);
    let mut failed = Vec::new();
    loop {
        while running.len() < cores
            && let Some(seed) = waiting.pop_front()
        {
            running.push_back(Worker::start(seed, &[], None));
        }
        let Some(worker) = running.pop_front() else { break };
        match worker.wait() {
            Outcome::Ended(report, took) => {
                goals.add(&report.goals);
                simulated_us += report.simulated_us;
                busy += took;
                if let Some(why) = report.failure {
                    println!("FAILED seed {}: {why}", report.seed);
                    failed.push((report.seed, why));
                }
            }
            Outcome::Died(seed, why) => {
                println!("FAILED seed {seed}: {why}");
                failed.push((seed, why));
            }
        }
    }
    // The first few are enough to work on.
    for (seed, why) in failed.iter().take(arguments.shrink) {
        let smallest = shrink::shrink(*seed, why);
        println!("rerun: cargo run --release -p tegata-sim -- {smallest}");
    }
    if arguments.stats {
        let rate = simulated_us as f64 / 1e6 / busy.as_secs_f64().max(1e-9);
        println!("sim: {rate:.0} simulated seconds in a second of one core");
        for goal in Goal::ALL {
            println!("{:>9} {}", goals.0[*goal as usize], goal.words());
        }
    }
    let missed: Vec<Goal> = if arguments.seeds >= 100 { goals.missed().collect() } else { Vec::new() };
    for goal in &missed {
        println!("never reached: {}", goal.words());
    }
    println!(
        "sim: seeds={} kept={} simulated_hours={} goals={}/{} failures={}",
        arguments.seeds,
        kept.len(),
        simulated_us / 3_600_000_000,
        goals.reached(),
        Goal::ALL.len(),
        failed.len()
    );
    if failed.is_empty() && missed.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
