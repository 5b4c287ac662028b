//! The engine and the reference decide the same random histories, and agree after every command.
//!
//! A failure names its seed; `TEGATA_SEED=<seed>` runs that history alone.

use crate::core::{account, record, shop};
use crate::history::{History, SHOPS, Step};
use std::collections::{BTreeMap, BTreeSet};
use tegata_engine::{Applied, Effect, Engine};
use tegata_model::{Code, Operation};
use tegata_reference::Reference;

const HISTORIES: u64 = 120;
const STEPS: usize = 4_000;

/// Codes that a history of the core alone can lead to.
const REACHED: [Code; 38] = [
    Code::Approved,
    Code::PartiallyApproved,
    Code::InsufficientFunds,
    Code::Expired,
    Code::NotYetValid,
    Code::ShopUnknown,
    Code::ShopNotAllowed,
    Code::WrongProgramme,
    Code::ShopSuspended,
    Code::AccountUnknown,
    Code::AccountSuspended,
    Code::AccountClosed,
    Code::AccountExists,
    Code::AccountKind,
    Code::ProgrammeUnknown,
    Code::ProgrammeSuspended,
    Code::AmountLimit,
    Code::BalanceLimit,
    Code::LotLimit,
    Code::ExpiryInvalid,
    Code::OriginalUnknown,
    Code::OriginalKind,
    Code::OriginalDeclined,
    Code::HoldVoided,
    Code::HoldCaptured,
    Code::AlreadyReversed,
    Code::ExceedsOriginal,
    Code::SamePerson,
    Code::RuleExists,
    Code::StandInOff,
    Code::LeaseHeld,
    Code::SuspectedDuplicate,
    Code::DeadlinePassed,
    Code::Malformed,
    Code::Conflict,
    Code::Fenced,
    Code::KeyTooOld,
    Code::KeyClock,
];

/// Which operations came to which codes, and how.
#[derive(Default)]
struct Seen {
    codes: BTreeSet<Code>,
    by_kind: BTreeMap<(&'static str, Code), u64>,
    replayed: BTreeSet<&'static str>,
    flagged: u64,
    original_too_old: u64,
    forfeited: u64,
    paid_out: u64,
    short: u64,
    beside: u64,
    within_lease: u64,
}

impl Seen {
    fn note(&mut self, operation: &Operation, answer: &Applied) {
        let (code, name) = (answer.decision.code, Operation::name_of(operation.kind()));
        self.codes.insert(code);
        *self.by_kind.entry((name, code)).or_default() += 1;
        if answer.effect == Effect::Replayed {
            self.replayed.insert(name);
        }
        self.flagged += u64::from(answer.flagged);
        let told = matches!(operation, Operation::Advice(_)) && answer.effect == Effect::Decided;
        self.within_lease += u64::from(told && !answer.flagged);
        self.original_too_old += u64::from(code == Code::OriginalTooOld);
    }
}

#[test]
fn engine_and_reference_agree() {
    let mut seen = Seen::default();
    #[expect(clippy::disallowed_methods, reason = "a test may be told its seed")]
    if let Ok(seed) = std::env::var("TEGATA_SEED") {
        run(seed.parse().expect("TEGATA_SEED is a number"), &mut seen);
        return;
    }
    for seed in 0..HISTORIES {
        run(seed, &mut seen);
    }
    for code in REACHED {
        assert!(seen.codes.contains(&code), "no history came to {}", code.name());
    }
    assert!(seen.codes.iter().all(|c| REACHED.contains(c) || *c == Code::OriginalTooOld), "{:?}", seen.codes);
    assert!(seen.original_too_old > 100, "{} originals were too old", seen.original_too_old);
    assert!(seen.flagged > 100, "{} like debits were flagged", seen.flagged);
    assert!(seen.forfeited > 1 && seen.paid_out > 1, "refunds met expired lots");
    assert!(seen.within_lease > 100, "{} advices were within their lease", seen.within_lease);
    assert!(
        seen.short > 50 && seen.beside > 100,
        "{} sums are short, {} advices stand beside",
        seen.short,
        seen.beside
    );
    for name in [
        "issue", "load", "charge", "debit", "hold", "capture", "confirm", "void", "reversal", "refund", "fence",
        "lease", "advice",
    ] {
        let approved = if name == "fence" { Code::Fenced } else { Code::Approved };
        let times = seen.by_kind.get(&(name, approved)).copied().unwrap_or(0);
        assert!(times > 100, "{name} was done {times} times");
        assert!(seen.replayed.contains(name), "no {name} was repeated");
    }
}

fn run(seed: u64, seen: &mut Seen) {
    let mut history = History::new(seed);
    let (mut engine, mut reference) = (Engine::new(1 + seed as u32 % 5), Reference::default());
    for n in 0..STEPS {
        let step = history.step();
        let (position, at, command) = &step;
        let expected = reference.apply(*position, *at, command);
        let got = engine.apply(*position, *at, &record(command)).expect("a record");
        let place = || format!("TEGATA_SEED={seed}, step {n}: {command:?}");
        assert_eq!(got, expected, "{}", place());
        compare(&engine, &reference, &step, n % 50 == 0, &place);
        seen.note(&command.operation, &got);
        history.learn(&step, &got);
    }
    seen.beside += reference.beside.len() as u64;
    for (_, sums) in engine.sums() {
        seen.forfeited += u64::from(sums.expired > 0);
        seen.paid_out += u64::from(sums.paid_out > 0);
        seen.short += u64::from(sums.shortfall > 0);
    }
}

/// Books, takings and accounts; with `all`, every account and not only those of the command.
fn compare(engine: &Engine, reference: &Reference, step: &Step, all: bool, place: &dyn Fn() -> String) {
    let (_, at, command) = step;
    for (programme, sums) in engine.sums() {
        assert_eq!(sums, reference.sums(programme), "programme {programme} after {}", place());
        assert_eq!(
            sums.issued + sums.charged + sums.reinstated + sums.shortfall,
            sums.balances + sums.spent + sums.expired + sums.paid_out - sums.returned,
            "programme {programme} after {}",
            place()
        );
    }
    for name in SHOPS {
        let takings = reference.takings.get(&shop(name)).copied().unwrap_or_default();
        assert_eq!(engine.shop_sums(&shop(name)).unwrap_or_default(), takings, "{name} after {}", place());
    }
    if let Err(why) = engine.audit() {
        panic!("{why} after {}", place());
    }
    let wallet = match command.operation {
        Operation::Charge { wallet, .. } => wallet,
        _ => account("W1"),
    };
    for id in reference.accounts.keys().filter(|id| all || **id == command.envelope.account || **id == wallet) {
        assert_eq!(engine.account(id, *at), reference.view(id, *at), "account {id} after {}", place());
    }
    if let Some(i) = reference.known(command.envelope.namespace, command.envelope.account, &command.envelope.key, *at) {
        let entry = &reference.entries[i];
        let e = &command.envelope;
        let status = engine.status(e.namespace, &e.account, &e.key, *at);
        assert_eq!(status, Some((entry.decision, entry.state)), "status after {}", place());
    }
}
