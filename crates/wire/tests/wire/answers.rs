//! One answer of every kind.

use crate::requests::{NOON, account, key, padded, shop};
use crate::{Sample, encode_any_answer};
use tegata_model::{Approval, Code, Programme, ProgrammeId};
use tegata_wire::*;

/// A decision's body.
pub fn decision(code: Code, amount: u64, balance: u64, position: u64, related: u64) -> DecisionBody {
    let (state, retry_after_ms) = (0, 0);
    let decided_at = NOON + 1_000_250;
    DecisionBody {
        code: u16::from(code.number()),
        state,
        retry_after_ms,
        amount,
        balance,
        position,
        decided_at,
        related,
    }
}

/// An answer with its header.
pub fn answer(kind: u8, flags: u16, number: u32, request_id: u64, body: AnswerBody) -> Answer {
    Answer { header: AnswerHeader { kind, flags, number, request_id }, body }
}

fn entry(position: u64, lots: Vec<(u64, u64)>) -> HistoryEntry {
    HistoryEntry {
        kind: 4,
        code: 0,
        flags: FLAG_FLAGGED,
        position,
        at: NOON + 1_000_250,
        received_at: NOON + 1_000_000,
        namespace: 21,
        gateway: 501,
        account: *account("C-1001").bytes(),
        key: *key(4, 1).bytes(),
        shop: *shop("SHOP1").bytes(),
        terminal: *b"T1\0\0\0\0\0\0",
        asked: 1_500,
        amount: 1_500,
        balance: 3_500,
        related: 4_700,
        other: *key(9, 0).bytes(),
        deadline: NOON + 5_880_000,
        lease: 0,
        approved_at: 0,
        lots,
        approval: None,
    }
}

fn correction() -> HistoryEntry {
    let approval = Approval {
        maker: padded("sato"),
        approver: padded("suzuki"),
        reason: padded("paid in cash too"),
        incident: 31,
        plan: 42,
    };
    HistoryEntry { kind: 13, flags: 0, approval: Some(approval), ..entry(4_713, vec![(301_632, 1_500)]) }
}

/// Of 1,500 yen the account covered 1,000; the key had been fenced at 4700.
fn advice() -> HistoryEntry {
    HistoryEntry {
        kind: 25,
        flags: FLAG_FLAGGED | FLAG_BESIDE | FLAG_OVER_LEASE,
        lease: 4_690,
        approved_at: NOON,
        ..entry(4_714, vec![(1_001, 1_000), (u64::MAX, 500)])
    }
}

fn balance() -> BalanceBody {
    let lot = |id, remaining, paid| LotBody {
        id,
        remaining,
        expires_at: NOON + 10_800_000_000,
        valid_from: 0,
        programme: 7,
        paid,
    };
    let lots = vec![lot(1_001, 2_500, 0), lot(1_002, 1_000, 1)];
    BalanceBody { code: 0, life: 0, wallet: 1, balance: 3_500, held: 200, position: 4_712, lot_count: 2, lots }
}

fn hello(code: Code) -> HelloAnswer {
    HelloAnswer {
        version: 1,
        code: u16::from(code.number()),
        frame_bytes_max: FRAME_BYTES_MAX as u32,
        credits: 1_024,
        idle_limit_ms: 600_000,
        server_time: NOON,
        position: 4_710,
        features: 0,
        store_id: padded("store-0001"),
    }
}

fn breaker() -> BreakerBody {
    BreakerBody {
        cause: 2,
        state: 1,
        stage: 0,
        since: NOON,
        level: 31_000,
        open_at: 20_000,
        drill_until: 0,
        entered: [0, 1, 0, 0],
    }
}

fn server() -> ServerBody {
    ServerBody {
        mode: 0,
        uptime_ms: 60_000,
        accepted: 4_716,
        submitted: 4_715,
        durable: 4_714,
        applied: 4_713,
        delivered: 4_712,
        accounts: 1_000,
        decisions: 4_000,
        table_bytes: 1 << 20,
        connections: 3,
        in_flight: 2,
        flush_us: 98,
        version: padded("0.1.0"),
    }
}

