//! The node: admission, one order, one clock, and the engine behind the journal. It has no I/O, no clock and no
//! threads: whoever drives it brings bundles, the time, and the news of what is durable.
//!
//! ```text
//! accept ──known key──▶ answer from memory
//!    ├──key in flight──▶ waits for that decision, until its own deadline
//!    └──▶ open batch ──seal──▶ sealed batches ──durable──▶ engine ──▶ answers
//! ```
//!
//! Invariants: `delivered ≤ applied ≤ durable ≤ submitted ≤ accepted`; a record is applied only after it is durable;
//! every record that was accepted is answered exactly once.

mod guarded;
mod questions;
mod queue;
mod watch;

use crate::batch::{Batch, Sealed, Ticket, whole_record};
use crate::breaker::Policy;
use crate::breakers::{Breakers, Policies};
use crate::crowd::{Comers, Crowd, Group};
use crate::degrade::{Cause, Rank};
use crate::flights::Flights;
use crate::margin::Margin;
use crate::message::{Answer, Inbound, Outbound, Report, Waiter};
use crate::plans::Plans;
use crate::repeats::{Repeat, Repeats};
use crate::room::Room;
use crate::unlogged::Unlogged;
use std::collections::VecDeque;
use tegata_engine::{Applied, Effect, Engine, Hint, TOUCH_MAX};
use tegata_model::{
    AccountId, Class, Code, Command, Decision, Envelope, Extension, Key, NamespaceId, Operation, Position,
    RECORD_BYTES_MAX, Settings, Timestamp, decode, decode_envelope, encode, mix, scope_of,
};
use watch::Watch;

/// Bounds of a node.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Threads of connections.
    pub threads: usize,
    /// Most bytes of records in one batch.
    pub batch_bytes_max: usize,
    /// From so many bytes on a batch is sealed although others are in flight.
    pub seal_bytes: usize,
    /// Most batches in flight.
    pub in_flight_max: usize,
    /// Most bytes of records that wait for room in a batch; what comes beyond is refused. Most bytes of repeats that
    /// wait for a first request; what comes beyond is in progress at once.
    pub waiting_bytes_max: usize,
    /// While the queue has stood too long, whoever may be shed waits no longer than this, in µs, and no longer than a
    /// quarter of its own time.
    pub wait_us_max: u64,
    /// Most accounts; what would make more is refused.
    pub accounts_max: u64,
    /// Most decisions remembered; beyond, everything that would be remembered is refused.
    pub decisions_max: u64,
    /// When breakers open and close.
    pub policies: Policies,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            threads: 1,
            batch_bytes_max: 256 << 10,
            seal_bytes: 64 << 10,
            in_flight_max: 4,
            waiting_bytes_max: 64 << 20,
            wait_us_max: 20_000,
            accounts_max: 100_000_000,
            decisions_max: 100_000_000,
            policies: POLICIES,
        }
    }
}

/// The breakers' defaults, in the order of the causes. `docs/degrade.md` says why.
const POLICIES: Policies = {
    const MS: u64 = 1_000;
    const NEVER: u64 = u64::MAX;
    let quick = Policy { open_at: 1, close_below: 1, window_us: 0, rest_us: 500 * MS, stage_us: 100 * MS, probes: 16 };
    [
        Policy { open_at: 250 * MS, close_below: 100 * MS, window_us: 100 * MS, ..quick },
        quick,
        Policy { open_at: 20 * MS, close_below: 10 * MS, window_us: 100 * MS, ..quick },
        Policy { open_at: 1_000, close_below: 990, ..quick },
        Policy { open_at: NEVER, ..quick },
        Policy { open_at: NEVER, ..quick },
    ]
};

const FENCE: u16 = Operation::Fence.kind();

/// Told to whoever is refused because the server stops, in ms.
const RETRY_DRAINING_MS: u32 = 250;

/// The part of the decisions that is kept for ending what was begun: captures, voids, confirmations, reversals, fences,
/// and lives.
const DECISIONS_RESERVE: u64 = 16;

