//! The harness finds a server out that loses, doubles, takes behind a refusal, or tells two stories: each lie is put
//! between it and a real server, and must end with exit code 2 and the right name. Without a lie the same run passes.

use std::collections::BTreeSet;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use tegata_load::{Liars, Lie, Reconciliation, Scenario, Summary, Way, child_main, load_scenario, run_scenario};
use tegata_model::Operation;
use tegata_wire::{
    self as wire, AnswerBody, Body, DecisionBody, DigestBody, HistoryBody, HistoryEntry, KIND_DIGEST, KIND_HISTORY,
    answer_header, decode_answer, encode_answer, encode_decision_answer, request_header,
};

const KIND_DEBIT: u8 = 4;
/// One frame of so many is lied about.
const EVERY: u64 = 50;

fn main() {
    if let Some(code) = child_main() {
        std::process::exit(i32::from(code));
    }
    // A listing is asked for by some runners.
    if std::env::args().any(|a| a == "--list") {
        println!("lies: test");
        return;
    }
    let honest = run("honest", "", Liars::default());
    assert_eq!(honest.exit_code, 0, "{:?}", honest.why);
    assert!(honest.approved > 1_000 && honest.repeated > 100, "{honest:?}");
    caught("an acknowledged debit is lost", "", gateways(loses()), |r| r.lost);
    caught("a debit is answered before it is written, and a kill loses it", KILLS, gateways(early()), |r| r.lost);
    caught("a debit is taken twice", "", books(doubles()), |r| r.double);
    caught("a debit is taken under a key of somebody's own", "", gateways(invents()), |r| r.orphan);
    caught("a debit is taken after a decline", "", gateways(declines()), |r| r.ghost);
    caught("a repeat is told something else", "", gateways(changes()), |r| r.differs);
    caught("a repeat of what was approved is refused", "", gateways(refuses()), |r| r.differs);
    caught("another amount is taken than was answered", "", gateways(shrinks()), |r| r.wrong);
    caught("more is taken than there was", "", books(takes_too_much()), |r| r.negative);
    caught("a debit is taken after its deadline", "", books(takes_late()), |r| r.late);
    caught("a debit is taken after its fence", "", books(raises()), |r| r.risen);
    let forged = run("the digest is another than a replay's", "", books(forges_the_digest()));
    assert_eq!((forged.exit_code, forged.digest_equal, forged.conserved), (2, Some(false), true), "{:?}", forged.why);
    let invented = run("value comes from nowhere", "", books(invents_value()));
    assert_eq!((invented.exit_code, invented.digest_equal, invented.conserved), (2, Some(true), false));
}

const KILLS: &str = "[[fault]]\nkind = \"kill\"\nat_ms = 1000\nuntil_ms = 2500\ncount = 2\n";

fn scenario(faults: &str) -> Scenario {
    let text = format!(
        "about = \"A lie.\"\nconnections = 4\n[[phase]]\nseconds = 3\nrate = 2000\n[data]\ncoupons = 4000\nwallets = 1000\n\
         shops = 20\n[mix]\nhold = 0.1\nvoid = 0.3\ncharge = 0.05\nload = 0.2\nrefund = 0.05\n\
         [till]\npress_again = 0.2\nreverse = 0.05\n[server]\nwarm_bytes = 0\n{faults}"
    );
    let file = tempfile::NamedTempFile::new().expect("a file");
    std::fs::write(file.path(), text).expect("written");
    load_scenario(&file.path().to_string_lossy()).expect("a scenario")
}

fn run(name: &str, faults: &str, liars: Liars) -> Summary {
    let folder = tempfile::tempdir().expect("a folder");
    let stop = AtomicBool::new(false);
    // How busy the machine is has nothing to do with what is found.
    let run = run_scenario(name, &scenario(faults), None, None, liars, folder.path(), &stop, &|_| {}).expect("a run");
    let mut summary = run.summary;
    if summary.exit_code == 5 {
        assert!(summary.faults.iter().all(|f| f.fired), "{:?}", summary.faults);
        summary.exit_code = 0;
    }
    println!("{name}: exit {} {:?}", summary.exit_code, summary.reconciliation);
    summary
}

