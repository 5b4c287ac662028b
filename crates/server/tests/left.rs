//! Callers who ask and never read what they are told, and such as never end what they begin to ask: none of them keeps
//! its connection for longer than one that is idle may.

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};
use tegata_model::{Amount, Code, Key, LotKind, Operation, Programme, ProgrammeId, Timestamp};
use tegata_server::{Config, Running, start};
use tegata_wire::{
    ANSWER_BYTES_MAX, AnswerBody, CloseReason, FRAME_BYTES_MAX, Hello, HistoryQuery, KIND_GOODBYE, KIND_PING,
    RequestHeader, Scan, decode_answer, encode_history, encode_operation, encode_request, scan,
};

/// Pings of each caller: somewhere among them the last answers fit into the server's buffers but not into the sockets'.
const PINGS: std::ops::Range<usize> = 1..90;
const PINGS_STEP: usize = 2_500;
/// As short as a setting may be.
const IDLE_MS: u32 = 1_000;
/// A machine that is busy with other tests may take so long.
const PATIENCE: Duration = Duration::from_secs(60);

fn server(folder: &std::path::Path) -> Running {
    let any = "127.0.0.1:0".parse().expect("an address");
    let config = Config {
        data: folder.join("data"),
        listen: any,
        http: None,
        allow_volatile: true,
        idle_ms: IDLE_MS,
        warm_bytes: 0,
        // However slow the machine is, what fills the books is not refused for a queue.
        queue_window_ms: 60_000,
        ..Config::default()
    };
    start(config).expect("it starts")
}

const GATEWAY: u8 = 1;
const OPERATOR: u8 = 2;

fn hello(role: u8) -> Vec<u8> {
    let mut words = Vec::new();
    Hello { version_min: 1, version_max: 1, gateway: 1, role, ..Hello::default() }.encode(0, &mut words);
    words
}

/// Reads on until `wanted` says that all is there; what came before is in `buffer`.
fn read_until(stream: &mut TcpStream, buffer: &mut Vec<u8>, mut wanted: impl FnMut(AnswerBody) -> bool) {
    let mut chunk = vec![0; 1 << 16];
    loop {
        let mut rest = &buffer[..];
        while let Scan::Frame { frame, rest: behind } = scan(rest, ANSWER_BYTES_MAX) {
            rest = behind;
            if wanted(decode_answer(frame).expect("an answer").body) {
                return;
            }
        }
        *buffer = rest.to_vec();
        let n = stream.read(&mut chunk).expect("it is told");
        assert!(n > 0, "the connection ended");
        buffer.extend_from_slice(&chunk[..n]);
    }
}

/// Issues so many coupons.
fn fill(running: &Running, coupons: u32) {
    let mut office = TcpStream::connect(running.banner().operate).expect("connected");
    let (id, now) = (ProgrammeId::new(13), tegata_server::clock::now());
    let mut words = hello(OPERATOR);
    let mut put = |n: u32, account: &str, operation| {
        let mut header = RequestHeader { request_id: u64::from(n), namespace: 1, ..RequestHeader::default() };
        header.account[..account.len()].copy_from_slice(account.as_bytes());
        header.key = *Key::new(now, u128::from(n) << 72).bytes();
        encode_operation(&header, &operation, &mut words);
    };
    put(0, "", Operation::Programme(Programme::with_defaults(id)));
    for n in 1..=coupons {
        let issue = Operation::Issue {
            programme: id,
            amount: Amount::new(100).expect("an amount"),
            expires_at: Timestamp::ZERO,
            valid_from: Timestamp::ZERO,
            stay_end_day: 0,
            kind: LotKind::Promo,
        };
        put(n, &format!("C{n}"), issue);
    }
    let mut answers = office.try_clone().expect("its other half");
    let writer = std::thread::spawn(move || office.write_all(&words).expect("written"));
    let mut left = coupons + 1;
    read_until(&mut answers, &mut Vec::new(), |body| {
        let decided = matches!(body, AnswerBody::Decision(d) if d.code == 0);
        left -= u32::from(decided);
        assert!(decided || matches!(body, AnswerBody::Hello(_)), "{body:?}");
        left == 0
    });
    writer.join().expect("it wrote");
}

