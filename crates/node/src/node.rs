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

mod admission;
mod guarded;
mod questions;
mod queue;
mod watch;

use crate::batch::{Batch, Sealed, Ticket, header, records, with_records};
use crate::breakers::Breakers;
use crate::crowd::{Comers, Crowd, Group};
use crate::flights::Flights;
use crate::limits::Limits;
use crate::margin::{Carried, Margin};
use crate::message::{Answer, Inbound, Outbound, Report, Waiter};
use crate::plans::Plans;
use crate::repeats::Repeats;
use crate::retry::retry_after_ms;
use crate::room::Room;
use crate::unlogged::Unlogged;
use queue::InLine;
use std::collections::VecDeque;
use tegata_engine::{Applied, Effect, Engine, TOUCH_MAX};
use tegata_model::{
    Code, Command, Envelope, Extension, Header, Operation, Position, RECORD_BYTES_MAX, Settings, Timestamp, encode,
};
use watch::Watch;

/// The part of the decisions and allocations that is kept for ending what was begun: captures, voids, confirmations,
/// reversals, fences, and lives; and of the lots for giving back what has expired, and reinstatements.
const RESERVE: u64 = 16;

/// What stands in a ticket in place of a connection, whose numbers begin at 1, when its request was told that it is
/// unknown: nobody is there, so that the decision counts as undelivered.
const TOLD: u64 = 0;

