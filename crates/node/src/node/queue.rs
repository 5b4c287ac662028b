//! Those who wait for a place in a batch. In ordinary times in the order in which they came; while the queue has stood too
//! long as a [`crate::crowd`]: by turns of the gateways, newest first, and not for long.

use super::Node;
use crate::batch::{Ticket, header, records, with_records};
use crate::breaker::BreakerState;
use crate::crowd::{Comers, Group, Taken};
use crate::degrade::{Cause, Rank};
use crate::message::{Inbound, Question, Waiter};
use tegata_engine::{Hint, TOUCH_MAX, scope_hash};
use tegata_model::{Code, Operation, RecordError, Timestamp, decode, decode_envelope, decode_purchase};

/// Records that may be admitted and not applied, as µs of the pace: what is admitted can no longer be refused, so the
/// queue must stand before admission.
const AHEAD_US: u64 = 10_000;
/// The same where far more comes than is done, beside the time of the last flush: there a record in the log waits for its share
/// of the time.
const AHEAD_BESIDE_FLUSH_US: u64 = 4_000;
/// A longer flush, in µs, counts as this.
const AHEAD_FLUSH_US_MAX: u64 = 6_000;
/// And so many in any case: what little is known of the pace must not stop everything.
const AHEAD_MIN: u64 = 512;
/// The pace that is counted on in any case, in records a millisecond: after a start or a stall little is known of it.
const PACE_MIN: u64 = 50;
/// In tenths of what is done: where more comes, whoever was passed over once has no turn any more, because newer ones
/// do, and is told so at once. Near the limit a moment's crowd is served.
const MORE_THAN_HOPE: u64 = 15;
/// Turned away in one turn; applying goes on in between.
const OVERDUE_MAX: usize = 1_024;

/// A bundle in the order in which they came: its records from byte `at` on, the first of which is number `index`, have no
/// place in a batch yet.
#[derive(Debug)]
pub(super) struct InLine {
    pub(super) thread: u16,
    pub(super) bundle: Inbound,
    pub(super) at: usize,
    pub(super) index: usize,
}

impl InLine {
    pub(super) fn new(thread: u16, bundle: Inbound) -> Self {
        Self { thread, bundle, at: 0, index: 0 }
    }

    pub(super) fn records(&self) -> &[u8] {
        &self.bundle.records[self.at..]
    }

    pub(super) fn waiters(&self) -> &[Waiter] {
        &self.bundle.waiters[self.index..]
    }
}

impl Node {
    /// Admits those who wait in order, while there is room.
    pub(super) fn admit_waiting(&mut self) {
        while let Some(mut line) = self.waiting.pop_front() {
            let before = line.records().len();
            let all = self.admit_all(&mut line);
            self.waiting_bytes -= before - line.records().len();
            if !all {
                self.waiting.push_front(line);
                return;
            }
        }
        self.serve_crowd();
    }

    /// True while the queue has stood too long, and until nobody is left of it.
    #[inline]
    pub fn is_crowded(&self) -> bool {
        self.queue_stands() || !self.crowd.is_empty()
    }

    /// True while the queue has stood too long. Where it lately had, it has again as soon as it stands at all.
    #[inline]
    pub(super) fn queue_stands(&self) -> bool {
        self.watch.stands || self.breakers.state(Cause::QueueDelay) != BreakerState::Closed
    }

    /// Adds the rest of a bundle to the crowd. No more may wait than will be served in time at the pace that was seen.
    pub(super) fn join_crowd(&mut self, mut comers: Comers, mut at: usize, mut index: usize) {
        if self.may_admit() == 0 && self.answer_at_once(&mut comers, at, index) {
            (at, index) = (0, 0);
        }
        let wait_us_max = self.limits.wait_us_max;
        let (room_us, patience_us) = if self.pressure() > MORE_THAN_HOPE {
            (wait_us_max / 4, wait_us_max / 16)
        } else {
            (wait_us_max, wait_us_max)
        };
        let most = self.pace.max(PACE_MIN).saturating_mul(room_us) / 1_000;
        let now = self.now;
        let until = |rank, received: Timestamp, deadline: Timestamp| {
            let end = if deadline.is_zero() { Timestamp::MAX } else { deadline };
            if rank < Rank::Pay {
                return Some(end);
            }
            let wait_us = patience_us.min(end.since(received) / 4);
            let until = received.micros().saturating_add(i64::try_from(wait_us).unwrap_or(i64::MAX));
            (end >= now).then_some(Timestamp::from_micros(until))
        };
        self.crowd.add(comers, at, index, most as usize, until);
        self.turn_away();
    }

