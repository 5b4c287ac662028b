//! Idempotency: one key, one decision; how old and how young a key may be; the deadline; the fence.

use crate::core::{Core, DAY, after, debit, hold, key, purchase, shop, yen};
use tegata_engine::Effect;
use tegata_model::{
    Code, GatewayId, Key, NamespaceId, Operation, Position, Purchase, Settings, State, TerminalId, Timestamp,
};

const HORIZON: u64 = 7 * DAY;
const SKEW: u64 = 300;

/// A coupon C1 with ¥10,000 until long after the horizon.
fn core() -> Core {
    let mut core = Core::new();
    core.issue("C1", 10_000, after(60 * DAY));
    core
}

#[test]
fn a_new_key_is_decided_once_and_a_repeat_gets_the_same_answer() {
    let mut core = core();
    let key = core.next_key();
    let first = core.under("C1", key, debit("S1", 1_000));
    assert_eq!((first.effect, first.decision.code), (Effect::Decided, Code::Approved));
    for seconds in [0, 1, 600, HORIZON - 601, SKEW] {
        core.wait(seconds);
        let again = core.under("C1", key, debit("S1", 1_000));
        assert_eq!((again.effect, again.decision), (Effect::Replayed, first.decision));
    }
    assert_eq!(core.balance("C1"), 9_000);
}

#[test]
fn a_decline_is_an_answer_for_ever_too() {
    let mut core = core();
    let key = core.next_key();
    let first = core.under("C1", key, debit("S1", 10_001));
    assert_eq!(first.decision.code, Code::InsufficientFunds);
    core.ok("C1", Operation::AccountLife(tegata_model::Life::Suspended));
    let again = core.under("C1", key, debit("S1", 10_001));
    assert_eq!((again.effect, again.decision), (Effect::Replayed, first.decision));
}

#[test]
fn what_a_repeat_may_change() {
    let mut core = core();
    let mut envelope = core.envelope("C1", key(core.at, 1_000));
    let first = core.apply(envelope, debit("S1", 1_000));
    core.wait(60);
    envelope.received_at = core.at;
    envelope.deadline = core.at.minus_micros(1);
    envelope.gateway = GatewayId::new(9);
    let with_token = Operation::Debit(Purchase { token: Position::new(1), ..purchase("S1", 1_000) });
    let again = core.apply(envelope, with_token);
    assert_eq!((again.effect, again.decision), (Effect::Replayed, first.decision));
}

#[test]
fn other_content_under_a_decided_key_is_a_conflict() {
    let mut core = core();
    let original = core.next_key();
    let first = core.under("C1", original, hold("S1", 1_000, 60));
    let p = purchase("S1", 1_000);
    let others = [
        hold("S1", 1_001, 60),
        hold("S1", 1_000, 61),
        hold("S2", 1_000, 60),
        Operation::Hold { purchase: Purchase { partial: true, ..p }, seconds: 60 },
        Operation::Hold {
            purchase: Purchase { terminal: TerminalId::from_text("T1").expect("short"), ..p },
            seconds: 60,
        },
        Operation::DebitConfirmed { purchase: p, seconds: 60 },
        Operation::Debit(p),
        Operation::Void { original },
        Operation::Reversal { original, remain: 0 },
    ];
    for other in others {
        let answer = core.under("C1", original, other);
        assert_eq!((answer.effect, answer.decision.code), (Effect::NotRecorded, Code::Conflict), "{other:?}");
        assert_eq!(answer.decision.related, first.decision.position, "it names the stored decision");
        assert_eq!(answer.decision.position, Position::ZERO);
    }
    assert_eq!(core.view("C1").held, 1_000);
    assert_eq!(core.under("C1", original, hold("S1", 1_000, 60)).decision, first.decision);
}

#[test]
fn the_scope_of_a_key_is_its_maker_and_the_account() {
    let mut core = core();
    let mut envelope = core.envelope("C1", key(core.at, 1_000));
    core.apply(envelope, debit("S1", 1_000));
    envelope.namespace = NamespaceId::new(2);
    assert_eq!(core.apply(envelope, debit("S1", 1_000)).effect, Effect::Decided);
    assert_eq!(core.balance("C1"), 8_000);
    // Enough accounts for some to be in the same shard.
    for n in 2..20 {
        let name = format!("C{n}");
        core.issue(&name, 10_000, after(DAY));
        envelope.account = crate::core::account(&name);
        assert_eq!(core.apply(envelope, debit("S1", 1_000)).effect, Effect::Decided);
        assert_eq!(core.balance(&name), 9_000);
    }
}

