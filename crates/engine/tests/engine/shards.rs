//! One history gives one state: over any number of shards, and again when it is replayed.

use crate::core::{record, shop};
use crate::history::{History, SHOPS};
use tegata_engine::{Applied, Engine};
use tegata_model::{AccountId, Extension, Position, ProgrammeId, Timestamp, decode_envelope};
use tegata_reference::Reference;

const HISTORIES: u64 = 24;
const STEPS: usize = 4_000;

struct Written {
    records: Vec<(Position, Timestamp, Vec<u8>)>,
    accounts: Vec<AccountId>,
}

/// A history as the journal has it.
fn write(seed: u64) -> Written {
    let (mut history, mut reference) = (History::new(seed), Reference::default());
    let mut records = Vec::new();
    for _ in 0..STEPS {
        let step = history.step();
        let answer = reference.apply(step.0, step.1, &step.2);
        history.learn(&step, &answer);
        records.push((step.0, step.1, record(&step.2)));
    }
    Written { records, accounts: reference.accounts.into_keys().collect() }
}

/// Applies a history, looking at everything now and then.
fn read(written: &Written, shards: u32) -> (Engine, Vec<Applied>, Vec<String>) {
    let mut engine = Engine::new(shards);
    let (mut answers, mut views) = (Vec::new(), Vec::new());
    for (n, (position, at, bytes)) in written.records.iter().enumerate() {
        answers.push(engine.apply(*position, *at, bytes).expect("a record"));
        if n % 500 == 499 {
            views.push(look(&engine, written, *at));
        }
    }
    (engine, answers, views)
}

/// Everything that a reader can ask.
fn look(engine: &Engine, written: &Written, at: Timestamp) -> String {
    engine.audit().expect("books that balance");
    let accounts: Vec<_> = written.accounts.iter().map(|id| engine.account(id, at)).collect();
    let shops = SHOPS.map(|name| engine.shop_sums(&shop(name)));
    let plan = engine.plan_extension(&everything(at), at);
    let envelopes = written.records.iter().map(|(_, _, bytes)| decode_envelope(bytes).expect("a record"));
    let states: Vec<_> = envelopes.map(|e| engine.status(e.namespace, &e.account, &e.key, at)).collect();
    format!("{:032x} {:?} {shops:?} {plan:?} {accounts:?} {states:?}", engine.digest(), engine.sums())
}

/// A plan counted in slices while the history goes on is the plan as of where it began.
#[test]
fn a_plan_in_slices_is_as_of_one_position() {
    let mut ends = 0;
    for seed in 0..HISTORIES {
        let written = write(seed);
        let mut engine = Engine::new(1 + seed as u32 % 5);
        let mut expected = None;
        for (n, (position, at, bytes)) in written.records.iter().enumerate() {
            // A slice after every few commands: most accounts change meanwhile, some are counted before, some after.
            if n as u64 % 7 == seed % 7 {
                match expected {
                    None => {
                        expected = Some(engine.plan_extension(&everything(engine.at()), engine.at()));
                        engine.start_plan(&everything(engine.at()), engine.at());
                    }
                    Some(plan) => {
                        if let Some(counted) = engine.plan_slice(2) {
                            assert_eq!(counted, plan, "seed {seed}, before position {}", position.get());
                            assert!(!engine.is_planning());
                            (expected, ends) = (None, ends + 1);
                        }
                    }
                }
            }
            engine.apply(*position, *at, bytes).expect("a record");
        }
        let (straight, ..) = read(&written, 1);
        assert_eq!(engine.digest(), straight.digest(), "seed {seed}: no command learns of it");
        engine.audit().expect("books that balance");
    }
    assert!(ends > 200, "{ends} plans were counted");
}

/// An extension of all lots there are.
fn everything(at: Timestamp) -> Extension {
    Extension {
        rule: 1_000,
        programme: ProgrammeId::NONE,
        expiry_from: Timestamp::ZERO,
        expiry_before: Timestamp::MAX,
        expires_at: at.plus_seconds(1_000_000),
        as_of: Position::new(u64::MAX),
        include_expired: true,
    }
}

#[test]
fn the_number_of_shards_does_not_show() {
    for seed in 1_000..1_000 + HISTORIES {
        let written = write(seed);
        let (one, answers, views) = read(&written, 1);
        assert_ne!(one.digest(), 0);
        for shards in [2, 4, 8] {
            let (engine, same, looks) = read(&written, shards);
            for (n, (a, b)) in answers.iter().zip(&same).enumerate() {
                assert_eq!(a, b, "seed {seed}, step {n}, 1 and {shards} shards");
            }
            assert_eq!(views, looks, "seed {seed}, 1 and {shards} shards");
            assert_eq!(engine.digest(), one.digest());
        }
    }
}

#[test]
fn a_replay_gives_the_same_state() {
    for seed in 2_000..2_000 + HISTORIES / 4 {
        let written = write(seed);
        assert_eq!(read(&written, 4).2, read(&written, 4).2, "seed {seed}");
    }
}

#[test]
fn the_digest_sees_one_decision_less_or_changed() {
    let written = write(3_000);
    let whole = read(&written, 3).0.digest();
    let (engine, answers, _) = read(&written, 3);
    assert_eq!(engine.digest(), whole);
    let decided = answers.iter().rposition(|a| a.effect == tegata_engine::Effect::Decided).expect("decisions");
    let mut shorter = Written { records: written.records.clone(), accounts: Vec::new() };
    shorter.records.remove(decided);
    assert_ne!(read(&shorter, 3).0.digest(), whole);
    let mut moved = Written { records: written.records.clone(), accounts: Vec::new() };
    moved.records.truncate(decided + 1);
    let before = read(&moved, 3).0.digest();
    moved.records[decided].1 = moved.records[decided].1.plus_millis(1);
    assert_ne!(read(&moved, 3).0.digest(), before, "the time of a decision is part of it");
}

#[test]
fn accounts_live_in_every_shard() {
    let engine = Engine::new(8);
    let mut found = [0; 8];
    for n in 0..800 {
        found[engine.shard_of(&crate::core::account(&format!("C{n}")))] += 1;
    }
    assert!(found.iter().all(|n| *n > 50), "{found:?}");
}
