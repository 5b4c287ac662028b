//! Stand-in: who is leased what, and what becomes of each advice.

use crate::core::{Core, DAY, after, debit, hold, issue, key, load, purchase, shop, yen};
use tegata_engine::{Applied, Effect, SHORTFALL};
use tegata_model::{
    Advice, Allowance, Code, GatewayId, Key, Life, LotKind, Mark, Operation, Position, ProgrammeId, Purchase, Settings,
    State, Timestamp,
};

const MOST: Allowance = Allowance::with_defaults(50_000);

/// Programme 1 leases; coupon C1 has ¥10,000.
fn core() -> Core {
    let mut core = Core::with(|p| (p.guard_window_s, p.stand_in) = (0, MOST));
    core.issue("C1", 10_000, after(100 * DAY));
    core
}

fn lease_of(holder: u8, allowance: Allowance) -> Operation {
    Operation::Lease { programme: ProgrammeId::new(1), holder: [holder; 16], allowance }
}

fn lease(core: &mut Core) -> Position {
    let applied = core.run("", lease_of(1, MOST));
    assert_eq!((applied.decision.code, applied.decision.amount.get()), (Code::Approved, 50_000));
    applied.decision.position
}

fn advice_of(core: &Core, lease: Position, purchase: Purchase) -> Advice {
    Advice { purchase, programme: ProgrammeId::new(1), lease, approved_at: core.at }
}

fn advise(core: &mut Core, name: &str, key: Key, lease: Position, amount: u64) -> Applied {
    let advice = advice_of(core, lease, purchase("S1", amount));
    core.under(name, key, Operation::Advice(advice))
}

/// Yen that the last command took from lots, and yen that were missing.
fn taken(core: &Core) -> (u64, u64) {
    let of = |short: bool| {
        core.engine.last_lots().iter().filter(|t| (t.lot == SHORTFALL) == short).map(|t| t.amount).sum::<u64>()
    };
    (of(false), of(true))
}

#[test]
fn who_is_leased_what() {
    type Change = fn(&mut Core);
    let rows: [(&str, Change, Operation, Code); 12] = [
        ("as the programme says", |_| {}, lease_of(1, MOST), Code::Approved),
        (
            "another programme",
            |_| {},
            Operation::Lease { programme: ProgrammeId::new(9), holder: [1; 16], allowance: MOST },
            Code::ProgrammeUnknown,
        ),
        ("off", |c| c.programme(1, |p| p.stand_in = Allowance::NONE), lease_of(1, MOST), Code::StandInOff),
        ("degraded", |c| c.rule(Operation::Mark(Mark::Degraded)), lease_of(1, MOST), Code::StandInOff),
        ("a suspect clock", |c| c.rule(Operation::Mark(Mark::ClockSuspect)), lease_of(1, MOST), Code::StandInOff),
        (
            "normal again",
            |c| {
                c.rule(Operation::Mark(Mark::Degraded));
                c.rule(Operation::Mark(Mark::Normal));
            },
            lease_of(1, MOST),
            Code::Approved,
        ),
        (
            "suspended",
            |c| c.rule(Operation::ProgrammeLife { programme: ProgrammeId::new(1), life: Life::Suspended }),
            lease_of(1, MOST),
            Code::ProgrammeSuspended,
        ),
        ("nothing", |_| {}, lease_of(1, Allowance::NONE), Code::AmountLimit),
        ("more", |_| {}, lease_of(1, Allowance { payment_max: 3_001, ..MOST }), Code::AmountLimit),
        ("longer", |_| {}, lease_of(1, Allowance { seconds: 3_601, ..MOST }), Code::AmountLimit),
        ("after 60 days less a moment", |c| c.at = after(60 * DAY).minus_micros(1), lease_of(1, MOST), Code::Approved),
        ("after 60 days", |c| c.at = after(60 * DAY), lease_of(1, MOST), Code::StandInOff),
    ];
    for (what, change, operation, code) in rows {
        let mut core = core();
        change(&mut core);
        assert_eq!(core.run("", operation).decision.code, code, "{what}");
    }
}

