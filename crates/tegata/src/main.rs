//! The command line: serve and demo so far.

mod demo;
mod serve;

use clap::{Parser, Subcommand};
use std::process::ExitCode;

#[global_allocator]
static ALLOCATOR: tegata_pages::HugePages = tegata_pages::HugePages;

/// A payment-authorization core for coupons and prepaid value.
#[derive(Debug, Parser)]
#[command(version)]
struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Serve gateways and operators until it is told to stop.
    Serve(serve::Args),
    /// Show in a few seconds what it is for: a payment, a crash, the same payment again.
    Demo,
}

fn main() -> ExitCode {
    match Args::parse().command {
        Command::Serve(args) => serve::run(args),
        Command::Demo => demo::run(),
    }
}
