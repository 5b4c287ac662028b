//! The global allocator of the binaries: what is small comes from the system's allocator; what is large is aligned to
//! 2 MiB and offered to the kernel as huge pages.
//!
//! The engine's tables are far larger than what the processor can translate with 4 KiB pages: without this, most of
//! the time of a payment is spent in page walks. Where the kernel forbids huge pages nothing changes but speed.
//!
//! Memory that is touched for the first time must be cleared by the kernel, and on a virtual machine often be found by
//! its host first: hundreds of microseconds for a huge page, in the middle of somebody's payment. [`keep_warm`] keeps a
//! stock of blocks that were touched before, filled by a thread of its own.
//!
//! Only binaries name this crate; libraries allocate as they always do.
#![allow(unsafe_code, reason = "a global allocator is unsafe by nature")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::io;
use std::ptr::null_mut;
use std::sync::atomic::{AtomicPtr, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

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

/// Blocks that the stock can hold: 4 GiB.
const STOCK_BLOCKS: usize = 2_048;
/// How often the stock is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(5);

/// Blocks of one huge page each that were touched before. A slot is taken and filled by a swap, so that a block is
/// never in two hands.
static STOCK: [AtomicPtr<u8>; STOCK_BLOCKS] = [const { AtomicPtr::new(null_mut()) }; STOCK_BLOCKS];
/// Blocks that the stock should hold.
static WANTED: AtomicUsize = AtomicUsize::new(0);
/// Where the next search for a block begins.
static HAND: AtomicUsize = AtomicUsize::new(0);

const BLOCK: Layout = match Layout::from_size_align(HUGE_BYTES, HUGE_BYTES) {
    Ok(layout) => layout,
    Err(_) => panic!("a power of two"),
};

fn take_from_stock() -> *mut u8 {
    let wanted = WANTED.load(Ordering::Relaxed);
    let hand = HAND.load(Ordering::Relaxed);
    for i in 0..wanted {
        let at = (hand + i) % wanted;
        let slot = &STOCK[at];
        if !slot.load(Ordering::Relaxed).is_null() {
            // Acquire: what the filler wrote when it touched the block is seen before the block is used.
            let block = slot.swap(null_mut(), Ordering::Acquire);
            if !block.is_null() {
                HAND.store(at + 1, Ordering::Relaxed);
                return block;
            }
        }
    }
    null_mut()
}

fn give_to_stock(block: *mut u8) -> bool {
    let wanted = WANTED.load(Ordering::Relaxed);
    let free =
        |slot: &&AtomicPtr<u8>| slot.compare_exchange(null_mut(), block, Ordering::Release, Ordering::Relaxed).is_ok();
    STOCK[..wanted].iter().any(|slot| free(&slot))
}

fn fresh(layout: Layout) -> *mut u8 {
    // SAFETY: the layout has a size above zero, since it is a whole number of huge pages.
    let block = unsafe { System.alloc(layout) };
    if !block.is_null() {
        // SAFETY: the range was just allocated and is ours; a refused advice is no failure.
        let _ = unsafe { libc::madvise(block.cast(), layout.size(), libc::MADV_HUGEPAGE) };
    }
    block
}

/// Bytes of small blocks that are touched before: what buffers and queues of a full server take.
const SMALL_BYTES: usize = 16 << 20;
const SMALL_BLOCK: Layout = match Layout::from_size_align(16 << 10, 16) {
    Ok(layout) => layout,
    Err(_) => panic!("a power of two"),
};

/// Touches memory for small blocks, and has the system's allocator keep it.
fn warm_small() {
    // SAFETY: numbers only; called before there are other threads. With one arena, what is touched here is for all.
    unsafe {
        libc::mallopt(libc::M_ARENA_MAX, 1);
        libc::mallopt(libc::M_TRIM_THRESHOLD, i32::MAX);
    }
    let blocks: Vec<*mut u8> = (0..SMALL_BYTES / SMALL_BLOCK.size())
        // SAFETY: the layout has a size.
        .map(|_| unsafe { System.alloc(SMALL_BLOCK) })
        .take_while(|block| !block.is_null())
        .collect();
    for block in blocks {
        // SAFETY: the block is ours, this large, and was allocated by `System` with this layout.
        unsafe {
            block.write_bytes(1, SMALL_BLOCK.size());
            System.dealloc(block, SMALL_BLOCK);
        }
    }
}

/// Keeps `bytes` of memory in stock, rounded down to whole huge pages and at most 4 GiB, from now on. The thread that
/// fills the stock gives way to every other.
pub fn keep_warm(bytes: usize) -> io::Result<()> {
    let wanted = (bytes / HUGE_BYTES).min(STOCK_BLOCKS);
    if wanted == 0 || WANTED.swap(wanted, Ordering::Relaxed) > 0 {
        return Ok(());
    }
    warm_small();
    std::thread::Builder::new().name("warm-pages".into()).spawn(move || {
        // SAFETY: setpriority takes numbers only; with 0 it means the calling thread.
        let _ = unsafe { libc::setpriority(libc::PRIO_PROCESS, 0, 19) };
        // From then on payments are made: half of the time is theirs.
        let mut full_once = false;
        loop {
            // Filled up when a quarter is left, so that it seldom competes with whoever uses it all the time.
            let left = STOCK[..wanted].iter().filter(|s| !s.load(Ordering::Relaxed).is_null()).count();
            let due = left <= wanted / 4;
            for slot in STOCK[..wanted].iter().filter(|_| due) {
                if slot.load(Ordering::Relaxed).is_null() {
                    let began = Instant::now();
                    let block = fresh(BLOCK);
                    if block.is_null() {
                        break;
                    }
                    // SAFETY: the block is ours and this large.
                    unsafe { block.write_bytes(0, HUGE_BYTES) };
                    if full_once {
                        std::thread::sleep(began.elapsed());
                    }
                    if slot.compare_exchange(null_mut(), block, Ordering::Release, Ordering::Relaxed).is_err() {
                        // SAFETY: allocated by `System` with this layout.
                        unsafe { System.dealloc(block, BLOCK) };
                    }
                }
            }
            full_once = true;
            std::thread::sleep(LOOK_EVERY);
        }
    })?;
    Ok(())
}

/// Blocks until the stock is full once. For whoever measures, or would rather be ready later than slower.
pub fn wait_until_warm() {
    let full = || STOCK[..WANTED.load(Ordering::Relaxed)].iter().all(|s| !s.load(Ordering::Relaxed).is_null());
    while !full() {
        std::thread::sleep(LOOK_EVERY);
    }
}

// SAFETY: every block comes from `System` and goes back to it, or into the stock, with the layout that `widened` makes
// of the caller's: a function of that layout alone. Blocks in stock have one layout, and a block leaves it by a swap.
unsafe impl GlobalAlloc for HugePages {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        match widened(layout) {
            // SAFETY: the caller's own promise.
            None => unsafe { System.alloc(layout) },
            Some(wide) if wide == BLOCK => match take_from_stock() {
                block if block.is_null() => fresh(BLOCK),
                block => block,
            },
            Some(wide) => fresh(wide),
        }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        match widened(layout) {
            Some(wide) if wide == BLOCK && give_to_stock(block) => {}
            // SAFETY: allocated above with the same layout.
            wide => unsafe { System.dealloc(block, wide.unwrap_or(layout)) },
        }
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

    #[test]
    fn the_stock_gives_each_block_once() {
        keep_warm(64 << 20).expect("a thread");
        let layout = Layout::from_size_align(HUGE_BYTES, 64).expect("a layout");
        let take = || {
            let blocks: Vec<usize> = (0..100)
                .map(|i| {
                    // SAFETY: a valid layout; each block is written, checked, and freed once.
                    let block = unsafe { HugePages.alloc(layout) };
                    assert!(!block.is_null());
                    // SAFETY: as above.
                    unsafe { block.cast::<u64>().write(i) };
                    block as usize
                })
                .collect();
            for (i, block) in blocks.iter().enumerate() {
                let block = *block as *mut u8;
                // SAFETY: as above.
                assert_eq!(unsafe { block.cast::<u64>().read() }, i as u64, "nobody else wrote there");
                // SAFETY: as above.
                unsafe { HugePages.dealloc(block, layout) };
            }
        };
        std::thread::scope(|s| {
            for _ in 0..4 {
                s.spawn(|| (0..20).for_each(|_| take()));
            }
        });
    }
}
