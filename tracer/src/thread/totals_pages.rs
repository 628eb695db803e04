//! A thread's open pages of totals: how often there was each kind of temporary.

use core::sync::atomic::{AtomicU64, Ordering};

use tftrace_format::page::{PAGE_HEADER_BYTES, PageKind, TOTALS_PER_PAGE};
use tftrace_format::totals::{TOTALS_BYTES, Temporaries};
use tftrace_format::{Ticks, check};

use super::fold_clock;
use crate::arch;
use crate::spool::{PageIndex, Spool};

/// A page is handed over when it is this full: probes stay short.
const MOST_ENTRIES: u32 = (TOTALS_PER_PAGE / 4 * 3) as u32;
/// Pages that a thread has open at most: 4 MiB, for a loop that has so many kinds of temporaries. One with more fills
/// pages for ever.
const MOST_PAGES: usize = 128;
/// Of so many kinds one is remembered, and so many of those: what comes again is recognized among a quarter of a million others.
const SAMPLED: u32 = 512;
const REMEMBERED: usize = 512;
/// When of so many sampled kinds one had been counted before, in a page that is gone, there are more pages.
const ENOUGH_REPEATED: u32 = 4;

/// An open page.
#[derive(Debug)]
struct OpenPage {
    /// Its number; 0 = none.
    index: u32,
    used: u32,
    /// Its first byte.
    place: *mut u8,
}

impl OpenPage {
    const NONE: Self = Self { index: 0, used: 0, place: core::ptr::null_mut() };
}

/// The open pages. All zeros is valid: there are none.
#[derive(Debug)]
pub(super) struct TotalsPages {
    /// A kind of temporaries is counted in the page that these bits of its hash say.
    pages: [OpenPage; MOST_PAGES],
    mask: usize,
    repetition: Repetition,
}

/// Whether kinds come again whose pages were handed over: then larger pages would have counted them once. A program
/// that starts does everything once, and would only spread over more memory.
#[derive(Debug)]
struct Repetition {
    /// Of the kinds seen lately whose hash says so: what says which it was.
    seen: [u32; REMEMBERED],
    /// How many of them were new in their page since there are so many pages, and how many of those had been seen.
    sampled: u32,
    repeated: u32,
}

impl Repetition {
    /// A kind is new in its page.
    #[inline(always)]
    fn note(&mut self, hash: u64) {
        // The upper bits depend on all of the kind.
        let which = (hash >> 32) as u32;
        if which < u32::MAX / SAMPLED
            && let Some(seen) = self.seen.get_mut(which as usize % REMEMBERED)
        {
            self.sampled = self.sampled.saturating_add(1);
            self.repeated = self.repeated.saturating_add(u32::from(*seen == which));
            *seen = which;
        }
    }

    /// Whether many did.
    fn is_likely(&self) -> bool {
        self.repeated != 0 && self.repeated.saturating_mul(ENOUGH_REPEATED) >= self.sampled
    }

    /// Begins to count anew; what was seen stays.
    fn reset(&mut self) {
        (self.sampled, self.repeated) = (0, 0);
    }
}

/// How often there was a kind of temporaries, in an open page.
#[derive(Debug)]
pub(super) struct Count {
    key: u64,
    /// What is made of the key, if the kind is one of those whose times are to be known.
    timed: Option<u64>,
    count: &'static AtomicU64,
}

impl Count {
    /// Counts one more. How many an event should stand for that says when it was, if there should be one.
    #[inline(always)]
    pub(super) fn add_one(self) -> Option<u64> {
        let Self { key, timed, count } = self;
        let known = check::value(count.load(Ordering::Relaxed)); // Written by this thread, or 0.
        let known = known.saturating_add(1);
        // Release: whoever sees the count sees the key. The commit point.
        count.store(Temporaries::count_to_wire(key, known), Ordering::Release);
        fold_clock::stands_for(timed?, known)
    }
}

/// What says where a kind of temporaries is counted.
#[inline(always)]
fn hash_of(key: u64) -> u64 {
    key.wrapping_mul(0x9E37_79B9_7F4A_7C15)
}

/// The entry of a page that it is looked for at first.
#[inline(always)]
fn first_entry(hash: u64) -> usize {
    (((hash >> 32) * TOTALS_PER_PAGE as u64) >> 32) as usize
}

/// Where an entry stands in its page, in bytes.
#[inline(always)]
fn offset_of(entry: usize) -> usize {
    PAGE_HEADER_BYTES + entry * TOTALS_BYTES
}

impl TotalsPages {
    /// Brings the count of a kind near, which will be changed soon.
    #[inline(always)]
    pub(super) fn fetch_ahead(&mut self, key: u64) {
        let hash = hash_of(key);
        if let Some(page) = self.page(hash) {
            arch::fetch_ahead(page.place.wrapping_add(offset_of(first_entry(hash))));
        }
    }

    /// The count of a kind of temporaries; its key is written if it is new. `None`: there is no page for it.
    #[inline(always)]
    pub(super) fn count_of(
        &mut self,
        spool: &Spool,
        thread: (u32, u32),
        key: u64,
        now: Ticks,
    ) -> Option<Count> {
        let hash = hash_of(key);
        while self.page(hash).is_none_or(|page| page.index == 0 || page.used >= MOST_ENTRIES) {
            self.renew(spool, thread, hash, now)?;
        }
        // With more pages there are more kinds, and fewer of them are needed: those of the first page.
        let timed = (self.place_of(hash) == 0).then_some(hash);
        let page = self.page(hash)?;
        let mut index = first_entry(hash);
        loop {
            // SAFETY: `index` is below the entries of the open page, which stays mapped.
            let place = unsafe { page.place.add(offset_of(index)) }.cast::<u64>();
            // SAFETY: as above; aligned to eight bytes.
            let known = unsafe { AtomicU64::from_ptr(place) };
            // SAFETY: as above.
            let count = unsafe { AtomicU64::from_ptr(place.wrapping_add(1)) };
            // Relaxed: only this thread writes the page while it is open.
            if count.load(Ordering::Relaxed) == 0 {
                known.store(key, Ordering::Relaxed);
                page.used = page.used.saturating_add(1);
                self.repetition.note(hash);
                return Some(Count { key, timed, count });
            }
            if known.load(Ordering::Relaxed) == key {
                return Some(Count { key, timed, count });
            }
            index = if index + 1 == TOTALS_PER_PAGE { 0 } else { index + 1 };
        }
    }

