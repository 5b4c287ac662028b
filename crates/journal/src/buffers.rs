//! Memory that the kernel may read while writes are in flight: block-aligned, allocated once, never moved.
#![allow(unsafe_code, reason = "aligned memory that is shared with the kernel cannot be had from Vec")]

use crate::layout::BLOCK;
use std::alloc::{Layout, alloc_zeroed, dealloc, handle_alloc_error};

/// Equal buffers, side by side.
#[derive(Debug)]
pub(crate) struct Buffers {
    start: *mut u8,
    bytes_each: usize,
    count: usize,
}

// SAFETY: the memory is owned by this value alone; nothing about it depends on the thread.
unsafe impl Send for Buffers {}

impl Buffers {
    /// `count` buffers of `bytes_each`, a multiple of the block size.
    pub(crate) fn new(count: usize, bytes_each: usize) -> Self {
        assert!(bytes_each.is_multiple_of(BLOCK) && bytes_each > 0 && count > 0, "buffers are whole blocks");
        let layout = Self::layout(count, bytes_each);
        // SAFETY: the layout has a size above zero, asserted above.
        let start = unsafe { alloc_zeroed(layout) };
        if start.is_null() {
            handle_alloc_error(layout);
        }
        Self { start, bytes_each, count }
    }

    fn layout(count: usize, bytes_each: usize) -> Layout {
        let bytes = count.checked_mul(bytes_each).expect("options are checked");
        Layout::from_size_align(bytes, BLOCK).expect("options are checked")
    }

    /// A buffer to fill. Not while a write of it is in flight: the writer hands out free ones only.
    pub(crate) fn get_mut(&mut self, i: usize) -> &mut [u8] {
        assert!(i < self.count, "a buffer's number comes from the free list");
        // SAFETY: in bounds by the assertion; `&mut self` makes it the only reference.
        unsafe { std::slice::from_raw_parts_mut(self.start.add(i * self.bytes_each), self.bytes_each) }
    }

    /// Where a buffer is, for the kernel.
    pub(crate) fn address(&self, i: usize) -> *const u8 {
        assert!(i < self.count, "a buffer's number comes from the free list");
        // SAFETY: in bounds by the assertion.
        unsafe { self.start.add(i * self.bytes_each) }
    }

    /// All buffers, as the kernel wants to know them.
    pub(crate) fn iovecs(&self) -> Vec<libc::iovec> {
        (0..self.count)
            .map(|i| libc::iovec { iov_base: self.address(i).cast_mut().cast(), iov_len: self.bytes_each })
            .collect()
    }
}

impl Drop for Buffers {
    fn drop(&mut self) {
        // SAFETY: allocated in `new` with the same layout.
        unsafe { dealloc(self.start, Self::layout(self.count, self.bytes_each)) }
    }
}
