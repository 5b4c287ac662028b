//! Each outcome, and each way to lose an answer.

use crate::proxy::Mode;
use crate::stage::{SHOP, Stage, account, attempt, client, debit};
use std::time::Duration;
use tegata_client::{Attempt, Decided, InDoubt, Outcome, Role};
use tegata_model::{Code, Operation, State};

const PATIENCE: Duration = Duration::from_secs(20);

fn approved(outcome: Outcome) -> Decided {
    match outcome {
        Outcome::Approved(d) => d,
        other => panic!("not approved: {other:?}"),
    }
}

#[tokio::test]
async fn a_repeat_gets_the_same_decision() {
    let stage = Stage::open().await;
    stage.coupon("C1", 2_000).await;
    let pay = debit("C1", 500, 0);
    let first = approved(stage.till.decide(&pay).await);
    let again = approved(stage.till.decide(&pay).await);
    assert!(!first.replayed && again.replayed);
    assert_eq!(first.decision, again.decision);
    assert_eq!(stage.balance("C1").await, 1_500);
}

#[tokio::test]
async fn a_lost_answer_is_fetched_with_the_same_key() {
    let stage = Stage::open().await;
    stage.coupon("C1", 2_000).await;
    approved(stage.till.decide(&debit("C1", 100, 0)).await);
    stage.proxy.set(Mode::CutAtAnswer);
    let got = approved(stage.till.decide(&debit("C1", 500, 0)).await);
    assert_eq!(stage.proxy.losses(), 1, "the answer was cut off");
    assert!(got.replayed, "the first send had taken effect");
    assert_eq!(stage.balance("C1").await, 1_400);
}

#[tokio::test]
async fn what_was_never_sent_is_not_executed() {
    let stage = Stage::open().await;
    stage.coupon("C1", 2_000).await;
    stage.proxy.set(Mode::Refuse);
    let pay = Attempt { deadline: Duration::from_millis(300), ..debit("C1", 500, 0) };
    let outcome = stage.till.decide(&pay).await;
    assert!(matches!(outcome, Outcome::NotExecuted { .. }), "{outcome:?}");
    stage.proxy.set(Mode::Pass);
    approved(stage.till.decide(&Attempt { deadline: PATIENCE, ..pay }).await);
    assert_eq!(stage.balance("C1").await, 1_500);
}

#[tokio::test]
async fn an_unanswered_payment_that_was_made_resolves_to_paid() {
    let stage = Stage::open().await;
    stage.coupon("C1", 2_000).await;
    stage.proxy.set(Mode::LoseAnswers);
    let outcome = stage.till.decide(&Attempt { deadline: Duration::from_millis(900), ..debit("C1", 500, 0) }).await;
    assert!(stage.proxy.losses() > 0);
    let Outcome::Unknown(doubt) = outcome else { panic!("no answer came: {outcome:?}") };
    stage.proxy.set(Mode::Pass);
    let got = approved(stage.till.resolve(doubt, PATIENCE).await);
    assert_eq!(got.decision.amount.get(), 500);
    assert_eq!(stage.balance("C1").await, 1_500);
}

#[tokio::test]
async fn an_unanswered_payment_that_was_not_made_never_will_be() {
    let stage = Stage::open().await;
    stage.coupon("C1", 2_000).await;
    // The connection stands before its requests are lost: the hello of a new one passes.
    approved(stage.till.decide(&debit("C1", 100, 0)).await);
    stage.proxy.set(Mode::LoseRequests);
    let pay = Attempt { deadline: Duration::from_millis(900), ..debit("C1", 500, 0) };
    let outcome = stage.till.decide(&pay).await;
    assert!(stage.proxy.losses() > 0);
    let Outcome::Unknown(doubt) = outcome else { panic!("no answer came: {outcome:?}") };
    let still = stage.till.resolve(doubt.clone(), Duration::from_millis(50)).await;
    assert!(matches!(still, Outcome::Unknown(_)), "nothing can be known yet: {still:?}");
    stage.proxy.set(Mode::Pass);
    let Outcome::Declined(d) = stage.till.resolve(doubt, PATIENCE).await else { panic!("not fenced") };
    assert_eq!(d.decision.code, Code::Fenced);
    let Outcome::Declined(late) = stage.till.decide(&Attempt { deadline: PATIENCE, ..pay }).await else {
        panic!("the late original took effect")
    };
    assert_eq!(late.decision.code, Code::Fenced);
    assert_eq!(stage.balance("C1").await, 1_900);
}

#[tokio::test]
async fn a_second_press_asks_and_the_token_answers() {
    let stage = Stage::open().await;
    stage.coupon("C1", 2_000).await;
    let first = approved(stage.till.decide(&debit("C1", 500, 0)).await);
    let second = debit("C1", 500, 0);
    let outcome = stage.till.decide(&second).await;
    let Outcome::SuspectedDuplicate(d) = outcome else { panic!("not suspected: {outcome:?}") };
    assert_eq!(d.decision.related, first.decision.position);
    let meant = Attempt { key: second.key, ..debit("C1", 500, d.decision.related.get()) };
    approved(stage.till.decide(&meant).await);
    assert_eq!(stage.balance("C1").await, 1_000);
}

