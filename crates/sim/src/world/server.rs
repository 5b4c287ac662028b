//! The server's process: it starts, takes turns, serves connections, and ends in one way or another.

use super::{Event, World};
use crate::goals::Goal;
use crate::history::{Event as Seen, Load, Place};
use crate::net::Way;
use crate::plan::Feature;
use crate::process::{Batch, Process, Surroundings};
use crate::session::{Effect, Hub};
use tegata_drive::{Around, Core, Keeping, restore};
use tegata_model::{Code, Settings, Timestamp};
use tegata_node::{BreakerState, Cause, Limits, Node, Outbound, Room};

/// Seconds in which an answer is in flight.
const ACK_S: u32 = 5;
/// Turns without work after which a core that waits for time is looked at once a second.
const IDLE_TURNS: u64 = 400;
/// How often deliveries are looked at while some wait, in µs.
const TICK_US: u64 = 100_000;

impl World {
    /// The process starts: recovery, then the doors.
    pub(super) fn start(&mut self) -> Result<(), String> {
        if self.process.is_some() {
            return Ok(());
        }
        self.storage.set_now(self.now);
        if self.storage.disk.is_dead() {
            self.storage.disk.restart();
        }
        if self.may(Feature::CrashInRecovery) && self.random.chance(200) {
            self.storage.crash_soon(60);
        }
        let (durable, failures) = (self.oracle.durable, self.storage.failures());
        let mut journal = match tegata_journal::open(self.storage.options(&self.plan)) {
            Ok(journal) => journal,
            Err(e) => return self.start_failed(failures, &e.to_string()),
        };
        let recovery = journal.recovery().clone();
        self.say(|| format!("start {recovery:?}"));
        if recovery.torn.is_some() {
            self.goals.reach(Goal::TornTail);
        }
        self.oracle.see(&Seen::Recovered { last: recovery.last_position, durable })?;
        if let Err(e) = tegata_journal::remove_drafts(self.storage.folder()) {
            return self.start_failed(failures, &e.to_string());
        }
        let (mut found, mut segments) = (Vec::new(), 0);
        let restored = restore(&self.storage.folder(), &mut journal, &mut |b| {
            segments = segments.max(b.segment);
            found.push(Batch {
                first: b.first_position,
                count: b.count,
                at: b.at_us,
                margin: *b.margin,
                body: b.body.to_vec(),
            });
        });
        let restored = match restored {
            Ok(restored) => restored,
            Err(e) => return self.start_failed(failures, &e.to_string()),
        };
        for batch in &found {
            if batch.first > durable {
                self.goals.reach(Goal::UnflushedKept);
            }
            self.oracle.found(batch, &mut self.goals)?;
        }
        if self.oracle.uncertain.drain(..).any(|b| b.first > recovery.last_position) {
            self.goals.reach(Goal::UnflushedLost);
        }
        if self.oracle.durable != recovery.last_position {
            return Err(format!(
                "log-is-whole: the log ends at {}, and was read to {}",
                recovery.last_position, self.oracle.durable
            ));
        }
        if segments > 1 {
            self.goals.reach(Goal::SegmentRolled);
        }
        if restored.snapshot > 0 {
            self.goals.reach(Goal::SnapshotLoaded);
        }
        let (engine, carried) = restored.replay.finish();
        if carried.latched != 0 {
            self.goals.reach(Goal::LatchKept);
        }
        self.oracle.compare(&engine, true, true)?;
        let position = engine.applied().get();
        let settings = Settings { horizon_s: self.plan.horizon_s, ack_s: ACK_S, ..Settings::default() };
        let wall = self.clock.read(self.now);
        let mut around = Surroundings::new(self.plan.threads, self.now, wall, position);
        around.steady.not_before(engine.at().micros(), wall, self.now as i64);
        let at = around.now();
        let node = Node::new(engine, self.limits(), settings, carried, at);
        let journal = match journal.into_writer() {
            Ok(journal) => journal,
            Err(e) => return self.start_failed(failures, &e.to_string()),
        };
        let keeping = Keeping {
            dir: self.storage.folder(),
            store: recovery.store_id,
            snapshot_bytes: self.plan.snapshot_bytes,
            keep_days: 0,
        };
        let core = Core::new(node, journal, around, keeping, restored.since_snapshot);
        let hub = || Hub::new(self.plan.credits, ACK_S, position);
        let hubs = (0..self.plan.threads).map(|_| hub()).collect();
        let ready = self.now.max(self.storage.now()) + 1;
        self.process = Some(Process { core, hubs, turn_at: ready, idle: 0, began_at: position });
        self.roomy = true;
        self.at(ready, Event::Turn);
        Ok(())
    }

