//! Rules for all: extensions of a cohort, programmes and shops.

use crate::core::{Core, DAY, after, approval, debit, issue, load, shop};
use tegata_model::{Approval, Code, Extension, LotKind, Operation, Position, ProgrammeId, Timestamp};

/// Lots of any programme that end in a span get a new end, expired ones too.
pub fn extension(rule: u32, from: Timestamp, before: Timestamp, to: Timestamp) -> Operation {
    let extension = Extension {
        rule,
        programme: ProgrammeId::NONE,
        expiry_from: from,
        expiry_before: before,
        expires_at: to,
        as_of: Position::new(u64::MAX),
        include_expired: true,
    };
    Operation::Extend { extension, approval: approval() }
}

fn change(operation: Operation, change: impl FnOnce(&mut Extension)) -> Operation {
    let Operation::Extend { mut extension, approval } = operation else { unreachable!("an extension") };
    change(&mut extension);
    Operation::Extend { extension, approval }
}

#[test]
fn an_extension_covers_expired_lots_when_it_says_so() {
    for (include_expired, code) in [(true, Code::Approved), (false, Code::Expired)] {
        let mut core = Core::new();
        core.issue("C1", 500, after(DAY));
        core.wait(2 * DAY);
        core.expect("C1", debit("S1", 1), Code::Expired);
        let rule = extension(1, after(0), after(2 * DAY), after(5 * DAY));
        core.ok("", change(rule, |x| x.include_expired = include_expired));
        core.expect("C1", debit("S1", 2), code);
        core.at = after(5 * DAY).minus_micros(1);
        core.expect("C1", debit("S1", 3), code);
        core.at = after(5 * DAY);
        core.expect("C1", debit("S1", 4), Code::Expired);
    }
}

#[test]
fn an_extension_without_expired_lots_covers_those_that_live() {
    for (us, code) in [(1, Code::Approved), (0, Code::Expired)] {
        let mut core = Core::new();
        core.issue("C1", 500, after(DAY));
        core.at = after(DAY).minus_micros(us);
        let rule = extension(1, after(0), after(2 * DAY), after(5 * DAY));
        core.ok("", change(rule, |x| x.include_expired = false));
        core.at = after(4 * DAY);
        core.expect("C1", debit("S1", 2), code);
    }
}

