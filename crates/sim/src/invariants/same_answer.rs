//! A decided key gets the same answer for ever, byte for byte, and it is the one that the log gives.

use super::Invariant;
use crate::history::{Event, Scope};
use std::collections::BTreeMap;
use tegata_engine::Effect;
use tegata_model::{Code, Decision, Position, Yen};

/// See the module.
#[derive(Debug, Default)]
pub(super) struct SameAnswer {
    /// By position: what the log decides there.
    logged: BTreeMap<u64, Decision>,
    /// By key and fingerprint: what was answered.
    answered: BTreeMap<(Scope, u64), Decision>,
}

impl Invariant for SameAnswer {
    fn name(&self) -> &'static str {
        "same-answer"
    }

    fn see(&mut self, event: &Event<'_>) -> Result<(), String> {
        match event {
            Event::Decided { position, applied, .. } if applied.effect == Effect::Decided => {
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
            _ => {}
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
        let answered = |decision| Event::Answered { place: place(1), asked: Some((scope(1), 3)), decision, durable: 9 };
        let (one, two) = (decision(Code::Approved, 5, 8), decision(Code::Approved, 6, 9));
        let events = [first.seen(), second.seen(), answered(&one), answered(&one), answered(&two)];
        only_the_last_is_bad(SameAnswer::default(), &events);
        let invented = decision(Code::Approved, 7, 8);
        only_the_last_is_bad(SameAnswer::default(), &[first.seen(), answered(&invented)]);
    }
}
