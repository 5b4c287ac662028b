//! Which lots value goes back to, and what becomes of a refund whose lot has expired.

use crate::core::{Core, DAY, after, debit, hold, load, yen};
use tegata_engine::end_of_day;
use tegata_model::{Code, ExpiredRefund, Key, LotKind, Operation, Timestamp};

/// A command that gives back what was taken under a key.
type Return = fn(Key) -> Operation;

/// A wallet with lots of ¥100, ¥200, ¥300, taken in this order.
fn wallet() -> Core {
    let mut core = Core::new();
    for (yen, days) in [(100, 1), (200, 2), (300, 3)] {
        core.ok("W1", load(1, yen, after(days * DAY), LotKind::Paid));
    }
    core
}

fn reversal(original: Key, remain: u64) -> Operation {
    Operation::Reversal { original, remain }
}

fn refund(original: Key, amount: u64) -> Operation {
    Operation::Refund { original, amount: yen(amount) }
}

#[test]
fn the_last_consumed_lots_get_theirs_back_first() {
    // After a debit of ¥450: the return, and the yen in each lot that has any.
    let rows: [(Return, &[u64]); 8] = [
        (|k| reversal(k, 450), &[150]),
        (|k| reversal(k, 350), &[250]),
        (|k| reversal(k, 300), &[300]),
        (|k| reversal(k, 299), &[1, 300]),
        (|k| reversal(k, 50), &[50, 200, 300]),
        (|k| reversal(k, 0), &[100, 200, 300]),
        (|k| refund(k, 151), &[1, 300]),
        (|k| refund(k, 450), &[100, 200, 300]),
    ];
    for (n, (operation, lots)) in rows.into_iter().enumerate() {
        let mut core = wallet();
        let taken = core.ok("W1", debit("S1", 450));
        assert_eq!(core.lots("W1"), [150]);
        core.ok("W1", operation(taken));
        assert_eq!(core.lots("W1"), lots, "row {n}");
        core.ok("W1", reversal(taken, 0));
        assert_eq!(core.lots("W1"), [100, 200, 300], "row {n}: all of it");
    }
}

#[test]
fn a_hold_gives_back_to_its_lots_however_it_ends() {
    let rows: [(Return, u64, &[u64]); 5] = [
        (|k| Operation::Void { original: k }, 0, &[100, 200, 300]),
        (|k| reversal(k, 0), 0, &[100, 200, 300]),
        (|k| reversal(k, 250), 250, &[50, 300]),
        (|k| Operation::Capture { original: k, amount: 250 }, 0, &[50, 300]),
        (|k| Operation::Capture { original: k, amount: 0 }, 0, &[150]),
    ];
    for (n, (operation, held, lots)) in rows.into_iter().enumerate() {
        let mut core = wallet();
        let key = core.ok("W1", hold("S1", 450, 60));
        core.ok("W1", operation(key));
        assert_eq!((core.view("W1").held, core.lots("W1")), (held, lots.to_vec()), "row {n}");
    }
}

#[test]
fn a_capture_can_be_returned_by_its_own_key() {
    for by_hold in [true, false] {
        let mut core = wallet();
        let key = core.ok("W1", hold("S1", 450, 60));
        let capture = core.ok("W1", Operation::Capture { original: key, amount: 350 });
        let key = if by_hold { key } else { capture };
        core.expect("W1", refund(key, 351), Code::ExceedsOriginal);
        core.ok("W1", refund(key, 100));
        assert_eq!(core.lots("W1"), [50, 300]);
        assert_eq!(core.run("W1", reversal(key, 0)).decision.amount.get(), 250);
        assert_eq!(core.lots("W1"), [100, 200, 300]);
    }
}

#[test]
fn a_capture_is_too_old_to_return_once_its_hold_is() {
    let mut core = Core::new();
    core.issue("C1", 1_000, after(60 * DAY));
    let first = core.at;
    let key = core.ok("C1", hold("S1", 400, 604_800));
    core.wait(6 * DAY);
    let capture = core.ok("C1", Operation::Capture { original: key, amount: 0 });
    core.at = first.plus_seconds(604_800 + 300);
    core.ok("C1", refund(capture, 100));
    core.wait(1);
    for _ in 0..5 {
        core.expect("C1", refund(capture, 100), Code::OriginalTooOld);
        core.expect("C1", reversal(capture, 0), Code::OriginalTooOld);
        core.wait(60);
    }
    assert_eq!(core.balance("C1"), 700);
}

#[test]
fn a_refund_to_an_expired_lot() {
    for (mode, sums) in [
        (ExpiredRefund::Reinstate, (500, 0, 0)),
        (ExpiredRefund::Forfeit, (0, 500, 0)),
        (ExpiredRefund::PayOut, (0, 0, 500)),
    ] {
        for kind in [LotKind::Paid, LotKind::Promo] {
            let mut core = Core::with(|p| (p.expired_refund, p.refund_days) = (mode, 10));
            core.ok("W1", load(1, 500, after(DAY), kind));
            let taken = core.ok("W1", debit("S1", 500));
            core.wait(DAY);
            let answer = core.run("W1", refund(taken, 500)).decision;
            assert_eq!((answer.code, answer.amount.get()), (Code::Approved, 500), "{mode:?}");
            let s = core.sums();
            assert_eq!((s.balances, s.expired, s.paid_out), sums, "{mode:?}");
            assert_eq!((s.spent, s.returned), (500, 500));
            assert_eq!(u128::from(core.balance("W1")), sums.0);
            if mode == ExpiredRefund::Reinstate {
                let lot = core.view("W1").lots[0];
                assert_eq!(lot.paid, kind == LotKind::Paid, "paid value never comes back as promo");
                assert_eq!(lot.expires_at, end_of_day(core.at, 10, 540));
            }
        }
    }
}

#[test]
fn only_the_expired_part_of_a_refund_is_special() {
    for (seconds, lots, forfeited) in
        [(DAY - 1, [100, 200, 150].as_slice(), 0), (DAY, &[200, 150], 100), (2 * DAY, &[150], 300)]
    {
        let mut core = Core::with(|p| p.expired_refund = ExpiredRefund::Forfeit);
        for (yen, days) in [(100, 1), (200, 2), (300, 3)] {
            core.ok("W1", load(1, yen, after(days * DAY), LotKind::Paid));
        }
        let taken = core.ok("W1", debit("S1", 600));
        core.wait(seconds);
        core.ok("W1", refund(taken, 150));
        core.ok("W1", reversal(taken, 450));
        assert_eq!(core.lots("W1"), [150]);
        core.ok("W1", refund(taken, 150));
        assert_eq!(core.lots("W1"), [300]);
        core.ok("W1", debit("S1", 150));
        core.ok("W1", refund(taken, 300));
        assert_eq!((core.lots("W1"), core.sums().expired), (lots.to_vec(), forfeited), "after {seconds} s");
    }
}

#[test]
fn a_reversal_puts_expired_value_back_as_it_was() {
    let mut core = Core::with(|p| p.expired_refund = ExpiredRefund::Forfeit);
    core.issue("C1", 500, after(DAY));
    let taken = core.ok("C1", debit("S1", 500));
    core.wait(DAY);
    core.ok("C1", reversal(taken, 0));
    assert_eq!((core.lots("C1"), core.balance("C1"), core.sums().expired), (vec![500], 0, 0));
    assert_eq!(core.view("C1").lots[0].expires_at, after(DAY));
    assert_ne!(after(DAY), Timestamp::ZERO);
}
