//! Whether a history of one account could have happened one operation after the other, each between its invocation and its
//! response (linearizability; Wing and Gong, with the states that were seen already left out). Exact: no history that
//! could is refused, none that could not is let through.
//!
//! An operation without a response may have happened at any time after its invocation, or never.

use std::collections::HashSet;

/// What was asked of an account's balance.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Call {
    /// Takes so much, if it is there.
    Take(u64),
    /// Puts so much on it: a charge, or a reversal.
    Give(u64),
    /// What is on it?
    Read,
}

/// What was answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Saw {
    /// It was done; then so much was on it.
    Done(u64),
    /// There was not enough.
    Short,
    /// It was refused for another reason: nothing happened.
    Nothing,
    /// So much is on it.
    Value(u64),
}

/// One operation. Instants are of one clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Event {
    /// When it was sent first.
    pub invoked: u64,
    /// What.
    pub call: Call,
    /// When its answer was there, and which; nothing: it never was.
    pub answer: Option<(u64, Saw)>,
}

/// Why a history is not one of a register.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Violation {
    /// No order explains it. The longest that was found explains so many operations; the next one to be explained is given.
    NoOrder {
        /// Operations in the longest order.
        explained: usize,
        /// What could not be put behind it.
        next: Event,
    },
    /// More than [`UNANSWERED_MAX`] without an answer, or too many orders to try: nothing is known.
    Undecided,
}

/// Operations of one account without an answer that can be looked at.
pub const UNANSWERED_MAX: usize = 64;
/// Orders that are tried.
const STEPS_MAX: usize = 20_000_000;

/// The balance afterwards, where the answer fits to the balance before.
fn step(balance: u64, call: Call, saw: Saw) -> Option<u64> {
    match (call, saw) {
        (Call::Take(n), Saw::Done(after)) => balance.checked_sub(n).filter(|left| *left == after),
        (Call::Take(n), Saw::Short) => (balance < n).then_some(balance),
        (Call::Give(n), Saw::Done(after)) => balance.checked_add(n).filter(|sum| *sum == after),
        (Call::Read, Saw::Value(seen)) => (seen == balance).then_some(balance),
        (Call::Take(_) | Call::Give(_), Saw::Nothing) => Some(balance),
        _ => None,
    }
}

/// The balance after an operation that nobody heard of, if it took effect.
fn unheard(balance: u64, call: Call) -> Option<u64> {
    match call {
        Call::Take(n) => balance.checked_sub(n),
        Call::Give(n) => balance.checked_add(n),
        Call::Read => None,
    }
}

/// How far an order has come.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Point {
    /// All answered operations before this one are in the order.
    first: usize,
    /// And these behind it.
    beyond: Vec<usize>,
    /// Those without an answer that are in it, as bits.
    unheard: u64,
    balance: u64,
}

/// Looks for an order that explains a history which began with `balance`.
pub fn check(balance: u64, history: &[Event]) -> Result<(), Violation> {
    let (mut heard, mut lost): (Vec<Event>, Vec<Event>) = history.iter().partition(|e| e.answer.is_some());
    heard.sort_by_key(|e| e.invoked);
    lost.retain(|e| e.call != Call::Read);
    if lost.len() > UNANSWERED_MAX {
        return Err(Violation::Undecided);
    }
    let mut seen = HashSet::new();
    let mut open = vec![Point { first: 0, beyond: Vec::new(), unheard: 0, balance }];
    let mut longest = (0, 0);
    for _ in 0..STEPS_MAX {
        let Some(at) = open.pop() else {
            return Err(Violation::NoOrder { explained: longest.0, next: heard[longest.1] });
        };
        if at.first == heard.len() {
            return Ok(());
        }
        longest = longest.max((at.first + at.beyond.len(), at.first));
        // What was answered before another was sent comes before it.
        let waiting = || (at.first..heard.len()).filter(|n| at.beyond.binary_search(n).is_err());
        let mut until = u64::MAX;
        for n in waiting() {
            if heard[n].invoked > until {
                break;
            }
            until = until.min(heard[n].answer.map_or(u64::MAX, |(returned, _)| returned));
        }
        let mut next = Vec::new();
        for n in waiting().take_while(|n| heard[*n].invoked <= until) {
            let Some((_, saw)) = heard[n].answer else { continue };
            if let Some(balance) = step(at.balance, heard[n].call, saw) {
                let mut point = Point { balance, ..at.clone() };
                point.beyond.insert(point.beyond.partition_point(|b| *b < n), n);
                while point.beyond.first() == Some(&point.first) {
                    point.beyond.remove(0);
                    point.first += 1;
                }
                next.push(point);
            }
        }
        for (bit, e) in lost.iter().enumerate().filter(|(_, e)| e.invoked <= until) {
            if at.unheard >> bit & 1 == 0
                && let Some(balance) = unheard(at.balance, e.call)
            {
                next.push(Point { balance, unheard: at.unheard | 1 << bit, ..at.clone() });
            }
        }
        // The earliest is tried first.
        open.extend(next.into_iter().rev().filter(|p| seen.insert(p.clone())));
    }
    Err(Violation::Undecided)
}

