//! `tegata-load`: loads a server like an evening peak, and proves exactly-once afterwards.

use clap::{Parser, Subcommand};
use std::io::{IsTerminal, Write};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use tegata_load::{
    Elsewhere, Liars, Progress, RunError, Scenario, Watcher, calibrate, child_main, command_line, commit, compare,
    load_scenario, machine, named_scenarios, results, run_scenario, screen, search, tui,
};

#[global_allocator]
static ALLOCATOR: tegata_pages::HugePages = tegata_pages::HugePages;

/// Loads a Tegata server like an evening peak, and proves exactly-once afterwards.
#[derive(Debug, Parser)]
#[command(
    version,
    after_help = "Exit codes: 0 pass; 1 a goal was missed; 2 exactly-once, conservation or digest violated; \
    3 wrong arguments or scenario; 4 the server cannot be reached; 5 the run is invalid; 6 the run folder cannot be \
    written; 130 interrupted."
)]
struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Runs a scenario.
    Run(RunArgs),
    /// Searches for the highest rate at which a scenario's goals are met.
    Search(SearchArgs),
    /// Measures what the generator itself can offer, against an echo that does nothing.
    Calibrate {
        /// How long each of two measurements lasts: 5s, 1m.
        #[arg(long, value_parser = seconds, default_value = "5s")]
        duration: f64,
    },
    /// Lists the scenarios that need no file.
    Scenarios,
    /// Compares two runs. Exit code 1 when a condition holds.
    Compare {
        /// Folder of the run that it is compared with.
        a: PathBuf,
        /// Folder of the run that is compared.
        b: PathBuf,
        /// Fails if this holds of B against A: p99>+10%, goodput<-5%, max>50ms, achieved<90000/s.
        #[arg(long)]
        fail_if: Vec<String>,
    },
}

#[derive(Debug, clap::Args)]
struct Which {
    /// Name of a scenario, or its file.
    #[arg(long)]
    scenario: String,
    /// Another seed.
    #[arg(long)]
    seed: Option<u64>,
    /// Where the results go; default: tegata-runs/TIME.
    #[arg(long)]
    out: Option<PathBuf>,
}

#[derive(Debug, clap::Args)]
struct RunArgs {
    #[command(flatten)]
    which: Which,
    /// Another length of the load: 10s, 5m, 1h. Phases and faults are stretched alike.
    #[arg(long, value_parser = seconds)]
    duration: Option<f64>,
    /// A closed loop instead of the scenario's rates: the most that the server does, at whatever response time.
    #[arg(long)]
    closed: bool,
    /// A live view on the terminal.
    #[arg(long)]
    tui: bool,
    /// A running server's address for gateways; without it the harness starts its own.
    #[arg(long, requires = "operate")]
    server: Option<SocketAddr>,
    /// The running server's address for operators.
    #[arg(long, requires = "server")]
    operate: Option<SocketAddr>,
}

#[derive(Debug, clap::Args)]
struct SearchArgs {
    #[command(flatten)]
    which: Which,
    /// How long each step lasts.
    #[arg(long, value_parser = seconds, default_value = "5s")]
    step: f64,
}

/// A number and s, m or h.
fn seconds(text: &str) -> Result<f64, String> {
    let (number, factor) = match text.char_indices().last() {
        Some((at, 's')) => (&text[..at], 1.0),
        Some((at, 'm')) => (&text[..at], 60.0),
        Some((at, 'h')) => (&text[..at], 3_600.0),
        _ => (text, 1.0),
    };
    match number.parse::<f64>() {
        Ok(n) if n > 0.0 && n * factor <= 604_800.0 => Ok(n * factor),
        _ => Err("a time is a number with s, m or h: over 0 and at most a week".to_owned()),
    }
}

fn main() -> ExitCode {
    if let Some(code) = child_main() {
        return ExitCode::from(code);
    }
    let args = match Args::try_parse() {
        Ok(args) => args,
        Err(e) => {
            let _ = e.print();
            return ExitCode::from(if e.use_stderr() { 3 } else { 0 });
        }
    };
    let done = match args.command {
        Command::Scenarios => {
            for (name, about) in named_scenarios() {
                println!("{name:20} {about}");
            }
            Ok(0)
        }
        Command::Compare { a, b, fail_if } => compare::compare(&a, &b, &fail_if)
            .map(|comparison| {
                print!("{comparison}");
                u8::from(comparison.fails())
            })
            .map_err(|e| RunError::Usage(e.to_string())),
        Command::Run(args) => run(&args),
        Command::Search(args) => search_peak(&args),
        Command::Calibrate { duration } => measure_generator(duration),
    };
    match done {
        Ok(code) => ExitCode::from(code),
        Err(e) => {
            eprintln!("tegata-load: {e}");
            ExitCode::from(e.exit_code())
        }
    }
}

impl Which {
    fn scenario(&self) -> Result<(String, Scenario), RunError> {
        let mut scenario = load_scenario(&self.scenario).map_err(|e| RunError::Usage(e.to_string()))?;
        scenario.seed = self.seed.unwrap_or(scenario.seed);
        let stem = Path::new(&self.scenario).file_stem();
        Ok((stem.map_or(self.scenario.clone(), |n| n.to_string_lossy().into_owned()), scenario))
    }

