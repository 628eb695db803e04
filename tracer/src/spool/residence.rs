//! Which pages are in the process's resident memory: they leave it where nobody looks at them for long.
//!
//! Only the view is dropped. What pages hold stays in the file, and comes back where it is touched.

use core::ops::Range;
use core::sync::atomic::{AtomicU8, AtomicU64, Ordering};

use super::chunk_log::RUN_PAGES;
use super::{PageIndex, PageState, Spool, segments};
use crate::system_call;

/// Free pages that lie so near one another leave together: each time the kernel makes all processors on which the
/// process runs forget what they know of its memory.
const TOGETHER: u64 = 16;
/// So many pages between them may be others'. They leave as well, and come back.
const GAP: u64 = 4;

/// What is known of all pages.
#[derive(Debug)]
pub(super) struct Residence {
    /// Of every page, whether it has left and was not brought back: private memory, a byte for each.
    left: *mut AtomicU8,
    pages: u64,
    /// Free pages that leave next: the number of the first in the lower half, and above it that behind the last.
    leaving: AtomicU64,
}

impl Residence {
    /// Of so many pages, none of which has left; `None` if there is no memory.
    pub(super) fn new(pages: u64) -> Option<Self> {
        let left = system_call::map_private(pages as usize).ok()?;
        Some(Self { left: left.cast(), pages, leaving: AtomicU64::new(0) })
    }

    /// Sets whether a page has left; gives whether it had. A hint: without it a page is brought once more, or comes in
    /// pieces where it is read.
    fn set_left(&self, index: u64, has_left: bool) -> bool {
        let Some(left) = self.of(index) else { return false };
        let known = left.load(Ordering::Relaxed) != 0;
        if known != has_left {
            left.store(has_left.into(), Ordering::Relaxed);
        }
        known
    }

    fn has_left(&self, index: u64) -> bool {
        self.of(index).is_some_and(|left| left.load(Ordering::Relaxed) != 0) // As above.
    }

    fn of(&self, index: u64) -> Option<&AtomicU8> {
        if index >= self.pages {
            return None;
        }
        // SAFETY: one byte for every page, in memory that stays mapped.
        Some(unsafe { &*self.left.wrapping_add(index as usize) })
    }
}

impl Spool {
    /// Whoever has taken a page touches all of it.
    pub(super) fn is_back(&self, index: PageIndex) {
        self.residence.set_left(index.0.into(), false);
    }

    /// A page is full, and nobody looks at it for long where no drain runs: all that a host with one thread writes
    /// would stay in its resident memory.
    pub(crate) fn leave_full(&self, index: PageIndex) {
        if !self.is_drained.load(Ordering::Relaxed) {
            self.leave(index); // A page more or less does no harm.
        }
    }

    /// Brings a page that was full into the resident memory, and no other: reading one that has left brings its
    /// neighbours, which may have left as well. For the drain.
    pub(crate) fn bring(&self, index: PageIndex) {
        let from = u64::from(index.0);
        if self.residence.set_left(from, false) {
            // It has its blocks: what fails here is mapped when it is read.
            let _ = self.file.populate(from, from.saturating_add(1));
        }
    }

    /// Takes a page out of the process's resident memory until it is touched again: with thousands of
    /// short threads many wait for the drain.
    pub(crate) fn leave(&self, index: PageIndex) {
        let from = u64::from(index.0);
        self.leave_all(from..from.saturating_add(1));
    }

    /// The same for one that is free, soon: with others. For the drain, which is the only one to give pages back.
    pub(super) fn leave_soon(&self, index: PageIndex) {
        let leaving = &self.residence.leaving;
        let word = leaving.load(Ordering::Relaxed); // Only the drain changes it.
        let (first, end, index) = (word & u64::from(u32::MAX), word >> 32, u64::from(index.0));
        let is_near = index.checked_sub(end).is_some_and(|gap| gap <= GAP)
            && index.saturating_sub(first) < TOGETHER
            && index < segments::end_of_segment(first);
        if !is_near {
            self.leave_now();
        }
        let first = if is_near { first } else { index };
        leaving.store(first | index.saturating_add(1) << 32, Ordering::Relaxed);
    }

