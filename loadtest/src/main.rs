//! `tegata-load`: loads a server like an evening peak, and proves exactly-once afterwards.

use clap::{Parser, Subcommand};
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use tegata_load::{
    Elsewhere, Liars, Run, RunError, Scenario, Summary, child_main, command_line, commit, compare, load_scenario,
    machine, named_scenarios, percentiles, report, run_scenario, timeline,
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
struct RunArgs {
    /// Name of a scenario, or its file.
    #[arg(long)]
    scenario: String,
    /// Another length of the load: 10s, 5m, 1h. Phases and faults are stretched alike.
    #[arg(long, value_parser = seconds)]
    duration: Option<f64>,
    /// Another seed.
    #[arg(long)]
    seed: Option<u64>,
    /// A running server's address for gateways; without it the harness starts its own.
    #[arg(long, requires = "operate")]
    server: Option<SocketAddr>,
    /// The running server's address for operators.
    #[arg(long, requires = "server")]
    operate: Option<SocketAddr>,
    /// Where the results go; default: tegata-runs/TIME.
    #[arg(long)]
    out: Option<PathBuf>,
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
    match args.command {
        Command::Scenarios => {
            for (name, about) in named_scenarios() {
                println!("{name:20} {about}");
            }
            ExitCode::SUCCESS
        }
        Command::Compare { a, b, fail_if } => match compare::compare(&a, &b, &fail_if) {
            Ok(comparison) => {
                print!("{comparison}");
                ExitCode::from(u8::from(comparison.fails()))
            }
            Err(e) => {
                eprintln!("tegata-load: {e}");
                ExitCode::from(3)
            }
        },
        Command::Run(args) => match run(&args) {
            Ok(code) => ExitCode::from(code),
            Err(e) => {
                eprintln!("tegata-load: {e}");
                ExitCode::from(e.exit_code())
            }
        },
    }
}

fn run(args: &RunArgs) -> Result<u8, RunError> {
    let mut scenario = load_scenario(&args.scenario).map_err(|e| RunError::Usage(e.to_string()))?;
    if let Some(seconds) = args.duration {
        scenario.stretch_to(seconds);
    }
    scenario.seed = args.seed.unwrap_or(scenario.seed);
    let name =
        Path::new(&args.scenario).file_stem().map_or(args.scenario.clone(), |n| n.to_string_lossy().into_owned());
    let folder = args.out.clone().unwrap_or_else(|| {
        let time = jiff::Timestamp::now().strftime("%Y%m%dT%H%M%SZ").to_string();
        Path::new("tegata-runs").join(time)
    });
    let folder_error = |e: io::Error| RunError::Folder(format!("{}: {e}", folder.display()));
    std::fs::create_dir_all(&folder).map_err(folder_error)?;
    let stop = Arc::new(AtomicBool::new(false));
    // The first signal ends the load in order, the second one the program.
    for signal in [signal_hook::consts::SIGINT, signal_hook::consts::SIGTERM] {
        let ends = signal_hook::flag::register_conditional_shutdown(signal, 130, Arc::clone(&stop));
        let asks = signal_hook::flag::register(signal, Arc::clone(&stop));
        ends.and(asks).map_err(|e| RunError::Usage(format!("signals: {e}")))?;
    }
    let elsewhere = args.server.zip(args.operate).map(|(addr, operate)| Elsewhere { addr, operate });
    let mut run =
        run_scenario(&name, &scenario, elsewhere, Liars::default(), &folder, &stop, &|text| eprintln!("{text}"))?;
    let environment = &mut run.summary.environment;
    (environment.machine, environment.commit) = (machine(), commit());
    environment.command = command_line("cargo run --release -p tegata-load --");
    write(&folder, &scenario, &run).map_err(folder_error)?;
    print(&run, &folder);
    Ok(run.summary.exit_code)
}

/// Everything that a run leaves, beside the clients' journal, which is there already.
fn write(folder: &Path, scenario: &Scenario, run: &Run) -> io::Result<()> {
    let (response, service) = (percentiles::write(&run.response), percentiles::write(&run.service));
    let curve = |text: &str| percentiles::read(text).unwrap_or_default();
    let page = report::render(&run.summary, &run.seconds, &curve(&response), &curve(&service));
    let files = [
        ("summary.json", serde_json::to_string_pretty(&run.summary)?),
        ("environment.json", serde_json::to_string_pretty(&run.summary.environment)?),
        ("scenario.toml", toml::to_string(scenario).map_err(io::Error::other)?),
        ("timeline.csv", timeline::write(&run.seconds)),
        ("response.hdr.txt", response),
        ("service.hdr.txt", service),
        ("findings.txt", run.findings.iter().map(|f| format!("{f}\n")).collect()),
        ("report.html", page),
    ];
    files.iter().try_for_each(|(name, text)| std::fs::write(folder.join(name), text))
}

/// The verdict: one screen.
fn print(run: &Run, folder: &Path) {
    let m: &Summary = &run.summary;
    let ms = |us: f64| format!("{:.2} ms", us / 1e3);
    println!("scenario   {} · seed {} · {:.0} s · {}", m.scenario, m.seed, m.seconds, m.started_at);
    println!("server     {}", m.environment.server);
    println!(
        "offered    {:.0}/s, sent {:.0}/s, {} sends ({} repeated)",
        m.offered_per_second, m.achieved_per_second, m.sends, m.repeated
    );
    let l = |l: &tegata_load::Latency| {
        format!("p50 {}  p99 {}  p99.9 {}  max {}", ms(l.p50_us), ms(l.p99_us), ms(l.p999_us), ms(l.max_us))
    };
    println!("response   {}", l(&m.response));
    println!("service    {}", l(&m.service));
    println!(
        "outcomes   approved {}  declined {}  suspected {}  not executed {}  resolved afterwards {}",
        m.approved, m.declined, m.suspected, m.rejected, m.resolved
    );
    println!("generator  late {:.2} %, processor {:.0} %", m.generator_late * 100.0, m.generator_cpu * 100.0);
    for f in &m.faults {
        let fired = if f.fired { "fired" } else { "DID NOT FIRE" };
        println!("fault      {} at {:.1} s: {fired}, {}", f.kind, f.at_ms as f64 / 1e3, f.proof);
    }
    for s in &m.slos {
        println!("goal       {} {}: {:.3}, {}", s.name, s.goal, s.measured, if s.met { "met" } else { "MISSED" });
    }
    let digest = match m.digest_equal {
        Some(true) => "equal to a replay",
        Some(false) => "NOT EQUAL to a replay",
        None => "not compared: the journal is elsewhere",
    };
    println!(
        "ledger     sums {}, digest {digest}, joined in {:.1} s",
        if m.conserved { "conserved" } else { "NOT CONSERVED" },
        m.reconciled_in_s
    );
    for finding in &run.findings {
        println!("           {finding}");
    }
    for why in &m.why {
        println!("why        {why}");
    }
    println!("results    {}", folder.display());
    let r = &m.reconciliation;
    println!(
        "reconciliation LOST {} DOUBLE {} GHOST {} ORPHAN {} WRONG {} NEGATIVE {} DIFFERS {} of {} attempts",
        r.lost, r.double, r.ghost, r.orphan, r.wrong, r.negative, r.differs, r.attempts
    );
    println!("goodput {:.0}/s answered {:.2}%", m.goodput_per_second, m.answered_in_deadline * 100.0);
    println!("verdict: {}", m.verdict);
}
