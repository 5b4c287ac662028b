//! What a caller's rights do not cover: it is denied before anything changes, and a decided key gets its decision.

use std::sync::Arc;
use tegata_engine::Engine;
use tegata_model::{
    AccountId, Amount, Code, Command, Envelope, Key, LotKind, NamespaceId, Operation, Position, Programme, ProgrammeId,
    Purchase, Settings, ShopId, TerminalId, Timestamp, encode, mix,
};
use tegata_node::{Carried, Guard, Inbound, Limits, Node, Outbound, Reply, Waiter, spread};

const AT: Timestamp = Timestamp::from_micros(1_700_000_000_000_000);

struct Rig(Node);

fn key(n: u64) -> Key {
    Key::new(AT, u128::from(mix(n, 1)) << 64 | u128::from(mix(n, 2)))
}

fn debit(shop: &str) -> Operation {
    Operation::Debit(Purchase {
        shop: ShopId::from_text(shop).expect("a shop"),
        terminal: TerminalId::NONE,
        amount: Amount::new(100).expect("an amount"),
        token: Position::ZERO,
        partial: true,
    })
}

impl Rig {
    /// Takes one record under the nth key.
    fn accept(&mut self, n: u64, account: &str, operation: Operation, guard: Guard) {
        let envelope = Envelope {
            received_at: AT,
            namespace: NamespaceId::new(1),
            account: if account.is_empty() { AccountId::NONE } else { AccountId::from_text(account).expect("an id") },
            key: key(n),
            ..Envelope::default()
        };
        let mut guarded = Vec::new();
        encode(&Command { envelope, operation }, &mut guarded);
        let guards = vec![(Waiter { connection: 1, request: n }, guard)];
        self.0.accept(0, Inbound { guarded, guards, ..Inbound::default() }, AT);
    }

    /// The same, and says what it came to. A denial is answered at once, without a flush.
    fn send(&mut self, n: u64, account: &str, operation: Operation, guard: Guard) -> (Code, bool) {
        self.accept(n, account, operation, guard);
        if !self.0.has_outbound(0) {
            self.flush();
        }
        let out = self.0.take_outbound(0, Outbound::default()).expect("an answer");
        let [answer] = out.answers[..] else { panic!("{:?}", out.answers) };
        assert_eq!(answer.waiter.request, n);
        (answer.decision.code, answer.replayed)
    }

    fn flush(&mut self) {
        if let Some(last) = self.0.seal(AT).map(|s| s.first_position + u64::from(s.count) - 1) {
            self.0.durable(last);
        }
        while self.0.apply_some(100) {}
    }
}

fn within(ids: &[u32]) -> Guard {
    Guard::Within(ids.iter().map(|n| ProgrammeId::new(*n)).collect::<Arc<[_]>>())
}

/// Programmes 13 and 14; shop A takes both, B only 14; coupon C of 13, wallet W of both.
fn rig() -> Rig {
    let mut rig = Rig(Node::new(Engine::new(2), Limits::default(), Settings::default(), Carried::default(), AT));
    rig.flush();
    let amount = Amount::new(1_000).expect("an amount");
    let shop = |id, programme| Operation::Shop {
        shop: ShopId::from_text(id).expect("a shop"),
        programme: ProgrammeId::new(programme),
        name: [0; 48],
    };
    let (zero, kind) = (Timestamp::ZERO, LotKind::Paid);
    let load = |programme| Operation::Load { programme: ProgrammeId::new(programme), amount, expires_at: zero, kind };
    let programme = ProgrammeId::new(13);
    let issue = Operation::Issue { programme, amount, expires_at: zero, valid_from: zero, stay_end_day: 0, kind };
    for (n, account, operation) in [
        (901, "", Operation::Programme(Programme::with_defaults(programme))),
        (902, "", Operation::Programme(Programme::with_defaults(ProgrammeId::new(14)))),
        (903, "", shop("A", 0)),
        (904, "", shop("B", 14)),
        (905, "C", issue),
        (906, "W", load(13)),
        (907, "W", load(14)),
    ] {
        assert_eq!(rig.send(n, account, operation, Guard::Free), (Code::Approved, false), "{n}");
    }
    rig
}

