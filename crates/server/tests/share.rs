//! One gateway asks for far more than its share while the queue stands: the other one does not wait for it. The journal
//! is held until all of them wait; then their order tells.

use std::cell::Cell;
use std::rc::Rc;
use std::time::{Duration, Instant};
use tegata_client::{Ask, Call, Client, Connection, Credential, Options, Role, new_key};
use tegata_model::{
    AccountId, Amount, Code, LotKind, NamespaceId, Operation, Position, Programme, ProgrammeId, Purchase, ShopId,
    TerminalId, Timestamp,
};
use tegata_node::Cause;
use tegata_server::{Config, Faults, start};
use tegata_wire::{AnswerBody, BreakerOrder, KIND_SERVER_STATUS};

const PROGRAMME: ProgrammeId = ProgrammeId::new(13);
/// At once; in order of arrival each would make the other gateway wait.
const FLOOD: u64 = 30_000;

fn client(addr: std::net::SocketAddr, gateway: u32, role: Role) -> Client {
    Client::new(Options { addrs: vec![addr], credential: Credential { gateway, role, namespaces: Vec::new() } })
}

async fn told(c: &Connection, whose: &str, operation: Operation) -> Code {
    let account = if whose.is_empty() { AccountId::NONE } else { AccountId::from_text(whose).expect("an account") };
    let call = Call {
        account,
        key: new_key(),
        namespace: NamespaceId::new(1),
        deadline_ms: 30_000,
        ..Call::of(Ask::Do(operation))
    };
    let answer = c.ask(call).await.expect("it is answered");
    let AnswerBody::Decision(d) = answer.body else { panic!("{answer:?}") };
    u8::try_from(d.code).ok().and_then(Code::from_u8).expect("a code")
}

fn debit(yen: u64) -> Operation {
    Operation::Debit(Purchase {
        shop: ShopId::from_text("SHOP1").expect("a shop"),
        terminal: TerminalId::NONE,
        amount: Amount::new(yen).expect("an amount"),
        token: Position::ZERO,
        partial: false,
    })
}

#[test]
fn the_flood_of_one_gateway_is_its_own() {
    let folder = tempfile::tempdir().expect("a folder");
    let any = "127.0.0.1:0".parse().expect("an address");
    let data = folder.path().join("data");
    let faults = Faults::default();
    let config = Config {
        data,
        listen: any,
        http: None,
        allow_volatile: true,
        credits: 65_536,
        journal_slow_ms: 60_000,
        queue_wait_ms: 30_000,
        faults: faults.clone(),
        ..Config::default()
    };
    let running = start(config).expect("it starts");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let local = tokio::task::LocalSet::new();
    local.block_on(&runtime, async {
        let office = client(running.banner().operate, 1, Role::Operator);
        let c = office.connection().await.expect("it is open");
        let shop = ShopId::from_text("SHOP1").expect("a shop");
        let amount = Amount::new(900_000_000).expect("an amount");
        let issue = Operation::Issue {
            programme: PROGRAMME,
            amount,
            expires_at: Timestamp::ZERO,
            valid_from: Timestamp::ZERO,
            stay_end_day: 0,
            kind: LotKind::Promo,
        };
        for (whose, operation) in [
            ("", Operation::Programme(Programme::with_defaults(PROGRAMME))),
            ("", Operation::Shop { shop, programme: PROGRAMME, name: [0; 48] }),
            ("HOG", issue),
            ("QUIET", issue),
        ] {
            assert_eq!(told(&c, whose, operation).await, Code::Approved);
        }
        let latch = BreakerOrder { cause: Cause::QueueDelay as u8, order: 1, ms: 0 };
        c.ask(Call::of(Ask::Breaker(latch))).await.expect("it is latched");

        let (hog, quiet) =
            (client(running.banner().listen, 501, Role::Gateway), client(running.banner().listen, 502, Role::Gateway));
        let hog = hog.connection().await.expect("it is open");
        let quiet = quiet.connection().await.expect("it is open");
        faults.stall(true);
        let answered = Rc::new(Cell::new(0));
        let flood: Vec<_> = (1..=FLOOD)
            .map(|yen| {
                let (hog, answered) = (hog.clone(), Rc::clone(&answered));
                tokio::task::spawn_local(async move {
                    let code = told(&hog, "HOG", debit(yen)).await;
                    answered.set(answered.get() + 1);
                    code
                })
            })
            .collect();
        let patience = Instant::now() + Duration::from_secs(60);
        let waiting = async |count: u64| {
            let ask = Call::question(KIND_SERVER_STATUS, AccountId::NONE);
            while !matches!(c.ask(ask).await.expect("an answer").body, AnswerBody::Server(s) if s.in_flight >= count) {
                assert!(Instant::now() < patience, "{count} are in flight");
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        waiting(FLOOD).await;
        let last = {
            let (quiet, answered) = (quiet.clone(), Rc::clone(&answered));
            tokio::task::spawn_local(async move { (told(&quiet, "QUIET", debit(1)).await, answered.get()) })
        };
        waiting(FLOOD + 1).await;
        assert_eq!(answered.get(), 0, "the journal is held");
        faults.stall(false);
        let (code, before) = last.await.expect("it is answered");
        assert_eq!(code, Code::Approved);
        assert!(before < FLOOD / 2, "it came last, and {before} of {FLOOD} went first");
        for answer in flood {
            assert_eq!(answer.await.expect("it is answered"), Code::Approved);
        }
    });
    running.stop().expect("it stops in order");
}
