//! How many may wait, in how much memory, and that each of them is answered once.

use crate::rig::{Rig, crowded, key, ms, purchase};
use tegata_model::{AccountId, Code, Operation, mix};
use tegata_node::{BreakerState, Cause, Inbound, Limits, Order, Question, Room, Waiter};

#[test]
fn a_crowd_takes_no_more_memory_than_the_limit() {
    let mut rig = Rig::new(Limits { batch_bytes_max: 200, waiting_bytes_max: 10_000, ..Limits::default() });
    rig.debit(1, 8_000);
    rig.flush();
    rig.ask(Question::Order(Cause::QueueDelay, Order::Open));
    rig.flush();
    for n in 2..=200 {
        rig.debit(n, 8_000);
    }
    let repeat = rig.debit(1, 8_000);
    let codes = rig.codes();
    assert!(codes.contains(&(repeat, Code::AccountUnknown)), "a decided key gets its decision: {codes:?}");
    let refused = codes.iter().filter(|(_, c)| *c == Code::Overloaded).count();
    assert!((100..190).contains(&refused), "{refused} of 199");
    assert_eq!(rig.node.in_flight(), 199 - refused);
}

#[test]
fn no_more_wait_than_can_be_served_and_the_longest_queue_loses_its_oldest() {
    let mut rig = crowded(1);
    let others: Vec<_> = (1..=4).map(|n| rig.send_over(2, n, 8_000, Operation::Debit(purchase(n)))).collect();
    let fence = rig.send_over(1, 5_000, 8_000, Operation::Fence);
    let charge = rig.send_over(
        1,
        5_001,
        8_000,
        Operation::Charge { wallet: AccountId::from_text("W1").expect("an account"), amount: 0 },
    );
    let flood: Vec<_> = (10..2_010).map(|n| rig.send_over(1, n, 8_000, Operation::Debit(purchase(n)))).collect();
    // A thousand may wait: 50 a millisecond are counted on.
    let codes = rig.codes();
    assert!(codes.iter().all(|(_, code)| *code == Code::Overloaded));
    let told: Vec<_> = codes.into_iter().map(|c| c.0).collect();
    let expected: Vec<_> = [charge].into_iter().chain(flood[..2_000 - 996].iter().copied()).collect();
    assert_eq!(told, expected, "the last rank first, then the oldest, of the flood alone");
    assert_eq!(rig.node.in_flight(), 1_001);
    rig.pass(20);
    let told: Vec<_> = rig.codes().into_iter().map(|c| c.0).collect();
    assert!(others.iter().all(|n| told.contains(n)) && !told.contains(&fence) && told.len() == 1_000);
}

#[test]
fn of_one_bundle_only_as_many_join_as_may_wait_and_what_is_known_is_told() {
    let mut rig = crowded(200);
    let known = rig.debit(1, 8_000);
    rig.flush();
    assert_eq!(rig.codes(), [(known, Code::AccountUnknown)]);
    let flying = rig.debit(2, 8_000);
    let last = rig.seal();
    rig.debit(3, 8_000);
    let (mut records, mut numbers) = (Vec::new(), Vec::new());
    for n in [1, 2].into_iter().chain(10..2_008) {
        let (record, number) = rig.record(1, n, 8_000, Operation::Debit(purchase(100 + n)));
        records.extend(record);
        numbers.push(number);
    }
    rig.bundle(records, numbers.clone());
    let told = rig.codes();
    assert_eq!(told[0], (numbers[0], Code::AccountUnknown), "a decided key gets its decision");
    // A thousand of its gateway may wait; the one that waits for the first in flight is none of them.
    let refused: Vec<_> = told[1..].iter().map(|(n, _)| *n).collect();
    assert!(told[1..].iter().all(|(_, code)| *code == Code::Overloaded));
    assert_eq!(refused, numbers[2..numbers.len() - 1_000], "the oldest, and nobody twice");
    rig.durable(last);
    let codes = rig.codes();
    assert!(codes.contains(&(flying, Code::AccountUnknown)) && codes.contains(&(numbers[1], Code::AccountUnknown)));
}

