//! Nothing is answered before it is durable.

use super::Invariant;
use crate::history::Event;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct DurableFirst;

impl Invariant for DurableFirst {
    fn name(&self) -> &'static str {
        "durable-first"
    }

    fn see(&mut self, event: &Event<'_>) -> Result<(), String> {
        match event {
            Event::Answered { decision, durable, .. } if decision.position.get() > *durable => {
                Err(format!("position {} was answered, and {durable} is durable", decision.position.get()))
            }
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
    fn an_early_answer_is_seen() {
        let d = decision(Code::Approved, 1, 7);
        let answered =
            |durable| Event::Answered { place: place(1), asked: None, decision: &d, durable, too_old: false };
        only_the_last_is_bad(DurableFirst, &[answered(7), answered(6)]);
    }
}
