//! Which pages of nodes are full: the drain writes them down as chunks, and nobody looks at them any more.

use core::sync::atomic::{AtomicU32, Ordering};

use tftrace_format::node::NODE_BYTES;
use tftrace_format::page::{NODES_PER_PAGE, PAGE_HEADER_BYTES};

use super::{MOST_NODES, StackTable};
use crate::spool::{PageIndex, Spool};

/// A page that has a node nobody wrote, because its thread left the hook by a jump, holds the others up for so many
/// pages.
const PATIENCE: usize = 64;

/// How far the drain is.
#[derive(Debug)]
pub(crate) struct FullPages {
    next: usize,
}

impl FullPages {
    /// None was looked at. The first page is never full: no node has the id 0.
    pub(crate) fn new() -> Self {
        Self { next: 1 }
    }

    /// Calls `found` with every page that is full since the last call, until it says no. Whoever is called has the
    /// page for itself.
    pub(crate) fn each(
        &mut self,
        table: &StackTable,
        spool: &Spool,
        mut found: impl FnMut(PageIndex) -> bool,
    ) {
        let numbered = table.next_id.load(Ordering::Relaxed).min(MOST_NODES) as usize; // A hint.
        while (self.next + 1) * NODES_PER_PAGE <= numbered {
            let full = table.full_page(self.next, spool);
            if full.is_none() && (self.next + PATIENCE) * NODES_PER_PAGE > numbered {
                return;
            }
            self.next += 1;
            if full.is_some_and(|page| !found(page)) {
                return;
            }
        }
    }
}

impl StackTable {
    /// The page of this number, if all of its nodes are written.
    fn full_page(&self, number: usize, spool: &Spool) -> Option<PageIndex> {
        let first = u32::try_from(number * NODES_PER_PAGE).ok()?;
        let index = self.page_index(first)?;
        spool.bring(index);
        // The word that each node is committed by.
        let first =
            spool.page(index).wrapping_add(PAGE_HEADER_BYTES + NODE_BYTES - size_of::<u32>());
        let is_written = |node: usize| {
            // SAFETY: inside the page, which stays mapped; aligned to four bytes.
            let word = unsafe { AtomicU32::from_ptr(first.wrapping_add(node * NODE_BYTES).cast()) };
            // Acquire: pairs with the commit of the node in `add`.
            word.load(Ordering::Acquire) != 0
        };
        (0..NODES_PER_PAGE).all(is_written).then_some(index)
    }
}

#[cfg(test)]
mod tests {
    use tftrace_format::Ticks;

    use super::super::Wanted;
    use super::*;

    fn add(table: &StackTable, spool: &Spool, nodes: u64) {
        for frame in 0..nodes {
            let next = u64::from(table.next_id.load(Ordering::Relaxed));
            let frame = 1 << 60 | next << 8 | (frame % 2);
            table.intern(spool, Ticks(1), &Wanted::new(0, frame)).unwrap();
        }
    }

    fn full(pages: &mut FullPages, table: &StackTable, spool: &Spool) -> usize {
        let mut count = 0;
        pages.each(table, spool, |_| {
            count += 1;
            true
        });
        count
    }

    #[test]
    fn a_page_is_full_once_and_only_when_its_last_node_is_written() {
        let (table, spool) = (StackTable::new(false).unwrap(), Spool::for_test(None));
        let mut pages = FullPages::new();
        let per_page = NODES_PER_PAGE as u64;
        add(&table, &spool, 2 * per_page - 2);
        assert_eq!(full(&mut pages, &table, &spool), 0);
        add(&table, &spool, 1);
        assert_eq!(full(&mut pages, &table, &spool), 1, "the second");
        assert_eq!(full(&mut pages, &table, &spool), 0);
        add(&table, &spool, 2 * per_page);
        let mut seen = 0;
        pages.each(&table, &spool, |_| {
            seen += 1;
            false
        });
        assert_eq!((seen, full(&mut pages, &table, &spool)), (1, 1), "one was refused by nobody");
    }

    #[test]
    fn a_node_that_was_never_written_holds_the_others_up_for_a_while() {
        let (table, spool) = (StackTable::new(false).unwrap(), Spool::for_test(None));
        let mut pages = FullPages::new();
        let per_page = NODES_PER_PAGE as u64;
        add(&table, &spool, per_page + 5);
        table.next_id.fetch_add(1, Ordering::Relaxed);
        add(&table, &spool, 3 * per_page);
        assert_eq!(full(&mut pages, &table, &spool), 0);
        add(&table, &spool, PATIENCE as u64 * per_page);
        let behind = full(&mut pages, &table, &spool);
        assert!(behind > PATIENCE, "{behind}");
    }
}
