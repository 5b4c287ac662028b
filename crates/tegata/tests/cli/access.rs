//! Who is let in, and what they may do: denials by their codes, and that nothing changed.

use crate::stage::{Server, Stage, TEGATA, said};
use crate::watching::get;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};
use tegata_client::{Access, Client, Connection, Credential, OpenError, Options, Role, Secret};
use tegata_model::{AccountId, CredentialId};
use tegata_wire::{
    self as wire, AnswerBody, Challenge, CloseReason, Exchange, Hello, KIND_BALANCE, RequestHeader, Scan,
};

pub(crate) const RIGHTS: &str = r#"
[[gateway]]
number = 501
namespaces = [21]

[[gateway.grant]]
operations = ["debit", "refund", "reversal", "balance"]
shops = ["SHOP1"]
programmes = [13]
amount_max = 1000

[[gateway]]
number = 502
namespaces = [22]
rate = 1
burst = 3

[[gateway.grant]]
operations = "any"
shops = "any"
programmes = [14]

[[operator]]
number = 1
namespaces = "any"

[[operator.grant]]
operations = "any"
shops = "any"
programmes = "any"

[[operator]]
number = 2
namespaces = [1]

[[operator.grant]]
operations = ["server-status", "breakers"]
shops = "any"
programmes = "any"
"#;

/// A server that asks for secrets, seeded by operator 1; callers' files lie beside it.
pub(crate) struct Guarded {
    pub(crate) stage: Stage,
}

pub(crate) fn text(path: &Path) -> &str {
    path.to_str().expect("UTF-8")
}

impl Guarded {
    fn open(more: &[&str]) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let file = |name: &str| folder.path().join(name);
        std::fs::write(file("rights"), RIGHTS).expect("it is written");
        for (id, whose, number) in [
            ("till-501", "--gateway", "501"),
            ("till-502", "--gateway", "502"),
            ("office-1", "--operator", "1"),
            ("office-2", "--operator", "2"),
        ] {
            let (all, own) = (file("credentials"), file(id));
            let made = Command::new(TEGATA)
                .args(["credential", "new", id, whose, number, text(&all), text(&own)])
                .output()
                .expect("it runs");
            assert!(made.status.success(), "{made:?}");
        }
        let (credentials, rights) = (file("credentials"), file("rights"));
        let mut words = vec!["--allow-volatile", "--credentials", text(&credentials), "--rights", text(&rights)];
        words.extend_from_slice(more);
        let error = std::fs::File::create(file("stderr")).expect("a file");
        let server = Server::start_telling(&folder.path().join("data"), &words, error.into());
        let guarded = Self { stage: Stage { server, folder } };
        guarded.seed();
        guarded
    }

    fn file(&self, name: &str) -> PathBuf {
        self.stage.folder.path().join(name)
    }

    fn seed(&self) {
        for id in ["13", "14"] {
            let rules = self.stage.file("rules.toml", &format!("id = {id}\nname = \"p\"\n"));
            self.office(0, "", &["programme", "create", text(&rules)]);
        }
        self.office(0, "", &["shop", "register", "SHOP1", "--name", "s"]);
        self.office(0, "", &["shop", "register", "SHOP2", "--name", "s"]);
        self.office(0, "", &["issue", "13-COUPON-0001", "5000", "--programme", "13", "--expires", "2099-03-31"]);
        self.office(0, "", &["issue", "14-COUPON-0001", "5000", "--programme", "14", "--expires", "2099-03-31"]);
    }

    /// Runs a command as a holder of a credential, and expects how it ends.
    fn ends(&self, who: &str, exit: i32, name: &str, words: &[&str]) -> serde_json::Value {
        let said = said(
            self.stage
                .command(words)
                .args(["--credential", text(&self.file(who)), "--json"])
                .output()
                .expect("it runs"),
        );
        assert_eq!(said.code, exit, "{who} {words:?}: {} {}", said.json, said.error);
        if !name.is_empty() {
            assert_eq!(said.json["name"], name, "{who} {words:?}: {} {}", said.json, said.error);
        }
        said.json
    }

    fn office(&self, exit: i32, name: &str, words: &[&str]) -> serde_json::Value {
        self.ends("office-1", exit, name, words)
    }

    fn digest(&self) -> serde_json::Value {
        self.office(0, "", &["server", "digest"])["digest"].clone()
    }

    fn addr(&self, operate: bool) -> SocketAddr {
        self.stage.server.field(if operate { "operate" } else { "addr" }).parse().expect("an address")
    }

    fn secret(&self, who: &str) -> (CredentialId, Secret) {
        let loaded = tegata_access::Credentials::load(&self.file(who)).expect("it is private");
        let id = CredentialId::from_text(who).expect("an id");
        (id, loaded.of(&id).expect("it is there").secret.clone())
    }

    fn hangup(&self) {
        let pid = rustix::process::Pid::from_child(&self.stage.server.child);
        rustix::process::kill_process(pid, rustix::process::Signal::HUP).expect("it runs");
    }

    /// What it says on its standard error, once it has said `word` so many times.
    fn says(&self, word: &str, times: usize) -> String {
        let until = Instant::now() + Duration::from_secs(10);
        loop {
            let said = std::fs::read_to_string(self.file("stderr")).expect("a file");
            // A line is written in pieces.
            if said.matches(word).count() >= times && said.ends_with('\n') {
                return said;
            }
            assert!(Instant::now() < until, "{word} is not said: {said}");
            std::thread::yield_now();
        }
    }
}

