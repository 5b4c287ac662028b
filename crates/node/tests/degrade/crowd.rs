//! While the queue stands: who goes first, who is refused, and by what.

use crate::rig::{Rig, crowded, key, ms, purchase};
use tegata_model::{AccountId, Code, Operation};
use tegata_node::{BreakerState, Cause, Limits, Mode, Question, Rank, Reply};

#[test]
fn a_queue_that_stands_becomes_a_crowd_by_itself() {
    let mut rig = Rig::new(Limits { batch_bytes_max: 200, ..Limits::default() });
    let all = [rig.debit(1, 8_000), rig.debit(2, 8_000), rig.debit(3, 8_000)];
    rig.pass(100);
    assert_eq!((rig.node.mode(), rig.codes()), (Mode::Normal, vec![]));
    rig.pass(150);
    let refused = [(all[1], Code::Overloaded), (all[2], Code::Overloaded)];
    assert_eq!((rig.node.mode(), rig.codes()), (Mode::Brownout, refused.to_vec()));
}

#[test]
fn a_queue_that_lately_stood_too_long_is_a_crowd_as_soon_as_it_stands() {
    let mut rig = Rig::new(Limits { batch_bytes_max: 200, ..Limits::default() });
    let gather = |rig: &mut Rig, n: u64| {
        rig.debit(n, 8_000);
        rig.debit(n + 1, 8_000);
        rig.pass(rig.now.get() + 10);
        (rig.node.mode(), rig.node.is_crowded())
    };
    assert_eq!(gather(&mut rig, 1), (Mode::Normal, false), "it never stood too long");
    rig.pass(150);
    assert_eq!(rig.node.mode(), Mode::Brownout);
    logged(&mut rig);
    rig.pass(2_000);
    assert_eq!((rig.node.mode(), rig.node.is_crowded()), (Mode::Normal, false));
    assert_eq!(gather(&mut rig, 11), (Mode::Normal, true));
    logged(&mut rig);
    rig.pass(12_000);
    assert_eq!(gather(&mut rig, 21), (Mode::Normal, false), "that was long ago");
}

#[test]
fn a_queue_that_gathered_while_the_core_stood_still_is_not_its_fault() {
    let mut rig = Rig::new(Limits { batch_bytes_max: 200, ..Limits::default() });
    rig.debit(1, 8_000);
    rig.debit(2, 8_000);
    rig.node.look(ms(10), false);
    // Stopped, or robbed of its processor.
    rig.now.set(210);
    rig.node.look(ms(210), false);
    rig.pass(340);
    assert_eq!(rig.node.mode(), Mode::Normal, "50 ms are for catching up, then the window begins");
    rig.pass(370);
    assert_eq!(rig.node.mode(), Mode::Brownout);
}

#[test]
fn pauses_do_not_keep_a_long_queue_from_being_long() {
    for pause in [10, 30] {
        let mut limits = Limits { batch_bytes_max: 200, ..Limits::default() };
        limits.policies[Cause::JournalLatency as usize].open_at = u64::MAX;
        limits.policies[Cause::QueueDelay as usize].window_us = 1_000_000;
        let mut rig = Rig::new(limits);
        (1..=3).for_each(|n| _ = rig.debit(n, 60_000));
        for n in 1..=1_000 {
            rig.now.set(rig.now.get() + if n % 50 == 0 { pause } else { 10 });
            rig.node.look(ms(rig.now.get()), false);
        }
        assert_ne!(rig.node.breaker(Cause::QueueDelay), BreakerState::Closed, "{pause} ms");
    }
}