#[test]
fn one_client_at_a_time_holds_a_lease() {
    let mut core = core();
    lease(&mut core);
    core.expect("", lease_of(2, MOST), Code::LeaseHeld);
    let mut other = core.envelope("", key(core.at, 99));
    other.gateway = GatewayId::new(2);
    assert_eq!(core.apply(other, lease_of(1, MOST)).decision.code, Code::LeaseHeld, "another gateway");
    core.wait(3_599);
    core.expect("", lease_of(2, MOST), Code::LeaseHeld);
    core.ok("", lease_of(1, Allowance { seconds: 60, ..MOST }));
    core.wait(1);
    core.expect("", lease_of(2, MOST), Code::LeaseHeld);
    core.wait(59);
    core.ok("", lease_of(2, MOST));
}

#[test]
fn an_advice_or_new_rules_keep_stand_in_alive() {
    let mut core = core();
    let epoch = lease(&mut core);
    core.wait(40 * DAY);
    let key = core.next_key();
    assert!(advise(&mut core, "C1", key, epoch, 100).flagged, "long after the lease");
    core.wait(59 * DAY);
    core.ok("", lease_of(1, MOST));
    core.wait(DAY);
    core.expect("", lease_of(1, MOST), Code::StandInOff);
    core.programme(1, |p| (p.guard_window_s, p.stand_in) = (0, MOST));
    core.ok("", lease_of(1, MOST));
}

#[test]
fn an_advice_takes_what_is_there_and_the_rest_is_the_programmes() {
    type Change = fn(&mut Core);
    let rows: [(&str, &str, Change, (u64, u64)); 11] = [
        ("covered", "C1", |_| {}, (3_000, 0)),
        (
            "half of it",
            "C1",
            |c| {
                c.ok("C1", debit("S2", 8_500));
            },
            (1_500, 1_500),
        ),
        (
            "nothing left",
            "C1",
            |c| {
                c.ok("C1", debit("S2", 10_000));
            },
            (0, 3_000),
        ),
        (
            "held elsewhere",
            "C1",
            |c| {
                c.ok("C1", hold("S2", 9_000, 600));
            },
            (1_000, 2_000),
        ),
        ("no such account", "C9", |_| {}, (0, 3_000)),
        (
            "account suspended",
            "C1",
            |c| {
                c.ok("C1", Operation::AccountLife(Life::Suspended));
            },
            (0, 3_000),
        ),
        (
            "account closed",
            "C1",
            |c| {
                c.ok("C1", Operation::AccountLife(Life::Closed));
            },
            (0, 3_000),
        ),
        ("shop closed", "C1", |c| c.rule(Operation::ShopLife { shop: shop("S1"), life: Life::Closed }), (0, 3_000)),
        (
            "programme suspended",
            "C1",
            |c| c.rule(Operation::ProgrammeLife { programme: ProgrammeId::new(1), life: Life::Suspended }),
            (0, 3_000),
        ),
        ("over the payment limit", "C1", |c| c.programme(1, |p| p.payment_max = 10), (3_000, 0)),
        ("expired since the lease", "C1", |c| c.wait(101 * DAY), (3_000, 0)),
    ];
    for (what, name, change, expected) in rows {
        let mut core = core();
        let epoch = lease(&mut core);
        change(&mut core);
        let before = core.sums();
        let key = core.next_key();
        let applied = advise(&mut core, name, key, epoch, 3_000);
        assert_eq!((applied.decision.code, applied.effect), (Code::Approved, Effect::Decided), "{what}");
        assert_eq!(applied.decision.amount.get(), 3_000, "{what}");
        assert_eq!(taken(&core), expected, "{what}");
        assert_eq!(core.sums().shortfall, u128::from(expected.1), "{what}");
        assert_eq!(core.sums().spent - before.spent, 3_000, "{what}: the shop is owed all of it");
        assert_eq!(core.engine.shop_sums(&shop("S1")).map(|s| (s.spent, s.count)), Some((3_000, 1)), "{what}");
        // A reversal undoes exactly that, whatever the state.
        let reversed = core.run(name, Operation::Reversal { original: key, remain: 0 });
        assert_eq!((reversed.decision.code, reversed.decision.amount.get()), (Code::Approved, 3_000), "{what}");
        assert_eq!(taken(&core), expected, "{what}");
        assert_eq!((core.sums().shortfall, core.sums().balances), (0, before.balances), "{what}");
        assert_eq!(core.sums().returned, 3_000, "{what}");
    }
}

