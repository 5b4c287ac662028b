//! No account gives what it does not have: a count of yen in and out by the decisions alone, which knows no lots.

use super::Invariant;
use crate::history::Event;
use std::collections::BTreeMap;
use tegata_engine::Effect;
use tegata_model::{AccountId, Class, Operation};

/// See the module. Advices are left out: what they take beyond the balance is the programme's loss.
#[derive(Debug, Default)]
pub(super) struct NoNegative {
    yen: BTreeMap<AccountId, i128>,
}

impl Invariant for NoNegative {
    fn name(&self) -> &'static str {
        "no-negative"
    }

    fn see(&mut self, event: &Event<'_>) -> Result<(), String> {
        let Event::Decided { position, command, applied, .. } = event else { return Ok(()) };
        let d = &applied.decision;
        if applied.effect != Effect::Decided || d.code.class() != Class::Approved {
            return Ok(());
        }
        let (account, yen) = (command.envelope.account, i128::from(d.amount.get()));
        match &command.operation {
            Operation::Issue { .. } | Operation::Load { .. } | Operation::Reinstate { .. } => {
                *self.yen.entry(account).or_default() += yen;
            }
            // At most all of it comes back; what a hold that dies gives back is not told by any decision.
            Operation::Reversal { .. } | Operation::Refund { .. } | Operation::Void { .. } => {
                *self.yen.entry(account).or_default() += yen;
            }
            Operation::Charge { wallet, .. } => {
                *self.yen.entry(account).or_default() -= yen;
                *self.yen.entry(*wallet).or_default() += yen;
            }
            Operation::Debit(_) => *self.yen.entry(account).or_default() -= yen,
            _ => return Ok(()),
        }
        match self.yen.get(&account) {
            Some(left) if *left < 0 => Err(format!("position {}: account {account} is at {left}", position.get())),
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
    fn more_out_than_in_is_seen() {
        let came = record(1, load(10), decision(Code::Approved, 10, 1));
        let went = record(2, debit(6), decision(Code::Approved, 6, 2));
        let more = record(3, debit(5), decision(Code::Approved, 5, 3));
        only_the_last_is_bad(NoNegative::default(), &[came.seen(), went.seen(), more.seen()]);
    }
}
