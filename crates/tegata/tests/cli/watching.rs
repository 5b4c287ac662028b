//! What a monitoring system asks.

use crate::stage::Stage;
use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

/// Status and body.
pub(crate) fn get(addr: &str, path: &str) -> (u16, String) {
    let mut stream = TcpStream::connect(addr).expect("the port is open");
    stream.set_read_timeout(Some(Duration::from_secs(10))).expect("set");
    let request = format!("GET {path} HTTP/1.1\r\nHost: {addr}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).expect("sent");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("read to the end");
    let (head, body) = answer.split_once("\r\n\r\n").expect("a head and a body");
    let status = head.split(' ').nth(1).and_then(|s| s.parse().ok()).expect("a status");
    (status, body.to_owned())
}

#[test]
fn health_and_metrics() {
    let s = Stage::open();
    s.done(&["debit", "C1", "100", "--shop", "SHOP1"]);
    s.ends(3, "shop-unknown", &["debit", "C1", "100", "--shop", "NOWHERE"]);
    let http = s.server.field("http");
    assert_eq!(get(&http, "/livez").0, 200);
    assert_eq!(get(&http, "/readyz").0, 200);
    assert_eq!(get(&http, "/").0, 404);
    // The core publishes what it counted when it comes to rest.
    let value = |name: &str| {
        let (status, body) = get(&http, "/metrics");
        assert_eq!(status, 200);
        let line = body.lines().find_map(|l| l.strip_prefix(name)?.strip_prefix(' ')?.parse::<u64>().ok());
        line.unwrap_or_else(|| panic!("{name} is not in {body}"))
    };
    let deadline = Instant::now() + Duration::from_secs(5);
    while value("tegata_answers_total{class=\"declined\"}") == 0 && Instant::now() < deadline {}
    assert_eq!(value("tegata_answers_total{class=\"declined\"}"), 1);
    assert_eq!(value("tegata_answers_total{class=\"approved\"}"), 4, "rules, shop, issue, debit");
    assert_eq!(value("tegata_journal_failed"), 0);
    assert_eq!(value("tegata_shortfall_yen"), 0);
    assert!(value("tegata_position{mark=\"applied\"}") >= 6);
}

#[test]
fn watchers_who_never_read_keep_no_others_out() {
    let s = Stage::bare();
    let http = s.server.field("http");
    let idlers: Vec<TcpStream> = (0..70)
        .map(|_| {
            let mut stream = TcpStream::connect(&http).expect("the port is open");
            // More than the sockets hold of answers that nobody reads.
            let many = format!("GET /metrics HTTP/1.1\r\nHost: {http}\r\n\r\n").repeat(2_000);
            stream.set_nonblocking(true).expect("set");
            let _ = stream.write(many.as_bytes());
            stream
        })
        .collect();
    assert_eq!(get(&http, "/livez").0, 200);
    drop(idlers);
}

#[test]
fn every_metric_is_explained_and_nothing_else_is() {
    let s = Stage::bare();
    let (_, metrics) = get(&s.server.field("http"), "/metrics");
    let served: BTreeSet<&str> = metrics.lines().filter_map(|l| l.strip_prefix("# TYPE ")?.split(' ').next()).collect();
    let page = include_str!("../../../../docs/operating.md");
    let table = page.split("## Metrics").nth(1).and_then(|rest| rest.split("Worth an alert").next()).expect("a table");
    let name = |word: &str| word.len() - word.trim_start_matches(|c: char| c == '_' || c.is_ascii_lowercase()).len();
    let explained: BTreeSet<&str> =
        table.split('`').filter(|word| word.starts_with("tegata_")).map(|word| &word[..name(word)]).collect();
    assert_eq!(served, explained);
}
