//! The tracer's own heap, on memory of its own: what `#[global_allocator]` gives out.
//!
//! Size classes of powers of two, each a lock-free stack of free blocks. There is no lock, so a
//! child of `fork` inherits none that is held. Never touches the host's heap.

use core::alloc::{GlobalAlloc, Layout};
use core::ptr::null_mut;
use core::sync::atomic::{AtomicU64, Ordering};

use crate::system_call;

/// The allocator of this library.
#[derive(Debug)]
pub(crate) struct OwnMemory;

const SMALLEST_SHIFT: u32 = 4;
const LARGEST_SHIFT: u32 = 16;
const CLASSES: usize = (LARGEST_SHIFT - SMALLEST_SHIFT + 1) as usize;
const CHUNK_BYTES: usize = 1 << 20;

/// A stack of free blocks: the address of the first in 48 bits, a counter in 16 bits above it
/// that changes with every push and pop, so that a compare-and-swap notices reuse.
struct FreeList(AtomicU64);

const ADDRESS: u64 = (1 << 48) - 1;

impl FreeList {
    fn push(&self, block: *mut u64) {
        let mut head = self.0.load(Ordering::Relaxed);
        loop {
            // SAFETY: the block is free, so it is ours, and holds at least 16 bytes.
            unsafe { AtomicU64::from_ptr(block) }.store(head & ADDRESS, Ordering::Relaxed);
            let new = (block as u64) | (head & !ADDRESS).wrapping_add(1 << 48);
            // Release: who pops the block sees the link that was stored in it.
            match self.0.compare_exchange_weak(head, new, Ordering::Release, Ordering::Relaxed) {
                Ok(_) => return,
                Err(now) => head = now,
            }
        }
    }

    fn pop(&self) -> *mut u8 {
        // Acquire: pairs with the release of the push that stored the link.
        let mut head = self.0.load(Ordering::Acquire);
        loop {
            let block = (head & ADDRESS) as *mut u64;
            if block.is_null() {
                return null_mut();
            }
            // SAFETY: chunks are never unmapped, so the address stays readable even if another
            // thread has popped the block meanwhile; the counter then fails the exchange.
            let next = unsafe { AtomicU64::from_ptr(block) }.load(Ordering::Relaxed);
            let new = (next & ADDRESS) | (head & !ADDRESS).wrapping_add(1 << 48);
            match self.0.compare_exchange_weak(head, new, Ordering::Acquire, Ordering::Acquire) {
                Ok(_) => return block.cast(),
                Err(now) => head = now,
            }
        }
    }
}

static FREE: [FreeList; CLASSES] = [const { FreeList(AtomicU64::new(0)) }; CLASSES];

/// The class for a layout, and its block size as a power of two; `None` for large blocks.
fn class_of(layout: Layout) -> Option<(&'static FreeList, u32)> {
    let size = layout.size().max(layout.align()).max(1 << SMALLEST_SHIFT);
    let shift = size.checked_next_power_of_two()?.trailing_zeros();
    let list = FREE.get((shift - SMALLEST_SHIFT) as usize)?;
    Some((list, shift))
}

/// Takes a new chunk of memory, keeps its first block and frees the others.
fn refill(list: &FreeList, shift: u32) -> *mut u8 {
    let block_bytes = 1usize << shift;
    // Small classes share the cost of a system call among fewer blocks than a whole chunk holds.
    let bytes = CHUNK_BYTES.min(block_bytes.saturating_mul(64)).max(4096);
    // Blocks of 64 KiB at most: their natural alignment needs more than the kernel's 4 KiB.
    let spare = if block_bytes > 4096 { block_bytes } else { 0 };
    let Ok(start) = system_call::map_private(bytes.saturating_add(spare)) else {
        return null_mut();
    };
    let first = (start as usize).next_multiple_of(block_bytes);
    let mut at = first.saturating_add(block_bytes);
    while at.saturating_add(block_bytes) <= first.saturating_add(bytes) {
        list.push(at as *mut u64);
        at = at.saturating_add(block_bytes);
    }
    first as *mut u8
}

