//! Refusals come together to whoever said that it understands that, and one by one to all others; both are told the same.

use std::time::Duration;
use tegata_client::{Ask, Call, Client, Credential, Link, Options, Role, new_key};
use tegata_model::{AccountId, Amount, Code, NamespaceId, Operation, Position, Purchase, ShopId, TerminalId};
use tegata_node::Cause;
use tegata_server::{Config, start};
use tegata_wire::{
    AnswerBody, BreakerOrder, KIND_BREAKER_ORDER, RequestHeader, encode_breaker_order, encode_operation,
};

const PATIENCE: Duration = Duration::from_secs(20);

fn debit() -> Operation {
    Operation::Debit(Purchase {
        shop: ShopId::from_text("SHOP1").expect("a shop"),
        terminal: TerminalId::NONE,
        amount: Amount::new(100).expect("an amount"),
        token: Position::ZERO,
        partial: false,
    })
}

/// Three debits in one write, with the numbers 7, 8 and 9.
fn debits() -> Vec<u8> {
    let mut frames = Vec::new();
    for request_id in 7..=9 {
        let header = RequestHeader {
            request_id,
            account: *AccountId::from_text("C1").expect("an account").bytes(),
            key: *new_key().bytes(),
            namespace: 1,
            ..RequestHeader::default()
        };
        encode_operation(&header, &debit(), &mut frames);
    }
    frames
}

#[test]
fn refusals_come_together_to_whoever_understands_it() {
    let folder = tempfile::tempdir().expect("a folder");
    let any = "127.0.0.1:0".parse().expect("an address");
    let data = folder.path().join("data");
    let config = Config { data, listen: any, http: None, allow_volatile: true, warm_bytes: 0, ..Config::default() };
    let running = start(config).expect("it starts");
    let (listen, operate) = (running.banner().listen, running.banner().operate);

    let mut office = Link::open(operate, true).expect("a connection");
    let mut order = Vec::new();
    let header = RequestHeader { kind: KIND_BREAKER_ORDER, ..RequestHeader::default() };
    encode_breaker_order(&header, &BreakerOrder { cause: Cause::JournalLatency as u8, order: 1, ms: 0 }, &mut order);
    office.send(&order).expect("sent");
    assert!(matches!(office.receive().expect("an answer").body, AnswerBody::Breakers(_)));

    let slow = u16::from(Code::JournalSlow.number());
    let mut link = Link::open_together(listen, PATIENCE).expect("a connection");
    link.send(&debits()).expect("sent");
    let mut together = Vec::new();
    let mut frames = 0;
    while together.len() < 3 {
        let answer = link.receive().expect("an answer");
        assert_eq!((answer.header.number, answer.header.request_id), (0, 0), "there is nothing to acknowledge");
        let AnswerBody::Refusals(refusals) = answer.body else { panic!("{:?}", answer.body) };
        together.extend(refusals);
        frames += 1;
    }
    assert!(frames < 3, "what was read at once is refused at once");
    assert_eq!(together.iter().map(|(n, d)| (*n, d.code)).collect::<Vec<_>>(), [(7, slow), (8, slow), (9, slow)]);

    let mut plain = Link::open(listen, false).expect("a connection");
    plain.send(&debits()).expect("sent");
    for (n, refusal) in together {
        let answer = plain.receive().expect("an answer");
        assert_eq!((answer.header.request_id, answer.header.kind), (n, 4));
        let AnswerBody::Decision(d) = answer.body else { panic!("{:?}", answer.body) };
        assert_eq!((d.code, d.amount, d.position), (refusal.code, refusal.amount, refusal.position));
        assert!(d.decided_at > 0 && refusal.decided_at > 0);
        assert!([d, refusal].iter().all(|d| (1_000..=1_500).contains(&d.retry_after_ms)), "{d:?} {refusal:?}");
    }

    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let code = tokio::task::LocalSet::new().block_on(&runtime, async {
        let credential = Credential { gateway: 501, role: Role::Gateway, namespaces: Vec::new() };
        let c = Client::new(Options { addrs: vec![listen], credential }).connection().await.expect("it is open");
        let account = AccountId::from_text("C1").expect("an account");
        let call = Call { account, key: new_key(), namespace: NamespaceId::new(1), ..Call::of(Ask::Do(debit())) };
        match c.ask(call).await.expect("an answer").body {
            AnswerBody::Decision(d) => d.code,
            other => panic!("{other:?}"),
        }
    });
    assert_eq!(code, slow, "the client's caller sees no difference");
    drop((link, plain, office));
    running.stop().expect("it stops");
}
