//! The codec against its promises: every frame there and back, damage, arbitrary bytes, and the golden vectors.

mod damage;
mod framing;
mod requests;
mod round_trip;
mod vectors;

mod answers;
mod exchange;

use tegata_model::mix;
use tegata_wire::{Answer, AnswerBody, Request, *};

/// One frame with what it says.
pub struct Sample {
    /// Its name in the vectors.
    pub name: &'static str,
    /// What it says, in a line.
    pub meaning: String,
    /// Its bytes.
    pub frame: Vec<u8>,
}

/// A number stream that is the same on every machine.
pub struct Random(pub u64);

impl Random {
    /// The next number.
    pub fn draw(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(1);
        mix(self.0, 0x7E6A)
    }

    /// A number below `n`.
    pub fn below(&mut self, n: usize) -> usize {
        (self.draw() % n as u64) as usize
    }
}

/// Sets length and checksum, so that what is tested is the decoder behind them.
pub fn reseal(frame: &mut [u8]) {
    let length = frame.len() as u32;
    frame[..4].copy_from_slice(&length.to_le_bytes());
    let crc = crc32c::crc32c(&frame[8..]);
    frame[4..8].copy_from_slice(&crc.to_le_bytes());
}

/// The frame of any request.
pub fn encode_any_request(request: &Request) -> Vec<u8> {
    let mut out = Vec::new();
    match request {
        Request::Command(h, operation) | Request::PlanReinstate(h, operation) if is_command(h.kind) => {
            encode_operation(h, operation, &mut out);
        }
        Request::PlanReinstate(h, operation) => encode_plan(h, operation, &mut out),
        Request::PlanExtend(h, extension) => encode_plan(h, &requests::unapproved(*extension), &mut out),
        Request::Hello(h, hello) => hello.encode(h.request_id, &mut out),
        Request::History(h, query) => encode_history(h, query, &mut out),
        Request::BreakerOrder(h, order) => encode_breaker_order(h, order, &mut out),
        Request::ListShops(h, after) => encode_list_shops(h, *after, &mut out),
        Request::Command(h, _)
        | Request::Ping(h)
        | Request::Ack(h)
        | Request::Goodbye(h)
        | Request::Status(h)
        | Request::Balance(h)
        | Request::ServerStatus(h)
        | Request::ListProgrammes(h)
        | Request::SnapshotTake(h)
        | Request::Breakers(h)
        | Request::Digest(h) => encode_request(h, &mut out),
        Request::Challenge(h, challenge) => challenge.encode(h.request_id, &mut out),
    }
    out
}

/// The frame of any answer.
pub fn encode_any_answer(answer: &Answer) -> Vec<u8> {
    let mut out = Vec::new();
    let AnswerHeader { kind, flags, number, request_id: id } = answer.header;
    match &answer.body {
        AnswerBody::Decision(d) => encode_decision_answer(&mut out, kind, flags, number, id, d),
        AnswerBody::Hello(a) => encode_hello_answer(&mut out, id, a),
        AnswerBody::Challenged(a) => encode_challenged(&mut out, id, a),
        AnswerBody::Pong(at) => encode_pong(&mut out, id, *at),
        AnswerBody::Goodbye(g) => encode_goodbye(&mut out, g.reason, g.retry_after_ms),
        AnswerBody::Balance(b) => encode_answer(&mut out, kind, flags, id, b),
        AnswerBody::Plan(b) => encode_answer(&mut out, kind, flags, id, b),
        AnswerBody::History(b) => encode_answer(&mut out, kind, flags, id, b),
        AnswerBody::Server(b) => encode_answer(&mut out, kind, flags, id, b),
        AnswerBody::Programmes(b) => encode_answer(&mut out, kind, flags, id, b),
        AnswerBody::Shops(b) => encode_answer(&mut out, kind, flags, id, b),
        AnswerBody::Snapshot(b) => encode_answer(&mut out, kind, flags, id, b),
        AnswerBody::Digest(b) => encode_answer(&mut out, kind, flags, id, b),
        AnswerBody::Breakers(b) => encode_answer(&mut out, kind, flags, id, b),
        AnswerBody::Refusals(requests) => encode_refusals(&mut out, requests),
    }
    out
}
