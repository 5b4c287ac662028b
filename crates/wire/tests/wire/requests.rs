//! One request of every kind, and the values they are made of.

use crate::{Sample, encode_any_request};
use tegata_model::*;
use tegata_wire::{Request, *};

/// 2026-06-01 12:00:00 in Japan.
pub const NOON: i64 = 1_780_282_800_000_000;

/// The nth key of the samples, made `seconds` after noon.
pub fn key(n: u8, seconds: i64) -> Key {
    Key::new(Timestamp::from_micros(NOON + seconds * 1_000_000), u128::from_le_bytes([n; 16]))
}

/// An account's id.
pub fn account(text: &str) -> AccountId {
    AccountId::from_text(text).expect("a sample is printable")
}

/// A shop's id.
pub fn shop(text: &str) -> ShopId {
    ShopId::from_text(text).expect("a sample is printable")
}

/// An amount.
pub fn yen(n: u64) -> Amount {
    Amount::new(n).expect("a sample is in range")
}

/// Text, zero-padded.
pub fn padded<const N: usize>(text: &str) -> [u8; N] {
    let mut out = [0; N];
    out[..text.len()].copy_from_slice(text.as_bytes());
    out
}

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_micros(NOON + seconds * 1_000_000)
}

/// A purchase at SHOP1.
pub fn purchase(amount: u64, terminal: &str, token: u64, partial: bool) -> Purchase {
    let terminal = TerminalId::from_bytes(padded(terminal)).expect("a sample is printable");
    Purchase { shop: shop("SHOP1"), terminal, amount: yen(amount), token: Position::new(token), partial }
}

fn approval(plan: u64) -> Approval {
    let (maker, approver) = (padded("sato"), padded("suzuki"));
    Approval { maker, approver, reason: padded("double debit at SHOP1"), incident: 9, plan }
}

fn extension() -> Extension {
    Extension {
        rule: 3,
        programme: ProgrammeId::new(7),
        expiry_from: at(0),
        expiry_before: at(86_400),
        expires_at: at(30 * 86_400),
        as_of: Position::new(4_711),
        include_expired: true,
    }
}

/// An extension with nobody's approval, which is how a plan is asked for.
pub fn unapproved(extension: Extension) -> Operation {
    Operation::Extend { extension, approval: nobody() }
}

fn nobody() -> Approval {
    Approval { maker: [0; 16], approver: [0; 16], reason: [0; 48], incident: 0, plan: 0 }
}

fn reinstate(approval: Approval) -> Operation {
    let (programme, expires_at) = (ProgrammeId::new(7), at(30 * 86_400));
    Operation::Reinstate { programme, amount: yen(1_500), expires_at, corrects: key(4, 0), approval }
}

/// One operation of each kind, in their order; a programme with and without stand-in.
pub fn operations() -> Vec<(&'static str, Operation)> {
    let programme = ProgrammeId::new(7);
    let (promo, paid) = (LotKind::Promo, LotKind::Paid);
    let (amount, original) = (yen(5_000), key(4, 0));
    let rules = Programme { name: padded("Tabi 2026"), ..Programme::with_defaults(programme) };
    let (expires_at, valid_from) = (at(86_400), at(0));
    let allowance = Allowance::with_defaults(300_000);
    vec![
        ("issue", Operation::Issue { programme, amount, expires_at, valid_from, stay_end_day: 20_605, kind: promo }),
        ("load", Operation::Load { programme, amount, expires_at: Timestamp::ZERO, kind: paid }),
        ("charge", Operation::Charge { wallet: account("W-0001"), amount: 0 }),
        ("debit", Operation::Debit(purchase(1_500, "", 0, false))),
        ("debit-confirmed", Operation::DebitConfirmed { purchase: purchase(1_500, "T1", 0, false), seconds: 30 }),
        ("hold", Operation::Hold { purchase: purchase(9_000, "T1", 0, true), seconds: 600 }),
        ("capture", Operation::Capture { original, amount: 8_000 }),
        ("void", Operation::Void { original }),
        ("confirm", Operation::Confirm { original }),
        ("reversal", Operation::Reversal { original, remain: 0 }),
        ("refund", Operation::Refund { original, amount: yen(500) }),
        ("fence", Operation::Fence),
        ("reinstate", reinstate(approval(0x1122_3344_5566_7788))),
        ("extend", Operation::Extend { extension: extension(), approval: approval(42) }),
        ("account-life", Operation::AccountLife(Life::Suspended)),
        ("shop-life", Operation::ShopLife { shop: shop("SHOP1"), life: Life::Closed }),
        ("programme-life", Operation::ProgrammeLife { programme, life: Life::Suspended }),
        ("programme", Operation::Programme(rules)),
        ("shop", Operation::Shop { shop: shop("SHOP1"), programme, name: padded("Kamo Ryokan") }),
        ("programme-stand-in", Operation::Programme(Programme { stand_in: allowance, ..rules })),
        ("lease", Operation::Lease { programme, holder: [0xA5; 16], allowance }),
        (
            "advice",
            Operation::Advice(Advice {
                purchase: purchase(1_500, "T1", 0, false),
                programme,
                lease: Position::new(4_700),
                approved_at: at(30),
            }),
        ),
    ]
}

