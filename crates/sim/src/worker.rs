//! One world in a process of its own, and what it says of it.

use crate::arguments::Arguments;
use std::process::{Child, Command, ExitCode, Stdio};
use std::time::{Duration, Instant};
use tegata_sim::{Feature, Goals, Plan, World};

/// What a world came to.
#[derive(Debug, Clone, Default)]
pub(crate) struct Report {
    pub(crate) seed: u64,
    pub(crate) trace: u64,
    pub(crate) simulated_us: u64,
    pub(crate) events: u64,
    pub(crate) positions: u64,
    pub(crate) goals: Goals,
    pub(crate) failure: Option<String>,
}

/// How a process ended.
#[derive(Debug)]
pub(crate) enum Outcome {
    /// It said what came of it, and how long it took.
    Ended(Box<Report>, Duration),
    /// An assertion failed, most likely.
    Died(u64, String),
}

pub(crate) fn simulate(seed: u64, arguments: &Arguments) -> Report {
    let mut plan = Plan::draw(seed).without(&arguments.without);
    plan.steps = arguments.steps.unwrap_or(plan.steps);
    let mut world = World::new(plan);
    if arguments.trace {
        world.tell();
    }
    let r = world.run();
    Report {
        seed,
        trace: r.trace,
        simulated_us: r.simulated_us,
        events: r.events,
        positions: r.positions,
        goals: r.goals,
        failure: r.failure,
    }
}

/// The world of this seed, with its result as one line for [`Worker::wait`].
pub(crate) fn run_here(seed: u64, arguments: &Arguments) -> ExitCode {
    #[expect(clippy::disallowed_methods, reason = "how long a world takes is nothing that it can see")]
    let began = Instant::now();
    let r = simulate(seed, arguments);
    let goals: Vec<String> = r.goals.0.iter().map(u64::to_string).collect();
    println!(
        "report {} {} {} {} {} {} {}",
        r.trace,
        r.simulated_us,
        r.events,
        r.positions,
        began.elapsed().as_micros(),
        goals.join(","),
        r.failure.as_deref().unwrap_or("").replace('\n', " ")
    );
    if r.failure.is_none() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// A process that simulates a world.
#[derive(Debug)]
pub(crate) struct Worker {
    seed: u64,
    child: Child,
}

/// The arguments that make a world again.
pub(crate) fn words(seed: u64, without: &[Feature], steps: Option<u64>) -> Vec<String> {
    let mut words = vec!["--seed".to_owned(), seed.to_string()];
    if !without.is_empty() {
        let names: Vec<&str> = without.iter().map(|f| f.name()).collect();
        words.extend(["--without".to_owned(), names.join(",")]);
    }
    if let Some(steps) = steps {
        words.extend(["--steps".to_owned(), steps.to_string()]);
    }
    words
}

impl Worker {
    pub(crate) fn start(seed: u64, without: &[Feature], steps: Option<u64>) -> Self {
        let program = std::env::current_exe().expect("this program has a name");
        let child = Command::new(program)
            .args(words(seed, without, steps))
            .arg("--report")
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("a process can be started");
        Self { seed, child }
    }

    pub(crate) fn wait(self) -> Outcome {
        let seed = self.seed;
        let output = self.child.wait_with_output().expect("a process ends");
        let text = String::from_utf8_lossy(&output.stdout);
        let line = text.lines().rev().find_map(|l| l.strip_prefix("report "));
        if let Some((report, took)) = line.and_then(|l| parse(seed, l)) {
            return Outcome::Ended(Box::new(report), took);
        }
        let said = String::from_utf8_lossy(&output.stderr);
        let said: Vec<&str> = said.lines().filter(|l| !l.trim().is_empty()).take(3).collect();
        Outcome::Died(seed, format!("panic: {}", said.join(" ")))
    }
}

fn parse(seed: u64, line: &str) -> Option<(Report, Duration)> {
    let mut words = line.splitn(7, ' ');
    let mut number = || words.next()?.parse::<u64>().ok();
    let (trace, simulated_us, events, positions) = (number()?, number()?, number()?, number()?);
    let took = Duration::from_micros(number()?);
    let goals = words.next()?.split(',').map(str::parse).collect::<Result<Vec<u64>, _>>().ok()?;
    let failure = words.next().filter(|f| !f.is_empty()).map(str::to_owned);
    Some((Report { seed, trace, simulated_us, events, positions, goals: Goals(goals), failure }, took))
}