// SAFETY: blocks are disjoint pieces of private mappings, at least as large and as aligned as
// asked for, and stay valid until `dealloc`. Nothing here unwinds.
unsafe impl GlobalAlloc for OwnMemory {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        match class_of(layout) {
            Some((list, shift)) => {
                let block = list.pop();
                if block.is_null() { refill(list, shift) } else { block }
            }
            None if layout.align() <= 4096 => {
                system_call::map_private(layout.size()).unwrap_or(null_mut())
            }
            None => null_mut(),
        }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        match class_of(layout) {
            Some((list, _)) => list.push(block.cast()),
            // SAFETY: `alloc` mapped exactly this range for this layout, and it is free now.
            None => unsafe { system_call::unmap(block, layout.size()) },
        }
    }
}

/// Puts a value into a block of its own; `None` if there is no memory.
pub(crate) fn place<T>(value: T) -> Option<*mut T> {
    const { assert!(size_of::<T>() != 0) };
    // SAFETY: the layout is not empty.
    let block = unsafe { OwnMemory.alloc(Layout::new::<T>()) }.cast::<T>();
    if block.is_null() {
        return None;
    }
    // SAFETY: a new block of this layout.
    unsafe { block.write(value) };
    Some(block)
}

/// Takes a value out of its block, and frees that.
///
/// # Safety
/// The block is from [`place`], and nobody uses it any more.
pub(crate) unsafe fn take<T>(block: *mut T) -> T {
    // SAFETY: our caller promises it.
    let value = unsafe { block.read() };
    // SAFETY: as above; the layout is the one it was made with.
    unsafe { OwnMemory.dealloc(block.cast(), Layout::new::<T>()) };
    value
}

/// Makes sure that a few blocks of every size up to 64 KiB are at hand; false: there is no memory.
///
/// For the tracer's own threads, before they call what cannot fail in good order.
pub(crate) fn make_ready() -> bool {
    const EACH: usize = 4;
    (SMALLEST_SHIFT..=LARGEST_SHIFT).all(|shift| {
        let Ok(layout) = Layout::from_size_align(1 << shift, 16) else { return false };
        // SAFETY: the layout is not empty.
        let blocks = [(); EACH].map(|()| unsafe { OwnMemory.alloc(layout) });
        for block in blocks.into_iter().filter(|block| !block.is_null()) {
            // SAFETY: allocated just above with this layout.
            unsafe { OwnMemory.dealloc(block, layout) };
        }
        blocks.iter().all(|block| !block.is_null())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_of_many_threads_never_overlap() {
        let worker = |seed: u8| {
            let layouts =
                [24, 100, 5000, 40_000, 200_000].map(|n| Layout::from_size_align(n, 8).unwrap());
            for round in 0..if cfg!(miri) { 3 } else { 400 } {
                let blocks = layouts.map(|layout| {
                    // SAFETY: the layouts are not empty.
                    let block = unsafe { OwnMemory.alloc(layout) };
                    assert!(!block.is_null());
                    // SAFETY: the block has that many bytes.
                    unsafe { block.write_bytes(seed.wrapping_add(round as u8), layout.size()) };
                    (block, layout)
                });
                for (block, layout) in blocks {
                    // SAFETY: written above, not freed yet.
                    let bytes = unsafe { core::slice::from_raw_parts(block, layout.size()) };
                    // Miri looks at some of them.
                    let mut bytes = bytes.iter().step_by(if cfg!(miri) { 4999 } else { 1 });
                    assert!(bytes.all(|&byte| byte == seed.wrapping_add(round as u8)));
                    // SAFETY: allocated above with this layout.
                    unsafe { OwnMemory.dealloc(block, layout) };
                }
            }
        };
        std::thread::scope(|scope| {
            for seed in 0..4 {
                scope.spawn(move || worker(seed * 64));
            }
        });
    }

    #[test]
    fn alignment_is_kept() {
        for align in [16, 64, 4096, 65536] {
            let layout = Layout::from_size_align(10, align).unwrap();
            // SAFETY: the layout is not empty.
            let block = unsafe { OwnMemory.alloc(layout) };
            assert_eq!(block as usize % align, 0);
            // SAFETY: allocated above with this layout.
            unsafe { OwnMemory.dealloc(block, layout) };
        }
    }
}
