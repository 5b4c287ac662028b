//! What an operator orders and confirms, what a clock that jumps asks of them, and what a start makes of both.

use crate::rig::{Rig, ms, seal_into, started_from};
use tegata_engine::Engine;
use tegata_model::{Code, Settings};
use tegata_node::{BreakerState, Carried, Cause, Inbound, Limits, Mode, Node, Order, Question, Reply, Waiter};

#[test]
fn an_operator_opens_closes_and_confirms_and_a_drill_ends_by_itself() {
    let mut rig = Rig::new(Limits::default());
    let order = |rig: &mut Rig, order| match rig.ask(Question::Order(Cause::Memory, order)) {
        Reply::Breakers { mode, breakers, ordered: true } => Some((mode, breakers[Cause::Memory as usize].state)),
        Reply::NotNow { code: Code::NotFromHere, .. } => None,
        other => panic!("{other:?}"),
    };
    assert_eq!(order(&mut rig, Order::Close), None);
    assert_eq!(order(&mut rig, Order::Open), Some((Mode::ReadOnly, BreakerState::Latched)));
    assert_eq!(order(&mut rig, Order::Drill(1_000)), None, "a drill does not make a latch end");
    rig.debit(1, 500);
    assert_eq!(rig.codes().pop().map(|c| c.1), Some(Code::MemoryLimit));
    rig.pass(5_000);
    assert_eq!((order(&mut rig, Order::Close), rig.node.mode()), (None, Mode::ReadOnly), "probes first");
    assert_eq!(order(&mut rig, Order::Confirm), Some((Mode::Probing, BreakerState::HalfOpen)));
    assert_eq!(order(&mut rig, Order::Close), Some((Mode::Normal, BreakerState::Closed)));
    assert_eq!(order(&mut rig, Order::Drill(1_000)), Some((Mode::ReadOnly, BreakerState::Latched)));
    rig.pass(5_990);
    assert_eq!(rig.node.mode(), Mode::ReadOnly);
    rig.pass(8_000);
    assert_eq!(rig.node.mode(), Mode::Normal, "over by itself");
    let told: Vec<_> = rig.node.take_changes().iter().map(|t| (t.change.event.name(), t.mode.name())).collect();
    let all = [
        "force read-only",
        "confirm probing",
        "close normal",
        "drill read-only",
        "drill over probing",
        "proved normal",
    ];
    assert_eq!(told.iter().map(|(e, m)| format!("{e} {m}")).collect::<Vec<_>>(), all);
}

#[test]
fn a_clock_that_jumped_stays_latched_and_payments_go_on() {
    let mut rig = Rig::new(Limits::default());
    rig.node.clock_jumped();
    rig.flush();
    assert!(rig.node.engine().rules().trusted_until.is_some(), "nothing expires");
    rig.pass(60_000);
    assert_eq!((rig.node.mode(), rig.node.breaker(Cause::Clock)), (Mode::Brownout, BreakerState::Latched));
    rig.debit(1, 500);
    rig.flush();
    assert_eq!(rig.codes().pop().map(|c| c.1), Some(Code::AccountUnknown), "decided as ever");
    rig.ask(Question::Order(Cause::Clock, Order::Confirm));
    rig.flush();
    assert!(rig.node.engine().rules().trusted_until.is_none());
    rig.pass(62_000);
    assert_eq!(rig.node.mode(), Mode::Normal);
}

#[test]
fn a_clock_that_jumps_during_a_drill_stays_latched_when_that_is_over() {
    let mut rig = Rig::new(Limits::default());
    rig.ask(Question::Order(Cause::Clock, Order::Drill(1_000)));
    rig.node.clock_jumped();
    rig.pass(2_000);
    assert_eq!(rig.node.breaker(Cause::Clock), BreakerState::Latched);
    rig.ask(Question::Order(Cause::Clock, Order::Confirm));
    rig.pass(4_000);
    assert_eq!(rig.node.mode(), Mode::Normal);
}

