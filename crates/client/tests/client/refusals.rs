//! A refusal speaks of one frame: what it says about the key depends on the sends before it.

use crate::proxy::Mode;
use crate::stage::{Stage, account, attempt, client_of, debit};
use std::time::Duration;
use tegata_client::{Attempt, Credential, InDoubt, Outcome, Role, new_key};
use tegata_model::{Amount, Approval, Code, Key, Operation, ProgrammeId, Timestamp};

/// Longer than any test: who comes back earlier did not wait for it.
const DEADLINE: Duration = Duration::from_secs(30);
const PATIENCE: Duration = Duration::from_millis(300);

/// Refused as `key-clock`, however often it is sent.
fn from_the_future(pay: Attempt) -> Attempt {
    let now = new_key().created_at().expect("it is a UUIDv7");
    Attempt { key: Key::new(now.plus_seconds(3_600), 7), deadline: DEADLINE, ..pay }
}

fn confirmed(name: &str, yen: u64) -> Attempt {
    let Attempt { operation: Operation::Debit(purchase), .. } = debit(name, yen, 0) else { unreachable!() };
    attempt(account(name), Operation::DebitConfirmed { purchase, seconds: 600 })
}

#[tokio::test]
async fn a_lone_refusal_is_definite() {
    let stage = Stage::open().await;
    stage.coupon("C1", 2_000).await;
    let outcome = stage.till.decide(&from_the_future(debit("C1", 500, 0))).await;
    assert_eq!(outcome, Outcome::NotExecuted { code: Code::KeyClock, retry_after: None });
}

#[tokio::test]
async fn a_refusal_behind_an_unanswered_send_is_unknown() {
    let stage = Stage::open().await;
    stage.coupon("C1", 2_000).await;
    // The connection stands before its answers are cut off.
    assert!(matches!(stage.till.decide(&debit("C1", 100, 0)).await, Outcome::Approved(_)));
    stage.proxy.set(Mode::CutAtAnswer);
    let outcome = stage.till.decide(&from_the_future(debit("C1", 500, 0))).await;
    assert_eq!(stage.proxy.losses(), 1, "the first send has no answer");
    let Outcome::Unknown(doubt) = outcome else { panic!("a refusal of one frame decided the key: {outcome:?}") };
    assert_eq!(doubt.code, Code::Unknown);
}

#[tokio::test]
async fn a_refused_way_out_leaves_it_in_doubt() {
    let stage = Stage::open().await;
    stage.coupon("C1", 2_000).await;
    let pay = debit("C1", 500, 0);
    assert!(matches!(stage.till.decide(&pay).await, Outcome::Approved(_)));
    let stranger = client_of(stage.proxy.addr, Credential { gateway: 7, role: Role::Gateway, namespaces: vec![2] });
    let doubt = InDoubt { attempt: pay, code: Code::Unknown };
    let outcome = stranger.resolve(doubt.clone(), PATIENCE).await;
    assert_eq!(outcome, Outcome::Unknown(doubt), "it may not ask, and the payment was made");
    let outcome = stranger.decide(&Attempt { deadline: DEADLINE, ..debit("C1", 700, 0) }).await;
    assert_eq!(outcome, Outcome::NotExecuted { code: Code::NamespaceNotAllowed, retry_after: None });
}

#[tokio::test]
async fn a_conflict_names_what_stands() {
    let stage = Stage::open().await;
    stage.coupon("C1", 2_000).await;
    let pay = debit("C1", 500, 0);
    let Outcome::Approved(first) = stage.till.decide(&pay).await else { panic!("not paid") };
    let other = Attempt { key: pay.key, ..debit("C1", 700, 0) };
    let outcome = stage.till.decide(&other).await;
    let Outcome::Conflict(d) = outcome else { panic!("500 yen were taken under this key: {outcome:?}") };
    assert_eq!(d.decision.related, first.decision.position);
}

#[tokio::test]
async fn a_plan_that_was_not_made_comes_back_at_once() {
    let stage = Stage::open().await;
    stage.coupon("C1", 2_000).await;
    let approval = Approval { maker: [b'A'; 16], approver: [b'B'; 16], reason: [0; 48], incident: 0, plan: 99 };
    let reinstate = Operation::Reinstate {
        programme: ProgrammeId::new(13),
        amount: Amount::new(500).expect("an amount"),
        expires_at: Timestamp::from_micros(4_000_000_000_000_000),
        corrects: Key::NONE,
        approval,
    };
    let give = Attempt { deadline: DEADLINE, ..attempt(account("C1"), reinstate) };
    let outcome =
        tokio::time::timeout(DEADLINE / 3, stage.office.decide(&give)).await.expect("nobody waits for its deadline");
    assert_eq!(outcome, Outcome::NotExecuted { code: Code::PlanMismatch, retry_after: None });
}

#[tokio::test]
async fn an_unconfirmed_debit_is_not_paid() {
    let stage = Stage::open().await;
    stage.coupon("C1", 2_000).await;
    let pay = confirmed("C1", 500);
    let doubt = InDoubt { attempt: pay, code: Code::Unknown };
    for outcome in [
        stage.till.decide(&pay).await,
        stage.till.decide(&pay).await,
        stage.till.resolve(doubt.clone(), DEADLINE).await,
    ] {
        assert!(matches!(outcome, Outcome::Unconfirmed(_)), "{outcome:?}");
    }
    let confirm = attempt(account("C1"), Operation::Confirm { original: pay.key });
    assert!(matches!(stage.till.decide(&confirm).await, Outcome::Approved(_)));
    let outcome = stage.till.resolve(doubt, DEADLINE).await;
    assert!(matches!(outcome, Outcome::Approved(_)), "{outcome:?}");
}
