//! Issue, load, charge, reinstatement; ceilings of accounts; suspended and closed.

use crate::core::{Core, DAY, account, after, approval, debit, hold, issue, load, shop, yen};
use tegata_model::{AccountId, Approval, Code, Key, Life, LotKind, Operation, ProgrammeId, Timestamp};

fn charge(to: &str, amount: u64) -> Operation {
    Operation::Charge { wallet: account(to), amount }
}

fn reinstate(amount: u64, corrects: Key) -> Operation {
    let (programme, expires_at) = (ProgrammeId::new(1), after(30 * DAY));
    Operation::Reinstate { programme, amount: yen(amount), expires_at, corrects, approval: approval() }
}

#[test]
fn who_takes_value_and_who_does_not() {
    let mut core = Core::new();
    core.programme(2, |_| {});
    core.rule(Operation::ProgrammeLife { programme: ProgrammeId::new(2), life: Life::Suspended });
    let rows = [
        ("C1", issue(1, 100, after(DAY)), Code::Approved),
        ("C1", issue(1, 100, after(DAY)), Code::AccountExists),
        ("C1", load(1, 100, after(DAY), LotKind::Paid), Code::AccountKind),
        ("W1", load(1, 100, after(DAY), LotKind::Paid), Code::Approved),
        ("W1", issue(1, 100, after(DAY)), Code::AccountExists),
        ("C2", issue(9, 100, after(DAY)), Code::ProgrammeUnknown),
        ("C2", issue(2, 100, after(DAY)), Code::ProgrammeSuspended),
        ("W1", load(9, 100, after(DAY), LotKind::Paid), Code::ProgrammeUnknown),
        ("W1", load(2, 100, after(DAY), LotKind::Paid), Code::ProgrammeSuspended),
        ("C2", issue(1, 100, after(0)), Code::ExpiryInvalid),
        ("C2", issue(1, 100, Timestamp::from_micros(after(0).micros() + 1)), Code::Approved),
        ("", issue(1, 100, after(DAY)), Code::AccountUnknown),
        ("", load(1, 100, after(DAY), LotKind::Paid), Code::AccountUnknown),
        ("C9", charge("W1", 0), Code::AccountUnknown),
        ("W1", charge("W2", 0), Code::AccountKind),
        ("C1", charge("C1", 0), Code::AccountKind),
        ("C1", charge("C2", 0), Code::AccountKind),
        ("C1", charge("W1", 101), Code::InsufficientFunds),
        ("C1", charge("W1", 60), Code::Approved),
        ("C1", charge("W1", 0), Code::Approved),
        ("C1", charge("W1", 0), Code::InsufficientFunds),
        ("C9", debit("S1", 1), Code::AccountUnknown),
    ];
    for (name, operation, code) in rows {
        core.expect(name, operation, code);
    }
    assert_eq!((core.balance("C1"), core.balance("W1")), (0, 200));
    core.expect("C2", Operation::Charge { wallet: AccountId::NONE, amount: 0 }, Code::AccountUnknown);
}

#[test]
fn a_charged_lot_keeps_its_name_and_its_end() {
    let mut core = Core::new();
    core.issue("C1", 500, after(DAY));
    core.ok("W1", load(1, 50, after(9 * DAY), LotKind::Paid));
    let lot = core.view("C1").lots[0];
    for amount in [100, 200] {
        core.ok("C1", charge("W1", amount));
    }
    let moved = core.view("W1").lots[0];
    assert_eq!((moved.id, moved.remaining, moved.expires_at), (lot.id, 300, lot.expires_at));
    let s = core.sums();
    assert_eq!((s.issued, s.charged, s.balances), (500, 50, 550), "moving makes nothing");
}

