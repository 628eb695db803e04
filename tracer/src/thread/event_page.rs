//! A thread's open page of events, and where in it the allocation of a block stands.
//!
//! A slot whose event was folded is used again; the page is handed over when no slot is free.
//!
//! Every change is one store of a commit word, so that a reader of the file sees an event or does not.

use core::sync::atomic::{AtomicU64, Ordering};

use tftrace_format::event::{EVENT_BYTES, RawEvent};
use tftrace_format::page::{EVENTS_PER_PAGE, PAGE_HEADER_BYTES, PageKind};
use tftrace_format::{Domain, StackId, Ticks};

use crate::spool::{PageIndex, Spool};

/// Places where blocks are looked for by address: of blocks that share one only the last is found.
const PLACES: usize = 2048;

const _: () = assert!(EVENTS_PER_PAGE < 1 << 15, "a slot's number and one more fit into 16 bits");

/// A slot of the page, which one event may stand in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Slot(u16);

/// The open page. All zeros is valid: there is none.
#[derive(Debug)]
pub(super) struct EventPage {
    /// Its number; 0 = none (page 0 is the header).
    index: u32,
    /// Its first byte.
    place: *mut u8,
    /// How many of its slots were used so far.
    used: u16,
    /// The first of those that are free again (its number + 1). The next one stands where the event's first word stood.
    free: u16,
    /// Where the allocation of an address may stand (its slot's number + 1). A slot may have another event
    /// meanwhile: what it has is looked at.
    finder: [u16; PLACES],
}

#[inline(always)]
fn finder_place(address: u64) -> usize {
    const SHIFT: u32 = 64 - PLACES.ilog2();
    ((address >> 4).wrapping_mul(0x9E37_79B9_7F4A_7C15) >> SHIFT) as usize
}

impl EventPage {
    /// The three words of a slot.
    #[inline(always)]
    fn words(&self, slot: Slot) -> Option<[&'static AtomicU64; 3]> {
        let index = usize::from(slot.0);
        if self.index == 0 || index >= EVENTS_PER_PAGE {
            return None;
        }
        let at = PAGE_HEADER_BYTES + index * EVENT_BYTES;
        // SAFETY: inside the open page, which stays mapped and is aligned to eight bytes.
        let first = unsafe { self.place.add(at) }.cast::<u64>();
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
        let slot = self.take_slot(spool, thread, now)?;
        let words = self.words(slot)?;
        let [word0, word1, word2] = event.0;
        words[0].store(word0, Ordering::Relaxed);
        words[1].store(word1, Ordering::Relaxed);
        // Release: whoever sees this word sees the other two. The commit point.
        words[2].store(word2, Ordering::Release);
        Some(slot)
    }

    #[inline(always)]
    fn take_slot(&mut self, spool: &Spool, thread: (u32, u32), now: Ticks) -> Option<Slot> {
        if let Some(number) = self.free.checked_sub(1) {
            let next = self.words(Slot(number)).map(|[next, ..]| next.load(Ordering::Relaxed)); // This thread's own.
            self.free = next.map_or(0, |next| next as u16);
            return Some(Slot(number));
        }
        if self.index == 0 || usize::from(self.used) >= EVENTS_PER_PAGE {
            self.renew(spool, thread, now)?;
        }
        let number = self.used;
        self.used = number.saturating_add(1);
        Some(Slot(number))
    }

    /// Takes a page in place of one of which no slot is free.
    #[cold]
    fn renew(&mut self, spool: &Spool, (number, tid): (u32, u32), now: Ticks) -> Option<()> {
        let new = spool.take(PageKind::Events, number, tid, now)?;
        if self.index != 0 {
            spool.hand_over(PageIndex(self.index));
        }
        (self.index, self.place, self.used) = (new.0, spool.page(new), 0);
        Some(())
    }

    /// The allocation of this block can be found in this slot from now on.
    #[inline(always)]
    pub(super) fn remember(&mut self, address: u64, slot: Slot) {
        if let Some(place) = self.finder.get_mut(finder_place(address)) {
            *place = slot.0.saturating_add(1);
        }
    }

