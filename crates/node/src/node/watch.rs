//! The node looks at itself: what was measured goes to the breakers, what they say goes into the log and to whoever
//! waits. Nothing of it is done for a single request.

use super::{Node, TOLD};
use crate::batch::{Batch, Ticket, header, records, with_records};
use crate::breaker::BreakerState;
use crate::breakers::{Levels, Order, Transition};
use crate::degrade::{Cause, Mode, Rank};
use crate::room::Room;
use tegata_model::{Code, Header, Mark, Operation, Position, RECORD_BYTES_MAX, Timestamp};

/// Between two looks, in µs: a stall is seen in time, and a million requests a second do not notice.
const LOOK_US: u64 = 2_000;
/// At each look the sums of what was lately lose one part of so many before the new numbers are added.
const LATELY: u64 = 16;
/// When nothing was applied for so long, in µs, how much came for each that was applied is out of date, and forgotten.
const SILENT_US: u64 = 20_000;
/// For how long it is remembered that the queue stood too long, in µs: who overloads goes on, and the next crowd must not
/// gather for a whole window again.
const CROWD_US: u64 = 10_000_000;
/// Between two looks lies more than this only when the core itself did not run, in µs.
const PAUSE_US: u64 = 25_000;
/// After so long between two looks, in µs, the core was stopped, or its machine: a core that has nothing to do looks up once
/// a second. Nobody was answered meanwhile, which is an outage like another.
const STOOD_US: u64 = 2_000_000;
/// For no longer than this a pause of the core explains a queue, in µs.
const EXCUSE_US_MAX: u64 = 50_000;
/// A core that is paused again and again is too slow for what comes: of all time one part of so many is excused, and at most
/// so much at once, in µs.
const EXCUSED_OF: u64 = 10;
const EXCUSES_US: u64 = 100_000;
/// Decisions of each shard whose memory is given back in one look while the table is full.
const FORGET_AT_ONCE: usize = 256;
/// While it is full the logged time is no older than this, in µs.
const LOGGED_US: u64 = 60_000_000;
/// How long the last flush counts when nothing is in flight, in µs.
const FLUSH_COUNTS_US: u64 = 20_000;
/// Batches that have been in flight for less are not searched for requests whose time is over, in µs.
const LATE_US: u64 = 50_000;
/// Between two searches, in µs: an answer is late by no more.
const SEARCH_US: u64 = 20_000;

/// What was measured since the last look.
#[derive(Debug, Default)]
pub(super) struct Watch {
    looked_at: Timestamp,
    searched_at: Timestamp,
    /// The applied position at the last look.
    applied: u64,
    /// Records that came since the last look; those that came and were applied lately, the older the less.
    pub(super) came: u64,
    lately: [u64; 2],
    /// When something was applied last; repeats that were answered until the last look.
    applied_at: Timestamp,
    replayed: u64,
    /// The last flush: how long it took, and when it ended.
    pub(super) flush_us: u64,
    flushed_at: Timestamp,
    /// The longest that the first request of a bundle waited since the last look, in µs.
    waited_us: u64,
    /// The queue stood too long within [`CROWD_US`], and stands.
    pub(super) stands: bool,
    stood_at: Timestamp,
    /// Something waited at the last look: the core had no reason to sleep for long.
    busy: bool,
    /// Until now the core catches up with what came while it did not run: the queue says nothing. And for how long, in µs, it
    /// may still be excused.
    excused_until: Timestamp,
    excuse_us: u64,
    /// The highest position that passed as a probe, and the one up to which probes are waited for.
    pub(super) last_probe: u64,
    waits_for: Option<u64>,
    /// What was submitted when the open batch was first seen to be stuck, and when that was.
    unsealed: (u64, Timestamp),
    /// Since when it is degraded; zero: it is not.
    degraded_at: Timestamp,
    /// When the core was last seen to run.
    awake_at: Timestamp,
    /// It stood still for long, which counts as degraded until the log says so.
    pub(super) stood: bool,
    /// What the log says.
    degraded_logged: bool,
    clock_logged: bool,
    latched_logged: u8,
}

