//! Callers that do not do their part, no hello, answers left unread: neither costs the others anything. And a server that did
//! not do its part for a while.

use crate::stage::{Server, Stage};
use crate::till::Till;
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;
use tegata_client::Link;
use tegata_model::Code;
use tegata_wire::{
    ANSWER_BYTES_MAX, AnswerBody, CloseReason, Hello, KIND_PING, KIND_STATUS, RequestHeader, Scan, decode_answer,
    encode_operation, encode_request, scan,
};

/// Longer than anything here takes.
const PATIENCE: Duration = Duration::from_secs(30);
/// What kernels may keep for a caller that does not read is theirs; the server's part is 64 KiB and one reading.
const UNREAD_BYTES_MAX: u64 = 4 << 20;

fn addr(server: &Server) -> SocketAddr {
    server.field("addr").parse().expect("an address")
}

fn request(kind: u8, request_id: u64) -> Vec<u8> {
    let mut out = Vec::new();
    encode_request(&RequestHeader { kind, request_id, ..RequestHeader::default() }, &mut out);
    out
}

#[test]
fn who_says_no_hello_is_told_and_closed() {
    let s = Stage::bare();
    let mut greeted = Link::open(addr(&s.server), false).expect("a connection");
    let mut silent = TcpStream::connect(addr(&s.server)).expect("the port is open");
    let mut chatty = TcpStream::connect(addr(&s.server)).expect("the port is open");
    chatty.write_all(&request(KIND_PING, 1)).expect("sent");
    for (stream, pongs) in [(&mut silent, 0), (&mut chatty, 1)] {
        stream.set_read_timeout(Some(PATIENCE)).expect("a time limit");
        let (mut bytes, mut answers) = (Vec::new(), Vec::new());
        stream.read_to_end(&mut bytes).expect("it is closed");
        let mut rest = &bytes[..];
        while let Scan::Frame { frame, rest: behind } = scan(rest, ANSWER_BYTES_MAX) {
            answers.push(decode_answer(frame).expect("an answer").body);
            rest = behind;
        }
        let Some(AnswerBody::Goodbye(goodbye)) = answers.pop() else { panic!("no goodbye: {answers:?}") };
        assert_eq!((goodbye.reason, answers.len()), (CloseReason::Idle, pongs));
    }
    greeted.send(&request(KIND_PING, 2)).expect("sent");
    assert!(matches!(greeted.receive().expect("it is still there").body, AnswerBody::Pong(_)));
}

/// Anonymous memory of the server in use, bytes.
fn memory(server: &Server) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", server.child.id())).expect("it runs");
    let line = status.lines().find_map(|l| l.strip_prefix("RssAnon:")).expect("a line");
    line.trim().trim_end_matches(" kB").parse::<u64>().expect("a number") << 10
}

#[test]
fn who_does_not_read_is_made_to_wait() {
    let mut s = Stage::bare();
    // Memory that is kept warm would count as in use.
    let config = s.file("tegata.toml", "warm_bytes = 0\nallow_volatile = true\n");
    s.server = Server::start(&s.folder.path().join("measured"), &["--config", config.to_str().expect("a name")]);
    for kind in [KIND_STATUS, KIND_PING] {
        let before = memory(&s.server);
        let mut stream = Link::open(addr(&s.server), false).expect("a connection").into_stream();
        stream.set_write_timeout(Some(Duration::from_millis(500))).expect("a time limit");
        stream.set_read_timeout(Some(PATIENCE)).expect("a time limit");
        let one = request(kind, 7);
        let many = one.repeat(1_000);
        let mut sent = 0;
        let end = loop {
            match stream.write(&many[sent % one.len()..]) {
                Ok(n) => sent += n,
                Err(e) => break e.kind(),
            }
        };
        assert!(matches!(end, ErrorKind::WouldBlock | ErrorKind::TimedOut), "it waits, and is not cut off: {end:?}");
        let grown = memory(&s.server).saturating_sub(before);
        assert!(grown < UNREAD_BYTES_MAX, "{grown} bytes for {sent} that were sent");
        s.done(&["shop", "list"]);
        let mut other = Link::open(addr(&s.server), false).expect("others come in");
        other.send(&request(KIND_PING, 1)).expect("sent");
        assert!(matches!(other.receive().expect("and are answered").body, AnswerBody::Pong(_)));
        // Once it reads, it has everything that it asked.
        let (mut buffer, mut chunk, mut answers) = (Vec::new(), vec![0; 1 << 16], 0);
        while answers < sent / one.len() {
            let n = stream.read(&mut chunk).expect("the next answers");
            assert!(n > 0, "{answers} answers");
            buffer.extend_from_slice(&chunk[..n]);
            let mut rest = &buffer[..];
            while let Scan::Frame { frame, rest: behind } = scan(rest, ANSWER_BYTES_MAX) {
                assert_eq!(decode_answer(frame).expect("an answer").header.request_id, 7);
                (rest, answers) = (behind, answers + 1);
            }
            buffer.drain(..buffer.len() - rest.len());
        }
    }
}