#[tokio::test]
async fn a_suspicion_behind_an_unanswered_send_is_unknown() {
    let stage = Stage::open().await;
    stage.coupon("C1", 2_000).await;
    approved(stage.till.decide(&debit("C1", 500, 0)).await);
    stage.proxy.set(Mode::CutAtAnswer);
    let second = Attempt { deadline: Duration::from_millis(900), ..debit("C1", 500, 0) };
    let outcome = stage.till.decide(&second).await;
    assert_eq!(stage.proxy.losses(), 1, "the first send has no answer");
    let Outcome::Unknown(doubt) = outcome else { panic!("a human is asked while it may be paid: {outcome:?}") };
    let Outcome::Declined(d) = stage.till.resolve(doubt, PATIENCE).await else { panic!("not fenced") };
    assert_eq!(d.decision.code, Code::Fenced);
    assert_eq!(stage.balance("C1").await, 1_500);
}

#[tokio::test]
async fn a_payment_that_was_taken_back_is_not_paid() {
    let stage = Stage::open().await;
    stage.coupon("C1", 2_000).await;
    let pay = debit("C1", 500, 0);
    approved(stage.till.decide(&pay).await);
    let back = Operation::Reversal { original: pay.key, remain: 0 };
    approved(stage.till.decide(&attempt(account("C1"), back)).await);
    let doubt = InDoubt { attempt: pay, code: Code::Unknown };
    let outcome = stage.till.resolve(doubt, PATIENCE).await;
    let Outcome::Declined(d) = outcome else { panic!("called paid: {outcome:?}") };
    assert_eq!(d.state, State::Reversed);
    assert_eq!(stage.balance("C1").await, 2_000);
}

#[tokio::test]
async fn many_at_once_share_one_connection() {
    let stage = Stage::open().await;
    let all: Vec<_> = (0..1_000u64)
        .map(|n| {
            let (till, office) = (stage.till.clone(), stage.office.clone());
            let issue = debit(&format!("C{n}"), n + 1, 0);
            tokio::spawn(async move {
                let name = format!("C{n}");
                let load = Operation::Load {
                    programme: tegata_model::ProgrammeId::new(13),
                    amount: tegata_model::Amount::new(5_000).expect("an amount"),
                    expires_at: tegata_model::Timestamp::ZERO,
                    kind: tegata_model::LotKind::Paid,
                };
                approved(office.decide(&attempt(account(&name), load)).await);
                approved(till.decide(&issue).await).decision.balance.get()
            })
        })
        .collect();
    for (n, task) in all.into_iter().enumerate() {
        assert_eq!(task.await.expect("it ends"), 5_000 - n as u64 - 1, "{SHOP} {n}");
    }
    let sessions = stage.server.as_ref().expect("it runs").sessions();
    assert!(sessions.len() <= 2, "one connection for each client: {sessions:?}");
}

#[tokio::test]
async fn answers_that_reached_their_caller_are_acknowledged() {
    let stage = Stage::open().await;
    stage.coupon("C1", 2_000).await;
    let paid = approved(stage.till.decide(&debit("C1", 500, 0)).await).decision.position.get();
    let seen = tokio::time::timeout(Duration::from_secs(4), async {
        // The acknowledgement goes alone, since nothing carries it; well before the core gives up on it.
        while stage.delivered().await < paid {}
    });
    seen.await.expect("acknowledged in time");
}

#[tokio::test]
async fn nobody_listening_is_not_executed() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let addr = listener.local_addr().expect("its address");
    drop(listener);
    let till = client(addr, Role::Gateway);
    let outcome = till.decide(&Attempt { deadline: Duration::from_millis(200), ..debit("C1", 500, 0) }).await;
    assert!(matches!(outcome, Outcome::NotExecuted { retry_after: None, .. }), "{outcome:?}");
}

#[tokio::test]
async fn a_stopping_server_leaves_nothing_unknown() {
    let mut stage = Stage::open().await;
    stage.coupon("C1", 900_000).await;
    let server = stage.server.take().expect("it runs");
    approved(stage.till.decide(&debit("C1", 1, 0)).await);
    let stopped = tokio::task::spawn_blocking(move || server.stop());
    let mut refused = 0;
    for yen in 2..100_000 {
        let pay = Attempt { deadline: Duration::from_millis(300), ..debit("C1", yen, 0) };
        match stage.till.decide(&pay).await {
            Outcome::Approved(_) => {}
            Outcome::NotExecuted { .. } => {
                refused += 1;
                if refused == 3 {
                    break;
                }
            }
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(refused, 3, "it stopped meanwhile");
    stopped.await.expect("it ends").expect("in order");
}
