//! The server's side of connections: frames in, bundles to the core, answers out. The codec, the bundles and the tracker
//! of deliveries are the server's; what it does around them with sockets and tasks is done here in one step each.

use crate::history::{Place, Scope};
use std::collections::BTreeMap;
use tegata_model::{AccountId, Class, Code, Decision, GatewayId, Key, NamespaceId, State, Timestamp, decode};
use tegata_node::{Cause, Delivery, Inbound, Order, Outbound, Question, Rank, Reply, Report, Waiter};
use tegata_wire::{self as wire, CloseReason, DecisionBody, PlanBody, RequestHeader, Scan};

/// One connection.
#[derive(Debug)]
pub(crate) struct Session {
    /// A port for all operations.
    operator: bool,
    gateway: GatewayId,
    greeted: bool,
    in_flight: u32,
    credits: u32,
    delivery: Delivery,
    unread: Vec<u8>,
    /// The caller's half has ended.
    leaving: bool,
}

/// What a turn of the sessions brings to the world.
#[derive(Debug)]
pub(crate) enum Effect {
    /// Bytes for the caller.
    Send(u64, Vec<u8>),
    /// The connection is over.
    Close(u64),
    /// The node will answer this: its key and what it asks, for a command.
    Taken(Place, Option<(Scope, u64)>),
}

/// The connections of one thread.
#[derive(Debug)]
pub(crate) struct Hub {
    pub(crate) sessions: BTreeMap<u64, Session>,
    pub(crate) bundle: Inbound,
    taken_over: u64,
    last_report: Report,
    credits: u32,
    ack_s: u32,
}

impl Hub {
    pub(crate) fn new(credits: u32, ack_s: u32, applied: u64) -> Self {
        Self {
            sessions: BTreeMap::new(),
            bundle: Inbound::default(),
            taken_over: applied,
            last_report: Report::default(),
            credits,
            ack_s,
        }
    }

    pub(crate) fn open(&mut self, connection: u64, operator: bool) {
        let session = Session {
            operator,
            gateway: GatewayId::NONE,
            greeted: false,
            in_flight: 0,
            credits: self.credits,
            delivery: Delivery::default(),
            unread: Vec::new(),
            leaving: false,
        };
        self.sessions.insert(connection, session);
    }

    /// Requests that its connections may have in flight.
    pub(crate) fn credits_in_all(&self) -> u64 {
        self.sessions.values().map(|s| u64::from(s.credits)).sum()
    }

    /// Bytes came in.
    pub(crate) fn receive(&mut self, connection: u64, bytes: &[u8], at: Timestamp, refused: u8) -> Vec<Effect> {
        let Some(session) = self.sessions.get_mut(&connection) else { return Vec::new() };
        session.unread.extend_from_slice(bytes);
        self.read_on(connection, at, refused)
    }

    /// Takes frames while the caller is below its credits.
    pub(crate) fn read_on(&mut self, connection: u64, at: Timestamp, refused: u8) -> Vec<Effect> {
        let mut effects = Vec::new();
        let mut out = Vec::new();
        let mut over = false;
        let Some(session) = self.sessions.get_mut(&connection) else { return effects };
        let unread = std::mem::take(&mut session.unread);
        let mut rest = &unread[..];
        while session.in_flight < session.credits && !over {
            let Scan::Frame { frame, rest: tail } = wire::scan(rest, wire::FRAME_BYTES_MAX) else { break };
            rest = tail;
            let taken = take_frame(session, connection, frame, at, refused, &mut self.bundle, &mut out, &mut effects);
            if let Err(reason) = taken {
                wire::encode_goodbye(&mut out, reason, 0);
                over = true;
            }
        }
        session.unread = rest.to_vec();
        let left = session.leaving && session.in_flight == 0;
        if !out.is_empty() {
            effects.push(Effect::Send(connection, out));
        }
        if over || left {
            effects.push(Effect::Close(connection));
        }
        effects
    }

    /// The caller ended its half. True when nothing is in flight, and the rest can be closed.
    pub(crate) fn leave(&mut self, connection: u64) -> bool {
        self.sessions.get_mut(&connection).is_some_and(|s| {
            s.leaving = true;
            s.in_flight == 0
        })
    }

    /// The connection is over: what was not acknowledged counts as undelivered.
    pub(crate) fn close(&mut self, connection: u64) {
        if let Some(mut session) = self.sessions.remove(&connection) {
            session.delivery.close(&mut self.bundle.undelivered);
        }
    }

