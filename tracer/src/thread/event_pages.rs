//! A thread's open pages of events, and where in them the allocation of a block stands.
//!
//! One is filled. Those before it stay open for a while, as far as the spool lends pages for it: where thousands of
//! blocks live at a time, what dies soon dies later than one page reaches. A slot whose event was folded is used
//! again, in whichever page it is; only when there is none another page is filled.
//!
//! Every change is one store of a commit word, so that a reader of the file sees an event or does not.

use core::sync::atomic::{AtomicU64, Ordering};

use tftrace_format::event::{EVENT_BYTES, RawEvent};
use tftrace_format::page::{EVENTS_PER_PAGE, PAGE_HEADER_BYTES, PageKind};
use tftrace_format::{Domain, StackId, Ticks};

use crate::spool::{PageIndex, Spool};

/// Pages that a thread has open at most. Half of their slots may be those of blocks that die: when a page is handed
/// over, the ends of its blocks take as many slots again.
const MOST_PAGES: usize = 4;
/// Places where blocks are looked for by address, for each open page and for all: of blocks that share one only the
/// last is found.
const PLACES_OF_PAGE: usize = 2048;
const PLACES: usize = MOST_PAGES * PLACES_OF_PAGE;
/// A slot's number: its page in the bits above these, its place in the page in these.
const PLACE_BITS: u32 = 11;

const _: () = assert!(
    EVENTS_PER_PAGE < 1 << PLACE_BITS && MOST_PAGES << PLACE_BITS <= 1 << 15,
    "a slot's number and one more fit into 16 bits"
);

/// An open page.
#[derive(Debug)]
struct OpenPage {
    /// Its number; 0 = none (page 0 is the header).
    index: u32,
    /// Its first byte.
    place: *mut u8,
}

impl OpenPage {
    const NONE: Self = Self { index: 0, place: core::ptr::null_mut() };
}

/// A slot of an open page, which one event may stand in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Slot(u16);

