//! The nodes that a thread found last, so that most frames never reach the shared table.
//!
//! The table is spread over tens of megabytes: a look-up there waits for memory twice. What a program does again it
//! mostly does in the same order, and then the next node is behind the last one; what is not is looked for here,
//! which fits into a second-level cache.

use super::extent::Extent;
use crate::stack_table::{StackTable, Wanted};

const ENTRIES: usize = 1 << 14;
/// A thread that asks for few stacks has a page of them.
const FIRST: usize = 4096 / size_of::<Entry>();

/// Direct-mapped by parent and frame. All zeros is valid and empty: no frame's word is zero.
#[derive(Debug)]
pub(crate) struct StackCache {
    entries: [Entry; ENTRIES],
    extent: Extent<FIRST, ENTRIES>,
    /// What was found last.
    last: u32,
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    frame: u64,
    parent: u32,
    id: u32,
}

impl StackCache {
    /// The id of a node that was seen lately, or that stands behind the one that was found last.
    #[inline(always)]
    pub(super) fn find(&mut self, table: &StackTable, node: &Wanted) -> Option<u32> {
        if table.is_behind(self.last, node) {
            self.last = self.last.wrapping_add(1);
            return Some(self.last);
        }
        let entry = self.entries.get(self.extent.place(node.place_in_cache()))?;
        if entry.frame != node.frame || entry.parent != node.parent {
            return None;
        }
        self.last = entry.id;
        table.fetch_behind(entry.id);
        Some(entry.id)
    }

    /// Remembers a node.
    #[inline(always)]
    pub(super) fn remember(&mut self, table: &StackTable, node: &Wanted, id: u32) {
        let place = self.extent.place(node.place_in_cache());
        if let Some(entry) = self.entries.get_mut(place) {
            let is_taken = entry.frame != 0;
            *entry = Entry { frame: node.frame, parent: node.parent, id };
            if is_taken {
                self.extent.displaced();
            }
        }
        self.last = id;
        table.fetch_behind(id);
    }

    /// Another thread has it from now on.
    pub(crate) fn begin_again(&mut self) {
        self.extent.begin_again();
    }
}