    /// Answers of the core. Returns what is to be sent, by connection.
    pub(crate) fn give(&mut self, bundle: &mut Outbound, at: Timestamp) -> BTreeMap<u64, Vec<u8>> {
        let mut out: BTreeMap<u64, Vec<u8>> = BTreeMap::new();
        for a in &bundle.answers {
            let matters = a.delivery_matters();
            let Some(session) = self.sessions.get_mut(&a.waiter.connection) else {
                if matters && !a.replayed {
                    self.bundle.undelivered.push(a.decision.position.get());
                }
                continue;
            };
            let timed = if a.replayed { at } else { a.decision.at };
            let number = session.delivery.answered(matters.then_some(a.decision.position.get()), a.replayed, timed);
            let flags =
                if a.replayed { wire::FLAG_REPLAYED } else { 0 } | if a.flagged { wire::FLAG_FLAGGED } else { 0 };
            let body = DecisionBody::of(&a.decision, State::Final, a.retry_after_ms);
            let frames = out.entry(a.waiter.connection).or_default();
            wire::encode_decision_answer(frames, a.kind, flags, number, a.waiter.request, &body);
            session.in_flight = session.in_flight.saturating_sub(1);
        }
        for (waiter, reply) in bundle.replies.drain(..) {
            let Some(session) = self.sessions.get_mut(&waiter.connection) else { continue };
            put_reply(session, waiter.request, &reply, at, out.entry(waiter.connection).or_default());
            session.in_flight = session.in_flight.saturating_sub(1);
        }
        self.taken_over = self.taken_over.max(bundle.applied);
        bundle.answers.clear();
        out
    }

    /// Looks at deliveries, and tells the core how far they are. True when it must be told something.
    pub(crate) fn tick(&mut self, at: Timestamp) -> bool {
        let limit = Delivery::limit(at, self.ack_s);
        let mut oldest: Option<u64> = None;
        for session in self.sessions.values_mut() {
            session.delivery.expire(limit, &mut self.bundle.undelivered);
            oldest = [oldest, session.delivery.oldest()].into_iter().flatten().min();
        }
        let report = Report { taken_over: self.taken_over, oldest_waiting: oldest };
        if std::mem::replace(&mut self.last_report, report) != report || !self.bundle.is_empty() {
            self.bundle.report = Some(report);
        }
        !self.bundle.is_empty()
    }

    /// True while an answer waits to be acknowledged.
    pub(crate) fn waits(&self) -> bool {
        let report = Report { taken_over: self.taken_over, oldest_waiting: None };
        self.last_report != report || self.sessions.values().any(|s| s.delivery.waiting() > 0)
    }
}

fn refuse(h: &RequestHeader, code: Code, at: Timestamp, out: &mut Vec<u8>) {
    let flags = if h.kind == 0 || wire::is_command(h.kind) { 0 } else { wire::FLAG_REFUSED };
    let body = DecisionBody::of(&Decision::refusal(code, at), State::Final, 0);
    wire::encode_decision_answer(out, h.kind, flags, 0, h.request_id, &body);
}

fn take_frame(
    s: &mut Session,
    connection: u64,
    frame: &[u8],
    at: Timestamp,
    refused: u8,
    bundle: &mut Inbound,
    out: &mut Vec<u8>,
    effects: &mut Vec<Effect>,
) -> Result<(), CloseReason> {
    wire::check_crc(frame).map_err(|_| CloseReason::BadChecksum)?;
    let h = wire::request_header(frame).map_err(|_| CloseReason::ProtocolError)?;
    s.delivery.acknowledged(h.acked, &mut bundle.delivered).map_err(|_| CloseReason::ProtocolError)?;
    let waiter = Waiter { connection, request: h.request_id };
    let place = Place { connection, request: h.request_id };
    if wire::is_command(h.kind) && s.greeted {
        if refused & Rank::of(u16::from(h.kind)).bit() != 0 {
            wire::record_unlooked(frame, &h, at, s.gateway, &mut bundle.unlooked)
                .map_err(|_| CloseReason::ProtocolError)?;
            bundle.unlooked_waiters.push(waiter);
        } else {
            wire::record_from_frame(frame, &h, at, s.gateway, &mut bundle.records)
                .map_err(|_| CloseReason::ProtocolError)?;
            bundle.waiters.push(waiter);
        }
        s.in_flight += 1;
        let account = AccountId::from_bytes(h.account).map_err(|_| CloseReason::ProtocolError)?;
        let scope = Scope { namespace: NamespaceId::new(h.namespace), account, key: Key::from_bytes(h.key) };
        effects.push(Effect::Taken(place, Some((scope, asked(frame, &h, at)))));
        return Ok(());
    }
    match wire::decode_request(frame).map_err(|_| CloseReason::ProtocolError)? {
        wire::Request::Hello(_, hello) => {
            s.gateway = GatewayId::new(hello.gateway);
            s.greeted = true;
            s.operator = hello.role == 2;
            let answer = wire::HelloAnswer {
                version: u16::from(wire::VERSION),
                frame_bytes_max: wire::FRAME_BYTES_MAX as u32,
                credits: s.credits,
                idle_limit_ms: 600_000,
                server_time: at.micros(),
                ..wire::HelloAnswer::default()
            };
            wire::encode_hello_answer(out, h.request_id, &answer);
        }
        wire::Request::Ping(_) => wire::encode_pong(out, h.request_id, at.micros()),
        wire::Request::Ack(_) => {}
        wire::Request::Goodbye(_) => s.leaving = true,
        request => match question(&request) {
            Some(question) if s.greeted => {
                bundle.questions.push((waiter, question));
                s.in_flight += 1;
                effects.push(Effect::Taken(place, None));
            }
            _ => refuse(&h, Code::OperationUnknown, at, out),
        },
    }
    Ok(())
}

