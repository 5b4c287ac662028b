//! A plan is counted between commands, as of the position at which its turn came, and applied as it was shown.

use std::collections::VecDeque;
use tegata_engine::{Engine, Plan};
use tegata_model::{
    AccountId, Amount, Approval, Code, Command, Envelope, Extension, Key, LotKind, NamespaceId, Operation, Position,
    Programme, ProgrammeId, Settings, Timestamp, encode,
};
use tegata_node::{Carried, Inbound, Limits, Node, Outbound, Question, Reply, Waiter};

const START_S: i64 = 1_780_000_000;

fn at(s: i64) -> Timestamp {
    Timestamp::from_micros((START_S + s) * 1_000_000)
}

struct Rig {
    node: Node,
    sent: u64,
    codes: VecDeque<Code>,
    plans: Vec<(u64, Plan)>,
}

impl Rig {
    /// A command that is decided at once.
    fn command(&mut self, name: &str, operation: Operation) -> Code {
        self.sent += 1;
        let account = AccountId::from_text(name).unwrap_or(AccountId::NONE);
        let key = Key::new(at(0), u128::from(self.sent) << 72);
        let envelope =
            Envelope { received_at: at(1), namespace: NamespaceId::new(1), account, key, ..Envelope::default() };
        let mut bundle = Inbound::default();
        encode(&Command { envelope, operation }, &mut bundle.records);
        bundle.waiters.push(Waiter { connection: 1, request: self.sent });
        self.node.accept(0, bundle, at(1));
        if let Some(sealed) = self.node.seal(at(1)) {
            let last = sealed.first_position + u64::from(sealed.count) - 1;
            self.node.durable(last);
            while self.node.apply_some(64) {}
        }
        self.take();
        self.codes.pop_front().expect("one answer")
    }

    fn load(&mut self, name: &str, yen: u64) {
        let amount = Amount::new(yen).expect("in range");
        let (programme, expires_at, kind) = (ProgrammeId::new(1), Timestamp::ZERO, LotKind::Paid);
        assert_eq!(self.command(name, Operation::Load { programme, amount, expires_at, kind }), Code::Approved);
    }

    fn ask(&mut self, request: u64, rule: Extension) {
        let questions = vec![(Waiter { connection: 1, request }, Question::PlanExtension(rule))];
        self.node.accept(0, Inbound { questions, ..Inbound::default() }, at(1));
        self.take();
    }

    fn take(&mut self) {
        let Some(out) = self.node.take_outbound(0, Outbound::default()) else { return };
        self.codes.extend(out.answers.iter().map(|a| a.decision.code));
        self.plans.extend(out.replies.iter().map(|(waiter, reply)| match reply {
            Reply::Extension(plan) => (waiter.request, *plan),
            other => panic!("not a plan: {other:?}"),
        }));
    }
}

#[test]
fn plans_wait_their_turn_and_commands_do_not_wait_for_plans() {
    let node = Node::new(Engine::new(2), Limits::default(), Settings::default(), Carried::default(), at(0));
    let mut rig = Rig { node, sent: 0, codes: VecDeque::new(), plans: Vec::new() };
    let programme = Operation::Programme(Programme::with_defaults(ProgrammeId::new(1)));
    assert_eq!(rig.command("", programme), Code::Approved);
    for n in 0..40 {
        rig.load(&format!("W{n}"), 100);
    }
    let rule = Extension {
        rule: 1,
        programme: ProgrammeId::NONE,
        expiry_from: Timestamp::ZERO,
        expiry_before: Timestamp::MAX,
        expires_at: Timestamp::MAX,
        as_of: Position::ZERO,
        include_expired: true,
    };
    rig.ask(1, rule);
    rig.ask(2, Extension { rule: 2, ..rule });
    let expected = |rig: &Rig, rule: Extension| {
        let engine = rig.node.engine();
        engine.plan_extension(&Extension { as_of: engine.applied(), ..rule }, at(1))
    };
    let first = expected(&rig, rule);
    let (mut n, mut slices) = (0, 0);
    while rig.plans.is_empty() {
        assert!(rig.node.plan_some(4) && rig.node.in_flight() >= 1, "somebody waits");
        // Accounts that were counted, accounts that were not, and new ones get another lot.
        rig.load(&format!("W{n}"), 7);
        (n, slices) = (n + 3, slices + 1);
        assert!(slices < 1_000, "it ends");
    }
    assert!(slices > 8, "{slices} slices of 4 accounts");
    let second = expected(&rig, Extension { rule: 2, ..rule });
    assert!(rig.node.plan_some(4));
    let approval = |plan: &Plan| Approval {
        maker: *b"maker\0\0\0\0\0\0\0\0\0\0\0",
        approver: *b"approver\0\0\0\0\0\0\0\0",
        reason: [0; 48],
        incident: 0,
        plan: plan.digest,
    };
    let extend = |as_of| Operation::Extend { extension: Extension { as_of, ..rule }, approval: approval(&first) };
    assert_eq!(rig.command("", extend(first.position.next())), Code::PlanMismatch);
    assert_eq!(rig.command("", extend(first.position)), Code::Approved, "as it was shown");
    // Those lots end so late now that nothing can extend them; the second plan is as of before.
    rig.load("W1", 7);
    let left = (0..1_000).take_while(|_| rig.node.plan_some(4)).count();
    assert!(left < 1_000, "it ends");
    rig.take();
    assert_eq!(rig.plans, [(1, first), (2, second)]);
    assert_eq!((first.count, first.sum, second.count > 40, rig.node.in_flight()), (40, 4_000, true, 0));
}