/// The header of the sample with a number.
fn header(kind: u8, n: u64) -> RequestHeader {
    RequestHeader {
        kind,
        version: VERSION,
        acked: 3,
        request_id: n,
        deadline_ms: 5_000,
        age_ms: 120,
        account: *account("C-1001").bytes(),
        key: *key(n as u8, 1).bytes(),
        namespace: 21,
        ..RequestHeader::default()
    }
}

fn question(kind: u8, n: u64) -> RequestHeader {
    RequestHeader { kind, version: VERSION, request_id: n, ..RequestHeader::default() }
}

fn hello(namespaces: Vec<u32>) -> Hello {
    Hello {
        version_min: 1,
        version_max: 1,
        gateway: 501,
        role: 1,
        auth_method: 0,
        together: false,
        credits: 256,
        auth: [0; 32],
        namespaces,
    }
}

/// One request of every kind, as a client means it.
pub fn all() -> Vec<(&'static str, String, Request)> {
    let mut list = Vec::new();
    for (name, operation) in operations() {
        let kind = operation.kind() as u8;
        list.push((name, format!("kind {kind}"), Request::Command(header(kind, u64::from(kind)), operation)));
    }
    let query = HistoryQuery {
        from: 17,
        limit: 100,
        only: ONLY_FOR_OFFICE,
        account: *account("C-1001").bytes(),
        shop: *shop("SHOP1").bytes(),
        from_us: NOON,
        before_us: NOON + 3_600_000_000,
        key: *key(4, 0).bytes(),
    };
    let ack = RequestHeader { acked: 12, ..question(KIND_ACK, 0) };
    let reinstate = reinstate(nobody());
    let mut add = |name, meaning: &str, request| list.push((name, meaning.to_owned(), request));
    add(
        "debit-again",
        "a second purchase is meant: the same key with the token 4711",
        Request::Command(
            RequestHeader { request_id: 2, ..header(4, 4) },
            Operation::Debit(purchase(1_500, "", 4_711, false)),
        ),
    );
    add("hello", "gateway 501, two namespaces", Request::Hello(question(KIND_HELLO, 1), hello(vec![21, 22])));
    add("hello-odd", "one namespace, padded to 8", Request::Hello(question(KIND_HELLO, 1), hello(vec![21])));
    let together = RequestHeader { flags: FLAG_TOGETHER, ..question(KIND_HELLO, 1) };
    add(
        "hello-together",
        "refusals may come together",
        Request::Hello(together, Hello { together: true, ..hello(vec![21, 22]) }),
    );
    add("hello-any", "no namespace named", Request::Hello(question(KIND_HELLO, 1), hello(vec![])));
    let credential = CredentialId::from_text("till-501").expect("an id");
    add(
        "challenge",
        "the secret of till-501 will be proven",
        Request::Challenge(question(KIND_CHALLENGE, 32), Challenge { credential, nonce: [1; 32] }),
    );
    add("ping", "answered with the server's clock", Request::Ping(question(KIND_PING, 9)));
    add("ack", "every answer up to number 12 was seen; nothing answers this", Request::Ack(ack));
    add("goodbye", "nothing more will be sent", Request::Goodbye(question(KIND_GOODBYE, 0)));
    add("status", "what is decided under a key", Request::Status(header(KIND_STATUS, 20)));
    add("balance", "what is on an account", Request::Balance(header(KIND_BALANCE, 21)));
    add("plan-extend", "what an extension would cover", Request::PlanExtend(header(70, 22), extension()));
    add("plan-reinstate", "what a reinstatement would be", Request::PlanReinstate(header(71, 23), reinstate));
    add("history", "decisions, filtered by everything", Request::History(question(KIND_HISTORY, 24), query));
    add("server-status", "how the server is", Request::ServerStatus(question(KIND_SERVER_STATUS, 25)));
    add("list-programmes", "all programmes", Request::ListProgrammes(question(KIND_LIST_PROGRAMMES, 26)));
    add("list-shops", "shops from cursor 200 on", Request::ListShops(question(KIND_LIST_SHOPS, 27), 200));
    add("snapshot-take", "start a snapshot", Request::SnapshotTake(question(KIND_SNAPSHOT_TAKE, 28)));
    add("digest", "position, digest, sums", Request::Digest(question(KIND_DIGEST, 29)));
    add("breakers", "how the breakers are", Request::Breakers(question(KIND_BREAKERS, 30)));
    let drill = BreakerOrder { cause: 2, order: 4, ms: 5_000 };
    add(
        "breaker-order",
        "queue-delay: a drill of 5,000 ms",
        Request::BreakerOrder(question(KIND_BREAKER_ORDER, 31), drill),
    );
    list
}

/// The frames of [`all`].
pub fn samples() -> Vec<Sample> {
    let sample = |(name, meaning, request): (_, String, Request)| {
        let meaning = meaning.replace("kind ", "command of kind ");
        Sample { name, meaning, frame: encode_any_request(&request) }
    };
    all().into_iter().map(sample).collect()
}