/// A server that stands still, until this is dropped.
struct Stopped(rustix::process::Pid);

impl Stopped {
    fn now(server: &Server) -> Self {
        let stopped = Self(rustix::process::Pid::from_child(&server.child));
        rustix::process::kill_process(stopped.0, rustix::process::Signal::STOP).expect("it runs");
        let stat = || std::fs::read_to_string(format!("/proc/{}/stat", server.child.id())).expect("it runs");
        while !stat().rsplit_once(") ").is_some_and(|(_, rest)| rest.starts_with('T')) {
            std::thread::yield_now();
        }
        stopped
    }
}

impl Drop for Stopped {
    fn drop(&mut self) {
        let _ = rustix::process::kill_process(self.0, rustix::process::Signal::CONT);
    }
}

#[test]
fn what_lay_there_while_the_server_stood_still_is_past_its_deadline() {
    let s = Stage::open();
    let mut till = Till::new(&s.server);
    let mut link = Link::open(addr(&s.server), false).expect("a connection");
    let stopped = Stopped::now(&s.server);
    let mut words = |request_id, deadline_ms, out: &mut Vec<u8>| {
        let a = till.payment("C1");
        let (account, key) = (*a.account.bytes(), *a.key.bytes());
        let header = RequestHeader { request_id, deadline_ms, account, key, namespace: 1, ..RequestHeader::default() };
        encode_operation(&header, &a.operation, out);
    };
    let mut out = Vec::new();
    words(1, 300, &mut out);
    words(2, 30_000, &mut out);
    link.send(&out).expect("the kernel takes it");
    // Another one comes meanwhile, and says all that it has to say at once.
    let mut newcomer = TcpStream::connect(addr(&s.server)).expect("the kernel accepts");
    let mut out = Vec::new();
    Hello { version_min: 1, version_max: 1, gateway: 1, role: 1, ..Hello::default() }.encode(0, &mut out);
    words(3, 300, &mut out);
    newcomer.write_all(&out).expect("the kernel takes it");
    // Until the first customer has gone.
    std::thread::sleep(Duration::from_millis(600));
    drop(stopped);
    let mut codes = [0; 2];
    for _ in &[1, 2] {
        let answer = link.receive().expect("an answer");
        let AnswerBody::Decision(d) = answer.body else { panic!("{answer:?}") };
        codes[answer.header.request_id as usize - 1] = d.code;
    }
    assert_eq!(codes, [u16::from(Code::DeadlinePassed.number()), u16::from(Code::Approved.number())]);
    let (mut told, mut chunk) = (Vec::new(), [0; 4_096]);
    newcomer.set_read_timeout(Some(PATIENCE)).expect("a time limit");
    let first = loop {
        let n = newcomer.read(&mut chunk).expect("an answer");
        assert!(n > 0, "it is answered");
        told.extend_from_slice(&chunk[..n]);
        if let Scan::Frame { rest, .. } = scan(&told, ANSWER_BYTES_MAX)
            && let Scan::Frame { frame, .. } = scan(rest, ANSWER_BYTES_MAX)
        {
            break decode_answer(frame).expect("what is behind the hello").body;
        }
    };
    let AnswerBody::Decision(d) = first else { panic!("{first:?}") };
    assert_eq!(d.code, u16::from(Code::DeadlinePassed.number()), "of one who was not there before, too");
    assert_eq!(s.balance("C1"), 5_000 - 2);
}

