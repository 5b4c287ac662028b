//! The journal stalls as if its disk did not answer: nobody waits longer than its deadline, what nobody took is refused,
//! what was on its way is unknown and found afterwards, and it is over by itself.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use tegata_client::{Ask, Call, Client, Connection, Credential, Options, Role, new_key};
use tegata_model::{
    AccountId, Amount, Code, Key, LotKind, NamespaceId, Operation, Position, Programme, ProgrammeId, Purchase, ShopId,
    TerminalId, Timestamp,
};
use tegata_node::Mode;
use tegata_server::{Config, Faults, JournalIo, Running, start};
use tegata_wire::{AnswerBody, KIND_STATUS};

/// What a machine that does other things besides may add to a bound.
const BUSY: Duration = Duration::from_millis(400);
const DEADLINE: Duration = Duration::from_millis(800);
const PROGRAMME: ProgrammeId = ProgrammeId::new(13);

#[derive(Debug, Clone, Copy)]
struct Told {
    key: Key,
    code: Code,
    sent: Instant,
    took: Duration,
}

fn server(data: &std::path::Path, faults: &Faults, io_threads: usize, journal_io: JournalIo) -> Running {
    let any = "127.0.0.1:0".parse().expect("an address");
    let config = Config {
        data: data.to_owned(),
        listen: any,
        http: None,
        segment_bytes: 4 << 20,
        snapshot_bytes: 0,
        allow_volatile: true,
        faults: faults.clone(),
        io_threads,
        journal_io,
        ack_s: 1,
        ..Config::default()
    };
    start(config).expect("it starts")
}

fn client(addr: std::net::SocketAddr, role: Role) -> Client {
    Client::new(Options { addrs: vec![addr], credential: Credential { gateway: 1, role, namespaces: Vec::new() } })
}

fn account(text: &str) -> AccountId {
    AccountId::from_text(text).expect("an account")
}