#[test]
fn an_account_holds_at_most_what_its_programme_allows() {
    let mut core = Core::with(|p| p.balance_max = 1_000);
    core.expect("C1", issue(1, 1_001, after(DAY)), Code::BalanceLimit);
    core.issue("C1", 1_000, after(DAY));
    core.ok("W1", load(1, 600, after(DAY), LotKind::Paid));
    core.ok("W1", hold("S1", 500, 60));
    core.expect("W1", load(1, 401, after(DAY), LotKind::Paid), Code::BalanceLimit);
    core.expect("C1", charge("W1", 401), Code::BalanceLimit);
    core.ok("W1", load(1, 400, after(DAY), LotKind::Paid));
    core.expect("C1", charge("W1", 1), Code::BalanceLimit);
    assert_eq!((core.balance("C1"), core.balance("W1")), (1_000, 500));
}

#[test]
fn an_account_holds_a_bounded_number_of_lots() {
    let mut core = Core::new();
    core.issue("C1", 5, after(DAY));
    for _ in 0..251 {
        core.ok("W1", load(1, 1, after(DAY), LotKind::Paid));
    }
    core.expect("W1", load(1, 1, after(DAY), LotKind::Paid), Code::LotLimit);
    core.expect("C1", charge("W1", 5), Code::LotLimit);
    assert_eq!((core.balance("C1"), core.balance("W1")), (5, 251));
    // Empty lots make room once nothing can refer to them.
    let mut taken = Vec::new();
    for _ in 0..8 {
        taken.push(core.ok("W1", debit("S1", 30)));
    }
    core.expect("W1", load(1, 1, after(30 * DAY), LotKind::Paid), Code::LotLimit);
    core.ok("W1", Operation::Reversal { original: taken[7], remain: 0 });
    assert_eq!(core.balance("W1"), 41);
    core.wait(8 * DAY);
    core.ok("W1", load(1, 1, after(30 * DAY), LotKind::Paid));
    assert_eq!(core.balance("W1"), 1, "the others have expired");
    assert_eq!(core.sums().balances, 41 + 5 + 1);
}

#[test]
fn suspended_and_closed() {
    type Change = fn(&mut Core, Life);
    let of_account: Change = |c, life| {
        c.ok("C1", Operation::AccountLife(life));
    };
    let of_shop: Change = |c, life| c.rule(Operation::ShopLife { shop: shop("S1"), life });
    let of_programme: Change = |c, life| c.rule(Operation::ProgrammeLife { programme: ProgrammeId::new(1), life });
    for (change, suspended, closed) in [
        (of_account, Code::AccountSuspended, Code::AccountClosed),
        (of_shop, Code::ShopSuspended, Code::ShopSuspended),
        (of_programme, Code::ProgrammeSuspended, Code::ProgrammeSuspended),
    ] {
        for (life, code) in [(Life::Suspended, suspended), (Life::Closed, closed)] {
            let mut core = Core::new();
            core.issue("C1", 500, after(DAY));
            let held = core.ok("C1", hold("S1", 100, 60));
            change(&mut core, life);
            core.expect("C1", debit("S1", 10), code);
            core.expect("C1", hold("S1", 10, 0), code);
            let charged = if code == Code::ShopSuspended { Code::Approved } else { code };
            core.expect("C1", charge("W1", 1), charged);
            core.ok("C1", Operation::Capture { original: held, amount: 0 });
            assert_eq!(core.sums().spent, 100, "what was reserved before can be taken");
            if life == Life::Suspended {
                change(&mut core, Life::Active);
                core.ok("C1", debit("S1", 10));
            }
        }
    }
}

#[test]
fn what_is_closed_stays_closed() {
    let mut core = Core::new();
    core.issue("C1", 500, after(DAY));
    for life in [Life::Closed, Life::Closed] {
        core.ok("C1", Operation::AccountLife(life));
        core.rule(Operation::ShopLife { shop: shop("S1"), life });
        core.rule(Operation::ProgrammeLife { programme: ProgrammeId::new(1), life });
    }
    for life in [Life::Active, Life::Suspended] {
        core.expect("C1", Operation::AccountLife(life), Code::AccountClosed);
        core.expect("", Operation::ShopLife { shop: shop("S1"), life }, Code::ShopSuspended);
        let programme = Operation::ProgrammeLife { programme: ProgrammeId::new(1), life };
        core.expect("", programme, Code::ProgrammeSuspended);
    }
    core.expect("C9", Operation::AccountLife(Life::Active), Code::AccountUnknown);
    core.expect("", Operation::ShopLife { shop: shop("S9"), life: Life::Active }, Code::ShopUnknown);
    let unknown = Operation::ProgrammeLife { programme: ProgrammeId::new(9), life: Life::Active };
    core.expect("", unknown, Code::ProgrammeUnknown);
}

