//! Who is refused for a cause, who is not, and how little of a frame is looked at for it.

use crate::rig::{Rig, key, ms, purchase};
use tegata_model::{
    AccountId, Advice, Allowance, Code, Life, NamespaceId, Operation, Position, Programme, ProgrammeId,
};
use tegata_node::{Cause, Inbound, Limits, Order, Outbound, Question, Reply, Room, Waiter};

#[test]
fn of_what_is_refused_outright_only_the_header_is_looked_at_and_its_key() {
    let mut rig = Rig::new(Limits::default());
    rig.debit(1, 8_000);
    rig.flush();
    rig.debit(2, 8_000);
    let flying = rig.seal();
    rig.ask(Question::Order(Cause::JournalLatency, Order::Open));
    rig.codes();
    let (mut unlooked, mut numbers) = (Vec::new(), Vec::new());
    for (n, damaged) in [(1, false), (2, false), (3, false), (3, true), (1, true)] {
        let (mut record, number) = rig.record(0, n, 8_000, Operation::Debit(purchase(100 + n)));
        if damaged {
            // No yen at all.
            record[88..96].fill(0);
        }
        unlooked.extend(record);
        numbers.push(number);
    }
    let unlooked_waiters = numbers.iter().map(|request| Waiter { connection: 1, request: *request }).collect();
    let back = rig.node.accept(0, Inbound { unlooked, unlooked_waiters, ..Inbound::default() }, ms(0));
    assert!(back.is_empty() && back.unlooked.is_empty());
    let slow = Code::JournalSlow;
    let out = rig.node.take_outbound(0, Outbound::default()).expect("answers");
    let mut codes: Vec<_> = out.answers.iter().map(|a| (a.waiter.request, a.decision.code)).collect();
    codes.sort_unstable_by_key(|(request, _)| *request);
    let expected = [(0, Code::AccountUnknown), (2, slow), (3, slow)].map(|(i, code)| (numbers[i], code));
    assert_eq!(codes, expected, "the second waits for the first in flight");
    let conflict = |r: &Reply| matches!(r, Reply::Refused { kind: 4, decision } if decision.code == Code::Conflict);
    assert!(out.replies.iter().any(|(w, r)| w.request == numbers[4] && conflict(r)), "{:?}", out.replies);
    rig.durable(flying);
    assert_eq!(rig.codes().pop(), Some((numbers[1], Code::AccountUnknown)));
    assert!(rig.node.seal(ms(0)).is_some_and(|s| s.count == 1 && s.body[0] == 23), "only the mark");
}

#[test]
fn a_frame_that_can_only_be_refused_denies_nothing_of_a_key_in_flight_or_forgotten() {
    let mut rig = Rig::new(Limits::default());
    rig.debit(2, 8_000);
    let sealed = rig.seal();
    let (namespace, account) = (NamespaceId::new(1), AccountId::from_text("C1").expect("an account"));
    let question = Question::Refused { kind: 4, namespace, account, key: key(2), code: Code::AmountInvalid };
    let code = |rig: &mut Rig| match rig.ask(question) {
        Reply::Refused { decision, .. } => decision.code,
        other => panic!("{other:?}"),
    };
    assert_eq!(code(&mut rig), Code::InProgress);
    rig.durable(sealed);
    assert_eq!(code(&mut rig), Code::Conflict);
    rig.now.set(30 * 86_400_000);
    assert_eq!(code(&mut rig), Code::KeyTooOld);
}

#[test]
fn a_programme_is_suspended_while_the_journal_is_slow_or_the_disk_full() {
    let all = Programme::with_defaults(ProgrammeId::new(1));
    let suspend = Operation::ProgrammeLife { programme: all.id, life: Life::Suspended };
    let close_account = Operation::AccountLife(Life::Closed);
    for full in [false, true] {
        let mut rig = Rig::new(Limits::default());
        rig.send(1, 8_000, Operation::Programme(all));
        rig.flush();
        rig.codes();
        let refused = if full {
            rig.node.set_room(Room::Reserve);
            Code::DiskFull
        } else {
            rig.ask(Question::Order(Cause::JournalLatency, Order::Open));
            Code::JournalSlow
        };
        let asked = [
            rig.send(2, 8_000, Operation::Debit(purchase(100))),
            rig.send(3, 8_000, close_account),
            rig.send(4, 8_000, suspend),
        ];
        let refusals = [(asked[0], refused), (asked[1], refused)];
        assert_eq!(rig.codes(), refusals, "the suspension waits for the disk");
        rig.flush();
        assert_eq!(rig.codes(), [(asked[2], Code::Approved)]);
    }
}

#[test]
fn an_advice_is_shed_for_no_cause_and_a_lease_for_nearly_every_one() {
    let allowance = Allowance::with_defaults(1_000);
    let lease = Operation::Lease { programme: ProgrammeId::new(1), holder: [1; 16], allowance };
    for cause in [Cause::JournalLatency, Cause::JournalSpace, Cause::QueueDelay, Cause::Memory, Cause::Clock] {
        let mut rig = Rig::new(Limits::default());
        rig.send(1, 8_000, Operation::Programme(Programme::with_defaults(ProgrammeId::new(1))));
        rig.flush();
        rig.ask(Question::Order(cause, Order::Open));
        rig.flush();
        rig.codes();
        let (lease, debit) = (rig.send(2, 8_000, lease), rig.debit(3, 8_000));
        let told = Advice {
            purchase: purchase(700),
            programme: ProgrammeId::new(1),
            lease: Position::new(1),
            approved_at: ms(0),
        };
        let told = rig.send(4, 8_000, Operation::Advice(told));
        let refused = rig.codes();
        assert!(refused.iter().all(|(n, _)| *n != told), "{cause:?}: {refused:?}");
        let served = matches!(cause, Cause::QueueDelay | Cause::Clock);
        let expected = if served { vec![] } else { vec![(lease, cause.row().code), (debit, cause.row().code)] };
        assert_eq!(refused, expected, "{cause:?}");
        while rig.node.has_work() {
            rig.flush();
        }
        assert!(rig.codes().contains(&(told, Code::Approved)), "{cause:?}");
    }
}

#[test]
fn without_a_quorum_nothing_is_called_not_seen() {
    let mut rig = Rig::new(Limits::default());
    let known = rig.debit(1, 8_000);
    rig.flush();
    assert_eq!(rig.codes(), [(known, Code::AccountUnknown)]);
    let asked = |rig: &mut Rig, n| {
        let account = AccountId::from_text("C1").expect("an account");
        match rig.ask(Question::Status { namespace: NamespaceId::new(1), account, key: key(n) }) {
            Reply::Status { decided, undecided } => decided.map_or(undecided, |(d, _)| d.code),
            other => panic!("{other:?}"),
        }
    };
    assert_eq!((asked(&mut rig, 1), asked(&mut rig, 2)), (Code::AccountUnknown, Code::NotSeen));
    rig.ask(Question::Order(Cause::Replication, Order::Drill(60_000)));
    assert_eq!((asked(&mut rig, 1), asked(&mut rig, 2)), (Code::AccountUnknown, Code::Unknown));
}
