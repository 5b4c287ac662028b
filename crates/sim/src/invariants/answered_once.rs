//! Every request that the node accepted is answered once, or its connection has ended.

use super::Invariant;
use crate::history::{Event, Place};
use std::collections::BTreeSet;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct AnsweredOnce {
    open: BTreeSet<Place>,
}

impl Invariant for AnsweredOnce {
    fn name(&self) -> &'static str {
        "answered-once"
    }

    fn see(&mut self, event: &Event<'_>) -> Result<(), String> {
        match event {
            Event::Accepted { place, .. } if !self.open.insert(*place) => Err(format!("{place:?} was accepted twice")),
            Event::Answered { place, .. } | Event::Replied(place) if !self.open.remove(place) => {
                Err(format!("{place:?} was answered, and nothing is open there"))
            }
            Event::Ended { connection } => {
                self.open.retain(|p| p.connection != *connection);
                Ok(())
            }
            Event::Healed { .. } if !self.open.is_empty() => Err(format!("never answered: {:?}", self.open)),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::invariants::stage::*;
    use tegata_model::Code;

    #[test]
    fn two_answers_and_none_are_seen() {
        let d = decision(Code::Approved, 1, 7);
        let answered = Event::Answered { place: place(1), asked: None, decision: &d, durable: 7, too_old: false };
        only_the_last_is_bad(
            AnsweredOnce::default(),
            &[Event::Accepted { place: place(1), asked: None }, answered, answered],
        );
        let healed = Event::Healed { open: 0, unknown: 0, in_flight: 0, tripped: 0 };
        only_the_last_is_bad(AnsweredOnce::default(), &[Event::Accepted { place: place(1), asked: None }, healed]);
        let ended = Event::Ended { connection: 1 };
        assert_eq!(AnsweredOnce::default().see(&healed), Ok(()));
        let mut gone = AnsweredOnce::default();
        [Event::Accepted { place: place(1), asked: None }, ended, healed]
            .iter()
            .for_each(|e| assert_eq!(gone.see(e), Ok(())));
    }
}
