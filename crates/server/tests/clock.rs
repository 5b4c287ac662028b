//! The wall clock steps under a running server: nothing expires until an operator vouches for it.

use std::time::{Duration, Instant};
use tegata_client::{Ask, Attempt, Call, Client, Credential, Options, Outcome, Role, new_key};
use tegata_model::{
    AccountId, Amount, Code, Key, LotKind, NamespaceId, Operation, Position, Programme, ProgrammeId, Purchase, ShopId,
    TerminalId, Timestamp,
};
use tegata_node::{BreakerState, Cause, Mode};
use tegata_server::{Config, Running, clock, start};
use tegata_wire::{AnswerBody, BreakerOrder, BreakersBody, KIND_BREAKERS};

const DAY_US: i64 = 86_400_000_000;
const PROGRAMME: ProgrammeId = ProgrammeId::new(13);

async fn decide(c: &Client, whose: &str, operation: Operation) -> Outcome {
    decide_within(c, whose, operation, Duration::from_secs(8)).await
}

async fn decide_within(c: &Client, whose: &str, operation: Operation, deadline: Duration) -> Outcome {
    let account = if whose.is_empty() { AccountId::NONE } else { AccountId::from_text(whose).expect("an account") };
    let attempt = Attempt { account, key: new_key(), namespace: NamespaceId::new(1), operation, deadline };
    // A key carries the caller's own time, which has not stepped.
    let key = Key::new(clock::now(), u128::from_le_bytes(*attempt.key.bytes()));
    c.decide(&Attempt { key, ..attempt }).await
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

async fn until(running: &Running, what: impl Fn(BreakerState, Mode) -> bool) {
    let patience = Instant::now() + Duration::from_secs(20);
    loop {
        let facts = running.facts();
        if what(facts.states[Cause::Clock as usize], facts.mode) {
            return;
        }
        assert!(Instant::now() < patience, "{facts:?}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

async fn ask(c: &Client, call: Call) -> Option<BreakersBody> {
    match c.connection().await.expect("open").ask(call).await.expect("an answer").body {
        AnswerBody::Breakers(b) => Some(b),
        _ => None,
    }
}

async fn confirm(c: &Client) -> Option<u64> {
    let order = BreakerOrder { cause: Cause::Clock as u8, order: 3, ms: 0 };
    ask(c, Call::of(Ask::Breaker(order))).await.map(|b| b.mode)
}

#[test]
fn nothing_expires_by_a_clock_that_stepped_until_an_operator_confirms_it() {
    let folder = tempfile::tempdir().expect("a folder");
    let any = "127.0.0.1:0".parse().expect("an address");
    let data = folder.path().join("data");
    let config = Config { data, listen: any, http: None, allow_volatile: true, ..Config::default() };
    let running = start(config).expect("it starts");
    let connect = |addr, role| {
        Client::new(Options { addrs: vec![addr], credential: Credential { gateway: 1, role, namespaces: Vec::new() } })
    };
    let (office, till) =
        (connect(running.banner().operate, Role::Operator), connect(running.banner().listen, Role::Gateway));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let shop =
            Operation::Shop { shop: ShopId::from_text("SHOP1").expect("a shop"), programme: PROGRAMME, name: [0; 48] };
        let issue = Operation::Issue {
            programme: PROGRAMME,
            amount: Amount::new(1_000).expect("an amount"),
            expires_at: clock::now().plus_seconds(12 * 3_600),
            valid_from: Timestamp::ZERO,
            stay_end_day: 0,
            kind: LotKind::Promo,
        };
        for (whose, operation) in
            [("", Operation::Programme(Programme::with_defaults(PROGRAMME))), ("", shop), ("C1", issue)]
        {
            assert!(matches!(decide(&office, whose, operation).await, Outcome::Approved(_)));
        }
        // What is put back by less than a step makes nobody wait, nor pass the deadline.
        clock::step_wall(-4_500_000);
        let outcome = decide_within(&till, "C1", debit(3), Duration::from_secs(1)).await;
        assert!(matches!(outcome, Outcome::Approved(_)), "{outcome:?}");
        assert!(!clock::is_suspect());
        clock::step_wall(4_500_000);

        clock::step_wall(DAY_US);
        until(&running, |state, mode| state == BreakerState::Latched && mode == Mode::Brownout).await;
        assert!(matches!(decide(&till, "C1", debit(1)).await, Outcome::Approved(_)), "payments go on");
        clock::step_wall(-DAY_US);
        until(&running, |_, _| !clock::is_suspect()).await;
        assert_eq!(
            running.facts().states[Cause::Clock as usize],
            BreakerState::Latched,
            "right again, and not confirmed"
        );
        assert_eq!(confirm(&office).await, Some(u64::from(Mode::Probing.number())));
        until(&running, |_, mode| mode == Mode::Normal).await;
        assert_eq!(confirm(&office).await, None, "nothing to confirm");

        clock::step_wall(-3_600_000_000);
        until(&running, |state, _| state == BreakerState::Latched).await;
        confirm(&office).await;
        until(&running, |state, _| state == BreakerState::Latched).await;
        assert!(clock::is_suspect(), "time would stand still for an hour");
        clock::step_wall(3_600_000_000 + DAY_US);
        confirm(&office).await;
        until(&running, |_, mode| mode == Mode::Normal).await;
        let outcome = decide(&till, "C1", debit(2)).await;
        assert!(matches!(&outcome, Outcome::Declined(d) if d.decision.code == Code::Expired), "{outcome:?}");

        // A step while the breaker is open for a drill is no drill.
        let drill = BreakerOrder { cause: Cause::Clock as u8, order: 4, ms: 2_000 };
        ask(&office, Call::of(Ask::Breaker(drill))).await;
        clock::step_wall(DAY_US);
        let patience = Instant::now() + Duration::from_secs(20);
        loop {
            let all = ask(&office, Call::question(KIND_BREAKERS, AccountId::NONE)).await.expect("a list");
            let of_clock = &all.breakers[Cause::Clock as usize];
            if of_clock.state == BreakerState::Latched as u8 && of_clock.drill_until == 0 {
                break;
            }
            assert!(Instant::now() < patience, "{of_clock:?}");
        }
        office.close().await;
        till.close().await;
    });
    running.stop().expect("it stops in order");
}