#[test]
fn nobody_who_never_reads_keeps_its_connection() {
    let folder = tempfile::tempdir().expect("a folder");
    let running = server(folder.path());
    let mut request = Vec::new();
    let kind = |kind| RequestHeader { kind, ..RequestHeader::default() };
    encode_request(&kind(KIND_PING), &mut request);
    let callers: Vec<TcpStream> = PINGS
        .map(|n| {
            let mut words = hello(GATEWAY);
            words.extend_from_slice(&request.repeat(n * PINGS_STEP));
            encode_request(&kind(KIND_GOODBYE), &mut words);
            let mut caller = TcpStream::connect(running.banner().listen).expect("connected");
            rustix::net::sockopt::set_socket_recv_buffer_size(&caller, 4_096).expect("set");
            caller.set_write_timeout(Some(Duration::from_millis(100))).expect("set");
            // The server stops reading a caller who does not read: the rest is never taken.
            let _ = caller.write_all(&words);
            caller
        })
        .collect();
    let began = Instant::now();
    while !running.sessions().is_empty() {
        assert!(began.elapsed() < PATIENCE, "{} of {} are still there", running.sessions().len(), callers.len());
        std::thread::yield_now();
    }
    drop(callers);
    running.stop().expect("it stops");
}

#[test]
fn nobody_who_never_ends_a_frame_keeps_its_connection() {
    let folder = tempfile::tempdir().expect("a folder");
    let running = server(folder.path());
    let mut caller = TcpStream::connect(running.banner().listen).expect("connected");
    let mut words = hello(GATEWAY);
    words.extend_from_slice(&(FRAME_BYTES_MAX as u32).to_le_bytes());
    caller.write_all(&words).expect("written");
    let mut pace = caller.try_clone().expect("its other half");
    pace.set_read_timeout(Some(Duration::from_millis(u64::from(IDLE_MS) / 20))).expect("set");
    let (began, mut told, mut chunk) = (Instant::now(), Vec::new(), [0; 256]);
    // A byte as often as nothing is said, which is far more often than one has to be heard of.
    let said = loop {
        match pace.read(&mut chunk) {
            Ok(0) => panic!("it ended without a word"),
            Ok(n) => told.extend_from_slice(&chunk[..n]),
            Err(e) if matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                assert!(began.elapsed() < PATIENCE, "it is still there");
                caller.write_all(&[0]).expect("it is still there");
            }
            Err(e) => panic!("it was cut off: {e}"),
        }
        if let Scan::Frame { rest, .. } = scan(&told, ANSWER_BYTES_MAX)
            && let Scan::Frame { frame, .. } = scan(rest, ANSWER_BYTES_MAX)
        {
            break decode_answer(frame).expect("what is behind the hello").body;
        }
    };
    assert!(matches!(said, AnswerBody::Goodbye(g) if g.reason == CloseReason::Idle), "{said:?}");
    running.stop().expect("it stops");
}

#[test]
fn nobody_who_never_reads_a_history_keeps_others_from_theirs() {
    let folder = tempfile::tempdir().expect("a folder");
    let running = server(folder.path());
    // More than the kernel keeps for one that does not read: 4 MiB and some.
    fill(&running, 60_000);
    let mut words = hello(OPERATOR);
    encode_history(&RequestHeader { request_id: 1, ..RequestHeader::default() }, &HistoryQuery::default(), &mut words);
    let ask = || {
        let mut caller = TcpStream::connect(running.banner().operate).expect("connected");
        caller.write_all(&words).expect("written");
        caller
    };
    let silent = [ask(), ask()];
    for caller in &silent {
        rustix::net::sockopt::set_socket_recv_buffer_size(caller, 4_096).expect("set");
    }
    let began = Instant::now();
    // Both places are taken, until one of them is given up.
    let (mut refused, mut entries) = (0, 0);
    while entries == 0 {
        assert!(began.elapsed() < PATIENCE, "refused {refused} times");
        read_until(&mut ask(), &mut Vec::new(), |body| match body {
            AnswerBody::History(history) => {
                entries += history.entries.len();
                history.entries.is_empty()
            }
            AnswerBody::Decision(d) => {
                assert_eq!(d.code, u16::from(Code::Overloaded.number()));
                refused += 1;
                true
            }
            _ => false,
        });
    }
    assert!(refused > 0 && entries > 60_000, "{refused}, {entries}");
    drop(silent);
    running.stop().expect("it stops");
}
