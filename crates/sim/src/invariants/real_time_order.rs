//! What a caller asked after it was told of another decision about the same account stands behind it in the log.

use super::Invariant;
use crate::history::{Event, Scope};
use std::collections::BTreeMap;
use tegata_client::Outcome;
use tegata_engine::Effect;
use tegata_model::AccountId;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct RealTimeOrder {
    told: BTreeMap<AccountId, u64>,
    /// What is decided under a key stands behind this.
    floor: BTreeMap<Scope, u64>,
}

impl Invariant for RealTimeOrder {
    fn name(&self) -> &'static str {
        "real-time-order"
    }

    fn see(&mut self, event: &Event<'_>) -> Result<(), String> {
        match event {
            Event::Asked { scope, .. } => {
                let floor = self.told.get(&scope.account).copied().unwrap_or(0);
                self.floor.entry(*scope).or_insert(floor);
            }
            Event::Told {
                scope,
                outcome: Outcome::Approved(d) | Outcome::Unconfirmed(d) | Outcome::Declined(d),
                ..
            } => {
                let told = self.told.entry(scope.account).or_default();
                *told = (*told).max(d.decision.position.get());
            }
            Event::Decided { position, command, applied, .. } if applied.effect == Effect::Decided => {
                let scope = Scope::of(&command.envelope);
                if let Some(floor) = self.floor.get(&scope).filter(|floor| position.get() <= **floor) {
                    return Err(format!("{scope:?} was asked after {floor} was told, and is at {}", position.get()));
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

    use tegata_client::Decided;
    use tegata_model::State;

    #[test]
    fn an_effect_before_what_was_told_is_seen() {
        let (first, second) = (debit(5), debit(6));
        let d = decision(Code::Approved, 5, 9);
        let told = Outcome::Approved(Decided {
            decision: d,
            state: State::Final,
            replayed: false,
            flagged: false,
            stood_in: false,
        });
        let late = record(2, second, decision(Code::Approved, 6, 8));
        only_the_last_is_bad(
            RealTimeOrder::default(),
            &[
                Event::Asked { scope: scope(1), operation: &first },
                Event::Told { scope: scope(1), operation: &first, outcome: &told },
                Event::Asked { scope: scope(2), operation: &second },
                late.seen(),
            ],
        );
    }
}
