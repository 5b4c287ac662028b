//! Small worlds, completely. The binary `worlds` ends the recoveries of all of them, too; here there is time for some.

use tegata_sim::worlds::{Count, WORLDS, explore, spoil};

#[test]
fn no_end_of_a_history_breaks_a_promise() {
    let mut all = Count::default();
    for world in WORLDS {
        all += explore(world, 0).unwrap_or_else(|violation| panic!("{violation}"));
    }
    assert!(all.ends > 1_000 && all.recoveries > 1_500, "{all:?}");
}

#[test]
fn no_end_of_a_recovery_breaks_a_promise() {
    for name in ["creation", "beacon and stop"] {
        let world = WORLDS.into_iter().find(|w| w.name == name).expect("it is there");
        let count = explore(world, 1).unwrap_or_else(|violation| panic!("{violation}"));
        assert!(count.second_ends > 5_000 && count.second_recoveries > 1_000, "{count:?}");
    }
}

#[test]
fn every_spoilt_sector_is_refused_or_not_needed() {
    let spoils = spoil().unwrap_or_else(|what| panic!("{what}"));
    assert!(spoils.refused >= 60, "{spoils:?}");
}
