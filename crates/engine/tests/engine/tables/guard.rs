//! The second press: in doubt (T1), delivered within the window (T2), and with the token.

use crate::core::{Core, DAY, after, debit, hold, purchase};
use tegata_engine::Applied;
use tegata_model::{
    Code, Envelope, GuardMode, Key, Mark, Operation, Position, Positions, Programme, Purchase, Settings, TerminalId,
    Timestamp,
};

const AT_ONCE: Settings = Settings { ack_s: 0, rules: 1, horizon_s: 604_800, skew_s: 300 };

/// A coupon C1, and no answer in flight.
fn core(change: impl FnOnce(&mut Programme)) -> Core {
    let mut core = Core::with(change);
    core.issue("C1", 100_000, after(60 * DAY));
    core
}

fn quiet(p: &mut Programme) {
    p.guard_window_s = 0;
}

fn at_terminal(name: &str) -> Operation {
    let terminal = TerminalId::from_text(name).unwrap_or(TerminalId::NONE);
    Operation::Debit(Purchase { terminal, ..purchase("S1", 500) })
}

fn with_token(token: Position) -> Operation {
    Operation::Debit(Purchase { token, ..purchase("S1", 500) })
}

fn undelivered(d: &Applied) -> Operation {
    Operation::Undelivered(Positions::take(&[d.decision.position.get()]))
}

fn delivered(d: &Applied) -> Operation {
    Operation::Delivered(Positions::take(&[d.decision.position.get()]))
}

#[test]
fn within_the_window_a_delivered_debit_is_asked_about() {
    for (us_before_the_end, code) in [(1, Code::SuspectedDuplicate), (0, Code::Approved)] {
        let mut core = core(|p| p.guard_window_s = 120);
        let first = core.run("C1", debit("S1", 500));
        core.run("", delivered(&first));
        core.at = core.at.plus_seconds(120).minus_micros(us_before_the_end);
        let balance = core.balance("C1");
        let second = core.run("C1", debit("S1", 500)).decision;
        assert_eq!(second.code, code);
        if code == Code::SuspectedDuplicate {
            assert_eq!((second.related, second.amount), (first.decision.position, first.decision.amount));
            assert_eq!((second.position, core.balance("C1")), (Position::ZERO, balance));
        }
    }
}

#[test]
fn a_programme_may_flag_instead() {
    let mut core = core(|p| (p.guard_mode, p.guard_window_s) = (GuardMode::Flag, 120));
    let first = core.run("C1", debit("S1", 500));
    let key = core.next_key();
    let second = core.under("C1", key, debit("S1", 500));
    assert_eq!((second.decision.code, second.flagged), (Code::Approved, true));
    assert_eq!(second.decision.related, first.decision.position);
    assert_eq!(core.balance("C1"), 99_000);
    assert!(core.under("C1", key, debit("S1", 500)).flagged, "its repeat says so too");
    core.ok("C1", Operation::Reversal { original: key, remain: 0 });
    assert_eq!(core.balance("C1"), 99_500);
}

#[test]
fn what_is_in_doubt_is_asked_about_whatever_the_programme_chose() {
    type Doubt = fn(&mut Core, &Applied);
    let doubts: [(&str, Doubt); 3] = [
        ("logged as undelivered", |c, d| {
            c.run("", undelivered(d));
        }),
        ("undelivered after all", |c, d| {
            c.run("", delivered(d));
            c.run("", undelivered(d));
        }),
        ("before a restart", |c, d| {
            let delivered_to = Position::new(d.decision.position.get() - 1);
            c.run("", Operation::Epoch { delivered_to, settings: AT_ONCE });
        }),
    ];
    for (what, doubt) in doubts {
        for mode in [GuardMode::Ask, GuardMode::Flag] {
            let mut core = core(|p| (p.guard_mode, p.guard_window_s) = (mode, 0));
            let first = core.run("C1", debit("S1", 500));
            let made = core.at;
            doubt(&mut core, &first);
            core.at = made.plus_seconds(1_800).minus_micros(1);
            core.expect("C1", debit("S1", 500), Code::SuspectedDuplicate);
            core.at = made.plus_seconds(1_800);
            core.ok("C1", debit("S1", 500));
            assert_eq!(core.balance("C1"), 99_000, "{what}");
        }
    }
}

