//! The demonstration, where it must run: beside other servers, with settings in the environment, on a folder in memory.

use crate::disk::Disk;
use crate::stage::{Said, TEGATA, said};
use std::net::TcpListener;
use std::path::Path;
use std::process::Command;

fn demo(folder: &Path) -> Said {
    let settings = ["TEGATA_DATA", "TEGATA_LISTEN", "TEGATA_HTTP", "TEGATA_ADDR", "TEGATA_CONFIG", "TEGATA_GATEWAY"];
    let mut command = Command::new(TEGATA);
    command.args(["demo", "--json"]).env("TMPDIR", folder).envs(settings.map(|name| (name, "/nowhere")));
    said(command.output().expect("it runs"))
}

#[test]
fn it_shares_a_machine_with_a_server() {
    // Taken by somebody else is as good.
    let _taken = TcpListener::bind("127.0.0.1:7413");
    let folder = tempfile::tempdir().expect("a folder");
    let said = demo(folder.path());
    assert_eq!((said.code, &said.json["holds"]), (0, &true.into()), "{} {}", said.json, said.error);
    assert_eq!(said.json["debits"], 1);
}

#[test]
fn in_memory_it_says_that_nothing_is_durable() {
    let Some(disk) = Disk::in_memory(256 << 20) else { return };
    let said = demo(&disk.path);
    assert_eq!((said.code, &said.json["holds"]), (0, &true.into()), "{} {}", said.json, said.error);
    assert_eq!(said.json["durable"], false);
    let told = Command::new(TEGATA).arg("demo").env("TMPDIR", &disk.path).output().expect("it runs");
    assert!(String::from_utf8_lossy(&told.stdout).contains("NOT DURABLE"));
}
