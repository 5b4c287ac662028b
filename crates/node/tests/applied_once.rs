//! A plan is applied once: by the first key that is approved, and by no other.

use tegata_engine::Engine;
use tegata_model::{
    AccountId, Amount, Approval, Code, Command, Envelope, Key, LotKind, NamespaceId, Operation, Programme, ProgrammeId,
    Settings, Timestamp, encode, mix,
};
use tegata_node::{Carried, Inbound, Limits, Node, Outbound, Question, Reply, Waiter};

const NOW: Timestamp = Timestamp::from_micros(1_700_000_000_000_000);

fn key(n: u64) -> Key {
    Key::new(NOW, u128::from(mix(n, 1)) << 64 | u128::from(mix(n, 2)))
}

fn coupon() -> AccountId {
    AccountId::from_text("C1").expect("an account")
}

/// Sends operations under keys, all in one batch, and returns their codes in order.
fn codes(node: &mut Node, commands: &[(u64, Operation)]) -> Vec<Code> {
    let mut bundle = Inbound::default();
    for (n, operation) in commands {
        let account = if operation.kind() == 18 { AccountId::NONE } else { coupon() };
        let envelope =
            Envelope { received_at: NOW, namespace: NamespaceId::new(1), account, key: key(*n), ..Envelope::default() };
        encode(&Command { envelope, operation: *operation }, &mut bundle.records);
        bundle.waiters.push(Waiter { connection: 1, request: bundle.waiters.len() as u64 });
    }
    node.accept(0, bundle, NOW);
    if let Some(sealed) = node.seal(NOW) {
        let last = sealed.first_position + u64::from(sealed.count) - 1;
        node.durable(last);
        while node.apply_some(1_000) {}
    }
    let mut answers = node.take_outbound(0, Outbound::default()).unwrap_or_default().answers;
    answers.sort_by_key(|a| a.waiter.request);
    answers.iter().map(|a| a.decision.code).collect()
}

fn give(approver: [u8; 16], plan: u64) -> Operation {
    Operation::Reinstate {
        programme: ProgrammeId::new(1),
        amount: Amount::new(500).expect("an amount"),
        expires_at: NOW.plus_seconds(86_400),
        corrects: Key::NONE,
        approval: Approval { maker: *b"SATO\0\0\0\0\0\0\0\0\0\0\0\0", approver, reason: [0; 48], incident: 0, plan },
    }
}

const SATO: [u8; 16] = *b"SATO\0\0\0\0\0\0\0\0\0\0\0\0";
const SUZUKI: [u8; 16] = *b"SUZUKI\0\0\0\0\0\0\0\0\0\0";

fn plan(node: &mut Node) -> u64 {
    let question = Question::PlanReinstatement { account: coupon(), operation: give(SUZUKI, 0) };
    node.accept(0, Inbound { questions: vec![(Waiter::default(), question)], ..Inbound::default() }, NOW);
    match node.take_outbound(0, Outbound::default()).expect("a reply").replies.pop() {
        Some((_, Reply::Reinstatement(plan))) => plan.digest,
        other => panic!("not a plan: {other:?}"),
    }
}

#[test]
fn a_plan_is_applied_once() {
    let mut node = Node::new(Engine::new(2), Limits::default(), Settings::default(), Carried::default(), NOW);
    let issue = Operation::Issue {
        programme: ProgrammeId::new(1),
        amount: Amount::new(500).expect("an amount"),
        expires_at: NOW.plus_seconds(86_400),
        valid_from: Timestamp::ZERO,
        stay_end_day: 0,
        kind: LotKind::Promo,
    };
    let programme = Operation::Programme(Programme::with_defaults(ProgrammeId::new(1)));
    assert_eq!(codes(&mut node, &[(1, programme), (2, issue)]), [Code::Approved, Code::Approved]);
    let digest = plan(&mut node);
    assert_eq!(codes(&mut node, &[(3, give(SATO, digest))]), [Code::SamePerson], "a declined one uses nothing up");
    let two = [(4, give(SUZUKI, digest)), (5, give(SUZUKI, digest))];
    let mut both = codes(&mut node, &two);
    both.sort();
    assert_eq!(both, [Code::Approved, Code::PlanMismatch], "not even at the same time");
    assert_eq!(codes(&mut node, &[(4, give(SUZUKI, digest))]), [Code::Approved], "a repeat gets its answer");
    assert_eq!(codes(&mut node, &[(6, give(SUZUKI, digest))]), [Code::PlanMismatch], "nor later");
    let again = plan(&mut node);
    assert_ne!(again, digest, "whoever means it twice plans it twice");
    assert_eq!(codes(&mut node, &[(7, give(SUZUKI, again))]), [Code::Approved]);
    assert_eq!(node.engine().account(&coupon(), NOW).map(|a| a.balance), Some(1_500));
}
