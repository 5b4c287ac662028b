//! What the node answers when the journal has no room, or has failed, while requests are on their way.

use tegata_engine::Engine;
use tegata_model::{
    AccountId, Amount, Code, Command, Envelope, Key, NamespaceId, Operation, Position, Purchase, Settings, ShopId,
    TerminalId, Timestamp, encode, mix,
};
use tegata_node::{Carried, Inbound, Limits, Node, Outbound, Room, Waiter};

const NOW: Timestamp = Timestamp::from_micros(1_700_000_000_000_000);

fn record(n: u64, operation: Operation) -> Vec<u8> {
    let envelope = Envelope {
        received_at: NOW,
        namespace: NamespaceId::new(1),
        account: AccountId::from_text("C1").expect("an account"),
        key: Key::new(NOW, u128::from(mix(n, 1)) << 64 | u128::from(mix(n, 2))),
        ..Envelope::default()
    };
    let mut out = Vec::new();
    encode(&Command { envelope, operation }, &mut out);
    out
}

/// There is no such account: it is declined.
fn debit(n: u64) -> Vec<u8> {
    let purchase = Purchase {
        shop: ShopId::from_text("SHOP1").expect("a shop"),
        terminal: TerminalId::NONE,
        amount: Amount::new(100).expect("an amount"),
        token: Position::ZERO,
        partial: false,
    };
    record(n, Operation::Debit(purchase))
}

fn send(node: &mut Node, records: &[Vec<u8>]) {
    let waiters = (0..records.len() as u64).map(|request| Waiter { connection: 1, request }).collect();
    node.accept(0, Inbound { records: records.concat(), waiters, ..Inbound::default() }, NOW);
}

fn codes(node: &mut Node) -> Vec<(Code, bool)> {
    let out = node.take_outbound(0, Outbound::default()).unwrap_or_default();
    out.answers.iter().map(|a| (a.decision.code, a.replayed)).collect()
}

fn apply(node: &mut Node, position: u64) {
    node.durable(position);
    while node.apply_some(1_000) {}
}

fn seal(node: &mut Node) -> u64 {
    let sealed = node.seal(NOW).expect("something is open");
    sealed.first_position + u64::from(sealed.count) - 1
}

fn node() -> Node {
    let mut node = Node::new(Engine::new(2), Limits::default(), Settings::default(), Carried::default(), NOW);
    let epoch = seal(&mut node);
    apply(&mut node, epoch);
    node
}

#[test]
fn without_room_what_was_not_handed_over_is_refused_and_what_was_is_not() {
    let mut node = node();
    send(&mut node, &[debit(1)]);
    let handed_over = seal(&mut node);
    send(&mut node, &[debit(1), debit(2), record(3, Operation::Fence)]);
    assert_eq!(codes(&mut node), []);
    node.set_room(Room::None);
    let refused = [(Code::DiskFull, false), (Code::DiskFull, false)];
    assert_eq!(codes(&mut node), refused, "of these nothing was taken; the repeat of the first waits for its decision");
    assert!(node.seal(NOW).is_none(), "nothing waits for room");
    apply(&mut node, handed_over);
    assert_eq!(codes(&mut node), [(Code::AccountUnknown, false), (Code::AccountUnknown, true)]);
    send(&mut node, &[debit(1), debit(2)]);
    assert_eq!(codes(&mut node), [(Code::AccountUnknown, true), (Code::DiskFull, false)]);
    node.set_room(Room::Reserve);
    send(&mut node, &[debit(2), record(3, Operation::Fence)]);
    assert_eq!(codes(&mut node), [(Code::DiskFull, false)]);
    node.set_room(Room::Ample);
    send(&mut node, &[debit(2)]);
    let last = seal(&mut node);
    assert_eq!(last, handed_over + 2, "positions follow each other");
    apply(&mut node, last);
    assert_eq!(codes(&mut node), [(Code::Fenced, false), (Code::AccountUnknown, false)]);
}

