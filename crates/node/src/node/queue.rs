//! Those who wait for a place in a batch. In ordinary times in the order in which they came; while the queue has stood too
//! long as a [`crate::crowd`]: by turns of the gateways, newest first, and not for long.

use super::Node;
use crate::batch::{Ticket, whole_record};
use crate::breaker::BreakerState;
use crate::crowd::Group;
use crate::degrade::{Cause, Rank};
use crate::message::{Inbound, Question};
use tegata_engine::{Hint, TOUCH_MAX, scope_hash};
use tegata_model::{Code, Timestamp, decode, decode_envelope};

/// Records that may be admitted and not applied while the queue stands, as µs of the pace: what is admitted can no longer
/// be refused, so the queue must stand before admission.
const AHEAD_US: u64 = 10_000;
/// And so many in any case: what little is known of the pace must not stop everything.
const AHEAD_MIN: u64 = 512;
/// Turned away in one turn; applying goes on in between.
const OVERDUE_MAX: usize = 1_024;

impl Node {
    /// Admits those who wait in order, while there is room.
    pub(super) fn admit_waiting(&mut self) {
        while let Some((thread, bundle, from, index)) = self.waiting.pop_front() {
            let (at, i) = self.admit_all(thread, &bundle, from, index);
            self.waiting_bytes -= at - from;
            if i < bundle.waiters.len() {
                self.waiting.push_front((thread, bundle, at, i));
                return;
            }
        }
        self.serve_crowd();
    }

    /// True while the queue has stood too long, and until nobody is left of it.
    #[inline]
    pub fn is_crowded(&self) -> bool {
        self.breakers.state(Cause::QueueDelay) != BreakerState::Closed || !self.crowd.is_empty()
    }

    /// Adds the rest of a bundle to the crowd.
    pub(super) fn join_crowd(&mut self, thread: u16, bundle: Inbound, at: usize, index: usize) {
        let most = self.limits.wait_us_max;
        self.crowd.add(thread, bundle, at, index, |rank, received, deadline| {
            let end = if deadline.is_zero() { Timestamp::MAX } else { deadline };
            if rank < Rank::Pay {
                return end;
            }
            let wait_us = most.min(end.since(received) / 4);
            Timestamp::from_micros(received.micros().saturating_add(i64::try_from(wait_us).unwrap_or(i64::MAX)))
        });
    }

    /// The queue has stood too long: those who wait in order join the crowd.
    pub(super) fn crowd_the_queue(&mut self) {
        while let Some((thread, bundle, at, index)) = self.waiting.pop_front() {
            self.waiting_bytes -= bundle.records.len() - at;
            self.join_crowd(thread, bundle, at, index);
        }
    }

