//! Every queue is bounded, and the positions are in order.

use super::Invariant;
use crate::history::Event;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Bounded;

impl Invariant for Bounded {
    fn name(&self) -> &'static str {
        "bounded"
    }

    fn see(&mut self, event: &Event<'_>) -> Result<(), String> {
        let Event::Load(load) = event else { return Ok(()) };
        let f = &load.facts;
        if load.in_flight > load.in_flight_max {
            return Err(format!("{} requests are in flight, and {} may be", load.in_flight, load.in_flight_max));
        }
        if load.batches > load.batches_max {
            return Err(format!("{} batches are in flight, and {} may be", load.batches, load.batches_max));
        }
        let order = [f.delivered, f.applied, f.durable, f.submitted, f.accepted];
        if order.is_sorted() { Ok(()) } else { Err(format!("positions are out of order: {order:?}")) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::invariants::stage::*;

    use crate::history::Load;
    use tegata_node::ServerFacts;

    #[test]
    fn a_long_queue_and_positions_out_of_order_are_seen() {
        let facts =
            ServerFacts { delivered: 1, applied: 2, durable: 3, submitted: 4, accepted: 5, ..Default::default() };
        let good = Load { in_flight: 3, in_flight_max: 3, batches: 1, batches_max: 1, facts };
        let facts = ServerFacts { applied: 4, ..facts };
        for bad in [Load { in_flight: 4, ..good }, Load { batches: 2, ..good }, Load { facts, ..good }] {
            only_the_last_is_bad(Bounded, &[Event::Load(good), Event::Load(bad)]);
        }
    }
}