#[test]
fn at_the_limit_of_decisions_what_ends_something_is_taken_to_the_end_of_the_reserve() {
    let limits = Limits { decisions_max: 32, ..Limits::default() };
    let mut node = Node::new(Engine::new(2), limits, Settings::default(), Carried::default(), NOW);
    let mut decide = |n, fence: bool| {
        send(&mut node, &[if fence { record(n, Operation::Fence) } else { debit(n) }]);
        if node.has_work() {
            let last = seal(&mut node);
            apply(&mut node, last);
        }
        codes(&mut node)[0].0
    };
    for n in 1..=32 {
        assert_eq!(decide(n, false), Code::AccountUnknown, "{n}");
    }
    assert_eq!(
        (decide(33, false), decide(34, true), decide(35, true)),
        (Code::MemoryLimit, Code::Fenced, Code::Fenced)
    );
    assert_eq!((decide(36, true), decide(1, false)), (Code::MemoryLimit, Code::AccountUnknown), "the known stay known");
}

#[test]
fn after_a_failure_what_was_handed_over_is_unknown_and_so_are_its_repeats() {
    let mut node = node();
    send(&mut node, &[debit(1)]);
    let known = seal(&mut node);
    apply(&mut node, known);
    send(&mut node, &[debit(2)]);
    seal(&mut node);
    send(&mut node, &[debit(2), debit(3)]);
    assert_eq!(codes(&mut node), [(Code::AccountUnknown, false)]);
    node.halt();
    assert_eq!(codes(&mut node), [(Code::Unknown, false), (Code::Halted, false), (Code::Unknown, false)]);
    send(&mut node, &[debit(1), debit(2), debit(4)]);
    assert_eq!(codes(&mut node), [(Code::AccountUnknown, true), (Code::Unknown, false), (Code::Halted, false)]);
}

#[test]
fn a_stopping_node_takes_nothing_new_and_answers_what_it_knows() {
    let mut node = node();
    send(&mut node, &[debit(1)]);
    let known = seal(&mut node);
    apply(&mut node, known);
    codes(&mut node);
    node.drain();
    send(&mut node, &[debit(1), debit(2)]);
    assert_eq!(codes(&mut node), [(Code::AccountUnknown, true), (Code::Draining, false)]);
}

#[test]
fn logged_time_never_goes_back() {
    let mut node = node();
    let mut last = NOW.micros();
    for (n, ms) in [(1, 20), (2, 5), (3, -4_000), (4, 21)] {
        send(&mut node, &[debit(n)]);
        let sealed = node.seal(Timestamp::from_micros(NOW.micros() + ms * 1_000)).expect("something is open");
        assert!(sealed.at_us >= last, "{ms} ms");
        last = sealed.at_us;
    }
    assert_eq!(last, NOW.micros() + 21_000);
}

#[test]
fn what_waits_for_its_acknowledgement_is_not_delivered() {
    let mut node = node();
    send(&mut node, &(1..=5).map(debit).collect::<Vec<_>>());
    let last = seal(&mut node);
    apply(&mut node, last);
    codes(&mut node);
    let mut after = |oldest_waiting| {
        let report = tegata_node::Report { taken_over: last, oldest_waiting };
        node.accept(0, Inbound { report: Some(report), ..Inbound::default() }, NOW);
        node.delivered_to()
    };
    assert_eq!((after(Some(3)), after(Some(5)), after(None)), (2, 4, last));
}

#[test]
fn news_of_deliveries_waits_for_room_and_is_not_lost() {
    let mut node = node();
    send(&mut node, &(1..=60_000).map(debit).collect::<Vec<_>>());
    let mut last = 0;
    while node.has_work() {
        last = seal(&mut node);
        apply(&mut node, last);
    }
    codes(&mut node);
    node.set_room(Room::Reserve);
    let all: Vec<u64> = (2..=last).collect();
    for _ in 0..3 {
        let report = tegata_node::Report { taken_over: last, oldest_waiting: None };
        node.accept(0, Inbound { undelivered: all.clone(), report: Some(report), ..Inbound::default() }, NOW);
    }
    assert!(!node.has_work(), "it takes nothing of the reserve");
    assert_eq!(node.delivered_to(), 1, "a restart would call them undelivered");
    node.set_room(Room::Ample);
    let mut records = 0;
    while node.has_work() {
        let sealed = node.seal(NOW).expect("something is open");
        assert!(sealed.body.len() <= Limits::default().batch_bytes_max, "a batch keeps its bound");
        records += sealed.count as usize;
        let end = sealed.first_position + u64::from(sealed.count) - 1;
        apply(&mut node, end);
    }
    assert_eq!(records, all.len().div_ceil(24), "each position once, 24 to a record");
    assert!(node.delivered_to() > last);
}