/// The three words of a slot.
type Words = [&'static AtomicU64; 3];

/// The open pages. All zeros is valid: there are none.
#[derive(Debug)]
pub(super) struct EventPages {
    pages: [OpenPage; MOST_PAGES],
    /// How many there may be, less one: a power of two, less one. All but one are lent by the spool.
    mask: u16,
    /// Which of them is filled now, and how many of its slots are used.
    current: u16,
    used: u16,
    /// The first of those that are free again, in whichever page (its number + 1). The next one stands where the
    /// event's first word stood.
    free: u16,
    /// Where the allocation of an address may stand (its slot's number + 1). A slot may have another event
    /// meanwhile: what it has is looked at. A part of it is used, as large as the pages: thousands of short threads
    /// would have the rest in memory.
    finder: [u16; PLACES],
}

impl EventPages {
    #[inline(always)]
    fn words(&self, slot: Slot) -> Option<Words> {
        let page = self.pages.get(usize::from(slot.0 >> PLACE_BITS))?;
        let index = usize::from(slot.0) % (1 << PLACE_BITS);
        if page.index == 0 || index >= EVENTS_PER_PAGE {
            return None;
        }
        let at = PAGE_HEADER_BYTES + index * EVENT_BYTES;
        // SAFETY: inside the open page, which stays mapped and is aligned to eight bytes.
        let first = unsafe { page.place.add(at) }.cast::<u64>();
        // SAFETY: as above.
        let word0 = unsafe { AtomicU64::from_ptr(first) };
        // SAFETY: as above.
        let word1 = unsafe { AtomicU64::from_ptr(first.wrapping_add(1)) };
        // SAFETY: as above.
        let word2 = unsafe { AtomicU64::from_ptr(first.wrapping_add(2)) };
        Some([word0, word1, word2])
    }

    /// Appends an event. `None`: there is no page for it.
    #[inline(always)]
    pub(super) fn append(
        &mut self,
        spool: &Spool,
        thread: (u32, u32),
        now: Ticks,
        event: RawEvent,
    ) -> Option<Slot> {
        let (slot, words) = self.take_slot(spool, thread, now)?;
        let [word0, word1, word2] = event.0;
        words[0].store(word0, Ordering::Relaxed);
        words[1].store(word1, Ordering::Relaxed);
        // Release: whoever sees this word sees the other two. The commit point.
        words[2].store(word2, Ordering::Release);
        Some(slot)
    }

    #[inline(always)]
    fn take_slot(
        &mut self,
        spool: &Spool,
        thread: (u32, u32),
        now: Ticks,
    ) -> Option<(Slot, Words)> {
        if let Some(number) = self.free.checked_sub(1) {
            let words = self.words(Slot(number));
            self.free = words.map_or(0, |[next, ..]| next.load(Ordering::Relaxed) as u16); // This thread's own.
            return Some((Slot(number), words?));
        }
        if !self.has_page() || usize::from(self.used) >= EVENTS_PER_PAGE {
            self.renew(spool, thread, now)?;
        }
        let slot = Slot((self.current << PLACE_BITS) | self.used);
        self.used = self.used.saturating_add(1);
        Some((slot, self.words(slot)?))
    }

    /// Whether there is a page that is filled.
    #[inline(always)]
    fn has_page(&self) -> bool {
        self.pages.get(usize::from(self.current)).is_some_and(|page| page.index != 0)
    }

    /// Takes a page to be filled next. If it is one too many, that one is handed over which was filled first; no slot
    /// of it is free.
    #[cold]
    fn renew(&mut self, spool: &Spool, (number, tid): (u32, u32), now: Ticks) -> Option<()> {
        let new = spool.take(PageKind::Events, number, tid, now)?;
        let next = if !self.has_page() {
            0
        } else if self.current < self.mask || self.may_grow(spool) {
            self.current.wrapping_add(1) & self.mask
        } else {
            0
        };
        let page = self.pages.get_mut(usize::from(next))?;
        if page.index != 0 {
            spool.hand_over(PageIndex(page.index));
        }
        *page = OpenPage { index: new.0, place: spool.page(new) };
        (self.current, self.used) = (next, 0);
        Some(())
    }

    /// Makes room for twice as many pages, if the spool lends them. What is in the finder is not found any more.
    fn may_grow(&mut self, spool: &Spool) -> bool {
        let more = self.mask.saturating_add(1);
        let may = usize::from(more) < MOST_PAGES && spool.lend(u32::from(more));
        if may {
            self.mask = self.mask.saturating_add(more);
        }
        may
    }

    /// Where in the finder a block is looked for.
    #[inline(always)]
    fn finder_place(&self, address: u64) -> usize {
        const SHIFT: u32 = 64 - PLACES.ilog2();
        let place = (address >> 4).wrapping_mul(0x9E37_79B9_7F4A_7C15) >> SHIFT;
        place as usize & (usize::from(self.mask) << PLACES_OF_PAGE.ilog2() | (PLACES_OF_PAGE - 1))
    }

    /// The allocation of this block can be found in this slot from now on.
    #[inline(always)]
    pub(super) fn remember(&mut self, address: u64, slot: Slot) {
        let place = self.finder_place(address);
        if let Some(place) = self.finder.get_mut(place) {
            *place = slot.0.saturating_add(1);
        }
    }

    /// The allocation of this block cannot be found any more.
    #[inline(always)]
    pub(super) fn forget(&mut self, address: u64) {
        let place = self.finder_place(address);
        if let Some(place) = self.finder.get_mut(place) {
            *place = 0;
        }
    }

    /// Where the allocation of a block stands, when that was, its size and its stack, if it is in an open page.
    #[inline(always)]
    pub(super) fn find(
        &self,
        domain: Domain,
        address: u64,
    ) -> Option<(Slot, Ticks, u64, Option<StackId>)> {
        let slot = Slot(self.finder.get(self.finder_place(address))?.checked_sub(1)?);
        let raw = RawEvent(self.words(slot)?.map(|word| word.load(Ordering::Relaxed))); // Written by this thread.
        let (time, size, stack) = raw.allocation_of(domain, address)?;
        Some((slot, time, size, stack))
    }

    /// Takes an event out of its page; the slot is used again.
    #[inline(always)]
    pub(super) fn remove(&mut self, slot: Slot) {
        if let Some([next, _, commit]) = self.words(slot) {
            commit.store(0, Ordering::Release);
            // Release: the slot is empty before anything else stands in it.
            next.store(u64::from(self.free), Ordering::Release);
            self.free = slot.0.saturating_add(1);
        }
    }

    /// Hands all pages to the drain: the thread is gone.
    pub(super) fn retire(&mut self, spool: &Spool) {
        for page in &mut self.pages {
            if page.index != 0 {
                spool.leave(PageIndex(page.index));
                spool.hand_over(PageIndex(page.index));
            }
            *page = OpenPage::NONE;
        }
        // What the finder says of these pages is looked up in others from now on, and not found there: nothing of it
        // is touched, as thousands of short threads would have it in memory.
        (self.current, self.used, self.free) = (0, 0, 0);
        spool.take_back(u32::from(self.mask));
        self.mask = 0;
    }

    /// The host jumped out of a hook. A slot that was taken and not committed stays empty; the list of free ones
    /// may be half changed.
    pub(super) fn after_jump(&mut self) {
        self.free = 0;
        let places = usize::from(self.mask).saturating_add(1).saturating_mul(PLACES_OF_PAGE);
        self.finder.iter_mut().take(places).for_each(|place| *place = 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spool::MOST_LENT;
    use tftrace_format::Event;

    const SLOTS: u64 = EVENTS_PER_PAGE as u64;

    fn address_of(number: u64) -> u64 {
        0x7F00_0000_0000 + 16 * number
    }

    fn append(pages: &mut EventPages, spool: &Spool, number: u64) -> Slot {
        let (time, address, size) = (Ticks(1 + number), address_of(number), number);
        let domain = Domain::Malloc;
        let event =
            Event::Allocated { time, domain, address, size, stack: None, file_backed: false };
        let slot = pages.append(spool, (1, 1), time, RawEvent::pack(&event).unwrap()).unwrap();
        pages.remember(address, slot);
        slot
    }

    fn new() -> Box<EventPages> {
        // SAFETY: zeros are valid: there are no pages.
        Box::new(unsafe { core::mem::zeroed() })
    }

    /// Fills all pages and one slot more; gives how many were handed over.
    fn fill(pages: &mut EventPages, spool: &Spool, most: u64) -> u32 {
        for number in 0..most * SLOTS {
            append(pages, spool, number);
        }
        assert_eq!(spool.take_full(), 0);
        append(pages, spool, most * SLOTS);
        spool.take_full()
    }

    fn is_found(pages: &EventPages, number: u64) -> bool {
        let found = pages.find(Domain::Malloc, address_of(number));
        if let Some((_, time, size, stack)) = found {
            assert_eq!((time, size, stack), (Ticks(1 + number), number, None));
        }
        found.is_some()
    }

    #[test]
    fn blocks_are_found_in_all_open_pages_and_in_none_that_was_handed_over() {
        let (spool, mut pages) = (Spool::for_test(None), new());
        // The finder has forgotten the first half when it grew.
        let most = MOST_PAGES as u64;
        assert_eq!(fill(&mut pages, &spool, most), 1);
        assert!((0..SLOTS).all(|number| !is_found(&pages, number)));
        let second_half = (most / 2 * SLOTS..=most * SLOTS).filter(|at| is_found(&pages, *at));
        // Of two that share a place the later one is found.
        assert!(second_half.count() as u64 > most / 4 * SLOTS);
        pages.retire(&spool);
        assert_eq!(spool.take_full(), MOST_PAGES as u32);
        assert!((0..=most * SLOTS).all(|number| !is_found(&pages, number)));
        assert!(spool.lend(MOST_LENT), "what was lent was given back");
    }

    #[test]
    fn where_the_spool_lends_nothing_one_page_is_open() {
        let (spool, mut pages) = (Spool::for_test(None), new());
        assert!(spool.lend(MOST_LENT));
        assert_eq!(fill(&mut pages, &spool, 1), 1);
        assert!(is_found(&pages, SLOTS) && (0..SLOTS).all(|number| !is_found(&pages, number)));
    }

    #[test]
    fn slots_are_used_again_in_whichever_page_they_are() {
        let (spool, mut pages) = (Spool::for_test(None), new());
        let slots: Vec<Slot> =
            (0..2 * SLOTS).map(|number| append(&mut pages, &spool, number)).collect();
        let (first, second) = (slots[7], slots[EVENTS_PER_PAGE + 9]);
        pages.remove(first);
        pages.remove(second);
        assert_eq!(pages.find(Domain::Malloc, address_of(7)), None, "it is free");
        let [.., commit] = pages.words(first).unwrap();
        assert_eq!(commit.load(Ordering::Relaxed), 0, "a reader of the file sees no event");
        assert_eq!(append(&mut pages, &spool, 10_000), second);
        assert_eq!(append(&mut pages, &spool, 10_001), first);
        let third = append(&mut pages, &spool, 10_002);
        assert!(!slots.contains(&third), "there was none left");
        // As after a jump out of a hook: free slots are given up, and nothing is found.
        pages.remove(first);
        pages.after_jump();
        assert_ne!(append(&mut pages, &spool, 10_003), first);
        assert_eq!(pages.find(Domain::Malloc, address_of(10_002)), None);
    }
}
