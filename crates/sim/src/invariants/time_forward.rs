//! Logged time never goes back, over restarts and steps of the clock.

use super::Invariant;
use crate::history::Event;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct TimeForward {
    at: i64,
}

impl Invariant for TimeForward {
    fn name(&self) -> &'static str {
        "time-forward"
    }

    fn see(&mut self, event: &Event<'_>) -> Result<(), String> {
        let at = match event {
            Event::Decided { at, .. } => at.micros(),
            // What was sealed and lost is not in the log: only the order within it counts.
            Event::Sealed { at, .. } if *at < self.at => *at,
            _ => return Ok(()),
        };
        if at < self.at {
            return Err(format!("logged time goes back from {} to {at}", self.at));
        }
        self.at = at;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::invariants::stage::*;
    use tegata_model::Code;

    #[test]
    fn time_that_goes_back_is_seen() {
        let first = record(1, debit(5), decision(Code::Approved, 5, 8));
        let mut second = record(2, debit(5), decision(Code::Approved, 5, 9));
        second.at = first.at - 1;
        only_the_last_is_bad(TimeForward::default(), &[first.seen(), second.seen()]);
        only_the_last_is_bad(TimeForward::default(), &[first.seen(), Event::Sealed { first: 9, at: first.at - 1 }]);
    }
}
