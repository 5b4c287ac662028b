//! What the server holds, read over the operator's port: its decisions in log order, its digest and sums; and what an
//! independent replay of its journal gives.

use crate::codes::{again_after, is_refused};
use std::net::SocketAddr;
use std::path::Path;
use std::time::{Duration, Instant};
use tegata_client::{Link, LinkError};
use tegata_journal::{read_log, read_store};
use tegata_node::Cause;
use tegata_wire::{
    Answer, AnswerBody, BreakerBody, BreakerOrder, DigestBody, HistoryEntry, HistoryQuery, KIND_BREAKERS, KIND_DIGEST,
    KIND_SERVER_STATUS, RequestHeader, ServerBody, encode_breaker_order, encode_history, encode_request,
};

/// Orders to a breaker, as `docs/protocol.md` numbers them.
const CONFIRM: u8 = 3;
const DRILL: u8 = 4;
/// How long a server may refuse to answer questions because it is busy.
const BUSY_WITHIN: Duration = Duration::from_secs(30);
/// How long a server may take to greet.
const PATIENCE: Duration = Duration::from_secs(10);

/// Every decision from `from` on, in log order. Returns the position up to which that is all.
pub fn decisions(operate: SocketAddr, from: u64, each: &mut dyn FnMut(&HistoryEntry)) -> Result<u64, LinkError> {
    let mut link = Link::open(operate, true)?;
    let mut out = Vec::new();
    encode_history(&RequestHeader::default(), &HistoryQuery { from, ..HistoryQuery::default() }, &mut out);
    let mut answer = asked(&mut link, &out)?;
    loop {
        match answer.body {
            AnswerBody::History(body) => {
                body.entries.iter().for_each(&mut *each);
                if answer.header.flags & tegata_wire::FLAG_MORE == 0 {
                    return Ok(body.up_to);
                }
            }
            other => return Err(LinkError::Unexpected(Box::new(other))),
        }
        answer = link.receive()?;
    }
}

fn ask(operate: SocketAddr, kind: u8, patience: Duration) -> Result<AnswerBody, LinkError> {
    let mut link = Link::open_within(operate, true, patience)?;
    link.answer_within(patience)?;
    let mut out = Vec::new();
    encode_request(&RequestHeader { kind, ..RequestHeader::default() }, &mut out);
    Ok(asked(&mut link, &out)?.body)
}

/// Asks, and again while the server has more important things to do.
fn asked(link: &mut Link, request: &[u8]) -> Result<Answer, LinkError> {
    let began = Instant::now();
    loop {
        link.send(request)?;
        match link.receive()? {
            Answer { body: AnswerBody::Decision(d), .. } if is_refused(d.code) && began.elapsed() < BUSY_WITHIN => {
                std::thread::sleep(again_after(&d));
            }
            answer => return Ok(answer),
        }
    }
}

/// The server's digest and sums, and as of which position.
pub fn digest(operate: SocketAddr) -> Result<DigestBody, LinkError> {
    match ask(operate, KIND_DIGEST, PATIENCE)? {
        AnswerBody::Digest(d) => Ok(d),
        other => Err(LinkError::Unexpected(Box::new(other))),
    }
}

/// How the server is.
pub fn status(operate: SocketAddr) -> Result<ServerBody, LinkError> {
    status_within(operate, PATIENCE)
}

/// How the server is, if it greets within `patience`.
pub fn status_within(operate: SocketAddr, patience: Duration) -> Result<ServerBody, LinkError> {
    match ask(operate, KIND_SERVER_STATUS, patience)? {
        AnswerBody::Server(s) => Ok(s),
        other => Err(LinkError::Unexpected(Box::new(other))),
    }
}

/// How its breakers are, in the order of the causes, if it greets within `patience`.
pub(crate) fn breakers_within(operate: SocketAddr, patience: Duration) -> Result<Vec<BreakerBody>, LinkError> {
    match ask(operate, KIND_BREAKERS, patience)? {
        AnswerBody::Breakers(b) => Ok(b.breakers),
        other => Err(LinkError::Unexpected(Box::new(other))),
    }
}

/// The digest that a replay of the journal in `data` gives at a position. The server may run meanwhile.
pub fn replayed_digest(data: &Path, up_to: u64) -> Result<u128, String> {
    let text = |e: &dyn core::fmt::Display| format!("the journal does not replay: {e}");
    let (store, shards, _) = read_store(data).map_err(|e| text(&e))?;
    let (mut replay, behind) = tegata_server::oldest_state(data, &store, shards).map_err(|e| text(&e))?;
    read_log(data, behind, Some(up_to), &mut |b| {
        replay.batch(b.first_position, b.count, b.at_us, b.margin, b.body, |_, _, _, _| {})
    })
    .map_err(|e| text(&e))?;
    if replay.engine().applied().get() != up_to {
        return Err(format!("the journal ends at position {}, before {up_to}", replay.engine().applied().get()));
    }
    Ok(replay.engine().digest())
}

/// Says, as an operator does, that the clock is right again.
pub fn confirm_clock(operate: SocketAddr) -> Result<(), LinkError> {
    order(operate, BreakerOrder { cause: Cause::Clock as u8, order: CONFIRM, ms: 0 })
}

/// Opens a breaker for a drill.
pub fn drill(operate: SocketAddr, cause: u8, lasts: Duration) -> Result<(), LinkError> {
    let ms = u32::try_from(lasts.as_millis()).unwrap_or(u32::MAX);
    order(operate, BreakerOrder { cause, order: DRILL, ms })
}

fn order(operate: SocketAddr, order: BreakerOrder) -> Result<(), LinkError> {
    let mut link = Link::open_within(operate, true, PATIENCE)?;
    link.answer_within(PATIENCE)?;
    let mut out = Vec::new();
    encode_breaker_order(&RequestHeader::default(), &order, &mut out);
    link.send(&out)?;
    match link.receive()?.body {
        AnswerBody::Breakers(_) => Ok(()),
        other => Err(LinkError::Unexpected(Box::new(other))),
    }
}
