//! Value is conserved, by programme, and the books are those of the reference.

use super::Invariant;
use crate::history::Event;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Conservation;

impl Invariant for Conservation {
    fn name(&self) -> &'static str {
        "conservation"
    }

    fn see(&mut self, event: &Event<'_>) -> Result<(), String> {
        match event {
            Event::Books { programme, engine: s, reference } => {
                let came = s.issued + s.charged + s.reinstated + s.shortfall + s.returned;
                if came != s.balances + s.spent + s.expired + s.paid_out {
                    return Err(format!("programme {programme}: value is not conserved: {s:?}"));
                }
                if s != reference {
                    return Err(format!("programme {programme}: {s:?}, and by the reference {reference:?}"));
                }
                Ok(())
            }
            Event::Audited(Err(why)) => Err(why.clone()),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::invariants::stage::*;

    use tegata_engine::Sums;
    use tegata_model::ProgrammeId;

    #[test]
    fn lost_value_and_other_books_are_seen() {
        let programme = ProgrammeId::new(1);
        let sums = Sums { issued: 10, balances: 7, spent: 3, ..Sums::default() };
        let good = Event::Books { programme, engine: sums, reference: sums };
        let lost = Sums { balances: 6, ..sums };
        only_the_last_is_bad(Conservation, &[good, Event::Books { programme, engine: lost, reference: lost }]);
        let other = Sums { issued: 11, balances: 8, ..sums };
        only_the_last_is_bad(Conservation, &[good, Event::Books { programme, engine: sums, reference: other }]);
        only_the_last_is_bad(Conservation, &[Event::Audited(&Ok(())), Event::Audited(&Err("a hole".into()))]);
    }
}