#[test]
fn expiry_is_compared_with_the_approval_within_the_leases_life() {
    // The lease lives from 0 s to 3,600 s and the coupon ends at 1,800 s; told at 7,200 s.
    for (approved, covered) in [(-500, true), (0, true), (1_799, true), (1_800, false), (5_000, false)] {
        let mut core = core();
        core.issue("C2", 3_000, after(1_800));
        let epoch = lease(&mut core);
        core.wait(7_200);
        let approved_at = Timestamp::from_micros(after(0).micros() + approved * 1_000_000);
        let told = Advice { approved_at, ..advice_of(&core, epoch, purchase("S1", 1_000)) };
        let applied = core.run("C2", Operation::Advice(told));
        assert_eq!(taken(&core), if covered { (1_000, 0) } else { (0, 1_000) }, "{approved}");
        assert_eq!(applied.flagged, !(0..3_600).contains(&approved), "{approved}");
    }
    // A lease that nobody granted moves no clock.
    let mut core = core();
    core.issue("C2", 3_000, after(1_800));
    core.wait(7_200);
    let told = Advice { approved_at: after(0), ..advice_of(&core, Position::new(1), purchase("S1", 1_000)) };
    assert!(core.run("C2", Operation::Advice(told)).flagged);
    assert_eq!(taken(&core), (0, 1_000));
}

#[test]
fn what_is_over_the_lease_is_accepted_and_flagged() {
    let allowance =
        Allowance { payment_max: 3_000, account_max: 4_000, shop_max: 5_000, total_max: 7_000, seconds: 60 };
    type Told = &'static [(&'static str, &'static str, u64, bool)];
    let rows: [(&str, Told); 5] = [
        ("per payment", &[("C1", "S1", 3_000, false), ("C2", "S2", 3_001, true)]),
        ("per account", &[("C1", "S1", 3_000, false), ("C1", "S2", 1_001, true)]),
        ("per shop", &[("C1", "S1", 3_000, false), ("C2", "S1", 2_000, false), ("C3", "S1", 1, true)]),
        ("in total", &[("C1", "S1", 3_000, false), ("C2", "S2", 3_000, false), ("C3", "S1", 1_001, true)]),
        ("one per account and shop", &[("C1", "S1", 10, false), ("C1", "S2", 10, false), ("C1", "S1", 10, true)]),
    ];
    for (what, told) in rows {
        let mut core = core();
        core.programme(1, |p| (p.guard_window_s, p.stand_in) = (0, allowance));
        core.issue("C2", 10_000, after(DAY));
        core.issue("C3", 10_000, after(DAY));
        core.ok("", lease_of(1, allowance));
        let epoch = Position::new(core.position);
        for (name, at_shop, amount, flagged) in told {
            let advice = advice_of(&core, epoch, purchase(at_shop, *amount));
            let applied = core.run(name, Operation::Advice(advice));
            assert_eq!((applied.decision.code, applied.flagged), (Code::Approved, *flagged), "{what}: {amount}");
            assert_eq!(taken(&core), (*amount, 0), "{what}");
        }
    }
}

