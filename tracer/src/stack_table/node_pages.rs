//! New nodes are written into pages of the trace, which leave it for chunks when they are full.

use core::sync::atomic::{AtomicU32, Ordering};

use tftrace_format::Ticks;
use tftrace_format::counters::Counter;
use tftrace_format::node::{NODE_BYTES, PARENT_LIMIT, sealed};
use tftrace_format::page::{NODES_PER_PAGE, PAGE_HEADER_BYTES, PageKind};

use super::pieces::LINE;
use super::{MOST_NODES, StackTable, Wanted};
use crate::spool::{PageIndex, Spool};

const _: () = assert!(MOST_NODES <= PARENT_LIMIT);
/// For the nodes of so many pages memory is made ready at a time: 300 KiB.
const READY_PAGES: usize = 16;
pub(super) const PAGES: usize = MOST_NODES as usize / NODES_PER_PAGE + 2;

impl StackTable {
    /// Where it stands which page has the node of this id: one more than the page's number, 0 until it is taken.
    fn page(&self, id: u32) -> Option<&AtomicU32> {
        let page = id as usize / NODES_PER_PAGE;
        if page >= PAGES {
            return None;
        }
        // SAFETY: below the array's length.
        Some(unsafe { &*self.pages.wrapping_add(page) })
    }

    pub(super) fn page_index(&self, id: u32) -> Option<PageIndex> {
        // Acquire: pairs with the release that published the page.
        self.page(id)?.load(Ordering::Acquire).checked_sub(1).map(PageIndex)
    }

    /// The three words of a node's place in its page, until that is full and given away.
    pub(super) fn words<'s>(&self, spool: &'s Spool, id: u32) -> Option<[&'s AtomicU32; 3]> {
        let page = spool.page(self.page_index(id)?);
        let at = PAGE_HEADER_BYTES + id as usize % NODES_PER_PAGE * NODE_BYTES;
        // SAFETY: inside the page, which stays mapped; aligned to four bytes.
        let word = |at: usize| unsafe { AtomicU32::from_ptr(page.wrapping_add(at).cast()) };
        Some([word(at), word(at + 4), word(at + 8)])
    }

    /// Makes a new node, which nobody finds yet.
    #[cold]
    pub(super) fn add(&self, spool: &Spool, now: Ticks, node: &Wanted) -> Option<u32> {
        let id = self.next_id.load(Ordering::Relaxed); // Only an early look; the real id comes below.
        if id >= MOST_NODES {
            spool.count(Counter::StackTableFull, 1);
            return None;
        }
        if self.checks.of(id).is_none() {
            // Before an id is taken, which would be nobody's.
            spool.count(Counter::StackTableFull, 1);
            return None;
        }
        let id = self.next_id.fetch_add(1, Ordering::Relaxed); // Unique is enough; published by the slot.
        if id >= MOST_NODES {
            // Several threads took the last one at once. It is full from now on.
            return None;
        }
        let (check, page) = (self.checks.of(id)?, self.page(id)?);
        if page.load(Ordering::Acquire) == 0 {
            self.add_page(spool, now, id, page)?;
        }
        let [parent, low, high] = self.words(spool, id)?;
        parent.store(sealed(node.parent, node.frame), Ordering::Relaxed);
        low.store(node.frame as u32, Ordering::Relaxed);
        // Release: a reader of the file that sees this half of the frame sees the rest. The commit point.
        high.store((node.frame >> 32) as u32, Ordering::Release);
        check.store(node.check(), Ordering::Relaxed); // Published by the slot, or by the mark.
        Some(id)
    }

    fn add_page(&self, spool: &Spool, now: Ticks, id: u32, page: &AtomicU32) -> Option<()> {
        let first_id = id - id % NODES_PER_PAGE as u32;
        if let Some(before) = self.page_index(first_id.wrapping_sub(1)) {
            spool.leave_full(before);
        }
        let Some(PageIndex(new)) = spool.take(PageKind::Nodes, first_id, 0, now) else {
            spool.count(Counter::StackTableFull, 1);
            return None;
        };
        self.make_ready_from(first_id);
        // A thread that loses this race leaves its page empty in the file, which a reader understands.
        let _ = page.compare_exchange(0, new.wrapping_add(1), Ordering::AcqRel, Ordering::Acquire);
        Some(())
    }
    /// Makes memory ready for the nodes of some pages, of which this is the first id: piece by piece the kernel would be
    /// asked twice for each 4 KiB, as they are read before they are written to. Of a small table a small part.
    fn make_ready_from(&self, first_id: u32) {
        let page = first_id as usize / NODES_PER_PAGE;
        let ahead = if page >= READY_PAGES { READY_PAGES } else { page };
        if page.is_multiple_of(READY_PAGES) || page.is_power_of_two() {
            let end = first_id as usize + ahead * NODES_PER_PAGE;
            let ids = first_id as usize..end.min(MOST_NODES as usize);
            self.checks.populate(ids.start / LINE..ids.end / LINE);
            let bits = self.parents_per_line_bits;
            self.near.populate(ids.start >> bits..ids.end >> bits);
            self.successors.populate(ids.start as u32..ids.end as u32);
        }
    }
}