    /// Lets those leave that leave soon: they may be taken otherwise before. For the drain.
    pub(super) fn leave_now(&self) {
        let word = self.residence.leaving.swap(0, Ordering::Relaxed); // Only the drain changes it.
        self.leave_all(word & u64::from(u32::MAX)..word >> 32);
    }

    /// Takes runs that are written out of the process's resident memory: `last` is the newest one. All stay in the
    /// kernel's cache of the file. For the drain.
    pub(crate) fn leave_written(&self, last: PageIndex) {
        self.leave_where(|index, state| {
            state == PageState::Run as u8
                && index != u64::from(last.0)
                && !self.residence.has_left(index)
        });
    }

    /// Takes the pages that threads have open out of the resident memory. Those of a thread that records come back at
    /// once; a process may have hundreds that do not. For the drain.
    pub(crate) fn leave_open(&self) {
        self.leave_where(|_, state| state == PageState::Open as u8);
    }

    fn leave_where(&self, is_leaving: impl Fn(u64, u8) -> bool) {
        let taken = self.taken.load(Ordering::Relaxed);
        let (mut leaving, mut index) = (0..0, 2);
        while index < taken {
            let Some(state) = self.state(index) else { return };
            // Relaxed: nothing is read that the state would order.
            let state = state.load(Ordering::Relaxed);
            let is_run = state == PageState::Run as u8;
            let end = index.saturating_add(if is_run { u64::from(RUN_PAGES) } else { 1 });
            if is_leaving(index, state) {
                // Neighbours go together, but for those of two segments.
                if leaving.end != index || segments::end_of_segment(leaving.start) == index {
                    self.leave_all(leaving);
                    leaving = index..index;
                }
                leaving.end = end;
            }
            index = end;
        }
        self.leave_all(leaving);
    }

    /// Pages of one segment.
    fn leave_all(&self, pages: Range<u64>) {
        if !pages.is_empty() {
            self.file.leave(pages.start, pages.end.saturating_sub(pages.start));
            pages.for_each(|page| _ = self.residence.set_left(page, true));
        }
    }
}

#[cfg(test)]
mod tests {
    use tftrace_format::Ticks;
    use tftrace_format::page::{PAGE_BYTES, PageKind};

    use super::*;

    /// How many pieces of 4 KiB of a page are resident.
    fn resident(spool: &Spool, index: PageIndex) -> usize {
        let mut seen = [0u8; PAGE_BYTES / 4096];
        // Mapped in this process: what the kernel has in its cache of the file does not count.
        let pagemap = std::fs::File::open("/proc/self/pagemap").unwrap();
        for (at, seen) in seen.iter_mut().enumerate() {
            use std::os::unix::fs::FileExt;
            let mut entry = [0; 8];
            let place = spool.page(index) as u64 / 4096 + at as u64;
            pagemap.read_exact_at(&mut entry, place * 8).unwrap();
            *seen = (u64::from_le_bytes(entry) >> 63) as u8;
        }
        seen.iter().filter(|seen| **seen == 1).count()
    }

    fn full_page(spool: &Spool) -> PageIndex {
        let index = spool.take(PageKind::Events, 1, 1, Ticks(1)).unwrap();
        let body = spool.page(index).wrapping_add(64);
        // SAFETY: the page is this test's, and stays mapped; its header is left alone.
        unsafe { body.write_bytes(7, PAGE_BYTES - 64) };
        index
    }

    #[test]
    fn a_page_that_has_left_is_brought_back_as_a_whole_with_what_it_holds() {
        let spool = Spool::for_test(None);
        let page = full_page(&spool);
        assert_eq!(resident(&spool, page), PAGE_BYTES / 4096);
        spool.leave(page);
        assert_eq!(resident(&spool, page), 0);
        spool.bring(page);
        assert_eq!(resident(&spool, page), PAGE_BYTES / 4096);
        let last = spool.page(page).wrapping_add(PAGE_BYTES - 1);
        // SAFETY: as above.
        assert_eq!(unsafe { last.read() }, 7);
        // One that a thread has taken anew is there without being brought.
        spool.leave(page);
        spool.is_back(page);
        spool.bring(page);
        assert_eq!(resident(&spool, page), 0, "nobody has touched it");
    }