#[test]
fn one_key_one_advice() {
    let mut core = core();
    let epoch = lease(&mut core);
    let key = core.next_key();
    let first = advise(&mut core, "C1", key, epoch, 3_000);
    for seconds in [0, 600, 6 * DAY] {
        core.wait(seconds);
        let again = advise(&mut core, "C1", key, epoch, 3_000);
        assert_eq!((again.effect, again.decision), (Effect::Replayed, first.decision));
    }
    let late = core.under("C1", key, debit("S1", 3_000));
    assert_eq!((late.effect, late.decision), (Effect::Replayed, first.decision), "the late original");
    assert_eq!(core.under("C1", key, debit("S1", 2_999)).decision.code, Code::Conflict);
    assert_eq!(core.under("C1", key, Operation::Fence).decision, first.decision);
    assert_eq!(core.balance("C1"), 7_000);
}

#[test]
fn a_key_that_was_decided_meanwhile() {
    type Before = fn(&mut Core, Key);
    // What came first, whether the advice stands beside it, and what it takes.
    let rows: [(&str, Before, bool, (u64, u64)); 7] = [
        (
            "the same debit",
            |c, k| {
                c.under("C1", k, debit("S1", 3_000));
            },
            false,
            (0, 0),
        ),
        (
            "a fence",
            |c, k| {
                c.under("C1", k, Operation::Fence);
            },
            true,
            (3_000, 0),
        ),
        (
            "a decline",
            |c, k| {
                c.ok("C1", Operation::AccountLife(Life::Suspended));
                c.under("C1", k, debit("S1", 3_000));
                c.ok("C1", Operation::AccountLife(Life::Active));
            },
            true,
            (3_000, 0),
        ),
        (
            "another debit",
            |c, k| {
                c.under("C1", k, debit("S1", 10));
            },
            true,
            (3_000, 0),
        ),
        (
            "a hold",
            |c, k| {
                c.under("C1", k, hold("S1", 3_000, 60));
            },
            true,
            (3_000, 0),
        ),
        (
            "another advice",
            |c, k| {
                advise(c, "C1", k, Position::new(1), 10);
            },
            true,
            (3_000, 0),
        ),
        (
            "a reversal",
            |c, k| {
                c.ok("C1", Operation::Reversal { original: k, remain: 0 });
            },
            true,
            (0, 0),
        ),
    ];
    for (what, before, beside, expected) in rows {
        let mut core = core();
        let epoch = lease(&mut core);
        let key = core.next_key();
        before(&mut core, key);
        let stored = core.engine.status(core.envelope("", key).namespace, &crate::core::account("C1"), &key, core.at);
        let balance = core.balance("C1");
        let first = advise(&mut core, "C1", key, epoch, 3_000);
        assert_eq!(taken(&core), expected, "{what}");
        assert_eq!((first.decision.code, first.flagged), (Code::Approved, beside), "{what}");
        assert_eq!(core.balance("C1"), balance - expected.0, "{what}");
        let related = if beside { stored.expect("decided").0.position } else { Position::ZERO };
        assert_eq!(first.decision.related, related, "{what}: it names what it stands beside");
        for _ in 0..2 {
            core.wait(DAY);
            let again = advise(&mut core, "C1", key, epoch, 3_000);
            assert_eq!((again.effect, again.decision), (Effect::Replayed, first.decision), "{what}");
        }
        let still = core.engine.status(core.envelope("", key).namespace, &crate::core::account("C1"), &key, core.at);
        assert_eq!(still.map(|s| s.0), stored.map(|s| s.0), "{what}: the key's own decision stays");
    }
}

#[test]
fn a_reversal_finds_the_advice_beside_a_fence() {
    let mut core = core();
    let epoch = lease(&mut core);
    let key = core.next_key();
    core.under("C1", key, Operation::Fence);
    advise(&mut core, "C1", key, epoch, 3_000);
    assert_eq!(core.balance("C1"), 7_000);
    let part = core.run("C1", Operation::Refund { original: key, amount: yen(1_000) });
    assert_eq!((part.decision.code, core.balance("C1")), (Code::Approved, 8_000));
    core.ok("C1", Operation::Reversal { original: key, remain: 0 });
    assert_eq!(core.balance("C1"), 10_000);
    assert_eq!(core.under("C1", key, debit("S1", 3_000)).decision.code, Code::Fenced);
}

