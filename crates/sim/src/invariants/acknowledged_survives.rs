//! What was answered or called durable is there after every start.

use super::Invariant;
use crate::history::Event;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct AcknowledgedSurvives {
    answered: u64,
}

impl Invariant for AcknowledgedSurvives {
    fn name(&self) -> &'static str {
        "acknowledged-survives"
    }

    fn see(&mut self, event: &Event<'_>) -> Result<(), String> {
        match event {
            Event::Answered { decision, .. } => self.answered = self.answered.max(decision.position.get()),
            Event::Recovered { last, durable } if last < durable => {
                return Err(format!("the log ends at {last}, and {durable} was called durable"));
            }
            Event::Recovered { last, .. } if *last < self.answered => {
                return Err(format!("the log ends at {last}, and {} was answered", self.answered));
            }
            _ => {}
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::invariants::stage::*;
    use tegata_model::Code;

    #[test]
    fn what_is_lost_is_seen() {
        let d = decision(Code::Approved, 1, 7);
        let answered = Event::Answered { place: place(1), asked: None, decision: &d, durable: 7, too_old: false };
        only_the_last_is_bad(
            AcknowledgedSurvives::default(),
            &[answered, Event::Recovered { last: 7, durable: 7 }, Event::Recovered { last: 6, durable: 6 }],
        );
        only_the_last_is_bad(AcknowledgedSurvives::default(), &[Event::Recovered { last: 6, durable: 7 }]);
    }
}