#[test]
fn a_reinstatement_gives_back_no_more_than_was_taken() {
    let mut core = Core::new();
    core.ok("W1", load(1, 1_000, after(DAY), LotKind::Paid));
    let taken = core.ok("W1", debit("S1", 500));
    core.ok("W1", Operation::Refund { original: taken, amount: yen(100) });
    core.expect("W1", reinstate(401, taken), Code::ExceedsOriginal);
    core.ok("W1", reinstate(150, taken));
    core.expect("W1", reinstate(251, taken), Code::ExceedsOriginal);
    core.ok("W1", reinstate(250, taken));
    core.expect("W1", reinstate(1, taken), Code::ExceedsOriginal);
    assert!(core.view("W1").lots.iter().all(|l| l.paid), "paid value comes back as paid value");
    assert_eq!((core.balance("W1"), core.sums().reinstated), (1_000, 400));
    core.expect("W1", Operation::Refund { original: taken, amount: yen(1) }, Code::ExceedsOriginal);
    core.ok("W1", Operation::Reversal { original: taken, remain: 0 });
    assert_eq!(core.balance("W1"), 1_000, "what the office gave back is not given back again");
    core.ok("W1", reinstate(5, Key::NONE));
    assert!(!core.view("W1").lots.last().expect("a lot").paid, "a gift is promo");
}

#[test]
fn a_reinstatement_needs_two_people_an_account_and_a_debit() {
    let mut core = Core::new();
    let made = core.ok("C1", issue(1, 500, after(DAY)));
    let declined = core.expect("C1", debit("S1", 900), Code::InsufficientFunds);
    let unseen = core.next_key();
    core.expect("C9", reinstate(1, Key::NONE), Code::AccountUnknown);
    core.expect("C1", reinstate(1, made), Code::OriginalKind);
    core.expect("C1", reinstate(1, declined), Code::OriginalDeclined);
    core.expect("C1", reinstate(1, unseen), Code::OriginalUnknown);
    core.expect("C1", reinstate(1, Key::from_bytes([7; 16])), Code::OriginalUnknown);
    let held = core.ok("C1", hold("S1", 100, 60));
    core.expect("C1", reinstate(1, held), Code::OriginalKind);
    core.ok("C1", Operation::Void { original: held });
    core.expect("C1", reinstate(1, held), Code::HoldVoided);
    let too_old = crate::core::key(core.at.minus_micros(9 * DAY * 1_000_000), 1);
    core.ok("C1", reinstate(1, too_old));
    let respelt = (*b"Sato\0\0\0\0\0\0\0\0\0\0\0\0", *b"sATO\0x\0\0\0\0\0\0\0\0\0\0");
    for (maker, approver) in [([b'm'; 16], [b'm'; 16]), ([0; 16], [b'a'; 16]), ([b'm'; 16], [0; 16]), respelt] {
        let Operation::Reinstate { programme, amount, expires_at, corrects, approval } = reinstate(1, Key::NONE) else {
            unreachable!("a reinstatement")
        };
        let approval = Approval { maker, approver, ..approval };
        let alone = Operation::Reinstate { programme, amount, expires_at, corrects, approval };
        core.expect("C1", alone, Code::SamePerson);
    }
    core.ok("C1", Operation::AccountLife(Life::Suspended));
    core.ok("C1", reinstate(1, Key::NONE));
    core.ok("C1", Operation::AccountLife(Life::Closed));
    core.expect("C1", reinstate(1, Key::NONE), Code::AccountClosed);
}
