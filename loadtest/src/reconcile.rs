//! The join: what every client was told against what the ledger holds, key by key.
//!
//! Memory is an attempt (56 bytes), what was said to it (32) and how often it was executed (1), and for each account its
//! balance (8): 10 million attempts on 10 million accounts take 0.97 GB. The key says which attempt it is, so that a
//! ledger entry costs one access to an array.

use crate::attempts::{Attempt, Attempts, Keys, Said, What};
use crate::codes::{class, is_refused};
use crate::seed::DataSet;
use crate::summary::Reconciliation;
use tegata_model::{Class, Operation};
use tegata_wire::{FLAG_REFUSED, FLAG_REPLAYED, HistoryEntry};

/// The kind of the record that an attempt becomes.
fn kind(what: What) -> u16 {
    match what {
        What::Load => 2,
        What::Charge => 3,
        What::Debit | What::DebitAgain => 4,
        What::Hold => 6,
        What::Capture => 7,
        What::Void => 8,
        What::Reversal => 10,
        What::Refund => 11,
    }
}

/// The kind of the record that decides a key as "never".
const FENCE: u16 = Operation::Fence.kind();
/// In place of a count of executions: the key was fenced before any.
const IS_FENCED: u8 = 0x80;

/// Kinds of records that move money of an account at somebody's wish.
fn moves(kind: u16) -> bool {
    matches!(kind, 2..=8 | 10 | 11)
}

/// The code of a key that was fenced before it was decided.
const FENCED: u16 = 153;
/// "Conflict".
const CONFLICT: u16 = 152;
/// How many findings are told one by one.
const FINDINGS_MAX: usize = 20;

/// What was said to an attempt in the end.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum Told {
    /// Nothing definite.
    #[default]
    Nothing,
    /// Executed.
    Approved,
    /// Decided against, suspected, rejected, refused or fenced: not executed.
    Not,
}

fn told(code: u16) -> Told {
    match class(code) {
        Some(Class::Approved) => Told::Approved,
        Some(Class::Unknown) | None => Told::Nothing,
        // The key stands for something else: the decision that stands is not of this attempt.
        Some(_) if code == CONFLICT => Told::Nothing,
        Some(Class::Declined | Class::Suspected | Class::NotExecuted | Class::Refused) => Told::Not,
    }
}

#[derive(Debug, Clone, Copy, Default)]
struct Answer {
    told: Told,
    differs: bool,
    code: u16,
    position: u64,
    amount: u64,
    hash: u64,
}

// The memory that the module promises.
const _: () = assert!(size_of::<Attempt>() == 56 && size_of::<Answer>() == 32);

/// The join, while it is made: answers first, then what was resolved, then the ledger in log order.
#[derive(Debug)]
pub struct Join<'a> {
    attempts: &'a Attempts,
    keys: Keys,
    data: DataSet,
    /// How long the tills wait, in µs.
    patience: i64,
    answers: Vec<Answer>,
    executed: Vec<u8>,
    balances: Vec<i64>,
    found: Reconciliation,
    moved: Moved,
    /// Sentences about the first violations.
    findings: Vec<String>,
}

impl<'a> Join<'a> {
    /// Of these attempts on this data, from tills that wait for so many ms.
    #[must_use]
    pub fn new(attempts: &'a Attempts, keys: Keys, data: &DataSet, deadline_ms: u32) -> Self {
        let n = usize::try_from(attempts.count()).unwrap_or(0);
        Self {
            attempts,
            keys,
            data: *data,
            patience: i64::from(deadline_ms) * 1_000,
            answers: vec![Answer::default(); n],
            executed: vec![0; n],
            balances: vec![i64::try_from(data.balance).unwrap_or(i64::MAX); data.accounts() as usize],
            found: Reconciliation { attempts: attempts.count(), ..Reconciliation::default() },
            moved: Moved::default(),
            findings: Vec::new(),
        }
    }

    fn finding(&mut self, text: impl FnOnce() -> String) {
        if self.findings.len() < FINDINGS_MAX {
            self.findings.push(text());
        }
    }

