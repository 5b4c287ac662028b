//! Admission: a known key is answered from memory, one in flight is waited for, what may not or cannot be done is refused,
//! and the rest gets its place in the order.

use super::queue::InLine;
use super::{Full, Node};
use crate::batch::{Batch, Record, Ticket, header, records, with_records};
use crate::degrade::Rank;
use crate::message::Inbound;
use crate::repeats::Repeat;
use tegata_engine::{Applied, Effect, Hint, TOUCH_MAX};
use tegata_model::{
    AccountId, Class, Code, Decision, Envelope, Key, NamespaceId, Operation, Timestamp, decode, decode_envelope,
};

const FENCE: u16 = Operation::Fence.kind();

impl Node {
    /// Admits those of a bundle who wait, while there is room. False when some still do.
    pub(super) fn admit_all(&mut self, line: &mut InLine) -> bool {
        let InLine { thread, bundle, at, index } = line;
        for group in bundle.waiters[*index..].chunks(TOUCH_MAX) {
            let mut hints = [Hint::default(); TOUCH_MAX];
            let mut rest = records(&bundle.records[*at..]);
            for (hint, record) in with_records(&mut hints[..group.len()], &mut rest.clone()) {
                *hint = self.engine.hint(record);
            }
            self.touch_keys(&hints[..group.len()]);
            let ahead = self.may_admit() as usize;
            for (n, ((waiter, hint), record)) in with_records(group.iter().zip(&hints), &mut rest).enumerate() {
                if self.waiting_bytes <= self.limits.waiting_bytes_max
                    && (self.open_room() < record.len() || ahead <= n)
                    && !self.needs_no_room(record)
                {
                    return false;
                }
                self.admit(Ticket::new(*waiter, *thread), record, hint);
                *at += record.len();
                *index += 1;
            }
        }
        true
    }

    /// Loads what it takes to know whether these keys are decided, or in flight.
    #[inline]
    pub(super) fn touch_keys(&self, hints: &[Hint]) {
        self.engine.touch_keys(hints);
        self.flights.touch(hints.iter().map(Hint::scope));
    }

    /// One record: a known key is answered from memory; what may not or cannot be done is refused; the rest gets its
    /// place in the order.
    #[inline]
    pub(super) fn admit(&mut self, ticket: Ticket, record: &[u8], hint: &Hint) {
        self.admit_unless(None, ticket, record, hint);
    }

    /// The same, or refused with `why` where it would get a place.
    #[inline]
    pub(super) fn admit_unless(&mut self, why: Option<Code>, ticket: Ticket, record: &[u8], hint: &Hint) {
        let Ok(envelope) = decode_envelope(record) else {
            return self.refuse(ticket, record, Code::Malformed);
        };
        let kind = header(record).kind();
        let print = || fingerprint(record);
        if let Some(known) = self.engine.known(&envelope, hint, print, kind, self.now) {
            self.give(ticket, kind as u8, &known);
            return;
        }
        let first = self.first_in_flight(hint.scope(), envelope.namespace, &envelope.account, &envelope.key);
        // A fence is no repeat: where the first changes nothing, the fence is what decides the key. Nor is an advice: it
        // is told whatever the first comes to. Each is one of its own kind, so that no more than one of each are in flight.
        let first_of_its_kind = match kind {
            FENCE | Operation::ADVICE if first.is_some() => self.newest_in_flight(kind, hint.scope(), &envelope),
            _ => first,
        };
        if let Some(first) = first_of_its_kind {
            return self.wait_for(first, envelope.deadline, why, ticket, record);
        }
        if let Some(code) = why.or_else(|| self.obstacle(&envelope, kind, record)) {
            return self.refuse(ticket, record, if first.is_some() { Code::InProgress } else { code });
        }
        self.plans.take(kind, record);
        self.note_probe(Rank::of(kind));
        if Operation::has_deadline(kind) {
            self.open.note_due(envelope.deadline);
        }
        let back = self.flights.enter(hint.scope(), self.next.get(), self.engine.applied().get());
        self.open.push(record, Ticket { back, ..ticket }, *hint);
        self.next = self.next.next();
    }

