//! Replay gives the live state; a snapshot and the log behind it give what the log alone gives.

use super::Invariant;
use crate::history::Event;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct LogIsWhole {
    last: u64,
}

impl Invariant for LogIsWhole {
    fn name(&self) -> &'static str {
        "log-is-whole"
    }

    fn see(&mut self, event: &Event<'_>) -> Result<(), String> {
        match event {
            Event::Digests { live, replayed, recovered } if live != replayed => {
                let what = if *recovered { "what a start came to" } else { "the running node" };
                Err(format!("{what} has digest {live:032x}, and its log alone gives {replayed:032x}"))
            }
            Event::Decided { position, .. } if position.get() != self.last + 1 => {
                Err(format!("position {} follows {}", position.get(), self.last))
            }
            Event::Decided { position, .. } => {
                self.last = position.get();
                Ok(())
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
    fn other_digests_and_a_hole_are_seen() {
        let digests = |live, recovered| Event::Digests { live, replayed: 7, recovered };
        only_the_last_is_bad(LogIsWhole::default(), &[digests(7, false), digests(8, false)]);
        only_the_last_is_bad(LogIsWhole::default(), &[digests(7, true), digests(8, true)]);
        let [one, three] = [1, 3].map(|p| record(p, debit(5), decision(Code::Approved, 5, p)));
        only_the_last_is_bad(LogIsWhole::default(), &[one.seen(), three.seen()]);
    }
}
