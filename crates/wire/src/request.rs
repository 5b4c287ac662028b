//! Requests as types: what a server takes apart after it has looked at the header, and what a client puts together.

use crate::breakers::BreakerOrder;
use crate::command::decode_operation;
use crate::frame::*;
use crate::history::HistoryQuery;
use crate::proof::Challenge;
use crate::session::Hello;
use tegata_model::{Extension, Operation, Reader, Writer};

/// A request frame, decoded.
#[derive(Debug, Clone, PartialEq)]
pub enum Request {
    /// A command.
    Command(RequestHeader, Operation),
    /// Who calls.
    Hello(RequestHeader, Hello),
    /// Before a hello that proves a secret.
    Challenge(RequestHeader, Challenge),
    /// Are you there?
    Ping(RequestHeader),
    /// An acknowledgement alone.
    Ack(RequestHeader),
    /// The caller will send nothing more.
    Goodbye(RequestHeader),
    /// What is decided under the header's key?
    Status(RequestHeader),
    /// What is on the header's account?
    Balance(RequestHeader),
    /// What would this extension cover?
    PlanExtend(RequestHeader, Extension),
    /// What would this reinstatement be?
    PlanReinstate(RequestHeader, Operation),
    /// Decisions in log order.
    History(RequestHeader, HistoryQuery),
    /// How the server is.
    ServerStatus(RequestHeader),
    /// All programmes.
    ListProgrammes(RequestHeader),
    /// Shops from a cursor on.
    ListShops(RequestHeader, u32),
    /// Start a snapshot.
    SnapshotTake(RequestHeader),
    /// Position, digest, sums.
    Digest(RequestHeader),
    /// How the breakers are.
    Breakers(RequestHeader),
    /// Do something to a breaker.
    BreakerOrder(RequestHeader, BreakerOrder),
}

/// Decodes a whole request frame. The checksum is the caller's to look at.
pub fn decode_request(frame: &[u8]) -> Result<Request, FrameError> {
    let h = request_header(frame)?;
    let known = if h.kind == KIND_HELLO { FLAG_TOGETHER } else { 0 };
    if h.flags & !known != 0 {
        return Err(FrameError::Flags { got: h.flags });
    }
    let body = frame.get(REQUEST_HEADER_BYTES..).ok_or(FrameError::Short)?;
    let mut r = Reader::new(body);
    let request = match h.kind {
        kind if is_command(kind) => return Ok(Request::Command(h, decode_operation(frame, h.kind)?)),
        KIND_HELLO => return Ok(Request::Hello(h, Hello::decode(frame, h.flags)?)),
        KIND_CHALLENGE => return Ok(Request::Challenge(h, Challenge::decode(frame)?)),
        KIND_PLAN_EXTEND => match decode_operation(frame, 14)? {
            Operation::Extend { extension, .. } => return Ok(Request::PlanExtend(h, extension)),
            _ => return Err(FrameError::Kind { got: h.kind }),
        },
        KIND_PLAN_REINSTATE => return Ok(Request::PlanReinstate(h, decode_operation(frame, 13)?)),
        KIND_PING => Request::Ping(h),
        KIND_ACK => Request::Ack(h),
        KIND_GOODBYE => Request::Goodbye(h),
        KIND_STATUS => Request::Status(h),
        KIND_BALANCE => Request::Balance(h),
        KIND_HISTORY => Request::History(h, HistoryQuery::get(&mut r)?),
        KIND_SERVER_STATUS => Request::ServerStatus(h),
        KIND_LIST_PROGRAMMES => Request::ListProgrammes(h),
        KIND_LIST_SHOPS => Request::ListShops(h, r.u32()?),
        KIND_SNAPSHOT_TAKE => Request::SnapshotTake(h),
        KIND_DIGEST => Request::Digest(h),
        KIND_BREAKERS => Request::Breakers(h),
        KIND_BREAKER_ORDER => Request::BreakerOrder(h, BreakerOrder::get(&mut r)?),
        got => return Err(FrameError::Kind { got }),
    };
    if r.rest_is_zero() { Ok(request) } else { Err(FrameError::Reserved) }
}

/// Appends a request that is nothing but its header: ping, ack, goodbye, status, balance, lists, snapshot, digest, breakers.
pub fn encode_request(header: &RequestHeader, out: &mut Vec<u8>) {
    let start = out.len();
    header.put(out);
    if header.kind == KIND_LIST_SHOPS {
        Writer::new(out).u64(0);
    }
    seal(out, start);
}

/// Appends a request for shops from a cursor on.
pub fn encode_list_shops(header: &RequestHeader, after: u32, out: &mut Vec<u8>) {
    let start = out.len();
    RequestHeader { kind: KIND_LIST_SHOPS, ..*header }.put(out);
    Writer::new(out).u32(after).u32(0);
    seal(out, start);
}

/// Appends a request for decisions in log order.
pub fn encode_history(header: &RequestHeader, query: &HistoryQuery, out: &mut Vec<u8>) {
    let start = out.len();
    RequestHeader { kind: KIND_HISTORY, ..*header }.put(out);
    query.put(&mut Writer::new(out));
    seal(out, start);
}

/// Appends a request for a plan: `operation` is the extension or the reinstatement that would be applied.
pub fn encode_plan(header: &RequestHeader, operation: &Operation, out: &mut Vec<u8>) {
    let start = out.len();
    crate::command::encode_operation(header, operation, out);
    let kind = if operation.kind() == 14 { KIND_PLAN_EXTEND } else { KIND_PLAN_REINSTATE };
    out[start + 8] = kind;
    seal(out, start);
}
