//! When nothing is wrong any more everything is answered, everything unknown is resolved, and all breakers close.

use super::Invariant;
use crate::history::Event;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct EverythingSettles;

impl Invariant for EverythingSettles {
    fn name(&self) -> &'static str {
        "everything-settles"
    }

    fn see(&mut self, event: &Event<'_>) -> Result<(), String> {
        match event {
            Event::Healed { open: 0, unknown: 0, in_flight: 0, tripped: 0 } => Ok(()),
            Event::Healed { open, unknown, in_flight, tripped } => Err(format!(
                "after all was healed {open} requests are open, {unknown} unknown, {in_flight} in flight, {tripped} \
                 breakers are not closed"
            )),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::invariants::stage::*;

    #[test]
    fn whatever_is_left_is_seen() {
        let good = [0; 4];
        for i in 0..4 {
            let mut n = good;
            n[i] = 1;
            let [open, unknown, in_flight, tripped] = n;
            only_the_last_is_bad(EverythingSettles, &[Event::Healed { open, unknown, in_flight, tripped }]);
        }
        let healed = Event::Healed { open: 0, unknown: 0, in_flight: 0, tripped: 0 };
        assert_eq!(EverythingSettles.see(&healed), Ok(()), "{:?}", place(1));
    }
}
