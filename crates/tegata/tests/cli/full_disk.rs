//! A full disk: new payments are refused at once, what undoes payments goes on from the reserve, everything known is
//! answered; with space again it is over by itself, and nothing that was answered is lost.

use crate::disk::Disk;
use crate::stage::{Server, Stage};
use crate::till::{Till, attempt};
use crate::watching::get;
use std::fs::File;
use std::time::{Duration, Instant};
use tegata_client::{Attempt, Outcome};
use tegata_model::{Code, Operation};

/// More records of a block each than the log can take on this disk.
const MANY: usize = 30_000;
/// Long enough for one answer, short enough to be refused many times.
const SOON: [&str; 2] = ["--deadline-ms", "300"];

fn key(json: &serde_json::Value) -> String {
    json["key"].as_str().expect("a key").to_owned()
}

fn is_full(outcome: &Outcome) -> bool {
    matches!(outcome, Outcome::NotExecuted { code: Code::DiskFull, retry_after: Some(after) } if !after.is_zero())
}

/// Decides until the disk is full; returns what was refused.
fn until_full(till: &mut Till, mut make: impl FnMut(&mut Till) -> Attempt) -> Attempt {
    for _ in 0..MANY {
        let attempt = Attempt { deadline: Duration::from_millis(300), ..make(till) };
        let outcome = till.decide(attempt);
        match &outcome {
            full if is_full(full) => return attempt,
            Outcome::Approved(_) => {}
            Outcome::Declined(d) if d.decision.code == Code::Fenced => {}
            other => panic!("neither decided nor refused for want of room: {other:?}"),
        }
    }
    panic!("the disk was never full")
}

/// The same key again, until it is approved.
fn until_approved(till: &mut Till, refused: Attempt) {
    let deadline = Instant::now() + Duration::from_secs(30);
    loop {
        match till.decide(refused) {
            Outcome::Approved(d) if !d.replayed => return,
            full if is_full(&full) => assert!(Instant::now() < deadline, "space came back, service did not"),
            other => panic!("nothing was taken under this key before: {other:?}"),
        }
    }
}

/// Who is refused may hear of it before those who watch do.
fn until_disk_full(s: &Stage, level: &str) {
    let deadline = Instant::now() + Duration::from_secs(20);
    let line = format!("tegata_disk_full {level}");
    while !get(&s.server.field("http"), "/metrics").1.lines().any(|l| l == line) {
        assert!(Instant::now() < deadline, "{line}");
    }
}

