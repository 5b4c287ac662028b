//! Frames from a socket: requests as a server takes them, answers as a client does, and a connection's whole stream.

use tegata_model::{
    AccountId, Approval, GatewayId, Operation, RECORD_ALIGN, RECORD_HEADER_BYTES, Reader, Timestamp, decode, encode,
};
use tegata_wire::{Answer, AnswerBody, Request, Scan, *};

/// The first frames of the bytes, as far as they are whole.
fn each(bytes: &[u8], max: usize, take: &mut dyn FnMut(&[u8])) {
    let mut rest = bytes;
    loop {
        match scan(rest, max) {
            Scan::Frame { frame, rest: tail } => {
                assert!(frame.len() <= max && frame.len() + tail.len() == rest.len(), "a frame and what follows it");
                take(frame);
                rest = tail;
            }
            Scan::Incomplete { need } => {
                assert!(need > rest.len() && need <= max.max(4), "nobody waits for more than the largest frame");
                return;
            }
            Scan::Bad(_) => return,
        }
    }
}

/// What decodes is encoded to the same bytes from `from` on, but for zeros at the end: room for later versions, or padding.
fn same_frame(frame: &[u8], again: &[u8], from: usize) {
    let both = frame.len().min(again.len());
    assert_eq!(frame[from..both], again[from..both], "what decodes is encoded to the same bytes");
    assert!(frame[both..].iter().chain(&again[both..]).all(|b| *b == 0), "what only one of them has is zero");
}

/// The server's side of a frame.
pub(super) fn requests(bytes: &[u8]) {
    each(bytes, FRAME_BYTES_MAX, &mut |frame| {
        let _ = check_crc(frame);
        let decoded = decode_request(frame);
        if let Ok(request) = &decoded {
            let again = encode_request_of(request);
            match request {
                // Nothing of its header has a meaning but kind and number.
                Request::Hello(..) => same_frame(frame, &again, REQUEST_HEADER_BYTES),
                // Who would approve it is not asked of a plan.
                Request::PlanExtend(..) => {}
                // The version byte is the server's to look at.
                _ => same_frame(frame, &again, 10),
            }
            assert_eq!(
                decode_request(&again).map(|request| encode_request_of(&request)),
                Ok(again),
                "decode ∘ encode is the identity"
            );
        }
        let Ok(h) = request_header(frame) else { return };
        record(frame, &h, decoded.as_ref().ok());
    });
}

/// A command's frame becomes its record, and nothing else does.
fn record(frame: &[u8], h: &RequestHeader, decoded: Option<&Request>) {
    let (at, mut record) = (Timestamp::from_micros(1_000), vec![7; 3]);
    match record_from_frame(frame, h, at, GatewayId::new(1), &mut record) {
        Ok(length) => {
            assert!(length == record.len() - 3 && length.is_multiple_of(RECORD_ALIGN), "a record of whole words");
            let command = decode(&record[3..]).expect("what goes to the journal decodes");
            let Some(Request::Command(_, operation)) = decoded else { panic!("both ways to read a command agree") };
            assert_eq!(*operation, command.operation);
            let mut canonical = Vec::new();
            encode(&command, &mut canonical);
            let (same, room) = record[3..].split_at(canonical.len());
            assert_eq!(same[RECORD_HEADER_BYTES..], canonical[RECORD_HEADER_BYTES..]);
            assert!(room.iter().all(|b| *b == 0), "a longer body is longer by zeros");
        }
        Err(_) => {
            assert_eq!(record, [7; 3], "a refused frame leaves nothing behind");
            // Taking a frame apart leaves the header's account to who uses it; a record does not.
            let command = matches!(decoded, Some(Request::Command(..)));
            assert!(!command || AccountId::from_bytes(h.account).is_err(), "both ways to read a command agree");
        }
    }
}