    /// Records that may still be admitted while the queue stands.
    fn may_admit(&self) -> u64 {
        let ahead = (self.next.get() - 1).saturating_sub(self.engine.applied().get());
        (self.pace * AHEAD_US / 1_000).max(AHEAD_MIN).saturating_sub(ahead)
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
            self.each_of(&mut group, Self::admit);
            self.group = group;
            if served == 0 {
                return;
            }
        }
    }

    /// Of these only the header was looked at, because their rank is refused. A key that is decided or on its way gets what
    /// it would get, once the whole record was looked at after all.
    #[cold]
    pub(super) fn refuse_unlooked(&mut self, thread: u16, bundle: &mut Inbound) {
        let mut rest = &bundle.unlooked[..];
        for waiter in bundle.unlooked_waiters.drain(..) {
            let (record, tail) = rest.split_at(whole_record(rest));
            rest = tail;
            let ticket = Ticket::new(waiter, thread);
            let why = self.breakers.refusal(Rank::of(u16::from(record[0]))).unwrap_or(Code::Overloaded);
            let Ok(e) = decode_envelope(record) else {
                self.refuse(ticket, record, Code::Malformed);
                continue;
            };
            let scope = scope_hash(e.namespace, &e.account, &e.key);
            let known = self.engine.status(e.namespace, &e.account, &e.key, self.now).is_some()
                || self.first_in_flight(scope, e.namespace, &e.account, &e.key).is_some();
            if !known {
                self.refuse(ticket, record, why);
            } else if decode(record).is_ok() {
                let hint = self.engine.hint(record);
                self.admit_unless(Some(why), ticket, record, &hint);
            } else {
                let kind = record[0];
                let question = Question::Refused {
                    kind,
                    namespace: e.namespace,
                    account: e.account,
                    key: e.key,
                    code: Code::Malformed,
                };
                self.ask(usize::from(thread), waiter, question);
            }
        }
        bundle.unlooked.clear();
    }

    /// There is no memory for more who wait: they are refused, or told what is decided under their keys.
    #[cold]
    pub(super) fn turn_all_away(&mut self, thread: u16, bundle: &Inbound) {
        let mut group = std::mem::take(&mut self.group);
        group.records.extend_from_slice(&bundle.records);
        group.who.extend(bundle.waiters.iter().map(|waiter| (thread, *waiter)));
        self.refuse_group(&mut group);
        self.group = group;
    }

    fn refuse_group(&mut self, group: &mut Group) {
        self.each_of(group, |node, ticket, record, hint| {
            node.admit_unless(Some(Code::Overloaded), ticket, record, hint);
        });
    }

    /// Whoever waited too long is told so, or what is decided under its key.
    fn turn_away(&mut self) {
        let mut group = std::mem::take(&mut self.group);
        self.crowd.overdue(self.now, OVERDUE_MAX, &mut group);
        self.refuse_group(&mut group);
        self.group = group;
    }

    fn each_of(&mut self, group: &mut Group, does: impl Fn(&mut Self, Ticket, &[u8], &Hint)) {
        let mut rest = &group.records[..];
        for who in group.who.chunks(TOUCH_MAX) {
            let mut hints = [Hint::default(); TOUCH_MAX];
            let mut ahead = rest;
            for hint in &mut hints[..who.len()] {
                let (record, tail) = ahead.split_at(whole_record(ahead));
                *hint = self.engine.hint(record);
                ahead = tail;
            }
            self.engine.touch_keys(&hints[..who.len()]);
            for ((thread, waiter), hint) in who.iter().zip(&hints) {
                let (record, tail) = rest.split_at(whole_record(rest));
                does(self, Ticket::new(*waiter, *thread), record, hint);
                rest = tail;
            }
        }
        group.clear();
    }

    /// True when the passing of time alone may bring an answer; see [`Node::pass_time`].
    #[must_use]
    pub fn watches_time(&self) -> bool {
        !self.repeats.is_empty() || !self.waiting.is_empty() || !self.crowd.is_empty()
    }

    /// It is `now`: whoever waits for the decision of another request, or for room, is told when its deadline has
    /// passed. True when somebody was. What is in a batch already waits on: it may yet take effect.
    pub fn pass_time(&mut self, now: Timestamp) -> bool {
        self.now = self.now.max(now);
        let before = self.repeats.len() + self.waiting_bytes + self.crowd.len();
        while let Some(repeat) = self.repeats.late(self.now) {
            self.refuse(repeat.ticket, &repeat.record, repeat.late);
        }
        if !self.crowd.is_empty() {
            self.turn_away();
            self.serve_crowd();
        }
        if self.waiting.front().is_some_and(|(_, bundle, at, _)| self.needs_no_room(&bundle.records[*at..])) {
            self.admit_waiting();
        }
        self.repeats.len() + self.waiting_bytes + self.crowd.len() != before
    }

    /// True when the record can be answered without a place in a batch: it is refused anyway, its deadline has passed, or
    /// its key is decided.
    #[cold]
    pub(super) fn needs_no_room(&self, record: &[u8]) -> bool {
        if self.breakers.refused_outright() & Rank::of(u16::from(record[0])).bit() != 0 {
            return true;
        }
        decode_envelope(record).is_ok_and(|e| {
            self.has_passed(e.deadline) || self.engine.status(e.namespace, &e.account, &e.key, self.now).is_some()
        })
    }
}
