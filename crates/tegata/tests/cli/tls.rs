//! TLS 1.3: who is let in by a certificate, on one thread and on several, and certificates that are read again.

use crate::access::{RIGHTS, text};
use crate::stage::{Said, Server, Stage, TEGATA, said};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tegata_client::{Access, Ask, Call, Client, Credential, Dial, Options, Role, new_key};
use tegata_model::{AccountId, Amount, NamespaceId, Operation, Position, Purchase, ShopId, TerminalId};
use tegata_tls::ClientTls;
use tegata_wire::{AnswerBody, HistoryQuery, KIND_BALANCE};

fn init(dir: &Path, more: &[&str]) {
    let made = Command::new(TEGATA).args(["tls", "init", text(dir)]).args(more).output().expect("it runs");
    assert!(made.status.success(), "{made:?}");
}

/// A server with the certificates in `tls`; callers' lie there too.
struct Secured(Stage);

impl Secured {
    fn open(io_threads: u32, more: &[&str]) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let file = |name: &str| folder.path().join(name);
        init(&file("tls"), &["--gateway", "501"]);
        init(&file("strange"), &["--gateway", "501"]);
        std::fs::write(file("rights"), RIGHTS).expect("it is written");
        std::fs::write(file("config"), format!("io_threads = {io_threads}\n")).expect("it is written");
        let tls = |name: &str| text(&file("tls").join(name)).to_owned();
        let (cert, key, ca) = (tls("server.pem"), tls("server.key"), tls("ca.pem"));
        let (config, rights) = (file("config"), file("rights"));
        let mut words = vec!["--allow-volatile", "--config", text(&config), "--rights", text(&rights)];
        words.extend(["--tls-cert", &cert, "--tls-key", &key, "--tls-ca", &ca]);
        words.extend_from_slice(more);
        let error = std::fs::File::create(file("stderr")).expect("a file");
        let server = Server::start_telling(&file("data"), &words, error.into());
        assert_eq!(server.banner["encrypts"], true);
        let secured = Self(Stage { server, folder });
        let rules = secured.0.file("rules.toml", "id = 13\nname = \"p\"\n");
        for words in [
            &["programme", "create", text(&rules)][..],
            &["shop", "register", "SHOP1", "--name", "s"],
            &["issue", "13-COUPON-0001", "900000", "--programme", "13", "--expires", "2099-03-31"],
        ] {
            assert_eq!(secured.office(words).code, 0, "{words:?}");
        }
        secured
    }

    fn file(&self, name: &str) -> PathBuf {
        self.0.folder.path().join(name)
    }

    /// Runs a command with a certificate, believing an authority.
    fn run(&self, who: &str, ca: &str, words: &[&str]) -> Said {
        let mut command = self.0.command(words);
        command.args(["--json", "--tls-ca", text(&self.file(ca))]);
        if !who.is_empty() {
            let (cert, key) = (self.file(&format!("{who}.pem")), self.file(&format!("{who}.key")));
            command.args(["--tls-cert", text(&cert), "--tls-key", text(&key)]);
        }
        said(command.output().expect("it runs"))
    }

    fn office(&self, words: &[&str]) -> Said {
        self.run("tls/operator-1", "tls/ca.pem", words)
    }

    fn till(&self, words: &[&str]) -> Said {
        self.run("tls/gateway-501", "tls/ca.pem", &[words, &["--gateway", "501"]].concat())
    }
}

const DEBIT: [&str; 7] = ["debit", "13-COUPON-0001", "100", "--shop", "SHOP1", "--namespace", "21"];

#[test]
fn a_certificate_says_who_calls_on_one_thread_and_on_several() {
    for threads in [0, 2] {
        let s = Secured::open(threads, &[]);
        let paid = s.till(&DEBIT);
        assert_eq!((paid.code, &paid.json["name"]), (0, &"approved".into()), "{}", paid.error);
        let denied = s.till(&["debit", "13-COUPON-0001", "1001", "--shop", "SHOP1", "--namespace", "21"]);
        assert_eq!(denied.json["name"], "amount-not-permitted", "{}", denied.error);
        let digest = s.office(&["server", "digest"]).json["digest"].clone();
        let with = |who, ca, more: &[&str]| s.run(who, ca, &[&DEBIT[..], more].concat());
        for (said, exit, name, why) in [
            (with("tls/gateway-501", "tls/ca.pem", &["--gateway", "502"]), 3, "unauthenticated", "another's number"),
            (
                with("tls/operator-1", "tls/ca.pem", &["--gateway", "1"]),
                3,
                "unauthenticated",
                "an operator's, at the gateways' port",
            ),
            (with("", "tls/ca.pem", &["--gateway", "501"]), 7, "", "no certificate"),
            (with("strange/gateway-501", "tls/ca.pem", &["--gateway", "501"]), 7, "", "of an unknown authority"),
            (with("tls/server", "tls/ca.pem", &["--gateway", "501"]), 7, "", "not a caller's"),
            (with("tls/gateway-501", "strange/ca.pem", &["--gateway", "501"]), 7, "", "a server that is not believed"),
        ] {
            assert_eq!(said.code, exit, "{why}: {} {}", said.json, said.error);
            assert!(name.is_empty() || said.json["name"] == name, "{why}: {}", said.json);
        }
        let at_operate = s.run("tls/gateway-501", "tls/ca.pem", &["server", "digest", "--gateway", "501"]);
        assert_eq!(at_operate.json["name"], "unauthenticated", "a gateway's, at the operators' port");
        assert_eq!(s.office(&["server", "digest"]).json["digest"], digest, "nothing changed");
        let plain = said(s.0.command(&DEBIT).arg("--json").output().expect("it runs"));
        assert_eq!(plain.code, 7, "frames without TLS: {} {}", plain.json, plain.error);
    }
}

