//! A caller: a gateway or the office. What it sends when, and what it makes of answers, is the client's own state machine;
//! its connections are kept as the client's driver keeps them, on the simulated network.

use crate::clocks::Clock;
use crate::random::Random;
use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;
use tegata_client::{Attempt, Budget, Call, InDoubt, Lost, Next, Outcome, Resolving, Sends};
use tegata_wire::{self as wire, Answer, AnswerBody, Hello, Scan};

/// As the client's own.
const ACK_DELAY_US: u64 = 200_000;
const CONNECT_US: u64 = 3_000_000;
const LINGER_US: u64 = 30_000_000;
const PATIENCE_US: u64 = 2_000_000;

/// What a caller wants of the world.
#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "it lives for a moment")]
pub(crate) enum Wish {
    /// A connection of this number.
    Open(u64),
    /// Bytes to the server.
    Send(u64, Vec<u8>),
    /// The connection is given up.
    Close(u64),
    /// A task is over.
    Over(u64, Result),
}

/// What a task came to.
#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "it lives for a moment")]
pub(crate) enum Result {
    /// An attempt or a resolution.
    Outcome {
        /// What was tried.
        attempt: Attempt,
        /// What became of it.
        outcome: Box<Outcome>,
        /// It was unknown before.
        resolved: bool,
    },
    /// A question.
    Answer(Option<Box<Answer>>),
}

#[derive(Debug)]
enum Work {
    Decide(Attempt, Sends),
    Resolve(Attempt, Resolving),
    Ask(Call),
}

#[derive(Debug, Clone, Copy, PartialEq)]
#[expect(clippy::large_enum_variant, reason = "most tasks that wait have a call")]
enum Stage {
    /// Nothing is asked of a connection.
    Idle,
    /// It waits for this connection; 0: for any.
    Connecting(u64),
    /// It waits for credits of this connection.
    Queued(u64, Call),
    /// A question was sent on this connection.
    Sent(u64),
}

#[derive(Debug)]
struct Task {
    began: u64,
    work: Work,
    stage: Stage,
    /// The connection of its last send.
    last: Option<u64>,
    /// A question is given up then.
    until: u64,
    /// It has nothing to do before.
    wakes: u64,
}

#[derive(Debug)]
struct Line {
    opened: u64,
    greeted: bool,
    unread: Vec<u8>,
    waiting: BTreeMap<u64, u64>,
    queue: VecDeque<u64>,
    next_id: u64,
    credits: u64,
    seen: u32,
    acked: u32,
    ack_due: Option<u64>,
    frozen: bool,
    retired: Option<u64>,
    out: Vec<u8>,
}

/// A task that ended with its process: an attempt, and whether it was being resolved; or a question.
pub(crate) type Ended = (u64, Option<(Attempt, bool)>);

/// See the module.
#[derive(Debug)]
pub(crate) struct Caller {
    /// Its number, from 1.
    pub(crate) gateway: u32,
    pub(crate) operator: bool,
    pub(crate) clock: Clock,
    budget: Budget,
    random: Random,
    current: Option<u64>,
    lines: BTreeMap<u64, Line>,
    tasks: BTreeMap<u64, Task>,
    next_task: u64,
    /// To questions, until they are handed over.
    answers: BTreeMap<u64, Answer>,
}

fn since(from: u64, now: u64) -> Duration {
    Duration::from_micros(now.saturating_sub(from))
}

fn at(began: u64, d: Duration) -> u64 {
    began.saturating_add(u64::try_from(d.as_micros()).unwrap_or(u64::MAX))
}

impl Caller {
    pub(crate) fn new(gateway: u32, operator: bool, clock: Clock, random: Random) -> Self {
        Self {
            gateway,
            operator,
            clock,
            budget: Budget::new(),
            random,
            current: None,
            lines: BTreeMap::new(),
            tasks: BTreeMap::new(),
            next_task: 1,
            answers: BTreeMap::new(),
        }
    }

    fn add(&mut self, work: Work, now: u64, until: u64) -> u64 {
        let id = self.next_task;
        self.next_task += 1;
        self.tasks.insert(id, Task { began: now, work, stage: Stage::Idle, last: None, until, wakes: now });
        id
    }

    pub(crate) fn decide(&mut self, attempt: Attempt, now: u64) -> u64 {
        self.budget.earn();
        let sends = Sends::new(&attempt, u32::MAX);
        self.add(Work::Decide(attempt, sends), now, u64::MAX)
    }

    pub(crate) fn resolve(&mut self, doubt: InDoubt, patience: Duration, now: u64) -> u64 {
        let attempt = doubt.attempt;
        self.add(Work::Resolve(attempt, Resolving::new(doubt, patience)), now, u64::MAX)
    }

