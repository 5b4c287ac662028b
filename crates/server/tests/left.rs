//! Callers who ask, say goodbye and never read what they are told, and such as never end what they begin to ask: none of
//! them keeps its connection for longer than one that is idle may.

use std::io::Write;
use std::net::TcpStream;
use std::time::{Duration, Instant};
use tegata_server::{Config, Running, start};
use tegata_wire::{FRAME_BYTES_MAX, Hello, KIND_GOODBYE, KIND_PING, RequestHeader, encode_request};

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
        ..Config::default()
    };
    start(config).expect("it starts")
}

fn hello() -> Vec<u8> {
    let mut words = Vec::new();
    Hello { version_min: 1, version_max: 1, gateway: 1, role: 1, ..Hello::default() }.encode(0, &mut words);
    words
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
            let mut words = hello();
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
    let mut words = hello();
    words.extend_from_slice(&(FRAME_BYTES_MAX as u32).to_le_bytes());
    caller.write_all(&words).expect("written");
    let began = Instant::now();
    // A byte now and then, far more often than one has to be heard of.
    while caller.write_all(&[0]).is_ok() {
        assert!(began.elapsed() < PATIENCE, "it is still there");
        std::thread::sleep(Duration::from_millis(u64::from(IDLE_MS) / 20));
    }
    assert!(began.elapsed() >= Duration::from_millis(u64::from(IDLE_MS)), "it was idle for too short");
    running.stop().expect("it stops");
}