#[test]
fn a_core_that_has_its_processor_in_slices_is_not_excused_for_ever() {
    for (runs, pause) in [(100, 0), (60, 40), (50, 50), (30, 70)] {
        let mut rig = Rig::new(Limits { batch_bytes_max: 200, ..Limits::default() });
        rig.debit(1, 60_000);
        rig.node.look(ms(2), false);
        rig.now.set(2 + pause);
        rig.node.look(ms(rig.now.get()), false);
        (2..50).for_each(|n| _ = rig.debit(n, 60_000));
        let mut periods = 0;
        while rig.node.breaker(Cause::QueueDelay) == BreakerState::Closed {
            periods += 1;
            assert!(periods < 10, "{runs} ms of {}: a second, and it is not seen", runs + pause);
            for _ in 0..runs {
                rig.now.set(rig.now.get() + 1);
                rig.node.look(ms(rig.now.get()), false);
                rig.node.pass_time(ms(rig.now.get()));
            }
            rig.now.set(rig.now.get() + pause);
        }
    }
}

/// The requests of the sealed batches, in the order of the log, by the yen that they ask for.
fn logged(rig: &mut Rig) -> Vec<u64> {
    let mut yen = Vec::new();
    while rig.node.has_work() {
        let Some(sealed) = rig.node.seal(ms(rig.now.get())) else { break };
        let last = sealed.first_position + u64::from(sealed.count) - 1;
        let mut rest = sealed.body;
        while !rest.is_empty() {
            let (record, tail) = rest.split_at(tegata_model::record_len(rest).expect("a record"));
            if let Operation::Debit(p) = tegata_model::decode(record).expect("a command").operation {
                yen.push(p.amount.get());
            }
            rest = tail;
        }
        rig.durable(last);
    }
    yen
}

#[test]
fn while_the_queue_stands_gateways_take_turns_and_the_newest_goes_first() {
    let mut rig = crowded(200);
    rig.send_over(9, 99, 8_000, Operation::Debit(purchase(99)));
    for n in 1..=6 {
        rig.send_over(1, n, 8_000, Operation::Debit(purchase(n)));
    }
    for n in [11, 12] {
        rig.send_over(2, n, 8_000, Operation::Debit(purchase(n)));
    }
    assert_eq!(logged(&mut rig), [99, 6, 12, 5, 11, 4, 3, 2, 1]);
}

#[test]
fn while_the_queue_stands_who_waited_too_long_is_refused_but_not_what_settles() {
    let mut rig = crowded(200);
    let known = rig.debit(1, 8_000);
    rig.flush();
    assert_eq!(rig.codes(), [(known, Code::AccountUnknown)]);
    rig.debit(2, 8_000);
    let (long, short) = (rig.debit(3, 8_000), rig.debit(4, 40));
    let fence = rig.send(5, 8_000, Operation::Fence);
    let undo = rig.send(6, 60, Operation::Reversal { original: key(9), remain: 0 });
    let repeat = rig.debit(1, 8_000);
    assert_eq!(rig.codes(), [], "all wait for room");
    rig.pass(10);
    assert_eq!(rig.codes(), [(short, Code::Overloaded)], "a quarter of its time");
    rig.pass(20);
    assert_eq!(rig.codes(), [(long, Code::Overloaded), (repeat, Code::AccountUnknown)]);
    rig.pass(70);
    assert_eq!(rig.codes(), [(undo, Code::Overloaded)], "nobody waits past a deadline");
    logged(&mut rig);
    assert!(rig.codes().contains(&(fence, Code::Fenced)));
    rig.ask(Question::Server);
    let balance = rig.ask(Question::Balance(AccountId::from_text("C1").expect("an account")));
    assert!(matches!(balance, Reply::NotNow { code: Code::Overloaded, retry_after_ms: 250..=375, .. }), "{balance:?}");
}

#[test]
fn where_far_more_comes_than_is_done_whoever_is_passed_over_is_told_at_once() {
    let told_after = |each: u64| {
        let mut rig = crowded(200);
        let mut n = 0;
        // A batch takes one of them; so many come for each.
        for step in 1..=40 {
            for _ in 0..each {
                n += 1;
                rig.debit(n, 8_000);
            }
            rig.flush();
            rig.now.set(step * 3);
            rig.node.look(ms(step * 3), false);
            rig.node.pass_time(ms(step * 3));
        }
        rig.codes();
        let (first, second) = (rig.debit(10_000, 8_000), rig.debit(10_001, 8_000));
        let third = rig.debit(10_002, 8_000);
        rig.now.set(rig.now.get() + 2);
        rig.node.pass_time(ms(rig.now.get()));
        let told: Vec<_> = rig.codes().into_iter().map(|(n, _)| n).collect();
        [first, second, third].map(|n| told.contains(&n))
    };
    assert_eq!(told_after(1), [false; 3], "they wait for their turn");
    assert_eq!(told_after(4), [true; 3], "newer ones would have it");
}