/// One answer of every kind, and the ones with flags.
pub fn all() -> Vec<(&'static str, &'static str, Answer)> {
    let d = |kind, flags, number, id, body| answer(kind, flags, number, id, AnswerBody::Decision(body));
    let busy = DecisionBody { retry_after_ms: 250, decided_at: NOON, ..decision(Code::Overloaded, 0, 0, 0, 0) };
    let open = DecisionBody { state: 1, ..decision(Code::Approved, 9_000, 1_000, 4_711, 0) };
    let approved = decision(Code::Approved, 1_500, 3_500, 4_711, 0);
    let suspected = decision(Code::SuspectedDuplicate, 1_500, 3_500, 0, 4_711);
    let flagged = decision(Code::Approved, 1_500, 2_000, 4_720, 4_711);
    let not_here = decision(Code::OperationUnknown, 0, 0, 0, 0);
    let malformed = decision(Code::Malformed, 0, 0, 0, 0);
    let sums = SumsBody { programme: 7, sums: [10_000, 5_000, 300, 9_800, 6_500, 700, 150, 50, 500] };
    let rules = Programme { name: padded("Tabi 2026"), ..Programme::with_defaults(ProgrammeId::new(7)) };
    let shop = ShopBody { id: *shop("SHOP1").bytes(), programme: 7, life: 0, name: padded("Kamo Ryokan") };
    let entries = vec![entry(4_711, vec![(1_001, 1_000), (1_002, 500)]), entry(4_712, vec![])];
    let draining = Goodbye { reason: CloseReason::Draining, retry_after_ms: 1_000 };
    let unknown = BalanceBody { code: 16, position: 4_712, ..BalanceBody::default() };
    let other = |kind, flags, id, body| answer(kind, flags, 0, id, body);
    vec![
        ("debit-approved", "1,500 yen taken, 3,500 left, position 4711", d(4, 0, 1, 4, approved)),
        ("debit-replayed", "the same answer to a repeat: only the header differs", d(4, FLAG_REPLAYED, 2, 5, approved)),
        ("debit-suspected", "nothing taken; the earlier one is at 4711, which is the token", d(4, 0, 3, 6, suspected)),
        ("debit-flagged", "taken, although a like debit was seen at 4711", d(4, FLAG_FLAGGED, 4, 7, flagged)),
        ("debit-overloaded", "nothing was taken; again in 250 ms", d(4, 0, 5, 8, busy)),
        (
            "refusals",
            "three requests are refused together: nothing was taken; again in 250, 300 and 375 ms",
            other(
                KIND_REFUSALS,
                0,
                0,
                AnswerBody::Refusals(
                    [(8, 250), (9, 300), (11, 375)]
                        .map(|(id, retry_after_ms)| (id, DecisionBody { retry_after_ms, ..busy }))
                        .to_vec(),
                ),
            ),
        ),
        ("status-open", "a hold that can still be captured", d(KIND_STATUS, FLAG_REPLAYED, 0, 20, open)),
        (
            "hello",
            "version 1 is spoken from here on",
            other(KIND_HELLO, 0, 1, AnswerBody::Hello(hello(Code::Approved))),
        ),
        (
            "hello-version",
            "no version in common; the connection ends",
            other(KIND_HELLO, 0, 1, AnswerBody::Hello(hello(Code::VersionUnknown))),
        ),
        (
            "challenged",
            "the server's nonce, and its store",
            other(
                KIND_CHALLENGE,
                0,
                32,
                AnswerBody::Challenged(Challenged { nonce: [2; 32], store_id: hello(Code::Approved).store_id }),
            ),
        ),
        ("pong", "the server's clock", other(KIND_PING, 0, 9, AnswerBody::Pong(NOON))),
        ("goodbye", "the server is stopping; come back in 1,000 ms", other(67, 0, 0, AnswerBody::Goodbye(draining))),
        ("balance", "a wallet with two lots", other(KIND_BALANCE, 0, 21, AnswerBody::Balance(balance()))),
        ("balance-unknown", "no such account", other(KIND_BALANCE, 0, 21, AnswerBody::Balance(unknown))),
        (
            "plan",
            "12 lots, 34,000 yen",
            other(
                KIND_PLAN_EXTEND,
                0,
                22,
                AnswerBody::Plan(PlanBody { code: 0, count: 12, sum: 34_000, digest: 42, position: 4_712 }),
            ),
        ),
        (
            "history-more",
            "two entries; others follow",
            other(KIND_HISTORY, FLAG_MORE, 24, AnswerBody::History(HistoryBody { up_to: 4_712, entries })),
        ),
        (
            "history-correction",
            "a reinstatement, and who answers for it",
            other(
                KIND_HISTORY,
                FLAG_MORE,
                24,
                AnswerBody::History(HistoryBody { up_to: 4_713, entries: vec![correction()] }),
            ),
        ),
        (
            "history-advice",
            "stand-in under a key that had been fenced at 4700, over its lease, 500 yen short",
            other(
                KIND_HISTORY,
                FLAG_MORE,
                24,
                AnswerBody::History(HistoryBody { up_to: 4_714, entries: vec![advice()] }),
            ),
        ),
        (
            "history-last",
            "that was all, up to 4720",
            other(KIND_HISTORY, 0, 24, AnswerBody::History(HistoryBody { up_to: 4_720, entries: vec![] })),
        ),
        ("server-status", "how the server is", other(KIND_SERVER_STATUS, 0, 25, AnswerBody::Server(server()))),
        (
            "list-programmes",
            "one programme, active",
            other(KIND_LIST_PROGRAMMES, 0, 26, AnswerBody::Programmes(ProgrammesBody { programmes: vec![(0, rules)] })),
        ),
        (
            "list-shops",
            "one shop; go on with cursor 400",
            other(KIND_LIST_SHOPS, 0, 27, AnswerBody::Shops(ShopsBody { next: 400, shops: vec![shop] })),
        ),
        (
            "snapshot-take",
            "started, as of 4712",
            other(KIND_SNAPSHOT_TAKE, 0, 28, AnswerBody::Snapshot(SnapshotBody { started: true, position: 4_712 })),
        ),
        (
            "digest",
            "one programme",
            other(
                KIND_DIGEST,
                0,
                29,
                AnswerBody::Digest(DigestBody { position: 4_712, digest: 0xD16E57 << 64 | 1, programmes: vec![sums] }),
            ),
        ),
        (
            "breakers",
            "brownout: queue-delay is open since 12:00",
            other(KIND_BREAKERS, 0, 30, AnswerBody::Breakers(BreakersBody { mode: 3, breakers: vec![breaker()] })),
        ),
        (
            "breaker-order",
            "done: what the breakers are now",
            other(
                KIND_BREAKER_ORDER,
                0,
                31,
                AnswerBody::Breakers(BreakersBody {
                    mode: 3,
                    breakers: vec![BreakerBody { state: 3, drill_until: NOON + 5_000_000, ..breaker() }],
                }),
            ),
        ),
        ("digest-refused", "not served on this port", d(KIND_DIGEST, FLAG_REFUSED, 0, 29, not_here)),
        ("hello-refused", "malformed: 17 namespaces", d(KIND_HELLO, FLAG_REFUSED, 0, 1, malformed)),
        ("ping-refused", "malformed: a body where none belongs", d(KIND_PING, FLAG_REFUSED, 0, 9, malformed)),
        ("goodbye-refused", "malformed: a goodbye with a body", d(KIND_GOODBYE, FLAG_REFUSED, 0, 10, malformed)),
    ]
}

/// The frames of [`all`].
pub fn samples() -> Vec<Sample> {
    let sample = |(name, meaning, a): (_, &str, Answer)| Sample {
        name,
        meaning: meaning.to_owned(),
        frame: encode_any_answer(&a),
    };
    all().into_iter().map(sample).collect()
}
