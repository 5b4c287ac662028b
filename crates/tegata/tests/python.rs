//! The Python client of `docs/clients` against a real server and against the golden frames: whoever writes a client
//! from `docs/protocol.md` has an example that is known to run.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use tegata_wire::{AnswerBody, HelloAnswer, decode_answer};

/// A server in a process of its own. It ends with this value, by its process id.
struct Server {
    child: Child,
    banner: serde_json::Value,
}

impl Server {
    fn start(data: &Path) -> Self {
        Self::start_with(data, &[])
    }

    fn start_with(data: &Path, more: &[&str]) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_tegata"))
            .args(["serve", "--listen", "127.0.0.1:0", "--operate", "127.0.0.1:0", "--json", "--data"])
            .arg(data)
            .args(more)
            .stdout(Stdio::piped())
            .spawn()
            .expect("the server starts");
        let out = child.stdout.take().expect("its output is piped");
        // Made before the banner is read, so that the process ends also when there is none.
        let mut server = Self { child, banner: serde_json::Value::Null };
        let mut line = String::new();
        BufReader::new(out).read_line(&mut line).expect("its output is text");
        server.banner = serde_json::from_str(&line).unwrap_or_else(|e| panic!("banner {line:?}: {e}"));
        server
    }

    fn address(&self, name: &str) -> &str {
        self.banner[name].as_str().unwrap_or_else(|| panic!("the banner has no {name}: {}", self.banner))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn project() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn vectors() -> PathBuf {
    project().join("crates/wire/tests/vectors")
}

/// Runs the client. A missing python3 fails the test: a check that is skipped proves nothing.
fn client(args: &[&str]) -> Output {
    let script = project().join("docs/clients/tegata.py");
    let out = Command::new("python3").arg("-B").arg(script).args(args).output();
    out.unwrap_or_else(|e| panic!("python3 (3.11 or newer) is needed for this test and does not run: {e}"))
}

fn text(out: &Output) -> String {
    format!("{}\n{}{}", out.status, String::from_utf8_lossy(&out.stdout), String::from_utf8_lossy(&out.stderr))
}

#[test]
fn the_exercise_passes_against_a_real_server() {
    // Beside the build, not in the system's temporary folder: that may be in memory, where no server keeps money.
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a temporary folder");
    let server = Server::start(&folder.path().join("data"));
    let out = client(&["--gateway", server.address("addr"), "--operate", server.address("operate")]);
    assert_eq!(out.status.code(), Some(0), "{}", text(&out));
    assert!(text(&out).contains("goodbye: closed"), "the exercise came to its end: {}", text(&out));
    // Once more, against a server with a history: every id is fresh.
    let out = client(&["--gateway", server.address("addr"), "--operate", server.address("operate")]);
    assert_eq!(out.status.code(), Some(0), "{}", text(&out));
}

#[test]
fn the_exercise_passes_where_secrets_are_proven() {
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a temporary folder");
    let file = |name: &str| folder.path().join(name).to_str().expect("the path is text").to_owned();
    let (credentials, rights) = (file("credentials"), file("rights"));
    for (id, whose, number) in
        [("till-501", "--gateway", "501"), ("till-502", "--gateway", "502"), ("office", "--operator", "1")]
    {
        let words = ["credential", "new", id, whose, number, &credentials];
        let made = Command::new(env!("CARGO_BIN_EXE_tegata")).args(words).output().expect("it runs");
        assert!(made.status.success(), "{}", text(&made));
    }
    let caller = |class: &str, n: u32| {
        let grant = "operations = \"any\"\nshops = \"any\"\nprogrammes = \"any\"\n";
        format!("[[{class}]]\nnumber = {n}\nnamespaces = [21]\n[[{class}.grant]]\n{grant}")
    };
    std::fs::write(&rights, caller("gateway", 501) + &caller("gateway", 502) + &caller("operator", 1))
        .expect("written");
    let server = Server::start_with(&folder.path().join("data"), &["--credentials", &credentials, "--rights", &rights]);
    let ports = ["--gateway", server.address("addr"), "--operate", server.address("operate")];
    let out = client(&[&ports[..], &["--credentials", &credentials]].concat());
    assert_eq!(out.status.code(), Some(0), "{}", text(&out));
    assert!(text(&out).contains("strangers: nobody else gets in"), "{}", text(&out));
    let out = client(&ports);
    assert_eq!(out.status.code(), Some(1), "without a secret: {}", text(&out));
    assert!(text(&out).contains("refused: 151 unauthenticated"), "{}", text(&out));
}

#[test]
fn the_exercise_fails_against_a_server_that_is_not_there() {
    let free = std::net::TcpListener::bind("127.0.0.1:0").and_then(|l| l.local_addr()).expect("a free port");
    let free = free.to_string();
    let out = client(&["--gateway", &free, "--operate", &free]);
    assert_eq!(out.status.code(), Some(1), "{}", text(&out));
    assert!(text(&out).contains("DEVIATION"), "{}", text(&out));
}

/// A frame of the conversations that `docs/protocol.md` prints.
fn golden(name: &str) -> Vec<u8> {
    let text = std::fs::read_to_string(vectors().join("exchange.txt")).expect("the vectors are there");
    let found = text.split_once(&format!("name: {name}\n")).and_then(|(_, rest)| rest.split_once("hex: "));
    let hex = found.and_then(|(_, rest)| rest.lines().next()).expect("the frame is there");
    let byte = |two: &[u8]| u8::from_str_radix(std::str::from_utf8(two).expect("hex"), 16).expect("hex");
    hex.as_bytes().chunks(2).map(byte).collect()
}

#[test]
fn the_golden_hello_gets_the_golden_answer() {
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a temporary folder");
    let server = Server::start(&folder.path().join("data"));
    let mut stream = TcpStream::connect(server.address("addr")).expect("the port is open");
    stream.write_all(&golden("1-hello")).expect("sent");
    let expected = golden("1-hello-answer");
    let mut answer = vec![0; expected.len()];
    stream.read_exact(&mut answer).expect("an answer of this length");
    let said = |frame: &[u8]| match decode_answer(frame).expect("an answer").body {
        // Clock, position and store are the server's own.
        AnswerBody::Hello(h) => HelloAnswer { server_time: 0, position: 0, store_id: [0; 16], ..h },
        other => panic!("{other:?}"),
    };
    assert_eq!(said(&answer), said(&expected));
}

#[test]
fn the_golden_frames_are_read_and_written_alike() {
    let out = client(&["--vectors", vectors().to_str().expect("the path is text")]);
    assert_eq!(out.status.code(), Some(0), "{}", text(&out));
}

#[test]
fn a_golden_frame_that_differs_is_seen() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    for entry in std::fs::read_dir(vectors()).expect("the vectors are there").flatten() {
        std::fs::copy(entry.path(), folder.path().join(entry.file_name())).expect("a file is copied");
    }
    let file = folder.path().join("answers.txt");
    let kept = std::fs::read_to_string(&file).expect("the answers are text");
    let changed = kept.replacen("dc05", "dd05", 1);
    assert_ne!(kept, changed, "an amount of 1,500 yen is in the first answer");
    std::fs::write(&file, changed).expect("the copy is writable");
    let out = client(&["--vectors", folder.path().to_str().expect("the path is text")]);
    assert_eq!(out.status.code(), Some(1), "{}", text(&out));
    assert!(text(&out).contains("the checksum does not hold"), "{}", text(&out));
}