    /// Where a kind of temporaries is counted.
    #[inline(always)]
    fn page(&mut self, hash: u64) -> Option<&mut OpenPage> {
        let place = self.place_of(hash);
        self.pages.get_mut(place)
    }

    /// In which of the pages that is.
    #[inline(always)]
    fn place_of(&self, hash: u64) -> usize {
        // Bits below those that say where in the page, and above those that the stack alone decides.
        (hash >> 40) as usize & self.mask
    }

    /// Hands over the page in which `hash` would be counted, if there is one, else takes one. Where kinds come again
    /// there are twice as many from then on. What was counted in another page before is counted anew: a reader
    /// adds it up.
    #[cold]
    fn renew(
        &mut self,
        spool: &Spool,
        (number, tid): (u32, u32),
        hash: u64,
        now: Ticks,
    ) -> Option<()> {
        let page = self.page(hash)?;
        if page.index == 0 {
            let new = spool.take(PageKind::Totals, number, tid, now)?;
            *page = OpenPage { index: new.0, used: 0, place: spool.page(new) };
            return Some(());
        }
        spool.hand_over(PageIndex(page.index));
        *page = OpenPage::NONE;
        let more = self.mask.wrapping_add(1);
        if more < MOST_PAGES && self.repetition.is_likely() && spool.lend(more as u32) {
            self.mask = self.mask.wrapping_add(more);
            self.repetition.reset();
        }
        Some(())
    }

    /// Hands all pages to the drain: the thread is gone.
    pub(super) fn retire(&mut self, spool: &Spool) {
        for page in self.pages.iter().filter(|page| page.index != 0) {
            spool.leave(PageIndex(page.index));
        }
        self.hand_over_all(spool);
    }

    /// Hands all pages to the drain. What is counted from now on is counted anew.
    pub(super) fn hand_over_all(&mut self, spool: &Spool) {
        for page in &mut self.pages {
            if page.index != 0 {
                spool.hand_over(PageIndex(page.index));
            }
            *page = OpenPage::NONE;
        }
        spool.take_back(self.mask as u32);
        self.mask = 0;
        // What was seen may stay: these are hashes.
        self.repetition.reset();
    }
}

#[cfg(test)]
mod tests {
    use core::num::NonZeroU64;

    use super::*;
    use crate::spool::MOST_LENT;
    use tftrace_format::totals::TemporaryKey;
    use tftrace_format::{Domain, StackId};

    fn count(pages: &mut TotalsPages, spool: &Spool, kind: u32) -> Option<u64> {
        let (stack, size, domain) = (StackId::new(1 + kind), u64::from(kind % 7), Domain::Malloc);
        let key = TemporaryKey { stack, size, domain }.to_wire().unwrap();
        pages.count_of(spool, (1, 1), key, Ticks(1)).unwrap().add_one()
    }

    /// Counts each of 100,000 kinds 20 times; gives how many pages are open then.
    fn pages_after_repetition(spool: &Spool) -> usize {
        // Nothing is drained here.
        spool.drain_begins();
        // SAFETY: zeros are valid: there are no pages.
        let mut pages: TotalsPages = unsafe { core::mem::zeroed() };
        (0..20).for_each(|_| (0..100_000).for_each(|kind| _ = count(&mut pages, spool, kind)));
        pages.mask + 1
    }

    #[test]
    fn where_the_file_has_a_bound_few_pages_are_open() {
        let bound = |bytes: u64| pages_after_repetition(&Spool::for_test(NonZeroU64::new(bytes)));
        assert_eq!([8 << 20, 64 << 20, 2 << 30].map(bound), [8, 64, MOST_PAGES]);
    }

    #[test]
    fn there_are_more_pages_where_kinds_come_again_and_not_where_all_are_new() {
        let spool = Spool::for_test(None);
        // SAFETY: zeros are valid: there are no pages.
        let mut pages: TotalsPages = unsafe { core::mem::zeroed() };
        for kind in 0..100_000 {
            count(&mut pages, &spool, kind);
        }
        assert_eq!(pages.mask, 0);
        assert_eq!(spool.take_full(), 100_000 / MOST_ENTRIES);
        let round = |pages: &mut TotalsPages| {
            (0..100_000).for_each(|kind| _ = count(pages, &spool, kind));
            spool.take_full()
        };
        let first = round(&mut pages);
        (0..20).for_each(|_| _ = round(&mut pages));
        assert_eq!(pages.mask, MOST_PAGES - 1);
        assert!(first > 0);
        assert_eq!(round(&mut pages), 0, "each has an entry");
        let timed =
            (0..100_000).filter(|kind| (0..8).any(|_| count(&mut pages, &spool, *kind).is_some()));
        let timed = timed.count() * MOST_PAGES;
        assert!((50_000..200_000).contains(&timed), "those of one page: {timed}");
        pages.retire(&spool);
        assert_eq!((pages.mask, spool.take_full()), (0, MOST_PAGES as u32));
        // What was lent is given back.
        assert!(spool.lend(MOST_LENT) && !spool.lend(1));
    }
}