/// What stands in a ticket in place of a connection, whose numbers begin at 1, when its request was told that it is
/// unknown: nobody is there, so that the decision counts as undelivered.
const TOLD: u64 = 0;

/// Whether the tables are at their limits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Full {
    No,
    /// What ends something is still taken.
    ForNew,
    Entirely,
}

/// Whether a snapshot is wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SnapshotWish {
    /// No.
    None,
    /// An operator asked for one.
    Wanted,
    /// One is being taken.
    Running,
}

/// See the module.
#[derive(Debug)]
pub struct Node {
    engine: Engine,
    limits: Limits,
    open: Batch,
    sealed: VecDeque<Batch>,
    spare: Vec<Batch>,
    waiting: VecDeque<(u16, Inbound, usize, usize)>,
    waiting_bytes: usize,
    crowd: Crowd,
    group: Group,
    /// Records that were applied in a millisecond, lately.
    pace: u64,
    out: Vec<Outbound>,
    reports: Vec<Report>,
    answered_to: Vec<u64>,
    flights: Flights,
    repeats: Repeats,
    plans: Plans,
    /// Plans of extensions that are to be made, and for whom; the first is being counted.
    planning: VecDeque<(usize, Waiter, Extension)>,
    next: Position,
    now: Timestamp,
    durable: u64,
    submitted: u64,
    delivered_to: u64,
    /// For [`crate::ServerFacts`].
    answers: [u64; 6],
    replayed: u64,
    /// By code, from [`Code::Overloaded`] on.
    not_executed: [u64; 9],
    halted: bool,
    draining: bool,
    full: Full,
    room: Room,
    unlogged: Unlogged,
    snapshot: SnapshotWish,
    breakers: Breakers,
    watch: Watch,
}

impl Node {
    /// A node over a recovered state. `delivered_to` is the last position known to be delivered; everything decided
    /// after it counts as undelivered, which the first record says.
    #[must_use]
    pub fn new(engine: Engine, limits: Limits, settings: Settings, delivered_to: u64, now: Timestamp) -> Self {
        let applied = engine.applied();
        let now = now.max(engine.at());
        let rules = engine.rules();
        let watch = Watch::new(rules.degraded_since.is_some(), rules.trusted_until.is_some());
        let mut node = Self {
            engine,
            limits,
            open: Batch { first: applied.next(), ..Batch::default() },
            sealed: VecDeque::new(),
            spare: Vec::new(),
            waiting: VecDeque::new(),
            waiting_bytes: 0,
            crowd: Crowd::default(),
            group: Group::default(),
            pace: 0,
            out: (0..limits.threads).map(|_| Outbound::default()).collect(),
            reports: vec![Report { taken_over: applied.get(), oldest_waiting: None }; limits.threads],
            answered_to: vec![applied.get(); limits.threads],
            flights: Flights::new(),
            repeats: Repeats::default(),
            plans: Plans::default(),
            planning: VecDeque::new(),
            next: applied.next(),
            now,
            durable: applied.get(),
            submitted: applied.get(),
            delivered_to,
            answers: [0; 6],
            replayed: 0,
            not_executed: [0; 9],
            halted: false,
            draining: false,
            full: Full::No,
            room: Room::Ample,
            unlogged: Unlogged::default(),
            snapshot: SnapshotWish::None,
            breakers: Breakers::new(limits.policies, now),
            watch,
        };
        node.command(Operation::Epoch { delivered_to: Position::new(delivered_to), settings });
        // From here on the record says it.
        node.delivered_to = applied.get();
        node
    }

