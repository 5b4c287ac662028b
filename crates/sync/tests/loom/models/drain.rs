//! The latch: drained means that nobody is inside, and that what was done inside is seen.

use super::{Model, Seen};
use loom::cell::UnsafeCell;
use loom::sync::Arc;
use loom::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use loom::thread;
use tegata_sync::Drain;

pub(super) const MODEL: Model = Model {
    name: "drain",
    invariant: "drained: nobody is inside or enters, and what was done inside is seen",
    bound: "2 workers, 1 closer",
    outcomes: &["entered", "refused", "drained at once"],
    shipped,
    twin_is: "the closed flag and the count are two words",
    twin,
};

fn shipped(seen: &Seen) {
    let shared = Arc::new((Drain::new(), [UnsafeCell::new(0u32), UnsafeCell::new(0u32)]));
    let worker = |n: usize| {
        let (shared, seen) = (Arc::clone(&shared), seen.clone());
        thread::spawn(move || match shared.0.enter() {
            Some(pass) => {
                seen.note("entered");
                // SAFETY: each worker has a cell of its own while it is inside; loom checks the accesses.
                shared.1[n].with_mut(|work| unsafe { *work = 1 });
                shared.0.leave(pass);
                1
            }
            None => {
                seen.note("refused");
                0
            }
        })
    };
    let workers = [worker(0), worker(1)];
    shared.0.close();
    let drained = shared.0.is_drained();
    let done = || {
        // SAFETY: the latch is drained: nobody writes any more; loom checks the accesses.
        shared.1.iter().map(|work| work.with(|w| unsafe { *w })).sum::<u32>()
    };
    let at_once = drained.then(|| {
        seen.note("drained at once");
        assert!(shared.0.enter().is_none());
        done()
    });
    let entered: u32 = workers.map(|w| w.join().expect("it ran through")).iter().sum();
    assert!(at_once.is_none_or(|n| n == entered), "somebody worked on in a drained server");
    assert!(shared.0.is_drained());
    assert_eq!(done(), entered);
}

fn twin(_: &Seen) {
    let shared = Arc::new((AtomicBool::new(false), AtomicUsize::new(0), AtomicBool::new(false)));
    let theirs = Arc::clone(&shared);
    let worker = thread::spawn(move || {
        if !theirs.0.load(Ordering::SeqCst) {
            theirs.1.fetch_add(1, Ordering::SeqCst);
            assert!(!theirs.2.load(Ordering::SeqCst), "it works in a server that believes it is done");
            theirs.1.fetch_sub(1, Ordering::SeqCst);
        }
    });
    shared.0.store(true, Ordering::SeqCst);
    if shared.1.load(Ordering::SeqCst) == 0 {
        shared.2.store(true, Ordering::SeqCst);
    }
    worker.join().expect("it ran through");
}