impl Watch {
    /// What was applied before is nobody's load.
    pub(super) fn new(applied: u64, degraded_logged: bool, clock_logged: bool, latched_logged: u8) -> Self {
        Self { applied, degraded_logged, clock_logged, latched_logged, excuse_us: EXCUSES_US, ..Self::default() }
    }
}

impl Node {
    /// It is `now`. Seldom enough it looks at everything that breakers watch; true when one of them changed.
    #[inline]
    pub fn look(&mut self, now: Timestamp, clock_suspect: bool) -> bool {
        self.now = self.now.max(now);
        if self.now.since(self.watch.looked_at) < LOOK_US { false } else { self.look_around(clock_suspect) }
    }

    #[cold]
    fn look_around(&mut self, clock_suspect: bool) -> bool {
        self.note_pace();
        self.note_stood();
        let unlooked_us = self.note_pause();
        let in_flight_us = self.oldest_in_flight().map_or(0, |at| self.now.since(at));
        let counts = in_flight_us > 0 || self.now.since(self.watch.flushed_at) < FLUSH_COUNTS_US;
        let unsealed_us = self.unsealed_us();
        let fullness = self.fullness();
        self.forget_where_full(fullness);
        let levels: Levels = [
            in_flight_us.max(if counts { self.watch.flush_us } else { 0 }).max(unsealed_us),
            self.room as u64,
            self.queue_delay_us(unlooked_us),
            fullness,
            u64::from(clock_suspect),
            0,
        ];
        let answered = self.probes_are_answered();
        let before = self.breakers.refused_outright();
        let mut changed = self.breakers.observe(&levels, answered, self.now);
        changed |= self.note_crowd(levels[Cause::QueueDelay as usize]);
        self.after_change(before);
        if self.now.since(self.watch.searched_at) >= SEARCH_US {
            self.watch.searched_at = self.now;
            self.drop_overdue();
            if in_flight_us.max(unsealed_us) >= LATE_US {
                self.tell_late();
            }
        }
        changed
    }

    /// True when all probes are answered that had passed when this was last true: a stage does not wait for those that
    /// pass while it waits. What was taken back again is answered, too.
    fn probes_are_answered(&mut self) -> bool {
        let waits_for = *self.watch.waits_for.get_or_insert(self.watch.last_probe);
        let answered = waits_for.min(self.next.get() - 1) <= self.engine.applied().get();
        if answered {
            self.watch.waits_for = None;
        }
        answered
    }

    /// For how long somebody has waited in an open batch that is not sealed although nothing is in flight, in µs: the journal
    /// takes nothing.
    fn unsealed_us(&mut self) -> u64 {
        let waits = |ticket: &Ticket| ticket.thread != Ticket::NOBODY.thread;
        let is_stuck = self.oldest_in_flight().is_none() && self.open.tickets.iter().any(waits);
        let (submitted, since) = self.watch.unsealed;
        if !is_stuck || submitted != self.submitted {
            self.watch.unsealed = (self.submitted, self.now);
            return 0;
        }
        self.now.since(since)
    }

    /// A core that stood still for long was degraded since it last ran. True when it did.
    pub(super) fn note_stood(&mut self) -> bool {
        let before = std::mem::replace(&mut self.watch.awake_at, self.now);
        // Before that is a start, which the log knows of.
        let stood = self.now.since(before) > STOOD_US && !before.is_zero();
        if stood {
            self.watch.stood = true;
            if self.watch.degraded_at.is_zero() {
                self.watch.degraded_at = before;
            }
        }
        stood
    }

    /// A core that was kept from running, as by a machine that stood still, is given as long to catch up. How long nobody looked, in
    /// µs.
    fn note_pause(&mut self) -> u64 {
        let pause_us = self.now.since(self.watch.looked_at);
        self.watch.excuse_us = (self.watch.excuse_us + pause_us / EXCUSED_OF).min(EXCUSES_US);
        if self.watch.busy && pause_us > PAUSE_US {
            self.watch.unsealed.1 = self.now;
            let excuse_us = pause_us.min(EXCUSE_US_MAX);
            if let Some(left) = self.watch.excuse_us.checked_sub(excuse_us) {
                self.watch.excuse_us = left;
                self.watch.excused_until = self.now.plus_millis(excuse_us / 1_000);
            }
        }
        (self.watch.looked_at, self.watch.busy) = (self.now, self.in_flight() > 0);
        pause_us
    }