#[test]
fn it_degrades_and_is_over_by_itself() {
    let Some(disk) = Disk::in_memory(64 << 20) else { return };
    let data = disk.path.join("data");
    let log = disk.path.with_extension("log");
    let settings = tempfile::NamedTempFile::new().expect("a file");
    std::fs::write(settings.path(), "segment_bytes = 4194304\nsnapshot_bytes = 0\nallow_volatile = true\n")
        .expect("it is written");
    let start = || {
        let error = File::options().create(true).append(true).open(&log).expect("a log");
        Server::start_telling(&data, &["--config", settings.path().to_str().expect("UTF-8")], error.into())
    };
    let mut s = Stage::on(start());
    s.done(&["issue", "RICH", "900000000", "--programme", "13"]);
    s.done(&["load", "W1", "1000", "--programme", "13"]);
    let [paid, back, other] = ["100", "101", "102"].map(|yen| key(&s.done(&["debit", "C1", yen, "--shop", "SHOP1"])));
    let [held, kept] = ["200", "201"].map(|yen| key(&s.done(&["hold", "C1", yen, "--shop", "SHOP1"])));
    let open = key(&s.done(&["debit", "C1", "300", "--shop", "SHOP1", "--confirm-within", "600"]));
    let mut till = Till::new(&s.server);
    let ballast = disk.fill();

    // The reserve is left.
    let refused = until_full(&mut till, |t| t.payment("RICH"));
    until_disk_full(&s, "1");
    s.until_mode(1);
    let text = s.command(&["server", "status"]).output().expect("it runs").stdout;
    let told = "\nmode 1 (read-only: new payments are refused; fence, confirm, reversal, void, advice, and a shop or programme \
                suspended are taken)\nbreakers journal-space open\n";
    assert!(String::from_utf8_lossy(&text).contains(told), "{}", String::from_utf8_lossy(&text));
    for words in [
        &["debit", "C1", "103", "--shop", "SHOP1"][..],
        &["debit", "C1", "104", "--shop", "SHOP1", "--confirm-within", "60"],
        &["hold", "C1", "105", "--shop", "SHOP1"],
        &["load", "W1", "106", "--programme", "13"],
        &["issue", "C9", "107", "--programme", "13"],
        &["charge", "C1", "W1", "108"],
        &["refund", "C1", &paid, "--amount", "1"],
        &["capture", "C1", &kept],
        &["suspend", "account", "C1"],
        &["shop", "register", "SHOP2"],
    ] {
        s.ends(5, "disk-full", &[words, &SOON].concat());
    }
    s.done(&["reverse", "C1", &back]);
    s.done(&["void", "C1", &held]);
    s.done(&["confirm", "C1", &open]);
    for words in ["suspend", "resume"] {
        s.done(&[words, "programme", "13"]);
    }
    let known = |s: &Stage| {
        assert_eq!(s.done(&["status", "C1", &back])["state"], "reversed");
        assert_eq!(s.done(&["status", "C1", &open])["state"], "captured");
        assert_eq!(s.balance("C1"), 5_000 - 100 - 102 - 201 - 300);
        let again = s.done(&["debit", "C1", "100", "--shop", "SHOP1", "--key", &paid]);
        assert_eq!(again["replayed"], true);
    };
    known(&s);
    // A snapshot finds no space either, and is tried again.
    assert_eq!(s.done(&["snapshot", "take"])["started"], true);
    let deadline = Instant::now() + Duration::from_secs(20);
    while !std::fs::read_to_string(&log).expect("a log").contains("was not taken") {
        assert!(Instant::now() < deadline, "it fails, and says so");
    }

    // Nothing is left.
    until_full(&mut till, |_| attempt("RICH", Operation::Fence));
    until_disk_full(&s, "2");
    for words in [&["reverse", "C1", &other][..], &["void", "C1", &kept]] {
        s.ends(5, "disk-full", &[words, &SOON].concat());
    }
    known(&s);
    till.check();

    ballast.remove();
    until_approved(&mut till, refused);
    until_disk_full(&s, "0");
    s.until_mode(0);
    s.done(&["reverse", "C1", &other]);
    let deadline = Instant::now() + Duration::from_secs(20);
    while std::fs::read_dir(data.join("snapshots")).into_iter().flatten().next().is_none() {
        assert!(Instant::now() < deadline, "the snapshot is taken after all");
    }
    assert_eq!(s.server.child.try_wait().expect("it is known"), None, "it is the server of the beginning");

    // Stopped and started while nothing is left.
    let ballast = disk.fill();
    until_full(&mut till, |t| t.payment("RICH"));
    let refused = until_full(&mut till, |_| attempt("RICH", Operation::Fence));
    // The second start has no room even to say that it began.
    for _ in 0..2 {
        assert_eq!(s.server.stop(), Some(0));
        s.server = start();
        till.connect(&s.server);
        assert!(is_full(&till.decide(refused)), "it is as full as it was");
    }
    till.check();
    let refused = until_full(&mut till, |t| t.payment("RICH"));
    ballast.remove();
    until_approved(&mut till, refused);

    let digest = s.done(&["server", "digest"]);
    assert_eq!(s.server.stop(), Some(0));
    s.server = start();
    till.connect(&s.server);
    till.check();
    assert_eq!(s.done(&["server", "digest"])["digest"], digest["digest"]);
    assert!(till.approved.len() > 1_000, "the log was filled with payments: {}", till.approved.len());
    let _ = std::fs::remove_file(log);
}