    pub(super) fn limits(&self) -> Limits {
        let small = Limits {
            threads: self.plan.threads,
            batch_bytes_max: self.plan.batch_bytes_max,
            seal_bytes: self.plan.seal_bytes,
            in_flight_max: self.plan.in_flight_max,
            waiting_bytes_max: self.plan.waiting_bytes_max,
            accounts_max: self.plan.accounts_max,
            lots_max: self.plan.accounts_max,
            decisions_max: self.plan.decisions_max,
            allocations_max: self.plan.decisions_max,
            ..Limits::default()
        };
        if self.healing.is_some() {
            // What ends a full table soon is a higher limit and a start.
            let Limits { accounts_max, lots_max, decisions_max, allocations_max, .. } = Limits::default();
            return Limits { accounts_max, lots_max, decisions_max, allocations_max, ..small };
        }
        small
    }

    /// A start may fail because power went, or because the disk did not do what was asked of it just then. Whatever was
    /// before, it is no reason.
    fn start_failed(&mut self, failures: u64, why: &str) -> Result<(), String> {
        self.say(|| format!("not started: {why}"));
        if self.storage.disk.is_dead() {
            self.goals.reach(Goal::CrashInRecovery);
        } else if self.storage.failures() == failures {
            return Err(format!("acknowledged-survives: a start was refused: {why}"));
        }
        self.start_later();
        Ok(())
    }

    fn start_later(&mut self) {
        let down = if self.healing.is_some() { 1_000_000 } else { self.random.spread(10_000, 30_000_000) };
        self.at(self.now.max(self.storage.now()) + down, Event::Start);
    }

    /// The core takes a turn, if it is time for one.
    pub(super) fn turn(&mut self) -> Result<(), String> {
        let (now, wall) = (self.now, self.clock.read(self.now));
        let Some(p) = &mut self.process else { return Ok(()) };
        if now < self.paused_until {
            let at = self.paused_until;
            self.at(at, Event::Turn);
            return Ok(());
        }
        if now < p.turn_at {
            return Ok(());
        }
        (p.core.around.now, p.core.around.wall_us) = (now, wall);
        self.storage.set_now(now);
        let flushed = p.core.journal.flushed();
        let began = p.core.around.snapshots_begun;
        let result = p.core.wake_up().and_then(|()| p.core.turn());
        if result.is_err() {
            p.core.fail();
        }
        let rest = p.core.rest_time();
        if self.storage.disk.is_dead() {
            // Whatever it was about to say is not said.
            let taking = p.core.is_taking() || p.core.around.snapshots_begun > began;
            if taking {
                self.goals.reach(Goal::CrashInSnapshot);
            }
            if p.core.around.durable > flushed {
                self.goals.reach(Goal::CrashBeforeAnswer);
            }
            p.core.around.outbox.iter_mut().for_each(|o| o.clear());
            self.after_turn()?;
            return self.end_process(true);
        }
        self.after_turn()?;
        match result {
            Err(e) => {
                self.say(|| format!("failed: {e}"));
                self.goals.reach(Goal::WriteFailed);
                self.end_process(false)?;
            }
            Ok(busy) => {
                let rest = u64::try_from(rest.as_micros()).unwrap_or(u64::MAX);
                let idle = self.rested(busy);
                // A core that only waits for time, and for long, is looked at seldom: hours of it would take minutes.
                let wait =
                    if busy { self.plan.turn_us } else { rest.max(if idle > IDLE_TURNS { 1_000_000 } else { 0 }) };
                let wake = self.storage.next_completion().map_or(now + wait, |at| at.min(now + wait));
                // Whoever waits for a flush of its own does nothing else meanwhile.
                self.next_turn(wake.max(now + 1).max(self.storage.now()), true);
            }
        }
        self.drained()
    }