    /// Position and fingerprint of the first request in flight under a key.
    #[inline]
    pub(super) fn first_in_flight(
        &self,
        scope: u64,
        namespace: NamespaceId,
        account: &AccountId,
        key: &Key,
    ) -> Option<(u64, u64)> {
        let newest = self.flights.newest(scope, self.engine.applied().get())?;
        self.first_in_chain(newest, scope, (namespace, account.bytes(), *key))
    }

    #[cold]
    fn first_in_chain(&self, newest: u64, scope: u64, of: (NamespaceId, &[u8; 16], Key)) -> Option<(u64, u64)> {
        let first = self.chain(newest, scope, of).last();
        first.map(|(position, record)| (position, fingerprint(record)))
    }

    /// The same of the newest of a kind.
    #[cold]
    fn newest_in_flight(&self, kind: u16, scope: u64, envelope: &Envelope) -> Option<(u64, u64)> {
        let newest = self.flights.newest(scope, self.engine.applied().get())?;
        let mut chain = self.chain(newest, scope, (envelope.namespace, envelope.account.bytes(), envelope.key));
        let of_kind = chain.find(|(_, record)| header(record).kind() == kind);
        of_kind.map(|(position, record)| (position, fingerprint(record)))
    }

    /// The records in flight under a key, the newest first, by their positions.
    fn chain<'a>(
        &'a self,
        newest: u64,
        scope: u64,
        of: (NamespaceId, &'a [u8; 16], Key),
    ) -> impl Iterator<Item = (u64, &'a [u8])> {
        let applied = self.engine.applied().get();
        let at = move |position: u64| {
            let mut batches = std::iter::once(&self.open).chain(self.sealed.iter().rev());
            let record = batches.find_map(|b| b.record_at(position)).filter(|_| position > applied)?;
            Some((position, record))
        };
        let older = move |(position, record): &(u64, Record<'a>)| match record.back {
            0 => None,
            back => at(position - back),
        };
        std::iter::successors(at(newest), older)
            .filter(move |(_, record)| record.scope == scope)
            .map(|(position, record)| (position, record.bytes()))
            .filter(move |(_, bytes)| header(bytes).scope() == of)
    }

    /// A repeat waits for the decision about `first`, while there is time and room.
    #[cold]
    fn wait_for(&mut self, first: (u64, u64), deadline: Timestamp, why: Option<Code>, ticket: Ticket, record: &[u8]) {
        // A fence, whose fingerprint is 0, answers whatever was asked under its key.
        let conflicts = first.1 != 0 && first.1 != fingerprint(record);
        let late = if conflicts { Code::Conflict } else { Code::InProgress };
        if self.halted {
            self.refuse(ticket, record, Code::Unknown);
        } else if self.has_passed(deadline) || self.repeats.bytes() > self.limits.waiting_bytes_max {
            self.refuse(ticket, record, late);
        } else {
            let deadline = if deadline.is_zero() { Timestamp::MAX } else { deadline };
            self.repeats.add(first.0, deadline, Repeat { ticket, record: record.to_vec(), late, why });
        }
    }

    /// Repeats whose first request is applied are admitted again: they find its decision, or take its place.
    pub(super) fn admit_repeats(&mut self) {
        while let Some(repeat) = self.repeats.decided(self.engine.applied().get()) {
            let Repeat { ticket, record, why, .. } = repeat;
            if why.is_some() {
                // It needs no place.
                let hint = self.engine.hint(&record);
                self.admit_unless(why, ticket, &record, &hint);
                continue;
            }
            let bundle = Inbound { records: record, waiters: vec![ticket.waiter], ..Inbound::default() };
            let mut line = InLine::new(ticket.thread, bundle);
            if !self.admit_all(&mut line) {
                self.waiting_bytes += line.records().len();
                self.waiting.push_front(line);
            }
        }
    }

