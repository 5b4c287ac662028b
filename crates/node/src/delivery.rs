//! Which answers of one connection its caller has shown to know. Delivery is logged by exception (D2): only what is
//! not acknowledged in time, or when the connection ends, leaves this tracker.
//!
//! ```text
//! answered ──acknowledged──▶ forgotten
//!    └──too late, or closed──▶ undelivered ──acknowledged──▶ delivered after all
//! ```

use std::collections::VecDeque;
use tegata_model::Timestamp;

/// Answers that were logged as undelivered and may still be acknowledged; older ones stay undelivered.
const LATE_MAX: usize = 4_096;

#[derive(Debug, Clone, Copy)]
struct Sent {
    number: u32,
    position: u64,
    at: Timestamp,
    repeat: bool,
}

/// The tracker of one connection.
#[derive(Debug, Default)]
pub struct Delivery {
    last: u32,
    acknowledged: u32,
    waiting: VecDeque<Sent>,
    late: VecDeque<(u32, u64)>,
}

/// An acknowledgement of an answer that was never given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NeverSent;

/// True when `a` is not after `b` in serial order (RFC 1982).
fn not_after(a: u32, b: u32) -> bool {
    b.wrapping_sub(a) < 1 << 31
}

impl Delivery {
    /// What was decided at or before this and is not acknowledged at `now` is to be logged as undelivered. The guard asks
    /// about it by itself for `ack_s` seconds after the decision: by then the record must have its place in the log, so
    /// half of that is left for it to get there.
    #[must_use]
    pub fn limit(now: Timestamp, ack_s: u32) -> Timestamp {
        now.minus_micros(u64::from(ack_s) * 500_000)
    }

    /// An answer is about to be sent. Returns its number, never 0. `position` is that of a decision whose delivery
    /// matters; nothing for all others. `at`: when that was decided, of a repeat when it is sent.
    #[inline]
    pub fn answered(&mut self, position: Option<u64>, repeat: bool, at: Timestamp) -> u32 {
        self.last = self.last.wrapping_add(1).max(1);
        if let Some(position) = position {
            self.waiting.push_back(Sent { number: self.last, position, at, repeat });
        }
        self.last
    }

    /// The caller knows every answer up to `number`. Positions that must be logged as delivered go to `delivered`.
    #[inline]
    pub fn acknowledged(&mut self, number: u32, delivered: &mut Vec<u64>) -> Result<(), NeverSent> {
        if number == 0 || number == self.acknowledged {
            return Ok(());
        }
        if !not_after(number, self.last) {
            return Err(NeverSent);
        }
        if not_after(number, self.acknowledged) {
            return Ok(());
        }
        self.acknowledged = number;
        while let Some(sent) = self.waiting.front()
            && not_after(sent.number, number)
        {
            if sent.repeat {
                delivered.push(sent.position);
            }
            self.waiting.pop_front();
        }
        while let Some((late, position)) = self.late.front()
            && not_after(*late, number)
        {
            delivered.push(*position);
            self.late.pop_front();
        }
        Ok(())
    }

    /// Moves what was decided at or before `limit` to `undelivered`.
    pub fn expire(&mut self, limit: Timestamp, undelivered: &mut Vec<u64>) {
        // A repeat may have been sent before what was decided earlier. All others are in order, and whatever was sent before
        // one that is too late was decided before it.
        let late = self.waiting.iter().rposition(|sent| sent.at <= limit).map_or(0, |last| last + 1);
        for sent in self.waiting.drain(..late) {
            if !sent.repeat {
                undelivered.push(sent.position);
            }
            if self.late.len() == LATE_MAX {
                self.late.pop_front();
            }
            self.late.push_back((sent.number, sent.position));
        }
    }

    /// The connection ended: what is not acknowledged is undelivered.
    pub fn close(&mut self, undelivered: &mut Vec<u64>) {
        self.expire(Timestamp::MAX, undelivered);
        self.late.clear();
    }

    /// The oldest position that waits for its acknowledgement.
    #[must_use]
    pub fn oldest(&self) -> Option<u64> {
        self.waiting.iter().filter(|s| !s.repeat).map(|s| s.position).min()
    }

    /// Answers that wait for their acknowledgement.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.waiting.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(s: i64) -> Timestamp {
        Timestamp::from_micros(s * 1_000_000)
    }

    #[test]
    fn what_is_acknowledged_in_time_leaves_no_trace() {
        let mut d = Delivery::default();
        let (mut late, mut yes) = (vec![], vec![]);
        for p in 1..=10 {
            d.answered(Some(p), false, at(p as i64));
        }
        assert_eq!(d.acknowledged(4, &mut yes), Ok(()));
        assert_eq!(d.oldest(), Some(5));
        d.expire(at(6), &mut late);
        assert_eq!((late.clone(), yes.clone()), (vec![5, 6], vec![]));
        assert_eq!(d.acknowledged(7, &mut yes), Ok(()));
        assert_eq!(yes, vec![5, 6], "acknowledged after all");
        d.close(&mut late);
        assert_eq!(late, vec![5, 6, 8, 9, 10]);
    }

    #[test]
    fn an_acknowledgement_of_the_future_is_refused_and_an_old_one_is_nothing() {
        let mut d = Delivery::default();
        let mut yes = vec![];
        d.answered(Some(1), false, at(1));
        assert_eq!(d.acknowledged(2, &mut yes), Err(NeverSent));
        assert_eq!(d.acknowledged(1, &mut yes), Ok(()));
        assert_eq!(d.acknowledged(0, &mut yes), Ok(()));
        assert_eq!(d.waiting(), 0);
    }

    #[test]
    fn a_repeat_holds_back_nothing_that_was_decided_before_it_was_sent() {
        let mut d = Delivery::default();
        let (mut late, mut yes) = (vec![], vec![]);
        d.answered(Some(77), true, at(9));
        d.answered(Some(1), false, at(2));
        d.expire(Delivery::limit(at(4), 5), &mut late);
        assert!(late.is_empty(), "two of five seconds");
        d.expire(Delivery::limit(at(5), 5), &mut late);
        assert_eq!(late, vec![1]);
        assert_eq!(d.acknowledged(2, &mut yes), Ok(()));
        assert_eq!(yes, vec![77, 1]);
    }

    #[test]
    fn a_repeat_that_is_acknowledged_is_told() {
        let mut d = Delivery::default();
        let (mut late, mut yes) = (vec![], vec![]);
        d.answered(Some(77), true, at(1));
        d.expire(at(9), &mut late);
        assert!(late.is_empty(), "the first answer was logged already, or is not this connection's to log");
        assert_eq!(d.acknowledged(1, &mut yes), Ok(()));
        assert_eq!(yes, vec![77]);
    }
}
