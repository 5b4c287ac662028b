//! What the tables cost at a size, as one line of JSON.

use clap::Parser;
use tegata_bench::tables;

#[global_allocator]
static ALLOCATOR: tegata_pages::HugePages = tegata_pages::HugePages;

/// Measures tables at a size.
#[derive(Debug, Parser)]
#[command(version)]
struct Args {
    /// Coupons; each is issued by one decision.
    #[arg(long, default_value_t = 10_000_000)]
    coupons: u64,
    /// Debits after that.
    #[arg(long, default_value_t = 10_000_000)]
    debits: u64,
    /// Slots of a page of the snapshot.
    #[arg(long, default_value_t = 2_048)]
    page: usize,
    /// Bytes of memory that are touched before.
    #[arg(long, default_value_t = 4_200_000_000)]
    warm_bytes: usize,
}

fn main() {
    let args = Args::parse();
    if tegata_pages::keep_warm(args.warm_bytes).is_ok() {
        tegata_pages::wait_until_warm();
    }
    let t = tables(args.coupons, args.debits, args.page);
    println!(
        "{}",
        serde_json::json!({
            "coupons": args.coupons, "debits": args.debits, "bytes_per_coupon": t.bytes_per_coupon,
            "bytes_per_decision": t.bytes_per_decision, "bytes_per_debit": t.bytes_per_debit,
            "issues_per_second": t.issues_per_second, "debits_per_second": t.debits_per_second,
            "longest_apply_us": t.longest_apply.as_micros() as u64, "applies_over_1_ms": t.slow,
            "applies_over_1_ms_in_both": t.slow_in_both, "snapshot_begin_us": t.snapshot_begin.as_micros() as u64,
            "snapshot_copy_ms": t.snapshot_copy.as_millis() as u64,
            "longest_page_us": t.longest_page.as_micros() as u64, "restore_ms": t.restore.as_millis() as u64,
        })
    );
}