    pub(super) fn has_passed(&self, deadline: Timestamp) -> bool {
        !deadline.is_zero() && self.now > deadline
    }

    /// Why a request is not admitted.
    #[inline]
    fn obstacle(&mut self, envelope: &Envelope, kind: u16, record: &[u8]) -> Option<Code> {
        if self.halted {
            return Some(Code::Halted);
        }
        if self.draining {
            return Some(Code::Draining);
        }
        if Operation::has_deadline(kind) && self.has_passed(envelope.deadline) {
            return Some(Code::DeadlinePassed);
        }
        if !self.room.is_for(kind) {
            return Some(Code::DiskFull);
        }
        let rank = Rank::of(kind);
        if let Some(code) = self.breakers.refusal(rank) {
            return Some(code);
        }
        if self.open_room() < record.len() {
            return Some(Code::Overloaded);
        }
        let is_full = match self.full {
            Full::No => false,
            Full::ForValue => Operation::adds_value(kind),
            Full::ForLots => Operation::may_make_lot(kind),
            Full::ForNew => rank > Rank::Finish,
            Full::Entirely => true,
        };
        if is_full {
            return Some(Code::MemoryLimit);
        }
        // Last of all, because it may use up a probe.
        self.plans.obstacle(kind, record).or_else(|| self.breakers.probe(rank))
    }

    pub(super) fn refuse(&mut self, ticket: Ticket, record: &[u8], code: Code) {
        let header = header(record);
        // Of a key that is out of its horizon nobody can say that nothing was taken: it may have been, and forgotten.
        let denies = code.class() == Class::NotExecuted || code == Code::PlanMismatch;
        let code = if denies && self.engine.unseen(&header.key(), self.now) == Code::KeyTooOld {
            Code::KeyTooOld
        } else {
            code
        };
        let index = code.number().checked_sub(Code::Overloaded.number()).map(usize::from);
        if let Some(count) = index.and_then(|i| self.not_executed.get_mut(i)) {
            *count += 1;
        }
        let applied =
            Applied { decision: Decision::refusal(code, self.now), effect: Effect::NotRecorded, flagged: false };
        self.give(ticket, header.kind() as u8, &applied);
    }

    /// Looks again at everything that was not handed to the journal, and so can have taken nothing: something is in the
    /// way of new records. The node's own stay, and come first.
    pub(super) fn admit_anew(&mut self) {
        let mut open = std::mem::take(&mut self.open);
        (self.open.first, self.next) = (open.first, open.first);
        self.flights.only(self.sealed.iter().flat_map(Batch::scopes));
        let mut repeats = Vec::new();
        while let Some(repeat) = self.repeats.decided(u64::MAX) {
            repeats.push(repeat);
        }
        let mut asked = Vec::new();
        let mut rest = records(&open.body);
        for ((ticket, hint), record) in with_records(open.tickets.drain(..).zip(&open.hints), &mut rest) {
            if ticket.thread == Ticket::NOBODY.thread {
                self.open.push(record, ticket, *hint);
                self.next = self.next.next();
            } else {
                asked.push((ticket, record, hint));
            }
        }
        if self.watch.stood {
            // Ahead of what came since: the guard is to ask about it.
            self.tell_log();
        }
        self.log_deliveries();
        for (ticket, record, hint) in asked {
            self.admit(ticket, record, hint);
        }
        for repeat in repeats {
            let hint = self.engine.hint(&repeat.record);
            self.admit_unless(repeat.why, repeat.ticket, &repeat.record, &hint);
        }
        self.admit_waiting();
    }
}

/// What a record asks, as a number; 0 for a fence.
fn fingerprint(record: &[u8]) -> u64 {
    decode(record).map_or(0, |c| c.fingerprint().0)
}
