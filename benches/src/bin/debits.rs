//! The debit rate, as one line of JSON or as a short table.

use clap::Parser;
use std::net::SocketAddr;
use std::process::ExitCode;
use tegata_bench::{Rates, Shape, per_second, rates, us};
use tegata_load::child_main;

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
    /// A running server instead of a new one. The echo is then left out.
    #[arg(long)]
    server: Option<SocketAddr>,
    /// Where the running server takes operators' requests: its data set is seeded first. Without it the coupons of an
    /// earlier run are paid with.
    #[arg(long, requires = "server")]
    operate: Option<SocketAddr>,
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

fn main() -> ExitCode {
    if let Some(code) = child_main() {
        return ExitCode::from(code);
    }
    let args = Args::parse();
    let shape = Shape {
        connections: args.connections,
        depth: args.depth,
        seconds: args.seconds,
        warm_up: args.warm_up,
        coupons: args.coupons,
        server: args.server,
        operate: args.operate,
        shards: args.shards,
        io_threads: args.io_threads,
        warm_bytes: args.warm_bytes,
        dir: args.dir,
        echo: !args.no_echo,
    };
    match rates(&shape) {
        Ok(r) => {
            report(&r, args.json);
            ExitCode::SUCCESS
        }
        Err(e) => {
            eprintln!("debits: {e}");
            ExitCode::FAILURE
        }
    }
}

fn report(r: &Rates, json: bool) {
    let (d, echo) = (&r.debits, r.echo.as_ref());
    if !json {
        let line = |name, o| {
            println!(
                "{name:<10} {:>10} per second   p50 {:.1} µs   p99 {:.1} µs",
                per_second(o),
                us(o, 0.5),
                us(o, 0.99)
            );
        };
        line("debits", d);
        if let Some(e) = echo {
            line("echo", e);
            println!("ratio      {:>10.3}", per_second(d) / per_second(e).max(1.0));
        }
        println!("processor  server {:.2} cores, generator {:.2} cores", r.server_cpu, d.own_cpu);
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
