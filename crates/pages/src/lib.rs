//! The global allocator of the binaries: what is small comes from the system's allocator; what is large is aligned to
//! 2 MiB and offered to the kernel as huge pages.
//!
//! The engine's tables are far larger than what the processor can translate with 4 KiB pages: without this, most of
//! the time of a payment is spent in page walks. Where the kernel forbids huge pages nothing changes but speed.
//!
//! Only binaries name this crate; libraries allocate as they always do.
#![allow(unsafe_code, reason = "a global allocator is unsafe by nature")]

use std::alloc::{GlobalAlloc, Layout, System};

/// Blocks of at least so many bytes are aligned and rounded up to whole huge pages.
const LARGE_BYTES: usize = 1 << 20;
/// A huge page on x86-64 and on most arm64 kernels.
const HUGE_BYTES: usize = 2 << 20;

/// The allocator. A binary says `#[global_allocator] static ALLOCATOR: HugePages = HugePages;`.
#[derive(Debug)]
pub struct HugePages;

fn widened(layout: Layout) -> Option<Layout> {
    if layout.size() < LARGE_BYTES || layout.align() > HUGE_BYTES {
        return None;
    }
    Layout::from_size_align(layout.size().checked_next_multiple_of(HUGE_BYTES)?, HUGE_BYTES).ok()
}

// SAFETY: every block comes from `System` and goes back to it with the very layout that it was asked for: `widened` is
// a function of the caller's layout alone. The advice does not change what the memory holds.
unsafe impl GlobalAlloc for HugePages {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let Some(wide) = widened(layout) else {
            // SAFETY: the caller's own promise.
            return unsafe { System.alloc(layout) };
        };
        // SAFETY: `wide` has a size above zero, since it is at least `LARGE_BYTES`.
        let block = unsafe { System.alloc(wide) };
        if !block.is_null() {
            // SAFETY: the range was just allocated and is ours; a refused advice is no failure.
            let _ = unsafe { libc::madvise(block.cast(), wide.size(), libc::MADV_HUGEPAGE) };
        }
        block
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        // SAFETY: allocated above with the same layout.
        unsafe { System.dealloc(block, widened(layout).unwrap_or(layout)) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn large_blocks_are_whole_huge_pages_and_small_ones_are_left_alone() {
        let layout = |n| Layout::from_size_align(n, 64).expect("a layout");
        assert_eq!(widened(layout(LARGE_BYTES - 1)), None);
        let wide = widened(layout(LARGE_BYTES)).expect("large");
        assert_eq!((wide.size(), wide.align()), (HUGE_BYTES, HUGE_BYTES));
        assert_eq!(widened(layout(3 << 20)).map(|l| l.size()), Some(4 << 20));
    }

    #[test]
    fn a_large_block_can_be_written_grown_and_freed() {
        let layout = Layout::from_size_align(3 << 20, 64).expect("a layout");
        // SAFETY: a valid layout; the block is used within its size and freed with the layout of its last growth.
        unsafe {
            let block = HugePages.alloc(layout);
            assert!(!block.is_null());
            assert_eq!(block as usize % HUGE_BYTES, 0);
            block.write_bytes(7, layout.size());
            let grown = HugePages.realloc(block, layout, 5 << 20);
            assert_eq!(*grown.add((3 << 20) - 1), 7, "what was there is there");
            HugePages.dealloc(grown, Layout::from_size_align(5 << 20, 64).expect("a layout"));
        }
    }
}
