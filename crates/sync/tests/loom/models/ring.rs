//! The ring: what was sent comes out once, whole and in order.

use super::{Model, Seen};
use loom::cell::UnsafeCell;
use loom::sync::Arc;
use loom::sync::atomic::{AtomicUsize, Ordering};
use loom::thread;
use tegata_sync::channel;

pub(super) const MODEL: Model = Model {
    name: "ring",
    invariant: "items come out once, whole, in order; none is leaked",
    bound: "3 items, 2 slots, 1 sender, 1 receiver",
    outcomes: &["empty", "full", "all", "some left in the ring"],
    shipped,
    twin_is: "the tail is published without Release",
    twin,
};

fn shipped(seen: &Seen) {
    let (mut tx, mut rx) = channel::<loom::alloc::Track<u32>>(2);
    let noted = seen.clone();
    let sender = thread::spawn(move || {
        let mut sent = 0;
        for n in 0..3 {
            match tx.try_send(loom::alloc::Track::new(n)) {
                Ok(()) => sent += 1,
                Err(_) => {
                    noted.note("full");
                    break;
                }
            }
        }
        sent
    });
    let mut got = 0;
    for _ in 0..3 {
        match rx.try_recv() {
            Some(n) => {
                assert_eq!(n.into_inner(), got, "in order");
                got += 1;
            }
            None => seen.note("empty"),
        }
    }
    let sent = sender.join().expect("the sender ran through");
    assert!(got <= sent);
    seen.note(if got == 3 { "all" } else { "some left in the ring" });
    while let Some(n) = rx.try_recv() {
        assert_eq!(n.into_inner(), got, "in order");
        got += 1;
    }
    assert_eq!(got, sent, "nothing is lost");
}

/// One slot's hand-over, as the ring does it, but for the order.
fn twin(_: &Seen) {
    let shared = Arc::new((AtomicUsize::new(0), UnsafeCell::new(0u32)));
    let theirs = Arc::clone(&shared);
    let sender = thread::spawn(move || {
        // SAFETY: the slot is the sender's until the tail moves; loom checks the accesses.
        theirs.1.with_mut(|slot| unsafe { *slot = 7 });
        theirs.0.store(1, Ordering::Relaxed);
    });
    if shared.0.load(Ordering::Acquire) == 1 {
        // SAFETY: it would be the receiver's, had the tail been published with Release.
        let item = shared.1.with(|slot| unsafe { *slot });
        assert_eq!(item, 7);
    }
    sender.join().expect("the sender ran through");
}