#[test]
fn long_answers_and_many_requests_go_through() {
    for threads in [0, 2] {
        let s = Secured::open(threads, &[]);
        let tls = |who: &str| {
            let file = |name: &str| s.file(&format!("tls/{name}"));
            let (cert, key) = (file(&format!("{who}.pem")), file(&format!("{who}.key")));
            let tls = ClientTls::load(&file("ca.pem"), Some((&cert, &key)), None).expect("it is read");
            Access { secret: None, dial: Some(Arc::new(tls) as Arc<dyn Dial>) }
        };
        let client = |door: &str, gateway, role, access| {
            let credential = Credential { gateway, role, namespaces: Vec::new() };
            let addrs = vec![s.0.server.field(door).parse().expect("an address")];
            Client::with_access(Options { addrs, credential }, access)
        };
        let till = client("addr", 501, Role::Gateway, tls("gateway-501"));
        let office = client("operate", 1, Role::Operator, tls("operator-1"));
        let purchase = |yen| Purchase {
            shop: ShopId::from_text("SHOP1").expect("a shop"),
            terminal: TerminalId::NONE,
            amount: Amount::new(yen).expect("an amount"),
            token: Position::ZERO,
            partial: false,
        };
        let account = AccountId::from_text("13-COUPON-0001").expect("an account");
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(async {
            let c = till.connection().await.expect("it is let in");
            let asks = (1..=800).map(|yen| {
                let (key, namespace) = (new_key(), NamespaceId::new(21));
                let call = Call { account, key, namespace, ..Call::of(Ask::Do(Operation::Debit(purchase(yen)))) };
                let c = Arc::clone(&c);
                tokio::spawn(async move { c.ask(call).await })
            });
            let asks: Vec<_> = asks.collect();
            let mut approved = 0;
            for ask in asks {
                let answer = ask.await.expect("it ends").expect("it is answered");
                approved += u32::from(matches!(answer.body, AnswerBody::Decision(d) if d.code == 0));
            }
            assert_eq!(approved, 800);
            let c = office.connection().await.expect("it is let in");
            let mut frames = c.stream(Call::of(Ask::History(HistoryQuery::default()))).await;
            let mut entries = 0;
            while let Some(frame) = frames.recv().await {
                let AnswerBody::History(h) = frame.expect("a frame").body else { panic!("a history") };
                entries += h.entries.len();
            }
            assert!(entries > 800, "{entries} are more than fit into one frame");
        });
    }
}

#[test]
fn certificates_are_read_again_while_connections_go_on() {
    let s = Secured::open(0, &[]);
    let file = |name: &str| s.file(&format!("tls/{name}"));
    let (cert, key) = (file("gateway-501.pem"), file("gateway-501.key"));
    let tls = ClientTls::load(&file("ca.pem"), Some((&cert, &key)), None).expect("it is read");
    let access = Access { secret: None, dial: Some(Arc::new(tls) as Arc<dyn Dial>) };
    let credential = Credential { gateway: 501, role: Role::Gateway, namespaces: Vec::new() };
    let addrs = vec![s.0.server.field("addr").parse().expect("an address")];
    let client = Client::with_access(Options { addrs, credential }, access);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let connection = runtime.block_on(client.connection()).expect("it is let in");
    let account = AccountId::from_text("13-COUPON-0001").expect("an account");
    let ask = || runtime.block_on(connection.ask(Call::question(KIND_BALANCE, account))).map(|a| a.body);
    assert!(matches!(ask(), Ok(AnswerBody::Balance(_))));
    let reload = |word: &str| {
        let said = |word: &str| std::fs::read_to_string(s.file("stderr")).expect("a file").matches(word).count();
        let before = said(word);
        let pid = rustix::process::Pid::from_child(&s.0.server.child);
        rustix::process::kill_process(pid, rustix::process::Signal::HUP).expect("it runs");
        let until = Instant::now() + Duration::from_secs(10);
        while said(word) == before {
            assert!(Instant::now() < until, "{word} is not said");
            std::thread::yield_now();
        }
    };
    // Another server's certificate does not fit the key: all stays as it was.
    std::fs::copy(s.file("strange/server.pem"), file("server.pem")).expect("copied");
    reload("nothing was changed");
    assert_eq!(s.till(&DEBIT).code, 0);
    // The whole authority changes: those who are here go on, and whoever comes needs its certificates.
    for name in ["server.pem", "server.key", "ca.pem"] {
        std::fs::copy(s.file(&format!("strange/{name}")), file(name)).expect("copied");
    }
    reload("were read again");
    assert!(matches!(ask(), Ok(AnswerBody::Balance(_))), "the same connection as before");
    assert_eq!(s.till(&DEBIT).code, 7, "a certificate of the old authority");
    let fresh = s.run("strange/gateway-501", "strange/ca.pem", &[&DEBIT[..], &["--gateway", "501"]].concat());
    assert_eq!(fresh.json["name"], "suspected-duplicate", "it is let in: {} {}", fresh.json, fresh.error);
}

