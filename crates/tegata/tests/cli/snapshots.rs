//! Snapshots and the archive: a start loads the newest snapshot that is whole, and every way gives the same state.

use crate::stage::{Server, Stage};
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use tegata_client::{Attempt, Client, Credential, Options, Outcome, Role, new_key};
use tegata_model::{AccountId, Amount, NamespaceId, Operation, Position, Purchase, ShopId, TerminalId};

fn files(folder: &Path, extension: &str) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let mut all: Vec<PathBuf> =
        entries.map(|e| e.path()).filter(|p| p.extension().is_some_and(|x| x == extension)).collect();
    all.sort();
    all
}

/// One payment after the other: each is a batch of its own, so that the log grows by a block for each.
fn pay(addr: &str, amounts: std::ops::Range<u64>) {
    let credential = Credential { gateway: 1, role: Role::Gateway, namespaces: Vec::new() };
    let client = Client::new(Options { addrs: vec![addr.parse().expect("an address")], credential });
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        for yen in amounts {
            let purchase = Purchase {
                shop: ShopId::from_text("SHOP1").expect("a shop"),
                terminal: TerminalId::NONE,
                amount: Amount::new(yen).expect("an amount"),
                token: Position::ZERO,
                partial: false,
            };
            let attempt = Attempt {
                account: AccountId::from_text("RICH").expect("an account"),
                key: new_key(),
                namespace: NamespaceId::new(1),
                operation: Operation::Debit(purchase),
                deadline: Duration::from_secs(10),
            };
            let outcome = client.decide(&attempt).await;
            assert!(matches!(outcome, Outcome::Approved(_)), "{outcome:?}");
        }
        client.close().await;
    });
}

#[test]
fn every_way_back_gives_the_same_state() {
    let mut s = Stage::open();
    assert_eq!(s.server.stop(), Some(0));
    let data = s.folder.path().join("new");
    let config = s.file("tegata.toml", "segment_bytes = 4194304\nsnapshot_bytes = 3000000\nallow_volatile = true\n");
    let flags = ["--config", config.to_str().expect("UTF-8")];
    s.server = Server::start(&data, &flags);
    let rules = s.folder.path().join("rules.toml");
    s.done(&["programme", "create", rules.to_str().expect("UTF-8")]);
    s.done(&["shop", "register", "SHOP1"]);
    s.done(&["issue", "RICH", "90000000", "--programme", "13"]);
    pay(&s.server.field("addr"), 1..4_001);
    let deadline = Instant::now() + Duration::from_secs(30);
    while files(&data.join("archive"), "arc").is_empty() {
        assert!(Instant::now() < deadline, "segments that only old snapshots needed are archived");
    }
    pay(&s.server.field("addr"), 4_001..4_101);
    assert!(files(&data.join("snapshots"), "snap").len() <= 3, "two are kept, and one may be new");
    let digest = s.done(&["server", "digest"]);
    let history = s.done(&["history", "--limit", "0"]);
    let entries = history["entries"].as_array().expect("entries");
    assert_eq!(entries.iter().filter(|e| e["kind"] == "debit").count(), 4_100, "archived or not");
    let folder = ["--data", data.to_str().expect("UTF-8")];
    let verified = s.done(&[&["journal", "verify"][..], &folder].concat());
    assert_eq!(verified["digest"], digest["digest"]);
    let snapshots = s.done(&[&["snapshot", "verify"][..], &folder].concat());
    assert!(snapshots.as_array().is_some_and(|all| all.len() >= 2), "{snapshots}");

    let mut again = |words: &str| {
        s.server.child.kill().expect("it runs");
        s.server.child.wait().expect("it ends");
        let folders = [data.join("snapshots"), data.join("archive")];
        if words == "whole" {
            folders.iter().for_each(|f| std::fs::write(f.join("7.tmp"), "half").expect("it is written"));
        } else if words == "damaged" {
            let newest = files(&data.join("snapshots"), "snap").pop().expect("a snapshot");
            let mut bytes = std::fs::read(&newest).expect("it is read");
            let middle = bytes.len() / 2;
            bytes[middle] ^= 1;
            std::fs::write(&newest, bytes).expect("it is written");
        } else if words == "none" {
            std::fs::remove_dir_all(data.join("snapshots")).expect("removed");
        }
        s.server = Server::start(&data, &flags);
        assert!(folders.iter().all(|f| !f.join("7.tmp").exists()), "what a killed writer left is gone");
        assert_eq!(s.done(&["server", "digest"])["digest"], digest["digest"], "{words}");
        s.server.banner.clone()
    };
    let whole = again("whole");
    let (snapshot, replayed) = (whole["snapshot"].as_u64(), whole["replayed"].as_u64());
    assert!(snapshot > Some(1_000) && replayed < Some(3_500), "{whole}");
    let damaged = again("damaged");
    assert_eq!(damaged["skipped_snapshots"].as_array().map(Vec::len), Some(1), "{damaged}");
    assert!(damaged["snapshot"].as_u64() < snapshot && damaged["snapshot"].as_u64() > Some(0), "{damaged}");
    let none = again("none");
    assert_eq!(none["snapshot"], 0);
    assert!(none["replayed"].as_u64() > Some(4_100), "{none}");

    // The archive is met in replay only.
    assert_eq!(s.server.stop(), Some(0));
    let oldest = files(&data.join("archive"), "arc").remove(0);
    let mut bytes = std::fs::read(&oldest).expect("it is read");
    bytes[12] = 2;
    let crc = crc32c::crc32c(&bytes[12..64]);
    bytes[8..12].copy_from_slice(&crc.to_le_bytes());
    std::fs::write(&oldest, bytes).expect("it is written");
    let refused = Server::start(&data, &flags);
    assert_eq!(refused.banner["exit"], 12, "{}", refused.banner);
}

