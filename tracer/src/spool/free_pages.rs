//! Pages that were given back: which are taken again next, how many of them stay resident, and which are neighbours.
//!
//! Lock-free stacks, linked through one word for each page. Never touches a page itself.

use core::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use super::PageIndex;
use crate::system_call;

/// So many free pages stay in the resident memory. One that has left it costs its next user a page fault for
/// each 4 KiB; these cost 1 MB.
const MOST_WARM: u64 = 32;
/// Neighbours are looked for where so many pages are not resident, among so many of them, and so many runs are put aside:
/// the others stay for hooks.
const MANY_COLD: u64 = 128;
const LOOKED_AT: usize = 1024;
/// So many are not looked at: hooks find these meanwhile.
const HELD_BACK: u64 = 64;
const MOST_RUNS: usize = 16;
/// Where there were none, it is looked again once so many more have come or gone.
const CHANGED: u64 = 32;

/// Index of the first page in 32 bits (0: none), above it a counter that changes with every change.
#[derive(Debug, Default)]
struct List(AtomicU64);

/// The free pages.
#[derive(Debug)]
pub(super) struct FreePages {
    /// Those that are resident, which are taken first; and those that have left.
    warm: List,
    cold: List,
    /// The first page each of as many neighbours as a run has, none of which is in another list.
    runs: List,
    /// How many are warm; changed before a page is there and after it was taken, so a hint.
    warm_pages: AtomicU64,
    /// How many are not; a hint as well.
    cold_pages: AtomicU64,
    /// How many there were when no neighbours were among them; only the drain looks at it.
    without_runs: AtomicU64,
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
            runs: List::default(),
            warm_pages: AtomicU64::new(0),
            cold_pages: AtomicU64::new(0),
            without_runs: AtomicU64::new(0),
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
        let Some(warm) = self.pop_from(&self.warm) else { return self.pop_cold() };
        self.warm_pages.fetch_sub(1, Ordering::Relaxed); // A hint.
        Some(warm)
    }

    /// Takes a page of those that have left the resident memory.
    pub(super) fn pop_cold(&self) -> Option<PageIndex> {
        let cold = self.pop_from(&self.cold)?;
        self.cold_pages.fetch_sub(1, Ordering::Relaxed); // A hint.
        Some(cold)
    }

    /// Takes the pages of a run; gives the first.
    pub(super) fn pop_run(&self) -> Option<PageIndex> {
        self.pop_from(&self.runs)
    }

    /// Takes a page of a run of so many; the others are free again.
    pub(super) fn pop_of_run(&self, pages: u32) -> Option<PageIndex> {
        let first = self.pop_run()?;
        (first.0..).take(pages as usize).skip(1).for_each(|index| self.push_cold(PageIndex(index)));
        Some(first)
    }

    /// Whether runs should be put aside: there are none, and many pages among which there may be some.
    pub(super) fn wants_runs(&self) -> bool {
        // Relaxed, for all of these: hints.
        let has_runs = || self.runs.0.load(Ordering::Relaxed) & 0xFFFF_FFFF != 0;
        let cold = self.cold_pages.load(Ordering::Relaxed);
        let is_changed = cold.abs_diff(self.without_runs.load(Ordering::Relaxed)) >= CHANGED;
        cold >= MANY_COLD && is_changed && !has_runs()
    }

    /// Puts pages aside that can be runs of so many. `are_neighbours` says whether the memory of a page and of the one
    /// behind it are. For the drain.
    pub(super) fn gather_runs(&self, pages: u32, are_neighbours: impl Fn(u32) -> bool) {
        let cold = self.cold_pages.load(Ordering::Relaxed); // A hint.
        let mut found = [0; LOOKED_AT];
        let mut len = 0;
        for place in found.iter_mut().take(cold.saturating_sub(HELD_BACK) as usize) {
            let Some(PageIndex(index)) = self.pop_cold() else { break };
            *place = index;
            len += 1;
        }
        let found = found.get_mut(..len).unwrap_or_default();
        found.sort_unstable();
        let (mut rest, mut runs) = (&*found, 0);
        while let Some(&first) = rest.first() {
            let follow = |&(place, &index): &(u32, &u32)| {
                index == first.wrapping_add(place)
                    && (place == 0 || are_neighbours(index.wrapping_sub(1)))
            };
            let together = (0..pages).zip(rest).take_while(follow).count();
            let is_run = together == pages as usize && runs < MOST_RUNS;
            runs += usize::from(is_run);
            let (taken, others) = rest.split_at_checked(together.max(1)).unwrap_or_default();
            match is_run {
                true => self.push_to(&self.runs, PageIndex(first)),
                false => taken.iter().for_each(|&index| self.push_cold(PageIndex(index))),
            }
            rest = others;
        }
        self.without_runs.store(if runs == 0 { cold } else { 0 }, Ordering::Relaxed);
    }

    fn push_cold(&self, index: PageIndex) {
        self.cold_pages.fetch_add(1, Ordering::Relaxed); // A hint.
        self.push_to(&self.cold, index);
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
            self.push_cold(index);
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

    #[test]
    fn runs_are_neighbours_of_one_segment_and_no_page_is_in_two_lists() {
        let free = FreePages::new(10_000).unwrap();
        let warm = 9_000..9_000 + MOST_WARM as u32;
        warm.clone().for_each(|index| free.push(PageIndex(index), || ()));
        assert_eq!(free.cold_pages.load(Ordering::Relaxed), 0);
        // One in seven is somebody's, and behind each hundredth begins a segment.
        let given: Vec<u32> = (1..400).filter(|index| index % 7 != 0).collect();
        let are_neighbours = |index: u32| !(index + 1).is_multiple_of(100);
        let mut seen = Vec::new();
        for (at, &index) in given.iter().enumerate() {
            free.push(PageIndex(index), || ());
            if free.wants_runs() {
                free.gather_runs(4, are_neighbours);
            }
            assert!(at as u64 + 1 >= MANY_COLD || free.pop_run().is_none(), "there are few");
            if at % 3 == 0 {
                let run =
                    core::iter::from_fn(|| free.pop_run()).flat_map(|page| page.0..page.0 + 4);
                seen.extend(run);
            }
        }
        assert!(seen.len() > given.len() / 4, "{}", seen.len());
        for run in seen.chunks(4) {
            assert!(run.iter().all(|index| given.contains(index)));
            assert!(run[..3].iter().all(|&index| are_neighbours(index)), "{run:?}");
        }
        seen.extend(core::iter::from_fn(|| free.pop_run()).flat_map(|page| page.0..page.0 + 4));
        seen.extend(core::iter::from_fn(|| free.pop()).map(|page| page.0));
        seen.sort_unstable();
        assert_eq!(seen, given.into_iter().chain(warm).collect::<Vec<_>>());
        assert_eq!(free.cold_pages.load(Ordering::Relaxed), 0);
    }

    #[test]
    fn neighbours_are_found_below_many_pages_that_have_none() {
        let free = FreePages::new(10_000).unwrap();
        let warm = 9_000..9_000 + MOST_WARM as u32;
        let scattered = (1_000..2_000).step_by(2);
        warm.chain(1..201).chain(scattered).for_each(|index| free.push(PageIndex(index), || ()));
        free.gather_runs(4, |_| true);
        let runs = core::iter::from_fn(|| free.pop_run()).count();
        assert_eq!(runs, MOST_RUNS);
        assert_eq!(free.cold_pages.load(Ordering::Relaxed), 700 - 4 * MOST_RUNS as u64);
    }
}