    /// Turns in a row that found nothing to do.
    fn rested(&mut self, busy: bool) -> u64 {
        let Some(p) = &mut self.process else { return 0 };
        p.idle = if busy { 0 } else { p.idle + 1 };
        p.idle
    }

    /// The core is called, or rests until then.
    fn next_turn(&mut self, at: u64, rest: bool) {
        let Some(p) = &mut self.process else { return };
        if !rest && p.turn_at <= at {
            return;
        }
        p.turn_at = at;
        self.at(at, Event::Turn);
    }

    /// What a turn brought goes where it belongs: the log to the oracle, answers to callers.
    fn after_turn(&mut self) -> Result<(), String> {
        let Some(p) = &mut self.process else { return Ok(()) };
        let around = &mut p.core.around;
        let (sealed, durable) = (std::mem::take(&mut around.sealed), around.durable);
        let changes = std::mem::take(&mut around.changes);
        let answers: Vec<Vec<Outbound>> = around.outbox.iter_mut().map(|o| o.drain(..).collect()).collect();
        let facts = p.core.node.facts();
        let taken = p.core.around.snapshots_taken.take();
        let load = Load {
            in_flight: facts.in_flight,
            in_flight_max: p.hubs.iter().map(|h| h.credits_in_all()).sum::<u64>() + 4_096,
            batches: p.core.journal.in_flight(),
            batches_max: self.plan.in_flight_max,
            facts,
        };
        let (room, crowded) = (p.core.node.room(), p.core.node.is_crowded());
        for batch in sealed {
            self.oracle.sealed(batch)?;
        }
        let before = self.oracle.durable;
        self.oracle.durable(durable, &mut self.goals)?;
        self.oracle.see(&Seen::Load(load))?;
        for t in &changes {
            self.say(|| format!("breaker {t:?}"));
            self.note_breaker(t);
        }
        if room != Room::Ample && self.roomy {
            self.goals.reach(Goal::DiskFullDegraded);
        }
        if room == Room::Ample && !self.roomy {
            self.goals.reach(Goal::DiskFullRecovered);
        }
        self.roomy = room == Room::Ample;
        if taken > 0 {
            self.goals.reach(Goal::SnapshotTaken);
        }
        if crowded {
            self.goals.reach(Goal::QueueStood);
        }
        if durable > before
            && let Some(p) = &self.process
        {
            let all = self.random.chance(20);
            self.oracle.compare(p.core.node.engine(), false, all)?;
        }
        for (thread, bundles) in answers.into_iter().enumerate() {
            for bundle in bundles {
                self.give(thread, bundle, durable)?;
            }
        }
        Ok(())
    }

    fn note_breaker(&mut self, t: &tegata_node::Transition) {
        let cause = t.cause as u8;
        match t.change.to {
            BreakerState::Open => {
                self.opened.insert(cause);
            }
            BreakerState::HalfOpen if self.opened.contains(&cause) => {
                self.probed.insert(cause);
            }
            BreakerState::Closed => {
                let opened = self.opened.remove(&cause);
                if self.probed.remove(&cause) && opened {
                    self.goals.reach(Goal::BreakerRound);
                }
            }
            BreakerState::Latched if t.change.event == tegata_node::Event::Jumped => {
                self.goals.reach(Goal::ClockLatched)
            }
            _ => {}
        }
        match (t.cause, t.change.event.name(), t.change.to) {
            (_, "drill over", _) => self.goals.reach(Goal::DrillDone),
            (Cause::Clock, "confirm", _) => self.goals.reach(Goal::ClockConfirmed),
            (Cause::Memory, _, BreakerState::Open) => self.goals.reach(Goal::MemoryFull),
            _ => {}
        }
    }