fn encode_request_of(request: &Request) -> Vec<u8> {
    let mut out = Vec::new();
    match request {
        Request::PlanReinstate(h, operation) => encode_plan(h, operation, &mut out),
        Request::PlanExtend(h, extension) => {
            let nobody = Approval { maker: [0; 16], approver: [0; 16], reason: [0; 48], incident: 0, plan: 0 };
            encode_plan(h, &Operation::Extend { extension: *extension, approval: nobody }, &mut out);
        }
        Request::Command(h, operation) => encode_operation(h, operation, &mut out),
        Request::Challenge(h, challenge) => challenge.encode(h.request_id, &mut out),
        Request::Hello(h, hello) => hello.encode(h.request_id, &mut out),
        Request::History(h, query) => encode_history(h, query, &mut out),
        Request::BreakerOrder(h, order) => encode_breaker_order(h, order, &mut out),
        Request::ListShops(h, after) => encode_list_shops(h, *after, &mut out),
        Request::Ping(h)
        | Request::Ack(h)
        | Request::Goodbye(h)
        | Request::Status(h)
        | Request::Balance(h)
        | Request::ServerStatus(h)
        | Request::ListProgrammes(h)
        | Request::SnapshotTake(h)
        | Request::Breakers(h)
        | Request::Digest(h) => encode_request(h, &mut out),
    }
    out
}

/// The client's side of a frame.
pub(super) fn answers(bytes: &[u8]) {
    each(bytes, ANSWER_BYTES_MAX, &mut |frame| {
        let _ = check_crc(frame);
        if let Ok(answer) = decode_answer(frame) {
            let again = encode_answer_of(&answer);
            // Only decisions carry an answer number; the other encoders write none.
            let back = decode_answer(&again).map(|a| a.body);
            assert_eq!(back.as_ref(), Ok(&answer.body), "decode ∘ encode is the identity");
            let twice = decode_answer(&again).map(|a| encode_answer_of(&a));
            assert_eq!(twice, Ok(again), "the same answer is the same bytes");
        }
    });
}

fn encode_answer_of(answer: &Answer) -> Vec<u8> {
    let mut out = Vec::new();
    let AnswerHeader { kind, flags, number, request_id: id } = answer.header;
    match &answer.body {
        AnswerBody::Decision(d) => encode_decision_answer(&mut out, kind, flags, number, id, d),
        AnswerBody::Hello(a) => encode_hello_answer(&mut out, id, a),
        AnswerBody::Challenged(c) => encode_challenged(&mut out, id, c),
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

/// The same, piece by piece: however the network cuts a stream, the same frames come out of it, and no more is kept than
/// the largest frame. The first two bytes say how it is cut.
pub(super) fn session(bytes: &[u8]) {
    let mut r = Reader::new(bytes);
    let (Ok(step), Ok(turn)) = (r.u8(), r.u8()) else { return };
    let stream = r.rest();
    let mut at_once = Vec::new();
    each(stream, FRAME_BYTES_MAX, &mut |frame| at_once.push(frame.to_vec()));
    let (mut kept, mut pieces, mut at, mut step) = (Vec::new(), 0, 0, usize::from(step) + 1);
    while at < stream.len() {
        let to = (at + step).min(stream.len());
        kept.extend_from_slice(&stream[at..to]);
        (at, step) = (to, step % 1_021 + usize::from(turn) + 1);
        let mut used = 0;
        each(&kept, FRAME_BYTES_MAX, &mut |frame| {
            assert!(
                at_once.get(pieces).is_some_and(|f| f == frame),
                "frame {pieces} is another one when it comes slowly"
            );
            (pieces, used) = (pieces + 1, used + frame.len());
        });
        kept.drain(..used);
        if matches!(scan(&kept, FRAME_BYTES_MAX), Scan::Bad(_)) {
            break;
        }
        assert!(kept.len() < FRAME_BYTES_MAX, "what is kept is less than a frame");
    }
    assert_eq!(pieces, at_once.len(), "every frame comes out");
}