fn debit<'a>(account: &'a str, yen: &'a str, shop: &'a str, namespace: &'a str) -> Vec<&'a str> {
    vec!["debit", account, yen, "--shop", shop, "--namespace", namespace]
}

#[test]
fn what_is_not_granted_is_denied_and_nothing_changes() {
    let g = Guarded::open(&[]);
    let before = g.digest();
    let (c13, c14) = ("13-COUPON-0001", "14-COUPON-0001");
    for (who, name, words) in [
        ("till-501", "shop-not-permitted", debit(c13, "100", "SHOP2", "21")),
        ("till-501", "amount-not-permitted", debit(c13, "1001", "SHOP1", "21")),
        ("till-501", "programme-not-permitted", debit(c14, "100", "SHOP1", "21")),
        ("till-501", "operation-not-permitted", vec!["hold", c13, "100", "--shop", "SHOP1", "--namespace", "21"]),
        ("till-501", "operation-not-permitted", vec!["charge", c13, "W-0000001", "100", "--namespace", "21"]),
        ("till-501", "namespace-not-allowed", debit(c13, "100", "SHOP1", "22")),
        ("till-502", "programme-not-permitted", debit(c13, "100", "SHOP1", "22")),
        ("till-502", "programme-not-permitted", vec!["charge", c13, "W-0000001", "--namespace", "22"]),
        ("office-2", "operation-not-permitted", vec!["issue", "13-COUPON-0002", "1", "--programme", "13"]),
        ("office-2", "operation-not-permitted", vec!["history"]),
        ("office-2", "operation-not-permitted", vec!["server", "digest"]),
        ("office-2", "operation-not-permitted", vec!["breaker", "open", "memory"]),
    ] {
        g.ends(who, 3, name, &words);
        assert_eq!(g.digest(), before, "{who} {words:?}");
    }
    g.ends("office-2", 0, "", &["server", "status"]);
    let paid = g.ends("till-501", 0, "approved", &debit(c13, "1000", "SHOP1", "21"));
    let after = g.digest();
    assert_ne!(after, before);
    // Refunds find an original only under the namespace that it was made under.
    let key = paid["key"].as_str().expect("a key").to_owned();
    let refund = |namespace| vec!["refund", c13, key.as_str(), "--amount", "10", "--namespace", namespace];
    g.ends("till-501", 3, "namespace-not-allowed", &refund("22"));
    g.ends("till-502", 3, "original-unknown", &refund("22"));
    g.ends("till-501", 0, "approved", &refund("21"));
    // Status and fence need no grant, and reach no further than the namespace.
    g.ends("till-501", 0, "approved", &["status", c13, &key, "--namespace", "21"]);
    let unknown = g.ends("till-502", 6, "unknown", &["status", c13, &key, "--namespace", "21"]);
    assert_eq!(unknown["refused"], "namespace-not-allowed");
    // The trail has each of them, and no coupon.
    let trail = std::fs::read_to_string(g.file("data").join("DENIALS")).expect("the trail");
    for code in ["shop", "amount", "programme", "operation"] {
        assert!(trail.contains(&format!("\"code\":\"{code}-not-permitted\"")), "{code}: {trail}");
    }
    assert!(
        trail.contains("\"gateway\":501,") && trail.contains("\"account\":\"13…01\"") && !trail.contains("COUPON"),
        "{trail}"
    );
    for line in trail.lines() {
        serde_json::from_str::<serde_json::Value>(line).unwrap_or_else(|e| panic!("{e}: {line}"));
    }
    let metrics = get(&g.stage.server.field("http"), "/metrics").1;
    assert!(metrics.contains("tegata_denials_total{code=\"shop-not-permitted\"} 1\n"), "{metrics}");
}

