//! A thread's open pages: events are appended, and temporaries folded, where they stand in the file.
//!
//! Every change is one store of a commit word, so that a reader of the file sees an event or does
//! not. Never waits: a page that cannot be had is a counted loss.

use core::sync::atomic::{AtomicU64, Ordering};

use tftrace_format::counters::Counter;
use tftrace_format::event::{EVENT_BYTES, Event, RawEvent};
use tftrace_format::page::{EVENTS_PER_PAGE, PAGE_HEADER_BYTES, PageKind, TOTALS_PER_PAGE};
use tftrace_format::totals::{TOTALS_BYTES, Temporaries, TemporaryKey};
use tftrace_format::{Domain, Ticks, check};

use crate::arch;
use crate::capture::kept_stack::KeptStack;
use crate::capture::rule_cache::RuleCache;
use crate::capture::stack_cache::StackCache;
use crate::process::Process;
use crate::python::kept_frames::KeptFrames;
use crate::sampling::Gap;
use crate::spool::{PageIndex, Spool};

const FINDER: usize = 2048;
/// What lives longer than this, in ticks, is no temporary: some tenth of a second, below which a time
/// line has no windows that matter.
const LONGEST_TEMPORARY: u64 = 1 << 28;
/// A block of at least this size that is resized is no temporary either: what grows by `realloc` would
/// never be seen.
const LARGE_RESIZED: u64 = 16 << 10;

/// How a block ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    Freed,
    /// Another block took its place (`realloc`).
    Resized,
}

/// A totals page is handed over when it is this full: probes stay short.
const MOST_TOTALS: u32 = (TOTALS_PER_PAGE / 4 * 3) as u32;
/// Totals pages that a lane has open at most. A loop with more kinds of temporaries than have room fills
/// pages for ever.
const MOST_TOTALS_PAGES: usize = 8;

/// An open page of totals.
#[derive(Debug)]
struct TotalsPage {
    /// Its number; 0 = none.
    index: u32,
    used: u32,
    /// Its first byte.
    place: *mut u8,
}

impl TotalsPage {
    const NONE: Self = Self { index: 0, used: 0, place: core::ptr::null_mut() };
}

/// One of a thread's two sets of open pages. All zeros is a valid, empty lane.
#[derive(Debug)]
pub(crate) struct Lane {
    /// Page number; 0 = none (page 0 is the header).
    events: u32,
    /// Its first byte; null = none.
    events_place: *mut u8,
    /// A kind of temporaries is counted in the page that these bits of its hash say.
    totals: [TotalsPage; MOST_TOTALS_PAGES],
    totals_mask: usize,
    /// Whether a page of totals was filled before.
    has_filled: bool,
    /// Event slots used so far, and the first of those that are free again (index + 1).
    used: u16,
    free: u16,
    /// For a free slot, the next one (index + 1).
    next_free: [u16; EVENTS_PER_PAGE],
    /// Where the allocation of an address stands, if it is in the open page (index + 1).
    finder: [u16; FINDER],
    pub(crate) kept: KeptStack,
    pub(crate) stacks: StackCache,
    pub(crate) rules: RuleCache,
    pub(crate) python: KeptFrames,
    pub(crate) gap: Gap,
}

#[inline(always)]
fn finder_place(address: u64) -> usize {
    ((address >> 4).wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 53) as usize
}

/// What says where a kind of temporaries is counted.
#[inline(always)]
fn totals_hash(key: u64) -> u64 {
    key.wrapping_mul(0x9E37_79B9_7F4A_7C15)
}

/// The entry of a page that it is looked for at first.
#[inline(always)]
fn totals_place(hash: u64) -> usize {
    (((hash >> 32) * TOTALS_PER_PAGE as u64) >> 32) as usize
}

/// Where an entry stands in its page, in bytes.
#[inline(always)]
fn totals_offset(index: usize) -> usize {
    PAGE_HEADER_BYTES + index * TOTALS_BYTES
}

impl Lane {
    /// The three words of an event slot.
    #[inline(always)]
    fn words(&self, index: u16) -> Option<[&'static AtomicU64; 3]> {
        let index = usize::from(index);
        if self.events_place.is_null() || index >= EVENTS_PER_PAGE {
            return None;
        }
        let at = PAGE_HEADER_BYTES + index * EVENT_BYTES;
        // SAFETY: inside the open page, which stays mapped and is aligned to eight bytes.
        let first = unsafe { self.events_place.add(at) }.cast::<u64>();
        // SAFETY: as above.
        let word0 = unsafe { AtomicU64::from_ptr(first) };
        // SAFETY: as above.
        let word1 = unsafe { AtomicU64::from_ptr(first.wrapping_add(1)) };
        // SAFETY: as above.
        let word2 = unsafe { AtomicU64::from_ptr(first.wrapping_add(2)) };
        Some([word0, word1, word2])
    }

