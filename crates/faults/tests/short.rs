//! A share of the faults in every test run; `just faults` does all of them, and each as often as it takes.

use tegata_faults::{FAULTS, Outcome, Scale, child_main};

/// One of each sort; the others take longer.
const SHARE: [&str; 5] = ["kill-rollover", "kill-and-pause", "fuse-power-cut", "fuse-drop", "file-size-limit"];

fn main() {
    if let Some(code) = child_main() {
        std::process::exit(i32::from(code));
    }
    // A listing is asked for by some runners.
    if std::env::args().any(|a| a == "--list") {
        println!("short: test");
        return;
    }
    for name in SHARE {
        let fault = FAULTS.iter().find(|f| f.name == name).expect("a fault of this name");
        match fault.run(Scale::Short) {
            Outcome::Held { evidence, compared } => println!("{name}: {evidence}; {compared}"),
            Outcome::Skipped(why) => println!("{name}: SKIPPED, which is not passed: {why}"),
            Outcome::Broken(why) => panic!("{name}: {why}"),
        }
    }
}
