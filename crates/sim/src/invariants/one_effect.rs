//! A key is decided once, for ever.

use super::Invariant;
use crate::history::{Event, Scope};
use std::collections::BTreeMap;
use tegata_engine::Effect;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct OneEffect {
    decided: BTreeMap<Scope, u64>,
}

impl Invariant for OneEffect {
    fn name(&self) -> &'static str {
        "one-effect"
    }

    fn see(&mut self, event: &Event<'_>) -> Result<(), String> {
        let Event::Decided { position, command, applied, .. } = event else { return Ok(()) };
        if applied.effect != Effect::Decided {
            return Ok(());
        }
        let scope = Scope::of(&command.envelope);
        match self.decided.insert(scope, position.get()) {
            Some(first) => Err(format!("{scope:?} was decided at {first} and at {}", position.get())),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::invariants::stage::*;
    use tegata_model::Code;

    #[test]
    fn a_second_effect_is_seen() {
        let [first, second] = [1, 2].map(|p| record(1, debit(5), decision(Code::Approved, 5, p)));
        let other = record(2, debit(5), decision(Code::Approved, 5, 3));
        only_the_last_is_bad(OneEffect::default(), &[first.seen(), other.seen(), second.seen()]);
    }
}