#[test]
fn what_is_known_to_be_delivered_is_not_in_doubt() {
    let mut core = core(quiet);
    let first = core.run("C1", debit("S1", 500));
    core.run("", undelivered(&first));
    assert!(core.engine.is_undelivered(first.decision.position));
    core.run("", delivered(&first));
    assert!(!core.engine.is_undelivered(first.decision.position));
    core.epoch(AT_ONCE);
    core.run("", Operation::Epoch { delivered_to: Position::ZERO, settings: AT_ONCE });
    core.ok("C1", debit("S1", 500));
}

#[test]
fn an_answer_is_in_flight_until_it_would_be_logged() {
    let mut core = core(quiet);
    core.epoch(Settings { ack_s: 5, ..AT_ONCE });
    let made = core.at;
    core.ok("C1", debit("S1", 500));
    core.at = made.plus_seconds(5).minus_micros(1);
    core.expect("C1", debit("S1", 500), Code::SuspectedDuplicate);
    core.at = made.plus_seconds(5);
    core.ok("C1", debit("S1", 500));
}

#[test]
fn a_restart_counts_what_came_after_the_last_delivery() {
    // Debits of different amounts at three positions; the restart knows of delivery up to the middle one.
    let mut core = core(quiet);
    let made: Vec<Position> = [100, 200, 300].map(|n| core.run("C1", debit("S1", n)).decision.position).to_vec();
    core.run("", Operation::Epoch { delivered_to: made[1], settings: AT_ONCE });
    core.ok("C1", debit("S1", 400));
    for (amount, code) in
        [(100, Code::Approved), (200, Code::Approved), (300, Code::SuspectedDuplicate), (400, Code::Approved)]
    {
        core.expect("C1", debit("S1", amount), code);
    }
    core.run("", Operation::Epoch { delivered_to: Position::new(core.position), settings: AT_ONCE });
    core.expect("C1", debit("S1", 300), Code::SuspectedDuplicate);
    core.wait(1_800);
    core.ok("C1", debit("S1", 300));
}

#[test]
fn doubt_lasts_until_ten_minutes_after_the_core_is_back() {
    // (degraded from, until, in minutes after the debit; a press at this minute; the answer)
    let ask = Code::SuspectedDuplicate;
    for (from, until, press, code) in [
        (10, None, 600, ask),
        (30, None, 600, ask),
        (31, None, 60, Code::Approved),
        (10, Some(60), 69, ask),
        (10, Some(60), 70, Code::Approved),
        (10, Some(11), 29, ask),
        (10, Some(11), 30, Code::Approved),
        (10, Some(25), 34, ask),
        (10, Some(25), 35, Code::Approved),
    ] {
        let mut core = core(quiet);
        let made = core.at;
        let minute = |m: u64| made.plus_seconds(60 * m);
        let first = core.run("C1", debit("S1", 500));
        core.run("", undelivered(&first));
        core.at = minute(from);
        core.run("", Operation::Mark(Mark::Degraded));
        if let Some(until) = until {
            core.at = minute(until);
            core.run("", Operation::Mark(Mark::Normal));
        }
        core.at = minute(press);
        core.expect("C1", debit("S1", 500), code);
    }
}

#[test]
fn a_core_that_degrades_again_within_ten_minutes_was_not_back() {
    // (degraded again from, until, in minutes after the debit; a press at this minute; the answer). The first time was
    // from minute 10 to 29, so that it was not back before 39.
    let ask = Code::SuspectedDuplicate;
    for (from, until, press, code) in
        [(31, 32, 33, ask), (38, 40, 49, ask), (38, 40, 50, Code::Approved), (39, 40, 41, Code::Approved)]
    {
        let mut core = core(quiet);
        let made = core.at;
        let minute = |m: u64| made.plus_seconds(60 * m);
        let first = core.run("C1", debit("S1", 500));
        core.run("", undelivered(&first));
        for (m, mark) in [(10, Mark::Degraded), (29, Mark::Normal), (from, Mark::Degraded), (until, Mark::Normal)] {
            core.at = minute(m);
            core.run("", Operation::Mark(mark));
        }
        core.at = minute(press);
        core.expect("C1", debit("S1", 500), code);
    }
}