#[test]
fn however_much_lay_there_while_the_server_stood_still_all_of_it_is_past_its_deadline() {
    /// Nearly twice what is read at once.
    const PAYMENTS: u64 = 1_000;
    let folder = tempfile::tempdir().expect("a folder");
    for io_threads in ["0", "1"] {
        let config = folder.path().join("tegata.toml");
        std::fs::write(&config, format!("io_threads = {io_threads}\nallow_volatile = true\n")).expect("written");
        let config = ["--config", config.to_str().expect("UTF-8")];
        let s = Stage::on(Server::start(&folder.path().join(io_threads), &config));
        let mut till = Till::new(&s.server);
        let mut out = Vec::new();
        for request_id in 0..PAYMENTS {
            let a = till.payment("C1");
            let (account, key) = (*a.account.bytes(), *a.key.bytes());
            let header =
                RequestHeader { request_id, deadline_ms: 300, account, key, namespace: 1, ..RequestHeader::default() };
            encode_operation(&header, &a.operation, &mut out);
        }
        let mut link = Link::open(addr(&s.server), false).expect("a connection");
        let stopped = Stopped::now(&s.server);
        std::thread::scope(|scope| {
            scope.spawn(|| link.send(&out).expect("the kernel takes it, by and by"));
            // Until the customers have gone.
            std::thread::sleep(Duration::from_millis(600));
            drop(stopped);
        });
        for n in 0..PAYMENTS {
            let answer = link.receive().expect("an answer");
            let AnswerBody::Decision(d) = answer.body else { panic!("{answer:?}") };
            assert_eq!(d.code, u16::from(Code::DeadlinePassed.number()), "number {n} of {PAYMENTS}");
        }
        assert_eq!(s.balance("C1"), 5_000);
    }
}

#[test]
fn a_second_press_that_lay_there_while_the_server_stood_still_is_asked_about() {
    let folder = tempfile::tempdir().expect("a folder");
    let config = folder.path().join("tegata.toml");
    std::fs::write(&config, "ack_s = 1\nio_threads = 1\nallow_volatile = true\n").expect("written");
    let s = Stage::on(Server::start(&folder.path().join("data"), &["--config", config.to_str().expect("UTF-8")]));
    // Only what is in doubt is asked about.
    let rules = s.file("unguarded.toml", "id = 13\nguard_window_s = 0\n");
    s.done(&["programme", "create", rules.to_str().expect("UTF-8")]);
    s.done(&["issue", "C2", "5000000", "--programme", "13", "--expires", "2099-03-31"]);
    let mut till = Till::new(&s.server);
    let press = |link: &mut Link, what: &tegata_client::Attempt| {
        let (account, key) = (*what.account.bytes(), *tegata_client::new_key().bytes());
        let mut out = Vec::new();
        encode_operation(
            &RequestHeader { account, key, namespace: 1, ..RequestHeader::default() },
            &what.operation,
            &mut out,
        );
        link.send(&out).expect("the kernel takes it");
    };
    let told = |link: &mut Link| {
        let answer = link.receive().expect("an answer");
        let AnswerBody::Decision(d) = answer.body else { panic!("{answer:?}") };
        u8::try_from(d.code).ok().and_then(Code::from_u8)
    };
    let [mut first, mut second] = [(); 2].map(|()| Link::open(addr(&s.server), false).expect("a connection"));
    // Whether it is read before the next look at deliveries is chance.
    for _ in 0..3 {
        let what = till.payment("C2");
        press(&mut first, &what);
        assert_eq!(told(&mut first), Some(Code::Approved));
        let stopped = Stopped::now(&s.server);
        // So much is handed over before anybody else has his turn.
        let others: Vec<_> = (0..200).map(|_| till.payment("C2")).collect();
        press(&mut second, &what);
        others.iter().for_each(|other| press(&mut second, other));
        // Until the answer is no longer one that is in flight.
        std::thread::sleep(Duration::from_millis(1_100));
        drop(stopped);
        assert_eq!(told(&mut second), Some(Code::SuspectedDuplicate));
        assert!(others.iter().all(|_| told(&mut second) == Some(Code::Approved)));
    }
}
