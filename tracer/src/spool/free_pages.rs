//! Pages that were given back: which are taken again next, and how many of them stay resident.
//!
//! Lock-free stacks, linked through one word for each page. Never touches a page itself.

use core::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use super::PageIndex;
use crate::system_call;

/// So many free pages stay in the resident memory. One that has left it costs its next user a page fault for
/// each 4 KiB; these cost 1 MB.
const MOST_WARM: u64 = 32;

/// Index of the first page in 32 bits (0: none), above it a counter that changes with every change.
#[derive(Debug, Default)]
struct List(AtomicU64);

/// The free pages.
#[derive(Debug)]
pub(super) struct FreePages {
    /// Those that are resident, which are taken first; and those that have left.
    warm: List,
    cold: List,
    /// How many are warm; changed before a page is there and after it was taken, so a hint.
    warm_pages: AtomicU64,
    /// For each page the next one of its list; private memory.
    next: *mut AtomicU32,
    pages: u64,
}

impl FreePages {
    /// None yet, of so many pages; `None` if there is no memory.
    pub(super) fn new(pages: u64) -> Option<Self> {
        let words = (pages as usize).checked_mul(size_of::<AtomicU32>())?;
        Some(Self {
            warm: List::default(),
            cold: List::default(),
            warm_pages: AtomicU64::new(0),
            next: system_call::map_private(words).ok()?.cast(),
            pages,
        })
    }

    /// Whether so many pages are resident that the next ones are found among them.
    pub(super) fn has_many(&self) -> bool {
        self.warm_pages.load(Ordering::Relaxed) > MOST_WARM / 2 // A hint.
    }

    fn next(&self, index: u64) -> Option<&AtomicU32> {
        if index >= self.pages {
            return None;
        }
        // SAFETY: one word for every page, in memory that stays mapped.
        Some(unsafe { &*self.next.wrapping_add(index as usize) })
    }

    /// Takes a page.
    pub(super) fn pop(&self) -> Option<PageIndex> {
        let Some(warm) = self.pop_from(&self.warm) else { return self.pop_from(&self.cold) };
        self.warm_pages.fetch_sub(1, Ordering::Relaxed); // A hint.
        Some(warm)
    }

    /// Takes a page of those that have left the resident memory.
    pub(super) fn pop_cold(&self) -> Option<PageIndex> {
        self.pop_from(&self.cold)
    }

    fn pop_from(&self, list: &List) -> Option<PageIndex> {
        // Acquire: pairs with the release in `push_to`; the page was zeroed before.
        let mut head = list.0.load(Ordering::Acquire);
        loop {
            let index = head & 0xFFFF_FFFF;
            if index == 0 {
                return None;
            }
            let next = self.next(index)?.load(Ordering::Relaxed); // A stale value fails the exchange.
            let new = u64::from(next) | ((head >> 32).wrapping_add(1) << 32);
            match list.0.compare_exchange_weak(head, new, Ordering::Acquire, Ordering::Acquire) {
                Ok(_) => return Some(PageIndex(index as u32)),
                Err(now) => head = now,
            }
        }
    }

    /// Gives a page back, which is all zeros. `leave` takes it out of the resident memory, where enough others
    /// are in it.
    pub(super) fn push(&self, index: PageIndex, leave: impl FnOnce()) {
        if self.warm_pages.fetch_add(1, Ordering::Relaxed) < MOST_WARM {
            self.push_to(&self.warm, index);
        } else {
            self.warm_pages.fetch_sub(1, Ordering::Relaxed); // As above.
            leave();
            self.push_to(&self.cold, index);
        }
    }

    fn push_to(&self, list: &List, index: PageIndex) {
        let Some(next) = self.next(u64::from(index.0)) else { return };
        let mut head = list.0.load(Ordering::Relaxed);
        loop {
            next.store((head & 0xFFFF_FFFF) as u32, Ordering::Relaxed);
            let new = u64::from(index.0) | ((head >> 32).wrapping_add(1) << 32);
            // Release: who pops the page sees it zeroed, and sees the link.
            match list.0.compare_exchange_weak(head, new, Ordering::Release, Ordering::Relaxed) {
                Ok(_) => return,
                Err(now) => head = now,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn resident_pages_are_taken_first_and_are_not_many() {
        let free = FreePages::new(1000).unwrap();
        let left: Vec<u32> = (1..200)
            .filter(|&index| {
                let mut has_left = false;
                free.push(PageIndex(index), || has_left = true);
                has_left
            })
            .collect();
        assert_eq!(left, (1 + MOST_WARM as u32..200).collect::<Vec<_>>());
        let taken: Vec<u32> = core::iter::from_fn(|| free.pop()).map(|page| page.0).collect();
        let (warm, cold) = taken.split_at(MOST_WARM as usize);
        assert_eq!(warm, (1..1 + MOST_WARM as u32).rev().collect::<Vec<_>>());
        assert_eq!(cold, left.into_iter().rev().collect::<Vec<_>>());
        let mut has_left = false;
        free.push(PageIndex(7), || has_left = true);
        assert!(!has_left, "there is room again");
        assert_eq!(free.pop(), Some(PageIndex(7)));
    }
}