#[test]
fn what_was_not_executed_leaves_the_key_free() {
    let mut core = core();
    let mut envelope = core.envelope("C1", key(core.at, 1_000));
    envelope.deadline = core.at.minus_micros(1);
    let late = core.apply(envelope, debit("S1", 1_000));
    assert_eq!((late.effect, late.decision.code), (Effect::NotRecorded, Code::DeadlinePassed));
    assert_eq!(core.balance("C1"), 10_000);
    // Not even its content is bound.
    envelope.deadline = core.at;
    let answer = core.apply(envelope, debit("S1", 2_000));
    assert_eq!((answer.effect, answer.decision.code), (Effect::Decided, Code::Approved), "sealed at its deadline");
    assert_eq!(core.balance("C1"), 8_000);
}

#[test]
fn a_key_lives_from_the_skew_to_the_horizon() {
    // (made this many µs after the logged time, the answer)
    let (horizon, skew) = (HORIZON as i64 * 1_000_000, SKEW as i64 * 1_000_000);
    let rows = [
        (0, Code::Approved),
        (skew, Code::Approved),
        (skew + 1_000, Code::KeyClock),
        (10 * skew, Code::KeyClock),
        (-horizon, Code::Approved),
        (-horizon - 1_000, Code::KeyTooOld),
        (-2 * horizon, Code::KeyTooOld),
    ];
    for (offset, code) in rows {
        let mut core = core();
        core.wait(30 * DAY);
        let made = Timestamp::from_micros(core.at.micros() + offset);
        let answer = core.under("C1", key(made, 9), debit("S1", 100));
        assert_eq!(answer.decision.code, code, "made {offset} µs after the logged time");
        assert_eq!(answer.effect == Effect::Decided, code == Code::Approved);
        assert_eq!(core.balance("C1"), if code == Code::Approved { 9_900 } else { 10_000 });
        let fence = core.under("C1", key(made, 10), Operation::Fence).decision.code;
        assert_eq!(fence, if code == Code::Approved { Code::Fenced } else { code }, "its fence too");
    }
}

#[test]
fn a_key_without_a_time_is_never_executed() {
    let mut core = core();
    for bytes in [[0; 16], [0x44; 16], *b"\x01\x9a\xb4\x5f\x00\x00\x40\x00\x80\x00\x00\x00\x00\x00\x00\x00"] {
        assert_eq!(core.under("C1", Key::from_bytes(bytes), debit("S1", 1)).decision.code, Code::KeyClock);
    }
}

#[test]
fn a_forgotten_key_is_too_old_and_not_new() {
    let mut core = core();
    let first = core.at;
    let key = core.ok("C1", debit("S1", 1_000));
    core.at = first.plus_seconds(HORIZON + SKEW);
    assert_eq!(core.under("C1", key, debit("S1", 1_000)).effect, Effect::Replayed, "the last instant");
    core.at = Timestamp::from_micros(core.at.micros() + 1);
    for _ in 0..20 {
        assert_eq!(core.under("C1", key, debit("S1", 1_000)).decision.code, Code::KeyTooOld);
        assert_eq!(core.under("C1", key, debit("S1", 2_000)).decision.code, Code::KeyTooOld);
        core.wait(DAY);
    }
    assert_eq!(core.balance("C1"), 9_000);
}

#[test]
fn a_key_from_ahead_is_remembered_by_its_own_time() {
    let mut core = core();
    let made = core.at.plus_seconds(SKEW);
    core.under("C1", key(made, 1), debit("S1", 1_000));
    for _ in 0..50 {
        core.ok("C1", debit("S1", 1));
    }
    core.at = made.plus_seconds(HORIZON + SKEW);
    for _ in 0..50 {
        core.ok("C1", debit("S1", 1));
    }
    let again = core.under("C1", key(made, 1), debit("S1", 1_000));
    assert_eq!((again.effect, again.decision.code), (Effect::Replayed, Code::Approved));
}