#[test]
fn a_programme_is_that_of_the_shop_or_of_the_value() {
    let mut rig = rig();
    let denied = (Code::ProgrammeNotPermitted, false);
    let approved = (Code::Approved, false);
    let all = Operation::Charge { wallet: AccountId::from_text("V").expect("an id"), amount: 0 };
    for (n, account, operation, guard, wanted) in [
        (1, "C", debit("A"), within(&[14]), denied),
        (2, "C", debit("A"), within(&[]), denied),
        (3, "C", debit("A"), within(&[13]), approved),
        (4, "W", debit("A"), within(&[13]), denied),
        (5, "W", debit("A"), within(&[13, 14]), approved),
        (6, "W", debit("B"), within(&[13]), denied),
        (7, "W", debit("B"), within(&[14]), approved),
        (8, "C", all, within(&[14]), denied),
        (9, "NOBODY", debit("A"), within(&[14]), (Code::AccountUnknown, false)),
        (10, "C", debit("Z"), within(&[13]), (Code::ShopUnknown, false)),
    ] {
        let (before, position) = (rig.0.engine().digest(), rig.0.engine().applied());
        assert_eq!(rig.send(n, account, operation, guard.clone()), wanted, "{n}: {operation:?} {guard:?}");
        rig.flush();
        if wanted == denied {
            let after = (rig.0.engine().digest(), rig.0.engine().applied());
            assert_eq!(after, (before, position), "{n}: nothing changed, nothing is logged");
            let account = AccountId::from_text(account).expect("an id");
            assert_eq!(rig.0.engine().status(NamespaceId::new(1), &account, &key(n), AT), None, "{n}: no decision");
        }
    }
}

#[test]
fn a_decided_key_gets_its_decision_and_one_on_its_way_waits_for_it() {
    let mut rig = rig();
    let no = || Guard::Denied(Code::ShopNotPermitted);
    assert_eq!(rig.send(1, "C", debit("A"), no()), (Code::ShopNotPermitted, false));
    assert_eq!(rig.send(1, "C", debit("A"), Guard::Free), (Code::Approved, false), "the key was not used up");
    assert_eq!(rig.send(1, "C", debit("A"), no()), (Code::Approved, true));
    assert_eq!(rig.send(1, "C", debit("A"), within(&[14])), (Code::Approved, true));
    assert_eq!(rig.send(1, "C", debit("B"), no()), (Code::Conflict, false), "another request under the key");
}

#[test]
fn what_is_denied_does_not_take_the_place_of_a_first_that_came_to_nothing() {
    let mut rig = rig();
    assert_eq!(rig.send(1, "C", debit("A"), Guard::Free), (Code::Approved, false));
    let Operation::Debit(purchase) = debit("A") else { panic!("a debit") };
    let more = Operation::Debit(Purchase { amount: Amount::new(500).expect("an amount"), ..purchase });
    rig.accept(2, "C", debit("A"), Guard::Free);
    rig.accept(2, "C", more, Guard::Denied(Code::AmountNotPermitted));
    rig.flush();
    rig.flush();
    let out = rig.0.take_outbound(0, Outbound::default()).expect("answers");
    let codes: Vec<Code> = out.answers.iter().map(|a| a.decision.code).collect();
    assert_eq!(codes, [Code::SuspectedDuplicate, Code::AmountNotPermitted]);
    assert_eq!(rig.send(2, "C", more, Guard::Free), (Code::Approved, false), "the key was not used up");
}

#[test]
fn those_who_are_refused_together_come_back_apart() {
    let waits: std::collections::BTreeSet<u32> =
        (0..1_000).map(|request| spread(250, Waiter { connection: 3, request })).collect();
    assert!(waits.len() > 100 && waits.iter().all(|ms| (250..=375).contains(ms)), "{waits:?}");
    assert_eq!(spread(0, Waiter::default()), 0);
    assert!(spread(u32::MAX, Waiter { connection: 1, request: 2 }) >= u32::MAX / 2);
}

#[test]
fn of_what_is_denied_only_the_header_is_looked_at_unless_its_key_is_known() {
    let mut rig = rig();
    assert_eq!(rig.send(1, "C", debit("A"), Guard::Free), (Code::Approved, false));
    let damaged = |n: u64| {
        let envelope = Envelope {
            received_at: AT,
            namespace: NamespaceId::new(1),
            account: AccountId::from_text("C").expect("an id"),
            key: key(n),
            ..Envelope::default()
        };
        let mut record = Vec::new();
        encode(&Command { envelope, operation: debit("A") }, &mut record);
        record.last_mut().into_iter().for_each(|byte| *byte ^= 0xff);
        record
    };
    let guards = [1, 2].map(|n| (Waiter { connection: 1, request: n }, Guard::Denied(Code::RateExceeded)));
    let guarded = [damaged(1), damaged(2)].concat();
    rig.0.accept(0, Inbound { guarded, guards: guards.to_vec(), ..Inbound::default() }, AT);
    let out = rig.0.take_outbound(0, Outbound::default()).expect("answers");
    let told: Vec<_> = out.answers.iter().map(|a| (a.waiter.request, a.decision.code)).collect();
    assert_eq!(told, [(2, Code::RateExceeded)]);
    let [(Waiter { request: 1, .. }, Reply::Refused { decision, .. })] = out.replies[..] else { panic!("{out:?}") };
    assert_eq!(decision.code, Code::Conflict, "what is decided is not what cannot be read");
}