    /// For how long the oldest request waited for the core, which looked last so many µs ago, in µs.
    fn queue_delay_us(&mut self, unlooked_us: u64) -> u64 {
        let waited_us = std::mem::take(&mut self.watch.waited_us);
        let delay_us = waited_us.max(self.oldest_waiting_us()).max(self.oldest_unapplied_us());
        if self.now >= self.watch.excused_until {
            return delay_us;
        }
        let open_at = self.limits.policies[Cause::QueueDelay as usize].open_at;
        // What was long before is so still, and only this time does not count: else a window that is longer than the core goes
        // without a pause would never be over.
        if delay_us >= open_at && self.breakers.leave_out(Cause::QueueDelay, unlooked_us) {
            return delay_us;
        }
        // Neither good nor bad.
        delay_us.min(open_at.saturating_sub(1))
    }

    /// Remembers that the queue stood too long. True when it began to stand again, or no longer does.
    fn note_crowd(&mut self, delay_us: u64) -> bool {
        if self.breakers.state(Cause::QueueDelay) != BreakerState::Closed {
            self.watch.stood_at = self.now;
        }
        let lately = self.now.since(self.watch.stood_at) < CROWD_US && !self.watch.stood_at.is_zero();
        let stands = lately && delay_us >= self.limits.policies[Cause::QueueDelay as usize].close_below;
        std::mem::replace(&mut self.watch.stands, stands) != stands
    }

    /// The logged time of the oldest batch that is not durable.
    fn oldest_in_flight(&self) -> Option<Timestamp> {
        self.sealed.iter().find(|b| b.last().get() > self.durable).map(|b| b.at)
    }

    /// For how long the oldest of those who wait for room has waited, in µs.
    fn oldest_waiting_us(&self) -> u64 {
        let in_line = self.waiting.front().map_or(0, |line| self.waited_us(line.records()));
        self.crowd.oldest().map_or(0, |received| self.now.since(received)).max(in_line)
    }

    /// For how long the oldest batch that is durable has waited to be applied, in µs, its flush included.
    fn oldest_unapplied_us(&self) -> u64 {
        let oldest = self.sealed.front().filter(|b| b.last().get() <= self.durable);
        oldest.map_or(0, |b| self.now.since(b.at).saturating_sub(self.watch.flush_us))
    }

    /// How many records are applied in a millisecond while there is something to apply.
    fn note_pace(&mut self) {
        let applied = self.engine.applied().get();
        let ms = self.now.since(self.watch.looked_at) / 1_000;
        let count = applied.saturating_sub(std::mem::replace(&mut self.watch.applied, applied));
        self.note_pressure(count);
        // It falls slowly and rises at once, because little to apply says little; and a pause, as for a slow flush, nothing.
        if count > 0 {
            self.pace = (count / ms.max(1)).max(self.pace - self.pace / 40);
        }
    }

    /// What came and was applied since the last look. Where nothing was applied the disk was slow, or nobody asked: that
    /// says nothing about how much is too much.
    fn note_pressure(&mut self, applied: u64) {
        if applied == 0 {
            if self.now.since(self.watch.applied_at) > SILENT_US {
                (self.watch.came, self.watch.lately) = (0, [0; 2]);
            }
            return;
        }
        self.watch.applied_at = self.now;
        // A repeat that was answered from memory asked for nothing.
        let repeats = self.replayed - std::mem::replace(&mut self.watch.replayed, self.replayed);
        let came = std::mem::take(&mut self.watch.came).saturating_sub(repeats);
        for (sum, new) in self.watch.lately.iter_mut().zip([came, applied]) {
            *sum = *sum - *sum / LATELY + new;
        }
    }

