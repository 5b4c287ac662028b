//! A bounded ring from one thread to one other. It never blocks and never allocates after it was made; whoever finds
//! it full or empty decides what to do. Waking a sleeping receiver is the job of [`crate::Doorbell`].
//!
//! ```text
//!            head (receiver writes)          tail (sender writes)
//!              ▼                               ▼
//!   [ free ] [ item ] [ item ] [ item ] [ free ] …      slot = index & mask; indices run on and wrap
//!              └───────── tail − head ────────┘  ≤ capacity
//! ```
//!
//! Invariants:
//! - a slot between head and tail holds an item and belongs to the receiver; every other slot is empty and belongs to
//!   the sender; ownership moves with the Release store of an index and the Acquire load on the other side;
//! - each end keeps its own index as a plain field and publishes it. It never reads its own atomic: that saves a load,
//!   and loom explores fewer interleavings than there are when a thread loads an atomic that only it writes;
//! - each end keeps what it last saw of the other's index, and looks again only when that says full or empty. So in
//!   a busy ring the two cache lines move once per lap and not once per item.

use crate::facade::{Arc, AtomicBool, AtomicUsize, Ordering, UnsafeCell};
use crossbeam::utils::CachePadded;
use std::mem::MaybeUninit;

/// The most slots a ring can have. Far above any use; it keeps the differences of wrapping indices unambiguous.
const CAPACITY_MAX: usize = 1 << 30;

struct Shared<T> {
    head: CachePadded<AtomicUsize>,
    tail: CachePadded<AtomicUsize>,
    sender_gone: AtomicBool,
    receiver_gone: AtomicBool,
    mask: usize,
    slots: Box<[UnsafeCell<MaybeUninit<T>>]>,
}

// SAFETY: a slot is touched by one end at a time, see the invariants of this file; items only move between threads,
// so `T: Send` is enough.
unsafe impl<T: Send> Sync for Shared<T> {}
// SAFETY: as above; the last owner drops what is left, wherever it runs.
unsafe impl<T: Send> Send for Shared<T> {}

/// The sending end. One thread at a time: every method that sends takes `&mut self`.
pub struct Sender<T> {
    shared: Arc<Shared<T>>,
    tail: usize,
    head_seen: usize,
}

/// The receiving end. One thread at a time: every method that receives takes `&mut self`.
pub struct Receiver<T> {
    shared: Arc<Shared<T>>,
    head: usize,
    tail_seen: usize,
}

/// A ring of `capacity` slots, rounded up to a power of two.
///
/// # Panics
/// When `capacity` is 0 or above 2^30.
#[must_use]
pub fn channel<T>(capacity: usize) -> (Sender<T>, Receiver<T>) {
    channel_at(capacity, 0)
}

/// As [`channel`], with both indices at `start`: tests begin just below the wrap.
fn channel_at<T>(capacity: usize, start: usize) -> (Sender<T>, Receiver<T>) {
    assert!(capacity > 0, "a ring without slots could never carry anything");
    assert!(capacity <= CAPACITY_MAX, "a ring is a hand-over, not a store");
    let size = capacity.next_power_of_two();
    let shared = Arc::new(Shared {
        head: CachePadded::new(AtomicUsize::new(start)),
        tail: CachePadded::new(AtomicUsize::new(start)),
        sender_gone: AtomicBool::new(false),
        receiver_gone: AtomicBool::new(false),
        mask: size - 1,
        slots: (0..size).map(|_| UnsafeCell::new(MaybeUninit::uninit())).collect(),
    });
    let sender = Sender { shared: Arc::clone(&shared), tail: start, head_seen: start };
    (sender, Receiver { shared, head: start, tail_seen: start })
}

impl<T> Shared<T> {
    #[inline]
    fn slot(&self, index: usize) -> &UnsafeCell<MaybeUninit<T>> {
        &self.slots[index & self.mask]
    }
}

impl<T> Sender<T> {
    /// Hands `item` over. Gives it back when the ring is full.
    ///
    /// A ring whose receiver is gone still accepts what fits and drops it at its end, as it would have dropped items
    /// that were sent just before; see [`Sender::is_disconnected`].
    #[inline]
    pub fn try_send(&mut self, item: T) -> Result<(), T> {
        if self.tail.wrapping_sub(self.head_seen) > self.shared.mask {
            // Acquire: the receiver has moved the item out of a slot before it gives the slot back.
            self.head_seen = self.shared.head.load(Ordering::Acquire);
            if self.tail.wrapping_sub(self.head_seen) > self.shared.mask {
                return Err(item);
            }
        }
        self.shared.slot(self.tail).with_mut(|slot| {
            // SAFETY: fewer than `capacity` items lie between head and tail, so this slot is the sender's, and empty.
            unsafe { (*slot).write(item) };
        });
        self.tail = self.tail.wrapping_add(1);
        // Release: who sees the new tail sees the item.
        self.shared.tail.store(self.tail, Ordering::Release);
        Ok(())
    }

    /// True when there was no room at this instant. A sender that is about to wait asks this after it said so.
    #[inline]
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.tail.wrapping_sub(self.head_seen) > self.shared.mask
            && self.tail.wrapping_sub(self.shared.head.load(Ordering::Acquire)) > self.shared.mask
    }

    /// True when nobody will receive any more.
    #[must_use]
    pub fn is_disconnected(&self) -> bool {
        self.shared.receiver_gone.load(Ordering::Acquire)
    }

    /// How many slots the ring has.
    #[must_use]
    pub fn capacity(&self) -> usize {
        self.shared.mask + 1
    }
}

