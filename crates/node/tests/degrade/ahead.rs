//! What is admitted ahead of the engine, and what is applied of it.

use crate::rig::{Log, Rig, crowded, ms, seal_into, started_from};
use std::cell::Cell;
use tegata_model::Code;
use tegata_node::Limits;

#[test]
fn what_is_admitted_ahead_of_the_engine_is_bounded_in_ordinary_times_too() {
    let mut rig = Rig::new(Limits::default());
    for n in 1..=2_000 {
        rig.debit(n, 8_000);
    }
    let mut sealed = Vec::new();
    while rig.node.has_work() {
        let (count, last) =
            rig.node.seal(ms(0)).map_or((0, 0), |s| (s.count, s.first_position + u64::from(s.count) - 1));
        sealed.push(count);
        rig.durable(last);
        rig.pass(rig.now.get() + 10);
    }
    assert_eq!((sealed[0], sealed.iter().sum::<u32>()), (512, 2_000), "the others wait, and can still be refused");
    assert_eq!(rig.codes().len(), 2_000);
}

#[test]
fn what_is_admitted_ahead_of_the_engine_is_bounded_while_the_queue_stands() {
    let mut rig = crowded(1 << 20);
    for n in 1..=2_000 {
        rig.debit(n, 8_000);
    }
    let sealed = rig.node.seal(ms(0)).map(|s| s.count);
    assert_eq!(sealed, Some(512), "what is in a batch cannot be refused any more");
    rig.pass(40);
    assert_eq!(rig.codes().len(), 2_000 - 512);
}

#[test]
fn where_far_more_comes_than_is_done_less_is_admitted_ahead_of_the_engine() {
    let admitted_at_once = |each: u64| {
        let mut rig = crowded(1 << 20);
        let mut n = 0;
        // 400 are applied in 2 ms; `each` come.
        for step in 1..=40 {
            rig.now.set(step * 2);
            for _ in 0..each {
                n += 1;
                rig.debit(n, 8_000);
            }
            let last = rig.seal();
            rig.node.durable(last);
            rig.node.apply_some(400);
            rig.node.look(ms(step * 2), false);
            rig.node.pass_time(ms(step * 2));
        }
        while rig.node.has_work() {
            rig.flush();
        }
        for more in 0..4_000 {
            rig.debit(n + 1 + more, 8_000);
        }
        rig.node.seal(ms(rig.now.get())).map_or(0, |s| s.count)
    };
    assert_eq!(admitted_at_once(400), 2_000, "10 ms at 200 a millisecond");
    let fewer = admitted_at_once(1_600);
    assert!((513..=800).contains(&fewer), "4 ms, and no flush took any time: {fewer}");
}

#[test]
fn when_the_journal_fails_those_who_wait_to_be_admitted_are_told_so() {
    let mut rig = Rig::new(Limits::default());
    for n in 1..=2_000 {
        rig.debit(n, 8_000);
    }
    rig.seal();
    rig.node.halt();
    let codes = rig.codes();
    let told = |code| codes.iter().filter(|c| c.1 == code).count();
    assert_eq!((told(Code::Unknown), told(Code::Halted)), (512, 2_000 - 512));
}

#[test]
fn what_there_is_time_for_is_applied_in_however_many_batches_it_lies() {
    let mut rig = Rig::new(Limits::default());
    let mut last = 0;
    for batch in 0..3 {
        for n in 1..=3 {
            rig.debit(3 * batch + n, 8_000);
        }
        last = rig.seal();
    }
    rig.node.durable(last);
    let mut applied = |count| {
        let before = rig.node.engine().applied().get();
        let any = rig.node.apply_some(count);
        (any, rig.node.engine().applied().get() - before)
    };
    assert_eq!(applied(7), (true, 7), "a queue of small batches stays if each takes a turn");
    assert_eq!([applied(0), applied(1_000), applied(1_000)], [(false, 0), (true, 2), (false, 0)]);
}

#[test]
fn what_a_start_replayed_is_nobodys_load() {
    let mut log = Log::new();
    let mut first = Rig { node: started_from(&log), now: Cell::new(0), next: 0 };
    for n in 1..=400 {
        first.debit(n, 8_000);
    }
    seal_into(&mut log, &mut first.node);
    let mut rig = Rig { node: started_from(&log), now: Cell::new(20), next: 0 };
    rig.flush();
    for n in 401..=440 {
        rig.debit(n, 8_000);
    }
    let last = rig.node.seal(ms(21)).map_or(0, |s| s.first_position + u64::from(s.count) - 1);
    rig.node.durable(last);
    rig.node.apply_some(4);
    rig.node.look(ms(23), false);
    assert!(rig.node.pressure() > 15, "forty came for a few that were applied: {}", rig.node.pressure());
}