    /// The allocation of this block cannot be found any more.
    #[inline(always)]
    pub(super) fn forget(&mut self, address: u64) {
        if let Some(place) = self.finder.get_mut(finder_place(address)) {
            *place = 0;
        }
    }

    /// Where the allocation of a block stands, when that was, its size and its stack, if it is in the page.
    #[inline(always)]
    pub(super) fn find(
        &self,
        domain: Domain,
        address: u64,
    ) -> Option<(Slot, Ticks, u64, Option<StackId>)> {
        let slot = Slot(self.finder.get(finder_place(address))?.checked_sub(1)?);
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

    /// Hands the page to the drain: the thread is gone.
    pub(super) fn retire(&mut self, spool: &Spool) {
        if self.index != 0 {
            spool.leave(PageIndex(self.index));
            spool.hand_over(PageIndex(self.index));
        }
        // What the finder says of this page is looked up in others from now on, and not found there.
        (self.index, self.used, self.free) = (0, 0, 0);
    }

    /// The host jumped out of a hook. A slot that was taken and not committed stays empty; the list of free ones
    /// may be half changed.
    pub(super) fn after_jump(&mut self) {
        self.free = 0;
        self.finder.fill(0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tftrace_format::Event;

    const SLOTS: u64 = EVENTS_PER_PAGE as u64;

    fn address_of(number: u64) -> u64 {
        0x7F00_0000_0000 + 16 * number
    }

    fn append(page: &mut EventPage, spool: &Spool, number: u64) -> Slot {
        let (time, address, size) = (Ticks(1 + number), address_of(number), number);
        let domain = Domain::Malloc;
        let event =
            Event::Allocated { time, domain, address, size, stack: None, file_backed: false };
        let slot = page.append(spool, (1, 1), time, RawEvent::pack(&event).unwrap()).unwrap();
        page.remember(address, slot);
        slot
    }

    fn new() -> Box<EventPage> {
        // SAFETY: zeros are valid: there is no page.
        Box::new(unsafe { core::mem::zeroed() })
    }

    #[test]
    fn blocks_are_found_in_the_open_page_and_not_when_it_was_handed_over() {
        let (spool, mut page) = (Spool::for_test(None), new());
        for number in 0..SLOTS {
            append(&mut page, &spool, number);
        }
        assert_eq!(spool.take_full(), 0);
        let found = |page: &EventPage, number: u64| {
            let (_, time, size, stack) = page.find(Domain::Malloc, address_of(number))?;
            assert_eq!((time, size, stack), (Ticks(1 + number), number, None));
            Some(())
        };
        // Of two that share a place the later one is found.
        let count = (0..SLOTS).filter(|&number| found(&page, number).is_some()).count() as u64;
        assert!(count > SLOTS / 2, "{count}");
        append(&mut page, &spool, SLOTS);
        assert_eq!(spool.take_full(), 1);
        assert!((0..SLOTS).all(|number| found(&page, number).is_none()));
        assert!(found(&page, SLOTS).is_some());
        page.retire(&spool);
        assert_eq!(spool.take_full(), 1);
        assert!(found(&page, SLOTS).is_none());
    }

    #[test]
    fn slots_are_used_again() {
        let (spool, mut page) = (Spool::for_test(None), new());
        let slots: Vec<Slot> = (0..100).map(|number| append(&mut page, &spool, number)).collect();
        page.remove(slots[7]);
        page.remove(slots[9]);
        assert_eq!(page.find(Domain::Malloc, address_of(7)), None, "it is free");
        let [.., commit] = page.words(slots[7]).unwrap();
        assert_eq!(commit.load(Ordering::Relaxed), 0, "a reader of the file sees no event");
        assert_eq!(append(&mut page, &spool, 10_000), slots[9]);
        assert_eq!(append(&mut page, &spool, 10_001), slots[7]);
        let third = append(&mut page, &spool, 10_002);
        assert!(!slots.contains(&third), "there was none left");
        // As after a jump out of a hook: free slots are given up, and nothing is found.
        page.remove(slots[7]);
        page.after_jump();
        assert_ne!(append(&mut page, &spool, 10_003), slots[7]);
        assert_eq!(page.find(Domain::Malloc, address_of(10_002)), None);
    }
}
