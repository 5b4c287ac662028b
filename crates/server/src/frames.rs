//! From frames to records and questions, and from answers to frames: the border between the wire and the node.

use crate::access::Pass;
use crate::connection::Connection;
use tegata_access::{Asked, Verdict};
use tegata_model::{AccountId, Class, Code, Decision, Key, NamespaceId, Position, State, Timestamp};
use tegata_node::{Answer, Cause, DRILL_MS_MAX, Guard, Inbound, Order, Question, Rank, Waiter, retry_after_ms, spread};
use tegata_wire::{self as wire, DecisionBody, FrameError, RequestHeader};

/// What a frame came to.
pub(crate) enum Taken {
    /// It went into the bundle: an answer will come.
    Waiting,
    /// It is answered here and now, with a code.
    Refused(Code),
    /// It is for the connection itself.
    Connection,
}

/// Takes one whole frame whose checksum holds. Of a command whose rank is `refused` nothing but the header is looked at.
pub(crate) fn take(
    c: &Connection,
    frame: &[u8],
    header: &RequestHeader,
    received: Timestamp,
    refused: u8,
    bundle: &mut Inbound,
) -> Result<Taken, FrameError> {
    if matches!(
        header.kind,
        wire::KIND_HELLO
            | wire::KIND_PING
            | wire::KIND_ACK
            | wire::KIND_GOODBYE
            | wire::KIND_HISTORY
            | wire::KIND_CHALLENGE
    ) {
        return Ok(Taken::Connection);
    }
    if !c.greeted.get() {
        return Ok(Taken::Refused(Code::Unauthenticated));
    }
    if !c.door.serves(header.kind) {
        return Ok(Taken::Refused(Code::OperationUnknown));
    }
    let waiter = Waiter { connection: c.id, request: header.request_id };
    let has_key = wire::is_command(header.kind) || header.kind == wire::KIND_STATUS;
    if has_key && !c.may_use(NamespaceId::new(header.namespace)) {
        return Ok(Taken::Refused(Code::NamespaceNotAllowed));
    }
    if let Some(pass) = c.pass.borrow().as_ref() {
        let asked = Asked::of(header.kind, frame.get(wire::REQUEST_HEADER_BYTES..).unwrap_or_default());
        let verdict = pass.judge(&asked, received);
        if pass.by_account && wire::is_command(header.kind) || !matches!(verdict, Verdict::Permitted) {
            return guard(c, frame, header, received, verdict, bundle);
        }
    }
    if wire::is_command(header.kind) {
        if refused != 0 && refused & Rank::of(u16::from(header.kind)).bit() != 0 {
            wire::record_unlooked(frame, header, received, c.gateway.get(), &mut bundle.unlooked)?;
            bundle.unlooked_waiters.push(waiter);
            c.taken();
            return Ok(Taken::Waiting);
        }
        wire::record_from_frame(frame, header, received, c.gateway.get(), &mut bundle.records)?;
        bundle.waiters.push(waiter);
        c.taken();
        return Ok(Taken::Waiting);
    }
    let Some(question) = question(frame)? else { return Ok(Taken::Refused(Code::OperationUnknown)) };
    bundle.questions.push((waiter, question));
    c.taken();
    Ok(Taken::Waiting)
}

/// A request of which more is to be said than that it is permitted.
#[cold]
fn guard(
    c: &Connection,
    frame: &[u8],
    header: &RequestHeader,
    received: Timestamp,
    verdict: Verdict,
    bundle: &mut Inbound,
) -> Result<Taken, FrameError> {
    if !wire::is_command(header.kind) {
        let Verdict::Denied(code) = verdict else { return Ok(Taken::Refused(Code::OperationNotPermitted)) };
        return Ok(Taken::Refused(code));
    }
    let (guard, record): (_, fn(&_, &_, _, _, &mut _) -> _) = match verdict {
        Verdict::Permitted => (Guard::Free, wire::record_from_frame),
        Verdict::Within(programmes) => (Guard::Within(programmes), wire::record_from_frame),
        Verdict::Denied(code) => (Guard::Denied(code), wire::record_unlooked),
    };
    record(frame, header, received, c.gateway.get(), &mut bundle.guarded)?;
    bundle.guards.push((Waiter { connection: c.id, request: header.request_id }, guard));
    c.taken();
    Ok(Taken::Waiting)
}

fn question(frame: &[u8]) -> Result<Option<Question>, FrameError> {
    Ok(Some(match wire::decode_request(frame)? {
        wire::Request::Status(h) => Question::Status {
            namespace: NamespaceId::new(h.namespace),
            account: account(&h)?,
            key: Key::from_bytes(h.key),
        },
        wire::Request::Balance(h) => Question::Balance(account(&h)?),
        wire::Request::PlanExtend(_, extension) => Question::PlanExtension(extension),
        wire::Request::PlanReinstate(h, operation) => Question::PlanReinstatement { account: account(&h)?, operation },
        wire::Request::Digest(_) => Question::Digest,
        wire::Request::Breakers(_) => Question::Breakers,
        wire::Request::BreakerOrder(_, o) => {
            let cause = Cause::from_u8(o.cause).ok_or(FrameError::Field { name: "cause" })?;
            Question::Order(cause, order(&o)?)
        }
        wire::Request::ListProgrammes(_) => Question::Programmes,
        wire::Request::ListShops(_, after) => Question::Shops(after),
        wire::Request::ServerStatus(_) => Question::Server,
        wire::Request::SnapshotTake(_) => Question::Snapshot,
        _ => return Ok(None),
    }))
}

