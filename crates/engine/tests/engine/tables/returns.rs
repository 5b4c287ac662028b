//! Void, reversal, refund: the table, and what no reversal is stopped by.

use crate::core::{Core, DAY, after, debit, hold, issue, key, load, shop, yen};
use tegata_engine::Effect;
use tegata_model::{Code, Key, Life, LotKind, Operation, ProgrammeId, Settings, Timestamp};

fn core() -> Core {
    let mut core = Core::new();
    core.issue("C1", 10_000, after(60 * DAY));
    core
}

fn reversal(original: Key, remain: u64) -> Operation {
    Operation::Reversal { original, remain }
}

fn refund(original: Key, amount: u64) -> Operation {
    Operation::Refund { original, amount: yen(amount) }
}

/// Code and amount of an answer under a new key.
fn ask(core: &mut Core, name: &str, operation: Operation) -> (Code, u64) {
    let d = core.run(name, operation).decision;
    (d.code, d.amount.get())
}

#[test]
fn an_unknown_original() {
    let mut core = core();
    for (operation, code) in [
        (|k| Operation::Void { original: k }, Code::OriginalUnknown),
        (|k| refund(k, 1), Code::OriginalUnknown),
        (|k| Operation::Capture { original: k, amount: 0 }, Code::OriginalUnknown),
        (|k| Operation::Confirm { original: k }, Code::OriginalUnknown),
        (|k| reversal(k, 0), Code::Approved),
        (|k| reversal(k, 500), Code::Approved),
    ] as [(fn(Key) -> Operation, Code); 6]
    {
        let (late, before) = (core.next_key(), core.balance("C1"));
        core.expect("C1", operation(late), code);
        let arrived = core.under("C1", late, debit("S1", 100));
        let fenced = code == Code::Approved;
        assert_eq!(arrived.decision.code, if fenced { Code::Fenced } else { Code::Approved });
        assert_eq!(core.balance("C1"), if fenced { before } else { before - 100 });
        if fenced {
            core.wait(DAY);
            assert_eq!(core.under("C1", late, debit("S1", 7)).effect, Effect::Replayed);
            assert_eq!(ask(&mut core, "C1", reversal(late, 0)), (Code::Approved, 0));
        }
    }
}

#[test]
fn a_reversal_before_the_account_exists_fences_too() {
    let mut core = Core::new();
    let late = core.next_key();
    core.ok("C9", reversal(late, 0));
    assert_eq!(core.under("C9", late, issue(1, 500, Timestamp::ZERO)).decision.code, Code::Fenced);
    assert_eq!(core.engine.counts().accounts, 0);
}

#[test]
fn a_reversal_of_a_full_debit_repeats_without_effect() {
    let mut core = core();
    let taken = core.ok("C1", debit("S1", 4_000));
    let key = core.next_key();
    let first = core.under("C1", key, reversal(taken, 0));
    assert_eq!((first.decision.code, first.decision.amount.get()), (Code::Approved, 4_000));
    assert_eq!(first.decision.balance.get(), 10_000);
    let again = core.under("C1", key, reversal(taken, 0));
    assert_eq!((again.effect, again.decision), (Effect::Replayed, first.decision));
    assert_eq!(ask(&mut core, "C1", reversal(taken, 0)), (Code::Approved, 0), "under another key");
    assert_eq!(ask(&mut core, "C1", refund(taken, 1)), (Code::AlreadyReversed, 0));
    assert_eq!(core.balance("C1"), 10_000);
    assert_eq!(core.engine.shop_sums(&shop("S1")).map(|s| (s.spent, s.returned, s.count)), Some((4_000, 4_000, 1)));
}

#[test]
fn a_partial_reversal_states_what_remains() {
    // Reversals and refunds of a debit of ¥1,000 in turn: what is asked, and what comes back.
    type Row = (fn(Key) -> Operation, Code, u64);
    let histories: [&[Row]; 5] = [
        &[(|k| reversal(k, 400), Code::Approved, 600), (|k| reversal(k, 400), Code::Approved, 0)],
        &[
            (|k| reversal(k, 400), Code::Approved, 600),
            (|k| reversal(k, 700), Code::Approved, 0),
            (|k| reversal(k, 0), Code::Approved, 400),
        ],
        &[(|k| reversal(k, 1_000), Code::Approved, 0), (|k| reversal(k, 5_000), Code::Approved, 0)],
        &[
            (|k| refund(k, 300), Code::Approved, 300),
            (|k| refund(k, 701), Code::ExceedsOriginal, 0),
            (|k| reversal(k, 0), Code::Approved, 700),
            (|k| refund(k, 1), Code::AlreadyReversed, 0),
        ],
        &[
            (|k| reversal(k, 300), Code::Approved, 700),
            (|k| refund(k, 300), Code::Approved, 300),
            (|k| refund(k, 1), Code::AlreadyReversed, 0),
            (|k| reversal(k, 0), Code::Approved, 0),
        ],
    ];
    for history in histories {
        let mut core = core();
        let taken = core.ok("C1", debit("S1", 1_000));
        let mut back = 0;
        for (n, (operation, code, amount)) in history.iter().enumerate() {
            assert_eq!(ask(&mut core, "C1", operation(taken)), (*code, *amount), "row {n}");
            back += amount;
            assert_eq!(core.balance("C1"), 9_000 + back);
        }
    }
}