    /// An answer that a client got, in the order in which it got them.
    pub fn said(&mut self, s: &Said) {
        let Some(place) = self.attempts.place(s.number) else { return };
        let now = Answer {
            told: told(s.code),
            differs: false,
            code: s.code,
            position: s.position,
            amount: s.amount,
            hash: s.hash,
        };
        let before = self.answers[place];
        if now.told == Told::Nothing {
            return;
        }
        // What was decided is the same for ever. What was rejected may be decided later; what was approved stays.
        let decided = |code: u16| code < 100;
        let differs = match before.told {
            Told::Nothing => false,
            _ if decided(before.code) && decided(s.code) => before.hash != s.hash,
            // What was refused may have been refused before it was approved, and be read later.
            Told::Approved => now.told != Told::Approved && !(s.overtaken && is_refused(s.code)),
            Told::Not => now.told == Told::Approved,
        };
        if differs && !before.differs {
            self.answers[place].differs = true;
            self.found.differs += 1;
            self.finding(|| format!("DIFFERS: {} was told code {}, then {}", name(s.number), before.code, s.code));
        }
        if before.told == Told::Nothing {
            self.answers[place] = now;
        }
    }

    /// Numbers of attempts to which nothing definite was said.
    pub fn unknown(&self) -> Vec<u64> {
        let nothing =
            |(n, _): &(u64, _)| self.attempts.place(*n).is_some_and(|p| self.answers[p].told == Told::Nothing);
        self.attempts.iter().filter(nothing).map(|(n, _)| n).collect()
    }

    /// The next decision of the ledger.
    pub fn decision(&mut self, e: &HistoryEntry) {
        // A request that met its own decision is in the log twice and decided once.
        let again = e.flags & (FLAG_REPLAYED | FLAG_REFUSED) != 0;
        if again || e.namespace != self.data.namespace {
            return;
        }
        if e.kind == FENCE && e.code == FENCED {
            return self.fence(e);
        }
        if !moves(e.kind) {
            return;
        }
        let number = self.keys.number(&e.key);
        let Some((a, place)) = self.attempts.get(number).filter(|a| a.key == e.key).zip(self.attempts.place(number))
        else {
            self.found.orphan += 1;
            return self.finding(|| format!("ORPHAN: position {} has a key that nobody sent", e.position));
        };
        if e.code > 9 {
            // Decided against: whoever was told that it was approved finds no execution in the end.
            return;
        }
        let (answer, at) = (self.answers[place], e.position);
        if self.executed[place] & IS_FENCED != 0 {
            self.executed[place] = 0;
            self.found.risen += 1;
            self.finding(|| format!("RISEN: {} was fenced before position {at} took it", name(number)));
        }
        // What is done because time ran out has a deadline in the log, and is taken however late it comes.
        let has_deadline = Operation::has_deadline(e.kind);
        if has_deadline && e.deadline != 0 && e.at > e.deadline {
            self.found.late += 1;
            let by = e.at - e.deadline;
            self.finding(|| format!("LATE: {} was taken at position {at}, {by} µs after its deadline", name(number)));
        }
        self.executed[place] = self.executed[place].saturating_add(1);
        if self.executed[place] > 1 {
            self.found.double += u64::from(self.executed[place] == 2);
            self.finding(|| format!("DOUBLE: {} was taken again at position {at}", name(number)));
        }
        if answer.told == Told::Not {
            self.found.ghost += 1;
            self.finding(|| {
                format!("GHOST: {} was told code {}, and position {at} took it", name(number), answer.code)
            });
        }
        let original = a.of.checked_sub(1).and_then(|of| self.attempts.get(of));
        let as_asked = (e.kind, e.amount, &e.account) == (kind(a.what), a.amount, &self.data.account_bytes(a.account))
            && match a.what {
                What::Charge => e.other == self.data.account_bytes(a.shop),
                What::Debit | What::DebitAgain | What::Hold => e.shop == *self.data.shop(a.shop).bytes(),
                What::Load => true,
                _ => original.is_some_and(|o| e.other == o.key),
            };
        // It counts from the customer's action, which was before the receipt.
        let waits_as_asked = !has_deadline || (1..=e.received_at.saturating_add(self.patience)).contains(&e.deadline);
        let as_told = answer.told != Told::Approved || (answer.amount, answer.position) == (e.amount, e.position);
        if self.executed[place] == 1 && !(as_asked && waits_as_asked && as_told) {
            self.found.wrong += 1;
            self.finding(|| {
                format!(
                    "WRONG: {} asked for {:?} of {} yen and was told {} at position {}; the ledger has kind {} of {} \
                     at {at}, to be taken within {} µs",
                    name(number),
                    a.what,
                    a.amount,
                    answer.amount,
                    answer.position,
                    e.kind,
                    e.amount,
                    e.deadline.saturating_sub(e.received_at)
                )
            });
        }
        self.apply(e, a, original.map_or(0, |o| o.amount));
    }

