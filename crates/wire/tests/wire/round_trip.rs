//! Every frame decodes to what was encoded, and a command frame becomes exactly the record of its command.

use crate::requests::{NOON, account, key};
use crate::{answers, encode_any_answer, encode_any_request, requests};
use tegata_model::{AccountId, Code, Command, Envelope, GatewayId, Key, NamespaceId, Timestamp, decode, encode};
use tegata_wire::{Request, *};

#[test]
fn requests_come_back() {
    for (name, _, request) in requests::all() {
        let frame = encode_any_request(&request);
        assert_eq!(check_crc(&frame), Ok(()), "{name}");
        assert!(frame.len() <= FRAME_BYTES_MAX && frame.len().is_multiple_of(8), "{name}");
        assert_eq!(decode_request(&frame), Ok(request), "{name}");
    }
}

#[test]
fn answers_come_back() {
    for (name, _, answer) in answers::all() {
        let frame = encode_any_answer(&answer);
        assert_eq!(check_crc(&frame), Ok(()), "{name}");
        assert_eq!(decode_answer(&frame), Ok(answer), "{name}");
    }
}

#[test]
fn a_command_frame_becomes_the_record_of_its_command() {
    let received = Timestamp::from_micros(NOON);
    for (name, operation) in requests::operations() {
        let header = RequestHeader {
            account: *account("C-1001").bytes(),
            key: *key(4, 0).bytes(),
            namespace: 21,
            ..RequestHeader::default()
        };
        let mut frame = Vec::new();
        encode_operation(&header, &operation, &mut frame);
        let h = request_header(&frame).expect("an encoded header");
        let mut record = vec![0xAA; 5];
        let len = record_from_frame(&frame, &h, received, GatewayId::new(501), &mut record).expect("a good frame");
        let envelope = Envelope {
            received_at: received,
            deadline: received.plus_millis(8_000),
            namespace: NamespaceId::new(21),
            gateway: GatewayId::new(501),
            account: AccountId::from_bytes(header.account).expect("a sample"),
            key: Key::from_bytes(header.key),
        };
        let command = Command { envelope, operation };
        let mut expected = Vec::new();
        encode(&command, &mut expected);
        assert_eq!((&record[..5], &record[5..]), (&[0xAA; 5][..], &expected[..]), "{name}");
        assert_eq!(len, expected.len(), "{name}");
        assert_eq!(decode(&record[5..]), Ok(command), "{name}");
    }
}

#[test]
fn the_deadline_counts_from_the_customers_action() {
    let at = Timestamp::from_micros(NOON);
    let check = |deadline_ms, age_ms, left_ms| {
        let h = RequestHeader { deadline_ms, age_ms, ..RequestHeader::default() };
        assert_eq!(deadline(&h, at), at.plus_millis(left_ms), "{deadline_ms} ms to live, {age_ms} ms old");
    };
    check(0, 0, 8_000);
    check(0, 3_000, 5_000);
    check(5_000, 120, 4_880);
    check(30_000, 0, 30_000);
    check(30_001, 0, 30_000);
    check(u32::MAX, 0, 30_000);
    check(5_000, 5_000, 0);
    check(5_000, u32::MAX, 0);
}

#[test]
fn a_repeat_differs_in_its_header_only() {
    let body = answers::decision(Code::Approved, 1_500, 3_500, 4_711, 0);
    let (mut first, mut again) = (Vec::new(), Vec::new());
    encode_decision_answer(&mut first, 4, 0, 1, 7, &body);
    encode_decision_answer(&mut again, 4, FLAG_REPLAYED, 9, 8, &body);
    assert_eq!(first.len(), ANSWER_HEADER_BYTES + DECISION_BYTES);
    assert_eq!(first[ANSWER_HEADER_BYTES..], again[ANSWER_HEADER_BYTES..]);
    assert_ne!(first[..ANSWER_HEADER_BYTES], again[..ANSWER_HEADER_BYTES]);
}

#[test]
fn a_refusal_of_any_kind_of_request_is_a_decision() {
    let body = answers::decision(Code::Malformed, 0, 0, 0, 0);
    for kind in (64..=77).filter(|k| *k != KIND_GOODBYE).chain([30, 127]) {
        let mut frame = Vec::new();
        encode_decision_answer(&mut frame, kind, FLAG_REFUSED, 0, 1, &body);
        assert_eq!(decode_answer(&frame).map(|a| a.body), Ok(AnswerBody::Decision(body)), "kind {kind}");
    }
}