#[cfg(test)]
mod tests {
    use super::*;
    use Call::{Give, Read, Take};
    use Saw::{Done, Nothing, Short, Value};

    fn event(invoked: u64, returned: u64, call: Call, saw: Saw) -> Event {
        Event { invoked, call, answer: Some((returned, saw)) }
    }

    fn lost(invoked: u64, call: Call) -> Event {
        Event { invoked, call, answer: None }
    }

    fn good(history: &[Event]) {
        assert_eq!(check(100, history), Ok(()), "{history:?}");
    }

    fn bad(history: &[Event]) {
        assert!(matches!(check(100, history), Err(Violation::NoOrder { .. })), "{history:?}");
    }

    #[test]
    fn one_after_the_other() {
        good(&[]);
        good(&[event(1, 2, Take(30), Done(70)), event(3, 4, Read, Value(70)), event(5, 6, Give(30), Done(100))]);
        good(&[event(1, 2, Take(101), Short), event(3, 4, Take(100), Done(0)), event(5, 6, Take(1), Short)]);
        good(&[event(1, 2, Take(5), Nothing), event(3, 4, Read, Value(100))]);
    }

    #[test]
    fn side_by_side_in_either_order() {
        good(&[event(1, 9, Take(30), Done(30)), event(2, 8, Take(40), Done(60)), event(3, 7, Read, Value(60))]);
        good(&[event(1, 9, Take(80), Short), event(2, 8, Take(70), Done(30)), event(10, 11, Give(70), Done(100))]);
    }

    #[test]
    fn a_stale_read() {
        bad(&[event(1, 2, Take(30), Done(70)), event(3, 4, Read, Value(100))]);
    }

    #[test]
    fn a_lost_debit() {
        bad(&[event(1, 2, Take(30), Done(70)), event(3, 4, Take(10), Done(90))]);
        bad(&[event(1, 2, Take(100), Done(0)), event(3, 4, Take(10), Done(90))]);
    }

    #[test]
    fn a_double_debit() {
        bad(&[event(1, 2, Take(30), Done(70)), event(3, 4, Read, Value(40))]);
        bad(&[lost(1, Take(30)), event(3, 4, Read, Value(40))]);
    }

    #[test]
    fn another_order_than_that_of_time() {
        bad(&[event(1, 2, Take(30), Done(60)), event(3, 4, Take(10), Done(90))]);
        bad(&[event(1, 2, Read, Value(70)), event(3, 4, Take(30), Done(70))]);
    }

    #[test]
    fn a_refusal_that_took_all_the_same() {
        bad(&[event(1, 2, Take(30), Nothing), event(3, 4, Read, Value(70))]);
        bad(&[event(1, 2, Take(30), Short)]);
    }

    #[test]
    fn a_reversal_twice() {
        bad(&[event(1, 2, Take(30), Done(70)), event(3, 4, Give(30), Done(100)), event(5, 6, Read, Value(130))]);
    }

    #[test]
    fn without_an_answer_it_happened_late_or_never() {
        let take = lost(1, Take(30));
        good(&[take, event(2, 3, Read, Value(100)), event(4, 5, Read, Value(70))]);
        good(&[take, event(2, 3, Read, Value(100)), event(4, 5, Read, Value(100))]);
        bad(&[take, event(2, 3, Read, Value(70)), event(4, 5, Read, Value(100))]);
        bad(&[event(1, 2, Read, Value(70)), lost(3, Take(30))]);
    }

    #[test]
    fn long_histories_of_several_callers_are_decided() {
        // Three callers in turns, each operation overlapping the two before it.
        let mut balance = 1_000_000u64;
        let mut history = Vec::new();
        for n in 0..3_000u64 {
            balance -= n % 7 + 1;
            history.push(event(10 * n, 10 * n + 25, Take(n % 7 + 1), Done(balance)));
        }
        assert_eq!(check(1_000_000, &history), Ok(()));
        let last = history.len() - 1;
        history[last].answer = Some((u64::MAX, Done(balance + 1)));
        assert!(matches!(check(1_000_000, &history), Err(Violation::NoOrder { explained: 2_999, .. })));
    }
}