#[test]
fn no_ceiling_suspension_or_expiry_stops_a_reversal() {
    type Change = fn(&mut Core);
    let changes: [(&str, Change); 8] = [
        ("nothing", |_| {}),
        ("account suspended", |c| {
            c.ok("C1", Operation::AccountLife(Life::Suspended));
        }),
        ("account closed", |c| {
            c.ok("C1", Operation::AccountLife(Life::Closed));
        }),
        ("shop closed", |c| c.rule(Operation::ShopLife { shop: shop("S1"), life: Life::Closed })),
        ("programme closed", |c| {
            c.rule(Operation::ProgrammeLife { programme: ProgrammeId::new(1), life: Life::Closed });
        }),
        ("payment ceiling", |c| c.programme(1, |p| p.payment_max = 1)),
        ("balance ceiling", |c| c.programme(1, |p| p.balance_max = 1)),
        ("expired", |c| c.wait(6 * DAY)),
    ];
    for (what, change) in changes {
        let mut core = Core::new();
        core.issue("C1", 10_000, after(5 * DAY));
        let (taken, held) = (core.ok("C1", debit("S1", 4_000)), core.ok("C1", hold("S1", 1_000, 600_000)));
        change(&mut core);
        assert_eq!(ask(&mut core, "C1", reversal(held, 0)), (Code::Approved, 1_000), "{what}");
        assert_eq!(ask(&mut core, "C1", reversal(taken, 0)), (Code::Approved, 4_000), "{what}");
        assert_eq!(core.lots("C1"), [10_000], "{what}");
    }
}

#[test]
fn an_original_out_of_the_horizon_is_too_old_and_nothing_changes() {
    let horizon = u64::from(Settings::default().horizon_s + Settings::default().skew_s);
    for (seconds, code) in [(horizon, Code::Approved), (horizon + 1, Code::OriginalTooOld)] {
        let mut core = core();
        let made = core.at;
        let (first, second) = (core.ok("C1", debit("S1", 100)), core.ok("C1", debit("S1", 200)));
        core.at = made.plus_seconds(seconds);
        core.expect("C1", reversal(first, 0), code);
        core.expect("C1", refund(second, 200), code);
        assert_eq!(core.balance("C1"), if code == Code::Approved { 10_000 } else { 9_700 });
        // Unknown and out of the horizon: no fence, it may have been decided and forgotten.
        core.expect("C1", reversal(key(made.minus_micros(1_000_000), 5), 0), Code::OriginalTooOld);
    }
    let mut core = core();
    core.expect("C1", reversal(key(core.at.plus_seconds(301), 5), 0), Code::KeyClock);
}

#[test]
fn what_cannot_be_reversed_or_refunded() {
    let mut core = core();
    let taken = core.ok("C1", debit("S1", 1_000));
    let declined = core.expect("C1", debit("S1", 99_999), Code::InsufficientFunds);
    let held = core.ok("C1", hold("S1", 500, 60));
    let back = core.ok("C1", refund(taken, 100));
    assert_eq!(ask(&mut core, "C1", reversal(declined, 0)), (Code::Approved, 0), "nothing was taken");
    core.expect("C1", refund(declined, 1), Code::OriginalDeclined);
    core.expect("C1", reversal(back, 0), Code::OriginalKind);
    core.expect("C1", refund(back, 1), Code::OriginalKind);
    core.expect("C1", refund(held, 1), Code::OriginalKind);
    core.ok("C1", Operation::Void { original: held });
    core.expect("C1", refund(held, 1), Code::HoldVoided);
    let own = core.next_key();
    assert_eq!(core.under("C1", own, reversal(own, 0)).decision.code, Code::OriginalKind);
    core.ok("C1", Operation::AccountLife(Life::Closed));
    core.expect("C1", refund(taken, 1), Code::AccountClosed);
}

#[test]
fn credits_are_reversed_as_far_as_they_are_there() {
    let mut core = Core::new();
    let made = core.ok("C1", issue(1, 1_000, after(DAY)));
    core.ok("C1", debit("S1", 300));
    core.ok("C1", hold("S1", 100, 60));
    assert_eq!(ask(&mut core, "C1", reversal(made, 800)), (Code::Approved, 200));
    assert_eq!(ask(&mut core, "C1", reversal(made, 0)), (Code::Approved, 400), "what was spent or is held stays");
    core.wait(60);
    assert_eq!(ask(&mut core, "C1", reversal(made, 0)), (Code::Approved, 100), "and what a dead hold gave back");
    assert_eq!((core.sums().issued, core.sums().balances), (300, 0));

    let loaded = core.ok("W1", load(1, 1_000, after(DAY), LotKind::Paid));
    core.ok("W1", load(1, 500, after(DAY), LotKind::Paid));
    assert_eq!(ask(&mut core, "W1", reversal(loaded, 0)), (Code::Approved, 1_000), "only its own lot");
    assert_eq!((core.lots("W1"), core.sums().charged), (vec![500], 500));
}

#[test]
fn a_charge_is_reversed_as_far_as_it_is_there() {
    let mut core = core();
    let moved = core.ok("C1", Operation::Charge { wallet: crate::core::account("W1"), amount: 0 });
    assert_eq!((core.balance("C1"), core.balance("W1")), (0, 10_000));
    core.ok("W1", debit("S1", 1_000));
    core.ok("W1", hold("S1", 500, 60));
    assert_eq!(ask(&mut core, "C1", reversal(moved, 4_000)), (Code::Approved, 6_000));
    assert_eq!(ask(&mut core, "C1", reversal(moved, 0)), (Code::Approved, 2_500));
    assert_eq!((core.balance("C1"), core.balance("W1")), (8_500, 0));
    core.wait(60);
    assert_eq!(core.balance("W1"), 500, "the hold died");
    assert_eq!(ask(&mut core, "C1", reversal(moved, 0)), (Code::Approved, 500));
    assert_eq!((core.balance("C1"), core.balance("W1")), (9_000, 0));
}
