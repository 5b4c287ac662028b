//! A thread of the generator whose clock stands where a test puts it.

use super::*;
use std::net::TcpListener;
use std::sync::Mutex;
use tegata_wire::{HelloAnswer, encode_hello_answer};

/// A server that greets, and says nothing more.
fn silent() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let addr = listener.local_addr().expect("bound");
    std::thread::spawn(move || {
        for mut caller in listener.incoming().flatten() {
            let mut out = Vec::new();
            encode_hello_answer(&mut out, 0, &HelloAnswer { version: 1, credits: 64, ..HelloAnswer::default() });
            let _ = io::Write::write_all(&mut caller, &out);
            std::thread::spawn(move || io::copy(&mut caller, &mut io::sink()));
        }
    });
    addr
}

/// Over one connection, of tills like these: a payment is due in every ms of 50.
fn with_driver(depth: usize, till: &str, check: impl FnOnce(&mut Driver<'_>)) {
    let text = format!(
        "about = \"\"\nconnections = 1\ndepth = {depth}\n[[phase]]\nseconds = 0.05\nrate = 1_000\narrivals = \"constant\"\n\
         [till]\n{till}"
    );
    let scenario = crate::scenario::parse("a test", &text).expect("a scenario");
    let (dir, stop, seconds) = (tempfile::tempdir().expect("a folder"), AtomicBool::new(false), Mutex::default());
    let (coupons, shops) = (scenario.data.coupons, scenario.data.shops);
    let common = Common {
        scenario: &scenario,
        addr: silent(),
        dir: dir.path(),
        keys: Keys::new(0),
        data: DataSet { coupons, shops, ..DataSet::default() },
        begin: Instant::now(),
        stop: &stop,
        seconds: &seconds,
    };
    std::thread::scope(|scope| {
        let mut d = Driver::new(&common, 0, Connector::start(scope, common.addr)).expect("a driver");
        let made = d.connector.wait().expect("greeted");
        d.welcome(made).expect("watched");
        check(&mut d);
    });
}

/// What is due by then is sent.
fn send_at(d: &mut Driver<'_>, ms: u64) {
    d.at = ms * MILLI;
    d.send_due();
}

#[test]
fn a_payment_that_nobody_answered_is_among_the_slowest() {
    with_driver(10, "deadline_ms = 100\nrepeat_after_ms = 0\n", |d| {
        send_at(d, 49);
        send_at(d, 149);
        assert_eq!((d.tally.offered, d.tally.response.len()), (50, 40), "given up without a send");
        d.at = 209 * MILLI;
        d.pass_time();
        assert_eq!((d.tally.response.len(), d.tick().response.len(), d.tick().unanswered), (50, 50, 50));
        assert!(d.tally.response.min() > 99 * MILLI, "for as long as their customers waited");
    });
}

#[test]
fn a_payment_that_was_fenced_after_its_deadline_is_counted_once() {
    with_driver(1, "deadline_ms = 100\nrepeat_after_ms = 0\ncash = 1\n", |d| {
        send_at(d, 0);
        d.at = 200 * MILLI;
        d.pass_time();
        hear(d, 153);
        assert_eq!((d.tally.response.len(), d.tick().response.len(), d.tick().rejected), (1, 1, 1));
    });
}

/// The first payment is answered.
fn hear(d: &mut Driver<'_>, code: u16) {
    let decision = tegata_wire::DecisionBody { code, ..Default::default() };
    d.hear(&crate::socket::Heard { request: request(0, 0), count: 1, decision });
}

#[test]
fn what_the_generator_let_grow_old_is_late_by_its_own_fault() {
    with_driver(64, "gateway_waits_ms = 20\n", |d| {
        send_at(d, 0);
        send_at(d, 40);
        assert_eq!(d.tally.held_back, 20, "due from 1 to 20 ms");
        assert_eq!(d.tally.late, 20 + 9, "those, and what was sent after more than 10 ms");
    });
}

#[test]
fn what_found_no_connection_with_room_is_not_the_generators_fault() {
    with_driver(1, "gateway_waits_ms = 20\nrepeat_after_ms = 0\n", |d| {
        (0..=70).for_each(|ms| send_at(d, ms));
        assert_eq!((d.tally.offered, d.tally.held_back, d.tally.late), (50, 49, 0));
    });
}

#[test]
fn a_customer_is_told_what_the_till_shows_and_not_what_it_tries_again() {
    let told = |till: &str, codes: &[u16]| {
        let mut told = 0;
        with_driver(1, till, |d| {
            send_at(d, 0);
            codes.iter().for_each(|code| hear(d, *code));
            told = d.tally.told;
        });
        told
    };
    let (refused, approved) = (110, 0);
    assert_eq!(told("", &[refused]), 0, "it tries again");
    assert_eq!(told("", &[refused, approved]), 1);
    assert_eq!(told("retries = 0\n", &[refused]), 1, "it does not");
    assert_eq!(told("retries = 1\n", &[refused, refused]), 1, "not a second time");
    assert_eq!(told("", &[crate::codes::UNKNOWN, approved]), 1, "once");
}