    /// A key is decided as "never".
    fn fence(&mut self, e: &HistoryEntry) {
        let number = self.keys.number(&e.key);
        let Some(place) =
            self.attempts.get(number).filter(|a| a.key == e.key).and_then(|_| self.attempts.place(number))
        else {
            return;
        };
        if self.executed[place] == 0 {
            self.executed[place] = IS_FENCED;
        }
    }

    /// Moves what a decision moved; `held` is what the hold before it reserved.
    fn apply(&mut self, e: &HistoryEntry, a: &Attempt, held: u64) {
        let yen = u128::from(e.amount);
        let account = self.data.number(&e.account);
        match a.what {
            What::Debit | What::DebitAgain => {
                self.moved.spent += yen;
                self.add(account, e.amount, false, e.position);
            }
            What::Hold => self.add(account, e.amount, false, e.position),
            What::Charge => {
                self.add(account, e.amount, false, e.position);
                self.add(self.data.number(&e.other), e.amount, true, e.position);
            }
            What::Load => {
                self.moved.loaded += yen;
                self.add(account, e.amount, true, e.position);
            }
            What::Capture => {
                self.moved.spent += yen;
                self.add(account, held.saturating_sub(e.amount), true, e.position);
            }
            What::Void => self.add(account, held, true, e.position),
            What::Reversal | What::Refund => {
                self.moved.returned += yen;
                self.add(account, e.amount, true, e.position);
            }
        }
    }

    /// Adds to a balance, or takes from it. One that is not of the data set is the WRONG that was found before.
    fn add(&mut self, account: Option<u32>, yen: u64, adds: bool, position: u64) {
        let Some(n) = account else { return };
        let balance = &mut self.balances[n as usize];
        let (before, yen) = (*balance, i64::try_from(yen).unwrap_or(i64::MAX));
        *balance = if adds { before.saturating_add(yen) } else { before.saturating_sub(yen) };
        if before >= 0 && *balance < 0 {
            self.found.negative += 1;
            let below = *balance;
            self.finding(|| format!("NEGATIVE: account {n} is at {below} yen after position {position}"));
        }
    }

    /// The whole ledger was seen.
    #[must_use]
    pub fn finish(mut self) -> Found {
        let mut counts = Counts::default();
        for (number, a) in self.attempts.iter() {
            let Some(place) = self.attempts.place(number) else { continue };
            let answer = self.answers[place];
            match answer.told {
                Told::Nothing => self.found.unresolved += 1,
                Told::Approved if matches!(self.executed[place], 0 | IS_FENCED) => {
                    self.found.lost += 1;
                    self.finding(|| format!("LOST: {} was approved and is not in the ledger", name(number)));
                }
                _ => {}
            }
            if !a.what.is_wanted() {
                continue;
            }
            *match class(answer.code) {
                Some(Class::Approved) if answer.told == Told::Approved => &mut counts.approved,
                Some(Class::Declined) => &mut counts.declined,
                Some(Class::Suspected) => &mut counts.suspected,
                _ if answer.code == FENCED => &mut counts.fenced,
                _ => &mut counts.rejected,
            } += 1;
        }
        Found { reconciliation: self.found, counts, moved: self.moved, findings: self.findings }
    }
}

fn name(number: u64) -> String {
    format!("attempt {}", number & ((1 << 48) - 1))
}

/// Payments by what was said in the end.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Executed.
    pub approved: u64,
    /// Decided against.
    pub declined: u64,
    /// Suspected duplicates.
    pub suspected: u64,
    /// Fenced.
    pub fenced: u64,
    /// Rejected, refused, or not known.
    pub rejected: u64,
}

