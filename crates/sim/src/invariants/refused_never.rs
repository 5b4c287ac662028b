//! What a caller was told was not executed never takes effect, unless it asks again.

use super::Invariant;
use crate::history::{Event, Scope};
use std::collections::BTreeMap;
use tegata_client::Outcome;
use tegata_engine::Effect;
use tegata_model::{Class, Operation};

/// What is known of one key and one thing that was asked under it.
#[derive(Debug, Default)]
struct Known {
    /// Callers that are asking now.
    asking: u64,
    /// A send of somebody has no answer.
    doubtful: bool,
    refused: bool,
    effect_at: Option<u64>,
}

/// See the module.
#[derive(Debug, Default)]
pub(super) struct RefusedNever {
    known: BTreeMap<(Scope, u64), Known>,
}

impl Invariant for RefusedNever {
    fn name(&self) -> &'static str {
        "refused-never"
    }

    fn see(&mut self, event: &Event<'_>) -> Result<(), String> {
        match event {
            Event::Asked { scope, operation } => {
                let known = self.known.entry((*scope, scope.asks(operation))).or_default();
                known.asking += 1;
                known.refused = false;
                // Whatever becomes of this one, an earlier one was done.
                known.doubtful |= known.effect_at.is_some();
            }
            Event::Told { scope, operation, outcome } => {
                let known = self.known.entry((*scope, scope.asks(operation))).or_default();
                known.asking = known.asking.saturating_sub(1);
                match outcome {
                    Outcome::NotExecuted { .. }
                        if known.asking == 0 && !known.doubtful && **operation != Operation::Fence =>
                    {
                        if let Some(at) = known.effect_at {
                            return Err(format!("{scope:?} was called not executed, and took effect at {at}"));
                        }
                        known.refused = true;
                    }
                    Outcome::NotExecuted { .. } => {}
                    // It may be, or was, done by another send than this caller's.
                    _ => known.doubtful = true,
                }
            }
            Event::Decided { position, command, applied, .. }
                if applied.effect == Effect::Decided && applied.decision.code.class() == Class::Approved =>
            {
                let scope = Scope::of(&command.envelope);
                let known = self.known.entry((scope, scope.asks(&command.operation))).or_default();
                known.effect_at = Some(position.get());
                if known.refused {
                    return Err(format!("{scope:?} was called not executed, and takes effect at {}", position.get()));
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
    use tegata_model::Code;

    #[test]
    fn an_effect_of_what_was_refused_is_seen() {
        let operation = debit(5);
        let outcome = Outcome::NotExecuted { code: Code::Overloaded, retry_after: None };
        let asked = Event::Asked { scope: scope(1), operation: &operation };
        let told = Event::Told { scope: scope(1), operation: &operation, outcome: &outcome };
        let done = record(1, operation, decision(Code::Approved, 5, 8));
        only_the_last_is_bad(RefusedNever::default(), &[asked, told, done.seen()]);
        only_the_last_is_bad(RefusedNever::default(), &[asked, done.seen(), told]);
        let mut again = RefusedNever::default();
        [asked, told, asked, done.seen()].iter().for_each(|e| assert_eq!(again.see(e), Ok(())));
    }
}
