//! The breaker's state machine: its table as it was agreed on, and what holds whatever happens.

use BreakerState::{Closed, HalfOpen, Latched, Open};
use tegata_model::{Code, Timestamp, mix};
use tegata_node::{
    Breaker, BreakerState, Cause, Change, Event, Mode, Policy, Rank, Row, STAGES, Treatment, mode_of, transitions,
};

const POLICY: Policy =
    Policy { open_at: 250, close_below: 100, window_us: 100, rest_us: 500, stage_us: 100, probes: 16 };
const BORN: Timestamp = Timestamp::from_micros(1_000_000);

fn at(us: u64) -> Timestamp {
    Timestamp::from_micros(BORN.micros() + us as i64)
}

/// A breaker of an outside dependency, as a later door would bring one: its row and nothing else.
const DEPENDENCY: Row = Row {
    name: "stub",
    measured: "µs of its last answer",
    code: Code::Overloaded,
    retry_after_ms: 250,
    modes: [Mode::Brownout; 2],
    treatments: [[
        Treatment::Served,
        Treatment::Served,
        Treatment::Served,
        Treatment::Refused,
        Treatment::Refused,
        Treatment::Refused,
        Treatment::Served,
        Treatment::Served,
    ]; 2],
    till: "a refusal",
    ends: "by itself",
    never: "a reversal refused",
};

#[test]
fn the_table_is_the_one_that_was_agreed_on() {
    let mut table = transitions();
    for (name, row) in Cause::ALL.iter().map(|c| (c.row().name, c.row())).chain([(DEPENDENCY.name, &DEPENDENCY)]) {
        for entirely in [false, true] {
            let words: Vec<&str> = row.treatments[usize::from(entirely)].iter().map(|t| t.word()).collect();
            let modes: Vec<&str> = BreakerState::ALL.iter().map(|s| row.mode(*s, entirely).name()).collect();
            table += &format!("{name} {}: {}; {}\n", u8::from(entirely), words.join(", "), modes.join(", "));
        }
    }
    let agreed = include_str!("breaker.txt");
    assert!(table == agreed, "the breakers do something else than `breaker.txt` says:\n{table}");
}

#[test]
fn a_stall_opens_it_and_probes_close_it() {
    let mut b = Breaker::new(POLICY, BORN);
    assert_eq!(b.observe(249, true, at(0)), None);
    assert_eq!(b.observe(250, true, at(10)), None);
    assert_eq!(b.observe(99, true, at(60)), None, "one good level ends the window");
    assert_eq!(b.observe(300, true, at(70)), None);
    assert_eq!(b.observe(900, true, at(169)), None);
    let opened = b.observe(251, true, at(170)).expect("bad for the whole window");
    assert_eq!((opened.from, opened.to, opened.event, opened.level), (Closed, Open, Event::Bad, 251));
    assert_eq!(b.observe(100, true, at(180)), None);
    for us in (200..1_500).step_by(50) {
        assert_eq!(b.observe(100, true, at(us)), None, "between the two thresholds nothing changes");
    }
    assert_eq!(b.observe(0, true, at(1_500)), None);
    assert_eq!(b.observe(0, true, at(1_999)), None, "not rested yet");
    assert_eq!(b.observe(0, true, at(2_125)).map(|c| (c.to, c.event)), Some((HalfOpen, Event::Rested)));
    for stage in 0..STAGES {
        let cap = 16 * 4u32.pow(stage);
        assert_eq!((b.stage(), b.probes_left()), (stage, cap));
        assert_eq!((0..=cap).filter(|_| b.take_probe()).count(), cap as usize, "no more than its cap");
        let end = 2_125 + u64::from(stage + 1) * 100;
        assert_eq!(b.observe(0, false, at(end)), None, "a probe is not answered yet");
        let change = b.observe(0, true, at(end));
        assert_eq!(change.map(|c| c.event), (stage + 1 == STAGES).then_some(Event::Proved));
    }
    assert_eq!(b.state(), Closed);
    assert!(!b.take_probe(), "what is closed probes nothing");
}

#[test]
fn a_probe_that_fails_opens_it_again_at_once() {
    let mut b = Breaker::new(POLICY, BORN);
    b.take(Event::Force, at(0));
    assert_eq!(b.take(Event::Close, at(1)), None, "not past the probes");
    assert_eq!(b.take(Event::Confirm, at(2)).map(|c| c.to), Some(HalfOpen));
    assert_eq!(b.observe(0, true, at(90)), None);
    assert_eq!(b.observe(100, true, at(101)), None, "neither good nor bad");
    assert_eq!((b.observe(0, true, at(200)), b.stage()), (None, 0), "the stage counts anew");
    assert_eq!((b.observe(0, true, at(201)), b.stage()), (None, 1));
    assert_eq!(b.observe(250, false, at(203)).map(|c| (c.to, c.event)), Some((Open, Event::Bad)));
    assert_eq!((b.take(Event::Close, at(204)), b.take(Event::Confirm, at(205))), (None, None));
}