impl<T> Receiver<T> {
    /// The oldest item, if there is one.
    #[inline]
    pub fn try_recv(&mut self) -> Option<T> {
        if self.head == self.tail_seen {
            // Acquire: pairs with the Release in `try_send`; without it the item could still be on its way.
            self.tail_seen = self.shared.tail.load(Ordering::Acquire);
            if self.head == self.tail_seen {
                return None;
            }
        }
        let item = self.shared.slot(self.head).with_mut(|slot| {
            // SAFETY: head < tail, so this slot is the receiver's and holds an item; head moves on below, so that it
            // is read out once.
            unsafe { (*slot).assume_init_read() }
        });
        self.head = self.head.wrapping_add(1);
        // Release: the slot is given back after the item was moved out.
        self.shared.head.store(self.head, Ordering::Release);
        Some(item)
    }

    /// True when there is nothing to receive at this instant. A receiver that is about to sleep asks this after it
    /// armed its doorbell.
    #[inline]
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.head == self.tail_seen && self.head == self.shared.tail.load(Ordering::Acquire)
    }

    /// True when the sender is gone and everything it sent was received.
    #[must_use]
    pub fn is_disconnected(&self) -> bool {
        // In this order: the flag is set after the last item, so once it is seen an empty ring stays empty. The other
        // way round, an item sent between the two looks would be lost.
        self.shared.sender_gone.load(Ordering::Acquire) && self.is_empty()
    }
}

impl<T> Drop for Sender<T> {
    fn drop(&mut self) {
        self.shared.sender_gone.store(true, Ordering::Release);
    }
}

impl<T> Drop for Receiver<T> {
    fn drop(&mut self) {
        self.shared.receiver_gone.store(true, Ordering::Release);
    }
}

impl<T> Drop for Shared<T> {
    fn drop(&mut self) {
        // Relaxed is enough: dropping the last `Arc` comes after everything that either end did.
        let tail = self.tail.load(Ordering::Relaxed);
        let mut head = self.head.load(Ordering::Relaxed);
        while head != tail {
            self.slot(head).with_mut(|slot| {
                // SAFETY: between head and tail there are items, and nobody else is left to take them.
                unsafe { (*slot).assume_init_drop() };
            });
            head = head.wrapping_add(1);
        }
    }
}

impl<T> std::fmt::Debug for Sender<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Sender").field("capacity", &self.capacity()).field("tail", &self.tail).finish_non_exhaustive()
    }
}

impl<T> std::fmt::Debug for Receiver<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Receiver").field("head", &self.head).finish_non_exhaustive()
    }
}

#[cfg(all(test, not(any(tegata_loom, tegata_shuttle))))]
mod tests {
    use super::*;

    #[test]
    fn full_is_handed_back_and_room_comes_back() {
        let (mut tx, mut rx) = channel(2);
        assert_eq!((tx.try_send(1), tx.try_send(2), tx.try_send(3)), (Ok(()), Ok(()), Err(3)));
        assert_eq!(rx.try_recv(), Some(1));
        assert_eq!(tx.try_send(3), Ok(()));
        assert_eq!((rx.try_recv(), rx.try_recv(), rx.try_recv()), (Some(2), Some(3), None));
        assert!(rx.is_empty());
    }

    #[test]
    fn capacity_rounds_up() {
        for (asked, got) in [(1, 1), (2, 2), (3, 4), (5, 8), (1_000, 1_024)] {
            assert_eq!(channel::<u8>(asked).0.capacity(), got);
        }
    }

    #[test]
    #[should_panic(expected = "without slots")]
    fn no_slots_is_a_mistake() {
        let _ = channel::<u8>(0);
    }

    #[test]
    fn indices_wrap() {
        let (mut tx, mut rx) = channel_at(4, usize::MAX - 2);
        for lap in 0..5 {
            for i in 0..4 {
                assert_eq!(tx.try_send(lap * 4 + i), Ok(()));
            }
            assert_eq!(tx.try_send(99), Err(99));
            for i in 0..4 {
                assert_eq!(rx.try_recv(), Some(lap * 4 + i));
            }
            assert_eq!(rx.try_recv(), None);
        }
    }

    #[test]
    fn each_end_sees_the_other_go() {
        let (mut tx, mut rx) = channel(2);
        assert!(!tx.is_disconnected());
        assert_eq!(tx.try_send(7), Ok(()));
        drop(tx);
        assert!(!rx.is_disconnected(), "an item is left");
        assert_eq!(rx.try_recv(), Some(7));
        assert!(rx.is_disconnected());

        let (tx, rx) = channel::<u8>(2);
        drop(rx);
        assert!(tx.is_disconnected());
    }

    #[test]
    fn what_is_left_is_dropped_once() {
        let witness = Arc::new(());
        let (mut tx, mut rx) = channel(4);
        for _ in 0..4 {
            assert!(tx.try_send(Arc::clone(&witness)).is_ok());
        }
        drop(rx.try_recv());
        assert_eq!(Arc::strong_count(&witness), 4);
        drop((tx, rx));
        assert_eq!(Arc::strong_count(&witness), 1);
    }

    #[test]
    fn two_threads_keep_order_and_content() {
        const COUNT: u32 = 200_000;
        let (mut tx, mut rx) = channel::<Vec<u8>>(64);
        let sender = std::thread::spawn(move || {
            for i in 0..COUNT {
                let mut bundle = i.to_le_bytes().to_vec();
                while let Err(back) = tx.try_send(bundle) {
                    bundle = back;
                    std::thread::yield_now();
                }
            }
        });
        let mut expected = 0u32;
        while !rx.is_disconnected() {
            match rx.try_recv() {
                Some(bundle) => {
                    assert_eq!(bundle, expected.to_le_bytes());
                    expected += 1;
                }
                None => std::thread::yield_now(),
            }
        }
        assert_eq!(expected, COUNT);
        sender.join().expect("the sender ran through");
    }
}