#[test]
fn lists_are_cut_at_their_bounds_and_still_fit() {
    let lot = LotBody { id: 1, remaining: 1, expires_at: 1, valid_from: 0, programme: 1, paid: 0 };
    let shop = ShopBody { id: [0; 16], programme: 0, life: 0, name: [0; 48] };
    let rules = tegata_model::Programme::with_defaults(tegata_model::ProgrammeId::new(1));
    let mut frames = vec![Vec::new(); 4];
    let many = BalanceBody { lot_count: 250, lots: vec![lot; 250], ..BalanceBody::default() };
    encode_answer(&mut frames[0], KIND_BALANCE, 0, 1, &many);
    encode_answer(&mut frames[1], KIND_LIST_SHOPS, 0, 1, &ShopsBody { next: 1, shops: vec![shop; 1_000] });
    let body = ProgrammesBody { programmes: vec![(0, rules); 1_000] };
    encode_answer(&mut frames[2], KIND_LIST_PROGRAMMES, 0, 1, &body);
    let body = DigestBody { programmes: vec![SumsBody::default(); 1_000], ..DigestBody::default() };
    encode_answer(&mut frames[3], KIND_DIGEST, 0, 1, &body);
    for frame in &frames {
        assert!(frame.len() <= ANSWER_BYTES_MAX);
        let listed = match decode_answer(frame).expect("an encoded answer").body {
            AnswerBody::Balance(b) => (b.lots.len(), b.lot_count as usize),
            AnswerBody::Shops(b) => (b.shops.len(), 1_000),
            AnswerBody::Programmes(b) => (b.programmes.len(), 1_000),
            AnswerBody::Digest(b) => (b.programmes.len(), 1_000),
            other => panic!("not a list: {other:?}"),
        };
        assert!(listed == (LOTS_MAX, 250) || listed == (400, 1_000), "{listed:?}");
    }
    let hello = Hello { version_min: 1, version_max: 1, namespaces: vec![5; 40], ..Hello::default() };
    let mut frame = Vec::new();
    hello.encode(1, &mut frame);
    let Ok(Request::Hello(_, back)) = decode_request(&frame) else { panic!("an encoded hello") };
    assert_eq!(back.namespaces.len(), NAMESPACES_MAX);
}

#[test]
fn close_reasons_have_their_numbers() {
    for n in 0..=u16::from(u8::MAX) {
        assert_eq!(CloseReason::from_u16(n).map(|r| r as u16), (1..=9).contains(&n).then_some(n));
        assert!(CloseReason::from_u16(n).is_none_or(|r| !r.words().is_empty()));
    }
}

#[test]
fn refusals_that_are_none_or_too_many_or_of_another_length_are_no_frame() {
    let one = (7, DecisionBody { code: 110, retry_after_ms: 250, decided_at: NOON, ..DecisionBody::default() });
    let body = |frame: &[u8]| frame[ANSWER_HEADER_BYTES..].to_vec();
    let (mut all, mut frame) = (vec![one; REFUSALS_MAX], Vec::new());
    all[1].1.retry_after_ms = 251;
    encode_refusals(&mut frame, &all);
    assert!(frame.len() <= ANSWER_BYTES_MAX);
    let good = body(&frame);
    assert_eq!(refusals(&good).expect("a frame").collect::<Vec<_>>(), all);
    let refused = |change: &dyn Fn(&mut Vec<u8>)| {
        let mut body = good.clone();
        change(&mut body);
        refusals(&body).err()
    };
    assert!(matches!(refused(&|b| b.truncate(b.len() - 1)), Some(FrameError::Length { .. })));
    assert!(matches!(refused(&|b| b.extend([0; 12])), Some(FrameError::Length { .. })), "one more than it counts");
    assert!(matches!(refused(&|b| b.truncate(16)), Some(FrameError::Length { .. })));
    assert_eq!(refused(&|b| b[4] = 1), Some(FrameError::Reserved));
    let (mut none, mut more) = (good[..16].to_vec(), good.clone());
    none[2..4].fill(0);
    assert!(refusals(&none).is_err(), "nobody is refused");
    more.extend([0; 12]);
    more[2..4].copy_from_slice(&(REFUSALS_MAX as u16 + 1).to_le_bytes());
    assert!(refusals(&more).is_err(), "more than a frame has");
}