#[test]
fn the_shortfall_comes_back_first() {
    // Of ¥3,000 the coupon covers ¥1,000: what is given back, and what is missing afterwards.
    type Back = fn(Key) -> Operation;
    let rows: [(&str, Back, u128, u64); 5] = [
        ("a part", |k| Operation::Refund { original: k, amount: yen(500) }, 1_500, 0),
        ("what was missing", |k| Operation::Refund { original: k, amount: yen(2_000) }, 0, 0),
        ("more", |k| Operation::Refund { original: k, amount: yen(2_400) }, 0, 400),
        ("all but a part", |k| Operation::Reversal { original: k, remain: 700 }, 0, 300),
        ("all", |k| Operation::Reversal { original: k, remain: 0 }, 0, 1_000),
    ];
    for (what, operation, missing, balance) in rows {
        let mut core = core();
        core.issue("C2", 1_000, after(DAY));
        let epoch = lease(&mut core);
        let key = core.next_key();
        advise(&mut core, "C2", key, epoch, 3_000);
        core.ok("C2", operation(key));
        assert_eq!((core.sums().shortfall, core.balance("C2")), (missing, balance), "{what}");
        core.run("C2", Operation::Reversal { original: key, remain: 0 });
        assert_eq!((core.sums().shortfall, core.lots("C2")), (0, vec![1_000]), "{what}: and then everything");
    }
}

#[test]
fn what_was_missing_is_not_reinstated() {
    let mut core = core();
    core.issue("C2", 1_000, after(DAY));
    let epoch = lease(&mut core);
    let key = core.next_key();
    advise(&mut core, "C2", key, epoch, 3_000);
    let give = |amount| Operation::Reinstate {
        programme: ProgrammeId::new(1),
        amount: yen(amount),
        expires_at: after(DAY),
        corrects: key,
        approval: crate::core::approval(),
    };
    core.expect("C2", give(1_001), Code::ExceedsOriginal);
    core.ok("C2", give(1_000));
    core.expect("C2", give(1), Code::ExceedsOriginal);
    let rest = core.run("C2", Operation::Reversal { original: key, remain: 0 });
    assert_eq!((rest.decision.amount.get(), core.balance("C2"), core.sums().shortfall), (2_000, 1_000, 0));
}

#[test]
fn an_advice_takes_from_31_lots_and_leaves_none_overdrawn() {
    let mut core = core();
    for n in 0..40 {
        core.ok("W1", load(1, 10, after(DAY + n), LotKind::Paid));
    }
    let epoch = lease(&mut core);
    let key = core.next_key();
    advise(&mut core, "W1", key, epoch, 400);
    assert_eq!((taken(&core), core.balance("W1")), ((310, 90), 90));
    core.ok("W1", Operation::Reversal { original: key, remain: 0 });
    assert_eq!((core.balance("W1"), core.sums().shortfall), (400, 0));
}

#[test]
fn a_like_debit_after_an_advice_is_suspected() {
    let mut core = Core::with(|p| p.stand_in = MOST);
    core.issue("C1", 10_000, after(DAY));
    let epoch = lease(&mut core);
    let key = core.next_key();
    let told = advise(&mut core, "C1", key, epoch, 3_000);
    let pressed = core.run("C1", debit("S1", 3_000));
    assert_eq!((pressed.decision.code, pressed.decision.related), (Code::SuspectedDuplicate, told.decision.position));
    // The customer was shown it: no doubt outlasts the guard window.
    core.wait(120);
    assert_eq!(core.run("C1", debit("S1", 3_000)).decision.code, Code::Approved);
}

