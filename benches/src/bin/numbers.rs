//! Every number that is asked for, measured and held against its goal: the debit rate in three shapes next to an echo
//! with the same journal writes, memory, pauses, recovery, snapshots. Says the machine, the commit and the command.

use clap::Parser;
use std::process::ExitCode;
use tegata_bench::{Rates, Shape, command_line, commit, machine, per_second, rates, restarts, tables, us};
use tegata_load::{LinkError, child_main};

#[global_allocator]
static ALLOCATOR: tegata_pages::HugePages = tegata_pages::HugePages;

/// Measures everything.
#[derive(Debug, Parser)]
#[command(version)]
struct Args {
    /// Coupons of the large data sets.
    #[arg(long, default_value_t = 10_000_000)]
    coupons: u32,
    /// Length of each counted window, in seconds.
    #[arg(long, default_value_t = 5)]
    seconds: u64,
    /// Runs of each shape; the one with the median ratio is shown.
    #[arg(long, default_value_t = 3)]
    runs: usize,
    /// Where the data folders go; default: the folder for temporary files.
    #[arg(long)]
    dir: Option<std::path::PathBuf>,
}

fn main() -> ExitCode {
    if let Some(code) = child_main() {
        return ExitCode::from(code);
    }
    let args = Args::parse();
    println!(
        "machine  {}\ncommit   {}\ncommand  {}\n",
        machine(),
        commit(),
        command_line("cargo run --release -p tegata-bench --bin numbers --")
    );
    match measure(&args) {
        Ok(missed) => {
            println!("\n{missed} goals missed");
            ExitCode::SUCCESS
        }
        Err(e) => {
            eprintln!("numbers: {e}");
            ExitCode::FAILURE
        }
    }
}

/// Prints a line; returns 1 when the goal is missed.
fn line(what: &str, measured: &str, goal: &str, reached: bool) -> u32 {
    println!("{what:<44} {measured:<46} {goal:<34} {}", if reached { "reached" } else { "MISSED" });
    u32::from(!reached)
}

fn measure(args: &Args) -> Result<u32, LinkError> {
    let mut missed = debits(args)?;
    missed += restart(args)?;
    // Last: what it touches stays with this process, and would be in the way of the servers.
    Ok(missed + large(args))
}

/// The run with the median ratio.
fn median(args: &Args, connections: usize, depth: usize) -> Result<Rates, LinkError> {
    let shape = Shape { connections, depth, seconds: args.seconds, dir: args.dir.clone(), ..Shape::default() };
    let mut all = (0..args.runs.max(1)).map(|_| rates(&shape)).collect::<Result<Vec<_>, _>>()?;
    all.sort_by(|a, b| ratio(a).total_cmp(&ratio(b)));
    Ok(all.swap_remove(all.len() / 2))
}

fn ratio(r: &Rates) -> f64 {
    r.echo.as_ref().map_or(0.0, |e| per_second(&r.debits) / per_second(e).max(1.0))
}

/// The debit rate. Where the echo itself falls below its own measure, the goal is a share of the echo.
fn debits(args: &Args) -> Result<u32, LinkError> {
    let mut missed = 0;
    for (connections, depth, goal, echo_goal, share) in
        [(64, 16, 1_000_000.0, 1_500_000.0, 0.67), (64, 1, 70_000.0, 95_000.0, 0.74)]
    {
        let r = median(args, connections, depth)?;
        let (rate, echo) = (per_second(&r.debits), r.echo.as_ref().map_or(0.0, per_second));
        let measured =
            format!("{rate:.0}/s, echo {echo:.0}/s, ratio {:.2}, p50 {:.0} µs", ratio(&r), us(&r.debits, 0.5));
        let reached = rate >= goal || (echo < echo_goal && rate >= share * echo);
        let goal = format!("{goal:.0}/s, or {share} of a slower echo");
        missed += line(&format!("durable debits, {connections} × {depth}"), &measured, &goal, reached);
    }
    let r = median(args, 1, 1)?;
    let (p50, echo) = (us(&r.debits, 0.5), r.echo.as_ref().map_or(0.0, |e| us(e, 0.5)));
    let reached = p50 <= 200.0 || (echo > 150.0 && p50 <= 1.33 * echo);
    let measured = format!("p50 {p50:.0} µs, echo {echo:.0} µs");
    Ok(missed + line("durable debits, one at a time", &measured, "200 µs, or 1.33 of a slower echo", reached))
}

fn restart(args: &Args) -> Result<u32, LinkError> {
    let r = restarts(args.coupons, 4_200_000_000, args.dir.as_deref())?;
    let per_second = r.replayed as f64 / (r.replay_ms as f64 / 1e3).max(1e-3);
    let (loaded, beside) = (r.snapshot_ms as f64 / 1e3, r.beside);
    let ratios: Vec<String> = r.ratios.iter().map(|r| format!("{r:.2}")).collect();
    Ok(line(
        &format!("recovery of {} records from the log", r.replayed),
        &format!("{per_second:.0} records/s, ready in {:.1} s", r.replay_ms as f64 / 1e3),
        "1000000 records/s",
        per_second >= 1e6,
    ) + line(
        &format!("a snapshot of {} coupons loads", args.coupons),
        &format!("{loaded:.1} s, {} MB", r.snapshot_bytes / 1_000_000),
        "10 s",
        loaded <= 10.0,
    ) + line(
        &format!("p99 at {:.0} debits/s beside a snapshot", r.full_load / 2.0),
        &format!(
            "{:.0} µs, {:.0} µs without, {:.1} s long; ratios {}",
            beside.p99_beside_us,
            beside.p99_us,
            beside.snapshot_took.as_secs_f64(),
            ratios.join(", ")
        ),
        "less than twice",
        beside.ratio() < 2.0 && r.not_approved == 0,
    ))
}

fn large(args: &Args) -> u32 {
    if tegata_pages::keep_warm(4_200_000_000).is_ok() {
        tegata_pages::wait_until_warm();
    }
    let t = tables(u64::from(args.coupons), u64::from(args.coupons), 256);
    let bytes = |what, measured: f64| line(what, &format!("{measured:.1} B"), "128 B", measured <= 128.0);
    bytes("memory of a coupon", t.bytes_per_coupon)
        + bytes("memory of a remembered issue", t.bytes_per_decision)
        + bytes("memory of a remembered debit", t.bytes_per_debit)
        + line(
            "applies over 1 ms while tables grow",
            &format!(
                "{} of {} in two runs, {} and {} in one; longest {} µs",
                t.slow_in_both,
                2 * u64::from(args.coupons),
                t.slow[0],
                t.slow[1],
                t.longest_apply.as_micros()
            ),
            "none at the same command in both runs",
            t.slow_in_both == 0,
        )
        + line(
            "applied in process, one after the other",
            &format!("{:.0} issues/s, {:.0} debits/s", t.issues_per_second, t.debits_per_second),
            "–",
            true,
        )
}