    /// Where nothing is admitted, what is never shed would wait as long as it may for an answer that needs no room: it is
    /// answered, and the others of the bundle are left. False where there is nothing of the kind.
    fn answer_at_once(&mut self, comers: &mut Comers, at: usize, index: usize) -> bool {
        let all = || records(&comers.records[at..]);
        let is_settling = |record: &[u8]| Rank::of(header(record).kind()) < Rank::Pay;
        if !all().any(|record| is_settling(record) && self.needs_no_room(record)) {
            return false;
        }
        let mut left = Comers { thread: comers.thread, looked: comers.looked, ..Comers::default() };
        for (waiter, record) in with_records(&comers.waiters[index..], &mut all()) {
            if is_settling(record) && self.needs_no_room(record) {
                let (ticket, hint) = (Ticket::new(*waiter, comers.thread), self.engine.hint(record));
                match if comers.looked { Ok(()) } else { check(record) } {
                    Ok(()) => self.admit(ticket, record, &hint),
                    Err(error) => self.refuse_damaged(ticket, record, code_of(error)),
                }
            } else {
                left.records.extend_from_slice(record);
                left.waiters.push(*waiter);
            }
        }
        *comers = left;
        true
    }

    /// The queue has stood too long: those who wait in order join the crowd.
    pub(super) fn crowd_the_queue(&mut self) {
        while let Some(line) = self.waiting.pop_front() {
            self.waiting_bytes -= line.records().len();
            let InLine { thread, bundle: Inbound { records, waiters, .. }, at, index } = line;
            self.join_crowd(Comers { thread, looked: true, records, waiters }, at, index);
        }
    }

    /// Records that may still be admitted.
    #[inline]
    pub(super) fn may_admit(&self) -> u64 {
        let ahead = (self.next.get() - 1).saturating_sub(self.engine.applied().get());
        let us = if self.is_crowded() && self.pressure() > MORE_THAN_HOPE {
            AHEAD_BESIDE_FLUSH_US + self.watch.flush_us.min(AHEAD_FLUSH_US_MAX)
        } else {
            AHEAD_US
        };
        (self.pace * us / 1_000).max(AHEAD_MIN).saturating_sub(ahead)
    }

    /// Admits those of the crowd whose turn it is, while there is room.
    pub(super) fn serve_crowd(&mut self) {
        while !self.crowd.is_empty() {
            let count = if self.halted { TOUCH_MAX } else { TOUCH_MAX.min(self.may_admit() as usize) };
            let mut group = std::mem::take(&mut self.group);
            let mut room = self.open_room();
            while group.who.len() < count && self.crowd.next(room, &mut group) {
                room = self.open_room().saturating_sub(group.records.len());
            }
            let served = group.who.len();
            self.admit_group(&mut group);
            self.group = group;
            if served == 0 {
                return;
            }
        }
    }

    /// Of these only the header was looked at, because their rank is refused or because most of it will be. Where it is
    /// refused they are told so; while the queue stands they wait with the others; else they are looked at after all.
    #[cold]
    pub(super) fn take_unlooked(&mut self, thread: u16, bundle: &mut Inbound) {
        let spare = self.crowd.spare();
        let comers = Comers {
            thread,
            looked: false,
            records: std::mem::replace(&mut bundle.unlooked, spare.records),
            waiters: std::mem::replace(&mut bundle.unlooked_waiters, spare.waiters),
        };
        let outright = self.breakers.refused_outright() & Rank::COMMANDS;
        if outright == 0 && self.is_crowded() {
            self.note_waiting(&comers.records);
            return self.crowd_or_refuse(comers);
        }
        // They came before the others of the bundle.
        let mut looked = Comers { thread, looked: true, ..Comers::default() };
        let mut rest = records(&comers.records);
        for some in comers.waiters.chunks(TOUCH_MAX) {
            let (mut taken, mut count) = ([Taken::NOTHING; TOUCH_MAX], 0);
            for (waiter, record) in with_records(some, &mut rest) {
                let ticket = Ticket::new(*waiter, thread);
                if outright & Rank::of(header(record).kind()).bit() != 0 {
                    taken[count] = Taken { ticket, record, looked: false, why: None };
                    count += 1;
                } else if let Err(error) = decode(record) {
                    self.refuse_damaged(ticket, record, code_of(error));
                } else {
                    looked.records.extend_from_slice(record);
                    looked.waiters.push(*waiter);
                }
            }
            self.refuse_by_header(&taken[..count]);
        }
        if !looked.waiters.is_empty() {
            looked.records.append(&mut bundle.records);
            looked.waiters.append(&mut bundle.waiters);
            (bundle.records, bundle.waiters) = (looked.records, looked.waiters);
        }
    }