    /// Appends an event; an allocation that may be folded later can be found by its address.
    #[inline(always)]
    pub(crate) fn append(&mut self, process: &Process, thread: (u32, u32), event: &Event) {
        let Some(raw) = RawEvent::pack(event) else {
            process.spool.count(Counter::LostBadAddress, 1);
            return;
        };
        let Some(index) = self.take_slot(process, thread, event.time()) else {
            process.spool.count(Counter::LostFileFull, 1);
            return;
        };
        let Some(words) = self.words(index) else { return };
        let [word0, word1, word2] = raw.0;
        words[0].store(word0, Ordering::Relaxed);
        words[1].store(word1, Ordering::Relaxed);
        // Release: whoever sees this word sees the other two. The commit point.
        words[2].store(word2, Ordering::Release);
        if let Event::Allocated { address, domain, stack, size, .. } = *event
            && domain != Domain::Mmap
            && let Some(place) = self.finder.get_mut(finder_place(address))
        {
            *place = index.saturating_add(1);
            // Most are folded soon; the count would be waited for then.
            if let Some(key) = (TemporaryKey { stack, size, domain }).to_wire() {
                let hash = totals_hash(key);
                if let Some(page) = self.totals_page(hash) {
                    arch::fetch_ahead(page.place.wrapping_add(totals_offset(totals_place(hash))));
                }
            }
        }
    }

    #[inline(always)]
    fn take_slot(&mut self, process: &Process, thread: (u32, u32), now: Ticks) -> Option<u16> {
        if let Some(index) = self.free.checked_sub(1) {
            self.free = self.next_free.get(usize::from(index)).copied().unwrap_or(0);
            return Some(index);
        }
        if self.events == 0 || usize::from(self.used) >= EVENTS_PER_PAGE {
            self.renew_events(process, thread, now)?;
        }
        let index = self.used;
        self.used = index.saturating_add(1);
        Some(index)
    }

    #[cold]
    fn renew_events(
        &mut self,
        process: &Process,
        (number, tid): (u32, u32),
        now: Ticks,
    ) -> Option<()> {
        let page = process.spool.take(PageKind::Events, number, tid, now)?;
        if self.events != 0 {
            process.spool.hand_over(PageIndex(self.events));
        }
        (self.events, self.events_place) = (page.0, process.spool.page(page));
        (self.used, self.free) = (0, 0);
        self.finder.fill(0);
        Some(())
    }

    /// Whether the block is a temporary: allocated in the open page a moment ago, and nobody else has
    /// freed it since.
    #[inline(always)]
    fn foldable(
        &self,
        process: &Process,
        domain: Domain,
        address: u64,
        now: Ticks,
        end: End,
    ) -> Option<(u16, TemporaryKey)> {
        let index = self.finder.get(finder_place(address))?.checked_sub(1)?;
        let raw = RawEvent(self.words(index)?.map(|word| word.load(Ordering::Relaxed))); // Written by this thread.
        let (time, size, stack) = raw.allocation_of(domain, address)?;
        if now.0.saturating_sub(time.0) > LONGEST_TEMPORARY
            || (end == End::Resized && size >= LARGE_RESIZED)
            || process.foreign.since(domain, address, time)
        {
            return None;
        }
        Some((index, TemporaryKey { stack, size, domain }))
    }

    /// Tells other threads of the end of a block that is being resized, if that will not be folded; to be
    /// called before the real call.
    #[inline(always)]
    pub(crate) fn announce_resized(
        &self,
        process: &Process,
        domain: Domain,
        address: u64,
        time: Ticks,
    ) {
        if self.foldable(process, domain, address, time, End::Resized).is_none() {
            process.foreign.announce(domain, address, time);
        }
    }

    /// Folds the end of a block with its allocation, if it was a temporary. False: the end is to be
    /// recorded. `now` need not be exact.
    #[inline(always)]
    pub(crate) fn folds(
        &mut self,
        process: &Process,
        thread: (u32, u32),
        (domain, address): (Domain, u64),
        now: Ticks,
        end: End,
    ) -> bool {
        let Some((index, key)) = self.foldable(process, domain, address, now, end) else {
            return false;
        };
        let Some(entry) = key.to_wire() else { return false };
        let Some(count) = self.totals_entry(process, thread, entry, now) else { return false };
        if let Some(words) = self.words(index) {
            // Release: the slot is empty before it is used again.
            words[2].store(0, Ordering::Release);
        }
        let known = check::open(count.load(Ordering::Relaxed), entry).unwrap_or(0);
        // Release: whoever sees the count sees the key. The commit point.
        count.store(Temporaries::count_to_wire(entry, known.saturating_add(1)), Ordering::Release);
        if let Some(next) = self.next_free.get_mut(usize::from(index)) {
            *next = self.free;
            self.free = index.saturating_add(1);
        }
        if let Some(place) = self.finder.get_mut(finder_place(address)) {
            *place = 0;
        }
        true
    }

