//! What an SRE meets: stops, crashes, folders in use, damaged folders, wrong configuration, pages made from the code.

use crate::disk::Disk;
use crate::stage::{Server, Stage, TEGATA, said};
use crate::watching::get;
use std::io::Write;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};
use tegata_client::Link;
use tegata_wire::{KIND_STATUS, RequestHeader, encode_request};

fn serve(words: &[&str]) -> crate::stage::Said {
    let ports = ["serve", "--json", "--listen", "127.0.0.1:0", "--operate", "127.0.0.1:0"];
    said(Command::new(TEGATA).args(ports).args(words).output().expect("it runs"))
}

#[test]
fn stops_and_crashes_are_told_apart_and_lose_nothing() {
    let mut s = Stage::open();
    let data = s.folder.path().join("data");
    let digest = s.done(&["server", "digest"]);
    assert_eq!(s.server.stop(), Some(0));
    s.server = Server::start(&data, &["--allow-volatile"]);
    assert_eq!(s.server.banner["state"], "clean stop");
    assert_eq!(s.done(&["server", "digest"])["digest"], digest["digest"]);
    s.done(&["debit", "C1", "100", "--shop", "SHOP1"]);
    let digest = s.done(&["server", "digest"]);
    s.server.child.kill().expect("it runs");
    s.server.child.wait().expect("it ends");
    let verified = s.done(&["journal", "verify"]);
    assert_eq!(verified["digest"], digest["digest"]);
    s.server = Server::start(&data, &["--allow-volatile"]);
    assert_ne!(s.server.banner["state"], "clean stop");
    assert_eq!(s.done(&["server", "digest"])["digest"], digest["digest"]);
    let batches = s.done(&["journal", "inspect"]);
    assert!(batches["batches"].as_array().is_some_and(|b| b.len() >= 5), "{batches}");
}

#[test]
fn a_second_signal_stops_at_once() {
    let mut s = Stage::open();
    // Whoever leaves answers unread is waited for: it sends until the server reads no further.
    let link = Link::open(s.server.field("addr").parse().expect("an address"), false).expect("a connection");
    let mut stream = link.into_stream();
    stream.set_write_timeout(Some(Duration::from_millis(500))).expect("a time limit");
    let mut out = Vec::new();
    for request_id in 0..1_000 {
        encode_request(&RequestHeader { kind: KIND_STATUS, request_id, ..RequestHeader::default() }, &mut out);
    }
    while stream.write_all(&out).is_ok() {}
    s.server.signal();
    let deadline = Instant::now() + Duration::from_secs(5);
    while get(&s.server.field("http"), "/readyz").0 == 200 {
        assert!(Instant::now() < deadline, "the first signal drains");
    }
    assert_eq!(s.server.child.try_wait().expect("it is known"), None, "it waits for the reader");
    assert_eq!(s.server.stop(), Some(1), "the second one ends it");
    let data = s.folder.path().join("data");
    s.server = Server::start(&data, &["--allow-volatile"]);
    assert_eq!(s.balance("C1"), 5_000);
}

#[test]
fn a_folder_has_one_server() {
    let s = Stage::bare();
    let data = s.folder.path().join("data");
    let second = serve(&["--allow-volatile", "--data", data.to_str().expect("UTF-8")]);
    assert_eq!((second.code, &second.json["exit"]), (11, &11.into()), "{} {}", second.json, second.error);
}

#[test]
fn a_damaged_folder_is_refused_and_left_as_it_is() {
    let mut s = Stage::open();
    let data = s.folder.path().join("data");
    assert_eq!(s.server.stop(), Some(0));
    let inspected = s.done(&["journal", "inspect"]);
    let offset = inspected["batches"][1]["offset"].as_u64().expect("an offset") as usize;
    let mut segments: Vec<_> =
        std::fs::read_dir(data.join("journal")).expect("a folder").map(|e| e.expect("an entry").path()).collect();
    segments.sort();
    let mut bytes = std::fs::read(&segments[0]).expect("a segment");
    bytes[offset + 300] ^= 1;
    std::fs::write(&segments[0], &bytes).expect("it is written");
    let refused = serve(&["--allow-volatile", "--data", data.to_str().expect("UTF-8")]);
    assert_eq!(refused.code, 10, "{}", refused.error);
    let told = refused.error.contains(".seg") && refused.error.contains(&offset.to_string());
    assert!(told, "it names file and offset: {}", refused.error);
    assert!(std::fs::read(&segments[0]).expect("a segment") == bytes, "it was not changed");
    assert_eq!(s.run(&["journal", "verify"]).code, 10);
}