    /// Adds a bundle to the crowd; where there is no memory for more who wait, they are refused, or told what is decided
    /// under their keys.
    pub(super) fn crowd_or_refuse(&mut self, comers: Comers) {
        if self.crowd.bytes() + comers.records.len() <= self.limits.waiting_bytes_max {
            return self.join_crowd(comers, 0, 0);
        }
        let mut rest = records(&comers.records);
        for some in comers.waiters.chunks(TOUCH_MAX) {
            let mut taken = [Taken::NOTHING; TOUCH_MAX];
            for ((waiter, taken), record) in with_records(some.iter().zip(&mut taken), &mut rest) {
                let ticket = Ticket::new(*waiter, comers.thread);
                *taken = Taken { ticket, record, looked: comers.looked, why: None };
            }
            self.refuse_by_header(&taken[..some.len()]);
        }
    }

    /// Refuses what is neither decided nor on its way, by the header alone; what may be is looked at as a whole. The tables
    /// are waited for once, not once for each.
    pub(super) fn refuse_by_header(&mut self, some: &[Taken<'_>]) {
        let applied = self.engine.applied().get();
        let (mut hints, mut doubtful, mut count) = ([Hint::default(); TOUCH_MAX], [Taken::NOTHING; TOUCH_MAX], 0);
        for (taken, hint) in some.iter().zip(&mut hints) {
            *hint = self.engine.key_hint(taken.record);
        }
        self.flights.touch(hints[..some.len()].iter().map(Hint::scope));
        self.engine.touch_recent(some.iter().map(|taken| taken.record).zip(&hints));
        for (n, taken) in some.iter().enumerate() {
            let hint = hints[n];
            if self.flights.newest(hint.scope(), applied).is_none() && self.engine.is_new(taken.record, &hint) {
                self.refuse(taken.ticket, taken.record, self.why_turned_away(taken));
            } else {
                (hints[count], doubtful[count]) = (hint, *taken);
                count += 1;
            }
        }
        self.touch_keys(&hints[..count]);
        for (taken, hint) in doubtful[..count].iter().zip(&hints) {
            let why = self.why_turned_away(taken);
            if self.flights.newest(hint.scope(), applied).is_none() && !self.engine.may_know(hint) {
                self.refuse(taken.ticket, taken.record, why);
            } else {
                self.refuse_unless_known(*taken, why);
            }
        }
    }

    /// What a record is told that is turned away, by its header.
    #[inline]
    fn why_turned_away(&self, taken: &Taken<'_>) -> Code {
        if let Some(why) = taken.why {
            return why;
        }
        let header = header(taken.record);
        if Operation::has_deadline(header.kind()) && self.has_passed(header.deadline()) {
            return Code::DeadlinePassed;
        }
        self.breakers.refusal(Rank::of(header.kind())).unwrap_or(Code::Overloaded)
    }

    /// Something shares the hash of its key: the whole record is looked at.
    #[cold]
    fn refuse_unless_known(&mut self, taken: Taken<'_>, why: Code) {
        let Taken { ticket, record, looked, .. } = taken;
        if !looked && decode(record).is_err() {
            let is_known = decode_envelope(record).is_ok_and(|e| {
                let scope = scope_hash(e.namespace, &e.account, &e.key);
                self.engine.status(e.namespace, &e.account, &e.key, self.now).is_some()
                    || self.first_in_flight(scope, e.namespace, &e.account, &e.key).is_some()
            });
            return self.refuse_damaged(ticket, record, if is_known { Code::Malformed } else { why });
        }
        let hint = self.engine.hint(record);
        self.admit_unless(Some(why), ticket, record, &hint);
    }

    /// Refuses a record that does not decode, or says what is decided under its key.
    #[cold]
    fn refuse_damaged(&mut self, ticket: Ticket, record: &[u8], code: Code) {
        let Ok(e) = decode_envelope(record) else { return self.refuse(ticket, record, Code::Malformed) };
        let question = Question::Refused {
            kind: header(record).kind() as u8,
            namespace: e.namespace,
            account: e.account,
            key: e.key,
            code,
        };
        self.ask(usize::from(ticket.thread), ticket.waiter, question);
    }

    /// Whoever waited too long, or is one too many, is told so, or what is decided under its key.
    fn turn_away(&mut self) {
        let mut crowd = std::mem::take(&mut self.crowd);
        crowd.turn_away::<TOUCH_MAX>(|some| self.refuse_by_header(some));
        self.crowd = crowd;
    }

    /// Admits records of the crowd; those of which only the header was looked at are looked at now.
    fn admit_group(&mut self, group: &mut Group) {
        let mut rest = records(&group.records);
        for who in group.who.chunks(TOUCH_MAX) {
            let mut hints = [Hint::default(); TOUCH_MAX];
            for (hint, record) in with_records(&mut hints[..who.len()], &mut rest.clone()) {
                *hint = self.engine.hint(record);
            }
            self.touch_keys(&hints[..who.len()]);
            for (((ticket, looked), hint), record) in with_records(who.iter().zip(&hints), &mut rest) {
                match if *looked { Ok(()) } else { check(record) } {
                    Ok(()) => self.admit(*ticket, record, hint),
                    Err(error) => self.refuse_damaged(*ticket, record, code_of(error)),
                }
            }
        }
        group.clear();
    }

    /// True when the passing of time alone may bring an answer; see [`Node::pass_time`].
    #[must_use]
    pub fn watches_time(&self) -> bool {
        !self.repeats.is_empty() || !self.waiting.is_empty() || !self.crowd.is_empty()
    }

    /// It is `now`: who waits for room gets what there is; whoever waits for the decision of another request, or for room,
    /// is told when its deadline has passed. True when somebody was served or told. What is in a batch already waits on:
    /// it may yet take effect.
    pub fn pass_time(&mut self, now: Timestamp) -> bool {
        self.now = self.now.max(now);
        let before = self.repeats.len() + self.waiting_bytes + self.crowd.len();
        while let Some(repeat) = self.repeats.late(self.now) {
            self.refuse(repeat.ticket, &repeat.record, repeat.late);
        }
        if !self.crowd.is_empty() {
            self.serve_crowd();
            self.crowd.overdue(self.now, OVERDUE_MAX);
            self.turn_away();
        }
        if self.waiting.front().is_some_and(|line| self.needs_no_room(line.records())) {
            self.admit_waiting();
        }
        self.repeats.len() + self.waiting_bytes + self.crowd.len() != before
    }

    /// True when the record can be answered without a place in a batch: it is refused anyway, its deadline has passed, or
    /// its key is decided.
    #[cold]
    pub(super) fn needs_no_room(&self, record: &[u8]) -> bool {
        let kind = header(record).kind();
        if self.halted
            || self.draining
            || !self.room.is_for(kind)
            || self.breakers.refused_outright() & Rank::of(kind).bit() != 0
        {
            return true;
        }
        decode_envelope(record).is_ok_and(|e| {
            self.has_passed(e.deadline) || self.engine.status(e.namespace, &e.account, &e.key, self.now).is_some()
        })
    }
}

/// What a whole record is checked for before it is admitted.
fn check(record: &[u8]) -> Result<(), RecordError> {
    match decode_purchase(record)? {
        Some(_) => Ok(()),
        None => decode(record).map(|_| ()),
    }
}

/// What whoever sent a record is told that does not decode.
fn code_of(error: RecordError) -> Code {
    match error {
        RecordError::Field { name: "amount" } => Code::AmountInvalid,
        _ => Code::Malformed,
    }
}
