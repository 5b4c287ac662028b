//! The doorbell: a publication is seen by the consumer's second look, or its bell is rung.

use super::{Model, Seen};
use loom::sync::Arc;
use loom::sync::atomic::{AtomicBool, Ordering, fence};
use loom::thread;
use tegata_sync::Doorbell;

pub(super) const MODEL: Model = Model {
    name: "doorbell",
    invariant: "a consumer that armed and found nothing is woken; at most one producer wakes it",
    bound: "2 producers, 1 publication each, 1 arm",
    outcomes: &["found by the second look", "woken"],
    shipped,
    twin_is: "no fence between arming and the second look",
    twin,
};

fn shipped(seen: &Seen) {
    let shared = Arc::new((Doorbell::new(), AtomicBool::new(false), AtomicBool::new(false)));
    let producer = |which: bool| {
        let shared = Arc::clone(&shared);
        thread::spawn(move || {
            let item = if which { &shared.1 } else { &shared.2 };
            item.store(true, Ordering::Relaxed);
            shared.0.ring(|| {})
        })
    };
    let (a, b) = (producer(true), producer(false));
    shared.0.arm();
    let found = (shared.1.load(Ordering::Relaxed), shared.2.load(Ordering::Relaxed));
    let rings = [a.join().expect("it ran through"), b.join().expect("it ran through")];
    let rung = rings.iter().filter(|r| **r).count();
    assert!(rung <= 1, "one arm, one wake-up");
    assert!(found != (false, false) || rung == 1, "a lost wake-up");
    if found != (false, false) {
        seen.note("found by the second look");
    }
    if rung == 1 {
        seen.note("woken");
    }
}

fn twin(_: &Seen) {
    let shared = Arc::new((AtomicBool::new(false), AtomicBool::new(false)));
    let theirs = Arc::clone(&shared);
    let producer = thread::spawn(move || {
        theirs.1.store(true, Ordering::Relaxed);
        fence(Ordering::SeqCst);
        theirs.0.load(Ordering::Relaxed)
    });
    shared.0.store(true, Ordering::Relaxed);
    let found = shared.1.load(Ordering::Relaxed);
    let rung = producer.join().expect("it ran through");
    assert!(found || rung, "a lost wake-up");
}
