//! A decided key gets the same answer for ever, byte for byte, and it is the one that the log gives.

use super::Invariant;
use crate::history::{Event, Place, Scope};
use std::collections::BTreeMap;
use tegata_engine::Effect;
use tegata_model::{Class, Code, Decision, Position, Yen};

/// See the module.
#[derive(Debug, Default)]
pub(super) struct SameAnswer {
    /// By position: what the log decides there.
    logged: BTreeMap<u64, Decision>,
    /// By key and fingerprint: what was answered.
    answered: BTreeMap<(Scope, u64), Decision>,
    /// What the log decides under a key, and for what request.
    decided: BTreeMap<Scope, (u64, Decision)>,
    /// Repeats of what was decided when they were accepted.
    repeats: BTreeMap<Place, Decision>,
}

impl Invariant for SameAnswer {
    fn name(&self) -> &'static str {
        "same-answer"
    }

    fn see(&mut self, event: &Event<'_>) -> Result<(), String> {
        match event {
            Event::Decided { position, command, applied, .. } if applied.effect == Effect::Decided => {
                let scope = Scope::of(&command.envelope);
                self.decided.insert(scope, (scope.asks(&command.operation), applied.decision));
                self.logged.insert(position.get(), applied.decision);
            }
            Event::Answered { asked, decision, .. } if decision.position != Position::ZERO => {
                let logged = self.logged.get(&decision.position.get());
                // A reversal that came first left a fence under its original's key: both stand at one position.
                let left_behind = decision.code == Code::Fenced
                    && logged.is_some_and(|l| l.code == Code::Approved && l.amount == Yen::ZERO);
                if logged != Some(decision) && !left_behind {
                    return Err(format!("{decision:?} was answered, and the log decides {logged:?}"));
                }
                if let Some(asked) = asked
                    && let Some(before) = self.answered.insert(*asked, **decision)
                    && before != **decision
                {
                    return Err(format!("{asked:?} was answered {before:?}, and then {decision:?}"));
                }
            }
            Event::Accepted { place, asked: Some((scope, asks)) } => {
                if let Some((_, decision)) = self.decided.get(scope).filter(|(what, _)| what == asks) {
                    self.repeats.insert(*place, *decision);
                }
            }
            Event::Ended { connection } => self.repeats.retain(|p, _| p.connection != *connection),
            _ => {}
        }
        // Before any refusal the key is looked up.
        if let Event::Answered { place, decision, too_old, .. } = event
            && let Some(expected) = self.repeats.remove(place)
            && expected != **decision
            && !(*too_old && (decision.code == Code::KeyTooOld || decision.code.class() == Class::Unknown))
        {
            return Err(format!("{place:?} repeats what was decided, {expected:?}, and was answered {decision:?}"));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::invariants::stage::*;

    #[test]
    fn another_answer_is_seen() {
        let first = record(1, debit(5), decision(Code::Approved, 5, 8));
        let second = record(2, debit(6), decision(Code::Approved, 6, 9));
        let answered = |decision| Event::Answered {
            place: place(1),
            asked: Some((scope(1), 3)),
            decision,
            durable: 9,
            too_old: false,
        };
        let (one, two) = (decision(Code::Approved, 5, 8), decision(Code::Approved, 6, 9));
        let events = [first.seen(), second.seen(), answered(&one), answered(&one), answered(&two)];
        only_the_last_is_bad(SameAnswer::default(), &events);
        let accepted = Event::Accepted { place: place(1), asked: Some((scope(1), scope(1).asks(&debit(5)))) };
        let refused = decision(Code::Overloaded, 0, 0);
        only_the_last_is_bad(SameAnswer::default(), &[first.seen(), accepted, answered(&refused)]);
        let invented = decision(Code::Approved, 7, 8);
        only_the_last_is_bad(SameAnswer::default(), &[first.seen(), answered(&invented)]);
    }
}