#[test]
fn a_key_that_is_decided_gets_its_decision_whatever_may_be_done_now() {
    let g = Guarded::open(&[]);
    let paid = g.ends("till-501", 0, "approved", &debit("13-COUPON-0001", "900", "SHOP1", "21"));
    let key = paid["key"].as_str().expect("a key").to_owned();
    std::fs::write(g.file("rights"), RIGHTS.replace("1000", "800")).expect("it is written");
    g.hangup();
    g.says("were read again", 1);
    let mut again = debit("13-COUPON-0001", "900", "SHOP1", "21");
    g.ends("till-501", 3, "amount-not-permitted", &again);
    again.extend(["--key", &key]);
    assert_eq!(g.ends("till-501", 0, "approved", &again)["replayed"], true);
    let before = g.digest();
    let mut other = debit("13-COUPON-0001", "901", "SHOP1", "21");
    other.extend(["--key", &key]);
    g.ends("till-501", 8, "conflict", &other);
    assert_eq!(g.digest(), before);
}

#[test]
fn a_rate_is_that_of_the_gateway_and_comes_with_the_time_to_wait() {
    let g = Guarded::open(&[]);
    let debit = |name: &str| {
        let words = ["debit", "14-COUPON-0001", "1", "--shop", "SHOP1", "--namespace", "22", "--deadline-ms", "100"];
        said(g.stage.command(&words).args(["--credential", text(&g.file("till-502")), "--json"]).output().expect(name))
            .json
    };
    let mut exceeded = 0;
    let mut last = serde_json::Value::Null;
    for _ in 0..8 {
        let json = debit("it runs");
        if json["name"] == "rate-exceeded" {
            exceeded += 1;
            last = json;
        }
    }
    assert!(exceeded >= 1, "eight at once are more than three, and one a second");
    let wait = last["retry_after_ms"].as_u64().expect("when to come back");
    assert!((1..=1_500).contains(&wait), "{last}");
    g.ends("till-501", 0, "approved", &debit_501());
}

fn debit_501() -> Vec<&'static str> {
    debit("13-COUPON-0001", "1", "SHOP1", "21")
}

/// A connection by hand.
struct Raw(TcpStream, Vec<u8>);

impl Raw {
    fn open(addr: SocketAddr) -> Self {
        let stream = TcpStream::connect(addr).expect("the port is open");
        stream.set_read_timeout(Some(Duration::from_secs(10))).expect("a time limit");
        Self(stream, Vec::new())
    }

    fn send(&mut self, frame: &[u8]) {
        self.0.write_all(frame).expect("it is sent");
    }

    /// The next answer; nothing when the server closed.
    fn receive(&mut self) -> Option<AnswerBody> {
        loop {
            if let Scan::Frame { frame, rest } = wire::scan(&self.1, wire::ANSWER_BYTES_MAX) {
                let body = wire::decode_answer(frame).expect("an answer").body;
                self.1 = rest.to_vec();
                return Some(body);
            }
            let mut chunk = [0; 4_096];
            match self.0.read(&mut chunk) {
                Ok(n) if n > 0 => self.1.extend_from_slice(&chunk[..n]),
                _ => return None,
            }
        }
    }

