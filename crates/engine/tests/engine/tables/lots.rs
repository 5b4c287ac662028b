//! Lots: the order of consumption, 32 allocations, expiry at the exact instant, partial approval, what overflows.

use crate::core::{Core, DAY, START, account, after, debit, hold, issue, load, purchase, record, shop, yen};
use tegata_engine::end_of_day;
use tegata_model::{
    Amount, Code, Command, Life, LotKind, Mark, Operation, Position, ProgrammeId, Purchase, RecordError, Timestamp,
};

use LotKind::{Paid, Promo};

#[test]
fn lots_are_taken_in_a_total_order() {
    // Two lots of ¥100 (programme, expiry in days, kind); the first of each row is taken first.
    type Lot = (u32, u64, LotKind);
    let rows: [(Lot, Lot, &str); 7] = [
        ((2, 9, Paid), (1, 1, Promo), "priority before expiry"),
        ((1, 1, Paid), (1, 2, Promo), "expiry before kind"),
        ((1, 1, Promo), (1, 1, Paid), "promo before paid"),
        ((1, 2, Promo), (3, 2, Paid), "programmes of the same priority do not matter"),
        ((3, 1, Paid), (1, 2, Promo), "programmes of the same priority do not matter"),
        ((3, 2, Promo), (1, 2, Paid), "programmes of the same priority do not matter"),
        ((2, 2, Promo), (2, 2, Paid), "within a priority as well"),
    ];
    for (first, second, what) in rows {
        for swapped in [false, true] {
            let mut core = Core::new();
            core.programme(2, |p| p.priority = 50);
            core.programme(3, |_| {});
            for (programme, days, kind) in if swapped { [second, first] } else { [first, second] } {
                core.ok("W1", load(programme, 100, after(days * DAY), kind));
            }
            core.ok("W1", debit("S1", 100));
            let left = core.view("W1").lots[0];
            let expected = (ProgrammeId::new(second.0), after(second.1 * DAY), second.2 == Paid);
            assert_eq!((left.programme, left.expires_at, left.paid), expected, "{what}, swapped: {swapped}");
        }
    }
}

#[test]
fn the_start_and_then_the_name_break_ties() {
    // Two coupons with equal lots but for their starts go into one wallet, the later start first.
    let mut core = Core::new();
    for (name, valid_from) in [("C1", after(1)), ("C2", Timestamp::ZERO), ("C3", Timestamp::ZERO)] {
        let Operation::Issue { programme, amount, expires_at, stay_end_day, kind, .. } = issue(1, 100, after(DAY))
        else {
            unreachable!("an issue")
        };
        core.ok(name, Operation::Issue { programme, amount, expires_at, stay_end_day, kind, valid_from });
    }
    core.wait(1);
    let names = ["C3", "C1", "C2"].map(|name| {
        let id = core.view(name).lots[0].id;
        core.ok(name, Operation::Charge { wallet: account("W1"), amount: 0 });
        id
    });
    let mut order = Vec::new();
    for _ in 0..3 {
        let before: Vec<u64> = core.view("W1").lots.iter().map(|l| l.id).collect();
        core.ok("W1", debit("S1", 100));
        let after: Vec<u64> = core.view("W1").lots.iter().map(|l| l.id).collect();
        order.extend(before.into_iter().filter(|id| !after.contains(id)));
    }
    assert_eq!(order, [names[2], names[0], names[1]], "C2 and C3 start before C1, and C2 is older");
}

#[test]
fn an_extension_changes_the_order() {
    let mut core = Core::new();
    let early = core.ok("W1", load(1, 100, after(DAY), Paid));
    core.ok("W1", load(1, 100, after(2 * DAY), Paid));
    core.ok("", super::rules::extension(1, after(DAY), after(DAY + 1), after(3 * DAY)));
    core.ok("W1", debit("S1", 100));
    assert_eq!(core.view("W1").lots[0].expires_at, after(3 * DAY));
    assert_eq!(core.run("W1", Operation::Reversal { original: early, remain: 0 }).decision.amount.get(), 100);
}