    /// A thread of connections takes over answers.
    fn give(&mut self, thread: usize, mut bundle: Outbound, durable: u64) -> Result<(), String> {
        let Some(p) = &mut self.process else { return Ok(()) };
        let at = Timestamp::from_micros(p.core.around.steady.look(self.clock.read(self.now), self.now as i64));
        let refused = p.core.around.refused;
        let began_at = p.began_at;
        let there = |p: &Process, c: u64| p.hubs[thread].sessions.contains_key(&c);
        let answers = bundle.answers.clone();
        let replies: Vec<_> = bundle.replies.iter().map(|(w, r)| (*w, r.clone())).collect();
        let present: Vec<bool> = answers.iter().map(|a| there(p, a.waiter.connection)).collect();
        let asking: Vec<bool> = replies.iter().map(|(w, _)| there(p, w.connection)).collect();
        let out = p.hubs[thread].give(&mut bundle, at);
        let mut effects = Vec::new();
        for connection in out.keys() {
            effects.extend(p.hubs[thread].read_on(*connection, at, refused));
        }
        for (a, _) in answers.iter().zip(present).filter(|(_, present)| *present) {
            let place = Place { connection: a.waiter.connection, request: a.waiter.request };
            let asked = self.asked.remove(&place);
            self.note_answer(a, began_at);
            let horizon = u64::from(self.plan.horizon_s);
            let made = asked.and_then(|(scope, _)| scope.key.created_at());
            let too_old = made.is_some_and(|made| made.plus_seconds(horizon) < a.decision.at);
            self.oracle.see(&Seen::Answered { place, asked, decision: &a.decision, durable, too_old })?;
        }
        for ((w, reply), _) in replies.iter().zip(asking).filter(|(_, present)| *present) {
            let place = Place { connection: w.connection, request: w.request };
            self.asked.remove(&place);
            match reply {
                tegata_node::Reply::Status { decided: Some((decision, _)), .. }
                | tegata_node::Reply::Refused { decision, .. } => {
                    let answered = Seen::Answered { place, asked: None, decision, durable, too_old: false };
                    self.oracle.see(&answered)?;
                }
                _ => self.oracle.see(&Seen::Replied(place))?,
            }
        }
        for (connection, bytes) in out {
            self.transmit(connection, Way::Down, bytes);
        }
        self.serve(effects)?;
        self.tick_soon();
        Ok(())
    }

    fn note_answer(&mut self, a: &tegata_node::Answer, began_at: u64) {
        if a.replayed {
            self.goals.reach(Goal::RepeatReplayed);
            if a.decision.position.get() <= began_at && began_at > 0 {
                self.goals.reach(Goal::RepeatAfterRestart);
            }
        }
        match a.decision.code {
            Code::InProgress => self.goals.reach(Goal::DuplicateInFlight),
            Code::Unknown => self.goals.reach(Goal::StallDelayed),
            Code::DeadlinePassed => self.goals.reach(Goal::DeadlineInQueue),
            _ => {}
        }
    }

    /// What sessions brought about.
    fn serve(&mut self, effects: Vec<Effect>) -> Result<(), String> {
        for effect in effects {
            match effect {
                Effect::Send(connection, bytes) => self.transmit(connection, Way::Down, bytes),
                Effect::Close(connection) => self.close(connection)?,
                Effect::Taken(place, asked) => {
                    if let Some(asked) = asked {
                        self.asked.insert(place, asked);
                    }
                    self.oracle.see(&Seen::Accepted { place, asked })?;
                }
            }
        }
        for thread in 0..self.plan.threads {
            self.send_bundle(thread);
        }
        Ok(())
    }

    /// Hands a thread's bundle to the core, if there is one and its ring has room.
    fn send_bundle(&mut self, thread: usize) {
        let now = self.now;
        let Some(p) = &mut self.process else { return };
        if p.hubs[thread].bundle.is_empty() || !p.core.around.has_room(thread) {
            return;
        }
        let bundle = std::mem::take(&mut p.hubs[thread].bundle);
        p.core.around.inbox[thread].push_back(bundle);
        let wake = now + 1 + self.random.below(self.plan.turn_us);
        self.next_turn(wake, false);
    }

    fn thread_of(&self, connection: u64) -> usize {
        (connection % self.plan.threads as u64) as usize
    }

    pub(super) fn connect(&mut self, connection: u64) -> Result<(), String> {
        let thread = self.thread_of(connection);
        let operator = self.owners.get(&connection).is_some_and(|i| *i == 0);
        match &mut self.process {
            Some(p) if !p.core.around.stopping => p.hubs[thread].open(connection, operator),
            _ => {
                if let Some(at) = self.net.end(connection, Way::Down, self.now) {
                    self.at(at, Event::DownEnd(connection));
                }
                self.net.forget(connection);
            }
        }
        Ok(())
    }

