//! Ring and doorbell together: a consumer that sleeps by parking gets everything that was sent.

use super::{Model, Seen};
use loom::thread;
use std::sync::Arc;
use tegata_sync::{Doorbell, channel};

pub(super) const MODEL: Model = Model {
    name: "parking",
    invariant: "a consumer that arms, looks again and parks is never left asleep with an item in the ring",
    bound: "1 item, 1 producer, consumer parks at most twice",
    outcomes: &["never slept", "slept"],
    shipped,
    twin_is: "no second look after arming",
    twin,
};

fn shipped(seen: &Seen) {
    consume(seen, true);
}

fn twin(seen: &Seen) {
    consume(seen, false);
}

fn consume(seen: &Seen, second_look: bool) {
    let (mut tx, mut rx) = channel::<u32>(1);
    let bell = loom::sync::Arc::new(Doorbell::new());
    let slept = Arc::new(std::sync::atomic::AtomicBool::new(false));
    let (armed, dozed) = (loom::sync::Arc::clone(&bell), Arc::clone(&slept));
    let consumer = thread::spawn(move || {
        loop {
            if let Some(item) = rx.try_recv() {
                return item;
            }
            armed.arm();
            if !second_look || rx.is_empty() {
                dozed.store(true, std::sync::atomic::Ordering::Relaxed);
                thread::park();
            }
            armed.disarm();
        }
    });
    tx.try_send(7).expect("there is room");
    bell.ring(|| consumer.thread().unpark());
    assert_eq!(consumer.join().expect("it ran through"), 7);
    let slept = slept.load(std::sync::atomic::Ordering::Relaxed);
    seen.note(if slept { "slept" } else { "never slept" });
}