#[test]
fn a_core_that_was_down_is_not_back_to_normal_before_ten_minutes() {
    for (down_at, press, code) in [(0, 49, Code::SuspectedDuplicate), (0, 50, Code::Approved), (31, 41, Code::Approved)]
    {
        let mut core = core(quiet);
        core.epoch(AT_ONCE);
        let (made, known) = (core.at, Position::new(core.position));
        core.run("C1", debit("S1", 500));
        core.at = made.plus_seconds(60 * down_at);
        core.run("C1", debit("S1", 501));
        core.at = made.plus_seconds(60 * 40);
        core.run("", Operation::Epoch { delivered_to: known, settings: AT_ONCE });
        core.at = made.plus_seconds(60 * press);
        core.expect("C1", debit("S1", 500), code);
    }
}

#[test]
fn doubt_of_a_debit_made_while_degraded_lasts_too() {
    let mut core = core(quiet);
    core.run("", Operation::Mark(Mark::Degraded));
    core.wait(7_200);
    let first = core.run("C1", debit("S1", 500));
    core.run("", undelivered(&first));
    core.wait(3_600);
    core.run("", Operation::Mark(Mark::Normal));
    core.at = core.at.plus_seconds(600).minus_micros(1);
    core.expect("C1", debit("S1", 500), Code::SuspectedDuplicate);
    core.at = Timestamp::from_micros(core.at.micros() + 1);
    core.ok("C1", debit("S1", 500));
}

#[test]
fn a_core_is_degraded_since_that_was_seen_however_late_the_log_takes_it() {
    // Seen in this minute after the debit, logged in minute 50, over in minute 51.
    for (seen, code) in [(30, Code::SuspectedDuplicate), (31, Code::Approved), (60, Code::Approved)] {
        let mut core = core(quiet);
        let made = core.at;
        let first = core.run("C1", debit("S1", 500));
        core.run("", undelivered(&first));
        core.at = made.plus_seconds(60 * 50);
        let envelope = Envelope { received_at: made.plus_seconds(60 * seen), ..Envelope::default() };
        core.apply(envelope, Operation::Mark(Mark::Degraded));
        core.wait(60);
        core.run("", Operation::Mark(Mark::Normal));
        core.wait(1);
        core.expect("C1", debit("S1", 500), code);
    }
}

#[test]
fn the_token_says_that_a_second_purchase_is_meant() {
    let mut core = core(|p| p.guard_window_s = 120);
    let first = core.run("C1", debit("S1", 500));
    let key = core.next_key();
    let asked = core.under("C1", key, debit("S1", 500)).decision;
    assert_eq!(asked.related, first.decision.position);
    for made_up in [asked.related.get() - 1, asked.related.get() + 1, 999_999, u64::MAX] {
        core.expect("C1", with_token(Position::new(made_up)), Code::SuspectedDuplicate);
    }
    let second = core.under("C1", key, with_token(asked.related)).decision;
    assert_eq!(second.code, Code::Approved, "the same key may be used");
    assert_eq!(second.related, first.decision.position, "the token is recorded");
    core.ok("C1", Operation::Refund { original: key, amount: crate::core::yen(1) });
    let third = core.run("C1", with_token(asked.related)).decision;
    assert_eq!((third.code, third.related), (Code::SuspectedDuplicate, second.position), "one token, one purchase");
    assert_eq!(core.balance("C1"), 99_001);
}

