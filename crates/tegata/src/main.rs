//! The command line.

mod access;
mod audit;
mod breaker;
mod config;
mod demo;
mod exit;
mod explain;
mod journal;
mod look;
mod office;
mod output;
mod parse;
mod pay;
mod rules;
mod serve;
mod talk;

use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{CommandFactory, Parser, Subcommand};
use exit::Exit;
use output::{Failure, print};
use std::path::PathBuf;
use std::process::ExitCode;
use tegata_model::{AccountId, Life};

#[global_allocator]
static ALLOCATOR: tegata_pages::HugePages = tegata_pages::HugePages;

/// A payment-authorization core for coupons and prepaid value.
#[derive(Debug, Parser)]
#[command(name = "tegata", version, max_term_width = 100)]
struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Serve gateways and operators until it is told to stop.
    Serve(serve::Args),
    /// Show in a few seconds what it is for: a payment, a crash, the same payment again.
    Demo(demo::Args),
    /// Check or show the configuration.
    #[command(subcommand)]
    Config(config::ConfigCommand),
    /// What each caller may do.
    #[command(subcommand)]
    Rights(access::RightsCommand),
    /// Secrets by which callers prove who they are.
    #[command(subcommand)]
    Credential(access::CredentialCommand),
    /// Certificates by which callers prove who they are.
    #[command(subcommand)]
    Tls(access::TlsCommand),
    /// Programmes: schemes with their own rules.
    #[command(subcommand)]
    Programme(rules::ProgrammeCommand),
    /// Shops.
    #[command(subcommand)]
    Shop(rules::ShopCommand),
    /// Issue a paper coupon.
    Issue(office::Issue),
    /// Put value on a wallet against cash or a bank transfer.
    Load(office::Load),
    /// Move a paper coupon's value into a wallet.
    Charge(pay::Charge),
    /// Pay.
    Debit(pay::Debit),
    /// Reserve value.
    Hold(pay::Hold),
    /// Take what was reserved, or less of it.
    Capture(pay::Capture),
    /// Cancel a hold.
    Void(pay::Original),
    /// Confirm a debit that waits for its confirmation.
    Confirm(pay::Original),
    /// Treat an operation as never made, also when it has not arrived yet.
    Reverse(pay::Reverse),
    /// Give back an earlier payment, or part of it, to the lots that it came from.
    Refund(pay::Refund),
    /// Give value back to a coupon or wallet: plan, then apply by two people.
    #[command(subcommand)]
    Reinstate(office::ReinstateCommand),
    /// Stop a coupon or wallet, a shop or a programme for now.
    #[command(subcommand)]
    Suspend(office::LifeOf),
    /// End a suspension.
    #[command(subcommand)]
    Resume(office::LifeOf),
    /// End a coupon or wallet, a shop or a programme.
    #[command(subcommand)]
    Close(office::LifeOf),
    /// What is decided under a key?
    Status(pay::AboutKey),
    /// Decide a key as "never", unless it is decided already.
    Fence(pay::AboutKey),
    /// What is on a coupon or wallet.
    Balance(look::Balance),
    /// Decisions in log order.
    History(look::History),
    /// Extend the expiry of a cohort: plan, then apply by two people.
    #[command(subcommand)]
    Extend(office::ExtendCommand),
    /// The running server.
    #[command(subcommand)]
    Server(look::ServerCommand),
    /// The running server's circuit breakers.
    #[command(subcommand)]
    Breaker(breaker::BreakerCommand),
    /// Practise: open a breaker of the running server for a bounded time.
    Drill(breaker::Drill),
    /// The journal in a data folder.
    #[command(subcommand)]
    Journal(journal::JournalCommand),
    /// Signed heads of the log, which show whether it was rewritten.
    #[command(subcommand)]
    Audit(audit::AuditCommand),
    /// Snapshots: the state as of a position, so that a start need not replay the whole log.
    #[command(subcommand)]
    Snapshot(journal::SnapshotCommand),
    /// What a code means.
    Explain(explain::Explain),
    /// Print completions for a shell.
    Completions {
        /// Which shell.
        shell: clap_complete::Shell,
    },
    /// Write the man pages into a folder.
    Man {
        /// Where.
        folder: PathBuf,
    },
}

