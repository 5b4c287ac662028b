//! The positions: every reader sees them in order.

use super::{Model, Seen};
use loom::sync::Arc;
use loom::thread;
use tegata_sync::{Mark, Positions};

pub(super) const MODEL: Model = Model {
    name: "positions",
    invariant: "every reader sees acked ≤ applied ≤ durable ≤ submitted ≤ accepted",
    bound: "2 writers of 2 positions, 2 steps, 1 reader",
    // loom 0.7.3 never shows a reader that comes after both writers; the unit test of threads does.
    outcomes: &["nothing yet", "between"],
    shipped,
    twin_is: "the reader looks at the first of the order first",
    twin,
};

/// Runs `read` beside a writer of each position. The last writer is this thread.
fn beside(read: impl FnOnce(&Positions) + Send + 'static) {
    let positions = Arc::new(Positions::new(0));
    let (a, b) = (Arc::clone(&positions), Arc::clone(&positions));
    let reader = thread::spawn(move || read(&a));
    let submit = thread::spawn(move || {
        let to = b.get(Mark::Accepted);
        b.advance(Mark::Submitted, to);
    });
    positions.advance(Mark::Accepted, 1);
    positions.advance(Mark::Accepted, 2);
    for thread in [reader, submit] {
        thread.join().expect("it ran through");
    }
}

fn shipped(seen: &Seen) {
    let seen = seen.clone();
    beside(move |positions| {
        let snapshot = positions.snapshot();
        assert_eq!(snapshot.check(), Ok(()), "{snapshot:?}");
        seen.note(if snapshot.accepted == 0 { "nothing yet" } else { "between" });
    });
}

fn twin(_: &Seen) {
    beside(|positions| {
        let accepted = positions.get(Mark::Accepted);
        let submitted = positions.get(Mark::Submitted);
        assert!(submitted <= accepted, "{submitted} > {accepted}");
    });
}