fn caught(name: &str, faults: &str, liars: Liars, count: fn(&Reconciliation) -> u64) {
    let summary = run(name, faults, liars);
    assert_eq!(summary.exit_code, 2, "{name}");
    assert!(count(&summary.reconciliation) > 0, "{name}: {:?}", summary.reconciliation);
}

fn gateways(lie: Box<Lie>) -> Liars {
    Liars { gateways: Some(lie), ledger: None }
}

fn books(lie: Box<Lie>) -> Liars {
    Liars { gateways: None, ledger: Some(lie) }
}

/// Debits of which one in so many is lied about.
fn chosen(frame: &[u8], count: &AtomicU64) -> bool {
    request_header(frame).is_ok_and(|h| h.kind == KIND_DEBIT)
        && count.fetch_add(1, Ordering::Relaxed).is_multiple_of(EVERY)
}

fn approval(frame: &[u8], back: &mut Vec<u8>) {
    let (Ok(h), Ok(wire::Request::Command(_, Operation::Debit(p)))) =
        (request_header(frame), wire::decode_request(frame))
    else {
        panic!("a debit");
    };
    let body = DecisionBody { amount: p.amount.get(), position: 1, ..DecisionBody::default() };
    encode_decision_answer(back, KIND_DEBIT, 0, 0, h.request_id, &body);
}

/// Another body in an answer.
fn told(frame: &[u8], on: &mut Vec<u8>, change: fn(&mut DecisionBody)) {
    let (header, body) = answer_header(frame).expect("an answer");
    let mut body = DecisionBody::decode(body).expect("a decision");
    change(&mut body);
    encode_decision_answer(on, header.kind, header.flags, header.number, header.request_id, &body);
}

fn approved_debit(frame: &[u8]) -> Option<(u64, u16)> {
    let (h, body) = answer_header(frame).ok()?;
    let d = DecisionBody::decode(body).ok().filter(|d| h.kind == KIND_DEBIT && d.code == 0)?;
    Some((d.position, h.flags))
}

fn loses() -> Box<Lie> {
    let count = AtomicU64::new(0);
    Box::new(move |way, frame, on, back| match way {
        Way::ToServer if chosen(frame, &count) => approval(frame, back),
        _ => on.extend_from_slice(frame),
    })
}

fn early() -> Box<Lie> {
    Box::new(move |way, frame, on, back| {
        if way == Way::ToServer && request_header(frame).is_ok_and(|h| h.kind == KIND_DEBIT) {
            approval(frame, back);
        }
        // The server's own answer comes too late for anyone to look at it.
        if way == Way::ToServer || approved_debit(frame).is_none() {
            on.extend_from_slice(frame);
        }
    })
}

fn doubles() -> Box<Lie> {
    Box::new(move |way, frame, on, _| {
        on.extend_from_slice(frame);
        if way == Way::ToClient && answer_header(frame).is_ok_and(|(h, _)| h.kind == KIND_HISTORY && h.flags != 0) {
            on.extend_from_slice(frame);
        }
    })
}

/// Another body in an answer to an operator.
fn booked<B: Body>(
    kind: u8,
    frame: &[u8],
    on: &mut Vec<u8>,
    change: fn(&mut B),
    of: fn(AnswerBody) -> Option<B>,
) -> bool {
    let Ok(answer) = decode_answer(frame) else { return false };
    let (header, Some(mut body)) = (answer.header, of(answer.body)) else { return false };
    change(&mut body);
    encode_answer(on, kind, header.flags, header.request_id, &body);
    true
}

fn in_history(change: fn(&mut HistoryBody)) -> Box<Lie> {
    Box::new(move |way, frame, on, _| {
        let of = |body| if let AnswerBody::History(h) = body { Some(h) } else { None };
        if way == Way::ToServer || !booked(KIND_HISTORY, frame, on, change, of) {
            on.extend_from_slice(frame);
        }
    })
}