/// Takes one, and waits until there are `count`. A snapshot is listed a little before its writer is free again, and
/// until then the server starts no other: it is asked again.
fn take(s: &Stage, count: usize) -> Value {
    let deadline = Instant::now() + Duration::from_secs(20);
    let taken = loop {
        let taken = s.done(&["snapshot", "take"]);
        if taken["started"] == true {
            break taken;
        }
        assert!(Instant::now() < deadline, "the writer is free when its snapshot is whole");
    };
    while s.done(&["snapshot", "list"]).as_array().map_or(0, Vec::len) < count {
        assert!(Instant::now() < deadline, "it is listed when it is whole");
    }
    taken
}

#[test]
fn one_of_another_log_is_passed_over_for_an_older_one() {
    let mut s = Stage::open();
    let data = s.folder.path().join("data");
    let older = take(&s, 1)["position"].clone();
    s.done(&["debit", "C1", "100", "--shop", "SHOP1"]);
    take(&s, 2);
    s.done(&["debit", "C1", "101", "--shop", "SHOP1"]);
    let digest = s.done(&["server", "digest"]);
    assert_eq!(s.server.stop(), Some(0));
    let of_another_log = |file: &Path| {
        let mut bytes = std::fs::read(file).expect("it is read");
        let trailer = bytes.len() - 256;
        bytes[trailer + 48] ^= 1;
        let crc = crc32c::crc32c(&bytes[trailer + 12..]);
        bytes[trailer + 8..trailer + 12].copy_from_slice(&crc.to_le_bytes());
        std::fs::write(file, bytes).expect("it is written");
    };
    let snapshots = files(&data.join("snapshots"), "snap");
    of_another_log(&snapshots[1]);
    let log = s.file("stderr", "");
    let error = std::fs::File::create(&log).expect("a log");
    s.server = Server::start_telling(&data, &["--allow-volatile"], error.into());
    assert_eq!(s.server.banner["snapshot"], older, "{}", s.server.banner);
    let told = std::fs::read_to_string(&log).expect("a log");
    assert!(told.contains("not used") && told.contains("is of another log"), "{told}");
    assert_eq!(s.server.banner["skipped_snapshots"].as_array().map(Vec::len), Some(1), "{}", s.server.banner);
    assert_eq!(s.done(&["server", "digest"])["digest"], digest["digest"]);
    assert_eq!(s.server.stop(), Some(0));
    of_another_log(&snapshots[0]);
    let refused = Server::start(&data, &["--allow-volatile"]);
    assert_eq!(refused.banner["exit"], 10, "{}", refused.banner);
    assert!(refused.field("error").contains("is of another log"), "{}", refused.banner);
}

#[test]
fn an_operator_asks_for_one() {
    let s = Stage::open();
    let taken = take(&s, 1);
    let verified = s.done(&["snapshot", "verify"]);
    assert_eq!((&verified[0]["accounts"], &verified[0]["position"]), (&1.into(), &taken["position"]));
}