    pub(crate) fn ask(&mut self, call: Call, now: u64) -> u64 {
        self.add(Work::Ask(call), now, now + PATIENCE_US)
    }

    /// True when it has given this connection up.
    pub(crate) fn is_gone(&self, connection: u64) -> bool {
        !self.lines.contains_key(&connection)
    }

    /// Tasks that are not over.
    pub(crate) fn open(&self) -> u64 {
        self.tasks.len() as u64
    }

    /// The process ended: its connections are gone, and what it knows is what it had stored before each send. Its
    /// connections, and its attempts with whether they were being resolved.
    pub(crate) fn restart(&mut self) -> (Vec<u64>, Vec<Ended>) {
        self.current = None;
        let lines = std::mem::take(&mut self.lines).into_keys().collect();
        let tasks = std::mem::take(&mut self.tasks).into_iter().map(|(id, task)| match task.work {
            Work::Decide(attempt, _) => (id, Some((attempt, false))),
            Work::Resolve(attempt, _) => (id, Some((attempt, true))),
            Work::Ask(_) => (id, None),
        });
        (lines, tasks.collect())
    }

    /// When something is due by time alone.
    pub(crate) fn due(&mut self, now: u64) -> Option<u64> {
        let lines = self.lines.values().flat_map(|l| {
            let greet = (!l.greeted).then_some(l.opened + CONNECT_US);
            [greet, l.ack_due, l.retired.map(|at| at + LINGER_US)]
        });
        let tasks = self.tasks.values().map(|t| Some(t.wakes_at()));
        lines.chain(tasks).flatten().min().map(|at| at.max(now + 1)).filter(|at| *at < u64::MAX)
    }

    /// Bytes from the server.
    pub(crate) fn receive(&mut self, connection: u64, bytes: &[u8], now: u64) {
        let Some(line) = self.lines.get_mut(&connection) else { return };
        line.unread.extend_from_slice(bytes);
        let unread = std::mem::take(&mut line.unread);
        let mut rest = &unread[..];
        while let Scan::Frame { frame, rest: tail } = wire::scan(rest, wire::ANSWER_BYTES_MAX) {
            rest = tail;
            assert_eq!(wire::check_crc(frame), Ok(()), "a server sends whole frames");
            let answer = wire::decode_answer(frame).expect("a server's frames decode");
            self.take(connection, answer, now);
        }
        let rest = rest.to_vec();
        if let Some(line) = self.lines.get_mut(&connection) {
            line.unread = rest;
        }
    }

    fn take(&mut self, connection: u64, answer: Answer, now: u64) {
        let Some(line) = self.lines.get_mut(&connection) else { return };
        let header = answer.header;
        match &answer.body {
            AnswerBody::Goodbye(_) => return line.retire(now),
            AnswerBody::Hello(hello) => {
                (line.greeted, line.credits) = (true, u64::from(hello.credits));
                return;
            }
            _ => {}
        }
        let Some(task) = line.waiting.remove(&header.request_id) else { return };
        let known = self.tasks.contains_key(&task);
        if header.number != 0 {
            if !known {
                line.frozen = true;
                line.retire(now);
            }
            if !line.frozen {
                line.seen = header.number;
                line.ack_due.get_or_insert(now + ACK_DELAY_US);
            }
        }
        self.hear(task, Ok(answer), now);
    }

    fn hear(&mut self, id: u64, got: std::result::Result<Answer, Lost>, now: u64) {
        let Some(task) = self.tasks.get_mut(&id) else { return };
        let random = &mut self.random;
        let passed = since(task.began, now);
        match &mut task.work {
            Work::Decide(_, sends) => sends.heard(passed, got),
            Work::Resolve(_, resolving) => {
                task.stage = Stage::Idle;
                resolving.heard(passed, got.ok(), || random.wide());
            }
            // The answer to a question is its end: it is handed over at the next poll.
            Work::Ask(_) => {
                task.stage = Stage::Idle;
                (task.until, task.wakes) = (0, now);
                if let Ok(answer) = got {
                    self.answers.insert(id, answer);
                }
            }
        }
    }

    /// The connection is gone.
    pub(crate) fn ended(&mut self, connection: u64, now: u64) {
        let Some(line) = self.lines.remove(&connection) else { return };
        if self.current == Some(connection) {
            self.current = None;
        }
        for task in line.waiting.into_values() {
            self.hear(task, Err(Lost::Unanswered), now);
        }
        for id in line.queue {
            self.not_sent(id, now);
        }
    }

    fn not_sent(&mut self, id: u64, now: u64) {
        let Some(task) = self.tasks.get_mut(&id) else { return };
        task.stage = Stage::Idle;
        if let Work::Decide(_, sends) = &mut task.work {
            sends.sent(since(task.began, now), || self.random.wide());
        }
        self.hear(id, Err(Lost::NotSent), now);
    }

