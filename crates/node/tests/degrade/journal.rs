//! While the journal is slow, stands still or has no room.

use crate::rig::{Rig, key, ms, purchase};
use std::collections::VecDeque;
use tegata_model::{
    AccountId, Amount, Code, Command, Envelope, Key, NamespaceId, Operation, Programme, ProgrammeId, ShopId, Timestamp,
    encode, mix,
};
use tegata_node::{BreakerState, Cause, Inbound, Limits, Mode, Order, Question, Room, Waiter};

#[test]
fn a_stalled_journal_refuses_new_payments_and_lets_nobody_wait_past_its_deadline() {
    let mut rig = Rig::new(Limits::default());
    let known = rig.debit(1, 5_000);
    rig.flush();
    assert_eq!(rig.codes(), [(known, Code::AccountUnknown)]);

    let flying = [rig.debit(2, 1_000), rig.debit(3, 8_000)];
    let stalled = rig.seal();
    let open = rig.debit(4, 8_000);
    let short = rig.debit(5, 100);
    rig.pass(150);
    assert_eq!(rig.codes(), [(short, Code::DeadlinePassed)], "it never went to the journal");
    rig.pass(400);
    assert_eq!(rig.node.mode(), Mode::ReadOnly);
    assert_eq!(rig.codes(), [(open, Code::JournalSlow)], "what was not handed over is refused as soon as it is seen");
    let again = [rig.debit(1, 500), rig.debit(2, 300), rig.debit(6, 500)];
    assert_eq!(
        rig.codes(),
        [(again[0], Code::AccountUnknown), (again[2], Code::JournalSlow)],
        "a decided key is answered"
    );
    let undo = rig.send(7, 400, Operation::Reversal { original: key(9), remain: 0 });
    assert_eq!(rig.codes(), [], "kept");
    rig.pass(850);
    assert_eq!(rig.codes(), [(again[1], Code::InProgress), (undo, Code::Unknown)]);
    rig.pass(1_030);
    assert_eq!(rig.codes(), [(flying[0], Code::Unknown)]);

    rig.durable(stalled);
    assert_eq!(rig.codes(), [(flying[1], Code::AccountUnknown)], "told once, each");
    assert!(rig.node.engine().rules().degraded_since.is_none(), "the mark waited for the journal too");
    rig.flush();
    assert!(rig.node.engine().rules().degraded_since.is_some(), "the guard asks longer");
    assert_eq!(rig.codes(), [], "the reversal was told already");
    let repeat = rig.send(7, 400, Operation::Reversal { original: key(9), remain: 0 });
    assert_eq!(rig.codes(), [(repeat, Code::Approved)], "and has taken effect");
    rig.debit(8, 500);
    assert_eq!(rig.codes().pop().map(|c| c.1), Some(Code::JournalSlow), "not yet");

    while rig.node.mode() == Mode::ReadOnly {
        rig.pass(rig.now.get() + 10);
    }
    assert!(rig.node.mode() == Mode::Probing && rig.now.get() < 1_700, "{}", rig.now.get());
    let probes: Vec<u64> = (20..60).map(|n| rig.debit(n, 500)).collect();
    let refused = rig.codes();
    assert_eq!(refused.len(), 40 - 16, "the first stage has sixteen");
    assert!(refused.iter().all(|(_, c)| *c == Code::JournalSlow));
    let probes_at = rig.now.get();
    let last = rig.seal();
    rig.pass(probes_at + 260);
    assert_eq!(rig.node.mode(), Mode::ReadOnly, "sixteen probes that nobody flushes are evidence enough");
    rig.durable(last);
    assert_eq!(rig.codes().len(), 16, "{probes:?}");
    rig.pass(4_000);
    assert_eq!(rig.node.mode(), Mode::Normal);
    rig.flush();
    assert!(rig.node.engine().rules().degraded_since.is_none() && rig.node.engine().rules().degraded_last.is_some());
    rig.debit(70, 500);
    rig.flush();
    assert_eq!(rig.codes().len(), 1);
}

#[test]
fn a_journal_that_goes_on_slowly_is_slow_and_one_hiccup_is_not() {
    let mut rig = Rig::new(Limits::default());
    rig.debit(1, 8_000);
    let last = rig.seal();
    rig.pass(300);
    rig.durable(last);
    rig.debit(2, 8_000);
    rig.flush();
    rig.pass(1_000);
    assert_eq!(rig.node.mode(), Mode::Normal);
    for n in 3..6 {
        rig.debit(n, 8_000);
        let last = rig.seal();
        rig.pass(rig.now.get() + 300);
        rig.durable(last);
    }
    assert_eq!(rig.node.mode(), Mode::ReadOnly);
}

