//! Where one of two servers swallows everything, the other one is found, however little time each question has.

use crate::stage::{Stage, debit};
use std::net::TcpListener;
use std::time::Duration;
use tegata_client::{Client, Credential, InDoubt, Options, Outcome, Role};
use tegata_model::Code;

#[tokio::test]
async fn an_address_that_never_answers_does_not_hide_the_next_one() {
    let stage = Stage::open().await;
    // Its kernel accepts; nobody ever says hello.
    let hole = TcpListener::bind("127.0.0.1:0").expect("a port");
    let sound = stage.server.as_ref().expect("it runs").banner().listen;
    let till = Client::new(Options {
        addrs: vec![hole.local_addr().expect("bound"), sound],
        credential: Credential { gateway: 7, role: Role::Gateway, namespaces: Vec::new() },
    });
    let doubt = InDoubt { attempt: debit("C1", 500, 0), code: Code::Unknown };
    let outcome = till.resolve(doubt, Duration::from_secs(30)).await;
    assert!(matches!(outcome, Outcome::Declined(d) if d.decision.code == Code::Fenced), "{outcome:?}");
}
