//! The breaker across threads: one owns it, and says in one word what whoever reads frames need not look into. The word
//! may be old: the owner decides, for every request, by the breaker as it is then.

use super::{Model, Seen};
use loom::sync::Arc;
use loom::sync::atomic::{AtomicU8, Ordering};
use loom::thread;
use tegata_model::Timestamp;
use tegata_node::{Breaker, BreakerState, Event, Policy};
use tegata_sync::channel;

pub(super) const MODEL: Model = Model {
    name: "breaker",
    invariant: "what arrives while the breaker is closed is not refused, however old the word is that its reader saw",
    bound: "1 reader, 2 requests, the breaker opens, probes and closes once",
    outcomes: &["refused by its header", "refused although looked into", "served although not looked into", "served"],
    shipped,
    twin_is: "the reader refuses by the word itself",
    twin,
};

const POLICY: Policy = Policy { open_at: 1, close_below: 1, window_us: 0, rest_us: 0, stage_us: 0, probes: 1 };

/// Steps of the owner's breaker: each is told to the readers.
const STEPS: [Event; 3] = [Event::Bad, Event::Rested, Event::Proved];

fn step(breaker: &mut Breaker, event: Event, word: &AtomicU8) {
    breaker.take(event, Timestamp::ZERO).expect("it leads somewhere");
    word.store(u8::from(breaker.state().is_tripped()), Ordering::Relaxed);
}

fn shipped(seen: &Seen) {
    let word = Arc::new(AtomicU8::new(0));
    let theirs = Arc::clone(&word);
    let (mut tx, mut rx) = channel::<bool>(2);
    let reader = thread::spawn(move || {
        for _ in 0..2 {
            let looked = theirs.load(Ordering::Relaxed) == 0;
            tx.try_send(looked).expect("there is room for both");
        }
    });
    let mut breaker = Breaker::new(POLICY, Timestamp::ZERO);
    let mut answered = 0;
    let mut take = |breaker: &mut Breaker, looked: bool| {
        answered += 1;
        // Half open, a probe is let through.
        let refused =
            breaker.state().is_tripped() || breaker.state() == BreakerState::HalfOpen && !breaker.take_probe();
        seen.note(match (refused, looked) {
            (true, false) => "refused by its header",
            (true, true) => "refused although looked into",
            (false, false) => "served although not looked into",
            (false, true) => "served",
        });
        refused
    };
    for event in STEPS {
        step(&mut breaker, event, &word);
        if let Some(looked) = rx.try_recv() {
            take(&mut breaker, looked);
        }
    }
    reader.join().expect("the reader ran through");
    assert_eq!(breaker.state(), BreakerState::Closed);
    assert_eq!(word.load(Ordering::Relaxed), 0, "the last word is the last state");
    while let Some(looked) = rx.try_recv() {
        assert!(!take(&mut breaker, looked), "refused by a closed breaker");
    }
    assert_eq!(answered, 2, "every request is answered once");
}

fn twin(_: &Seen) {
    let word = Arc::new(AtomicU8::new(0));
    let is_over = Arc::new(AtomicU8::new(0));
    let (theirs, over) = (Arc::clone(&word), Arc::clone(&is_over));
    let reader = thread::spawn(move || {
        let refused = theirs.load(Ordering::Relaxed) != 0;
        // Whoever asks now asks a server that serves everything.
        let closed = over.load(Ordering::Acquire) == 1;
        (refused, closed)
    });
    let mut breaker = Breaker::new(POLICY, Timestamp::ZERO);
    for event in STEPS {
        step(&mut breaker, event, &word);
    }
    is_over.store(1, Ordering::Release);
    let (refused, closed) = reader.join().expect("the reader ran through");
    assert!(!(refused && closed), "refused by a closed breaker");
}