    /// Takes a bundle of a thread of connections. What cannot be put into a batch now waits its turn.
    pub fn accept(&mut self, thread: usize, bundle: Inbound, now: Timestamp) -> Inbound {
        self.now = self.now.max(now);
        let mut bundle = bundle;
        self.note_waited(std::mem::take(&mut bundle.waited_us));
        if let Some(report) = bundle.report.take() {
            self.reports[thread] = report;
        }
        self.unlogged.undelivered(&mut bundle.undelivered);
        for p in bundle.delivered.drain(..) {
            self.unlogged.delivered(p, self.engine.is_undelivered(Position::new(p)));
        }
        self.log_deliveries();
        for (waiter, question) in bundle.questions.drain(..) {
            self.ask(thread, waiter, question);
        }
        if !bundle.guards.is_empty() {
            self.take_guarded(thread as u16, &mut bundle);
        }
        if !bundle.unlooked_waiters.is_empty() {
            self.take_unlooked(thread as u16, &mut bundle);
        }
        if bundle.waiters.is_empty() {
            bundle.records.clear();
            self.serve_crowd();
            return bundle;
        }
        self.note_waiting(&bundle.records);
        if self.is_crowded() {
            let spare = self.crowd.spare();
            let records = std::mem::replace(&mut bundle.records, spare.records);
            let waiters = std::mem::replace(&mut bundle.waiters, spare.waiters);
            self.crowd_or_refuse(Comers { thread: thread as u16, looked: true, records, waiters });
            self.serve_crowd();
            return bundle;
        }
        let fits = self.open_room() >= bundle.records.len() && self.may_admit() >= bundle.waiters.len() as u64;
        if self.waiting.is_empty() && fits {
            self.admit_all(thread as u16, &bundle, 0, 0);
            bundle.records.clear();
            bundle.waiters.clear();
            return bundle;
        }
        self.waiting_bytes += bundle.records.len();
        self.waiting.push_back((thread as u16, bundle, 0, 0));
        self.admit_waiting();
        Inbound::default()
    }

    fn open_room(&self) -> usize {
        self.limits.batch_bytes_max.saturating_sub(self.open.body.len())
    }

    /// Admits records from byte `at` on, while there is room; returns where it stopped.
    fn admit_all(&mut self, thread: u16, bundle: &Inbound, mut at: usize, mut index: usize) -> (usize, usize) {
        for group in bundle.waiters[index..].chunks(TOUCH_MAX) {
            let mut hints = [Hint::default(); TOUCH_MAX];
            let mut ahead = &bundle.records[at..];
            for hint in &mut hints[..group.len()] {
                let (record, tail) = ahead.split_at(whole_record(ahead));
                *hint = self.engine.hint(record);
                ahead = tail;
            }
            self.touch_keys(&hints[..group.len()]);
            let ahead = self.may_admit() as usize;
            for (n, (waiter, hint)) in group.iter().zip(&hints).enumerate() {
                let rest = &bundle.records[at..];
                let len = whole_record(rest);
                if self.waiting_bytes <= self.limits.waiting_bytes_max
                    && (self.open_room() < len || ahead <= n)
                    && !self.needs_no_room(rest)
                {
                    return (at, index);
                }
                self.admit(Ticket::new(*waiter, thread), &rest[..len], hint);
                at += len;
                index += 1;
            }
        }
        (at, index)
    }

    /// Loads what it takes to know whether these keys are decided, or in flight.
    #[inline]
    fn touch_keys(&self, hints: &[Hint]) {
        self.engine.touch_keys(hints);
        self.flights.touch(hints.iter().map(Hint::scope));
    }

    /// One record: a known key is answered from memory; what may not or cannot be done is refused; the rest gets its
    /// place in the order.
    #[inline]
    fn admit(&mut self, ticket: Ticket, record: &[u8], hint: &Hint) {
        self.admit_unless(None, ticket, record, hint);
    }