/// Version 2 in `file`: at `version`, under the checksum at `crc` of the bytes up to `end`.
fn newer(file: &Path, version: usize, crc: usize, end: usize) -> Vec<u8> {
    let old = std::fs::read(file).expect("a file");
    let mut bytes = old.clone();
    bytes[version..version + 4].copy_from_slice(&9u32.to_le_bytes());
    let sum = crc32c::crc32c(&bytes[crc + 4..end]);
    bytes[crc..crc + 4].copy_from_slice(&sum.to_le_bytes());
    std::fs::write(file, bytes).expect("it is written");
    old
}

#[test]
fn what_a_newer_version_wrote_is_told_from_damage() {
    let mut s = Stage::open();
    let data = s.folder.path().join("data");
    s.done(&["snapshot", "take"]);
    let deadline = Instant::now() + Duration::from_secs(20);
    while s.done(&["snapshot", "list"]).as_array().is_none_or(Vec::is_empty) {
        assert!(Instant::now() < deadline, "it is listed when it is whole");
    }
    let snapshot =
        std::fs::read_dir(data.join("snapshots")).expect("a folder").next().expect("one").expect("it").path();
    assert_eq!(s.server.stop(), Some(0));
    let offset = s.done(&["journal", "inspect"])["batches"][1]["offset"].as_u64().expect("an offset") as usize;
    let bytes = std::fs::read(&snapshot).expect("a file");
    let head_block = 64 + 16 + u32::from_le_bytes(*bytes[64..].first_chunk().expect("a length")) as usize;
    let trailer = bytes.len() - 256;
    let (journal, kept): (&[&str], &[&str]) = (&["journal", "verify"], &["snapshot", "verify"]);
    for (what, file, (version, crc, end), command) in [
        ("the store", data.join("STORE"), (12, 8, 4_096), journal),
        ("a segment", data.join("journal/00000001.seg"), (12, 8, 4_096), journal),
        ("a batch", data.join("journal/00000001.seg"), (offset + 12, offset + 8, offset + 256), journal),
        ("a snapshot's trailer", snapshot.clone(), (trailer + 12, trailer + 8, trailer + 256), kept),
        ("a snapshot's head", snapshot, (88, 68, head_block), kept),
    ] {
        let old = newer(&file, version, crc, end);
        let refused = Server::start(&data, &["--allow-volatile"]);
        assert_eq!(refused.banner["exit"], 12, "{what}: {}", refused.banner);
        let name = file.file_name().expect("a name").to_str().expect("UTF-8");
        assert!(refused.field("error").contains(name), "{what}: it names the file: {}", refused.banner);
        assert_eq!(s.run(command).code, 12, "{what}");
        std::fs::write(&file, old).expect("it is written");
    }
    s.server = Server::start(&data, &["--allow-volatile"]);
    assert_eq!(s.balance("C1"), 5_000, "nothing was changed");
}

#[test]
fn a_refused_folder_is_left_untouched() {
    let names = |dir: &Path| {
        std::fs::read_dir(dir).expect("a folder").map(|e| e.expect("an entry").file_name()).collect::<Vec<_>>()
    };
    let strange = tempfile::tempdir().expect("a folder");
    std::fs::write(strange.path().join("letter.txt"), "to whom it may concern").expect("it is written");
    let refused = serve(&["--allow-volatile", "--data", strange.path().to_str().expect("UTF-8")]);
    assert_eq!(refused.code, 2, "{}", refused.error);
    assert_eq!(names(strange.path()), ["letter.txt"]);

    let Some(disk) = Disk::in_memory(64 << 20) else { return };
    for data in [disk.path.clone(), disk.path.join("a/folder")] {
        let refused = serve(&["--data", data.to_str().expect("UTF-8")]);
        assert_eq!(refused.code, 2, "{}", refused.error);
        assert!(refused.error.contains("--allow-volatile"), "it names the way: {}", refused.error);
        assert!(names(&disk.path).is_empty(), "{:?}", names(&disk.path));
    }
}

