//! What callers do: they want something, send it, and learn what became of it.

use super::{Event, World};
use crate::caller::{Result as TaskResult, Wish};
use crate::goals::Goal;
use crate::history::{Event as Seen, Scope};
use crate::net::{Arrival, Way};
use crate::plan::Feature;
use crate::workload::{Intent, Workload};
use std::time::Duration;
use tegata_client::{Attempt, InDoubt, Outcome};
use tegata_model::{Code, State, Timestamp};
use tegata_wire::AnswerBody;

fn scope(a: &Attempt) -> Scope {
    Scope { namespace: a.namespace, account: a.account, key: a.key }
}

impl World {
    pub(super) fn wall(&self, caller: usize) -> Timestamp {
        Timestamp::from_micros(self.callers[caller].clock.read(self.now))
    }

    pub(super) fn arrive(&mut self) -> Result<(), String> {
        if self.healing.is_some() {
            return Ok(());
        }
        if self.arrived >= self.plan.steps {
            return self.heal();
        }
        self.arrived += 1;
        let office = self.workload.is_setting_up() || self.random.chance(120);
        let i = if office { 0 } else { 1 + self.random.below(self.plan.gateways) as usize };
        let wall = self.wall(i);
        let intent = if !office && self.plan.has(Feature::Questions) && self.random.chance(50) {
            self.workload.status().map(Intent::Ask)
        } else {
            None
        };
        let intent = intent.unwrap_or_else(|| self.workload.next(wall, office));
        let twice = self.plan.has(Feature::Twice) && self.random.chance(100) && !office;
        if twice && let Intent::Decide(_) = intent {
            let other = 1 + self.random.below(self.plan.gateways) as usize;
            // At once, or when the first has long given it up.
            let most = if self.random.chance(700) { 200_000 } else { 60_000_000 };
            let after = self.random.spread(1, most);
            self.later(other, intent.clone(), after);
        }
        // Nobody waits for anything: hours pass in a few events.
        let quiet = self.callers.iter().all(|c| c.open() == 0)
            && self.process.as_ref().is_some_and(|p| p.core.node.is_normal());
        let gap = if self.plan.has(Feature::LongPauses) && quiet && self.random.chance(60) {
            self.random.spread(10_000_000, 100_000_000_000)
        } else if self.plan.has(Feature::Burst) && self.random.chance(600) {
            self.random.spread(1, 500)
        } else {
            self.random.spread(1, self.plan.gap_us)
        };
        self.at(self.now + gap, Event::Arrive);
        self.want(i, intent)
    }

    pub(super) fn later(&mut self, caller: usize, intent: Intent, after: u64) {
        let n = self.next_later;
        self.next_later += 1;
        self.later.insert(n, intent);
        self.at(self.now + after, Event::Later(caller, n));
    }

    pub(super) fn want(&mut self, caller: usize, intent: Intent) -> Result<(), String> {
        match intent {
            Intent::Decide(attempt) => {
                self.oracle.see(&Seen::Asked { scope: scope(&attempt), operation: &attempt.operation })?;
                self.callers[caller].decide(attempt, self.now);
            }
            Intent::Plan(attempt) => {
                let task = self.callers[caller].ask(Workload::plan_call(&attempt), self.now);
                self.planning.insert((caller, task), attempt);
            }
            Intent::Ask(call) => {
                self.callers[caller].ask(call, self.now);
            }
        }
        self.poll(caller)
    }

    /// Lets a caller do whatever is to be done now.
    pub(super) fn poll(&mut self, i: usize) -> Result<(), String> {
        if self.due[i] <= self.now {
            self.due[i] = u64::MAX;
        }
        let wishes = self.callers[i].poll(self.now, &mut self.next_connection);
        for wish in wishes {
            match wish {
                Wish::Open(connection) => {
                    self.owners.insert(connection, i);
                    let at = self.net.open(connection, self.now);
                    self.at(at, Event::Connect(connection));
                }
                Wish::Send(connection, bytes) => self.transmit(connection, Way::Up, bytes),
                Wish::Close(connection) => {
                    if let Some(at) = self.net.end(connection, Way::Up, self.now) {
                        self.at(at, Event::UpEnd(connection));
                    }
                }
                Wish::Over(task, TaskResult::Answer(answer)) => {
                    let planned = self.planning.remove(&(i, task));
                    if let (Some(attempt), Some(AnswerBody::Plan(p))) = (planned, answer.map(|a| a.body)) {
                        let attempt = Workload::planned(&attempt, p.digest, p.position);
                        self.later(i, Intent::Decide(attempt), 1_000);
                    }
                }
                Wish::Over(_, TaskResult::Outcome { attempt, outcome, resolved }) => {
                    if resolved {
                        self.doubts -= 1;
                        self.note_resolved(&outcome);
                    }
                    self.told(i, &attempt, &outcome)?;
                }
            }
        }
        if let Some(at) = self.callers[i].due(self.now)
            && at < self.due[i]
        {
            self.due[i] = at;
            self.at(at, Event::Caller(i));
        }
        Ok(())
    }