    /// Does whatever is to be done now. `fresh` numbers new connections.
    pub(crate) fn poll(&mut self, now: u64, fresh: &mut u64) -> Vec<Wish> {
        let mut wishes = Vec::new();
        self.tend_lines(now, &mut wishes);
        for id in self.tasks.keys().copied().collect::<Vec<_>>() {
            while self.step(id, now, fresh, &mut wishes) {}
        }
        for (connection, line) in &mut self.lines {
            if !line.out.is_empty() {
                wishes.push(Wish::Send(*connection, std::mem::take(&mut line.out)));
            }
        }
        wishes
    }

    fn tend_lines(&mut self, now: u64, wishes: &mut Vec<Wish>) {
        let mut over = Vec::new();
        for (connection, line) in &mut self.lines {
            if line.ack_due.is_some_and(|at| at <= now) {
                line.acknowledge();
            }
            let slow = !line.greeted && line.opened + CONNECT_US <= now;
            let retired = line.retired.is_some_and(|at| line.waiting.is_empty() || at + LINGER_US <= now);
            if slow || retired {
                over.push(*connection);
            }
        }
        for connection in over {
            if let Some(line) = self.lines.get_mut(&connection) {
                line.acknowledge();
                if line.greeted && !line.out.is_empty() {
                    wishes.push(Wish::Send(connection, std::mem::take(&mut line.out)));
                }
            }
            self.ended(connection, now);
            wishes.push(Wish::Close(connection));
        }
    }

    /// The connection for new calls, made now if there is none. Nothing while it is being made.
    fn usable(&mut self, now: u64, fresh: &mut u64, wishes: &mut Vec<Wish>) -> Option<u64> {
        if let Some(current) = self.current
            && let Some(line) = self.lines.get(&current)
            && line.retired.is_none()
        {
            return line.greeted.then_some(current);
        }
        let connection = *fresh;
        *fresh += 1;
        self.current = Some(connection);
        let mut out = Vec::new();
        let version = u16::from(wire::VERSION);
        let role = if self.operator { 2 } else { 1 };
        let hello =
            Hello { version_min: version, version_max: version, gateway: self.gateway, role, ..Hello::default() };
        hello.encode(0, &mut out);
        self.lines.insert(
            connection,
            Line {
                opened: now,
                greeted: false,
                unread: Vec::new(),
                waiting: BTreeMap::new(),
                queue: VecDeque::new(),
                next_id: 1,
                credits: 0,
                seen: 0,
                acked: 0,
                ack_due: None,
                frozen: false,
                retired: None,
                out,
            },
        );
        wishes.push(Wish::Open(connection));
        None
    }

    /// One step of a task. True when another may follow at once.
    fn step(&mut self, id: u64, now: u64, fresh: &mut u64, wishes: &mut Vec<Wish>) -> bool {
        let Some(task) = self.tasks.get_mut(&id) else { return false };
        let passed = since(task.began, now);
        match task.stage {
            Stage::Connecting(waits_for) => {
                let failed = waits_for != 0 && !self.lines.contains_key(&waits_for);
                if failed || now >= task.gives_up_at() {
                    return self.unconnected(id, now);
                }
                let usable = self.usable(now, fresh, wishes);
                match (usable, self.tasks.get_mut(&id)) {
                    (Some(connection), _) => return self.connected(id, connection, now),
                    (None, Some(task)) => task.stage = Stage::Connecting(self.current.unwrap_or(0)),
                    (None, None) => {}
                }
                false
            }
            Stage::Queued(connection, call) => self.try_send(id, connection, call, now),
            Stage::Sent(_) if now >= task.gives_up_at() => {
                if let Stage::Sent(connection) = task.stage
                    && let Some(line) = self.lines.get_mut(&connection)
                {
                    line.retire(now);
                }
                self.forget_call(id);
                self.hear(id, Err(Lost::Unanswered), now);
                true
            }
            Stage::Sent(_) => false,
            Stage::Idle => {
                let random = &mut self.random;
                let next = match &mut task.work {
                    Work::Decide(_, sends) => sends.next(passed, &self.budget, || random.wide()),
                    Work::Resolve(_, resolving) => resolving.next(passed),
                    Work::Ask(_) if task.until > 0 => Next::Connect,
                    Work::Ask(_) => {
                        self.tasks.remove(&id);
                        let answer = self.answers.remove(&id).map(Box::new);
                        wishes.push(Wish::Over(id, Result::Answer(answer)));
                        return false;
                    }
                };
                match next {
                    Next::Connect => task.stage = Stage::Connecting(0),
                    Next::Ask(_) => {
                        task.until = now + PATIENCE_US;
                        task.stage = Stage::Connecting(0);
                    }
                    Next::Retire => {
                        if let Some(line) = task.last.and_then(|c| self.lines.get_mut(&c)) {
                            line.retire(now);
                        }
                    }
                    Next::Wait(to) => {
                        task.wakes = at(task.began, to);
                        return false;
                    }
                    Next::End(outcome) => {
                        if let Some(task) = self.tasks.remove(&id)
                            && let Work::Decide(attempt, _) | Work::Resolve(attempt, _) = task.work
                        {
                            let resolved = matches!(task.work, Work::Resolve(..));
                            let outcome = Box::new(outcome);
                            wishes.push(Wish::Over(id, Result::Outcome { attempt, outcome, resolved }));
                        }
                        return false;
                    }
                }
                true
            }
        }
    }