    /// How much came lately, in tenths of what was applied.
    #[must_use]
    #[inline]
    pub fn pressure(&self) -> u64 {
        let [came, applied] = self.watch.lately;
        came.saturating_mul(10) / applied.max(1)
    }

    /// For how long a record has waited, in µs.
    #[inline]
    fn waited_us(&self, record: &[u8]) -> u64 {
        Header::of(record).map_or(0, |header| self.now.since(header.received_at()))
    }

    /// The first record of a bundle tells how long its requests waited.
    #[inline]
    pub(super) fn note_waiting(&mut self, records: &[u8]) {
        self.note_waited(self.waited_us(records));
    }

    /// Something waited for so long, in µs.
    #[inline]
    pub(super) fn note_waited(&mut self, us: u64) {
        self.watch.waited_us = self.watch.waited_us.max(us);
    }

    /// Per mille of the limit of the decisions or of their allocations, whichever is more; what is above it is their reserve.
    /// Accounts and lots stay, and their limits stop nobody who pays: they are no breaker's.
    fn fullness(&self) -> u64 {
        let counts = self.engine.counts();
        let permille = |count: u64, max: u64| count.saturating_mul(1_000) / max.max(1);
        permille(counts.decisions, self.limits.decisions_max)
            .max(permille(counts.allocations, self.limits.allocations_max))
    }

    /// Where nothing is admitted nothing is applied either, and nobody would give the memory back. What is forgotten goes by
    /// logged time, and so that goes on: the log is told again what it knows.
    fn forget_where_full(&mut self, fullness: u64) {
        if fullness < self.limits.policies[Cause::Memory as usize].close_below {
            return;
        }
        self.engine.forget_some(FORGET_AT_ONCE);
        self.check_sizes();
        let is_old = self.now.since(self.engine.at()) >= LOGGED_US && self.open.is_empty() && self.sealed.is_empty();
        if is_old && self.watch.degraded_logged && !self.halted && self.room == Room::Ample {
            self.command(Operation::Mark(Mark::Degraded));
        }
    }

    /// Notes how long the batches took that became durable just now.
    pub(super) fn note_flush(&mut self, before: u64) {
        let newest = self.sealed.iter().rfind(|b| b.last().get() > before && b.last().get() <= self.durable);
        if let Some(batch) = newest {
            (self.watch.flush_us, self.watch.flushed_at) = (self.now.since(batch.at), self.now);
        }
    }

    /// A breaker may have changed. What was not handed to the journal is looked at again where more is refused now, and
    /// the log is told what it must know.
    fn after_change(&mut self, before: u8) {
        if self.breakers.refused_outright() & !before != 0 || self.watch.stood {
            self.admit_anew();
        }
        if self.is_crowded() {
            self.crowd_the_queue();
        }
        self.tell_log();
    }

    /// The log is told what it must know of the breakers, and of the core itself.
    pub(super) fn tell_log(&mut self) {
        let degraded = self.breakers.mode() != Mode::Normal || self.watch.stood;
        if !degraded || self.watch.degraded_at.is_zero() {
            self.watch.degraded_at = if degraded { self.now } else { Timestamp::ZERO };
        }
        // The log can wait: what it does not say yet concerns what is not in it yet either, and doubt, for which it is told
        // since when.
        let records = 2 + usize::from(self.watch.stood);
        if self.halted || self.room == Room::None || self.open_room() < records * RECORD_BYTES_MAX {
            return;
        }
        let latched = self.breakers.latched();
        let before = (self.watch.degraded_logged, self.watch.latched_logged);
        (self.watch.degraded_logged, self.watch.latched_logged) = (degraded, latched);
        // What is latched stands in the margin of the mark's batch.
        if before != (degraded, latched) {
            let (seen, mark) =
                if degraded { (self.watch.degraded_at, Mark::Degraded) } else { (self.now, Mark::Normal) };
            self.command_of(seen, Operation::Mark(mark));
        }
        if std::mem::take(&mut self.watch.stood) {
            // As after a start: each thread goes on when it does, and what one knows of deliveries may come behind the payments
            // of another.
            let delivered_to = Position::new(self.delivered_to());
            self.command(Operation::Epoch { delivered_to, settings: self.settings });
        }
        // Confirmed is not trusted yet: one that is behind the log cannot be followed, and is latched again.
        let suspect = self.breakers.state(Cause::Clock).is_tripped() || self.breakers.level(Cause::Clock) > 0;
        if std::mem::replace(&mut self.watch.clock_logged, suspect) != suspect {
            self.command(Operation::Mark(if suspect { Mark::ClockSuspect } else { Mark::ClockTrusted }));
        }
    }