    pub(super) fn transmit(&mut self, connection: u64, way: Way, bytes: Vec<u8>) {
        let (arrivals, cut) = self.net.send(connection, way, bytes, self.now);
        let mut ends = 0;
        for arrival in arrivals {
            match (way, arrival) {
                (Way::Up, Arrival::Bytes(at, bytes)) => self.at(at, Event::Up(connection, bytes)),
                (Way::Down, Arrival::Bytes(at, bytes)) => self.at(at, Event::Down(connection, bytes)),
                (_, Arrival::End(at)) => ends = at,
            }
        }
        if cut {
            self.at(ends, Event::UpEnd(connection));
            self.at(ends, Event::DownEnd(connection));
        }
    }

    /// Bytes reach a caller.
    pub(super) fn answered(&mut self, connection: u64, bytes: &[u8]) -> Result<(), String> {
        let Some(i) = self.owners.get(&connection).copied() else { return Ok(()) };
        self.callers[i].receive(connection, bytes, self.now);
        self.poll(i)
    }

    /// A caller learns that its connection is gone.
    pub(super) fn server_left(&mut self, connection: u64) -> Result<(), String> {
        let Some(i) = self.owners.get(&connection).copied() else { return Ok(()) };
        self.callers[i].ended(connection, self.now);
        self.poll(i)
    }

    fn told(&mut self, i: usize, attempt: &Attempt, outcome: &Outcome) -> Result<(), String> {
        self.say(|| format!("told {i} {:?} {outcome:?}", attempt.operation));
        self.oracle.see(&Seen::Told { scope: scope(attempt), operation: &attempt.operation, outcome })?;
        let wall = self.wall(i);
        match outcome {
            Outcome::NotExecuted { .. } => self.goals.reach(Goal::NotExecuted),
            Outcome::Conflict(_) => self.goals.reach(Goal::ConflictSeen),
            Outcome::Unknown(doubt) => {
                if self.healing.is_none()
                    && let Some(undo) = self.workload.undo(attempt, wall)
                {
                    self.later(i, undo, 10_000);
                    if self.random.chance(600) {
                        // Somebody still has the original in a queue.
                        let after = self.random.spread(10_000, 60_000_000);
                        self.later(i, Intent::Decide(*attempt), after);
                    }
                    return Ok(());
                }
                self.doubt(i, doubt.clone());
                return Ok(());
            }
            _ => {}
        }
        if let Some(next) = self.workload.learn(attempt, outcome, wall) {
            let after = self.random.spread(1_000, 5_000_000);
            self.later(i, next, after);
        }
        Ok(())
    }

    /// What is unknown is resolved. A key that is out of its horizon is the office's.
    fn doubt(&mut self, i: usize, doubt: InDoubt) {
        if matches!(doubt.code, Code::KeyTooOld | Code::OriginalTooOld) {
            self.goals.reach(Goal::KeyTooOld);
            return;
        }
        let patience = Duration::from_secs(self.random.between(3, 60));
        self.doubts += 1;
        self.callers[i].resolve(doubt, patience, self.now);
        self.at(self.now, Event::Caller(i));
    }

    /// The process of a caller ends and begins again: what it stored is resolved.
    pub(super) fn restart_caller(&mut self, i: usize) -> Result<(), String> {
        let (lines, tasks) = self.callers[i].restart();
        for connection in lines {
            if let Some(at) = self.net.end(connection, Way::Up, self.now) {
                self.at(at, Event::UpEnd(connection));
            }
        }
        for (task, attempt) in tasks {
            self.planning.remove(&(i, task));
            if let Some((attempt, resolving)) = attempt {
                self.doubts -= u64::from(resolving);
                let doubt = InDoubt { attempt, code: Code::Unknown };
                let outcome = Outcome::Unknown(doubt.clone());
                self.oracle.see(&Seen::Told {
                    scope: scope(&attempt),
                    operation: &attempt.operation,
                    outcome: &outcome,
                })?;
                self.doubt(i, doubt);
            }
        }
        Ok(())
    }

    /// What a resolution came to reaches its goal.
    pub(super) fn note_resolved(&mut self, outcome: &Outcome) {
        match outcome {
            Outcome::Approved(_) | Outcome::Unconfirmed(_) => self.goals.reach(Goal::UnknownApproved),
            Outcome::Declined(d) if d.state != State::Open => self.goals.reach(Goal::UnknownDeclined),
            _ => {}
        }
    }
}
