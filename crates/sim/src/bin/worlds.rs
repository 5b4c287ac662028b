//! Goes through every small world, as many at once as there are cores, and says how much that was.

use std::process::ExitCode;
use std::sync::Mutex;
use tegata_sim::worlds::{Count, WORLDS, explore, spoil};

fn main() -> ExitCode {
    let waiting = Mutex::new(WORLDS.iter());
    let found = Mutex::new(Ok(Count::default()));
    let work = || {
        while let Some(world) = waiting.lock().ok().and_then(|mut w| w.next().copied()) {
            let explored = explore(world, 1);
            let Ok(mut found) = found.lock() else { return };
            match explored {
                Ok(count) => {
                    println!("{}: {count}", world.name);
                    if let Ok(all) = &mut *found {
                        *all += count;
                    }
                }
                Err(violation) => {
                    println!("{violation}");
                    *found = Err(());
                    return;
                }
            }
        }
    };
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| (0..cores).for_each(|_| drop(scope.spawn(work))));
    let Ok(Ok(all)) = found.into_inner() else { return ExitCode::FAILURE };
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
