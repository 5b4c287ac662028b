//! A failure is made smaller before it is shown: features are left out one at a time, and the steps are halved, for as long
//! as the same thing fails.

use crate::worker::{Outcome, Worker, words};
use tegata_sim::{Feature, Plan};

/// Worlds that are tried at most.
const TRIES: u32 = 150;

/// What fails, without the numbers.
fn what(why: &str) -> &str {
    why.split(':').next().unwrap_or(why)
}

fn fails(seed: u64, without: &[Feature], steps: u64, like: &str) -> bool {
    match Worker::start(seed, without, Some(steps)).wait() {
        Outcome::Ended(report, _) => report.failure.is_some_and(|why| what(&why) == what(like)),
        Outcome::Died(_, why) => what(&why) == what(like),
    }
}

/// The arguments of the smallest world that was found to fail the same way.
pub(crate) fn shrink(seed: u64, why: &str) -> String {
    let plan = Plan::draw(seed);
    let (mut without, mut steps, mut tries) = (Vec::new(), plan.steps, 0);
    let mut smaller = true;
    while smaller && tries < TRIES {
        smaller = false;
        for feature in plan.features.iter().filter(|f| !without.contains(*f)).copied().collect::<Vec<_>>() {
            tries += 1;
            let mut fewer = without.clone();
            fewer.push(feature);
            if tries < TRIES && fails(seed, &fewer, steps, why) {
                (without, smaller) = (fewer, true);
            }
        }
        let (mut low, mut high) = (0, steps);
        while low + 1 < high && tries < TRIES {
            tries += 1;
            let middle = (low + high) / 2;
            if fails(seed, &without, middle, why) { high = middle } else { low = middle }
        }
        smaller |= high < steps;
        steps = high;
    }
    without.sort_unstable();
    words(seed, &without, Some(steps)).join(" ")
}