#[test]
fn the_cohort_is_exact() {
    // A lot of programme 1, made at position `made`, ends at one day.
    let (day, us) = (after(DAY), |n: i64| Timestamp::from_micros(after(DAY).micros() + n));
    let made = {
        let mut core = Core::new();
        core.programme(2, |_| {});
        core.issue("C1", 500, day);
        core.position
    };
    type Change<'a> = Box<dyn Fn(&mut Extension) + 'a>;
    let rows: [(&str, Change<'_>, bool); 9] = [
        ("all", Box::new(|_| {}), true),
        ("from is inclusive", Box::new(|x| x.expiry_from = day), true),
        ("from is too late", Box::new(|x| x.expiry_from = us(1)), false),
        ("before is exclusive", Box::new(|x| x.expiry_before = day), false),
        ("before is late enough", Box::new(|x| x.expiry_before = us(1)), true),
        ("as of its position", Box::new(|x| x.as_of = Position::new(made)), true),
        ("as of before it was made", Box::new(|x| x.as_of = Position::new(made - 1)), false),
        ("its programme", Box::new(|x| x.programme = ProgrammeId::new(1)), true),
        ("another programme", Box::new(|x| x.programme = ProgrammeId::new(2)), false),
    ];
    for (what, set, covered) in rows {
        let mut core = Core::new();
        core.programme(2, |_| {});
        core.issue("C1", 500, day);
        assert_eq!(core.position, made);
        let rule = change(extension(1, after(0), after(2 * DAY), after(5 * DAY)), set);
        let Operation::Extend { extension, .. } = rule else { unreachable!("an extension") };
        let plan = core.engine.plan_extension(&extension, core.at);
        assert_eq!((plan.count, plan.sum), if covered { (1, 500) } else { (0, 0) }, "{what}");
        core.ok("", rule);
        core.at = day;
        assert_eq!(core.balance("C1"), if covered { 500 } else { 0 }, "{what}");
        assert_eq!(core.engine.plan_extension(&extension, core.at).count, 0, "{what}: done");
    }
}

#[test]
fn the_latest_extension_that_applies_counts() {
    let mut core = Core::new();
    core.issue("C1", 500, after(DAY));
    for (rule, days) in [(1, 5), (2, 9), (3, 3)] {
        core.ok("", extension(rule, after(0), after(2 * DAY), after(days * DAY)));
    }
    assert_eq!(core.view("C1").lots[0].expires_at, after(9 * DAY));
    // A later cohort is picked by the end at issue.
    core.ok("", extension(4, after(8 * DAY), after(10 * DAY), after(20 * DAY)));
    assert_eq!(core.view("C1").lots[0].expires_at, after(9 * DAY));
}

#[test]
fn a_plan_counts_what_a_dead_hold_gave_back() {
    let mut core = Core::new();
    core.issue("C1", 500, after(DAY));
    core.ok("C1", crate::core::hold("S1", 200, 60));
    let Operation::Extend { extension, .. } = extension(1, after(0), after(2 * DAY), after(5 * DAY)) else {
        unreachable!("an extension")
    };
    let sum = |core: &Core| core.engine.plan_extension(&extension, core.at).sum;
    assert_eq!(sum(&core), 300);
    core.wait(60);
    assert_eq!(sum(&core), 500);
    let dead = core.engine.plan_extension(&extension, core.at);
    core.expect("C1", debit("S1", 501), Code::InsufficientFunds);
    assert_eq!(core.engine.plan_extension(&extension, core.at).digest, dead.digest);
}

#[test]
fn what_is_not_a_rule() {
    let mut core = Core::new();
    let good = extension(7, after(0), after(2 * DAY), after(5 * DAY));
    let Operation::Extend { extension: x, approval } = good else { unreachable!("an extension") };
    let alone = Approval { approver: approval.maker, ..approval };
    core.expect("", Operation::Extend { extension: x, approval: alone }, Code::SamePerson);
    core.expect("", change(good, |x| x.rule = 0), Code::RuleExists);
    core.expect("", change(good, |x| x.programme = ProgrammeId::new(9)), Code::ProgrammeUnknown);
    core.expect("", change(good, |x| x.expires_at = x.expiry_from), Code::ExpiryInvalid);
    core.expect("", change(good, |x| x.expiry_before = x.expiry_from), Code::ExpiryInvalid);
    core.ok("", good);
    core.expect("", good, Code::RuleExists);
    for rule in 8..263 {
        core.ok("", extension(rule, after(0), after(2 * DAY), after(5 * DAY)));
    }
    core.expect("", extension(500, after(0), after(2 * DAY), after(5 * DAY)), Code::LimitReached);
}

#[test]
fn a_shop_takes_its_programme_or_those_that_allow_any_shop() {
    let register = |name: &str, programme: u32| Operation::Shop {
        shop: shop(name),
        programme: ProgrammeId::new(programme),
        name: [0; 48],
    };
    let mut core = Core::new();
    core.programme(2, |p| p.any_shop = false);
    for (name, programme) in [("ONE", 1), ("TWO", 2)] {
        core.rule(register(name, programme));
    }
    core.expect("", register("NINE", 9), Code::ProgrammeUnknown);
    core.ok("C1", issue(1, 500, after(DAY)));
    core.ok("C2", issue(2, 500, after(DAY)));
    let rows = [
        ("S1", Code::Approved, Code::ShopNotAllowed),
        ("ONE", Code::Approved, Code::WrongProgramme),
        ("TWO", Code::WrongProgramme, Code::Approved),
        ("NINE", Code::ShopUnknown, Code::ShopUnknown),
    ];
    for (name, one, two) in rows {
        core.expect("C1", debit(name, 10), one);
        core.expect("C2", debit(name, 10), two);
    }
    // A wallet with both pays at each shop with what is allowed there.
    core.ok("W1", load(1, 100, after(DAY), LotKind::Paid));
    core.ok("W1", load(2, 100, after(DAY), LotKind::Paid));
    core.expect("W1", debit("TWO", 101), Code::InsufficientFunds);
    core.ok("W1", debit("TWO", 100));
    assert_eq!(core.view("W1").lots[0].programme, ProgrammeId::new(1));
    core.rule(register("TWO", 1));
    core.ok("W1", debit("TWO", 99));
}

#[test]
fn why_nothing_can_be_taken_is_told_by_rank() {
    // Of several reasons the one that a customer can do least about is told.
    let mut core = Core::new();
    core.programme(2, |p| p.any_shop = false);
    core.ok("W1", load(1, 100, after(100), LotKind::Paid));
    core.wait(100);
    core.expect("W1", debit("S1", 1), Code::Expired);
    core.ok("W1", load(2, 100, after(DAY), LotKind::Paid));
    core.expect("W1", debit("S1", 2), Code::ShopNotAllowed);
    core.programme(3, |_| {});
    core.ok("W1", load(3, 100, after(DAY), LotKind::Paid));
    core.expect("W1", debit("S1", 101), Code::InsufficientFunds);
    let suspend = Operation::ProgrammeLife { programme: ProgrammeId::new(3), life: tegata_model::Life::Suspended };
    core.rule(suspend);
    core.expect("W1", debit("S1", 3), Code::ProgrammeSuspended);
}
