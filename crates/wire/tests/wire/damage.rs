//! Bytes that no encoder wrote: each is an error or a well-formed frame, never a panic.

use crate::{Random, answers, encode_any_answer, encode_any_request, requests, reseal};
use tegata_model::{GatewayId, Operation, RECORD_HEADER_BYTES, Timestamp, decode, encode};
use tegata_wire::{Request, Scan, *};

/// Gives bytes to every decoder. What decodes must encode to something that decodes to the same.
fn decode_everything(frame: &[u8]) {
    let _ = check_crc(frame);
    if let Ok(request) = decode_request(frame) {
        let again = encode_any_request(&request);
        let back = decode_request(&again).map(normal);
        assert_eq!(back, Ok(normal(request)), "what decodes is well-formed");
    }
    if let Ok(answer) = decode_answer(frame) {
        // Only decisions carry an answer number; the other encoders write none.
        let back = decode_answer(&encode_any_answer(&answer)).map(|a| a.body);
        assert_eq!(back, Ok(answer.body), "what decodes is well-formed");
    }
    let Ok(h) = request_header(frame) else { return };
    let mut record = vec![7; 3];
    match record_from_frame(frame, &h, Timestamp::from_micros(1_000), GatewayId::new(1), &mut record) {
        Ok(len) => {
            assert_eq!(len, record.len() - 3);
            let command = decode(&record[3..]).expect("what goes to the journal decodes");
            let Ok(Request::Command(_, operation)) = decode_request(frame) else {
                panic!("both ways to read a command agree")
            };
            assert_eq!(operation, command.operation);
            let mut canonical = Vec::new();
            encode(&command, &mut canonical);
            let (same, padding) = record[3..].split_at(canonical.len());
            assert_eq!(same[RECORD_HEADER_BYTES..], canonical[RECORD_HEADER_BYTES..]);
            assert!(padding.iter().all(|b| *b == 0), "a longer body is longer by zeros");
        }
        Err(_) => assert_eq!(record, [7; 3], "a refused frame leaves nothing behind"),
    }
}

/// A header's version is the server's to look at and is always written as this one; the header of a hello or a challenge
/// has no meaning but its request id.
fn normal(mut request: Request) -> Request {
    match &mut request {
        Request::Hello(h, _) | Request::Challenge(h, _) => {
            *h = RequestHeader { kind: h.kind, request_id: h.request_id, ..RequestHeader::default() };
        }
        Request::Command(h, _)
        | Request::Ping(h)
        | Request::Ack(h)
        | Request::Goodbye(h)
        | Request::Status(h)
        | Request::Balance(h)
        | Request::PlanExtend(h, _)
        | Request::PlanReinstate(h, _)
        | Request::History(h, _)
        | Request::ServerStatus(h)
        | Request::ListProgrammes(h)
        | Request::ListShops(h, _)
        | Request::SnapshotTake(h)
        | Request::Breakers(h)
        | Request::BreakerOrder(h, _)
        | Request::Digest(h) => h.version = VERSION,
    }
    request
}

fn frames() -> Vec<Vec<u8>> {
    requests::samples().into_iter().chain(answers::samples()).map(|s| s.frame).collect()
}

#[test]
fn every_truncation_is_seen() {
    for frame in frames() {
        for n in 0..frame.len() {
            let cut = &frame[..n];
            assert!(matches!(scan(cut, ANSWER_BYTES_MAX), Scan::Incomplete { .. }), "{n} of {} bytes", frame.len());
            if n >= 8 {
                assert_eq!(check_crc(cut), Err(FrameError::Checksum), "{n} of {} bytes", frame.len());
            } else {
                assert_eq!(check_crc(cut), Err(FrameError::Short));
            }
            decode_everything(cut);
            let mut sealed = cut.to_vec();
            if n >= 8 {
                reseal(&mut sealed);
                decode_everything(&sealed);
            }
        }
    }
}

#[test]
fn every_flipped_bit_is_seen() {
    for frame in frames() {
        for bit in 0..frame.len() * 8 {
            let mut bad = frame.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            let found = scan(&bad, ANSWER_BYTES_MAX);
            let accepted = matches!(found, Scan::Frame { frame, .. } if check_crc(frame).is_ok());
            assert!(!accepted, "bit {bit} of {} bytes", frame.len());
            decode_everything(&bad);
            reseal(&mut bad);
            decode_everything(&bad);
        }
    }
}

#[test]
fn arbitrary_changes_behind_a_good_checksum_break_nothing() {
    let mut random = Random(2);
    let frames = frames();
    let mut commands = 0;
    for _ in 0..200_000 {
        let mut frame = frames[random.below(frames.len())].clone();
        for _ in 0..1 + random.below(4) {
            let at = 8 + random.below(frame.len() - 8);
            frame[at] = if random.below(2) == 0 { random.draw() as u8 } else { 0 };
        }
        if random.below(8) == 0 {
            frame.resize(8 + random.below(600), 0);
        }
        reseal(&mut frame);
        commands += usize::from(matches!(decode_request(&frame), Ok(Request::Command(..))));
        decode_everything(&frame);
    }
    assert!(commands > 10_000, "the changes reach behind the first check: {commands}");
}