#[test]
fn a_drill_ends_by_itself_and_an_operator_makes_it_last() {
    let mut b = Breaker::new(POLICY, BORN);
    assert!(b.force(Some(at(1_000)), at(0)).is_some());
    assert_eq!(b.observe(0, true, at(999)), None);
    assert_eq!(b.observe(0, true, at(1_000)).map(|c| (c.to, c.event)), Some((HalfOpen, Event::DrillOver)));
    assert!(b.force(Some(at(2_000)), at(1_100)).is_some());
    let told = |change: Option<Change>| change.map(|c| (c.from, c.to, c.event));
    assert_eq!(told(b.force(Some(at(9_000)), at(1_150))), Some((Latched, Latched, Event::Drill)), "the newer order");
    assert_eq!(
        told(b.force(None, at(1_200))),
        Some((Latched, Latched, Event::Force)),
        "a latch instead of a drill is told"
    );
    assert_eq!(told(b.force(None, at(1_300))), None, "latched already");
    assert_eq!(b.observe(0, true, at(9_500)), None, "and stays so");
    assert_eq!(b.state(), Latched);
    let mut b = Breaker::new(POLICY, BORN);
    assert!(b.force(Some(at(1_000)), at(0)).is_some());
    assert_eq!(told(b.jump(at(500))), Some((Latched, Latched, Event::Jumped)), "no drill ends what a human must see");
    assert_eq!((b.observe(0, true, at(1_500)), b.state()), (None, Latched));
}

#[test]
fn whatever_happens_the_invariants_hold() {
    let mut tripped = [0u32; 4];
    for seed in 0..2_000u64 {
        let mut b = Breaker::new(POLICY, BORN);
        let (mut now, mut probes, mut stage) = (0u64, 0u32, 0);
        let mut levels: Vec<(u64, u64)> = Vec::new();
        for step in 0..300u64 {
            let r = mix(seed, step);
            now += r % 60;
            let before = b.state();
            let measured = !(r >> 8).is_multiple_of(8);
            let (event, change) = if measured {
                let level = if mix(seed, step / 40).is_multiple_of(3) { 250 + r % 700 } else { r % 120 };
                levels.push((now, level));
                (None, b.observe(level, !(r >> 16).is_multiple_of(4), at(now)))
            } else {
                let event = Event::ALL[3 + (r >> 20) as usize % 4];
                if before.after(event).is_some() {
                    levels.clear();
                }
                (Some(event), b.take(event, at(now)))
            };
            tripped[b.state() as usize] += 1;
            let Some(c) = change else {
                assert_eq!(b.state(), before, "no change is silent");
                if b.stage() != stage {
                    (stage, probes) = (b.stage(), 0);
                }
                let taken = (0..r % 7).filter(|_| b.take_probe()).count() as u32;
                probes += taken;
                assert!(taken == 0 || before == HalfOpen);
                assert!(probes <= 16 * 4u32.pow(stage), "a stage has a cap");
                continue;
            };
            assert_eq!((c.from, c.to), (before, b.state()));
            assert_eq!(before.after(c.event), Some(c.to), "only what the table says");
            match (c.from, c.to) {
                (Closed, Open) => {
                    let window: Vec<_> = levels.iter().rev().take_while(|(_, l)| *l >= 250).collect();
                    let first = window.last().map_or(now, |(t, _)| *t);
                    assert!(now - first >= 100, "opened by a whole window");
                }
                (Open, HalfOpen) => assert!(levels.iter().rev().take_while(|(_, l)| *l < 100).count() > 1),
                (HalfOpen, Closed) if event.is_none() => assert_eq!(stage + 1, STAGES, "all stages first"),
                (HalfOpen, Closed) => assert_eq!(event, Some(Event::Close)),
                (HalfOpen, Open) => assert!(levels.last().is_some_and(|(_, l)| *l >= 250)),
                (Latched, HalfOpen) => assert_eq!(event, Some(Event::Confirm)),
                (_, Latched) => assert!(matches!(event, Some(Event::Force | Event::Jumped))),
                other => panic!("{other:?} is a short cut"),
            }
            levels.clear();
            (stage, probes) = (0, 0);
        }
    }
    assert!(tripped.iter().all(|n| *n > 1_000), "every state was met: {tripped:?}");
}

#[test]
fn the_mode_is_the_worst_of_the_causes() {
    let one = |c: Cause, s| mode_of([(c.row(), s, false), (Cause::Clock.row(), Closed, false)]);
    assert_eq!(one(Cause::QueueDelay, Closed), Mode::Normal);
    assert_eq!(one(Cause::QueueDelay, HalfOpen), Mode::Probing);
    assert_eq!(one(Cause::JournalLatency, Open), Mode::ReadOnly);
    let both = [(Cause::JournalSpace.row(), Latched, true), (Cause::QueueDelay.row(), Open, false)];
    assert_eq!(mode_of(both), Mode::Halted);
    assert_eq!(mode_of([(&DEPENDENCY, Open, false), (Cause::Clock.row(), HalfOpen, false)]), Mode::Brownout);
    assert_eq!(mode_of([]), Mode::Normal);
    let numbers: Vec<u8> = Mode::ALL.iter().map(|m| m.number()).collect();
    assert_eq!(numbers, [0, 4, 3, 1, 2], "0 to 2 mean what they always did");
    assert!(Mode::ALL.iter().all(|m| Mode::from_number(u64::from(m.number())) == Some(*m)));
}

#[test]
fn load_never_refuses_what_settles_or_undoes() {
    for entirely in [false, true] {
        let refused = Cause::QueueDelay.row().refuses(entirely);
        assert!([Rank::Settle, Rank::Undo, Rank::Finish].iter().all(|r| refused & (1 << *r as u8) == 0));
    }
    for cause in Cause::ALL {
        assert!(Cause::from_name(cause.row().name) == Some(cause) && Cause::from_u8(cause as u8) == Some(cause));
    }
}