fn main() -> ExitCode {
    macro_rules! say {
        ($command:expr, $run:ident $(, $arg:expr)?) => {{
            let (command, json) = { let c = $command; let json = c.json(); (c, json) };
            print(command.$run($($arg)?), json)
        }};
    }
    let args = match Args::try_parse() {
        Ok(args) => args,
        Err(e) => masked(e).exit(),
    };
    match args.command {
        Command::Serve(args) => serve::run(args),
        Command::Demo(args) => demo::run(&args),
        Command::Config(c) => say!(c, run),
        Command::Rights(c) => say!(c, run),
        Command::Credential(c) => say!(c, run),
        Command::Tls(c) => say!(c, run),
        Command::Programme(c) => say!(c, run),
        Command::Shop(c) => say!(c, run),
        Command::Issue(c) => say!(c, run),
        Command::Load(c) => say!(c, run),
        Command::Charge(c) => say!(c, run),
        Command::Debit(c) => say!(c, run),
        Command::Hold(c) => say!(c, run),
        Command::Capture(c) => say!(c, run),
        Command::Void(c) => say!(c, void),
        Command::Confirm(c) => say!(c, confirm),
        Command::Reverse(c) => say!(c, run),
        Command::Refund(c) => say!(c, run),
        Command::Reinstate(c) => say!(c, run),
        Command::Suspend(c) => say!(c, set, Life::Suspended),
        Command::Resume(c) => say!(c, set, Life::Active),
        Command::Close(c) => say!(c, set, Life::Closed),
        Command::Status(c) => say!(c, status),
        Command::Fence(c) => say!(c, fence),
        Command::Balance(c) => say!(c, run),
        Command::History(c) => say!(c, run),
        Command::Extend(c) => say!(c, run),
        Command::Server(c) => say!(c, run),
        Command::Breaker(c) => say!(c, run),
        Command::Drill(c) => say!(c, run),
        Command::Journal(c) => say!(c, run),
        Command::Audit(c) => say!(c, run),
        Command::Snapshot(c) => say!(c, run),
        Command::Explain(c) => say!(c, run),
        Command::Completions { shell } => {
            clap_complete::generate(shell, &mut Args::command(), "tegata", &mut std::io::stdout());
            Exit::Done.into()
        }
        Command::Man { folder } => match man(&folder) {
            Ok(()) => Exit::Done.into(),
            Err(e) => print(Err(Failure::new(Exit::Usage, format!("{}: {e}", folder.display()))), false),
        },
    }
}

/// What was typed is shown, but not what may be somebody's coupon.
fn masked(mut e: clap::Error) -> clap::Error {
    let text = |e: &clap::Error, kind| match e.get(kind) {
        Some(ContextValue::String(text)) => text.clone(),
        _ => String::new(),
    };
    let arg = text(&e, ContextKind::InvalidArg);
    let mask = |text: &str| {
        let masked = AccountId::from_text(text).map(|id| id.masked().to_string());
        ContextValue::String(masked.unwrap_or_else(|_| format!("({} characters)", text.chars().count())))
    };
    match e.kind() {
        // A word that has no name may be anything: the order of a coupon and an amount is easily mistaken.
        ErrorKind::ValueValidation | ErrorKind::InvalidValue
            if !arg.starts_with('-') || ["ACCOUNT", "COUPON", "WALLET"].iter().any(|w| arg.contains(w)) =>
        {
            let value = text(&e, ContextKind::InvalidValue);
            e.insert(ContextKind::InvalidValue, mask(&value));
        }
        ErrorKind::UnknownArgument if !arg.starts_with('-') => {
            e.insert(ContextKind::InvalidArg, mask(&arg));
        }
        _ => {}
    }
    e
}

fn man(folder: &std::path::Path) -> std::io::Result<()> {
    std::fs::create_dir_all(folder)?;
    clap_mangen::generate_to(Args::command(), folder)
}