#[test]
fn what_is_alike() {
    let rows = [
        (debit("S1", 500), Code::SuspectedDuplicate),
        (hold("S1", 500, 60), Code::SuspectedDuplicate),
        (Operation::DebitConfirmed { purchase: purchase("S1", 500), seconds: 60 }, Code::SuspectedDuplicate),
        (debit("S2", 500), Code::Approved),
        (debit("S1", 501), Code::Approved),
    ];
    for earlier in [debit("S1", 500), hold("S1", 500, 60)] {
        for (operation, code) in rows {
            let mut core = core(|p| p.guard_window_s = 120);
            core.issue("C2", 1_000, after(DAY));
            core.ok("C1", earlier);
            core.ok("C2", debit("S1", 500));
            core.expect("C1", operation, code);
        }
    }
    for (first, second, code) in [
        ("T1", "T1", Code::SuspectedDuplicate),
        ("T1", "", Code::SuspectedDuplicate),
        ("", "T1", Code::SuspectedDuplicate),
        ("T1", "T2", Code::Approved),
    ] {
        let mut core = core(|p| p.guard_window_s = 120);
        core.ok("C1", at_terminal(first));
        core.expect("C1", at_terminal(second), code);
    }
}

#[test]
fn what_no_longer_stands_is_not_asked_about() {
    type End = fn(&mut Core, Key);
    let ends: [(&str, Operation, End, Code); 7] = [
        (
            "reversed",
            debit("S1", 500),
            |c, k| {
                c.ok("C1", Operation::Reversal { original: k, remain: 0 });
            },
            Code::Approved,
        ),
        (
            "partly",
            debit("S1", 500),
            |c, k| {
                c.ok("C1", Operation::Reversal { original: k, remain: 1 });
            },
            Code::SuspectedDuplicate,
        ),
        (
            "voided",
            hold("S1", 500, 60),
            |c, k| {
                c.ok("C1", Operation::Void { original: k });
            },
            Code::Approved,
        ),
        ("alive", hold("S1", 500, 60), |c, _| c.wait(59), Code::SuspectedDuplicate),
        ("dead", hold("S1", 500, 60), |c, _| c.wait(60), Code::Approved),
        (
            "captured",
            hold("S1", 500, 60),
            |c, k| {
                c.ok("C1", Operation::Capture { original: k, amount: 9 });
            },
            Code::SuspectedDuplicate,
        ),
        ("declined", debit("S1", 500), |_, _| {}, Code::Approved),
    ];
    for (what, operation, end, code) in ends {
        let mut core = core(|p| p.guard_window_s = 120);
        let suspended = |life| Operation::AccountLife(life);
        if what == "declined" {
            core.ok("C1", suspended(tegata_model::Life::Suspended));
            core.expect("C1", operation, Code::AccountSuspended);
            core.ok("C1", suspended(tegata_model::Life::Active));
        } else {
            let key = core.ok("C1", operation);
            end(&mut core, key);
        }
        assert_eq!(core.run("C1", debit("S1", 500)).decision.code, code, "{what}");
    }
}

#[test]
fn the_newest_that_stands_is_named() {
    let mut core = core(|p| p.guard_window_s = 120);
    let mut made = Vec::new();
    let mut token = Position::ZERO;
    for _ in 0..4 {
        let key = core.next_key();
        let d = core.under("C1", key, with_token(token)).decision;
        assert_eq!(d.code, Code::Approved);
        token = d.position;
        made.push((key, d.position));
    }
    for (key, position) in made.into_iter().rev() {
        assert_eq!(core.run("C1", debit("S1", 500)).decision.related, position);
        core.ok("C1", Operation::Reversal { original: key, remain: 0 });
    }
    core.ok("C1", debit("S1", 500));
}

#[test]
fn a_partial_approval_is_like_what_was_asked() {
    let mut core = Core::with(|p| p.guard_window_s = 120);
    core.issue("C1", 500, after(DAY));
    let partial = |amount| Operation::Debit(Purchase { partial: true, ..purchase("S1", amount) });
    core.expect("C1", partial(800), Code::PartiallyApproved);
    core.expect("C1", partial(800), Code::SuspectedDuplicate);
    core.expect("C1", partial(500), Code::InsufficientFunds);
}

#[test]
fn the_guard_reaches_as_far_as_the_memory() {
    let mut core = core(|p| p.guard_window_s = 40 * 86_400);
    core.ok("C1", debit("S1", 500));
    core.wait(604_800 + 600);
    core.expect("C1", debit("S1", 500), Code::SuspectedDuplicate);
    core.wait(1);
    core.ok("C1", debit("S1", 500));
}