#[test]
fn a_debit_takes_from_at_most_32_lots() {
    for (lots, amount, code) in [
        (32, 32, Code::Approved),
        (33, 33, Code::LotLimit),
        (33, 32, Code::Approved),
        (40, 32, Code::Approved),
        (40, 33, Code::LotLimit),
    ] {
        for operation in [debit("S1", amount), hold("S1", amount, 0)] {
            let mut core = Core::new();
            for _ in 0..lots {
                core.ok("W1", load(1, 1, after(DAY), Paid));
            }
            let key = core.expect("W1", operation, code);
            let left = if code == Code::Approved { lots - amount } else { lots };
            assert_eq!(core.balance("W1"), left, "{lots} lots, {operation:?}");
            core.ok("W1", Operation::Reversal { original: key, remain: 0 });
            assert_eq!(core.balance("W1"), lots);
        }
    }
}

#[test]
fn expiry_and_start_are_exact() {
    // µs from the lot's start at 100 s and its end at 200 s.
    for (offset, from_start, code) in [
        (-1, true, Code::NotYetValid),
        (0, true, Code::Approved),
        (-1, false, Code::Approved),
        (0, false, Code::Expired),
        (1, false, Code::Expired),
    ] {
        for wallet in [false, true] {
            let mut core = Core::new();
            let Operation::Issue { programme, amount, expires_at, stay_end_day, kind, .. } = issue(1, 500, after(200))
            else {
                unreachable!("an issue")
            };
            let valid_from = after(100);
            core.ok("C1", Operation::Issue { programme, amount, expires_at, stay_end_day, kind, valid_from });
            let edge = if from_start { after(100) } else { after(200) };
            core.at = Timestamp::from_micros(edge.micros() + offset);
            assert_eq!(core.balance("C1"), if code == Code::Approved { 500 } else { 0 });
            let operation =
                if wallet { Operation::Charge { wallet: account("W1"), amount: 500 } } else { debit("S1", 500) };
            core.expect("C1", operation, code);
        }
    }
}

#[test]
fn expiry_looks_at_the_receipt_within_thirty_seconds() {
    // (received, logged, in seconds from the expiry; the answer)
    for (received, logged, code) in [
        (-1, 0, Code::Approved),
        (-1, 28, Code::Approved),
        (-29, 1, Code::Approved),
        (-29, 29, Code::Approved),
        (-30, 29, Code::Approved),
        (-30, 30, Code::Expired),
        (-3_000, 30, Code::Expired),
        (0, 5, Code::Expired),
        (50, -1, Code::Approved),
    ] {
        let mut core = Core::new();
        core.issue("C1", 500, after(1_000));
        let from_expiry = |s: i64| Timestamp::from_micros(after(1_000).micros() + s * crate::core::SECOND);
        core.at = from_expiry(logged);
        let key = core.next_key();
        let mut envelope = core.envelope("C1", key);
        envelope.received_at = from_expiry(received);
        assert_eq!(core.apply(envelope, debit("S1", 1)).decision.code, code, "received {received}, logged {logged}");
    }
}

#[test]
fn nothing_expires_while_the_clock_is_suspect() {
    let mut core = Core::new();
    core.issue("C1", 500, after(1_000));
    core.wait(10);
    core.run("", Operation::Mark(Mark::ClockSuspect));
    core.wait(5_000);
    core.run("", Operation::Mark(Mark::ClockSuspect));
    assert_eq!(core.balance("C1"), 500);
    core.ok("C1", debit("S1", 100));
    core.run("", Operation::Mark(Mark::ClockTrusted));
    core.expect("C1", debit("S1", 101), Code::Expired);
}

#[test]
fn a_day_ends_at_fifteen_hundred_utc_in_japan() {
    let mut core = Core::with(|p| p.validity_days = 0);
    core.issue("C1", 500, Timestamp::ZERO);
    assert_eq!(core.view("C1").lots[0].expires_at, after(DAY));
    assert_eq!(after(DAY).micros() / 1_000_000 % 86_400, 15 * 3_600);
    for (at, days, minutes, end) in [
        (START, 0, 540, after(DAY)),
        (START.minus_micros(1), 0, 540, START),
        (START, 2, 540, after(3 * DAY)),
        (START, 0, 0, after(9 * 3_600)),
        (START, 0, -60, after(10 * 3_600)),
    ] {
        assert_eq!(end_of_day(at, days, minutes), end, "{days} days, zone {minutes}");
    }
}

