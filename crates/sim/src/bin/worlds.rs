//! Goes through every small world, and says how much that was.

use std::process::ExitCode;
use tegata_sim::worlds::{Count, WORLDS, explore, spoil};

fn main() -> ExitCode {
    let mut all = Count::default();
    for world in WORLDS {
        match explore(world, 1) {
            Ok(count) => {
                println!("{}: {count}", world.name);
                all += count;
            }
            Err(violation) => {
                println!("{violation}");
                return ExitCode::FAILURE;
            }
        }
    }
    match spoil() {
        Ok(spoils) => println!("a closed store: {spoils}"),
        Err(what) => {
            println!("a closed store: {what}");
            return ExitCode::FAILURE;
        }
    }
    println!("worlds: {} {all}", WORLDS.len());
    ExitCode::SUCCESS
}