    fn folder(&self) -> PathBuf {
        self.out.clone().unwrap_or_else(|| {
            let time = jiff::Timestamp::now().strftime("%Y%m%dT%H%M%SZ").to_string();
            Path::new("tegata-runs").join(time)
        })
    }
}

/// The first signal ends the load in order, the second one the program.
fn signals() -> Result<Arc<AtomicBool>, RunError> {
    let stop = Arc::new(AtomicBool::new(false));
    for signal in [signal_hook::consts::SIGINT, signal_hook::consts::SIGTERM] {
        let ends = signal_hook::flag::register_conditional_shutdown(signal, 130, Arc::clone(&stop));
        let asks = signal_hook::flag::register(signal, Arc::clone(&stop));
        ends.and(asks).map_err(|e| RunError::Usage(format!("signals: {e}")))?;
    }
    Ok(stop)
}

/// Tells what happens, on standard error.
fn teller() -> impl Fn(Progress<'_>) + Sync {
    let (terminal, seeded) = (std::io::stderr().is_terminal(), Mutex::new(0));
    move |p| {
        let mut err = std::io::stderr().lock();
        // Who does not listen misses nothing that is not in the results.
        let _ = match p {
            Progress::Seeding { done, total } if terminal => write!(err, "{}", screen::bar(done, total)),
            p => match screen::line(&p, &mut seeded.lock().expect("nobody panics here")) {
                Some(line) => writeln!(err, "{line}"),
                None => Ok(()),
            },
        };
    }
}

fn run(args: &RunArgs) -> Result<u8, RunError> {
    let (name, mut scenario) = args.which.scenario()?;
    if let Some(seconds) = args.duration {
        scenario.stretch_to(seconds);
    }
    if args.closed {
        scenario.close();
    }
    let folder = args.which.folder();
    results::prepare(&folder)?;
    let stop = signals()?;
    let peak = if scenario.peak_step_seconds > 0.0 {
        if args.server.is_some() {
            return Err(RunError::Usage("the peak of somebody else's server is not searched for: give rates".into()));
        }
        heading();
        let peak = search::peak_of(&name, &scenario, &folder.join("peak"), &stop, &mut |s| tell_step(s))?;
        println!("peak {peak:.0}/s");
        Some(peak)
    } else {
        None
    };
    let elsewhere = args.server.zip(args.operate).map(|(addr, operate)| Elsewhere { addr, operate });
    let load =
        |show: &Watcher<'_>| run_scenario(&name, &scenario, peak, elsewhere, Liars::default(), &folder, &stop, show);
    let mut run = if args.tui {
        let tui = tui::Tui::new(&name).map_err(|e| RunError::Usage(format!("the terminal: {e}")))?;
        load(&|p| tui.hear(p))?
    } else {
        load(&teller())?
    };
    let environment = &mut run.summary.environment;
    (environment.machine, environment.commit) = (machine(), commit());
    environment.command = command_line("cargo run --release -p tegata-load --");
    results::write(&folder, &scenario, &run)?;
    print!("{}", screen::verdict(&run, &folder));
    Ok(run.summary.exit_code)
}

fn heading() {
    println!("{:>12} {:>12} {:>10} {:>10} {:>9}  verdict", "offered/s", "goodput/s", "p50 ms", "p99 ms", "answered");
}

fn tell_step(step: &search::Step) {
    let m = &step.run.summary;
    println!(
        "{:>12} {:>12.0} {:>10.2} {:>10.2} {:>8.2}%  {}{}",
        if m.closed_loop { "closed loop".to_owned() } else { format!("{:.0}", step.rate) },
        m.goodput_per_second,
        m.response.p50_us / 1e3,
        m.response.p99_us / 1e3,
        m.answered_in_deadline * 100.0,
        m.verdict,
        m.why.first().map(|why| format!(": {why}")).unwrap_or_default()
    );
}

fn search_peak(args: &SearchArgs) -> Result<u8, RunError> {
    let (name, scenario) = args.which.scenario()?;
    let folder = args.which.folder();
    let stop = signals()?;
    heading();
    let mut worst = 0;
    let found = search::search(&name, &scenario, args.step, &folder, &stop, &|_| {}, &mut |step| {
        let m = &step.run.summary;
        // A step that misses its goals, or is too much for the generator, is what is searched for.
        worst = worst.max(if matches!(m.exit_code, 1 | 5) { 0 } else { m.exit_code });
        tell_step(step);
    })?;
    println!("results {}", folder.display());
    match found {
        Some(rate) => println!("peak {rate:.0}/s: the highest rate tried at which every goal was met"),
        None => println!("peak: no rate that was tried met every goal"),
    }
    Ok(match (worst, stop.load(Ordering::Relaxed)) {
        (2, _) => 2,
        (_, true) => 130,
        (0, _) => u8::from(found.is_none()),
        (code, _) => code,
    })
}

fn measure_generator(duration: f64) -> Result<u8, RunError> {
    println!("{:12} {:>12} {:>8} {:>10} {:>8}", "", "offered/s", "late", "processor", "ns each");
    for m in calibrate(duration)? {
        println!(
            "{:12} {:>12.0} {:>7.2}% {:>9.0}% {:>8.0}",
            if m.closed_loop { "closed loop" } else { "open loop" },
            m.achieved_per_second,
            m.generator_late * 100.0,
            m.generator_cpu * 100.0,
            m.generator_cpu * 1e9 / m.achieved_per_second.max(1.0)
        );
    }
    println!("{}", machine());
    Ok(0)
}
