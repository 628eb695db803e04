//! Runs of pages that hold chunks: taken, emptied and used again; and what the drain sees of all pages.

use core::sync::atomic::{AtomicU64, Ordering};

use tftrace_format::Ticks;
use tftrace_format::page::{PAGE_BYTES, PAGE_MAGIC, PageHeader, PageKind};

use super::chunk_log::RUN_PAGES;
use super::{PageIndex, PageState, Spool, segments};

impl Spool {
    /// Takes consecutive pages for chunks. `None`: the file cannot grow.
    pub(crate) fn take_run(
        &self,
        kind: PageKind,
        serial: Option<u64>,
        opened: Ticks,
    ) -> Option<PageIndex> {
        let index = match self.take_free_run() {
            Some(index) => index,
            None => self.take_fresh(RUN_PAGES.into(), opened)?,
        };
        let serial = serial.unwrap_or_else(|| self.take_serial());
        self.begin(index, PageHeader { kind, serial, number: RUN_PAGES, tid: 0, opened });
        Some(index)
    }

    /// Takes pages for a run that were given back, which need no new blocks.
    fn take_free_run(&self) -> Option<PageIndex> {
        let index = self.free.pop_run()?;
        let first = u64::from(index.0);
        // They have their blocks: what fails here is mapped when it is written.
        let _ = self.file.populate(first, first.saturating_add(RUN_PAGES.into()));
        self.run_is_back(index);
        Some(index)
    }

    /// Whoever has taken a run touches all of it.
    pub(super) fn run_is_back(&self, index: PageIndex) {
        (index.0..).take(RUN_PAGES as usize).for_each(|page| self.is_back(PageIndex(page)));
    }

    /// Puts pages that were given back aside for runs, where there are many. For the drain.
    pub(crate) fn gather_runs(&self) {
        if !self.free.wants_runs() {
            return;
        }
        self.leave_now();
        let are_neighbours = |index: u32| {
            let next = u64::from(index).saturating_add(1);
            next != segments::end_of_segment(index.into())
        };
        self.free.gather_runs(RUN_PAGES, are_neighbours);
    }

    /// Takes a run again that was emptied. False: there are no blocks for it on the disk.
    ///
    /// # Safety
    /// The run is the caller's, from [`Spool::empty_run`].
    pub(crate) unsafe fn reuse_run(&self, index: PageIndex, header: PageHeader) -> bool {
        let (from, pages) = (u64::from(index.0), u64::from(header.number));
        if !self.file.populate(from, from.saturating_add(pages)) {
            return false;
        }
        self.punched.fetch_sub(pages, Ordering::Relaxed); // A figure.
        self.begin(index, header);
        true
    }

    /// Empties a run whose chunks stand elsewhere now, and gives its blocks back. False: it stays as it
    /// is, which is void.
    ///
    /// # Safety
    /// The run is the caller's alone.
    pub(crate) unsafe fn empty_run(&self, index: PageIndex, pages: u32) -> bool {
        let first = u64::from(index.0);
        let (second, end) = (first.saturating_add(1), first.saturating_add(u64::from(pages)));
        // The header goes last: without it a reader would take what follows for pages of their own.
        let emptied = self.file.punch(second, end) && self.file.punch(first, second);
        if emptied {
            self.punched.fetch_add(u64::from(pages), Ordering::Relaxed); // A figure.
        }
        emptied
    }

    /// Gives the blocks of free pages back, but for those that are taken next if not `all`. For the end of a process:
    /// no page of them is ever used again.
    pub(super) fn empty_unused(&self, all: bool) {
        let runs = core::iter::from_fn(|| self.free.pop_run())
            .flat_map(|first| (first.0..).take(RUN_PAGES as usize).map(PageIndex));
        let next = || if all { self.free.pop() } else { self.free.pop_cold() };
        for page in core::iter::from_fn(next).chain(runs) {
            if let Some(state) = self.state(u64::from(page.0)) {
                state.store(PageState::Unused as u8, Ordering::Relaxed); // The page is this thread's alone.
            }
        }
        let is_unused = |index: u64| {
            let state = self.state(index).map(|state| state.load(Ordering::Relaxed)); // As above.
            state == Some(PageState::Unused as u8)
        };
        let (taken, mut index) = (self.taken.load(Ordering::Relaxed), 2);
        while index < taken {
            let end = (index..taken).find(|&next| !is_unused(next)).unwrap_or(taken);
            if end != index && self.file.punch(index, end) {
                self.punched.fetch_add(end.saturating_sub(index), Ordering::Relaxed); // A figure.
            }
            index = end.saturating_add(1);
        }
    }

    /// Pages that have blocks on the disk.
    pub(crate) fn disk_pages(&self) -> u64 {
        let punched = self.punched.load(Ordering::Relaxed);
        self.ready.load(Ordering::Relaxed).saturating_sub(punched)
    }

