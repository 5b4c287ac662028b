//! Answers as types, for clients.

use crate::breakers::BreakersBody;
use crate::decision::DecisionBody;
use crate::frame::*;
use crate::history::HistoryBody;
use crate::proof::Challenged;
use crate::refusals::refusals;
use crate::report::*;
use crate::session::{Goodbye, HelloAnswer};
use tegata_model::Reader;

/// An answer's body, decoded.
#[derive(Debug, Clone, PartialEq)]
pub enum AnswerBody {
    /// To a command or a status request.
    Decision(DecisionBody),
    /// To a hello.
    Hello(HelloAnswer),
    /// To a challenge.
    Challenged(Challenged),
    /// To a ping: the server's clock, µs UTC.
    Pong(i64),
    /// The server ends the connection.
    Goodbye(Goodbye),
    /// To a balance request.
    Balance(BalanceBody),
    /// To a plan request.
    Plan(PlanBody),
    /// To a history request; the flag MORE says whether others follow.
    History(HistoryBody),
    /// To a server-status request.
    Server(ServerBody),
    /// To a list of programmes.
    Programmes(ProgrammesBody),
    /// To a list of shops.
    Shops(ShopsBody),
    /// To a snapshot request.
    Snapshot(SnapshotBody),
    /// To a digest request.
    Digest(DigestBody),
    /// To a question about the breakers, or an order to one.
    Breakers(BreakersBody),
    /// To many requests: their numbers, and what each is told.
    Refusals(Vec<(u64, DecisionBody)>),
}

/// An answer frame, decoded.
#[derive(Debug, Clone, PartialEq)]
pub struct Answer {
    /// Its header.
    pub header: AnswerHeader,
    /// Its body.
    pub body: AnswerBody,
}

/// Decodes a whole answer frame. The checksum is the caller's to look at. A refusal of any kind of request is a
/// decision body, also that of a hello, a ping or a goodbye: the flag is looked at before the kind, or 48 bytes of a refusal
/// would be read as something else. Bytes after the fields that are known here are left to later versions.
pub fn decode_answer(frame: &[u8]) -> Result<Answer, FrameError> {
    let (header, body) = answer_header(frame)?;
    let mut r = Reader::new(body);
    let body = match header.kind {
        0..=KIND_COMMAND_MAX | KIND_LEASE | KIND_ADVICE | KIND_STATUS => {
            AnswerBody::Decision(DecisionBody::decode(body)?)
        }
        _ if header.flags & FLAG_REFUSED != 0 => AnswerBody::Decision(DecisionBody::decode(body)?),
        KIND_GOODBYE => AnswerBody::Goodbye(Goodbye::decode(body)?),
        KIND_HELLO => AnswerBody::Hello(HelloAnswer::decode(body)?),
        KIND_CHALLENGE => AnswerBody::Challenged(Challenged::decode(body)?),
        KIND_PING => AnswerBody::Pong(r.i64()?),
        KIND_BALANCE => AnswerBody::Balance(BalanceBody::get(&mut r)?),
        KIND_PLAN_EXTEND | KIND_PLAN_REINSTATE => AnswerBody::Plan(PlanBody::get(&mut r)?),
        KIND_HISTORY => AnswerBody::History(HistoryBody::get(&mut r)?),
        KIND_SERVER_STATUS => AnswerBody::Server(ServerBody::get(&mut r)?),
        KIND_LIST_PROGRAMMES => AnswerBody::Programmes(ProgrammesBody::get(&mut r)?),
        KIND_LIST_SHOPS => AnswerBody::Shops(ShopsBody::get(&mut r)?),
        KIND_SNAPSHOT_TAKE => AnswerBody::Snapshot(SnapshotBody::get(&mut r)?),
        KIND_DIGEST => AnswerBody::Digest(DigestBody::get(&mut r)?),
        KIND_BREAKERS | KIND_BREAKER_ORDER => AnswerBody::Breakers(BreakersBody::get(&mut r)?),
        KIND_REFUSALS => AnswerBody::Refusals(refusals(body)?.collect()),
        got => return Err(FrameError::Kind { got }),
    };
    Ok(Answer { header, body })
}