    fn challenge(&mut self, id: CredentialId) -> Exchange {
        let challenge = Challenge { credential: id, nonce: [9; 32] };
        let mut out = Vec::new();
        challenge.encode(1, &mut out);
        self.send(&out);
        let Some(AnswerBody::Challenged(challenged)) = self.receive() else { panic!("a challenge is answered") };
        Exchange { challenge, challenged }
    }

    /// The code that a hello gets, and why the server closes.
    fn hello(&mut self, hello: &Hello) -> (u16, Option<CloseReason>) {
        let mut out = Vec::new();
        hello.encode(2, &mut out);
        self.send(&out);
        let code = match self.receive() {
            Some(AnswerBody::Hello(h)) => return (h.code, None),
            Some(AnswerBody::Decision(d)) => d.code,
            other => panic!("{other:?}"),
        };
        let Some(AnswerBody::Goodbye(goodbye)) = self.receive() else { panic!("{code}: the server says why") };
        assert_eq!(self.receive(), None, "and closes");
        (code, Some(goodbye.reason))
    }
}

fn hello(gateway: u32, role: u8, namespaces: &[u32]) -> Hello {
    let (version_min, version_max, auth_method) = (1, 1, wire::AUTH_SECRET);
    Hello { version_min, version_max, gateway, role, auth_method, namespaces: namespaces.to_vec(), ..Hello::default() }
}

#[test]
fn a_proof_holds_once_for_one_hello_on_one_connection() {
    let g = Guarded::open(&[]);
    let (gateways, operators) = (g.addr(false), g.addr(true));
    let (id, secret) = g.secret("till-501");
    let (office, office_secret) = g.secret("office-1");
    let prove = |addr, id, secret: &Secret, said: &Hello, sent: &Hello| {
        let mut raw = Raw::open(addr);
        let exchange = raw.challenge(id);
        let auth = exchange.sign(secret, said);
        (raw.hello(&Hello { auth, ..sent.clone() }), auth)
    };
    let refused = (151, Some(CloseReason::Unauthenticated));
    let good = hello(501, 1, &[21]);
    let (greeted, auth) = prove(gateways, id, &secret, &good, &good);
    assert_eq!(greeted, (0, None));
    // A listener has heard all of it.
    let mut replay = Raw::open(gateways);
    replay.challenge(id);
    assert_eq!(replay.hello(&Hello { auth, ..good.clone() }), refused, "a proof of another connection");
    assert_eq!(Raw::open(gateways).hello(&Hello { auth, ..good.clone() }), refused, "a proof without a challenge");
    let mut twice = Raw::open(gateways);
    let exchange = twice.challenge(id);
    let proven = Hello { auth: exchange.sign(&secret, &good), ..good.clone() };
    assert_eq!(twice.hello(&proven), (0, None));
    assert_eq!(twice.hello(&proven), refused, "a challenge is good for one hello");
    let wrong = Secret::new([1; 32]);
    assert_eq!(prove(gateways, id, &wrong, &good, &good).0, refused, "a wrong secret");
    let nobody = CredentialId::from_text("nobody").expect("an id");
    assert_eq!(prove(gateways, nobody, &secret, &good, &good).0, refused, "nobody's credential");
    assert_eq!(prove(gateways, nobody, &Secret::new([0; 32]), &good, &good).0, refused, "nobody's secret");
    for (said, sent, why) in [
        (good.clone(), hello(501, 1, &[]), "the namespaces are signed"),
        (good.clone(), Hello { credits: 9, ..good.clone() }, "so are the credits"),
        (good.clone(), hello(502, 1, &[21]), "so is the number"),
        (hello(502, 1, &[22]), hello(502, 1, &[22]), "a secret is that of its own number"),
        (hello(501, 2, &[21]), hello(501, 2, &[21]), "a role is that of the port"),
    ] {
        assert_eq!(prove(gateways, id, &secret, &said, &sent).0, refused, "{why}");
    }
    for role in [1, 2] {
        let said = hello(501, role, &[21]);
        assert_eq!(prove(operators, id, &secret, &said, &said).0, refused, "a gateway on the operators' port");
        let said = hello(1, role, &[]);
        assert_eq!(prove(gateways, office, &office_secret, &said, &said).0, refused, "an operator on the gateways'");
    }
    let office_hello = hello(1, 2, &[21, 22]);
    assert_eq!(prove(operators, office, &office_secret, &office_hello, &office_hello).0, (0, None));
    let other = hello(501, 1, &[21, 22]);
    assert_eq!(prove(gateways, id, &secret, &other, &other).0, (160, Some(CloseReason::Unauthenticated)));
    let plain = Hello { auth_method: wire::AUTH_NONE, ..good.clone() };
    assert_eq!(Raw::open(gateways).hello(&plain), refused, "no proof");
    assert_eq!(Raw::open(gateways).hello(&Hello { auth_method: 2, ..good }), refused, "an unknown method");
    // Nothing but the way in is served before.
    let mut early = Raw::open(gateways);
    let mut out = Vec::new();
    wire::encode_request(&RequestHeader { kind: KIND_BALANCE, ..RequestHeader::default() }, &mut out);
    early.send(&out);
    assert!(matches!(early.receive(), Some(AnswerBody::Decision(d)) if d.code == 151));
}

