//! An operator's hand on the breakers: a drill, what is refused meanwhile, what is not, and the file that tells of it.

use crate::stage::{Server, Stage};
use crate::watching::get;
use std::process::Stdio;
use std::time::{Duration, Instant};

fn state(s: &Stage, cause: &str) -> String {
    let list = s.done(&["breaker", "list"]);
    let all = list["breakers"].as_array().expect("a list");
    let one = all.iter().find(|b| b["cause"] == cause).expect("the cause");
    one["state"].as_str().expect("a text").to_owned()
}

#[test]
fn an_operator_opens_confirms_and_closes_a_breaker() {
    let mut s = Stage::open();
    let paid = s.done(&["debit", "C1", "100", "--shop", "SHOP1"])["key"].as_str().expect("a key").to_owned();
    s.ends(3, "not-from-here", &["breaker", "close", "journal-latency"]);
    assert_eq!(s.done(&["breaker", "open", "journal-latency"])["mode"], 1);
    assert_eq!((state(&s, "journal-latency"), state(&s, "memory")), ("latched".to_owned(), "closed".to_owned()));
    let short = ["--deadline-ms", "300"];
    s.ends(5, "journal-slow", &[&["debit", "C1", "200", "--shop", "SHOP1"][..], &short].concat());
    s.ends(5, "journal-slow", &[&["issue", "C2", "200", "--programme", "13"][..], &short].concat());
    assert_eq!(s.done(&["debit", "C1", "100", "--shop", "SHOP1", "--key", &paid])["replayed"], true);
    assert_eq!(s.done(&["status", "C1", &paid])["name"], "approved");
    s.done(&["reverse", "C1", &paid]);
    assert_eq!(s.balance("C1"), 5_000);
    let text = s.command(&["server", "status"]).output().expect("it runs").stdout;
    let told = "\nmode 1 (read-only: new payments are refused; fence, confirm, reversal, void, advice, and a shop or programme \
                suspended are taken)\nbreakers journal-latency latched\n";
    assert!(String::from_utf8_lossy(&text).contains(told), "{}", String::from_utf8_lossy(&text));
    let lines = [
        "tegata_mode 1",
        "tegata_not_executed_total{code=\"journal-slow\"} ",
        "tegata_breaker_state{cause=\"journal-latency\"} 3",
        "tegata_breaker_transitions_total{cause=\"journal-latency\",to=\"latched\"} 1",
    ];
    let is_in = |metrics: &str, line: &str| {
        let is_it = |l: &str| if line.ends_with(' ') { l.starts_with(line) && !l.ends_with(" 0") } else { l == line };
        metrics.lines().any(is_it)
    };
    // They are published when the core rests.
    let deadline = Instant::now() + Duration::from_secs(20);
    loop {
        let (_, metrics) = get(&s.server.field("http"), "/metrics");
        let Some(missing) = lines.iter().find(|line| !is_in(&metrics, line)) else { break };
        assert!(Instant::now() < deadline, "{missing} is not in\n{metrics}");
    }
    s.ends(3, "not-from-here", &["breaker", "close", "journal-latency"]);
    s.done(&["breaker", "confirm", "journal-latency"]);
    s.until_mode(0);
    s.done(&["debit", "C1", "200", "--shop", "SHOP1"]);
    assert_eq!(s.server.stop(), Some(0));
    let events = std::fs::read_to_string(s.folder.path().join("data").join("EVENTS")).expect("the file of events");
    let events: Vec<serde_json::Value> = events.lines().map(|l| serde_json::from_str(l).expect("JSON")).collect();
    let to: Vec<&str> = events.iter().filter_map(|e| e["to"].as_str()).collect();
    assert_eq!(to, ["latched", "half-open", "closed"]);
    let ends = [&events[0], &events[events.len() - 1]].map(|e| e["event"].as_str().expect("a text"));
    assert_eq!(ends, ["start", "stop"]);
}

#[test]
fn nothing_of_a_refusal_comes_back_after_a_crash() {
    let mut s = Stage::open();
    s.done(&["breaker", "open", "journal-latency"]);
    let short = ["--deadline-ms", "300"];
    let refused = s.ends(5, "journal-slow", &[&["debit", "C1", "200", "--shop", "SHOP1"][..], &short].concat());
    let key = refused["key"].as_str().expect("a key");
    s.server.child.kill().expect("it runs");
    s.server.child.wait().expect("it ended");
    s.server = Server::start(&s.folder.path().join("data"), &["--allow-volatile"]);
    assert_eq!(s.run(&["status", "C1", key]).json["name"], "not-seen");
    assert_eq!(s.balance("C1"), 5_000);
    assert_eq!(state(&s, "journal-latency"), "latched", "a new start confirms nothing");
    s.ends(5, "journal-slow", &[&["debit", "C1", "200", "--shop", "SHOP1"][..], &short].concat());
    s.done(&["breaker", "confirm", "journal-latency"]);
    s.until_mode(0);
    s.done(&["debit", "C1", "200", "--shop", "SHOP1", "--key", key]);
}

#[test]
fn a_server_outlives_whoever_reads_what_it_says() {
    let folder = tempfile::tempdir().expect("a folder");
    let data = folder.path().join("data");
    let mut server = Server::start_telling(&data, &["--allow-volatile"], Stdio::piped());
    drop(server.child.stderr.take());
    let pid = rustix::process::Pid::from_child(&server.child);
    let mut s = Stage::on(server);
    for cause in ["memory", "queue-delay"] {
        s.done(&["breaker", "open", cause]);
        rustix::process::kill_process(pid, rustix::process::Signal::HUP).expect("it runs");
    }
    assert_eq!((s.done(&["server", "status"])["mode"].as_u64(), s.server.stop()), (Some(1), Some(0)));
    let events = std::fs::read_to_string(data.join("EVENTS")).expect("the file of events");
    assert_eq!(events.matches("\"to\":\"latched\"").count(), 2, "{events}");
}

#[test]
fn a_drill_needs_its_flag_and_is_over_by_itself() {
    let s = Stage::open();
    assert_eq!(s.run(&["drill", "memory"]).code, 2, "not without the flag");
    assert_eq!(
        s.run(&["drill", "memory", "--refuse-payments", "--seconds", "601"]).code,
        2,
        "not for longer than that"
    );
    assert_eq!(s.run(&["drill", "weather", "--refuse-payments"]).code, 2);
    assert_eq!(s.done(&["drill", "memory", "--refuse-payments", "--seconds", "2"])["mode"], 1);
    s.ends(5, "memory-limit", &["debit", "C1", "200", "--shop", "SHOP1", "--deadline-ms", "300"]);
    s.until_mode(0);
    s.done(&["debit", "C1", "200", "--shop", "SHOP1"]);
}