#[test]
fn less_is_approved_only_when_it_was_asked_for() {
    let partial = |amount| Operation::Debit(Purchase { partial: true, ..purchase("S1", amount) });
    let held = |amount| Operation::Hold { purchase: Purchase { partial: true, ..purchase("S1", amount) }, seconds: 60 };
    for (operation, code, taken) in [
        (debit("S1", 501), Code::InsufficientFunds, 0),
        (partial(501), Code::PartiallyApproved, 500),
        (partial(Amount::MAX), Code::PartiallyApproved, 500),
        (partial(500), Code::Approved, 500),
        (partial(499), Code::Approved, 499),
        (held(501), Code::PartiallyApproved, 500),
    ] {
        let mut core = Core::new();
        core.issue("C1", 500, after(DAY));
        let answer = core.run("C1", operation).decision;
        assert_eq!((answer.code, answer.amount.get()), (code, taken), "{operation:?}");
        assert_eq!(answer.balance.get(), 500 - taken);
        if code == Code::PartiallyApproved {
            core.expect("C1", partial(1), Code::InsufficientFunds);
        }
    }
}

#[test]
fn a_payment_is_bounded_by_each_programme() {
    let mut core = Core::with(|p| p.payment_max = 300);
    core.programme(2, |p| (p.payment_max, p.priority) = (200, 1));
    for programme in [1, 2] {
        core.ok("W1", load(programme, 500, after(DAY), Paid));
    }
    core.expect("W1", debit("S1", 201), Code::AmountLimit);
    core.ok("W1", debit("S1", 200));
    core.expect("W1", debit("S1", 301), Code::AmountLimit);
    core.issue("C1", 1_000, after(DAY));
    core.expect("C1", debit("S1", 301), Code::AmountLimit);
    core.ok("C1", debit("S1", 300));
    assert_eq!((core.balance("W1"), core.balance("C1")), (800, 700));
}

#[test]
fn zero_and_too_much_are_not_records() {
    let mut core = Core::new();
    core.issue("C1", 500, after(DAY));
    let digest = core.engine.digest();
    for operation in [debit("S1", 1), hold("S1", 1, 0)] {
        for amount in [0, Amount::MAX + 1, u64::MAX] {
            let command = Command { envelope: core.envelope("C1", crate::core::key(core.at, 1_000)), operation };
            let mut bytes = record(&command);
            bytes[64 + 24..64 + 32].copy_from_slice(&amount.to_le_bytes());
            core.position += 1;
            let refused = core.engine.apply(Position::new(core.position), core.at, &bytes);
            assert_eq!(refused, Err(RecordError::Field { name: "amount" }), "{amount}");
        }
    }
    assert_eq!((core.balance("C1"), core.engine.digest()), (500, digest));
    assert_eq!((Amount::new(0), Amount::new(Amount::MAX + 1)), (None, None));
}

#[test]
fn the_largest_amounts_add_up() {
    let mut core = Core::with(|p| p.balance_max = u64::MAX);
    for n in 0..200 {
        core.ok("W1", load(1, Amount::MAX, after(DAY), Paid));
        assert_eq!(core.balance("W1"), (n + 1) * Amount::MAX);
    }
    let taken = core.ok("W1", debit("S1", Amount::MAX));
    core.expect("W1", Operation::Refund { original: taken, amount: yen(Amount::MAX) }, Code::Approved);
    assert_eq!((core.balance("W1"), core.sums().charged), (200 * Amount::MAX, 200 * u128::from(Amount::MAX)));
    assert_eq!(core.engine.shop_sums(&shop("S1")).map(|s| s.returned), Some(Amount::MAX));
    core.ok("W1", Operation::AccountLife(Life::Closed));
    core.expect("W1", debit("S1", 1), Code::AccountClosed);
}

#[test]
fn the_lots_that_a_command_moved_are_told() {
    let mut core = Core::new();
    for amount in [100, 200] {
        core.ok("W1", load(1, amount, after(DAY), Promo));
    }
    let told = |core: &Core| -> Vec<u64> { core.engine.last_lots().iter().map(|t| t.amount).collect() };
    let taken = core.ok("W1", debit("S1", 250));
    assert_eq!(told(&core), [100, 150]);
    core.ok("W1", Operation::Refund { original: taken, amount: yen(160) });
    assert_eq!(told(&core), [150, 10]);
    core.run("", Operation::Mark(Mark::Normal));
    assert_eq!(told(&core), []);
    core.expect("W1", debit("S1", 9_999), Code::InsufficientFunds);
    assert_eq!(told(&core), []);
}