#[test]
fn rights_and_secrets_are_read_again_while_connections_go_on() {
    for io in ["io_threads = 0\n", "io_threads = 2\n"] {
        let config = tempfile::NamedTempFile::new().expect("a file");
        std::fs::write(config.path(), io).expect("it is written");
        let g = Guarded::open(&["--config", text(config.path())]);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        let connect = |who: &str, gateway| {
            let access = Access { secret: Some(g.secret(who)), dial: None };
            let credential = Credential { gateway, role: Role::Gateway, namespaces: Vec::new() };
            let client = Client::with_access(Options { addrs: vec![g.addr(false)], credential }, access);
            runtime.block_on(async { client.connection().await })
        };
        let till = connect("till-501", 501).expect("it is let in");
        let other = connect("till-502", 502).expect("it is let in");
        let ask = |c: &Connection| {
            let account = AccountId::from_text("13-COUPON-0001").expect("an account");
            runtime.block_on(c.ask(tegata_client::Call::question(KIND_BALANCE, account))).map(|a| a.body)
        };
        assert!(matches!(ask(&till), Ok(AnswerBody::Balance(b)) if b.balance == 5_000));
        // A file that is wrong changes nothing.
        std::fs::write(g.file("rights"), "[[gateway]]\nnumbr = 501\n").expect("it is written");
        g.hangup();
        let said = g.says("nothing was changed", 1);
        assert!(said.contains("line 2: numbr is not known; did you mean `number`?"), "{said}");
        assert!(matches!(ask(&till), Ok(AnswerBody::Balance(_))));
        // Less may be done, over the same connection.
        std::fs::write(g.file("rights"), RIGHTS.replace(", \"balance\"]", "]")).expect("it is written");
        g.hangup();
        g.says("were read again", 1);
        assert!(matches!(ask(&till), Ok(AnswerBody::Decision(d)) if d.code == 163));
        // And more again.
        std::fs::write(g.file("rights"), RIGHTS).expect("it is written");
        g.hangup();
        g.says("were read again", 2);
        assert!(matches!(ask(&till), Ok(AnswerBody::Balance(_))));
        // Whose secret was taken away is let go, and not let in any more; the others go on.
        let all = std::fs::read_to_string(g.file("credentials")).expect("a file");
        let left: String = all.split_inclusive("\n\n").filter(|e| !e.contains("till-501")).collect();
        assert!(left.len() < all.len() && left.contains("till-502"));
        std::fs::write(g.file("credentials"), left).expect("it is written");
        g.hangup();
        g.says("were read again", 3);
        assert!(ask(&till).is_err(), "known no longer");
        assert!(matches!(connect("till-501", 501), Err(OpenError::Refused { code: 151 })));
        assert!(matches!(ask(&other), Ok(AnswerBody::Balance(_))), "the same connection as before");
        let status = g.ends("office-1", 0, "", &["server", "status"]);
        assert!(status["connections"].as_u64().is_some_and(|n| n >= 1), "{status}");
    }
}

