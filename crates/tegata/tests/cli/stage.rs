//! A server that the tests start and stop, and commands against it.

use serde_json::Value;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

pub(crate) const TEGATA: &str = env!("CARGO_BIN_EXE_tegata");

pub(crate) struct Stage {
    pub(crate) server: Server,
    pub(crate) folder: tempfile::TempDir,
}

pub(crate) struct Server {
    pub(crate) child: Child,
    /// What it said first; where it does not start, why.
    pub(crate) banner: Value,
}

impl Server {
    pub(crate) fn start(data: &Path, more: &[&str]) -> Self {
        Self::start_telling(data, more, Stdio::inherit())
    }

    /// With somewhere for what it says on its standard error.
    pub(crate) fn start_telling(data: &Path, more: &[&str], error: Stdio) -> Self {
        let mut child = Command::new(TEGATA)
            .args(["serve", "--json", "--listen", "127.0.0.1:0", "--operate", "127.0.0.1:0", "--data"])
            .arg(data)
            .args(more)
            .stdout(Stdio::piped())
            .stderr(error)
            .spawn()
            .expect("the binary starts");
        let out = child.stdout.take().expect("a pipe");
        let mut line = String::new();
        BufReader::new(out).read_line(&mut line).expect("a banner");
        let banner = serde_json::from_str(&line).unwrap_or_else(|e| panic!("{e}: {line:?}"));
        Self { child, banner }
    }

    pub(crate) fn field(&self, name: &str) -> String {
        self.banner[name].as_str().expect("a text").to_owned()
    }

    /// SIGTERM.
    pub(crate) fn signal(&self) {
        let pid = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).expect("it runs");
    }

    /// SIGTERM, and the exit code.
    pub(crate) fn stop(&mut self) -> Option<i32> {
        self.signal();
        self.child.wait().expect("it ends").code()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// One command's end.
pub(crate) struct Said {
    pub(crate) code: i32,
    pub(crate) json: Value,
    pub(crate) error: String,
}

pub(crate) fn said(output: Output) -> Said {
    let text = String::from_utf8(output.stdout).expect("UTF-8");
    Said {
        code: output.status.code().expect("it was not killed"),
        json: serde_json::from_str(&text).unwrap_or(Value::Null),
        error: String::from_utf8(output.stderr).expect("UTF-8"),
    }
}

impl Stage {
    /// With programme 13, a shop, and coupon C1 of 5,000 yen.
    pub(crate) fn open() -> Self {
        let stage = Self::bare();
        stage.seed();
        stage
    }

    /// On a server of the test's own.
    pub(crate) fn on(server: Server) -> Self {
        let stage = Self { server, folder: tempfile::tempdir().expect("a folder") };
        stage.seed();
        stage
    }

    fn seed(&self) {
        let rules = self.file("rules.toml", "id = 13\nname = \"東京\"\n");
        self.done(&["programme", "create", rules.to_str().expect("UTF-8")]);
        self.done(&["shop", "register", "SHOP1", "--name", "そば屋"]);
        self.done(&["issue", "C1", "5000", "--programme", "13", "--expires", "2099-03-31"]);
    }

    pub(crate) fn bare() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let server = Server::start(&folder.path().join("data"), &["--allow-volatile"]);
        Self { server, folder }
    }

    pub(crate) fn file(&self, name: &str, text: &str) -> PathBuf {
        let path = self.folder.path().join(name);
        std::fs::write(&path, text).expect("it is written");
        path
    }

    /// Runs a command with `--json`.
    pub(crate) fn run(&self, words: &[&str]) -> Said {
        said(self.command(words).arg("--json").output().expect("it runs"))
    }

    pub(crate) fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new(TEGATA);
        command
            .args(words)
            .env("TEGATA_ADDR", self.server.field("addr"))
            .env("TEGATA_OPERATE", self.server.field("operate"))
            .env("TEGATA_DATA", self.folder.path().join("data"));
        command
    }

    /// Runs a command that must succeed.
    pub(crate) fn done(&self, words: &[&str]) -> Value {
        let said = self.run(words);
        assert_eq!(said.code, 0, "{words:?}: {} {}", said.json, said.error);
        said.json
    }

    /// Runs a command that must end with a code of its own.
    pub(crate) fn ends(&self, exit: i32, name: &str, words: &[&str]) -> Value {
        let said = self.run(words);
        assert_eq!(said.code, exit, "{words:?}: {} {}", said.json, said.error);
        assert_eq!(said.json["name"], name, "{words:?}: {} {}", said.json, said.error);
        said.json
    }

    pub(crate) fn balance(&self, account: &str) -> u64 {
        self.done(&["balance", account])["balance"].as_u64().expect("a number")
    }

    pub(crate) fn until_mode(&self, mode: u64) {
        let deadline = Instant::now() + Duration::from_secs(20);
        while self.done(&["server", "status"])["mode"] != mode {
            assert!(Instant::now() < deadline, "the mode never was {mode}");
        }
    }
}