    /// Records the end of a block that is no temporary.
    #[inline(always)]
    pub(crate) fn ended(
        &mut self,
        process: &Process,
        thread: (u32, u32),
        (domain, address): (Domain, u64),
        time: Ticks,
    ) {
        process.foreign.announce(domain, address, time);
        if let Some(place) = self.finder.get_mut(finder_place(address)) {
            *place = 0;
        }
        self.append(process, thread, &Event::Freed { time, domain, address });
    }

    /// The count word of a kind of temporaries; its key is written if it is new.
    #[inline(always)]
    fn totals_entry(
        &mut self,
        process: &Process,
        thread: (u32, u32),
        key: u64,
        now: Ticks,
    ) -> Option<&'static AtomicU64> {
        let hash = totals_hash(key);
        while self.totals_page(hash).is_none_or(|page| page.index == 0 || page.used >= MOST_TOTALS)
        {
            self.renew_totals(process, thread, hash, now)?;
        }
        let page = self.totals_page(hash)?;
        let mut index = totals_place(hash);
        loop {
            // SAFETY: `index` is below the entries of the open page, which stays mapped.
            let place = unsafe { page.place.add(totals_offset(index)) }.cast::<u64>();
            // SAFETY: as above; aligned to eight bytes.
            let known = unsafe { AtomicU64::from_ptr(place) };
            // SAFETY: as above.
            let count = unsafe { AtomicU64::from_ptr(place.wrapping_add(1)) };
            // Relaxed: only this thread writes the page while it is open.
            if count.load(Ordering::Relaxed) == 0 {
                known.store(key, Ordering::Relaxed);
                page.used = page.used.saturating_add(1);
                return Some(count);
            }
            if known.load(Ordering::Relaxed) == key {
                return Some(count);
            }
            index = if index + 1 == TOTALS_PER_PAGE { 0 } else { index + 1 };
        }
    }

    /// Where a kind of temporaries is counted.
    #[inline(always)]
    fn totals_page(&mut self, hash: u64) -> Option<&mut TotalsPage> {
        // Bits below those that say where in the page, and above those that the stack alone decides.
        self.totals.get_mut((hash >> 48) as usize & self.totals_mask)
    }

    /// Hands over the page in which `hash` would be counted, if there is one, else takes one. Most threads
    /// fill one at most; after the second there may be twice as many each time. What was counted in
    /// another page before is counted anew: a reader adds it up.
    #[cold]
    fn renew_totals(
        &mut self,
        process: &Process,
        (number, tid): (u32, u32),
        hash: u64,
        now: Ticks,
    ) -> Option<()> {
        let page = self.totals_page(hash)?;
        if page.index == 0 {
            let new = process.spool.take(PageKind::Totals, number, tid, now)?;
            *page = TotalsPage { index: new.0, used: 0, place: process.spool.page(new) };
            return Some(());
        }
        process.spool.hand_over(PageIndex(page.index));
        *page = TotalsPage::NONE;
        if self.has_filled {
            self.totals_mask = self.totals_mask.wrapping_mul(2).wrapping_add(1) % MOST_TOTALS_PAGES;
        }
        self.has_filled = true;
        Some(())
    }

    /// Hands the open pages to the drain: the thread is gone.
    pub(crate) fn retire(&mut self, spool: &Spool) {
        let totals = core::mem::replace(&mut self.totals, [TotalsPage::NONE; MOST_TOTALS_PAGES]);
        let pages = totals.iter().map(|page| page.index).chain([self.events]);
        for page in pages.filter(|&page| page != 0) {
            spool.leave(PageIndex(page));
            spool.hand_over(PageIndex(page));
        }
        (self.totals_mask, self.has_filled) = (0, false);
        (self.events, self.used, self.free) = (0, 0, 0);
        self.events_place = core::ptr::null_mut();
        self.finder.fill(0);
        self.kept.forget_stacks();
        self.python.clear();
    }

    /// The host jumped out of a hook: what it was doing may be half done.
    pub(crate) fn after_jump(&mut self) {
        // Event slots commit by one store, so the pages are sound; a slot that was taken and not
        // committed stays empty. The kept stack and the list of free slots may be half changed.
        self.kept.forget();
        self.python.clear();
        self.free = 0;
        self.finder.fill(0);
    }
}