#[test]
fn wrong_settings_are_named() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("tegata.toml");
    let name = file.to_str().expect("UTF-8");
    let check = |text: &str| {
        std::fs::write(&file, text).expect("it is written");
        said(Command::new(TEGATA).args(["config", "check", "--json", "--config", name]).output().expect("it runs"))
    };
    assert_eq!(check("shards = 4\narchive_keep_days = 7\n").code, 0);
    for (text, word) in [
        ("\nshard = 4\n", "line 2: shard is not known; did you mean `shards`?"),
        ("colour = 4\n", "colour is not known\n"),
        ("# eight is enough\nshards = 0\n", "tegata.toml: line 2: shards: must be 1 to 1024"),
        ("archive_keep_days = 6\n", "horizon_s"),
        ("\n\nshards = \"many\"\n", "line 3"),
    ] {
        let wrong = check(text);
        assert_eq!(wrong.code, 9, "{text}: {}", wrong.error);
        assert!(wrong.error.contains(word) && wrong.error.contains("tegata"), "{text}: {}", wrong.error);
    }
    std::fs::write(&file, "archive_keep_days = 8\n").expect("it is written");
    let flag = serve(&["--config", name, "--archive-keep-days", "6"]);
    assert_eq!(flag.code, 9, "{}", flag.error);
    assert!(!flag.error.contains("line"), "the file is not at fault: {}", flag.error);
    std::fs::write(&file, "listen = \"127.0.0.1:6666\"\noperate = \"127.0.0.1:6667\"\nshards = 4\n").expect("written");
    let shown = said(
        Command::new(TEGATA)
            .args(["config", "show", "--json", "--config", name, "--listen", "127.0.0.1:9999"])
            .env("TEGATA_ARCHIVE_KEEP_DAYS", "90")
            .env("TEGATA_LISTEN", "127.0.0.1:8888")
            .env("TEGATA_OPERATE", "127.0.0.1:7777")
            .output()
            .expect("it runs"),
    );
    assert_eq!(shown.json["listen"], "127.0.0.1:9999", "the flag is over the environment");
    assert_eq!(shown.json["operate"], "127.0.0.1:7777", "the environment is over the file");
    assert_eq!(shown.json["archive_keep_days"], 90);
    assert_eq!(shown.json["shards"], 4, "the file is over the default");
}

#[test]
fn pages_come_from_the_same_definitions() {
    let folder = tempfile::tempdir().expect("a folder");
    let made = Command::new(TEGATA).arg("man").arg(folder.path()).status().expect("it runs");
    assert!(made.success());
    assert!(folder.path().join("tegata.1").exists() && folder.path().join("tegata-extend-apply.1").exists());
    let template = ["programme", "template"];
    let plain = Command::new(TEGATA).args(template).output().expect("it runs").stdout;
    let json = said(Command::new(TEGATA).args(template).arg("--json").output().expect("it runs")).json;
    let text = json["template"].as_str().expect("a text").trim_end();
    assert_eq!(text.as_bytes(), plain.trim_ascii_end());
    let bash = Command::new(TEGATA).args(["completions", "bash"]).output().expect("it runs");
    assert!(String::from_utf8_lossy(&bash.stdout).contains("--confirm-within"));
    let explained = said(Command::new(TEGATA).args(["explain", "100", "--json"]).output().expect("it runs"));
    assert_eq!(explained.json["name"], "suspected-duplicate");
    assert_eq!(Command::new(TEGATA).args(["explain", "nothing"]).output().expect("it runs").status.code(), Some(2));
}