    #[test]
    fn pages_that_are_open_leave_each_time_and_come_back_with_what_they_hold() {
        let spool = Spool::for_test(None);
        let run = spool.take_run(PageKind::Chunks, None, Ticks(1)).unwrap();
        let page = full_page(&spool);
        let last = spool.page(page).wrapping_add(PAGE_BYTES - 1);
        // SAFETY: the run is this test's, and stays mapped; its header is left alone.
        unsafe { spool.page(run).wrapping_add(64).write_bytes(0, PAGE_BYTES - 64) };
        let read_again = spool.take_run(PageKind::Compacted, None, Ticks(1)).unwrap();
        // SAFETY: as above.
        unsafe { spool.page(read_again).wrapping_add(64).write_bytes(0, PAGE_BYTES - 64) };
        for _ in 0..2 {
            spool.leave_open();
            assert_eq!(resident(&spool, page), 0);
            assert_eq!(resident(&spool, run), PAGE_BYTES / 4096);
            assert_eq!(resident(&spool, read_again), PAGE_BYTES / 4096);
            // SAFETY: the page is this test's, and stays mapped.
            assert_eq!(unsafe { last.read() }, 7);
        }
    }

    #[test]
    fn no_page_of_a_run_leaves_late_that_was_to_leave_when_it_was_free() {
        let spool = Spool::for_test(None);
        let take = || spool.take(PageKind::Events, 1, 1, Ticks(1)).unwrap();
        let (far, pages) = (take(), (0..300).map(|_| take()).collect::<Vec<_>>());
        for page in pages {
            // SAFETY: taken above, and not touched any more.
            unsafe { spool.give_back(page) };
            if spool.free.wants_runs() {
                spool.gather_runs();
                break;
            }
        }
        let taken = spool.taken_pages();
        let take_run = || spool.take_run(PageKind::Chunks, None, Ticks(1)).unwrap();
        let runs: Vec<_> = (0..8).map(|_| take_run()).collect();
        assert_eq!(spool.taken_pages(), taken, "all were pages before");
        // It is not near the others, so those that were to leave with it go first.
        // SAFETY: as above.
        unsafe { spool.give_back(far) };
        let mut of_runs = runs.iter().flat_map(|run| (run.0..).take(RUN_PAGES as usize));
        assert!(of_runs.all(|page| !spool.residence.has_left(page.into())));
    }

    #[test]
    fn runs_that_a_look_at_all_pages_brought_back_leave_again() {
        let spool = Spool::for_test(None);
        let [run, last] = [0; 2].map(|_| {
            let run = spool.take_run(PageKind::Chunks, None, Ticks(1)).unwrap();
            // SAFETY: the run is this test's, and stays mapped; its header is left alone.
            unsafe { spool.page(run).wrapping_add(64).write_bytes(0, PAGE_BYTES - 64) };
            run
        });
        for _ in 0..2 {
            spool.leave_written(last);
            assert_eq!(resident(&spool, run), 0);
            spool.each_raw_page(|_| ());
            assert_ne!(resident(&spool, run), 0);
        }
    }

    #[test]
    fn free_pages_leave_together_and_few_of_them_stay() {
        let spool = Spool::for_test(None);
        let pages: Vec<PageIndex> = (0..300).map(|_| full_page(&spool)).collect();
        let before: usize = pages.iter().map(|page| resident(&spool, *page)).sum();
        assert_eq!(before, 300 * PAGE_BYTES / 4096);
        // Every third page is somebody's, and one in the middle is far from the others.
        let free =
            pages.iter().enumerate().filter(|(at, _)| at % 3 != 0 && !(100..110).contains(at));
        for (_, page) in free.clone() {
            spool.leave_soon(*page);
        }
        let stay = free.filter(|(_, page)| resident(&spool, **page) != 0).count();
        assert!(stay as u64 <= TOGETHER, "{stay}");
        for page in &pages[102..108] {
            assert_eq!(resident(&spool, *page), PAGE_BYTES / 4096, "too far from free ones");
        }
    }
}