#[test]
fn nothing_of_what_was_refused_is_in_the_log() {
    let mut rig = Rig::new(Limits::default());
    rig.debit(1, 8_000);
    rig.seal();
    rig.debit(2, 8_000);
    rig.debit(3, 8_000);
    rig.pass(400);
    assert_eq!(rig.codes().iter().filter(|(_, c)| *c == Code::JournalSlow).count(), 2);
    let left = rig.node.seal(ms(400)).map(|s| (s.count, u16::from_le_bytes([s.body[0], s.body[1]])));
    assert_eq!(left, Some((1, 23)), "only the mark");
}

#[test]
fn what_the_journal_does_not_take_is_told_at_its_deadline_and_opens_the_breaker() {
    let mut rig = Rig::new(Limits::default());
    rig.pass(100);
    (0..1_000).for_each(|n| _ = rig.debit(n, 500));
    let mut told = rig.codes().len();
    rig.pass(500);
    assert!(rig.node.breaker(Cause::JournalLatency).is_tripped());
    rig.pass(1_000);
    told += rig.codes().len();
    assert_eq!(told, 1_000);
}

#[test]
fn who_undoes_while_the_journal_takes_nothing_is_told_at_its_deadline() {
    let mut rig = Rig::new(Limits::default());
    let undo = rig.send(7, 400, Operation::Reversal { original: key(9), remain: 0 });
    rig.pass(390);
    assert_eq!(rig.codes(), []);
    rig.pass(450);
    assert_eq!(rig.codes(), [(undo, Code::Unknown)]);
    rig.pass(800);
    assert_eq!(rig.node.mode(), Mode::ReadOnly);
}

#[test]
fn where_nothing_is_admitted_a_decided_key_is_fenced_at_once() {
    let mut rig = Rig::new(Limits::default());
    rig.debit(1, 8_000);
    rig.flush();
    rig.debit(2, 30_000);
    rig.seal();
    for n in 10..700 {
        rig.send(n, 30_000, Operation::Fence);
    }
    rig.pass(600);
    rig.codes();
    let fence = rig.send(1, 8_000, Operation::Fence);
    assert!(rig.codes().iter().any(|(n, _)| *n == fence));
}

#[test]
fn probes_prove_as_soon_under_steady_traffic_on_a_slow_disk() {
    let us = |n: i64| Timestamp::from_micros(ms(0).micros() + n);
    let mut rig = Rig::new(Limits::default());
    rig.ask(Question::Order(Cause::JournalLatency, Order::Open));
    rig.flush();
    rig.ask(Question::Order(Cause::JournalLatency, Order::Confirm));
    let (mut now, mut n, mut in_flight) = (0, 0, VecDeque::new());
    while rig.node.breaker(Cause::JournalLatency) != BreakerState::Closed {
        now += 1_000;
        assert!(now < 1_300_000, "six stages of a tenth of a second");
        n += 1;
        let envelope = Envelope {
            received_at: us(now),
            deadline: us(now + 5_000_000),
            namespace: NamespaceId::new(1),
            account: AccountId::from_text(&format!("C{n}")).expect("an account"),
            key: Key::new(us(now), u128::from(mix(n, 1)) << 64 | u128::from(mix(n, 2))),
            ..Envelope::default()
        };
        let mut records = Vec::new();
        encode(&Command { envelope, operation: Operation::Debit(purchase(5)) }, &mut records);
        let waiters = vec![Waiter { connection: 1, request: n }];
        rig.node.accept(0, Inbound { records, waiters, ..Inbound::default() }, us(now));
        while let Some((position, _)) = in_flight.pop_front_if(|(_, at)| *at <= now) {
            rig.durable(position);
        }
        rig.node.look(us(now), false);
        rig.node.pass_time(us(now));
        if rig.node.wants_to_seal(in_flight.len())
            && in_flight.len() < 4
            && let Some(sealed) = rig.node.seal(us(now))
        {
            in_flight.push_back((sealed.first_position + u64::from(sealed.count) - 1, now + 10_000));
        }
    }
}

#[test]
fn a_probe_that_was_taken_back_keeps_nobody_waiting() {
    let mut rig = Rig::new(Limits::default());
    rig.ask(Question::Order(Cause::Memory, Order::Open));
    rig.ask(Question::Order(Cause::Memory, Order::Confirm));
    rig.flush();
    let probe = rig.debit(1, 30);
    rig.pass(40);
    rig.flush();
    assert_eq!(rig.codes(), [(probe, Code::DeadlinePassed)]);
    rig.pass(2_000);
    assert_eq!(rig.node.mode(), Mode::Normal);
}

