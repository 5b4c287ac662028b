//! Holds die at their instant for every reader; a debit that waits for its confirmation goes back by itself.

use crate::core::{Core, DAY, after, debit, hold, key, purchase, yen};
use tegata_engine::Effect;
use tegata_model::{Code, Key, NamespaceId, Operation, Settings, State, Timestamp};

fn core() -> Core {
    let mut core = Core::new();
    core.issue("C1", 1_000, after(60 * DAY));
    core
}

fn capture(original: Key, amount: u64) -> Operation {
    Operation::Capture { original, amount }
}

fn confirmed(seconds: u32) -> Operation {
    Operation::DebitConfirmed { purchase: purchase("S1", 400), seconds }
}

fn state(core: &Core, key: &Key) -> Option<State> {
    core.engine.status(NamespaceId::new(1), &crate::core::account("C1"), key, core.at).map(|(_, s)| s)
}

/// One microsecond before `seconds` after now.
fn just_before(core: &Core, seconds: u64) -> Timestamp {
    core.at.plus_seconds(seconds).minus_micros(1)
}

#[test]
fn a_hold_lives_as_long_as_it_says_and_no_longer() {
    let week = 604_800;
    for (asked, lives) in
        [(0, 600), (1, 1), (60, 60), (7_000, 7_000), (604_800, week), (604_801, week), (u32::MAX, week)]
    {
        let mut core = core();
        let (dying, at) = (core.ok("C1", hold("S1", 400, asked)), core.at);
        core.at = just_before(&core, lives);
        assert_eq!((core.balance("C1"), core.view("C1").held), (600, 400), "{asked} s");
        assert_eq!(state(&core, &dying), Some(State::Open));
        core.expect("C1", debit("S1", 601), Code::InsufficientFunds);
        core.at = at.plus_seconds(lives);
        assert_eq!((core.balance("C1"), core.view("C1").held, core.lots("C1")), (1_000, 0, vec![1_000]));
        assert_eq!(state(&core, &dying), Some(State::Voided));
        core.expect("C1", capture(dying, 0), Code::HoldVoided);
        core.ok("C1", Operation::Void { original: dying });
        core.ok("C1", debit("S1", 1_000));
    }
}

#[test]
fn an_account_has_a_bounded_number_of_open_holds() {
    let mut core = core();
    core.issue("C2", 100_000, after(60 * DAY));
    let first = core.ok("C2", hold("S1", 1, 600));
    for n in 2..=64 {
        core.ok("C2", hold("S1", n, 600));
    }
    core.expect("C2", hold("S1", 65, 600), Code::HoldLimit);
    core.expect("C2", Operation::DebitConfirmed { purchase: purchase("S1", 65), seconds: 0 }, Code::HoldLimit);
    core.ok("C2", debit("S1", 66));
    core.ok("C2", Operation::Void { original: first });
    core.ok("C2", hold("S1", 67, 600));
    core.expect("C2", hold("S1", 68, 600), Code::HoldLimit);
    core.wait(600);
    core.ok("C2", hold("S1", 69, 600));
}

#[test]
fn a_programme_bounds_its_holds() {
    let mut core = Core::with(|p| (p.hold_default_s, p.hold_max_s) = (20, 50));
    core.issue("C1", 1_000, after(DAY));
    for (asked, lives) in [(0, 20), (30, 30), (51, 50)] {
        core.ok("C1", hold("S1", 1_000, asked));
        core.at = just_before(&core, lives);
        assert_eq!(core.balance("C1"), 0);
        core.at = Timestamp::from_micros(core.at.micros() + 1);
        assert_eq!(core.balance("C1"), 1_000);
    }
}

#[test]
fn a_capture_takes_what_was_held_or_less() {
    for (amount, code, balance) in [
        (0, Code::Approved, 600),
        (400, Code::Approved, 600),
        (1, Code::Approved, 999),
        (401, Code::ExceedsOriginal, 600),
    ] {
        let mut core = core();
        let held = core.ok("C1", hold("S1", 400, 60));
        core.at = just_before(&core, 60);
        core.expect("C1", capture(held, amount), code);
        assert_eq!(core.balance("C1"), balance);
        let next = if code == Code::Approved { Code::HoldCaptured } else { Code::Approved };
        core.expect("C1", capture(held, 0), next);
        core.expect("C1", Operation::Void { original: held }, Code::HoldCaptured);
        core.wait(60);
        assert_eq!(u128::from(1_000 - core.balance("C1")), core.sums().spent, "what is captured stays taken");
    }
}

#[test]
fn a_void_repeats_and_a_voided_hold_is_not_captured() {
    let mut core = core();
    let held = core.ok("C1", hold("S1", 400, 60));
    let void = core.run("C1", Operation::Void { original: held }).decision;
    assert_eq!((void.code, void.amount, void.balance), (Code::Approved, yen(400).yen(), yen(1_000).yen()));
    assert_eq!(core.run("C1", Operation::Void { original: held }).decision.amount.get(), 0);
    core.expect("C1", capture(held, 0), Code::HoldVoided);
    let reversed = core.ok("C1", hold("S1", 400, 60));
    core.ok("C1", Operation::Reversal { original: reversed, remain: 0 });
    core.expect("C1", capture(reversed, 0), Code::AlreadyReversed);
    assert_eq!(core.balance("C1"), 1_000);
}

