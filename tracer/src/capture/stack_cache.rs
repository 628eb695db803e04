//! The nodes that a thread found last, so that most frames never reach the shared table.
//!
//! The table and its nodes are spread over tens of megabytes: a look-up there waits for memory
//! twice. This fits into a second-level cache, and where a frame is looked for follows from the frames
//! towards the root and not from what was found for them: several look-ups wait at once.

use super::extent::Extent;
use crate::arch;
use crate::stack_table;

const ENTRIES: usize = 1 << 14;
/// A thread that asks for few stacks has a page of them.
const FIRST: usize = 4096 / size_of::<Entry>();

/// A node, or none: the root of the tree.
#[derive(Clone, Copy, Debug)]
pub(super) struct Node {
    pub(super) id: u32,
    /// What says where children of it are looked for; any number will do, if it is mostly the same one.
    pub(super) path: u32,
}

impl Node {
    /// The node of this id, 0 = none, however it was reached.
    #[inline(always)]
    pub(super) fn of(id: u32) -> Self {
        Self { id, path: id }
    }
}

/// Direct-mapped by parent and frame. All zeros is valid and empty: no frame's word is zero.
#[derive(Debug)]
pub(crate) struct StackCache {
    entries: [Entry; ENTRIES],
    extent: Extent<FIRST, ENTRIES>,
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    frame: u64,
    parent: u32,
    id: u32,
}

impl StackCache {
    /// Where the node of `frame` below a node stands, and how that is reached.
    #[inline(always)]
    pub(super) fn place(&self, parent: Node, frame: u64) -> (usize, u32) {
        let hash = stack_table::hash(parent.path, frame);
        (self.extent.place((hash >> 48) as usize), hash as u32)
    }

    /// Brings a place near, which will be looked at soon.
    #[inline(always)]
    pub(super) fn fetch_ahead(&self, place: usize) {
        if let Some(entry) = self.entries.get(place) {
            arch::fetch_ahead(entry);
        }
    }

    /// The id of the node of `frame` below `parent`, whose place this is, if it was seen lately.
    #[inline(always)]
    pub(super) fn find(&self, place: usize, parent: u32, frame: u64) -> Option<u32> {
        let entry = self.entries.get(place)?;
        (entry.frame == frame && entry.parent == parent).then_some(entry.id)
    }

    /// Remembers a node.
    #[inline(always)]
    pub(super) fn remember(&mut self, place: usize, parent: u32, frame: u64, id: u32) {
        if let Some(entry) = self.entries.get_mut(place) {
            let is_taken = entry.frame != 0;
            *entry = Entry { frame, parent, id };
            if is_taken {
                self.extent.displaced();
            }
        }
    }

    /// Another thread has it from now on.
    pub(crate) fn begin_again(&mut self) {
        self.extent.begin_again();
    }
}