#[test]
fn a_full_disk_and_full_tables_bring_their_modes() {
    let mut rig = Rig::new(Limits { decisions_max: 16, ..Limits::default() });
    for (room, mode) in [(Room::Reserve, Mode::ReadOnly), (Room::None, Mode::Halted), (Room::Reserve, Mode::ReadOnly)] {
        rig.node.set_room(room);
        rig.pass(rig.now.get() + 10);
        assert_eq!(rig.node.mode(), mode);
    }
    rig.node.set_room(Room::Ample);
    rig.pass(rig.now.get() + 3_000);
    assert_eq!(rig.node.mode(), Mode::Normal);
    for n in 0..16 {
        rig.debit(n, 500);
        rig.flush();
    }
    rig.codes();
    rig.pass(rig.now.get() + 10);
    assert_eq!(rig.node.mode(), Mode::ReadOnly);
    rig.debit(17, 500);
    rig.send(18, 500, Operation::Fence);
    rig.flush();
    let codes: Vec<Code> = rig.codes().into_iter().map(|c| c.1).collect();
    assert_eq!(codes, [Code::MemoryLimit, Code::Fenced]);
    rig.pass(rig.now.get() + 10);
    assert_eq!(rig.node.mode(), Mode::Halted, "the reserve is used up");
}

#[test]
fn a_reserve_that_is_used_up_is_told_and_so_is_its_return() {
    let mut rig = Rig::new(Limits::default());
    rig.pass(10);
    let mut modes = Vec::new();
    for room in [Room::Reserve, Room::None, Room::Reserve] {
        rig.node.set_room(room);
        rig.pass(rig.now.get() + 10);
        let changes = rig.node.take_changes();
        modes.extend(changes.iter().map(|c| (c.change.from, c.change.to, c.mode)));
    }
    use BreakerState::{Closed, Open};
    let expected = [(Closed, Open, Mode::ReadOnly), (Open, Open, Mode::Halted), (Open, Open, Mode::ReadOnly)];
    assert_eq!(modes, expected);
}

/// A programme whose doubt lasts a minute, and one coupon of it.
fn with_doubt(rig: &mut Rig) {
    let doubt = Programme { guard_window_s: 0, doubt_window_s: 60, ..Programme::with_defaults(ProgrammeId::new(1)) };
    let shop = ShopId::from_text("SHOP1").expect("a shop");
    let issue = Operation::Issue {
        programme: doubt.id,
        amount: Amount::new(10_000).expect("an amount"),
        expires_at: Timestamp::ZERO,
        valid_from: Timestamp::ZERO,
        stay_end_day: 0,
        kind: tegata_model::LotKind::Promo,
    };
    let shop = Operation::Shop { shop, programme: ProgrammeId::NONE, name: [0; 48] };
    for (n, operation) in (900..).zip([Operation::Programme(doubt), shop, issue]) {
        rig.send(n, 8_000, operation);
        rig.flush();
    }
    assert!(rig.codes().iter().all(|(_, code)| *code == Code::Approved));
}

#[test]
fn a_second_press_after_a_long_stall_or_a_long_full_disk_is_asked_about() {
    for stalls in [true, false] {
        let mut rig = Rig::new(Limits::default());
        with_doubt(&mut rig);
        rig.send(1, 1_000, Operation::Debit(purchase(500)));
        let first = rig.seal();
        if stalls {
            rig.pass(61_000);
            rig.durable(first);
        } else {
            rig.durable(first);
            rig.node.set_room(Room::None);
            rig.pass(61_000);
            rig.node.set_room(Room::Ample);
        }
        // Nobody acknowledged it.
        let undelivered = vec![first];
        rig.node.accept(0, Inbound { undelivered, ..Inbound::default() }, ms(rig.now.get()));
        rig.flush();
        while rig.node.mode() != Mode::Normal {
            rig.pass(rig.now.get() + 10);
            rig.flush();
        }
        assert!(rig.now.get() < 64_000, "{}", rig.now.get());
        rig.codes();
        rig.send(2, 1_000, Operation::Debit(purchase(500)));
        rig.flush();
        assert_eq!(rig.codes().pop().map(|c| c.1), Some(Code::SuspectedDuplicate), "stalls: {stalls}");
    }
}