    /// The drain runs. The file may go past its bound for a moment: it is made smaller again; and full pages stay in
    /// memory until they are rewritten.
    pub(crate) fn drain_begins(&self) {
        self.cap.store(u64::MAX, Ordering::Relaxed);
        self.is_drained.store(true, Ordering::Relaxed);
    }

    /// Shows every page of raw events, one after the other, header and words. For the drain.
    ///
    /// Inlined there: what it does with them may end in a panic, and a hook never gets there.
    #[inline(always)]
    pub(crate) fn each_raw_page(&self, mut show: impl FnMut(&[AtomicU64])) {
        const WORDS: usize = PAGE_BYTES / 8;
        for index in 2..self.taken.load(Ordering::Relaxed) {
            let Ok(index) = u32::try_from(index) else { return };
            // A look at it brings it back, if it has left, and its neighbours.
            self.is_back(PageIndex(index));
            let page = self.page(PageIndex(index)).cast::<AtomicU64>();
            // SAFETY: pages that were taken stay mapped; others change them by atomic stores, and
            // their headers before the magic, which is loaded first.
            let words = unsafe { core::slice::from_raw_parts(page, WORDS) };
            let magic = words.first().map_or(0, |word| word.load(Ordering::Acquire));
            if magic == u64::from(PAGE_MAGIC) | (PageKind::Events as u64) << 32 {
                show(words);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Takes pages and gives them back; then the blocks of free ones are given back. How many that were.
    fn emptied(spool: &Spool, pages: u64, all: bool) -> (Vec<PageIndex>, u64) {
        let take = || spool.take(PageKind::Events, 1, 1, Ticks(1)).unwrap();
        let pages: Vec<PageIndex> = (0..pages).map(|_| take()).collect();
        for &page in &pages {
            // SAFETY: taken above, and not touched any more.
            unsafe { spool.give_back(page) };
        }
        let before = spool.disk_pages();
        spool.empty_unused(all);
        let gone = before - spool.disk_pages();
        (pages, gone)
    }

    #[test]
    fn the_blocks_of_free_pages_are_given_back_but_for_those_that_are_taken_next() {
        const PAGES: u64 = 200;
        let spool = Spool::for_test(None);
        let take = || spool.take(PageKind::Events, 1, 1, Ticks(1)).unwrap();
        let kept = take();
        let (pages, gone) = emptied(&spool, PAGES, false);
        assert!((1..PAGES).contains(&gone), "{gone} of {PAGES} pages have no blocks");
        // Those that are left come first, and then new ones: none that has no blocks.
        let taken = spool.taken_pages();
        let again: Vec<PageIndex> = (0..PAGES).map(|_| take()).collect();
        assert_eq!(spool.taken_pages() - taken, gone);
        assert!(!again.contains(&kept));
        let end = u32::try_from(taken).unwrap();
        let is_unused = |page: &&PageIndex| !again.contains(page) && page.0 < end;
        assert_eq!(pages.iter().filter(is_unused).count() as u64, gone);
    }

    #[test]
    fn in_the_end_all_free_pages_lose_their_blocks_and_the_next_one_is_new() {
        const PAGES: u64 = 200;
        let spool = Spool::for_test(None);
        assert_eq!(emptied(&spool, PAGES, true).1, PAGES);
        let taken = spool.taken_pages();
        let next = spool.take(PageKind::Events, 1, 1, Ticks(1)).unwrap();
        assert_eq!(u64::from(next.0), taken);
    }

    #[test]
    fn where_the_file_cannot_grow_pages_of_runs_are_taken_one_by_one() {
        const BOUND: u64 = 16 << 20;
        let spool = Spool::for_test(core::num::NonZeroU64::new(BOUND));
        let take = || spool.take(PageKind::Events, 1, 1, Ticks(1));
        let pages: Vec<PageIndex> = core::iter::from_fn(take).collect();
        assert!(pages.len() as u64 > BOUND / PAGE_BYTES as u64 - 4);
        for &page in &pages {
            // SAFETY: taken above, and not touched any more.
            unsafe { spool.give_back(page) };
            spool.gather_runs();
        }
        let run = spool.take_run(PageKind::Chunks, None, Ticks(1)).unwrap();
        let mut again: Vec<u32> = core::iter::from_fn(take).map(|page| page.0).collect();
        again.extend((run.0..).take(RUN_PAGES as usize));
        again.sort_unstable();
        assert_eq!(again, pages.iter().map(|page| page.0).collect::<Vec<_>>());
    }

    #[test]
    fn no_more_is_made_ready_than_the_file_may_have() {
        const BOUND: u64 = 4 << 20;
        let spool = Spool::for_test(core::num::NonZeroU64::new(BOUND));
        spool.prepare(u64::MAX);
        assert_eq!(spool.disk_pages(), BOUND / PAGE_BYTES as u64);
        while spool.take(PageKind::Events, 1, 1, Ticks(1)).is_some() {}
        spool.make_ready_ahead();
        assert_eq!(spool.disk_pages(), BOUND / PAGE_BYTES as u64);
    }
}
