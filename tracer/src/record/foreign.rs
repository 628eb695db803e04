//! When an address was last freed in a way that another thread's open page does not show.
//!
//! A thread folds a free with the allocation in its own page only if nobody freed the block
//! meanwhile: else the block it frees is a later one at the same address, and somebody else's
//! allocation would look leaked for ever. Every free that is not folded leaves its time here
//! first. Different addresses may share a place: then a fold is given up that was possible.
//!
//! An allocation whose time was read early asks too: it must be later than the last free of its address.

use core::sync::atomic::{AtomicU64, Ordering};

use tftrace_format::{Domain, Ticks};

use crate::system_call;

const PLACES: usize = 1 << 15;

/// Times of frees, by address.
#[derive(Debug)]
pub(crate) struct ForeignFrees(*mut AtomicU64);

// SAFETY: the array stays mapped for ever and is used through atomics only.
unsafe impl Sync for ForeignFrees {}
// SAFETY: as above.
unsafe impl Send for ForeignFrees {}

impl ForeignFrees {
    /// No frees yet; `None` if there is no memory.
    pub(crate) fn new() -> Option<Self> {
        system_call::map_private(PLACES * size_of::<AtomicU64>()).ok().map(|at| Self(at.cast()))
    }

    #[inline(always)]
    fn place(&self, domain: Domain, address: u64) -> &AtomicU64 {
        // Neighbours share a cache line, as they share the thread that uses them. Few blocks are so small that two
        // share a place, and half as much of this is in the caches.
        let index = ((address >> 5) ^ (address >> 24) ^ ((domain as u64) << 12)) as usize % PLACES;
        // SAFETY: below the array's length.
        unsafe { &*self.0.wrapping_add(index) }
    }

    /// To be called before the real free: whoever gets the address next sees this time.
    #[inline(always)]
    pub(crate) fn announce(&self, domain: Domain, address: u64, time: Ticks) {
        // The latest counts: `realloc` announces the same free again once it is over. Release:
        // together with the real allocator's own ordering, whoever gets the address sees it.
        self.place(domain, address).fetch_max(time.0, Ordering::Release);
    }

    /// Whether the address may have been freed at `time` or later.
    #[inline(always)]
    pub(crate) fn since(&self, domain: Domain, address: u64, time: Ticks) -> bool {
        // Acquire: pairs with the release above.
        self.place(domain, address).load(Ordering::Acquire) >= time.0
    }

    /// A time of the caller's, who has just got the address, that is later than the last free of it: `about`, if
    /// that is, else `exact`.
    #[inline(always)]
    pub(crate) fn later_than_free(
        &self,
        domain: Domain,
        address: u64,
        about: Ticks,
        exact: impl FnOnce() -> Ticks,
    ) -> Ticks {
        if self.since(domain, address, about) { exact() } else { about }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_free_after_the_allocation_is_seen_and_an_earlier_one_is_not() {
        let frees = ForeignFrees::new().unwrap();
        frees.announce(Domain::Malloc, 0x7F00_1230, Ticks(100));
        frees.announce(Domain::Malloc, 0x7F00_1230, Ticks(50));
        assert!(frees.since(Domain::Malloc, 0x7F00_1230, Ticks(99)));
        assert!(frees.since(Domain::Malloc, 0x7F00_1230, Ticks(100)), "equal times prove nothing");
        assert!(!frees.since(Domain::Malloc, 0x7F00_1230, Ticks(101)));
    }

    #[test]
    fn an_allocation_is_later_than_the_free_that_left_its_address() {
        let frees = ForeignFrees::new().unwrap();
        frees.announce(Domain::Malloc, 0x7F00_1230, Ticks(100));
        for (about, expected) in [(99, 130), (100, 130), (101, 101)] {
            let exact = || Ticks(130);
            let time = frees.later_than_free(Domain::Malloc, 0x7F00_1230, Ticks(about), exact);
            assert_eq!(time, Ticks(expected), "read about {about}");
        }
    }
}
