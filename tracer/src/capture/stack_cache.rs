//! The nodes that a thread found last, so that most frames never reach the shared table.
//!
//! The table and its nodes are spread over tens of megabytes: a look-up there waits for memory
//! twice. This fits into a second-level cache.

const ENTRIES: usize = 4096;

/// Direct-mapped by parent and frame. All zeros is valid and empty: no frame's word is zero.
#[derive(Debug)]
pub(crate) struct StackCache([Entry; ENTRIES]);

#[derive(Clone, Copy, Debug)]
struct Entry {
    frame: u64,
    parent: u32,
    id: u32,
}

impl StackCache {
    /// The node of `frame` below `parent`, whose hash this is, if it was seen lately.
    #[inline(always)]
    pub(super) fn find(&self, (parent, frame, hash): (u32, u64, u64)) -> Option<u32> {
        // The high bits: the table of all threads goes by the low ones.
        let entry = self.0.get((hash >> 48) as usize % ENTRIES)?;
        (entry.frame == frame && entry.parent == parent).then_some(entry.id)
    }

    /// Remembers a node.
    #[inline(always)]
    pub(super) fn remember(&mut self, (parent, frame, hash): (u32, u64, u64), id: u32) {
        if let Some(entry) = self.0.get_mut((hash >> 48) as usize % ENTRIES) {
            *entry = Entry { frame, parent, id };
        }
    }
}
