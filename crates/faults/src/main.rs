//! `tegata-faults`: does every fault to a real server, and tells of each what showed it, what was promised, and whether it
//! held.

use clap::Parser;
use std::process::ExitCode;
use tegata_faults::{FAULTS, Fault, Outcome, Scale, child_main};

#[global_allocator]
static ALLOCATOR: tegata_pages::HugePages = tegata_pages::HugePages;

/// Real faults on the real server.
#[derive(Debug, Parser)]
#[command(
    after_help = "Exit codes: 0 every fault that this machine allows happened, and every promise held; 1 not so."
)]
struct Args {
    /// Only these.
    #[arg(long)]
    only: Vec<String>,
    /// Each once or twice.
    #[arg(long)]
    short: bool,
    /// Only their names and promises.
    #[arg(long)]
    list: bool,
}

fn main() -> ExitCode {
    if let Some(code) = child_main() {
        return ExitCode::from(code);
    }
    let args = Args::parse();
    let chosen: Vec<&Fault> =
        FAULTS.iter().filter(|f| args.only.is_empty() || args.only.iter().any(|n| n == f.name)).collect();
    if chosen.is_empty() {
        eprintln!("no such fault; --list names them");
        return ExitCode::from(2);
    }
    if args.list {
        chosen.iter().for_each(|f| println!("{:16} {}", f.name, f.promise));
        return ExitCode::SUCCESS;
    }
    let scale = if args.short { Scale::Short } else { Scale::Full };
    let (mut held, mut skipped) = (0, 0);
    for fault in &chosen {
        let (word, told) = match fault.run(scale) {
            Outcome::Held { evidence, compared } => {
                held += 1;
                ("held", format!("happened: {evidence}\n{:16} compared: {compared}", ""))
            }
            Outcome::Skipped(why) => {
                skipped += 1;
                ("SKIPPED", format!("this machine does not allow it: {why}"))
            }
            Outcome::Broken(why) => ("BROKEN", why),
        };
        println!("{:16} {word}: {}\n{:16} {told}", fault.name, fault.promise, "");
    }
    println!("faults: held={held}/{} skipped={skipped}", chosen.len());
    ExitCode::from(u8::from(held + skipped != chosen.len()))
}
