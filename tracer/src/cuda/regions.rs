//! Regions of CUDA's memory out of which TensorFlow cuts tensors: which memory a tensor is in.
//!
//! A pool has few: it takes what it needs in large pieces, or all at once. Lock-free.

use core::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use tftrace_format::Frame;

struct Region {
    /// 0 = free, 1 = being written.
    start: AtomicU64,
    end: AtomicU64,
    /// The frame of the stack tree that says which memory it is.
    frame: AtomicU64,
}

const MOST: usize = 1024;
static REGIONS: [Region; MOST] = [const {
    Region { start: AtomicU64::new(0), end: AtomicU64::new(0), frame: AtomicU64::new(0) }
}; MOST];
/// Places behind this one were never used.
static USED: AtomicUsize = AtomicUsize::new(0);

/// Allocators, and the memory that they cut: what a tensor that found no room was to be in.
struct Allocator {
    object: AtomicU64,
    frame: AtomicU64,
}

const MOST_ALLOCATORS: usize = 64;
static ALLOCATORS: [Allocator; MOST_ALLOCATORS] =
    [const { Allocator { object: AtomicU64::new(0), frame: AtomicU64::new(0) } }; MOST_ALLOCATORS];

fn used() -> impl Iterator<Item = &'static Region> {
    REGIONS.iter().take(USED.load(Ordering::Acquire))
}

/// A pool has this memory now. Without a place, tensors in it count as the host's.
pub(super) fn add(start: u64, size: u64, frame: u64) {
    for (index, region) in REGIONS.iter().enumerate() {
        let claimed = region.start.compare_exchange(0, 1, Ordering::AcqRel, Ordering::Relaxed);
        if claimed.is_ok() {
            region.end.store(start.saturating_add(size), Ordering::Relaxed);
            region.frame.store(frame, Ordering::Relaxed);
            // Release: who sees the start sees the rest.
            region.start.store(start, Ordering::Release);
            USED.fetch_max(index.saturating_add(1), Ordering::AcqRel);
            return;
        }
    }
}

/// The memory at this address is given back, if it is a region.
pub(super) fn remove(start: u64) {
    for region in used().filter(|_| start > 1) {
        let _ = region.start.compare_exchange(start, 0, Ordering::AcqRel, Ordering::Relaxed);
    }
}

/// A context is gone, and every region in it.
pub(super) fn remove_of_context(context: u32) {
    for region in used() {
        let start = region.start.load(Ordering::Acquire);
        let frame = Frame::from_wire(region.frame.load(Ordering::Relaxed));
        if matches!(frame, Some(Frame::Cuda(memory)) if memory.context == context) {
            remove(start);
        }
    }
}

/// The frame of the memory that holds an address, if it is in a region.
pub(crate) fn frame_at(address: u64) -> Option<u64> {
    let region = used().find(|region| {
        // Acquire: pairs with the release in `add`.
        let start = region.start.load(Ordering::Acquire);
        start > 1 && start <= address && address < region.end.load(Ordering::Relaxed)
    })?;
    Some(region.frame.load(Ordering::Relaxed))
}

/// An allocator has given out memory of this frame.
pub(crate) fn note_allocator(object: u64, frame: u64) {
    for place in &ALLOCATORS {
        let known = place.object.load(Ordering::Relaxed);
        if known == object {
            place.frame.store(frame, Ordering::Relaxed); // Its memory is all of one kind.
            return;
        }
        let free = known == 0
            && place
                .object
                .compare_exchange(0, object, Ordering::Relaxed, Ordering::Relaxed)
                .is_ok();
        if free {
            place.frame.store(frame, Ordering::Relaxed);
            return;
        }
    }
}

/// The frame of the memory that an allocator gives out; `None`: not CUDA's, or not known.
pub(crate) fn frame_of_allocator(object: u64) -> Option<u64> {
    let place = ALLOCATORS.iter().find(|place| place.object.load(Ordering::Relaxed) == object)?;
    Some(place.frame.load(Ordering::Relaxed)).filter(|frame| *frame != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_in_the_region_that_holds_it_until_that_is_gone() {
        add(1 << 40, 1 << 20, 77);
        assert_eq!(frame_at(1 << 40), Some(77));
        assert_eq!(frame_at((1 << 40) + (1 << 20) - 1), Some(77));
        assert_eq!(frame_at((1 << 40) + (1 << 20)), None);
        remove(1 << 40);
        assert_eq!(frame_at(1 << 40), None);
    }
}
