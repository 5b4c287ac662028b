//! Somebody presses a second time for a purchase whose answer nobody acknowledges: whenever that is, it is asked about.

use std::time::{Duration, Instant};
use tegata_client::{Link, new_key};
use tegata_model::{
    Amount, Code, LotKind, Operation, Position, Programme, ProgrammeId, Purchase, ShopId, TerminalId, Timestamp,
};
use tegata_server::{Config, Faults, Running, start};
use tegata_wire::{AnswerBody, RequestHeader, encode_operation};

const PROGRAMME: ProgrammeId = ProgrammeId::new(13);
/// As short as the setting may be.
const ACK_S: u32 = 1;
/// The guard asks by itself for so long.
const IN_FLIGHT: Duration = Duration::from_secs(ACK_S as u64);

fn server(folder: &std::path::Path, faults: &Faults, io_threads: usize) -> Running {
    let any = "127.0.0.1:0".parse().expect("an address");
    let config = Config {
        data: folder.join("data"),
        listen: any,
        http: None,
        allow_volatile: true,
        warm_bytes: 0,
        journal_slow_ms: 60_000,
        queue_wait_ms: 30_000,
        faults: faults.clone(),
        io_threads,
        ack_s: ACK_S,
        ..Config::default()
    };
    let running = start(config).expect("it starts");
    let mut office = Link::open(running.banner().operate, true).expect("a connection");
    // Without a window of its own the guard asks only about what is in doubt.
    let programme = Programme { guard_window_s: 0, ..Programme::with_defaults(PROGRAMME) };
    let shop =
        Operation::Shop { shop: ShopId::from_text("SHOP1").expect("a shop"), programme: PROGRAMME, name: [0; 48] };
    let issue = Operation::Issue {
        programme: PROGRAMME,
        amount: Amount::new(100_000).expect("an amount"),
        expires_at: Timestamp::ZERO,
        valid_from: Timestamp::ZERO,
        stay_end_day: 0,
        kind: LotKind::Promo,
    };
    for (whose, operation) in [("", Operation::Programme(programme)), ("", shop), ("C1", issue)] {
        send(&mut office, whose, operation);
        assert_eq!(told(&mut office), Code::Approved);
    }
    running
}

/// Under a new key, and without an acknowledgement of anything.
fn send(link: &mut Link, whose: &str, operation: Operation) {
    let mut header = RequestHeader { key: *new_key().bytes(), namespace: 1, ..RequestHeader::default() };
    header.account[..whose.len()].copy_from_slice(whose.as_bytes());
    let mut frame = Vec::new();
    encode_operation(&header, &operation, &mut frame);
    link.send(&frame).expect("sent");
}

fn told(link: &mut Link) -> Code {
    let answer = link.receive().expect("an answer");
    let AnswerBody::Decision(d) = answer.body else { panic!("{answer:?}") };
    u8::try_from(d.code).ok().and_then(Code::from_u8).expect("a code")
}

fn debit() -> Operation {
    Operation::Debit(Purchase {
        shop: ShopId::from_text("SHOP1").expect("a shop"),
        terminal: TerminalId::NONE,
        amount: Amount::new(500).expect("an amount"),
        token: Position::ZERO,
        partial: false,
    })
}

#[test]
fn what_nobody_acknowledges_is_asked_about_at_every_moment() {
    pressed_all_the_time(0, Duration::ZERO);
}

#[test]
fn also_where_its_answer_comes_later_than_an_acknowledgement_may() {
    pressed_all_the_time(0, IN_FLIGHT);
}

#[test]
fn also_where_connections_have_threads_of_their_own() {
    pressed_all_the_time(1, Duration::ZERO);
    pressed_all_the_time(1, IN_FLIGHT);
}

/// The journal is held for so long before it takes the payment; from its answer on somebody presses as often as he can.
fn pressed_all_the_time(io_threads: usize, held: Duration) {
    let folder = tempfile::tempdir().expect("a folder");
    let faults = Faults::default();
    let running = server(folder.path(), &faults, io_threads);
    let open = || Link::open(running.banner().listen, false).expect("a connection");
    let (mut till, mut other) = (open(), open());
    faults.stall(!held.is_zero());
    send(&mut till, "C1", debit());
    std::thread::sleep(held);
    faults.stall(false);
    assert_eq!(told(&mut till), Code::Approved);
    let (answered, mut pressed) = (Instant::now(), 0);
    while answered.elapsed() < IN_FLIGHT * 3 / 2 {
        send(&mut other, "C1", debit());
        let code = told(&mut other);
        assert_eq!(code, Code::SuspectedDuplicate, "{pressed} presses, {:?} later", answered.elapsed());
        pressed += 1;
    }
    running.stop().expect("it stops in order");
}