/// What all executed attempts moved, in yen.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Moved {
    /// Debits and captures.
    pub spent: u128,
    /// Reversals and refunds.
    pub returned: u128,
    /// Put on wallets.
    pub loaded: u128,
}

/// What the join found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Found {
    /// Violations, counted.
    pub reconciliation: Reconciliation,
    /// Payments by what was said.
    pub counts: Counts,
    /// What the executed ones moved.
    pub moved: Moved,
    /// The first violations, a sentence each.
    pub findings: Vec<String>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::attempts::Journal;
    use tegata_model::Timestamp;

    #[test]
    fn a_refusal_that_may_have_come_first_is_no_second_story() {
        let dir = tempfile::tempdir().expect("a folder");
        let mut journal = Journal::create(dir.path(), 0).expect("files");
        journal.attempt(&Attempt::default());
        journal.finish().expect("written");
        let attempts = Attempts::read(dir.path(), 1).expect("read");
        let said = |code, overtaken| Said { code, overtaken, hash: u64::from(code), ..Said::default() };
        let differs = |first: Said, then: Said| {
            let mut join = Join::new(&attempts, Keys::new(0), &DataSet::default(), 8_000);
            join.said(&first);
            join.said(&then);
            join.finish().reconciliation.differs
        };
        let (approved, declined, refused, fenced) = (0, 10, 113, 153);
        assert_eq!(differs(said(approved, false), said(refused, true)), 0, "sent before the approval was read");
        assert_eq!(differs(said(approved, false), said(refused, false)), 1, "sent after it");
        for other in [declined, fenced] {
            assert_eq!(differs(said(approved, false), said(other, true)), 1, "a decision is the same in any order");
        }
        assert_eq!(differs(said(refused, false), said(approved, true)), 1, "no send of it was left");
        assert_eq!(differs(said(approved, false), said(approved, false)), 0);
    }

    #[test]
    fn a_deadline_holds_where_there_is_one_and_is_the_one_that_was_asked() {
        let (keys, data) = (Keys::new(0), DataSet { coupons: 1, shops: 1, ..DataSet::default() });
        let received_at = 1_800_000_000_000_000;
        let key = |number| *keys.key(number, Timestamp::from_micros(received_at)).bytes();
        let found = |what, deadline, at| {
            let dir = tempfile::tempdir().expect("a folder");
            let mut journal = Journal::create(dir.path(), 0).expect("files");
            journal.attempt(&Attempt { key: key(0), ..Attempt::default() });
            journal.attempt(&Attempt { key: key(1), what, of: 1, ..Attempt::default() });
            journal.finish().expect("written");
            let attempts = Attempts::read(dir.path(), 1).expect("read");
            let mut join = Join::new(&attempts, keys, &data, 8_000);
            let (account, shop) = (data.account_bytes(0), *data.shop(0).bytes());
            let (namespace, kind, other) = (data.namespace, kind(what), key(0));
            let e = HistoryEntry { namespace, kind, key: key(1), account, shop, other, ..HistoryEntry::default() };
            join.decision(&HistoryEntry { at: received_at + at, received_at, deadline, ..e });
            let Reconciliation { late, wrong, .. } = join.finish().reconciliation;
            (late, wrong)
        };
        let (asked, later) = (received_at + 8_000_000, received_at + 8_000_001);
        for what in [What::Debit, What::Hold, What::Capture, What::Refund] {
            assert_eq!(found(what, asked, 8_000_000), (0, 0), "{what:?}: at its deadline");
            assert_eq!(found(what, asked, 8_000_001), (1, 0), "{what:?}: after it");
            assert_eq!(found(what, asked - 1_000, 8_000_000), (1, 0), "{what:?}: its customer had waited before");
            assert_eq!(found(what, 0, 1), (0, 1), "{what:?}: without one");
            assert_eq!(found(what, later, 1), (0, 1), "{what:?}: longer than its till waits");
        }
        for what in [What::Void, What::Reversal] {
            for deadline in [0, received_at, asked, later] {
                assert_eq!(found(what, deadline, 60_000_000), (0, 0), "{what:?}: it has none");
            }
        }
    }
}
