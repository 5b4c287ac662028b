//! Two models: many producers on one sleeping consumer, and a server that drains.

use shuttle::sync::Arc;
use shuttle::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use shuttle::thread;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::ExitCode;
use tegata_sync::{Doorbell, Drain, channel};

const SCHEDULES: usize = 3_000;
const DEPTH: usize = 4;
const PRODUCERS: usize = 3;
const EACH: u32 = 12;
const WORKERS: usize = 6;

struct Model {
    name: &'static str,
    invariant: &'static str,
    bound: &'static str,
    shipped: fn(),
    twin_is: &'static str,
    twin: fn(),
}

const MODELS: &[Model] = &[
    Model {
        name: "consumer",
        invariant: "one consumer of many rings gets everything, in the order of each producer, and is never left asleep",
        bound: "3 producers, 12 items each, rings of 2",
        shipped: || consume(true),
        twin_is: "no second look after arming",
        twin: || consume(false),
    },
    Model {
        name: "server",
        invariant: "whoever entered a server is answered before it is drained",
        bound: "6 workers, 1 closer",
        shipped: serve,
        twin_is: "the closed flag and the count are two words",
        twin: serve_twin,
    },
];

pub(crate) fn run() -> ExitCode {
    let mut sound = true;
    for model in MODELS {
        shuttle::check_random(model.shipped, SCHEDULES);
        shuttle::check_pct(model.shipped, SCHEDULES, DEPTH);
        // What the twin prints when it fails is expected.
        let hook = std::panic::take_hook();
        std::panic::set_hook(Box::new(|_| {}));
        let caught = catch_unwind(AssertUnwindSafe(|| shuttle::check_random(model.twin, SCHEDULES))).is_err();
        std::panic::set_hook(hook);
        let verdict = if caught { "caught" } else { "NOT CAUGHT" };
        println!(
            "{}: {} | bound: {} | {} schedules | twin ({}): {verdict}",
            model.name,
            model.invariant,
            model.bound,
            2 * SCHEDULES,
            model.twin_is
        );
        sound &= caught;
    }
    if sound { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn consume(second_look: bool) {
    let bell = Arc::new(Doorbell::new());
    let consumer = thread::current();
    let (mut receivers, mut producers) = (Vec::new(), Vec::new());
    for _ in 0..PRODUCERS {
        let (mut tx, rx) = channel::<u32>(2);
        receivers.push((rx, 0));
        let (bell, consumer) = (Arc::clone(&bell), consumer.clone());
        producers.push(thread::spawn(move || {
            for n in 0..EACH {
                while tx.try_send(n).is_err() {
                    thread::yield_now();
                }
                bell.ring(|| consumer.unpark());
            }
        }));
    }
    let mut left = PRODUCERS as u32 * EACH;
    while left > 0 {
        let before = left;
        for (rx, next) in &mut receivers {
            while let Some(n) = rx.try_recv() {
                assert_eq!(n, *next, "in order");
                *next += 1;
                left -= 1;
            }
        }
        if left == before {
            bell.arm();
            if !second_look || receivers.iter().all(|(rx, _)| rx.is_empty()) {
                thread::park();
            }
            bell.disarm();
        }
    }
    for producer in producers {
        producer.join().expect("the producer ran through");
    }
}

fn serve() {
    let shared = Arc::new((Drain::new(), AtomicUsize::new(0), AtomicBool::new(false)));
    let workers: Vec<_> = (0..WORKERS)
        .map(|_| {
            let shared = Arc::clone(&shared);
            thread::spawn(move || {
                if let Some(pass) = shared.0.enter() {
                    assert!(!shared.2.load(Ordering::SeqCst), "it works in a server that believes it is done");
                    shared.1.fetch_add(1, Ordering::SeqCst);
                    shared.0.leave(pass);
                }
            })
        })
        .collect();
    shared.0.close();
    while !shared.0.is_drained() {
        thread::yield_now();
    }
    shared.2.store(true, Ordering::SeqCst);
    let answered = shared.1.load(Ordering::SeqCst);
    for worker in workers {
        worker.join().expect("the worker ran through");
    }
    assert_eq!(shared.1.load(Ordering::SeqCst), answered, "nobody was answered after the end");
}

fn serve_twin() {
    let shared = Arc::new((AtomicBool::new(false), AtomicUsize::new(0), AtomicBool::new(false)));
    let workers: Vec<_> = (0..WORKERS)
        .map(|_| {
            let shared = Arc::clone(&shared);
            thread::spawn(move || {
                if !shared.0.load(Ordering::SeqCst) {
                    shared.1.fetch_add(1, Ordering::SeqCst);
                    assert!(!shared.2.load(Ordering::SeqCst), "it works in a server that believes it is done");
                    shared.1.fetch_sub(1, Ordering::SeqCst);
                }
            })
        })
        .collect();
    shared.0.store(true, Ordering::SeqCst);
    while shared.1.load(Ordering::SeqCst) > 0 {
        thread::yield_now();
    }
    shared.2.store(true, Ordering::SeqCst);
    for worker in workers {
        worker.join().expect("the worker ran through");
    }
}