    pub(super) fn receive(&mut self, connection: u64, bytes: &[u8]) -> Result<(), String> {
        let thread = self.thread_of(connection);
        let Some(p) = &mut self.process else { return Ok(()) };
        let at = Timestamp::from_micros(p.core.around.steady.look(self.clock.read(self.now), self.now as i64));
        let refused = p.core.around.refused;
        let owner = self.owners.get(&connection).copied().unwrap_or(0);
        if p.hubs[thread].sessions.contains_key(&connection) && self.callers[owner].is_gone(connection) {
            self.goals.reach(Goal::LateMessage);
        }
        let effects = p.hubs[thread].receive(connection, bytes, at, refused);
        self.serve(effects)
    }

    pub(super) fn caller_left(&mut self, connection: u64) -> Result<(), String> {
        let thread = self.thread_of(connection);
        let Some(p) = &mut self.process else { return Ok(()) };
        if p.hubs[thread].leave(connection) { self.close(connection) } else { Ok(()) }
    }

    /// The server ends a connection.
    fn close(&mut self, connection: u64) -> Result<(), String> {
        let thread = self.thread_of(connection);
        let Some(p) = &mut self.process else { return Ok(()) };
        p.hubs[thread].close(connection);
        if let Some(at) = self.net.end(connection, Way::Down, self.now) {
            self.at(at, Event::DownEnd(connection));
        }
        self.asked.retain(|place, _| place.connection != connection);
        self.oracle.see(&Seen::Ended { connection })?;
        self.send_bundle(thread);
        Ok(())
    }

    pub(super) fn tick(&mut self) -> Result<(), String> {
        self.ticking = false;
        let Some(p) = &mut self.process else { return Ok(()) };
        let at = Timestamp::from_micros(p.core.around.steady.look(self.clock.read(self.now), self.now as i64));
        for thread in 0..self.plan.threads {
            let Some(p) = &mut self.process else { return Ok(()) };
            p.hubs[thread].tick(at);
            self.send_bundle(thread);
        }
        if self.process.as_ref().is_some_and(|p| p.hubs.iter().any(Hub::waits)) {
            self.tick_soon();
        }
        Ok(())
    }

    fn tick_soon(&mut self) {
        if !std::mem::replace(&mut self.ticking, true) {
            self.at(self.now + TICK_US, Event::Tick);
        }
    }

    /// The process ends. Callers learn of it at once, or never where the machine went down with it.
    pub(super) fn end_process(&mut self, silently: bool) -> Result<(), String> {
        let Some(p) = self.process.take() else { return Ok(()) };
        for hub in &p.hubs {
            for connection in hub.sessions.keys() {
                self.oracle.see(&Seen::Ended { connection: *connection })?;
                if silently {
                    self.net.forget(*connection);
                } else if let Some(at) = self.net.end(*connection, Way::Down, self.now) {
                    self.at(at, Event::DownEnd(*connection));
                }
            }
        }
        drop(p);
        if !self.storage.disk.is_dead() {
            self.storage.disk.kill();
        }
        self.asked.clear();
        (self.opened, self.probed) = Default::default();
        self.start_later();
        Ok(())
    }

    /// A server that was told to stop has answered everything.
    fn drained(&mut self) -> Result<(), String> {
        let is_over = self
            .process
            .as_ref()
            .is_some_and(|p| p.core.around.stopping && p.core.is_quiet() && p.hubs.iter().all(|h| h.bundle.is_empty()));
        if !is_over {
            return Ok(());
        }
        let Some(p) = self.process.take() else { return Ok(()) };
        for connection in p.hubs.iter().flat_map(|h| h.sessions.keys()) {
            self.oracle.see(&Seen::Ended { connection: *connection })?;
            if let Some(at) = self.net.end(*connection, Way::Down, self.now) {
                self.at(at, Event::DownEnd(*connection));
            }
        }
        self.asked.clear();
        if self.storage.close(p.core.journal).is_ok() {
            self.goals.reach(Goal::Drained);
        }
        self.storage.disk.kill();
        self.start_later();
        Ok(())
    }

    /// True when this fault may be.
    pub(super) fn may(&self, feature: Feature) -> bool {
        self.healing.is_none() && self.plan.has(feature)
    }
}
