//! A client that stands in, killed at every step, and a core that is killed while it is told: what was approved is never
//! lost, and never taken twice.

use crate::stage::{Stage, TEGATA};
use serde_json::Value;
use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};
use tegata_client::{Attempt, Client, Credential, Options, Outcome, Role, StandIn, StandInOptions, Step, new_key};
use tegata_model::{
    AccountId, Allowance, Amount, Key, NamespaceId, Operation, Position, ProgrammeId, Purchase, ShopId, TerminalId,
};

const CHILD: &str = "TEGATA_STAND_IN_CHILD";
const TAG: &str = "stand-in> ";
const PROGRAMME: u32 = 13;
const BALANCE: u64 = 50_000;

// --- the process that stands in ---

/// The process that is killed: it takes commands on its standard input, and says what came of them.
#[test]
#[ignore = "the tests below start it"]
fn child() {
    let told = std::env::var(CHILD).expect("it is told where and what");
    let [addr, folder, stop_at] = told.split(' ').collect::<Vec<_>>()[..] else { panic!("three words: {told}") };
    let stop_at = stop_at.to_owned();
    let watch = move |step: Step| {
        say(&format!("step {step:?}"));
        assert_ne!(stop_at.strip_prefix('!'), Some(&*format!("{step:?}")), "as a disk that fails");
        while format!("{step:?}") == stop_at {
            std::thread::park();
        }
    };
    let credential = Credential { gateway: 1, role: Role::Gateway, namespaces: Vec::new() };
    let client = Client::new(Options { addrs: vec![addr.parse().expect("an address")], credential });
    let options = StandInOptions {
        folder: folder.into(),
        programme: ProgrammeId::new(PROGRAMME),
        namespace: NamespaceId::new(1),
        allowance: Allowance::with_defaults(100_000),
        watch: Arc::new(watch),
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let stand_in = StandIn::open(client, options).expect("a sound spool");
    for line in std::io::stdin().lines() {
        let line = line.expect("text");
        let words: Vec<&str> = line.split(' ').collect();
        say(&runtime.block_on(obey(&stand_in, &words)));
    }
}

fn say(what: &str) {
    let mut out = std::io::stdout().lock();
    writeln!(out, "\n{TAG}{what}").expect("somebody listens");
    out.flush().expect("somebody listens");
}

fn account(name: &str) -> AccountId {
    AccountId::from_text(name).expect("an account")
}

async fn obey(stand_in: &StandIn, words: &[&str]) -> String {
    match words {
        ["tend"] => {
            let t = stand_in.tend().await;
            let disk = if t.failed { " failed" } else { "" };
            format!("tended {} {} {:?}{disk}", t.waiting, u8::from(!t.leased_until.is_zero()), t.refused)
        }
        ["see", name] => format!("seen {}", stand_in.balance(account(name)).await.map_or(0, |b| b.balance)),
        ["pay", name, yen, key] => {
            let outcome = stand_in.decide(&payment(name, yen.parse().expect("yen"), key)).await;
            match outcome {
                Outcome::Approved(d) => format!("paid {} {}", u8::from(d.stood_in), d.decision.amount.get()),
                other => format!("not {other:?}"),
            }
        }
        ["drill", ms] => {
            stand_in.drill(Duration::from_millis(ms.parse().expect("ms")));
            "drills".to_owned()
        }
        ["undo", name, key] => {
            let original = Key::parse(key).expect("a key");
            let reversal = Attempt {
                key: new_key(),
                operation: Operation::Reversal { original, remain: 0 },
                ..payment(name, 1, key)
            };
            format!("queued {}", stand_in.undo(&reversal).await)
        }
        other => panic!("{other:?}"),
    }
}

fn payment(name: &str, yen: u64, key: &str) -> Attempt {
    let purchase = Purchase {
        shop: ShopId::from_text("SHOP1").expect("a shop"),
        terminal: TerminalId::NONE,
        amount: Amount::new(yen).expect("in range"),
        token: Position::ZERO,
        partial: false,
    };
    Attempt {
        account: account(name),
        key: Key::parse(key).expect("a key"),
        namespace: NamespaceId::new(1),
        operation: Operation::Debit(purchase),
        deadline: Duration::from_secs(5),
    }
}

// --- the tests' side ---

struct Cashier {
    child: Child,
    input: ChildStdin,
    lines: Receiver<String>,
}

impl Cashier {
    fn start(rig: &Rig, stop_at: &str) -> Self {
        let folder = rig.spool().to_str().expect("UTF-8").to_owned();
        let mut child = Command::new(std::env::current_exe().expect("this test"))
            .args(["--exact", "stand_in::child", "--ignored", "--nocapture", "--test-threads", "1"])
            .env(CHILD, format!("{} {folder} {stop_at}", rig.addr))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("it starts");
        let (input, out) = (child.stdin.take().expect("a pipe"), child.stdout.take().expect("a pipe"));
        let (send, lines) = channel();
        std::thread::spawn(move || {
            for line in BufReader::new(out).lines().map_while(Result::ok) {
                if let Some(said) = line.strip_prefix(TAG)
                    && send.send(said.to_owned()).is_err()
                {
                    return;
                }
            }
        });
        Self { child, input, lines }
    }

    fn tell(&mut self, words: &str) {
        writeln!(self.input, "{words}").expect("it listens");
    }

    /// The next line that begins so; steps before it are passed over.
    fn hear(&self, begin: &str) -> String {
        let until = Instant::now() + Duration::from_secs(30);
        loop {
            match self.lines.recv_timeout(until.saturating_duration_since(Instant::now())) {
                Ok(line) if line.starts_with(begin) => return line,
                Ok(line) if line.starts_with("step ") => {}
                Ok(line) => panic!("{begin}: {line}"),
                Err(RecvTimeoutError::Timeout) => panic!("{begin}: nothing was said"),
                Err(RecvTimeoutError::Disconnected) => panic!("{begin}: it ended"),
            }
        }
    }

    fn ask(&mut self, words: &str, begin: &str) -> String {
        self.tell(words);
        self.hear(begin)
    }

    /// Tends until nothing waits and there is a lease.
    fn settle(&mut self) {
        let until = Instant::now() + Duration::from_secs(30);
        while self.ask("tend", "tended ") != "tended 0 1 None" {
            assert!(Instant::now() < until, "something still waits");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Kill -9.
    fn kill(mut self) {
        self.child.kill().expect("it runs");
        self.child.wait().expect("it ends");
    }
}

impl Drop for Cashier {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A core with programme 13, and coupon C1 of ¥50,000, which comes and goes at one address.
struct Rig {
    addr: String,
    stage: Stage,
}

impl Rig {
    fn new() -> Self {
        // Two ports that are free now.
        let [a, b] = [(); 2].map(|()| TcpListener::bind("127.0.0.1:0").expect("a port"));
        let [addr, operate] = [&a, &b].map(|l| l.local_addr().expect("an address").to_string());
        drop((a, b));
        let folder = tempfile::tempdir().expect("a folder");
        let rules = folder.path().join("rules.toml");
        std::fs::write(&rules, format!("id = {PROGRAMME}\nstand_in_total_max = 100_000\n")).expect("it is written");
        let server = serve(&folder.path().join("data"), &addr, &operate);
        let rig = Self { addr, stage: Stage { server, folder } };
        rig.stage.done(&["programme", "create", rules.to_str().expect("UTF-8")]);
        rig.stage.done(&["shop", "register", "SHOP1"]);
        rig.stage.done(&["issue", "C1", &BALANCE.to_string(), "--programme", "13", "--expires", "2099-03-31"]);
        rig
    }

    fn spool(&self) -> PathBuf {
        self.stage.folder.path().join("spool")
    }

    /// Kill -9.
    fn kill(&mut self) {
        self.stage.server.child.kill().expect("it runs");
        self.stage.server.child.wait().expect("it ends");
    }

    fn restart(&mut self) {
        let operate = self.stage.server.field("operate");
        self.stage.server = serve(&self.stage.folder.path().join("data"), &self.addr, &operate);
    }

    /// Keys and yen of the advices in the log, each once.
    fn advices(&self) -> Vec<(String, u64)> {
        let said = self.stage.done(&["history", "--stand-in"]);
        let entry = |e: &Value| (e["key"].as_str().expect("a key").to_owned(), e["amount"].as_u64().expect("yen"));
        said["entries"].as_array().expect("a list").iter().map(entry).collect()
    }

    fn shortfall(&self) -> u64 {
        self.stage.done(&["server", "digest"])["programmes"][0]["shortfall"].as_u64().expect("yen")
    }

    /// Exactly these keys and yen were told, each once, and nothing else was taken.
    fn check(&self, told: &[(&str, u64)], what: &str) {
        let told: Vec<(String, u64)> = told.iter().map(|(k, yen)| ((*k).to_owned(), *yen)).collect();
        assert_eq!(self.advices(), told, "{what}");
        let taken: u64 = told.iter().map(|(_, yen)| yen).sum();
        assert_eq!(self.stage.balance("C1"), BALANCE - taken, "{what}");
        assert_eq!(self.shortfall(), 0, "{what}");
    }
}

fn serve(data: &Path, addr: &str, operate: &str) -> crate::stage::Server {
    let until = Instant::now() + Duration::from_secs(20);
    loop {
        let mut child = Command::new(TEGATA)
            .args([
                "serve",
                "--json",
                "--allow-volatile",
                "--http",
                "off",
                "--listen",
                addr,
                "--operate",
                operate,
                "--data",
            ])
            .arg(data)
            .stdout(Stdio::piped())
            .spawn()
            .expect("the binary starts");
        let mut line = String::new();
        BufReader::new(child.stdout.take().expect("a pipe")).read_line(&mut line).expect("a banner");
        let banner: Value = serde_json::from_str(&line).unwrap_or_else(|e| panic!("{e}: {line:?}"));
        let server = crate::stage::Server { child, banner };
        if server.banner["addr"].is_string() {
            return server;
        }
        // The ports of the one before may not be free yet.
        assert!(Instant::now() < until, "{}", server.banner);
        std::thread::sleep(Duration::from_millis(50));
    }
}

fn key() -> String {
    new_key().to_string()
}

#[test]
fn a_client_that_is_killed_at_any_step_loses_nothing_and_takes_nothing_twice() {
    // The step, whether the customer was told "paid" before it, and whether the payment must be in the log at the end.
    let rows = [
        ("ApprovalWrite", false, false),
        ("ApprovalFlush", false, true),
        ("ApprovalAnswer", false, true),
        ("Send", true, true),
        ("Heard", true, true),
        ("DoneWrite", true, true),
        ("DoneFlush", true, true),
        ("Forget", true, true),
    ];
    for (step, paid, told) in rows {
        let mut rig = Rig::new();
        let mut cashier = Cashier::start(&rig, step);
        cashier.settle();
        let key = key();
        assert_eq!(cashier.ask("see C1", "seen "), format!("seen {BALANCE}"));
        rig.kill();
        cashier.tell(&format!("pay C1 1200 {key}"));
        if paid {
            assert_eq!(cashier.hear("paid "), "paid 1 1200", "{step}");
            rig.restart();
            cashier.tell("tend");
        }
        cashier.hear(&format!("step {step}"));
        cashier.kill();
        if !paid {
            rig.restart();
        }
        let mut again = Cashier::start(&rig, "-");
        again.settle();
        drop(again);
        let expected: &[(&str, u64)] = if told { &[(&key, 1_200)] } else { &[] };
        rig.check(expected, step);
        // The debit itself, late: it is what was told, or it is new.
        let mut late = Cashier::start(&rig, "-");
        assert_eq!(late.ask(&format!("pay C1 1200 {key}"), "paid "), "paid 0 1200", "{step}");
        assert_eq!(rig.stage.balance("C1"), BALANCE - 1_200, "{step}");
    }
}

#[test]
fn a_drill_stands_in_although_the_core_is_there_and_tells_it_afterwards() {
    let rig = Rig::new();
    rig.stage.done(&["issue", "C2", &BALANCE.to_string(), "--programme", "13", "--expires", "2099-03-31"]);
    let mut cashier = Cashier::start(&rig, "-");
    cashier.settle();
    cashier.ask("see C1", "seen ");
    let [before, during, after] = [key(), key(), key()];
    assert_eq!(cashier.ask(&format!("pay C1 100 {before}"), "paid "), "paid 0 100");
    cashier.ask("drill 600000", "drills");
    cashier.ask(&format!("pay C1 200 {}", key()), "not ");
    cashier.ask("see C2", "seen ");
    assert_eq!(cashier.ask(&format!("pay C2 300 {during}"), "paid "), "paid 1 300");
    assert_eq!((cashier.ask("tend", "tended "), rig.stage.balance("C2")), ("tended 1 1 None".to_owned(), BALANCE));
    cashier.ask("drill 0", "drills");
    cashier.settle();
    assert_eq!((rig.advices(), rig.stage.balance("C2")), (vec![(during, 300)], BALANCE - 300));
    assert_eq!(cashier.ask(&format!("pay C1 400 {after}"), "paid "), "paid 0 400");
}

#[test]
fn a_spool_that_fails_ends_the_standing_in_and_nothing_else() {
    let mut rig = Rig::new();
    let mut cashier = Cashier::start(&rig, "!DoneWrite");
    cashier.settle();
    cashier.ask("see C1", "seen ");
    rig.kill();
    let [stood_in, later, new] = [key(), key(), key()];
    assert_eq!(cashier.ask(&format!("pay C1 1200 {stood_in}"), "paid "), "paid 1 1200");
    rig.restart();
    let mut tended = cashier.ask("tend", "tended ");
    assert!(tended.starts_with("tended 0 1 None"), "told, though it cannot be written: {tended}");
    let until = Instant::now() + Duration::from_secs(30);
    while tended != "tended 0 1 None failed" {
        assert!(Instant::now() < until, "{tended}");
        tended = cashier.ask("tend", "tended ");
    }
    assert_eq!(cashier.ask(&format!("pay C1 300 {later}"), "paid "), "paid 0 300", "the core is there for everybody");
    cashier.ask("see C1", "seen ");
    rig.kill();
    cashier.ask(&format!("pay C1 100 {new}"), "not ");
    drop(cashier);
    rig.restart();
    let mut again = Cashier::start(&rig, "-");
    again.settle();
    assert_eq!(
        (rig.advices(), rig.stage.balance("C1")),
        (vec![(stood_in, 1_200)], BALANCE - 1_500),
        "told once more, taken once"
    );
}

#[test]
fn a_spool_that_stands_still_holds_up_nothing_that_the_core_decides() {
    let mut rig = Rig::new();
    let mut cashier = Cashier::start(&rig, "DoneFlush");
    cashier.settle();
    cashier.ask("see C1", "seen ");
    rig.kill();
    let [stood_in, later] = [key(), key()];
    assert_eq!(cashier.ask(&format!("pay C1 1200 {stood_in}"), "paid "), "paid 1 1200");
    rig.restart();
    assert_eq!(cashier.ask("tend", "tended "), "tended 0 1 None", "told, though that is not flushed");
    assert_eq!(cashier.ask(&format!("pay C1 300 {later}"), "paid "), "paid 0 300", "the core is there for everybody");
    drop(cashier);
    let mut again = Cashier::start(&rig, "-");
    again.settle();
    assert_eq!(
        (rig.advices(), rig.stage.balance("C1")),
        (vec![(stood_in, 1_200)], BALANCE - 1_500),
        "told once more, taken once"
    );
}

#[test]
fn a_core_that_is_killed_while_it_is_told_takes_once() {
    let mut rig = Rig::new();
    let mut cashier = Cashier::start(&rig, "-");
    cashier.settle();
    let (mut told, mut unanswered) = (Vec::new(), 0);
    for round in 0..10u64 {
        // One payment of an account and shop under a lease.
        let (name, key, yen) = (format!("K{round}"), key(), 100 + round);
        rig.stage.done(&["issue", &name, "1000", "--programme", "13", "--expires", "2099-03-31"]);
        assert_eq!(cashier.ask(&format!("see {name}"), "seen "), "seen 1000");
        rig.kill();
        for what in ["once", "the same again"] {
            assert_eq!(cashier.ask(&format!("pay {name} {yen} {key}"), "paid "), format!("paid 1 {yen}"), "{what}");
        }
        rig.restart();
        loop {
            cashier.tell("tend");
            match cashier.lines.recv_timeout(Duration::from_secs(30)).expect("it says something").as_str() {
                "step Send" => break,
                // It does not ask again so soon after nobody was there.
                _ => std::thread::sleep(Duration::from_millis(100)),
            }
        }
        std::thread::sleep(Duration::from_micros(round * 400));
        rig.kill();
        unanswered += u32::from(cashier.hear("tended ").starts_with("tended 1"));
        rig.restart();
        cashier.settle();
        told.push((key, yen));
        let found: Vec<(String, u64)> = rig.advices();
        assert_eq!(found, told, "round {round}");
        assert_eq!(rig.stage.balance(&name), 1_000 - yen, "round {round}");
    }
    assert_eq!(rig.shortfall(), 0);
    assert!(unanswered > 0, "the core was killed before it had answered");
}

#[test]
fn a_stood_in_payment_that_was_reversed_takes_nothing() {
    let mut rig = Rig::new();
    let mut cashier = Cashier::start(&rig, "-");
    cashier.settle();
    cashier.ask("see C1", "seen ");
    rig.kill();
    let key = key();
    assert_eq!(cashier.ask(&format!("pay C1 1200 {key}"), "paid "), "paid 1 1200");
    assert_eq!(cashier.ask(&format!("undo C1 {key}"), "queued "), "queued true");
    rig.restart();
    cashier.settle();
    assert_eq!(rig.stage.balance("C1"), BALANCE);
    let listed = rig.stage.done(&["history", "--for-office"])["entries"].clone();
    assert_eq!((listed[0]["key"].as_str(), listed[0]["amount"].as_u64()), (Some(&key[..]), Some(0)), "{listed}");
    assert_eq!(listed[0]["beside"], true);
}

#[test]
fn what_is_not_stood_in_for() {
    let mut rig = Rig::new();
    for name in ["C2", "C4"] {
        rig.stage.done(&["issue", name, "50000", "--programme", "13", "--expires", "2099-03-31"]);
    }
    let rules = rig.stage.file("other.toml", "id = 14\n");
    rig.stage.done(&["programme", "create", rules.to_str().expect("UTF-8")]);
    rig.stage.done(&["issue", "C3", "50000", "--programme", "14", "--expires", "2099-03-31"]);
    let mut cashier = Cashier::start(&rig, "-");
    cashier.settle();
    for name in ["C1", "C3", "C4"] {
        assert_eq!(cashier.ask(&format!("see {name}"), "seen "), format!("seen {BALANCE}"));
    }
    // The core is there, and its word counts.
    rig.stage.done(&["suspend", "account", "C1"]);
    let declined = cashier.ask(&format!("pay C1 1000 {}", key()), "not ");
    assert!(declined.contains("AccountSuspended"), "{declined}");
    rig.stage.done(&["resume", "account", "C1"]);
    rig.kill();
    let not_covered = [
        ("C4", 3_001, "more than one payment may be"),
        ("C2", 1_000, "its balance was not seen"),
        ("C3", 1_000, "of a programme that leases nothing"),
    ];
    for (name, yen, why) in not_covered {
        let refused = cashier.ask(&format!("pay {name} {yen} {}", key()), "not ");
        assert!(refused.contains("NotExecuted") || refused.contains("Unknown"), "{why}: {refused}");
    }
    // Written, flushed, and only then told.
    cashier.tell(&format!("pay C1 1000 {}", key()));
    let said: Vec<String> = cashier.lines.iter().take(4).collect();
    assert_eq!(said, ["step ApprovalWrite", "step ApprovalFlush", "step ApprovalAnswer", "paid 1 1000"]);
    let again = cashier.ask(&format!("pay C1 500 {}", key()), "not ");
    assert!(again.contains("NotExecuted"), "one of an account and shop: {again}");
}

#[test]
fn nothing_new_is_sent_before_what_happened() {
    let mut rig = Rig::new();
    rig.stage.done(&["issue", "C2", "50000", "--programme", "13", "--expires", "2099-03-31"]);
    let mut cashier = Cashier::start(&rig, "-");
    cashier.settle();
    cashier.ask("see C1", "seen ");
    rig.kill();
    let [before, after] = [key(), key()];
    assert_eq!(cashier.ask(&format!("pay C1 1200 {before}"), "paid "), "paid 1 1200");
    rig.restart();
    let until = Instant::now() + Duration::from_secs(20);
    loop {
        // While nobody was there a moment ago it is not asked for; C2 was never seen.
        cashier.tell(&format!("pay C2 700 {after}"));
        let said = cashier.lines.iter().find(|l| !l.starts_with("step ")).expect("it says something");
        if said == "paid 0 700" {
            break;
        }
        assert!(said.contains("NotExecuted") && Instant::now() < until, "{said}");
        std::thread::sleep(Duration::from_millis(50));
    }
    let position = |key: &str| {
        let entries = rig.stage.done(&["history", "--key", key])["entries"].clone();
        (entries[0]["position"].as_u64().expect("it was told"), entries.as_array().map(Vec::len))
    };
    let (told, new) = (position(&before), position(&after));
    assert!(told.0 < new.0 && (told.1, new.1) == (Some(1), Some(1)), "{told:?} {new:?}");
}

#[test]
fn much_that_waits_is_told_side_by_side() {
    let mut rig = Rig::new();
    let mut cashier = Cashier::start(&rig, "-");
    cashier.settle();
    let names: Vec<String> = (0..32).map(|n| format!("K{n}")).collect();
    for name in &names {
        rig.stage.done(&["issue", name, "1000", "--programme", "13", "--expires", "2099-03-31"]);
        assert_eq!(cashier.ask(&format!("see {name}"), "seen "), "seen 1000");
    }
    rig.kill();
    for name in &names {
        assert_eq!(cashier.ask(&format!("pay {name} 100 {}", key()), "paid "), "paid 1 100");
    }
    rig.restart();
    let mut flushes = 0;
    loop {
        cashier.tell("tend");
        let said = cashier.lines.iter().inspect(|l| flushes += u32::from(l == "step DoneFlush"));
        match said.into_iter().find(|l| !l.starts_with("step ")).expect("it says something").as_str() {
            "tended 0 1 None" => break,
            _ => std::thread::sleep(Duration::from_millis(100)),
        }
    }
    assert_eq!(flushes, 3, "of 32 payments, 15 at once");
    assert_eq!(rig.advices().len(), 32);
    assert!(names.iter().all(|name| rig.stage.balance(name) == 900));
}

#[test]
fn a_core_that_stands_still_is_stood_in_for_and_takes_once_when_it_goes_on() {
    let rig = Rig::new();
    let mut cashier = Cashier::start(&rig, "-");
    cashier.settle();
    cashier.ask("see C1", "seen ");
    let signal = |s| {
        let pid = rustix::process::Pid::from_child(&rig.stage.server.child);
        rustix::process::kill_process(pid, s).expect("it runs");
    };
    signal(rustix::process::Signal::STOP);
    let key = key();
    // The debit is on its way, and may take effect when the core goes on.
    assert_eq!(cashier.ask(&format!("pay C1 1200 {key}"), "paid "), "paid 1 1200");
    signal(rustix::process::Signal::CONT);
    cashier.settle();
    assert_eq!(rig.stage.balance("C1"), BALANCE - 1_200);
    assert_eq!(rig.shortfall(), 0);
    assert_eq!(cashier.ask(&format!("pay C1 1200 {key}"), "paid "), "paid 0 1200");
    assert_eq!(rig.stage.balance("C1"), BALANCE - 1_200);
}