fn order(o: &wire::BreakerOrder) -> Result<Order, FrameError> {
    match (o.order, o.ms) {
        (1, 0) => Ok(Order::Open),
        (2, 0) => Ok(Order::Close),
        (3, 0) => Ok(Order::Confirm),
        (4, 1..=DRILL_MS_MAX) => Ok(Order::Drill(o.ms)),
        (1..=4, _) => Err(FrameError::Field { name: "ms" }),
        _ => Err(FrameError::Field { name: "order" }),
    }
}

/// A refusal is about one frame, but the frame's key may be decided: the node looks (FIELD, unknown). Nothing where the
/// header names no key that the caller may use.
pub(crate) fn about_its_key(c: &Connection, h: &RequestHeader, code: Code) -> Option<Question> {
    let namespace = NamespaceId::new(h.namespace);
    let is_command = c.greeted.get() && wire::is_command(h.kind) && c.door.serves(h.kind);
    let (account, key) = (AccountId::from_bytes(h.account).ok()?, Key::from_bytes(h.key));
    let question = Question::Refused { kind: h.kind, namespace, account, key, code };
    (is_command && c.may_use(namespace)).then_some(question)
}

fn account(h: &RequestHeader) -> Result<AccountId, FrameError> {
    AccountId::from_bytes(h.account).map_err(|_| FrameError::Field { name: "account" })
}

/// Refusals of one connection that go out together.
pub(crate) type Row<'a> = Option<(&'a Connection, wire::Refusals)>;

/// Puts an answer into the row, if its caller understands that and it says no more than the code; else ends the row.
#[inline]
pub(crate) fn put_together<'a>(row: &mut Row<'a>, c: &'a Connection, a: &Answer, now: Timestamp) -> bool {
    let d = &a.decision;
    let fits = c.together.get() && d.code.class() == Class::NotExecuted && d.position == Position::ZERO && !a.replayed;
    let (code, at) = (u16::from(d.code.number()), d.at.micros());
    if !fits || !row.as_ref().is_some_and(|(of, refusals)| of.id == c.id && refusals.takes(code, at)) {
        end_row(row);
    }
    if fits {
        let mut out = c.out.borrow_mut();
        let (_, refusals) = row.get_or_insert_with(|| (c, wire::Refusals::begin(&mut out, code, at)));
        refusals.push(&mut out, a.waiter.request, retry_of(c, a, now));
    }
    fits
}

/// Nothing else belongs into the row.
pub(crate) fn end_row(row: &mut Row<'_>) {
    if let Some((c, refusals)) = row.take() {
        refusals.end(&mut c.out.borrow_mut());
    }
}

/// Writes the answer to a record.
#[inline]
pub(crate) fn put_answer(c: &Connection, a: &Answer, at: Timestamp, out: &mut Vec<u8>) {
    let position = a.delivery_matters().then_some(a.decision.position.get());
    let timed = if a.replayed { at } else { a.decision.at };
    let number = c.delivery.borrow_mut().answered(position, a.replayed, timed);
    let mut flags = 0;
    if a.replayed {
        flags |= wire::FLAG_REPLAYED;
    }
    if a.flagged {
        flags |= wire::FLAG_FLAGGED;
    }
    let body = DecisionBody::of(&a.decision, State::Final, retry_of(c, a, at));
    wire::encode_decision_answer(out, a.kind, flags, number, a.waiter.request, &body);
}

/// When it may be asked again, in ms; of a rate only its connection knows.
#[inline]
fn retry_of(c: &Connection, a: &Answer, now: Timestamp) -> u32 {
    match a.decision.code {
        Code::RateExceeded => room_after_ms(c.pass.borrow().as_ref(), a.waiter, now),
        _ => a.retry_after_ms,
    }
}

/// When whoever asked too often may ask again, in ms: another time for each.
#[cold]
fn room_after_ms(pass: Option<&Pass>, waiter: Waiter, at: Timestamp) -> u32 {
    spread(pass.map_or(1, |pass| pass.room_after_ms(at)), waiter)
}

/// Refuses one request without asking the node: nothing of it was looked at but its header.
pub(crate) fn put_refusal(c: &Connection, h: &RequestHeader, code: Code, at: Timestamp, out: &mut Vec<u8>) {
    let waiter = Waiter { connection: c.id, request: h.request_id };
    let retry_after_ms = match code {
        Code::RateExceeded => room_after_ms(c.pass.borrow().as_ref(), waiter, at),
        code => retry_after_ms(code, waiter),
    };
    let body = DecisionBody::of(&Decision::refusal(code, at), State::Final, retry_after_ms);
    let flags = if h.kind == 0 || wire::is_command(h.kind) { 0 } else { wire::FLAG_REFUSED };
    wire::encode_decision_answer(out, h.kind, flags, 0, h.request_id, &body);
}