#[test]
fn an_advice_has_no_deadline_and_its_key_a_time() {
    let horizon = u64::from(Settings::default().horizon_s);
    for (seconds, code) in [(0, Code::Approved), (horizon, Code::Approved), (horizon + 1, Code::KeyTooOld)] {
        let mut core = core();
        let epoch = lease(&mut core);
        let key = core.next_key();
        let mut envelope = core.envelope("C1", key);
        envelope.deadline = core.at;
        let advice = advice_of(&core, epoch, purchase("S1", 100));
        core.wait(seconds);
        assert_eq!(core.apply(envelope, Operation::Advice(advice)).decision.code, code, "after {seconds} s");
        assert_eq!(core.balance("C1"), if code == Code::Approved { 9_900 } else { 10_000 });
    }
    let mut core = core();
    let wrong = core.run(
        "C1",
        Operation::Advice(Advice {
            programme: ProgrammeId::new(9),
            ..advice_of(&core, Position::new(1), purchase("S1", 100))
        }),
    );
    assert_eq!((wrong.decision.code, wrong.effect), (Code::Malformed, Effect::NotRecorded));
}

#[test]
fn an_advice_before_its_account_gives_nothing_to_it_afterwards() {
    let mut core = core();
    let epoch = lease(&mut core);
    let key = core.next_key();
    advise(&mut core, "C7", key, epoch, 500);
    core.ok("C7", issue(1, 900, after(DAY)));
    core.ok("C7", Operation::Refund { original: key, amount: yen(500) });
    assert_eq!((core.balance("C7"), core.sums().shortfall), (900, 0));
    let status = core.engine.status(core.envelope("", key).namespace, &crate::core::account("C7"), &key, core.at);
    assert_eq!(status.map(|(_, state)| state), Some(State::Reversed));
}

#[test]
fn after_a_reversal_that_came_first_an_advice_takes_nothing_whatever_stood_under_its_key() {
    type Before = fn(&mut Core, Key);
    let rows: [(&str, Before); 4] = [
        ("nothing", |_, _| {}),
        ("a fence", |c, k| {
            c.under("C1", k, Operation::Fence);
        }),
        ("a decline", |c, k| {
            c.ok("C1", Operation::AccountLife(Life::Suspended));
            c.under("C1", k, debit("S1", 3_000));
            c.ok("C1", Operation::AccountLife(Life::Active));
        }),
        ("an advice", |c, k| {
            let epoch = Position::new(c.position);
            advise(c, "C1", k, epoch, 3_000);
        }),
    ];
    for (what, before) in rows {
        let mut core = core();
        let epoch = lease(&mut core);
        let key = core.next_key();
        before(&mut core, key);
        core.ok("C1", Operation::Reversal { original: key, remain: 0 });
        advise(&mut core, "C1", key, epoch, 3_000);
        assert_eq!((taken(&core), core.balance("C1")), ((0, 0), 10_000), "{what}");
    }
}

#[test]
fn what_was_reversed_in_part_only_is_still_told() {
    let mut core = core();
    let epoch = lease(&mut core);
    let key = core.next_key();
    core.under("C1", key, Operation::Fence);
    core.ok("C1", Operation::Reversal { original: key, remain: 1_000 });
    advise(&mut core, "C1", key, epoch, 3_000);
    assert_eq!(core.balance("C1"), 7_000);
}

#[test]
fn another_gateways_advice_is_not_under_a_lease_and_uses_nothing_of_it_up() {
    let mut core = core();
    let epoch = lease(&mut core);
    let mut other = core.envelope("C1", key(core.at, 99));
    other.gateway = GatewayId::new(2);
    let advice = advice_of(&core, epoch, purchase("S1", 3_000));
    assert!(core.apply(other, Operation::Advice(advice)).flagged);
    let own = core.next_key();
    assert!(!advise(&mut core, "C1", own, epoch, 3_000).flagged, "the place is free");
}