    /// The clock stepped: nothing expires until an operator confirms it.
    pub fn clock_jumped(&mut self) {
        let before = self.breakers.refused_outright();
        self.breakers.jump(Cause::Clock, self.now);
        self.after_change(before);
    }

    /// An operator's order to a breaker. False when it is refused.
    pub(super) fn order(&mut self, cause: Cause, order: Order) -> bool {
        let before = self.breakers.refused_outright();
        let done = self.breakers.order(cause, order, self.now);
        self.after_change(before);
        done
    }

    /// Whoever waited for a batch in flight until its deadline is told that the outcome is unknown: it may yet take
    /// effect, and then counts as undelivered. What was not handed over is refused.
    #[cold]
    fn tell_late(&mut self) {
        let mut sealed = std::mem::take(&mut self.sealed);
        let mut open = std::mem::take(&mut self.open);
        let durable = self.durable;
        let in_flight = sealed.iter_mut().filter(|b| b.last().get() > durable);
        for batch in in_flight.chain([&mut open]) {
            let Batch { tickets, body, applied, applied_bytes, .. } = batch;
            let mut rest = records(&body[*applied_bytes..]);
            for (ticket, record) in with_records(&mut tickets[*applied..], &mut rest) {
                let waits = ticket.thread != Ticket::NOBODY.thread && ticket.waiter.connection != TOLD;
                if waits && self.has_passed(header(record).deadline()) {
                    self.refuse(*ticket, record, Code::Unknown);
                    ticket.waiter.connection = TOLD;
                }
            }
        }
        (self.sealed, self.open) = (sealed, open);
    }

    /// Takes out of the open batch, before it is sealed, what its caller no longer waits for.
    #[inline]
    pub(super) fn drop_overdue(&mut self) {
        if self.has_passed(self.open.due) {
            self.admit_anew();
        }
    }

    /// True when there is something for [`Node::take_changes`].
    #[must_use]
    pub fn has_changes(&self) -> bool {
        self.breakers.has_changes()
    }

    /// Changes of breakers since they were taken last.
    pub fn take_changes(&mut self) -> Vec<Transition> {
        self.breakers.take_changes()
    }

    /// Where a breaker is.
    #[must_use]
    pub fn breaker(&self, cause: Cause) -> BreakerState {
        self.breakers.state(cause)
    }

    /// How the node is, the worst of its causes.
    #[must_use]
    pub fn mode(&self) -> Mode {
        self.breakers.mode()
    }

    /// The ranks that are refused outright, as bits: bit n is [`Rank`] n.
    #[must_use]
    pub fn refused_ranks(&self) -> u8 {
        self.breakers.refused_outright()
    }

    /// The ranks of which only the header need be looked at before the node has seen them, as bits: most of it will be
    /// refused.
    #[must_use]
    pub fn unlooked_ranks(&self) -> u8 {
        self.refused_ranks() | if self.queue_stands() { Rank::SHEDDABLE } else { 0 }
    }

    /// True when nobody has to be told anything soon: all breakers are closed.
    #[must_use]
    pub fn is_normal(&self) -> bool {
        self.breakers.mode() == Mode::Normal
    }

    /// Why a question of this rank is not answered now.
    pub(super) fn question_obstacle(&mut self, rank: Rank) -> Option<Code> {
        self.breakers.refusal(rank).or_else(|| self.breakers.probe(rank))
    }

    /// Notes that a request of this rank took the next position as a probe.
    #[inline]
    pub(super) fn note_probe(&mut self, rank: Rank) {
        if self.breakers.is_probed(rank) {
            self.watch.last_probe = self.next.get();
        }
    }
}