#[test]
fn of_those_who_wait_the_header_is_enough_until_their_turn() {
    let mut rig = crowded(200);
    let decided = rig.debit(1, 8_000);
    rig.flush();
    assert_eq!(rig.codes(), [(decided, Code::AccountUnknown)]);
    assert_eq!(rig.node.unlooked_ranks() & Rank::COMMANDS, Rank::SHEDDABLE);
    let flying = rig.debit(2, 8_000);
    let last = rig.seal();
    let debit = |n: u64| (n, Operation::Debit(purchase(100 + n)));
    // The newest first: the last needs no room, because its amount is damaged; the one before it takes what there is.
    let asked = [debit(1), debit(2), debit(3), debit(4), debit(5)];
    let (mut unlooked, mut numbers) = (Vec::new(), Vec::new());
    for (n, operation) in asked {
        let (mut record, number) = rig.record(0, n, 8_000, operation);
        if n == 5 || n == 3 {
            record[88..96].fill(0);
        }
        unlooked.extend(record);
        numbers.push(number);
    }
    rig.unlooked(unlooked, &numbers);
    let reply = rig.reply();
    assert!(matches!(reply, Some((n, Code::AmountInvalid)) if n == numbers[4]), "{reply:?}");
    rig.pass(20);
    let told = [(numbers[0], Code::AccountUnknown), (numbers[2], Code::Overloaded)];
    let codes = rig.codes();
    assert!(told.iter().all(|t| codes.contains(t)), "a decided key has its decision: {codes:?}");
    assert!(!codes.iter().any(|(n, _)| *n == numbers[1]), "one that is on its way is waited for: {codes:?}");
    rig.durable(last);
    rig.flush();
    let codes = rig.codes();
    for number in [flying, numbers[1], numbers[3]] {
        assert!(codes.contains(&(number, Code::AccountUnknown)), "{number} of {codes:?}");
    }
}

#[test]
fn what_was_not_looked_at_is_looked_at_when_the_queue_no_longer_stands() {
    let mut rig = Rig::new(Limits::default());
    let (good, number) = rig.record(0, 1, 8_000, Operation::Debit(purchase(100)));
    let (mut bad, damaged) = rig.record(0, 2, 8_000, Operation::Debit(purchase(100)));
    bad[88..96].fill(0);
    rig.unlooked([good, bad].concat(), &[number, damaged]);
    assert_eq!(rig.reply(), Some((damaged, Code::AmountInvalid)));
    rig.flush();
    assert_eq!(rig.codes(), [(number, Code::AccountUnknown)]);
}

#[test]
fn in_a_crowd_a_request_whose_deadline_has_passed_is_told_so_by_its_header() {
    let mut rig = crowded(1 << 20);
    rig.now.set(30);
    let (mut late, number) = rig.record(0, 1, -1, Operation::Debit(purchase(100)));
    // Whoever looks at the whole of it says so.
    late[88..96].fill(0);
    let (undo, reversal) = rig.record(0, 2, -1, Operation::Reversal { original: key(1_000), remain: 0 });
    let (good, served) = rig.record(0, 3, 8_000, Operation::Debit(purchase(100)));
    rig.unlooked([late, undo, good].concat(), &[number, reversal, served]);
    assert_eq!(rig.codes(), [(number, Code::DeadlinePassed)]);
    rig.flush();
    let codes = rig.codes();
    assert_eq!(
        codes.iter().map(|c| c.0).collect::<Vec<_>>(),
        [reversal, served],
        "a reversal has no deadline: {codes:?}"
    );
}