    fn unconnected(&mut self, id: u64, now: u64) -> bool {
        let Some(task) = self.tasks.get_mut(&id) else { return false };
        task.stage = Stage::Idle;
        if let Work::Decide(_, sends) = &mut task.work {
            sends.unconnected(false);
            return true;
        }
        self.hear(id, Err(Lost::NotSent), now);
        true
    }

    fn connected(&mut self, id: u64, connection: u64, now: u64) -> bool {
        let Some(task) = self.tasks.get_mut(&id) else { return false };
        let passed = since(task.began, now);
        task.last = Some(connection);
        let call = match &mut task.work {
            Work::Decide(_, sends) => sends.connected(passed),
            Work::Resolve(_, resolving) => match resolving.next(passed) {
                Next::Ask(call) => call,
                _ => {
                    task.stage = Stage::Idle;
                    return true;
                }
            },
            Work::Ask(call) => *call,
        };
        if let Work::Resolve(..) = task.work {
            // For credits it waits as long as it must.
            task.until = u64::MAX;
        }
        task.stage = Stage::Queued(connection, call);
        if let Some(line) = self.lines.get_mut(&connection) {
            line.queue.push_back(id);
        }
        true
    }

    fn try_send(&mut self, id: u64, connection: u64, call: Call, now: u64) -> bool {
        let Some(task) = self.tasks.get_mut(&id) else { return false };
        let Some(line) = self.lines.get_mut(&connection) else { return false };
        if now >= task.gives_up_at() {
            line.queue.retain(|q| *q != id);
            task.stage = Stage::Idle;
            match &mut task.work {
                Work::Decide(_, sends) => sends.not_sent(),
                _ => self.hear(id, Err(Lost::NotSent), now),
            }
            return true;
        }
        if line.queue.front() != Some(&id) || line.waiting.len() as u64 >= line.credits {
            return false;
        }
        line.queue.pop_front();
        if line.retired.is_some() {
            self.not_sent(id, now);
            return true;
        }
        let request = line.next_id;
        line.next_id += 1;
        call.encode(request, line.seen, &mut line.out);
        (line.acked, line.ack_due) = (line.seen, None);
        line.waiting.insert(request, id);
        let passed = since(task.began, now);
        match &mut task.work {
            Work::Decide(_, sends) => {
                task.stage = Stage::Idle;
                sends.sent(passed, || self.random.wide());
            }
            Work::Resolve(..) => (task.stage, task.until) = (Stage::Sent(connection), now + PATIENCE_US),
            Work::Ask(_) => task.stage = Stage::Sent(connection),
        }
        true
    }

    /// Nobody waits for its answer any more.
    fn forget_call(&mut self, id: u64) {
        for line in self.lines.values_mut() {
            line.waiting.values_mut().filter(|task| **task == id).for_each(|task| *task = 0);
        }
    }
}

impl Task {
    fn wakes_at(&self) -> u64 {
        if self.stage == Stage::Idle { self.wakes } else { self.gives_up_at() }
    }

    /// Until when it waits for a connection, for credits or for the answer to a question.
    fn gives_up_at(&self) -> u64 {
        match &self.work {
            Work::Decide(_, sends) => at(self.began, sends.until()),
            Work::Resolve(_, resolving) => at(self.began, resolving.until()).min(self.until),
            Work::Ask(_) => self.until,
        }
    }
}

impl Line {
    fn retire(&mut self, now: u64) {
        self.retired.get_or_insert(now);
    }

    fn acknowledge(&mut self) {
        self.ack_due = None;
        if self.greeted && self.acked != self.seen {
            let header = wire::RequestHeader { kind: wire::KIND_ACK, acked: self.seen, ..Default::default() };
            wire::encode_request(&header, &mut self.out);
            self.acked = self.seen;
        }
    }
}