/// What a command asks, as a number; two with the same one are the same.
fn asked(frame: &[u8], h: &RequestHeader, at: Timestamp) -> u64 {
    let mut record = Vec::new();
    let whole = wire::record_from_frame(frame, h, at, GatewayId::NONE, &mut record);
    whole.ok().and_then(|_| decode(&record).ok()).map_or(0, |c| c.fingerprint().0 ^ u64::from(h.kind))
}

fn question(request: &wire::Request) -> Option<Question> {
    let account = |h: &RequestHeader| AccountId::from_bytes(h.account).ok();
    Some(match request {
        wire::Request::Status(h) => Question::Status {
            namespace: NamespaceId::new(h.namespace),
            account: account(h)?,
            key: Key::from_bytes(h.key),
        },
        wire::Request::Balance(h) => Question::Balance(account(h)?),
        wire::Request::PlanExtend(_, extension) => Question::PlanExtension(*extension),
        wire::Request::PlanReinstate(h, operation) => {
            Question::PlanReinstatement { account: account(h)?, operation: *operation }
        }
        wire::Request::Digest(_) => Question::Digest,
        wire::Request::Breakers(_) => Question::Breakers,
        wire::Request::BreakerOrder(_, o) => {
            let order = match o.order {
                1 => Order::Open,
                2 => Order::Close,
                3 => Order::Confirm,
                _ => Order::Drill(o.ms),
            };
            Question::Order(Cause::from_u8(o.cause)?, order)
        }
        wire::Request::ServerStatus(_) => Question::Server,
        wire::Request::SnapshotTake(_) => Question::Snapshot,
        _ => return None,
    })
}

/// Replies whose content no caller here looks at are answered with an empty body of their kind.
fn put_reply(s: &mut Session, request: u64, reply: &Reply, at: Timestamp, out: &mut Vec<u8>) {
    match reply {
        Reply::Status { decided: Some((d, state)), .. } => {
            let position = (d.code.class() == Class::Approved).then_some(d.position.get());
            let number = s.delivery.answered(position, true, at);
            let body = DecisionBody::of(d, *state, 0);
            wire::encode_decision_answer(out, wire::KIND_STATUS, wire::FLAG_REPLAYED, number, request, &body);
        }
        Reply::Status { decided: None, undecided } => {
            let body = DecisionBody::of(&Decision::refusal(*undecided, Timestamp::ZERO), State::Final, 0);
            wire::encode_decision_answer(out, wire::KIND_STATUS, 0, 0, request, &body);
        }
        Reply::Refused { kind, decision } => {
            wire::encode_decision_answer(out, *kind, 0, 0, request, &DecisionBody::of(decision, State::Final, 0));
        }
        Reply::Extension(p) | Reply::Reinstatement(p) => {
            let kind =
                if matches!(reply, Reply::Extension(_)) { wire::KIND_PLAN_EXTEND } else { wire::KIND_PLAN_REINSTATE };
            let plan = PlanBody { code: 0, count: p.count, sum: p.sum, digest: p.digest, position: p.position.get() };
            wire::encode_answer(out, kind, 0, request, &plan);
        }
        Reply::NotNow { kind, code, retry_after_ms } => {
            let body = DecisionBody::of(&Decision::refusal(*code, at), State::Final, *retry_after_ms);
            wire::encode_decision_answer(out, *kind, wire::FLAG_REFUSED, 0, request, &body);
        }
        _ => {
            let body = DecisionBody::of(&Decision::refusal(Code::Approved, at), State::Final, 0);
            wire::encode_decision_answer(out, wire::KIND_BALANCE, wire::FLAG_REFUSED, 0, request, &body);
        }
    }
}
