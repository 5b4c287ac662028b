//! The same seed twice is the same world, event by event.

use tegata_sim::{Feature, Plan, World};

#[test]
fn the_same_seed_gives_the_same_trace() {
    let mut traces = Vec::new();
    for seed in [1, 2, 3, 5, 8, 13] {
        let run = || World::new(Plan::draw(seed)).run();
        let (first, second) = (run(), run());
        assert_eq!(first, second, "seed {seed}");
        assert!(first.events > 500 && first.positions > 8, "{first:?}");
        traces.push(first.trace);
    }
    traces.sort_unstable();
    traces.dedup();
    assert_eq!(traces.len(), 6, "other seeds are other worlds");
}

#[test]
fn what_is_left_out_is_not_there() {
    let whole = Plan::draw(1);
    let one = whole.features[0];
    let plan = whole.clone().without(&[one]);
    assert!(whole.has(one) && !plan.has(one));
    let calm = World::new(whole.without(Feature::ALL)).run();
    assert_eq!(calm.failure, None, "nothing goes wrong where nothing can");
}