/// Whether the tables are at their limits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Full {
    No,
    /// No account, or no lot, is left: what adds value is refused.
    ForValue,
    /// The lots' reserve is used up: what may need a new one is refused.
    ForLots,
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
    settings: Settings,
    open: Batch,
    sealed: VecDeque<Batch>,
    spare: Vec<Batch>,
    waiting: VecDeque<InLine>,
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
    /// A node over a recovered state. Everything decided after what is known to be delivered counts as undelivered,
    /// which the first record says. A start confirms nothing: what was latched still is.
    #[must_use]
    pub fn new(engine: Engine, limits: Limits, settings: Settings, carried: Carried, now: Timestamp) -> Self {
        let Carried { delivered_to, latched } = carried;
        let applied = engine.applied();
        let now = now.max(engine.at());
        let rules = engine.rules();
        let (degraded, suspect) = (rules.degraded_since.is_some(), rules.trusted_until.is_some());
        let watch = Watch::new(applied.get(), degraded, suspect, latched);
        let mut node = Self {
            engine,
            limits,
            settings,
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
            flights: Flights::new(applied.get()),
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
            breakers: Breakers::new(limits.policies, latched, now),
            watch,
        };
        node.command(Operation::Epoch { delivered_to: Position::new(delivered_to), settings });
        // From here on the record says it.
        node.delivered_to = applied.get();
        // The limits may be lower than what is in the tables, and each start would let a batch in.
        node.check_sizes();
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
        self.watch.came += (bundle.waiters.len() + bundle.unlooked_waiters.len() + bundle.guards.len()) as u64;
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
        let mut line = InLine::new(thread as u16, bundle);
        if self.waiting.is_empty() && fits {
            self.admit_all(&mut line);
            line.bundle.records.clear();
            line.bundle.waiters.clear();
            return line.bundle;
        }
        self.waiting_bytes += line.records().len();
        self.waiting.push_back(line);
        self.admit_waiting();
        Inbound::default()
    }

    fn open_room(&self) -> usize {
        self.limits.batch_bytes_max.saturating_sub(self.open.body.len())
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
        self.command_of(self.now, operation);
    }

    /// The same about what was seen before, while the log took nothing.
    fn command_of(&mut self, received_at: Timestamp, operation: Operation) {
        let envelope = Envelope { received_at, ..Envelope::default() };
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

    /// What was decided counts as in flight for `ack_s` seconds, and by the time of a batch that waited for the journal they
    /// may be over: what is known of deliveries comes before the payments in it. News are logged after half of that time,
    /// so that none comes behind a payment in a batch that waited for less than a quarter.
    fn put_news_first(&mut self) {
        let Some(first) = Header::of(&self.open.body) else { return };
        let quarter_us = u64::from(self.engine.rules().settings.ack_s) * 250_000;
        if self.now.since(first.received_at()) >= quarter_us {
            self.admit_anew();
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
        if self.note_stood() {
            // The next look comes too late for this batch.
            self.admit_anew();
        }
        self.drop_overdue();
        self.put_news_first();
        if self.open.is_empty() {
            return None;
        }
        let fresh = Batch { first: self.next, ..self.spare.pop().unwrap_or_default() };
        let mut batch = std::mem::replace(&mut self.open, fresh);
        batch.at = self.now;
        self.submitted = batch.last().get();
        let margin = Margin {
            carried: self.carried(),
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
        let mut left = count;
        while left > 0 {
            match self.apply_of_batch(left) {
                0 => break,
                applied => left -= applied,
            }
        }
        left < count
    }

    /// Applies at most `count` records of the oldest batch, if it is durable. How many.
    fn apply_of_batch(&mut self, count: usize) -> usize {
        let durable = self.durable;
        let Some(mut batch) = self.sealed.pop_front_if(|b| b.last().get() <= durable) else { return 0 };
        let begin = batch.applied;
        let end = batch.tickets.len().min(begin + count);
        let mut rest = records(&batch.body[batch.applied_bytes..]);
        while batch.applied < end {
            let record = rest.next().expect("a record for each ticket");
            let position = Position::new(batch.first.get() + batch.applied as u64);
            if batch.applied.is_multiple_of(TOUCH_MAX) {
                self.engine.touch(&batch.hints[batch.applied..]);
            }
            let (ticket, hint) = (batch.tickets[batch.applied], &batch.hints[batch.applied]);
            let applied = self.engine.apply_hinted(position, batch.at, record, hint).expect("admitted records decode");
            if ticket.thread != Ticket::NOBODY.thread {
                let kind = header(record).kind();
                self.plans.decided(kind, record, applied.decision.code);
                self.settle(ticket, kind as u8, position, &applied);
            }
            batch.applied += 1;
            batch.applied_bytes += record.len();
        }
        if batch.applied < batch.tickets.len() {
            self.sealed.push_front(batch);
            self.admit_repeats();
            return end - begin;
        }
        batch.clear();
        if self.spare.len() < self.limits.in_flight_max {
            self.spare.push(batch);
        }
        self.check_sizes();
        self.log_deliveries();
        self.admit_repeats();
        self.admit_waiting();
        end - begin
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
        let (counts, limits) = (self.engine.counts(), &self.limits);
        let with_reserve = |max: u64| max.saturating_add(max / RESERVE);
        self.full = if counts.decisions >= with_reserve(limits.decisions_max)
            || counts.allocations >= with_reserve(limits.allocations_max)
        {
            Full::Entirely
        } else if counts.decisions >= limits.decisions_max || counts.allocations >= limits.allocations_max {
            Full::ForNew
        } else if counts.lots >= with_reserve(limits.lots_max) {
            Full::ForLots
        } else if counts.accounts >= limits.accounts_max || counts.lots >= limits.lots_max {
            Full::ForValue
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

    /// What the next start is to know.
    pub fn carried(&mut self) -> Carried {
        Carried { delivered_to: self.delivered_to(), latched: self.breakers.latched() }
    }

    /// Requests accepted and not yet answered.
    #[must_use]
    pub fn in_flight(&self) -> usize {
        let waiting: usize = self.waiting.iter().map(|line| line.waiters().len()).sum();
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
            let mut rest = records(&batch.body[batch.applied_bytes..]);
            for (ticket, record) in with_records(&batch.tickets[batch.applied..], &mut rest) {
                self.refuse(*ticket, record, Code::Unknown);
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
