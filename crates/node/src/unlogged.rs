//! News of deliveries that the log has not taken yet. Each is in it at most once, so that a full disk cannot make it
//! grow without a bound.

use std::collections::BTreeSet;
use tegata_model::{Operation, Positions};

/// Positions that wait for a record.
#[derive(Debug, Default)]
pub(crate) struct Unlogged {
    undelivered: BTreeSet<u64>,
    delivered: BTreeSet<u64>,
}

impl Unlogged {
    /// These were not acknowledged in time.
    pub(crate) fn undelivered(&mut self, positions: &mut Vec<u64>) {
        self.undelivered.extend(positions.drain(..));
    }

    /// This was acknowledged. What waits to be called undelivered is that no longer, and needs no record at all.
    pub(crate) fn delivered(&mut self, position: u64, is_undelivered: bool) {
        if !self.undelivered.remove(&position) && is_undelivered {
            self.delivered.insert(position);
        }
    }

    /// The oldest position that the log does not call undelivered yet, although it is.
    pub(crate) fn oldest(&self) -> Option<u64> {
        self.undelivered.first().copied()
    }

    /// What the next record says.
    pub(crate) fn take(&mut self) -> Option<Operation> {
        take(&mut self.undelivered)
            .map(Operation::Undelivered)
            .or_else(|| take(&mut self.delivered).map(Operation::Delivered))
    }
}

fn take(set: &mut BTreeSet<u64>) -> Option<Positions> {
    let list: Vec<u64> = std::iter::from_fn(|| set.pop_first()).take(Positions::MAX).collect();
    (!list.is_empty()).then(|| Positions::take(&list))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_position_is_said_once_or_not_at_all() {
        let mut u = Unlogged::default();
        u.undelivered(&mut (1..=30).chain([7, 7]).collect());
        u.delivered(7, false);
        u.delivered(3, true);
        u.delivered(40, true);
        u.delivered(40, true);
        u.delivered(50, false);
        assert_eq!(u.oldest(), Some(1));
        let mut said = Vec::new();
        while let Some(operation) = u.take() {
            match operation {
                Operation::Undelivered(p) => said.extend(p.as_slice().iter().map(|n| (*n, false))),
                Operation::Delivered(p) => said.extend(p.as_slice().iter().map(|n| (*n, true))),
                other => panic!("{other:?}"),
            }
        }
        let undelivered = (1..=30).filter(|n| ![3, 7].contains(n)).map(|n| (n, false));
        assert_eq!(said, undelivered.chain([(40, true)]).collect::<Vec<_>>());
        assert_eq!(u.oldest(), None);
    }
}