fn call(account: AccountId, key: Key, ask: Ask, deadline: Duration) -> Call {
    let deadline_ms = deadline.as_millis() as u32;
    Call { account, key, namespace: NamespaceId::new(1), deadline_ms, ..Call::of(ask) }
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

async fn ask(c: &Connection, call: Call) -> Told {
    let sent = Instant::now();
    let answer =
        tokio::time::timeout(Duration::from_secs(20), c.ask(call)).await.expect("it is answered").expect("open");
    let AnswerBody::Decision(d) = answer.body else { panic!("{answer:?}") };
    let code = u8::try_from(d.code).ok().and_then(Code::from_u8).expect("a code");
    Told { key: call.key, code, sent, took: sent.elapsed() }
}

async fn seed(operate: std::net::SocketAddr) {
    let office = client(operate, Role::Operator);
    let c = office.connection().await.expect("it is open");
    // Without a window of its own the guard asks only about what is in doubt.
    let programme = Programme { guard_window_s: 0, ..Programme::with_defaults(PROGRAMME) };
    let programme = Operation::Programme(programme);
    let shop =
        Operation::Shop { shop: ShopId::from_text("SHOP1").expect("a shop"), programme: PROGRAMME, name: [0; 48] };
    let issue = Operation::Issue {
        programme: PROGRAMME,
        amount: Amount::new(90_000_000).expect("an amount"),
        expires_at: Timestamp::ZERO,
        valid_from: Timestamp::ZERO,
        stay_end_day: 0,
        kind: LotKind::Promo,
    };
    for (whose, operation) in [(AccountId::NONE, programme), (AccountId::NONE, shop), (account("C1"), issue)] {
        let told = ask(&c, call(whose, new_key(), Ask::Do(operation), Duration::from_secs(8))).await;
        assert_eq!(told.code, Code::Approved);
    }
    office.close().await;
}

/// When a breaker came into a state, by the file of events.
fn entered(data: &std::path::Path, to: &str) -> Option<SystemTime> {
    let text = std::fs::read_to_string(data.join("EVENTS")).expect("the file of events");
    let line = text.lines().find(|l| l.contains("journal-latency") && l.contains(&format!("\"to\":\"{to}\"")))?;
    let us = line.split(&[':', ','][..]).nth(1)?.parse().ok()?;
    Some(UNIX_EPOCH + Duration::from_micros(us))
}

#[test]
fn nobody_waits_past_a_deadline_and_it_is_over_by_itself() {
    stall(0, JournalIo::Auto);
}

#[test]
fn nor_where_connections_have_threads_of_their_own() {
    stall(1, JournalIo::Auto);
}

#[test]
fn nor_where_io_uring_is_forbidden() {
    stall(0, JournalIo::Buffered);
}

fn stall(io_threads: usize, journal_io: JournalIo) {
    let folder = tempfile::tempdir().expect("a folder");
    let data = folder.path().join("data");
    let faults = Faults::default();
    let running = server(&data, &faults, io_threads, journal_io);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let local = tokio::task::LocalSet::new();
    let (began, ended) = local.block_on(&runtime, async {
        seed(running.banner().operate).await;
        let gateway = client(running.banner().listen, Role::Gateway);
        let c = gateway.connection().await.expect("it is open");
        let known = call(account("C1"), new_key(), Ask::Do(debit(1)), DEADLINE);
        assert_eq!(ask(&c, known).await.code, Code::Approved);

        let all = Rc::new(RefCell::new(Vec::new()));
        let pay = |yen: u64| {
            let (c, all) = (c.clone(), Rc::clone(&all));
            tokio::task::spawn_local(async move {
                let told = ask(&c, call(account("C1"), new_key(), Ask::Do(debit(yen)), DEADLINE)).await;
                all.borrow_mut().push((yen, told));
            })
        };
        faults.stall(true);
        let began = SystemTime::now();
        let mut sent = Vec::new();
        for n in 0..200 {
            sent.push(pay(100 + n));
            tokio::time::sleep(Duration::from_millis(10)).await;
            if n == 100 {
                let repeat = ask(&c, known).await;
                assert_eq!(repeat.code, Code::Approved, "a decided key is answered whatever happens");
                assert!(repeat.took < BUSY);
            }
        }
        faults.stall(false);
        let ended = SystemTime::now();
        let patience = Instant::now() + Duration::from_secs(20);
        let mut n = 300;
        while running.facts().mode != Mode::Normal {
            assert!(Instant::now() < patience, "it is over by itself: {:?}", running.facts());
            sent.push(pay(n));
            n += 1;
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        for task in sent {
            task.await.expect("it is answered");
        }
        let (yen, all): (Vec<u64>, Vec<Told>) = all.take().into_iter().unzip();
        let worst = all.iter().map(|t| t.took).max().unwrap_or_default();
        assert!(worst <= DEADLINE + Duration::from_millis(100) + BUSY, "the longest waited {worst:?}");
        let count = |code| all.iter().filter(|t| t.code == code).count();
        let (unknown, slow) = (count(Code::Unknown), count(Code::JournalSlow));
        assert!(unknown >= 1 && slow > 50, "{unknown} unknown, {slow} refused");
        let first = all.iter().position(|t| t.code == Code::Unknown).expect("one was unknown");
        let pressed = call(account("C1"), new_key(), Ask::Do(debit(yen[first])), DEADLINE);
        assert_eq!(ask(&c, pressed).await.code, Code::SuspectedDuplicate, "nobody has shown to know of the first");
        let mut late = 0;
        for told in &all {
            let status = call(account("C1"), told.key, Ask::Question(KIND_STATUS), DEADLINE);
            let found = ask(&c, status).await.code;
            match told.code {
                Code::Approved => assert_eq!(found, Code::Approved),
                Code::Unknown => {
                    assert_eq!(found, Code::Approved, "sealed in time: it takes effect however late the flush");
                    late += 1;
                }
                Code::JournalSlow | Code::DeadlinePassed | Code::Overloaded => {
                    assert_eq!(found, Code::NotSeen, "nothing was taken");
                }
                other => panic!("{other:?} after {:?}", told.sent.elapsed()),
            }
        }
        assert_eq!(late, unknown);
        gateway.close().await;
        (began, ended)
    });
    running.stop().expect("it stops in order");
    let after = |to, since: SystemTime| entered(&data, to).map(|at| at.duration_since(since).unwrap_or_default());
    let opened = after("open", began).expect("it opened");
    assert!(opened <= Duration::from_millis(500) + BUSY, "opened after {opened:?}");
    let closed = after("closed", ended).expect("it closed");
    assert!(closed <= Duration::from_secs(3) + BUSY, "closed after {closed:?}");
}
