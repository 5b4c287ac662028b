//! How many durable, exactly-once debits a second, against a server that is started for it, and next to a bare frame
//! echo with the same journal writes in the same run.

use clap::Parser;
use std::net::SocketAddr;
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;
use tegata_load::{CHILD_ECHO, CHILD_SERVE, LinkError, Outcome, Plan, Purchases, ServerProcess, child_main, run, seed};

#[global_allocator]
static ALLOCATOR: tegata_pages::HugePages = tegata_pages::HugePages;

/// Measures the debit rate.
#[derive(Debug, Parser)]
#[command(version)]
struct Args {
    /// Connections.
    #[arg(long, default_value_t = 64)]
    connections: usize,
    /// Requests in flight on each connection.
    #[arg(long, default_value_t = 16)]
    depth: usize,
    /// Length of the counted window, in seconds.
    #[arg(long, default_value_t = 5)]
    seconds: u64,
    /// Length of the warm-up before it, in seconds.
    #[arg(long, default_value_t = 1)]
    warm_up: u64,
    /// Coupons to seed and to pay with.
    #[arg(long, default_value_t = 1_000_000)]
    coupons: u32,
    /// A running server whose data set is seeded, instead of a new one. The echo is then left out.
    #[arg(long)]
    server: Option<SocketAddr>,
    /// Partitions of the server's state.
    #[arg(long, default_value_t = 8)]
    shards: u32,
    /// Threads of the server that serve connections; default: what the server chooses on this machine.
    #[arg(long)]
    io_threads: Option<usize>,
    /// Memory that the server has ready before the run, as one that has been up for a while has.
    #[arg(long, default_value_t = 1_500_000_000)]
    warm_bytes: usize,
    /// Where the data folders go; default: the folder for temporary files.
    #[arg(long)]
    dir: Option<std::path::PathBuf>,
    /// Leave the echo out; its numbers are then 0.
    #[arg(long)]
    no_echo: bool,
    /// One line of JSON.
    #[arg(long)]
    json: bool,
}

const SHOPS: u32 = 500;

fn main() -> ExitCode {
    if let Some(code) = child_main() {
        return ExitCode::from(code);
    }
    let args = Args::parse();
    match measure(&args) {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            eprintln!("debits: {e}");
            ExitCode::FAILURE
        }
    }
}

fn measure(args: &Args) -> Result<(), LinkError> {
    let plan = |addr| Plan {
        addr,
        connections: args.connections,
        depth: args.depth,
        warm_up: Duration::from_secs(args.warm_up),
        window: Duration::from_secs(args.seconds),
    };
    let mut purchases = Purchases::new(args.coupons, SHOPS, 20_230_224);
    let dir = match &args.dir {
        Some(d) => tempfile::tempdir_in(d)?,
        None => tempfile::tempdir()?,
    };
    let echo = if args.server.is_some() || args.no_echo {
        None
    } else {
        let server = ServerProcess::start(CHILD_ECHO, &dir.path().join("echo"), &[])?;
        let outcome = run(&plan(server.addr), &mut purchases)?;
        server.stop()?;
        std::fs::remove_dir_all(dir.path().join("echo"))?;
        Some(outcome)
    };
    let (debits, server_cpu) = match args.server {
        Some(addr) => (run(&plan(addr), &mut purchases)?, 0.0),
        None => against_own(args, &dir.path().join("data"), &plan, &mut purchases)?,
    };
    report(args, &debits, echo.as_ref(), server_cpu);
    Ok(())
}

fn against_own(
    args: &Args,
    data: &Path,
    plan: &dyn Fn(SocketAddr) -> Plan,
    purchases: &mut Purchases,
) -> Result<(Outcome, f64), LinkError> {
    let mut settings = vec![format!("shards={}", args.shards), format!("warm_bytes={}", args.warm_bytes)];
    settings.extend(args.io_threads.map(|n| format!("io_threads={n}")));
    let server = ServerProcess::start(CHILD_SERVE, data, &settings)?;
    let balance = tegata_model::Amount::new(999_999_999).expect("in range");
    seed(server.operate, args.coupons, SHOPS, balance)?;
    let before = server.cpu_seconds();
    let outcome = run(&plan(server.addr), purchases)?;
    let cpu = match (before, server.cpu_seconds()) {
        (Some(a), Some(b)) => ((b.0 + b.1) - (a.0 + a.1)) / (args.seconds + args.warm_up) as f64,
        _ => 0.0,
    };
    server.stop()?;
    Ok((outcome, cpu))
}

fn per_second(o: &Outcome) -> f64 {
    (o.approved as f64 / o.seconds).round()
}

fn us(o: &Outcome, quantile: f64) -> f64 {
    o.latency.value_at_quantile(quantile) as f64 / 1_000.0
}

fn report(args: &Args, d: &Outcome, echo: Option<&Outcome>, server_cpu: f64) {
    if !args.json {
        println!("debits     {:>10} per second   p50 {:.1} µs   p99 {:.1} µs", per_second(d), us(d, 0.5), us(d, 0.99));
        if let Some(e) = echo {
            println!(
                "echo       {:>10} per second   p50 {:.1} µs   p99 {:.1} µs",
                per_second(e),
                us(e, 0.5),
                us(e, 0.99)
            );
            println!("ratio      {:>10.3}", per_second(d) / per_second(e).max(1.0));
        }
        println!("processor  server {:.2} cores, generator {:.2} cores", server_cpu, d.own_cpu);
    }
    let line = serde_json::json!({
        "debits_per_second": per_second(d),
        "p50_us": us(d, 0.5),
        "p99_us": us(d, 0.99),
        "approved": d.approved,
        "declined": d.declined,
        "suspected": d.suspected,
        "errors": d.errors,
        "durable_echo_per_second": echo.map_or(0.0, per_second),
        "durable_echo_p50_us": echo.map_or(0.0, |e| us(e, 0.5)),
    });
    println!("{line}");
}
