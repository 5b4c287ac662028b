//! Nothing takes effect after its deadline, or under a key that was fenced.

use super::Invariant;
use crate::history::{Event, Scope};
use std::collections::BTreeSet;
use tegata_engine::Effect;
use tegata_model::{Class, Code, Operation, Position};

/// See the module.
#[derive(Debug, Default)]
pub(super) struct DeadlineAndFence {
    fenced: BTreeSet<Scope>,
}

impl Invariant for DeadlineAndFence {
    fn name(&self) -> &'static str {
        "deadline-and-fence"
    }

    fn see(&mut self, event: &Event<'_>) -> Result<(), String> {
        let Event::Decided { position, at, command, applied, .. } = event else { return Ok(()) };
        if applied.effect != Effect::Decided {
            return Ok(());
        }
        let (envelope, operation) = (&command.envelope, &command.operation);
        let scope = Scope::of(envelope);
        let may_be_late = matches!(
            operation,
            Operation::Void { .. } | Operation::Reversal { .. } | Operation::Fence | Operation::Advice(_)
        );
        if !may_be_late && !envelope.deadline.is_zero() && *at > envelope.deadline {
            return Err(format!("position {} took effect after its deadline", position.get()));
        }
        if self.fenced.contains(&scope) && applied.decision.code.class() == Class::Approved {
            return Err(format!("position {} took effect under a fenced key", position.get()));
        }
        if applied.decision.code == Code::Fenced {
            self.fenced.insert(scope);
        }
        // A reversal that comes first leaves a fence under its original's key.
        if let Operation::Reversal { original, .. } = operation
            && applied.decision.code == Code::Approved
            && applied.decision.amount.get() == 0
            && applied.decision.related == Position::ZERO
        {
            self.fenced.insert(Scope { key: *original, ..scope });
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::invariants::stage::*;

    #[test]
    fn what_is_late_or_fenced_is_seen() {
        let mut late = record(1, debit(5), decision(Code::Approved, 5, 3));
        late.command.envelope.deadline = tegata_model::Timestamp::from_micros(late.at - 1);
        only_the_last_is_bad(DeadlineAndFence::default(), &[late.seen()]);
        let fence = record(2, Operation::Fence, decision(Code::Fenced, 0, 4));
        let after = record(2, debit(5), decision(Code::Approved, 5, 5));
        only_the_last_is_bad(DeadlineAndFence::default(), &[fence.seen(), after.seen()]);
        let original = scope(3).key;
        let early = record(4, Operation::Reversal { original, remain: 0 }, decision(Code::Approved, 0, 6));
        let after = record(3, debit(5), decision(Code::Approved, 5, 7));
        only_the_last_is_bad(DeadlineAndFence::default(), &[early.seen(), after.seen()]);
    }
}