#[test]
fn a_pinned_lot_stays_capturable_after_its_expiry() {
    for captured in [true, false] {
        let mut core = Core::new();
        core.issue("C1", 1_000, after(100));
        let held = core.ok("C1", hold("S1", 400, 300));
        core.wait(200);
        core.expect("C1", debit("S1", 1), Code::Expired);
        if captured {
            core.ok("C1", capture(held, 0));
        } else {
            core.wait(100);
            core.expect("C1", capture(held, 0), Code::HoldVoided);
        }
        assert_eq!(core.balance("C1"), 0, "what went back is expired");
        assert_eq!(core.sums().spent, if captured { 400 } else { 0 });
    }
}

#[test]
fn a_debit_that_waits_for_its_confirmation() {
    for confirmed_at in [Some(0), Some(29), None] {
        let mut core = core();
        let key = core.next_key();
        let first = core.under("C1", key, confirmed(30)).decision;
        assert_eq!((first.code, first.balance.get(), core.sums().spent), (Code::Approved, 600, 0));
        core.wait(confirmed_at.unwrap_or(30));
        let confirm = Operation::Confirm { original: key };
        if confirmed_at.is_some() {
            for _ in 0..3 {
                let answer = core.run("C1", confirm).decision;
                assert_eq!((answer.code, answer.amount.get(), answer.related), (Code::Approved, 400, first.position));
                core.wait(60);
            }
            assert_eq!((core.balance("C1"), core.sums().spent), (600, 400));
        } else {
            core.expect("C1", confirm, Code::HoldVoided);
            assert_eq!((core.balance("C1"), core.sums().spent), (1_000, 0));
        }
        let again = core.under("C1", key, confirmed(30));
        assert_eq!((again.effect, again.decision), (Effect::Replayed, first), "the answer is the stored one");
    }
}

#[test]
fn every_confirmation_stands_for_its_debit() {
    for n in 0..3 {
        let mut core = core();
        let taken = core.ok("C1", confirmed(30));
        let confirmations: Vec<Key> = (0..3).map(|_| core.ok("C1", Operation::Confirm { original: taken })).collect();
        core.ok("C1", Operation::Refund { original: confirmations[n], amount: yen(100) });
        core.ok("C1", Operation::Reversal { original: confirmations[n], remain: 0 });
        assert_eq!(core.balance("C1"), 1_000, "confirmation {n}");
    }
}

#[test]
fn a_capture_is_for_holds_and_a_confirmation_for_debits() {
    let mut core = core();
    let (held, waiting) = (core.ok("C1", hold("S1", 100, 60)), core.ok("C1", confirmed(60)));
    let (taken, declined) =
        (core.ok("C1", debit("S1", 10)), core.expect("C1", hold("S1", 9_999, 0), Code::InsufficientFunds));
    for original in [waiting, taken] {
        core.expect("C1", capture(original, 0), Code::OriginalKind);
    }
    for original in [held, taken] {
        core.expect("C1", Operation::Confirm { original }, Code::OriginalKind);
    }
    core.expect("C1", Operation::Void { original: taken }, Code::OriginalKind);
    core.expect("C1", capture(declined, 0), Code::OriginalDeclined);
    core.expect("C1", Operation::Void { original: declined }, Code::OriginalDeclined);
    core.ok("C1", Operation::Void { original: waiting });
    assert_eq!(core.balance("C1"), 890);
}

#[test]
fn a_hold_under_an_old_key_ends_while_the_key_is_known() {
    let mut core = core();
    let period = Settings::default();
    let made = core.at.minus_micros(u64::from(period.horizon_s - 100) * 1_000_000);
    let held = key(made, 1);
    core.under("C1", held, hold("S1", 400, 86_400));
    core.wait(100 + u64::from(period.skew_s) - 1);
    assert_eq!((core.balance("C1"), state(&core, &held)), (600, Some(State::Open)));
    core.wait(1);
    assert_eq!((core.balance("C1"), state(&core, &held)), (1_000, Some(State::Voided)));
    core.expect("C1", capture(held, 0), Code::HoldVoided);
}

#[test]
fn a_shorter_horizon_does_not_end_an_open_hold() {
    let mut core = core();
    core.ok("C1", hold("S1", 400, 86_400));
    core.epoch(Settings { ack_s: 0, horizon_s: 600, skew_s: 60, rules: 1 });
    let mut left = 600;
    for _ in 0..47 {
        core.wait(1_800);
        core.ok("C1", debit("S1", 1));
        left -= 1;
        assert_eq!((core.balance("C1"), core.view("C1").held), (left, 400));
    }
    core.wait(1_800);
    core.ok("C1", debit("S1", 1));
    assert_eq!((core.balance("C1"), core.view("C1").held), (left + 399, 0));
}
