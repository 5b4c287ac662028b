//! A disk that fails: nothing is acknowledged any more, the server ends with a code of its own, and what it had
//! acknowledged is there.
//!
//! The disk is a file on a file system in memory. What is zero in it has been given back, and the space been taken by
//! something else: what is written there next fails, and what was written before stays.

use crate::disk::{Disk, dig_holes, make_image};
use crate::stage::{Server, Stage};
use crate::till::Till;
use std::time::{Duration, Instant};
use tegata_client::{Attempt, Link, LinkError, Outcome};
use tegata_wire::{AnswerBody, CloseReason, RequestHeader, encode_operation};

const IN_FLIGHT: usize = 64;

/// Sends payments at once and hears what comes until the connection ends: requests with a decision, and the goodbye.
fn send_all(server: &Server, attempts: &[Attempt]) -> (Vec<(u64, u16)>, Option<CloseReason>) {
    let mut link = Link::open(server.field("addr").parse().expect("an address"), false).expect("a connection");
    let mut out = Vec::new();
    for (i, a) in attempts.iter().enumerate() {
        let header = RequestHeader {
            request_id: i as u64,
            deadline_ms: 30_000,
            account: *a.account.bytes(),
            key: *a.key.bytes(),
            namespace: 1,
            ..RequestHeader::default()
        };
        encode_operation(&header, &a.operation, &mut out);
    }
    link.send(&out).expect("sent");
    let (mut answers, mut goodbye) = (Vec::new(), None);
    loop {
        match link.receive() {
            Ok(answer) => match answer.body {
                AnswerBody::Decision(d) => answers.push((answer.header.request_id, d.code)),
                AnswerBody::Goodbye(g) => goodbye = Some(g.reason),
                other => panic!("{other:?}"),
            },
            Err(LinkError::Io(_)) => return (answers, goodbye),
            Err(e) => panic!("{e}"),
        }
    }
}

fn fails_and_loses_nothing(more: &str) {
    let Some(memory) = Disk::in_memory(128 << 20) else { return };
    let image = memory.path.join("image");
    make_image(&image, 96 << 20);
    let Some(disk) = Disk::in_file(&image) else { return };
    let settings = tempfile::NamedTempFile::new().expect("a file");
    let text = format!("segment_bytes = 4194304\nsnapshot_bytes = 0\n{more}\n");
    std::fs::write(settings.path(), text).expect("it is written");
    let flags = ["--config", settings.path().to_str().expect("UTF-8")];
    let data = disk.path.join("data");
    let mut s = Stage::on(Server::start(&data, &flags));
    s.done(&["issue", "RICH", "900000000", "--programme", "13"]);
    let mut till = Till::new(&s.server);
    for _ in 0..200 {
        let payment = till.payment("RICH");
        assert!(matches!(till.decide(payment), Outcome::Approved(_)));
    }
    // Until the segments that are made ahead are made: their zeros must not be what fails.
    let deadline = Instant::now() + Duration::from_secs(30);
    let segments = || std::fs::read_dir(data.join("journal")).expect("a folder").flatten().map(|e| e.path());
    while segments().filter(|p| p.extension().is_some_and(|x| x == "seg")).count() < 3 {
        assert!(Instant::now() < deadline, "segments are made ahead");
    }
    disk.flush();
    dig_holes(&image);
    let ballast = memory.fill();

    let attempts: Vec<Attempt> = (0..IN_FLIGHT).map(|_| till.payment("RICH")).collect();
    let (answers, goodbye) = send_all(&s.server, &attempts);
    assert_eq!(s.server.child.wait().expect("it ends by itself").code(), Some(20));
    assert!(answers.iter().any(|(_, code)| *code == 140), "what was in flight is unknown: {answers:?}");
    assert_eq!(goodbye, Some(CloseReason::Failed));

    // The image as it is, on a disk that works.
    ballast.remove();
    drop(disk);
    let healthy = tempfile::tempdir().expect("a folder");
    let copy = healthy.path().join("image");
    std::fs::copy(&image, &copy).expect("it is copied");
    let Some(disk) = Disk::in_file(&copy) else { return };
    s.server = Server::start(&disk.path.join("data"), &flags);
    till.connect(&s.server);
    till.check();
    for (i, attempt) in attempts.iter().enumerate() {
        let approved = answers.iter().any(|(request, code)| (*request, *code) == (i as u64, 0));
        match till.decide(*attempt) {
            Outcome::Approved(d) => assert!(d.replayed || !approved, "an approved payment was lost: {d:?}"),
            other => panic!("{other:?}"),
        }
    }
    let sum: u64 = till.approved.iter().map(|(_, d)| d.decision.amount.get()).sum();
    assert_eq!(s.balance("RICH"), 900_000_000 - sum, "each payment took its amount once");
    assert_eq!(s.server.stop(), Some(0));
}

#[test]
fn it_ends_a_server_that_has_many_writes_in_flight() {
    fails_and_loses_nothing("io_threads = 2");
}

#[test]
fn it_ends_a_server_that_does_all_on_one_thread() {
    fails_and_loses_nothing("io_threads = 0\njournal_io = \"pwritev2\"");
}