    /// The same, or refused with `why` where it would get a place.
    #[inline]
    fn admit_unless(&mut self, why: Option<Code>, ticket: Ticket, record: &[u8], hint: &Hint) {
        let Ok(envelope) = decode_envelope(record) else {
            return self.refuse(ticket, record, Code::Malformed);
        };
        let kind = u16::from_le_bytes([record[0], record[1]]);
        let print = || fingerprint(record);
        if let Some(known) = self.engine.known(&envelope, hint, print, kind, self.now) {
            self.give(ticket, kind as u8, &known);
            return;
        }
        let first = self.first_in_flight(hint.scope(), envelope.namespace, &envelope.account, &envelope.key);
        // A fence is no repeat: where the first changes nothing, the fence is what decides the key. Nor is an advice: it
        // is told whatever the first comes to.
        if let Some(first) = first.filter(|_| !matches!(kind, FENCE | Operation::ADVICE)) {
            return self.wait_for(first, envelope.deadline, ticket, record);
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
    fn first_in_flight(
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
        let applied = self.engine.applied().get();
        let (mut position, mut first) = (newest, None);
        while position > applied
            && let Some(record) =
                std::iter::once(&self.open).chain(self.sealed.iter().rev()).find_map(|b| b.record_at(position))
        {
            if record.scope == scope && scope_of(record.bytes()) == Some(of) {
                first = Some((position, record));
            }
            if record.back == 0 {
                break;
            }
            position -= record.back;
        }
        first.map(|(position, record)| (position, fingerprint(record.bytes())))
    }

    /// A repeat waits for the decision about `first`, while there is time and room.
    #[cold]
    fn wait_for(&mut self, first: (u64, u64), deadline: Timestamp, ticket: Ticket, record: &[u8]) {
        // A fence, whose fingerprint is 0, answers whatever was asked under its key.
        let conflicts = first.1 != 0 && first.1 != fingerprint(record);
        let late = if conflicts { Code::Conflict } else { Code::InProgress };
        if self.halted {
            self.refuse(ticket, record, Code::Unknown);
        } else if self.has_passed(deadline) || self.repeats.bytes() > self.limits.waiting_bytes_max {
            self.refuse(ticket, record, late);
        } else {
            let deadline = if deadline.is_zero() { Timestamp::MAX } else { deadline };
            self.repeats.add(first.0, deadline, Repeat { ticket, record: record.to_vec(), late });
        }
    }

    /// Repeats whose first request is applied are admitted again: they find its decision, or take its place.
    fn admit_repeats(&mut self) {
        while let Some(repeat) = self.repeats.decided(self.engine.applied().get()) {
            let Repeat { ticket, record, .. } = repeat;
            let bundle = Inbound { records: record, waiters: vec![ticket.waiter], ..Inbound::default() };
            if self.admit_all(ticket.thread, &bundle, 0, 0).1 == 0 {
                self.waiting_bytes += bundle.records.len();
                self.waiting.push_front((ticket.thread, bundle, 0, 0));
            }
        }
    }

    fn has_passed(&self, deadline: Timestamp) -> bool {
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
        if self.full == Full::Entirely || self.full == Full::ForNew && rank > Rank::Finish {
            return Some(Code::MemoryLimit);
        }
        // Last of all, because it may use up a probe.
        self.plans.obstacle(kind, record).or_else(|| self.breakers.probe(rank))
    }

    #[cold]
    fn refuse(&mut self, ticket: Ticket, record: &[u8], code: Code) {
        let kind = u16::from_le_bytes([record[0], record[1]]) as u8;
        // Of a key that is out of its horizon nobody can say that nothing was taken: it may have been, and forgotten.
        let denies = code.class() == Class::NotExecuted || code == Code::PlanMismatch;
        let code = if denies && self.is_too_old(record) { Code::KeyTooOld } else { code };
        let index = code.number().checked_sub(Code::Overloaded.number()).map(usize::from);
        if let Some(count) = index.and_then(|i| self.not_executed.get_mut(i)) {
            *count += 1;
        }
        let applied =
            Applied { decision: Decision::refusal(code, self.now), effect: Effect::NotRecorded, flagged: false };
        self.give(ticket, kind, &applied);
    }

    fn is_too_old(&self, record: &[u8]) -> bool {
        let key = record.get(48..64).and_then(|b| b.first_chunk());
        key.is_some_and(|key| self.engine.unseen(&Key::from_bytes(*key), self.now) == Code::KeyTooOld)
    }

    #[inline]
    fn give(&mut self, ticket: Ticket, kind: u8, applied: &Applied) {
        let Some(out) = self.out.get_mut(usize::from(ticket.thread)) else { return };
        if ticket.waiter.connection != TOLD {
            self.answers[applied.decision.code.class() as usize] += 1;
        }
        self.replayed += u64::from(applied.effect == Effect::Replayed);
        out.answers.push(Answer {
            waiter: ticket.waiter,
            kind,
            replayed: applied.effect == Effect::Replayed,
            flagged: applied.flagged,
            retry_after_ms: retry_after_ms(applied.decision.code, ticket.waiter),
            decision: applied.decision,
        });
    }

    /// A command of the node itself.
    fn command(&mut self, operation: Operation) {
        let envelope = Envelope { received_at: self.now, ..Envelope::default() };
        let mut record = Vec::with_capacity(RECORD_BYTES_MAX);
        encode(&Command { envelope, operation }, &mut record);
        let hint = self.engine.hint(&record);
        self.open.push(&record, Ticket::NOBODY, hint);
        self.next = self.next.next();
    }

    /// Puts news of deliveries into the open batch. While the disk is full they wait: only new payments ask for them.
    fn log_deliveries(&mut self) {
        while self.room == Room::Ample
            && self.open_room() >= RECORD_BYTES_MAX
            && let Some(operation) = self.unlogged.take()
        {
            self.command(operation);
        }
    }

    /// True when the open batch should go to the journal now: nothing is in flight, or enough has gathered.
    #[must_use]
    pub fn wants_to_seal(&self, in_flight: usize) -> bool {
        !self.open.is_empty()
            && ((in_flight == 0
                && (self.open.body.len() >= 32 << 10
                    || self.sealed.front().is_none_or(|b| b.last().get() > self.durable)))
                || (in_flight < self.limits.in_flight_max && self.open.body.len() >= self.limits.seal_bytes))
    }

    /// Seals the open batch with the time `now`. From here on its order and time are fixed.
    pub fn seal(&mut self, now: Timestamp) -> Option<Sealed<'_>> {
        if self.open.is_empty() {
            return None;
        }
        self.now = self.now.max(now);
        self.drop_overdue();
        if self.open.is_empty() {
            return None;
        }
        let fresh = Batch { first: self.next, ..self.spare.pop().unwrap_or_default() };
        let mut batch = std::mem::replace(&mut self.open, fresh);
        batch.at = self.now;
        self.submitted = batch.last().get();
        let margin = Margin {
            delivered_to: self.delivered_to(),
            digest_position: self.engine.applied().get(),
            digest: self.engine.digest(),
        };
        self.sealed.push_back(batch);
        let batch = self.sealed.back()?;
        Some(Sealed {
            first_position: batch.first.get(),
            count: batch.tickets.len() as u32,
            at_us: batch.at.micros(),
            margin: margin.encode(),
            body: &batch.body,
        })
    }

    /// Everything up to `position` is durable. [`Node::apply_some`] takes it from here.
    pub fn durable(&mut self, position: u64) {
        assert!(position <= self.submitted, "nothing is durable that was not submitted");
        let before = self.durable;
        self.durable = before.max(position);
        self.note_flush(before);
    }

    /// Applies at most `count` durable records and answers them. True when there was something to apply. Small steps
    /// keep the stages busy side by side: while these answers travel, the next records are applied.
    pub fn apply_some(&mut self, count: usize) -> bool {
        let durable = self.durable;
        let Some(mut batch) = self.sealed.pop_front_if(|b| b.last().get() <= durable) else { return false };
        let end = batch.tickets.len().min(batch.applied + count);
        while batch.applied < end {
            let position = Position::new(batch.first.get() + batch.applied as u64);
            let rest = &batch.body[batch.applied_bytes..];
            if batch.applied.is_multiple_of(TOUCH_MAX) {
                self.engine.touch(&batch.hints[batch.applied..]);
            }
            let len = whole_record(rest);
            let record = &rest[..len];
            let (ticket, hint) = (batch.tickets[batch.applied], &batch.hints[batch.applied]);
            let applied = self.engine.apply_hinted(position, batch.at, record, hint).expect("admitted records decode");
            if ticket.thread != Ticket::NOBODY.thread {
                self.plans.decided(u16::from(record[0]), record, applied.decision.code);
                self.settle(ticket, record[0], position, &applied);
            }
            batch.applied += 1;
            batch.applied_bytes += len;
        }
        if batch.applied < batch.tickets.len() {
            self.sealed.push_front(batch);
            self.admit_repeats();
            return true;
        }
        batch.clear();
        if self.spare.len() < self.limits.in_flight_max {
            self.spare.push(batch);
        }
        self.check_sizes();
        self.log_deliveries();
        self.admit_repeats();
        self.admit_waiting();
        true
    }

    /// A request that was in flight is answered.
    #[inline]
    fn settle(&mut self, ticket: Ticket, kind: u8, position: Position, applied: &Applied) {
        if let Some(answered) = self.answered_to.get_mut(usize::from(ticket.thread)) {
            *answered = position.get();
        }
        self.give(ticket, kind, applied);
    }

    fn check_sizes(&mut self) {
        let (accounts, decisions) = self.engine.counts();
        let reserve = self.limits.decisions_max / DECISIONS_RESERVE;
        self.full = if decisions >= self.limits.decisions_max.saturating_add(reserve) {
            Full::Entirely
        } else if accounts >= self.limits.accounts_max || decisions >= self.limits.decisions_max {
            Full::ForNew
        } else {
            Full::No
        };
    }

    /// The answers for a thread of connections, if there are any. `empty` is a used bundle to fill next.
    pub fn take_outbound(&mut self, thread: usize, empty: Outbound) -> Option<Outbound> {
        if self.out[thread].is_empty() {
            return None;
        }
        let mut full = std::mem::replace(&mut self.out[thread], empty);
        full.applied = self.answered_to[thread];
        Some(full)
    }

    /// Takes answers back that could not be handed over; they go first with the next ones.
    pub fn put_back(&mut self, thread: usize, mut bundle: Outbound) {
        let since = std::mem::take(&mut self.out[thread]);
        bundle.answers.extend(since.answers);
        bundle.replies.extend(since.replies);
        self.out[thread] = bundle;
    }

    /// True when there are answers for a thread.
    #[must_use]
    pub fn has_outbound(&self, thread: usize) -> bool {
        !self.out[thread].is_empty()
    }

    /// The last position up to which every decision is delivered or logged as undelivered.
    pub fn delivered_to(&mut self) -> u64 {
        let applied = self.engine.applied().get();
        let mut to = applied;
        for (report, answered) in self.reports.iter().zip(&self.answered_to) {
            if report.taken_over < *answered {
                to = to.min(report.taken_over);
            }
            if let Some(oldest) = report.oldest_waiting {
                to = to.min(oldest.saturating_sub(1));
            }
        }
        if let Some(oldest) = self.unlogged.oldest() {
            to = to.min(oldest.saturating_sub(1));
        }
        self.delivered_to = self.delivered_to.max(to);
        self.delivered_to
    }

    /// Requests accepted and not yet answered.
    #[must_use]
    pub fn in_flight(&self) -> usize {
        let waiting: usize = self.waiting.iter().map(|(_, b, _, i)| b.waiters.len() - i).sum();
        let sealed: usize = self.sealed.iter().map(|b| b.tickets.len() - b.applied).sum();
        self.open.tickets.len() + sealed + waiting + self.crowd.len() + self.repeats.len() + self.planning.len()
    }

    /// True when the open batch holds something, or something waits to get in.
    #[must_use]
    pub fn has_work(&self) -> bool {
        !self.open.is_empty() || !self.waiting.is_empty() || !self.crowd.is_empty()
    }

    /// The server is stopping: new commands are refused, known keys still get their answers.
    pub fn drain(&mut self) {
        self.draining = true;
    }

    /// The journal failed: nothing is admitted any more, and whatever is in flight is unknown (D10).
    pub fn halt(&mut self) {
        self.halted = true;
        let mut sealed = std::mem::take(&mut self.sealed);
        for batch in &mut sealed {
            let mut rest = &batch.body[batch.applied_bytes..];
            for ticket in &batch.tickets[batch.applied..] {
                self.refuse(*ticket, rest, Code::Unknown);
                rest = &rest[whole_record(rest)..];
            }
            (batch.applied, batch.applied_bytes) = (batch.tickets.len(), batch.body.len());
        }
        // A repeat that comes now still finds its first.
        self.sealed = sealed;
        self.admit_anew();
    }

    /// What the journal has room for. What was admitted and no longer fits is refused.
    pub fn set_room(&mut self, room: Room) {
        if std::mem::replace(&mut self.room, room) == room {
            return;
        }
        if room == Room::None {
            self.admit_anew();
        }
        self.log_deliveries();
    }

    /// What the journal has room for, as it was last told.
    #[must_use]
    pub fn room(&self) -> Room {
        self.room
    }

    /// Looks again at everything that was not handed to the journal, and so can have taken nothing: something is in the
    /// way of new records. The node's own stay.
    fn admit_anew(&mut self) {
        let mut open = std::mem::take(&mut self.open);
        (self.open.first, self.next) = (open.first, open.first);
        self.flights.only(self.sealed.iter().flat_map(Batch::scopes));
        let mut repeats = Vec::new();
        while let Some(repeat) = self.repeats.decided(u64::MAX) {
            repeats.push(repeat);
        }
        let mut rest = &open.body[..];
        let mut asked = Vec::new();
        for (ticket, hint) in open.tickets.drain(..).zip(&open.hints) {
            let (record, tail) = rest.split_at(whole_record(rest));
            rest = tail;
            if ticket.thread == Ticket::NOBODY.thread {
                self.open.push(record, ticket, *hint);
                self.next = self.next.next();
            } else {
                asked.push((ticket, record, hint));
            }
        }
        for (ticket, record, hint) in asked {
            self.admit(ticket, record, hint);
        }
        for repeat in repeats {
            let hint = self.engine.hint(&repeat.record);
            self.admit(repeat.ticket, &repeat.record, &hint);
        }
        self.admit_waiting();
    }

    /// Whether a snapshot is wanted, or is being taken.
    #[must_use]
    pub fn snapshot_wish(&self) -> SnapshotWish {
        self.snapshot
    }

    /// Says where a snapshot is.
    pub fn set_snapshot_wish(&mut self, wish: SnapshotWish) {
        self.snapshot = wish;
    }

    /// The engine, to take a snapshot of. Nothing else may change it from outside.
    pub fn engine_to_copy(&mut self) -> &mut Engine {
        &mut self.engine
    }

    /// The engine, to read.
    #[must_use]
    pub fn engine(&self) -> &Engine {
        &self.engine
    }
}

/// What the refused are told, in ms; 0: not said. Each is told another time, up to half more: those who were refused together
/// would otherwise come back together.
#[must_use]
#[inline]
pub fn retry_after_ms(code: Code, waiter: Waiter) -> u32 {
    match retry_base_ms(code) {
        0 => 0,
        base => spread(base, waiter),
    }
}

/// A wait, and up to half more: another one for each who waits.
#[must_use]
pub fn spread(base_ms: u32, waiter: Waiter) -> u32 {
    let more = mix(waiter.connection, waiter.request) % (u64::from(base_ms) / 2 + 1);
    base_ms.saturating_add(more as u32)
}

fn retry_base_ms(code: Code) -> u32 {
    match code {
        Code::Draining => RETRY_DRAINING_MS,
        Code::Overloaded => Cause::QueueDelay.row().retry_after_ms,
        Code::MemoryLimit => Cause::Memory.row().retry_after_ms,
        Code::DiskFull => Cause::JournalSpace.row().retry_after_ms,
        Code::JournalSlow => Cause::JournalLatency.row().retry_after_ms,
        _ => 0,
    }
}

/// What a record asks, as a number; 0 for a fence.
fn fingerprint(record: &[u8]) -> u64 {
    decode(record).map_or(0, |c| c.fingerprint().0)
}
