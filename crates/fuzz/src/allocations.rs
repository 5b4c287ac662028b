//! An allocator that counts what its thread asks for: a length from outside that decides an allocation shows here.
#![allow(unsafe_code, reason = "an allocator is unsafe by nature; this one hands everything to the system's")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

/// Counts, and hands on. A program that holds targets against their bounds installs it.
#[derive(Debug)]
pub struct Counting;

/// What a thread asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Spent {
    /// How often.
    pub count: usize,
    /// The largest at once, in bytes.
    pub largest: usize,
}

thread_local! {
    static COUNT: Cell<usize> = const { Cell::new(0) };
    static LARGEST: Cell<usize> = const { Cell::new(0) };
}

fn note(bytes: usize) {
    // A thread that is ending has no counters any more.
    let _ = COUNT.try_with(|c| c.set(c.get() + 1));
    let _ = LARGEST.try_with(|l| l.set(l.get().max(bytes)));
}

/// Begins to count on this thread; returns where.
#[must_use]
pub fn reset() -> usize {
    LARGEST.with(|l| l.set(0));
    COUNT.with(Cell::get)
}

/// What was asked for since.
#[must_use]
pub fn since(before: usize) -> Spent {
    Spent { count: COUNT.with(Cell::get) - before, largest: LARGEST.with(Cell::get) }
}

// SAFETY: every call is handed to the system's allocator unchanged; counting touches no memory of the heap.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        note(layout.size());
        // SAFETY: the caller's promises are those of the system's allocator.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        note(layout.size());
        // SAFETY: as above.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, at: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        note(size);
        // SAFETY: as above.
        unsafe { System.realloc(at, layout, size) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        // SAFETY: as above.
        unsafe { System.dealloc(at, layout) }
    }
}
