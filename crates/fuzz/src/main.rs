//! `tegata-fuzz`: replays every corpus file, then changed ones; on stable, bounded, the same for a seed.

use clap::Parser;
use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Mutex;
use tegata_fuzz::{Random, TARGETS, Target, corpus, run};

#[global_allocator]
static COUNTING: tegata_fuzz::allocations::Counting = tegata_fuzz::allocations::Counting;

/// Replays the committed corpora through every fuzz target, then mutated files of them.
#[derive(Debug, Parser)]
struct Args {
    /// Only this target.
    #[arg(long)]
    target: Option<String>,
    /// Only this input, once.
    #[arg(long, requires = "target")]
    input: Option<PathBuf>,
    /// Mutated inputs for each target that is in memory; of those with files a twentieth.
    #[arg(long, default_value_t = 200_000)]
    iterations: u64,
    /// Seed of the mutations.
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

/// What is being tried, for who finds it broken.
static TRYING: Mutex<Option<(&str, Vec<u8>)>> = Mutex::new(None);

/// Release builds end at a panic: the input is written down, with the line that tries it again.
fn tell_failures() {
    let told = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        told(panic);
        if let Ok(Some((target, bytes))) = TRYING.lock().map(|t| t.clone()) {
            let path = std::env::temp_dir().join(format!("tegata-fuzz-{target}-{:08x}", crc32c::crc32c(&bytes)));
            let written = std::fs::write(&path, bytes);
            eprintln!("{written:?}: cargo run -p tegata-fuzz -- --target {target} --input {}", path.display());
        }
    }));
}

fn try_one(target: &Target, bytes: &[u8]) {
    if let Ok(mut trying) = TRYING.lock() {
        *trying = Some((target.name, bytes.to_vec()));
    }
    run(target, bytes);
}

/// Corpus files and mutated inputs that were run.
fn replay(target: &Target, args: &Args) -> std::io::Result<(u64, u64)> {
    let files: Vec<Vec<u8>> = corpus::read(target.name)?.into_iter().map(|(_, bytes)| bytes).collect();
    files.iter().for_each(|bytes| try_one(target, bytes));
    let on_disk = matches!(target.name, "journal" | "snapshot" | "archive" | "spool");
    let iterations = if on_disk { args.iterations / 20 } else { args.iterations };
    let mut random = Random::new(args.seed);
    for _ in 0..iterations {
        let mut bytes = files[random.below(files.len())].clone();
        (target.mutate)(&mut bytes, &files, &mut random);
        if !random.one_in(8) {
            (target.reseal)(&mut bytes, &mut random);
        }
        try_one(target, &bytes);
    }
    Ok((files.len() as u64, iterations))
}

fn main() -> ExitCode {
    let args = Args::parse();
    tell_failures();
    let chosen: Vec<&Target> = TARGETS.iter().filter(|t| args.target.as_deref().is_none_or(|n| n == t.name)).collect();
    if chosen.is_empty() {
        eprintln!("no such target; there are: {}", TARGETS.map(|t| t.name).join(", "));
        return ExitCode::from(2);
    }
    if let Some(input) = &args.input {
        return match std::fs::read(input) {
            Ok(bytes) => {
                try_one(chosen[0], &bytes);
                println!("{}: {} bytes, nothing found", chosen[0].name, bytes.len());
                ExitCode::SUCCESS
            }
            Err(e) => {
                eprintln!("{}: {e}", input.display());
                ExitCode::from(2)
            }
        };
    }
    let (mut kept, mut mutated) = (0, 0);
    for target in &chosen {
        match replay(target, &args) {
            Ok((files, inputs)) => {
                println!("{:10} {files:>4} kept, {inputs:>8} mutated", target.name);
                let _ = std::io::stdout().flush();
                (kept, mutated) = (kept + files, mutated + inputs);
            }
            Err(e) => {
                eprintln!("{}: {e}", corpus::folder(target.name).display());
                return ExitCode::from(2);
            }
        }
    }
    println!("fuzz: targets={} kept={kept} mutated={mutated} failures=0", chosen.len());
    ExitCode::SUCCESS
}