#[test]
fn a_clock_that_is_confirmed_and_cannot_be_followed_leaves_the_last_trusted_time() {
    let mut rig = Rig::new(Limits::default());
    let trusted = |rig: &Rig| rig.node.engine().rules().trusted_until;
    rig.node.clock_jumped();
    rig.flush();
    let before = trusted(&rig);
    assert!(before.is_some());
    rig.now.set(3_600_000);
    rig.node.look(ms(3_600_000), true);
    rig.ask(Question::Order(Cause::Clock, Order::Confirm));
    assert_eq!(rig.node.breaker(Cause::Clock), BreakerState::HalfOpen);
    // It is behind, as the next turn finds.
    rig.node.clock_jumped();
    rig.flush();
    assert_eq!((rig.node.breaker(Cause::Clock), trusted(&rig)), (BreakerState::Latched, before));
    rig.ask(Question::Order(Cause::Clock, Order::Confirm));
    rig.node.look(ms(3_600_010), false);
    rig.flush();
    assert_eq!(trusted(&rig), None, "it is right");
}

#[test]
fn a_restart_in_the_middle_ends_what_the_log_called_degraded() {
    let drill = || Question::Order(Cause::Memory, Order::Drill(60_000));
    let mut rig = Rig::new(Limits::default());
    rig.ask(drill());
    rig.flush();
    assert!(rig.node.engine().rules().degraded_since.is_some());
    let mut replay = tegata_node::Replay::new(Engine::new(2), Carried::default());
    let mut log = Rig::new(Limits::default());
    log.ask(drill());
    let sealed = log.node.seal(ms(0)).expect("the mark");
    // The log of the first start is its epoch and this mark; a replay of the mark alone is enough for the rules.
    replay.batch(1, sealed.count, sealed.at_us, &sealed.margin, sealed.body, |_, _, _, _| {}).expect("it replays");
    let (engine, carried) = replay.finish();
    let mut node = Node::new(engine, Limits::default(), Settings::default(), carried, ms(20));
    node.look(ms(30), false);
    let last = node.seal(ms(40)).map_or(0, |s| s.first_position + u64::from(s.count) - 1);
    node.durable(last);
    while node.apply_some(100) {}
    assert!(node.engine().rules().degraded_since.is_none() && node.engine().rules().degraded_last.is_some());
}

#[test]
fn a_restart_confirms_nothing_and_ends_a_drill() {
    let fresh = || Node::new(Engine::new(2), Limits::default(), Settings::default(), Carried::default(), ms(0));
    let order = |node: &mut Node, cause, order| {
        let question = Question::Order(cause, order);
        node.accept(0, Inbound { questions: vec![(Waiter::default(), question)], ..Inbound::default() }, ms(0));
    };
    let (mut node, mut log) = (fresh(), Vec::new());
    node.clock_jumped();
    order(&mut node, Cause::QueueDelay, Order::Drill(60_000));
    order(&mut node, Cause::JournalLatency, Order::Open);
    seal_into(&mut log, &mut node);
    // The mode is the same, and it is logged nevertheless.
    order(&mut node, Cause::Memory, Order::Open);
    seal_into(&mut log, &mut node);
    let mut node = started_from(&log);
    let states = Cause::ALL.map(|c| node.breaker(c));
    use BreakerState::{Closed, Latched};
    assert_eq!(states, [Latched, Closed, Closed, Latched, Latched, Closed]);
    assert_eq!(node.mode(), Mode::ReadOnly);
    assert!(node.engine().rules().trusted_until.is_some(), "nothing expires");
    node.look(ms(30), false);
    order(&mut node, Cause::Memory, Order::Confirm);
    seal_into(&mut log, &mut node);
    let node = started_from(&log);
    assert_eq!((node.breaker(Cause::Memory), node.breaker(Cause::Clock)), (Closed, Latched), "confirmed is confirmed");

    let (mut node, mut log) = (fresh(), Vec::new());
    order(&mut node, Cause::Clock, Order::Drill(60_000));
    seal_into(&mut log, &mut node);
    let mut node = started_from(&log);
    assert_eq!(node.breaker(Cause::Clock), Closed, "a drill of the clock ends as well");
    assert!(node.engine().rules().trusted_until.is_some());
    node.look(ms(30), false);
    seal_into(&mut log, &mut node);
    assert!(started_from(&log).engine().rules().trusted_until.is_none(), "and is no reason to doubt the clock");
}