#[test]
fn a_secret_may_be_proven_through_tls() {
    let folder = tempfile::tempdir().expect("a folder");
    let (all, own) = (folder.path().join("all"), folder.path().join("own"));
    let made = Command::new(TEGATA)
        .args(["credential", "new", "till-501", "--gateway", "501", text(&all), text(&own)])
        .output()
        .expect("it runs");
    assert!(made.status.success(), "{made:?}");
    let s = Secured::open(0, &["--credentials", text(&all)]);
    let paid = s.run("", "tls/ca.pem", &[&DEBIT[..], &["--credential", text(&own)]].concat());
    assert_eq!((paid.code, &paid.json["name"]), (0, &"approved".into()), "{}", paid.error);
    let neither = s.run("", "tls/ca.pem", &[&DEBIT[..], &["--gateway", "501"]].concat());
    assert_eq!(neither.json["name"], "unauthenticated", "{}", neither.error);
    assert_eq!(s.till(&DEBIT).json["name"], "suspected-duplicate", "a certificate alone will do");
}

#[test]
fn who_begins_tls_and_does_not_end_it_is_let_go() {
    let s = Secured::open(0, &[]);
    let mut stream = TcpStream::connect(s.0.server.field("addr")).expect("the port is open");
    stream.set_read_timeout(Some(Duration::from_secs(20))).expect("a time limit");
    // The head of a record that never comes.
    stream.write_all(&[22, 3, 1, 2, 0, 1]).expect("it is sent");
    let mut rest = Vec::new();
    stream.read_to_end(&mut rest).expect("the server closes");
    let mut stream = TcpStream::connect(s.0.server.field("addr")).expect("the port is open");
    stream.set_read_timeout(Some(Duration::from_secs(20))).expect("a time limit");
    stream.write_all(&[0xA5; 4_096]).expect("it is sent");
    let _ = stream.read_to_end(&mut rest);
    assert_eq!(s.till(&DEBIT).code, 0, "and the others are served");
}

#[test]
fn a_key_that_others_may_read_is_refused() {
    use std::os::unix::fs::PermissionsExt;
    let folder = tempfile::tempdir().expect("a folder");
    let dir = folder.path().join("tls");
    init(&dir, &[]);
    let again = Command::new(TEGATA).args(["tls", "init", text(&dir)]).stderr(Stdio::null()).output().expect("it runs");
    assert_eq!(again.status.code(), Some(2), "nothing is overwritten");
    let mode = |name: &str| std::fs::metadata(dir.join(name)).expect("it is there").permissions().mode() & 0o777;
    for key in ["ca.key", "server.key", "gateway-1.key", "operator-1.key"] {
        assert_eq!(mode(key), 0o600, "{key}");
    }
    std::fs::set_permissions(dir.join("server.key"), std::fs::Permissions::from_mode(0o640)).expect("its owner may");
    let rights = folder.path().join("rights");
    std::fs::write(&rights, RIGHTS).expect("it is written");
    let (cert, key, ca) = (dir.join("server.pem"), dir.join("server.key"), dir.join("ca.pem"));
    let words = ["--tls-cert", text(&cert), "--tls-key", text(&key), "--tls-ca", text(&ca), "--rights", text(&rights)];
    let check =
        |words: &[&str]| said(Command::new(TEGATA).args(["config", "check"]).args(words).output().expect("it runs"));
    let wrong = check(&words);
    assert!(wrong.code == 9 && wrong.error.contains("chmod 600"), "{}", wrong.error);
    let mut serve = Command::new(TEGATA);
    serve.args(["serve", "--json", "--allow-volatile", "--data", text(&folder.path().join("data"))]).args(words);
    assert_eq!(said(serve.output().expect("it runs")).code, 9);
    std::fs::set_permissions(&key, std::fs::Permissions::from_mode(0o600)).expect("its owner may");
    assert_eq!(check(&words).code, 0);
}