#[test]
fn arbitrary_bytes_break_nothing() {
    let mut random = Random(3);
    for _ in 0..200_000 {
        let mut frame: Vec<u8> = (0..8 + random.below(300)).map(|_| random.draw() as u8).collect();
        if frame.len() > 12 && random.below(4) != 0 {
            let kind = [random.below(24) as u8, 64 + random.below(16) as u8][random.below(2)];
            frame[8] = kind | ((random.below(2) as u8) << 7);
            (frame[9], frame[10], frame[11]) = (VERSION, random.below(16) as u8, 0);
        }
        let _ = scan(&frame, FRAME_BYTES_MAX);
        decode_everything(&frame);
        reseal(&mut frame);
        decode_everything(&frame);
    }
}

#[test]
fn what_breaks_a_rule_is_named() {
    let mut frame = Vec::new();
    let header = RequestHeader { account: *b"C-1001\0\0\0\0\0\0\0\0\0\0", ..RequestHeader::default() };
    let pay = Operation::Debit(requests::purchase(1_500, "", 0, false));
    encode_operation(&header, &pay, &mut frame);
    let check = |change: &dyn Fn(&mut Vec<u8>), expected: FrameError| {
        let mut bad = frame.clone();
        change(&mut bad);
        let h = request_header(&bad).unwrap_or_default();
        let got = record_from_frame(&bad, &h, Timestamp::ZERO, GatewayId::NONE, &mut Vec::new());
        assert_eq!(request_header(&bad).and(got), Err(expected));
    };
    check(&|f| f[10] = 1, FrameError::Flags { got: 1 });
    check(&|f| f[11] = 0x80, FrameError::Flags { got: 0x8000 });
    check(&|f| f[68] = 1, FrameError::Reserved);
    check(&|f| f[8] = 0, FrameError::Kind { got: 0 });
    check(&|f| f[8] = 20, FrameError::Kind { got: 20 });
    check(&|f| f[8] = 255, FrameError::Kind { got: 255 });
    check(&|f| f[32] = b' ', FrameError::Field { name: "account" });
    check(&|f| f[72] = 0x80, FrameError::Field { name: "shop" });
    check(&|f| f[88 + 2] = b'x', FrameError::Field { name: "terminal" });
    check(&|f| f[96..104].fill(0), FrameError::Field { name: "amount" });
    check(&|f| f[96..104].fill(0xFF), FrameError::Field { name: "amount" });
    check(&|f| f[112] = 1, FrameError::Field { name: "seconds" });
    check(&|f| f[116] = 2, FrameError::Field { name: "flag" });
    check(&|f| f.extend_from_slice(&[0; 4]), FrameError::Length { got: 124 });
    check(&|f| f.extend_from_slice(&[0, 0, 0, 0, 0, 0, 0, 1]), FrameError::Reserved);
    check(&|f| f.resize(72 + 456, 0), FrameError::Length { got: 528 });
    check(&|f| f.truncate(112), FrameError::Short);
    check(&|f| f.truncate(71), FrameError::Short);
}

#[test]
fn reserved_space_of_every_request_is_checked() {
    for s in requests::samples() {
        let mut longer = s.frame.clone();
        longer.extend_from_slice(&[0; 8]);
        reseal(&mut longer);
        assert!(decode_request(&longer).is_ok(), "{}: zeros are room for later versions", s.name);
        if let Some(last) = longer.last_mut() {
            *last = 1;
        }
        assert_eq!(decode_request(&longer), Err(FrameError::Reserved), "{}", s.name);
    }
    let check = |name: &str, at: usize, value: u8, expected| {
        let mut bad = requests::samples().into_iter().find(|s| s.name == name).expect("a sample").frame;
        bad[at] = value;
        assert_eq!(decode_request(&bad), Err(expected), "{name}");
    };
    check("history", 72 + 12, 3, FrameError::Field { name: "only" });
    check("lease", 72 + 4, 1, FrameError::Reserved);
    check("advice", 72 + 40, 1, FrameError::Field { name: "seconds" });
    check("advice", 72 + 52, 1, FrameError::Reserved);
    check("hello-odd", 72 + 52, 1, FrameError::Reserved);
    check("hello", 72 + 10, 17, FrameError::Field { name: "namespaces" });
    check("hello", 72 + 10, 3, FrameError::Short);
    check("ping", 10, 1, FrameError::Flags { got: 1 });
    check("breaker-order", 72 + 2, 1, FrameError::Reserved);
    check("ping", 8, 81, FrameError::Kind { got: 81 });
    check("ping", 8, 63, FrameError::Kind { got: 63 });
    check("plan-reinstate", 72 + 4, 1, FrameError::Reserved);
}