/// More than any coupon has.
fn takes_too_much() -> Box<Lie> {
    in_history(|body| some_debits(body).for_each(|e| e.amount += 1 << 40))
}

fn takes_late() -> Box<Lie> {
    in_history(|body| some_debits(body).for_each(|e| e.at = e.deadline + 1))
}

fn some_debits(body: &mut HistoryBody) -> impl Iterator<Item = &mut HistoryEntry> {
    body.entries.iter_mut().filter(|e| e.kind == u16::from(KIND_DEBIT) && e.position.is_multiple_of(EVERY))
}

/// A fence stands before the debit in the log.
fn raises() -> Box<Lie> {
    in_history(|body| {
        let fence = |e: &HistoryEntry| HistoryEntry { kind: Operation::Fence.kind(), code: 153, ..e.clone() };
        let fences: Vec<HistoryEntry> = some_debits(body).map(|e| fence(e)).collect();
        body.entries.splice(0..0, fences);
    })
}

fn in_digest(change: fn(&mut DigestBody)) -> Box<Lie> {
    Box::new(move |way, frame, on, _| {
        let of = |body| if let AnswerBody::Digest(d) = body { Some(d) } else { None };
        if way == Way::ToServer || !booked(KIND_DIGEST, frame, on, change, of) {
            on.extend_from_slice(frame);
        }
    })
}

fn forges_the_digest() -> Box<Lie> {
    in_digest(|d| d.digest ^= 1)
}

/// Issued, and on the accounts: conserved in itself.
fn invents_value() -> Box<Lie> {
    in_digest(|d| d.programmes.iter_mut().for_each(|p| (p.sums[0], p.sums[3]) = (p.sums[0] + 1, p.sums[3] + 1)))
}

fn invents() -> Box<Lie> {
    let count = AtomicU64::new(0);
    Box::new(move |way, frame, on, _| {
        on.extend_from_slice(frame);
        if way == Way::ToServer && chosen(frame, &count) {
            let mut again = frame.to_vec();
            // The last bytes of the key.
            again[56..64].copy_from_slice(&count.load(Ordering::Relaxed).to_le_bytes());
            // A slot that nobody waits in.
            again[16..24].copy_from_slice(&u64::MAX.to_le_bytes());
            // Not alike: the guard would ask.
            again[96..104].copy_from_slice(&777_777u64.to_le_bytes());
            let crc = crc32c::crc32c(&again[8..]);
            again[4..8].copy_from_slice(&crc.to_le_bytes());
            on.extend_from_slice(&again);
        }
    })
}

fn declines() -> Box<Lie> {
    Box::new(move |way, frame, on, _| match (way, approved_debit(frame)) {
        (Way::ToClient, Some((position, _))) if position.is_multiple_of(EVERY) => told(frame, on, |d| d.code = 10),
        _ => on.extend_from_slice(frame),
    })
}

fn changes() -> Box<Lie> {
    in_repeats(|d| d.balance += 1)
}

fn refuses() -> Box<Lie> {
    in_repeats(|d| *d = DecisionBody { code: 113, ..DecisionBody::default() })
}

fn in_repeats(change: fn(&mut DecisionBody)) -> Box<Lie> {
    let seen = Mutex::new(BTreeSet::new());
    Box::new(move |way, frame, on, _| match (way, approved_debit(frame)) {
        (Way::ToClient, Some((position, _))) if !seen.lock().expect("no panic").insert(position) => {
            told(frame, on, change);
        }
        _ => on.extend_from_slice(frame),
    })
}

fn shrinks() -> Box<Lie> {
    Box::new(move |way, frame, on, _| match (way, approved_debit(frame)) {
        (Way::ToClient, Some((position, _))) if position.is_multiple_of(EVERY) => told(frame, on, |d| d.amount += 1),
        _ => on.extend_from_slice(frame),
    })
}
