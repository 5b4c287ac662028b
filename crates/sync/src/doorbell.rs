//! The doorbell of a consumer that may sleep: it makes the wake-up system call happen only when the consumer sleeps
//! or is about to. It does not sleep and does not wake: both ends bring their own means.
//!
//! ```text
//! consumer                                producer
//!   arm():  sleeping = true                 publish (a ring's try_send)
//!           fence ─────────────┐            ring(): fence ─────────────┐
//!   look at every queue again  │                    sleeping?          │
//!     something: disarm, work  └─ one of the two    yes, first to see: wake
//!     nothing:   block            sees the other ──────────────────────┘
//!   disarm(): sleeping = false
//! ```
//!
//! Invariants:
//! - of the consumer's second look and the producer's look at the flag at least one sees the other: that is what the
//!   two fences are for, and no weaker order gives it (store, then load of another place);
//! - for one `arm` at most one producer wakes;
//! - a wake-up may come late, when the consumer has already found the work. The consumer's means of blocking must
//!   keep it (an eventfd, a waker and a parked thread do), and it may cost one idle turn.

use crate::facade::{AtomicBool, Ordering, fence};
use crossbeam::utils::CachePadded;

/// One consumer's doorbell, shared with all of its producers.
#[derive(Debug)]
pub struct Doorbell {
    // Padded: every publication of every producer reads it, so it must not share a line with something that changes.
    sleeping: CachePadded<AtomicBool>,
}

impl Doorbell {
    /// A doorbell whose consumer is awake.
    #[must_use]
    pub fn new() -> Self {
        Self { sleeping: CachePadded::new(AtomicBool::new(false)) }
    }

    /// Consumer: says that it is about to sleep. After this it looks at every queue once more, and blocks only when all
    /// are empty.
    #[inline]
    pub fn arm(&self) {
        self.sleeping.store(true, Ordering::Relaxed);
        // Pairs with the fence in `ring`.
        fence(Ordering::SeqCst);
    }

    /// Consumer: says that it is awake, whether it slept or not.
    #[inline]
    pub fn disarm(&self) {
        // Relaxed: it publishes nothing. A producer that still reads `true` rings once for nothing.
        self.sleeping.store(false, Ordering::Relaxed);
    }

    /// Producer, after it published: calls `wake` when the consumer sleeps or is about to, and nobody else has woken it.
    /// Returns whether it did.
    #[inline]
    pub fn ring(&self, wake: impl FnOnce()) -> bool {
        // Pairs with the fence in `arm`. It must stand between the publication and the look at the flag.
        fence(Ordering::SeqCst);
        // The load first: while the consumer is awake its flag stays shared in every cache, and nobody writes.
        if self.sleeping.load(Ordering::Relaxed) && self.sleeping.swap(false, Ordering::Relaxed) {
            wake();
            return true;
        }
        false
    }
}

impl Default for Doorbell {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(all(test, not(any(tegata_loom, tegata_shuttle))))]
mod tests {
    use super::*;
    use crate::channel;
    use std::sync::Arc;
    use std::sync::atomic::AtomicU64;

    #[test]
    fn rings_once_for_one_arm() {
        let bell = Doorbell::new();
        assert!(!bell.ring(|| panic!("the consumer is awake")));
        bell.arm();
        let mut woken = 0;
        assert!(bell.ring(|| woken += 1));
        assert!(!bell.ring(|| woken += 1));
        assert_eq!(woken, 1);
        bell.arm();
        bell.disarm();
        assert!(!bell.ring(|| panic!("the consumer found work by itself")));
    }

    #[test]
    fn a_sleeping_thread_gets_everything() {
        const EACH: u64 = 50_000;
        let bell = Arc::new(Doorbell::new());
        let wakes = Arc::new(AtomicU64::new(0));
        let consumer = std::thread::current();
        let mut receivers = Vec::new();
        let mut producers = Vec::new();
        for _ in 0..3 {
            let (mut tx, rx) = channel::<u64>(32);
            receivers.push(rx);
            let (bell, wakes, consumer) = (Arc::clone(&bell), Arc::clone(&wakes), consumer.clone());
            producers.push(std::thread::spawn(move || {
                for i in 1..=EACH {
                    while tx.try_send(i).is_err() {
                        std::thread::yield_now();
                    }
                    bell.ring(|| {
                        wakes.fetch_add(1, Ordering::Relaxed);
                        consumer.unpark();
                    });
                }
            }));
        }
        let (mut count, mut sum, mut arms) = (0, 0, 0);
        while count < 3 * EACH {
            let before = count;
            for rx in &mut receivers {
                while let Some(i) = rx.try_recv() {
                    count += 1;
                    sum += i;
                }
            }
            if count == before {
                bell.arm();
                arms += 1;
                if receivers.iter().all(crate::Receiver::is_empty) {
                    std::thread::park();
                }
                bell.disarm();
            }
        }
        for producer in producers {
            producer.join().expect("the producer ran through");
        }
        assert_eq!(sum, 3 * EACH * (EACH + 1) / 2);
        assert!(wakes.load(Ordering::Relaxed) <= arms, "at most one wake-up for one arm");
    }
}
