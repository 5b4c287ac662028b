//! How long a server takes to come back, and what payments feel while a snapshot is written, as one line of JSON.

use clap::Parser;
use std::process::ExitCode;
use tegata_bench::restarts;
use tegata_load::child_main;

#[global_allocator]
static ALLOCATOR: tegata_pages::HugePages = tegata_pages::HugePages;

/// Measures restarts at a size.
#[derive(Debug, Parser)]
#[command(version)]
struct Args {
    /// Coupons; each is issued by one decision.
    #[arg(long, default_value_t = 10_000_000)]
    coupons: u32,
    /// Memory that the server under load has ready before.
    #[arg(long, default_value_t = 4_200_000_000)]
    warm_bytes: usize,
    /// Where the data folder goes; default: the folder for temporary files.
    #[arg(long)]
    dir: Option<std::path::PathBuf>,
}

fn main() -> ExitCode {
    if let Some(code) = child_main() {
        return ExitCode::from(code);
    }
    let args = Args::parse();
    match restarts(args.coupons, args.warm_bytes, args.dir.as_deref()) {
        Ok(r) => {
            println!(
                "{}",
                serde_json::json!({
                    "coupons": args.coupons, "replayed": r.replayed, "replay_ms": r.replay_ms,
                    "snapshot_bytes": r.snapshot_bytes, "snapshot_ms": r.snapshot_ms, "full_load": r.full_load,
                    "p99_us": r.beside.p99_us, "p99_beside_us": r.beside.p99_beside_us,
                    "snapshot_took_ms": r.beside.snapshot_took.as_millis() as u64, "ratios": r.ratios,
                    "not_approved": r.not_approved,
                })
            );
            ExitCode::SUCCESS
        }
        Err(e) => {
            eprintln!("restart: {e}");
            ExitCode::FAILURE
        }
    }
}