#[test]
fn a_bundle_pushes_out_who_goes_before_it_first() {
    // A thousand may wait. Of one gateway there are charges and debits, of two others debits, when so many of the first
    // come at once. Of whom then so many go, its own or those of the second: who has more than a third goes first.
    let own = true;
    for (charges, old, second, third, at_once, whose, too_many) in [
        (10, 0, 1, 1, 1_003, own, 15),
        (3, 100, 330, 237, 338, own, 8),
        (0, 0, 590, 100, 338, !own, 28),
        (0, 50, 500, 100, 355, !own, 5),
    ] {
        let mut rig = crowded(1);
        let wallet = AccountId::from_text("W1").expect("an account");
        let charge = Operation::Charge { wallet, amount: 0 };
        let charges: Vec<_> = (0..charges).map(|n| rig.send_over(1, 9_000 + n, 8_000, charge)).collect();
        let debit = |rig: &mut Rig, gateway, n| rig.send_over(gateway, n, 8_000, Operation::Debit(purchase(n)));
        let old: Vec<_> = (0..old).map(|n| debit(&mut rig, 1, 8_000 + n)).collect();
        let second: Vec<_> = (0..second).map(|n| debit(&mut rig, 2, 7_000 + n)).collect();
        for n in 0..third {
            debit(&mut rig, 3, 6_000 + n);
        }
        assert_eq!(rig.codes(), [], "there is room");
        let (mut records, mut new) = (Vec::new(), Vec::new());
        for n in 1..=at_once {
            let (record, number) = rig.record(1, n, 8_000, Operation::Debit(purchase(n)));
            records.extend(record);
            new.push(number);
        }
        rig.bundle(records, new.clone());
        let mut told: Vec<_> = rig.codes().into_iter().map(|c| c.0).collect();
        told.sort_unstable();
        let mut expected: Vec<_> = if whose == own { [charges, old, new].concat() } else { second };
        expected.truncate(too_many);
        expected.sort_unstable();
        assert_eq!(told, expected, "{at_once} came");
    }
}

#[test]
fn everybody_is_answered_exactly_once_however_the_queue_changes() {
    for seed in 0..60u64 {
        let mut rig = Rig::new(Limits { batch_bytes_max: 600, ..Limits::default() });
        let (mut sent, mut answered) = (Vec::new(), Vec::new());
        for step in 0..400 {
            let roll = mix(seed, step);
            match roll % 12 {
                0 => {
                    let order = [Order::Open, Order::Confirm, Order::Close, Order::Drill(5)][(roll >> 8) as usize % 4];
                    let waiter = Waiter { connection: 1, request: 0 };
                    let questions = vec![(waiter, Question::Order(Cause::QueueDelay, order))];
                    rig.node.accept(0, Inbound { questions, ..Inbound::default() }, ms(rig.now.get()));
                }
                1 => rig.flush(),
                2 => rig.pass(rig.now.get() + (roll >> 8) as i64 % 40),
                3 => rig.node.set_room([Room::Ample, Room::Ample, Room::Reserve, Room::None][(roll >> 8) as usize % 4]),
                _ => {
                    let (mut records, mut numbers) = (Vec::new(), Vec::new());
                    for more in 0..1 + (roll >> 50) % 5 {
                        let roll = mix(roll, more);
                        let (n, gateway) = ((roll >> 8) % 200, (roll >> 20) as u32 % 4);
                        let operation = match (roll >> 30) % 4 {
                            0 => Operation::Fence,
                            1 => Operation::Reversal { original: key(n + 1_000), remain: 0 },
                            _ => Operation::Debit(purchase(100 + n)),
                        };
                        let (record, number) = rig.record(gateway, n, 10 + (roll >> 40) as i64 % 500, operation);
                        records.extend(record);
                        numbers.push(number);
                    }
                    sent.extend(&numbers);
                    if (roll >> 60).is_multiple_of(2) {
                        rig.unlooked(records, &numbers)
                    } else {
                        rig.bundle(records, numbers)
                    }
                }
            }
            answered.extend(rig.codes().into_iter().map(|c| c.0));
        }
        if seed % 2 == 0 {
            rig.node.halt();
        }
        rig.node.set_room(Room::Ample);
        for _ in 0..100 {
            rig.flush();
            rig.pass(rig.now.get() + 20);
        }
        answered.extend(rig.codes().into_iter().map(|c| c.0));
        answered.sort_unstable();
        assert_eq!(answered, sent, "seed {seed}");
        assert_eq!(rig.node.is_crowded(), rig.node.breaker(Cause::QueueDelay) != BreakerState::Closed);
    }
}