#[test]
fn a_restart_with_other_settings_never_makes_a_key_new_again() {
    let settings = |horizon_s, skew_s| Settings { ack_s: 0, horizon_s, skew_s, rules: 1 };
    for (then, now) in [((3_600, 300), (86_400, 300)), ((3_600, 300), (3_600, 30)), ((3_600, 30), (3_600, 86_400))] {
        let mut core = core();
        core.epoch(settings(then.0, then.1));
        let made = core.at.plus_seconds(u64::from(then.1));
        core.under("C1", key(made, 1), debit("S1", 1_000));
        core.wait(1_800);
        core.epoch(settings(now.0, now.1));
        for _ in 0..600 {
            core.wait(60);
            let again = core.under("C1", key(made, 1), debit("S1", 1_000));
            let known = again.effect == Effect::Replayed;
            assert!(known || again.decision.code == Code::KeyTooOld, "{then:?} {now:?}: {again:?}");
            core.ok("C1", debit("S1", 1));
        }
        core.wait(DAY);
        core.epoch(settings(40 * 86_400, 300));
        assert_eq!(core.under("C1", key(made, 1), debit("S1", 1_000)).decision.code, Code::KeyTooOld);
        assert_eq!(core.balance("C1"), 10_000 - 1_000 - 600);
    }
}

#[test]
fn what_is_forgotten_gives_its_memory_back() {
    let mut core = core();
    core.epoch(Settings { ack_s: 0, horizon_s: 60, skew_s: 1, rules: 1 });
    let mut largest = 0;
    for n in 0..40_000 {
        core.wait(1);
        let key = core.ok("C1", debit("S1", 1 + n % 5_000));
        core.ok("C1", Operation::Refund { original: key, amount: yen(1 + n % 5_000) });
        let (counts, sizes) = (core.engine.counts(), core.engine.sizes());
        assert!(counts.decisions <= 2 * 63 + 20, "{counts:?} after {n} s");
        // By then the queue of decisions has been in two of its chunks at once.
        if n < 15_000 {
            largest = sizes.decision_bytes.max(largest);
        }
        assert!(sizes.decision_bytes <= largest, "{sizes:?} after {n} s, {largest} before");
    }
}

#[test]
fn a_fence_decides_never() {
    let mut core = core();
    let late = core.next_key();
    let fence = core.under("C1", late, Operation::Fence);
    assert_eq!((fence.effect, fence.decision.code), (Effect::Decided, Code::Fenced));
    for operation in [debit("S1", 1_000), debit("S1", 5), hold("S1", 5, 0), Operation::Fence] {
        let answer = core.under("C1", late, operation);
        assert_eq!((answer.effect, answer.decision), (Effect::Replayed, fence.decision), "{operation:?}");
    }
    assert_eq!(core.balance("C1"), 10_000);
}

#[test]
fn a_fence_of_a_decided_key_tells_the_decision() {
    let mut core = core();
    for (operation, code) in [(debit("S1", 1_000), Code::Approved), (debit("S1", 99_999), Code::InsufficientFunds)] {
        let key = core.next_key();
        let first = core.under("C1", key, operation);
        assert_eq!(first.decision.code, code);
        let fence = core.under("C1", key, Operation::Fence);
        assert_eq!((fence.effect, fence.decision), (Effect::Replayed, first.decision));
    }
    assert_eq!(core.balance("C1"), 9_000);
}

#[test]
fn status_and_known_tell_without_changing() {
    let mut core = core();
    let (taken, unseen) = (core.ok("C1", debit("S1", 1_000)), core.next_key());
    let namespace = NamespaceId::new(1);
    let account = crate::core::account("C1");
    let status = |core: &Core, key| core.engine.status(namespace, &account, key, core.at).map(|(d, s)| (d.code, s));
    assert_eq!(status(&core, &taken), Some((Code::Approved, State::Final)));
    assert_eq!(status(&core, &unseen), None);
    core.ok("C1", Operation::Refund { original: taken, amount: yen(1) });
    assert_eq!(status(&core, &taken), Some((Code::Approved, State::PartlyReturned)));
    let known = |core: &Core, key, amount| {
        let command = tegata_model::Command { envelope: core.envelope("C1", key), operation: debit("S1", amount) };
        let mut record = Vec::new();
        tegata_model::encode(&command, &mut record);
        let hint = core.engine.hint(&record);
        let known =
            core.engine.known(&command.envelope, &hint, || command.fingerprint().0, command.operation.kind(), core.at);
        known.map(|a| a.decision.code)
    };
    assert_eq!(known(&core, taken, 1_000), Some(Code::Approved));
    assert_eq!(known(&core, taken, 1_001), Some(Code::Conflict));
    assert_eq!(known(&core, unseen, 1_000), None);
    core.wait(HORIZON + SKEW + 1);
    assert_eq!((status(&core, &taken), known(&core, taken, 1_000)), (None, None));
    assert!(core.engine.shop_sums(&shop("S1")).is_some_and(|s| s.spent == 1_000 && s.returned == 1 && s.count == 1));
}