#[test]
fn nothing_is_served_to_other_machines_that_nothing_protects() {
    let folder = tempfile::tempdir().expect("a folder");
    let data = folder.path().join("data");
    let serve = |words: &[&str]| {
        let all = ["serve", "--json", "--allow-volatile", "--data", text(&data)];
        // One that starts is a failure, and not to be waited for.
        let mut timed = Command::new("timeout");
        said(timed.args(["10", TEGATA]).args(all).args(words).output().expect("it runs"))
    };
    let rights = folder.path().join("rights");
    std::fs::write(&rights, RIGHTS).expect("it is written");
    let open = folder.path().join("open");
    std::fs::write(&open, "").expect("it is written");
    for (words, exit, word) in [
        (&["--listen", "0.0.0.0:0"][..], 13, "nothing is encrypted there"),
        (&["--operate", "0.0.0.0:0"], 13, "nothing is encrypted there"),
        (&["--http", "0.0.0.0:0"], 13, "nothing is encrypted there"),
        (&["--listen", "0.0.0.0:0", "--insecure-plain"], 13, "anybody could do everything there"),
        (&["--rights", text(&rights)], 9, "rights: must be beside credentials or tls_ca"),
        (&["--credentials", text(&rights)], 9, "rights: must be a file as soon as"),
        (&["--credentials", text(&open), "--rights", text(&rights)], 9, "chmod 600"),
        (&["--tls-cert", text(&rights)], 9, "tls_key: must be given together with tls_cert"),
        (&["--tls-ca", text(&rights), "--rights", text(&rights)], 9, "tls_ca: must be beside tls_cert"),
    ] {
        let wrong = serve(words);
        assert_eq!(wrong.code, exit, "{words:?}: {}", wrong.error);
        assert!(wrong.error.contains(word), "{words:?}: {}", wrong.error);
        assert!(!data.exists(), "{words:?}: nothing was begun");
    }
    let g = Guarded::open(&["--insecure-plain"]);
    assert_eq!(
        (&g.stage.server.banner["authenticates"], &g.stage.server.banner["encrypts"]),
        (&true.into(), &false.into())
    );
    let plain = Stage::bare();
    assert_eq!(plain.server.banner["authenticates"], false);
    let rights = g.file("rights");
    let explain = |words: &[&str]| {
        let all = ["rights", "explain", "--json", "--rights", text(&rights)];
        said(Command::new(TEGATA).args(all).args(words).output().expect("it runs"))
    };
    let asked = ["--gateway", "501", "--operation", "debit", "--shop", "SHOP1"];
    let permitted = explain(&[&asked[..], &["--amount", "1000", "--programme", "13"]].concat());
    assert_eq!((permitted.code, &permitted.json["line"]), (0, &6.into()), "{}", permitted.json);
    for (more, name) in [
        (&["--amount", "1001"][..], "amount-not-permitted"),
        (&["--amount", "1", "--programme", "14"], "programme-not-permitted"),
        (&["--amount", "1", "--namespace", "22"], "namespace-not-allowed"),
        (&[], "amount-not-permitted"),
    ] {
        let denied = explain(&[&asked[..], more].concat());
        assert_eq!((denied.code, &denied.json["name"]), (3, &name.into()), "{more:?}: {}", denied.json);
    }
    assert_eq!(explain(&["--operator", "9", "--operation", "issue"]).code, 3);
    let template = Command::new(TEGATA).args(["rights", "template"]).output().expect("it runs").stdout;
    std::fs::write(&rights, template).expect("it is written");
    assert_eq!(
        explain(&["--gateway", "1", "--operation", "debit", "--shop", "S", "--amount", "1", "--programme", "7"]).code,
        0
    );
}

