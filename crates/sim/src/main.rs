//! The simulator's command line.

use tegata_sim::{Plan, World};

fn main() {
    let seed = std::env::args().nth(1).and_then(|s| s.parse().ok()).unwrap_or(1);
    let count: u64 = std::env::args().nth(2).and_then(|s| s.parse().ok()).unwrap_or(1);
    let tell = std::env::args().nth(3).is_some();
    let began = std::time::Instant::now();
    let mut goals = tegata_sim::Goals::default();
    let mut simulated = 0;
    for seed in seed..seed + count {
        let mut world = World::new(Plan::draw(seed));
        if tell {
            world.tell();
        }
        let report = world.run();
        goals.add(&report.goals);
        simulated += report.simulated_us / 1_000_000;
        println!(
            "{seed} {:x} {} s, {} events, {} positions {:?}",
            report.trace,
            report.simulated_us / 1_000_000,
            report.events,
            report.positions,
            report.failure
        );
    }
    for goal in goals.missed() {
        println!("missed: {}", goal.words());
    }
    println!("{simulated} s in {:?}", began.elapsed());
}
