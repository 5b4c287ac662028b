//! The engine decides what the reference decides, and its accounts are the same.

use super::Invariant;
use crate::history::Event;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct EngineAgrees;

impl Invariant for EngineAgrees {
    fn name(&self) -> &'static str {
        "engine-agrees"
    }

    fn see(&mut self, event: &Event<'_>) -> Result<(), String> {
        match event {
            Event::Decided { position, command, applied, expected, .. } if applied != expected => Err(format!(
                "position {}: {command:?} came to {applied:?}, and by the reference to {expected:?}",
                position.get()
            )),
            Event::Compared { account, same: false } => Err(format!("account {account} is not the reference's")),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::invariants::stage::*;
    use tegata_model::Code;

    use tegata_model::AccountId;

    #[test]
    fn another_decision_and_another_account_are_seen() {
        let r = record(1, debit(5), decision(Code::Approved, 5, 3));
        let mut other = r.applied;
        other.decision.amount = tegata_model::Yen::new(4);
        let Event::Decided { position, at, command, applied, .. } = r.seen() else { unreachable!("it is decided") };
        let bad = Event::Decided { position, at, command, applied, expected: &other };
        only_the_last_is_bad(EngineAgrees, &[r.seen(), bad]);
        let compared = |same| Event::Compared { account: AccountId::NONE, same };
        only_the_last_is_bad(EngineAgrees, &[compared(true), compared(false)]);
    }
}