#[test]
fn secrets_and_coupons_are_shown_nowhere() {
    let mut g = Guarded::open(&[]);
    let pid = g.stage.server.child.id();
    g.ends("till-501", 0, "approved", &debit("13-COUPON-0001", "1", "SHOP1", "21"));
    g.ends("till-501", 3, "shop-not-permitted", &debit("13-COUPON-0001", "1", "SHOP9", "21"));
    let all = std::fs::read_to_string(g.file("credentials")).expect("a file");
    let secrets: Vec<&str> =
        all.lines().filter_map(|l| l.strip_prefix("secret = ")).map(|s| s.trim_matches('"')).collect();
    assert_eq!(secrets.len(), 4);
    let of =
        |name: &str| std::fs::read(format!("/proc/{pid}/{name}")).map(|b| String::from_utf8_lossy(&b).into_owned());
    let (argv, environment) = (of("cmdline").expect("it runs"), of("environ").expect("it runs"));
    assert!(argv.contains("--credentials"), "{argv}");
    let metrics = get(&g.stage.server.field("http"), "/metrics").1;
    let config = said(
        Command::new(TEGATA)
            .args(["config", "show", "--json", "--credentials", text(&g.file("credentials"))])
            .args(["--rights", text(&g.file("rights"))])
            .output()
            .expect("it runs"),
    );
    assert_eq!(config.code, 0, "{}", config.error);
    assert_eq!(g.stage.server.stop(), Some(0));
    let read = |name: &str| std::fs::read_to_string(g.file(name)).unwrap_or_default();
    let told = [read("stderr"), read("data/EVENTS"), read("data/DENIALS")].concat();
    assert!(told.contains("shop-not-permitted"));
    for (place, shown) in [
        ("argv", &argv),
        ("environment", &environment),
        ("metrics", &metrics),
        ("settings", &config.json.to_string()),
        ("logs", &told),
    ] {
        assert!(secrets.iter().all(|s| !shown.contains(s)), "a secret is in the {place}");
        assert!(!shown.contains("COUPON"), "a coupon is in the {place}");
    }
    // What was typed wrong may be a coupon.
    for (words, shown) in [
        (&["debit", "13-COUPON-0001-TOO-LONG", "1", "--shop", "S"][..], "(23 characters)"),
        (&["debit", "1", "13-COUPON-0001", "--shop", "S"], "13…01"),
        (&["balance", "13-COUPON-0001", "13-COUPON-0002"], "13…02"),
        (&["history", "--account", "13-COUPON-0001 "], "(15 characters)"),
    ] {
        let wrong = said(Command::new(TEGATA).args(words).output().expect("it runs"));
        assert_eq!(wrong.code, 2, "{words:?}");
        assert!(wrong.error.contains(shown) && !wrong.error.contains("COUPON-0"), "{words:?}: {}", wrong.error);
    }
}

#[test]
fn a_crash_leaves_no_core_file() {
    let folder = tempfile::tempdir().expect("a folder");
    let dumps = |program: &str, words: &[&str]| {
        let mut child = Command::new("sh")
            .args(["-c", "ulimit -c unlimited && exec \"$0\" \"$@\"", program])
            .args(words)
            .current_dir(folder.path())
            .stdout(Stdio::piped())
            .spawn()
            .expect("it starts");
        // Its first bytes say that it is up.
        let mut first = [0];
        child.stdout.take().expect("a pipe").read_exact(&mut first).expect("it says something");
        let pid = rustix::process::Pid::from_child(&child);
        rustix::process::kill_process(pid, rustix::process::Signal::ABORT).expect("it runs");
        child.wait().expect("it ends").core_dumped()
    };
    let control = dumps("sh", &["-c", "echo up; while :; do :; done"]);
    assert!(control, "a process that hides nothing leaves a core file here, or this test shows nothing");
    let data = folder.path().join("data");
    let ports = ["--listen", "127.0.0.1:0", "--operate", "127.0.0.1:0", "--http", "off"];
    let serve = [&["serve", "--json", "--allow-volatile", "--data", text(&data)][..], &ports].concat();
    assert!(!dumps(TEGATA, &serve), "a core file was written");
}
