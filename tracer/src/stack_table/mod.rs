//! Turns (parent, frame) pairs into [`StackId`]s, for all threads at once.
//!
//! Insert-only and lock-free. The nodes stand in pages of the trace, which are written once, and leave them for
//! chunks when they are full; this table only finds their ids. Never waits, never allocates from the heap: a full
//! table is a counted loss.
//!
//! A node is known by 40 bits of its hash, which depends on its frame and on its parent: that two are taken for
//! one has, in a table that is full, a probability of about one in ten thousand.
//!
//! A stack that is new makes a chain of new nodes, whose ids follow one another: what is looked for is
//! most often the next node, and has no slot ([`successors`]). The other children of neighbours are looked
//! for in one line of memory, the near part of the table, and only those of stacks with many children in
//! the far part, by their hash: a chain stays in the cache.

mod full_pages;
mod pieces;
mod successors;

use core::sync::atomic::{AtomicU32, Ordering};

use tftrace_format::counters::Counter;
use tftrace_format::node::{NODE_BYTES, PARENT_LIMIT, sealed};
use tftrace_format::page::{NODES_PER_PAGE, PAGE_HEADER_BYTES, PageKind};
use tftrace_format::{StackId, Ticks};

use crate::arch;
use crate::spool::{PageIndex, Spool};
use crate::system_call;
pub(crate) use full_pages::FullPages;
use pieces::{LINE, Pieces};
use successors::{Mark, Successor, Successors};

/// A slot holds an id in these bits, and above it a tag, so that few nodes are looked at in vain.
const ID_BITS: u32 = 24;
const MOST_NODES: u32 = 1 << ID_BITS;
const _: () = assert!(MOST_NODES <= PARENT_LIMIT);
const PAGES: usize = MOST_NODES as usize / NODES_PER_PAGE + 2;

/// Nodes that find their line full are looked for first in so many slots of the far part, a line for each, and
/// among all others only where that is full too: else a few thousand would take a page each. Where only a
/// sample is recorded there are few nodes.
const FIRST: usize = 1 << 20;
const FIRST_SAMPLED: usize = 1 << 16;

/// So many neighbouring parents share a line of the near part, as a power of two. Two of five children need a slot;
/// where address space is limited, and most stacks have no mark, more of them.
const PARENTS_PER_LINE_BITS: u32 = 5;
const FEWER_BITS: u32 = 4;

/// Slots of the far part; one part in so many, and of stacks whose successors are known, where the host's
/// address space is limited already.
const FAR: usize = 1 << 22;
const SMALLER: usize = 8;

/// The table.
#[derive(Debug)]
pub(crate) struct StackTable {
    /// Of each node 32 bits of its hash.
    checks: Pieces,
    /// The near part: not by id, but lines of slots.
    near: Pieces,
    parents_per_line_bits: u32,
    /// Open addressing, for what finds its line full: the same by hash.
    far: *mut AtomicU32,
    /// How many slots it has; a power of two.
    far_slots: usize,
    far_used: AtomicU32,
    /// How many of its slots are looked at first.
    first_slots: usize,
    successors: Successors,
    pages: *mut AtomicU32,
    next_id: AtomicU32,
}

// SAFETY: all arrays stay mapped for ever and are used through atomics only.
unsafe impl Sync for StackTable {}
// SAFETY: as above.
unsafe impl Send for StackTable {}

/// Spreads a frame below a parent over 64 bits, each of which depends on every bit of both: the
/// two halves of a 128-bit product, as in wyhash.
#[inline(always)]
pub(crate) fn hash(parent: u32, frame: u64) -> u64 {
    let left = u128::from(frame ^ 0x9E37_79B9_7F4A_7C15);
    let right = u128::from(u64::from(parent) ^ 0xD1B5_4A32_D192_ED03);
    let product = left.wrapping_mul(right);
    (product as u64) ^ ((product >> 64) as u64)
}

/// A node that is looked for, and what of its hash is compared.
struct Wanted {
    parent: u32,
    frame: u64,
    tag: u32,
    check: u32,
}

impl Wanted {
    #[inline(always)]
    fn new((parent, frame, hash): (u32, u64, u64)) -> Self {
        // Both halves: beside the tag, which is of the lower one, and beside the mark, which is of the upper one,
        // these are 32 more bits.
        Self { parent, frame, tag: tag(hash), check: (hash >> 32) as u32 ^ hash as u32 }
    }
}

enum Look {
    Found(u32),
    Other,
    Empty,
}

/// The part of a hash that a slot holds: other bits than those that say where slot and cache look.
#[inline(always)]
fn tag(hash: u64) -> u32 {
    (hash >> 24) as u32 & 0xFF
}

/// The slot of a line that is looked at first.
#[inline(always)]
fn start(hash: u64) -> usize {
    hash as usize >> 20 & (LINE - 1)
}

impl StackTable {
    /// An empty table, for few nodes or for many; `None` if there is no memory for it.
    pub(crate) fn new(is_sampled: bool) -> Option<Self> {
        let is_limited = system_call::limit(libc::RLIMIT_AS) != libc::RLIM_INFINITY;
        let smaller = if is_limited { SMALLER } else { 1 };
        let (far_slots, marked) = (FAR / smaller, MOST_NODES / smaller as u32);
        let far = system_call::map_private(far_slots * size_of::<AtomicU32>()).ok()?;
        let pages = system_call::map_private(PAGES * size_of::<AtomicU32>()).ok()?;
        Some(Self {
            checks: Pieces::new(),
            near: Pieces::new(),
            parents_per_line_bits: if is_limited { FEWER_BITS } else { PARENTS_PER_LINE_BITS },
            far: far.cast(),
            far_slots,
            far_used: AtomicU32::new(0),
            first_slots: far_slots.min(if is_sampled { FIRST_SAMPLED } else { FIRST }),
            successors: Successors::new(marked)?,
            pages: pages.cast(),
            next_id: AtomicU32::new(1),
        })
    }

    /// Maps what is mapped as it is used; for a host that forbids it later.
    pub(crate) fn prepare(&self) {
        self.checks.prepare(MOST_NODES as usize / LINE);
        self.near.prepare((MOST_NODES >> self.parents_per_line_bits) as usize);
    }

    #[inline(always)]
    fn far_slot(&self, index: usize) -> &AtomicU32 {
        // SAFETY: below the array's length.
        unsafe { &*self.far.wrapping_add(index & self.far_slots.wrapping_sub(1)) }
    }

    /// The first slot of the line of the far part in which a node with this hash is looked for first.
    #[inline(always)]
    fn far_line(&self, hash: u64) -> usize {
        (hash as usize & self.first_slots.wrapping_sub(1)) & !(LINE - 1)
    }

    /// Where it stands which page has the node of this id: one more than the page's number, 0 until it is taken.
    fn page(&self, id: u32) -> Option<&AtomicU32> {
        let page = id as usize / NODES_PER_PAGE;
        if page >= PAGES {
            return None;
        }
        // SAFETY: below the array's length.
        Some(unsafe { &*self.pages.wrapping_add(page) })
    }

    fn page_index(&self, id: u32) -> Option<PageIndex> {
        // Acquire: pairs with the release that published the page.
        self.page(id)?.load(Ordering::Acquire).checked_sub(1).map(PageIndex)
    }

    /// The three words of a node's place in its page, until that is full and given away.
    fn words<'s>(&self, spool: &'s Spool, id: u32) -> Option<[&'s AtomicU32; 3]> {
        let page = spool.page(self.page_index(id)?);
        let at = PAGE_HEADER_BYTES + id as usize % NODES_PER_PAGE * NODE_BYTES;
        // SAFETY: inside the page, which stays mapped; aligned to four bytes.
        let word = |at: usize| unsafe { AtomicU32::from_ptr(page.wrapping_add(at).cast()) };
        Some([word(at), word(at + 4), word(at + 8)])
    }

    /// The id of the stack that ends with `frame` (as [`tftrace_format::Frame::to_wire`] gives it)
    /// below `parent` (0 = it is the root). `None`: the table or the file is full, which is counted.
    /// `hash` is [`hash`] of both.
    #[inline]
    pub(crate) fn intern(&self, spool: &Spool, now: Ticks, wanted: (u32, u64, u64)) -> Option<u32> {
        let (parent, _, hash) = wanted;
        let node = Wanted::new(wanted);
        let mut own = None;
        match self.successors.of(parent) {
            Successor::Marked(mark) if mark == Mark::of(hash) => {
                let next = parent.wrapping_add(1);
                if self.is(next, &node) {
                    return Some(next);
                }
            }
            Successor::Marked(_) | Successor::None => {}
            Successor::Undecided => {
                let id = self.own(&mut own, spool, now, &node)?;
                if let Some(id) = self.first_child(parent, id, &node, Mark::of(hash)) {
                    return Some(id);
                }
            }
        }
        // Half of what a look-up there takes is waiting for its line.
        arch::fetch_ahead(self.far_slot(self.far_line(hash)));
        // Each node has a place of its own where the search begins, so that it ends soon.
        let (after, before) = self
            .near
            .line((parent >> self.parents_per_line_bits) as usize)
            .split_at_checked(start(hash))
            .unwrap_or_default();
        for slot in before.iter().chain(after) {
            match self.look(slot, &node) {
                Look::Found(id) => return Some(id),
                Look::Other => {}
                Look::Empty => {
                    let id = self.own(&mut own, spool, now, &node)?;
                    if let Some(id) = self.fill(slot, id, &node) {
                        return Some(id);
                    }
                }
            }
        }
        self.intern_far(spool, now, &node, hash, own)
    }

    /// Makes a new node the first child of its parent: its id if it stands behind that, or if another
    /// thread put the same there. `None`: it needs a slot.
    fn first_child(&self, parent: u32, id: u32, node: &Wanted, mark: Mark) -> Option<u32> {
        let next = parent.wrapping_add(1);
        match self.successors.decide(parent, (id == next).then_some(mark)) {
            Successor::Marked(_) if self.is(next, node) => Some(next),
            _ => None,
        }
    }

    /// As `intern`, for a node whose line is full.
    fn intern_far(
        &self,
        spool: &Spool,
        now: Ticks,
        node: &Wanted,
        hash: u64,
        mut own: Option<u32>,
    ) -> Option<u32> {
        let line = self.far_line(hash);
        let first = (0..LINE).map(|probe| line | (start(hash).wrapping_add(probe) & (LINE - 1)));
        let all = (0..self.far_slots).map(|probe| (hash as usize).wrapping_add(probe));
        for place in first.chain(all) {
            let slot = self.far_slot(place);
            match self.look(slot, node) {
                Look::Found(id) => return Some(id),
                Look::Other => {}
                Look::Empty => {
                    // Above this many nodes the table is called full: probes would get long.
                    if self.far_used.load(Ordering::Relaxed) as usize >= self.far_slots / 8 * 7 {
                        spool.count(Counter::StackTableFull, 1);
                        return None;
                    }
                    let id = self.own(&mut own, spool, now, node)?;
                    if let Some(found) = self.fill(slot, id, node) {
                        if found == id {
                            self.far_used.fetch_add(1, Ordering::Relaxed); // A count.
                        }
                        return Some(found);
                    }
                }
            }
        }
        None
    }

    /// What a slot is to who looks for a node. Slots are filled in the order in which they are
    /// looked at and never emptied, so a node that is not before an empty one is nowhere.
    #[inline(always)]
    fn look(&self, slot: &AtomicU32, node: &Wanted) -> Look {
        // Acquire: pairs with the release in `fill`; the node's words were written before.
        match slot.load(Ordering::Acquire) {
            0 => Look::Empty,
            value => self.compare(value, node),
        }
    }

    #[inline(always)]
    fn compare(&self, value: u32, node: &Wanted) -> Look {
        let id = value % MOST_NODES;
        if value >> ID_BITS != node.tag {
            return Look::Other;
        }
        if self.is(id, node) { Look::Found(id) } else { Look::Other }
    }

    /// Whether a node is the wanted one.
    #[inline(always)]
    fn is(&self, id: u32, node: &Wanted) -> bool {
        // Relaxed: the acquire of the slot, or of the mark, ordered this.
        self.checks.of(id).is_some_and(|check| check.load(Ordering::Relaxed) == node.check)
    }

    /// The node that this call made, or makes now.
    #[inline(always)]
    fn own(&self, own: &mut Option<u32>, spool: &Spool, now: Ticks, node: &Wanted) -> Option<u32> {
        if own.is_none() {
            *own = Some(self.add(spool, now, node)?);
        }
        *own
    }

    /// Puts a new node into an empty slot. If another thread was faster: its node, if it is the
    /// same; the one that was added stays unused then.
    #[inline(always)]
    fn fill(&self, slot: &AtomicU32, id: u32, node: &Wanted) -> Option<u32> {
        let value = id | (node.tag << ID_BITS);
        // Release: who finds the id finds the node.
        match slot.compare_exchange(0, value, Ordering::AcqRel, Ordering::Acquire) {
            Ok(_) => Some(id),
            Err(other) => match self.compare(other, node) {
                Look::Found(id) => Some(id),
                Look::Other | Look::Empty => None,
            },
        }
    }

    #[cold]
    fn add(&self, spool: &Spool, now: Ticks, node: &Wanted) -> Option<u32> {
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
        check.store(node.check, Ordering::Relaxed); // Published by the slot, or by the mark.
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
        // A thread that loses this race leaves its page empty in the file, which a reader understands.
        let _ = page.compare_exchange(0, new.wrapping_add(1), Ordering::AcqRel, Ordering::Acquire);
        Some(())
    }
}

/// The id as the format's type.
#[inline(always)]
pub(crate) fn stack_id(id: Option<u32>) -> Option<StackId> {
    id.and_then(StackId::new)
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn threads_agree_on_ids_in_lines_that_overflow() {
        [false, true].into_iter().for_each(agree_on_ids);
    }

    fn agree_on_ids(is_sampled: bool) {
        let table = StackTable::new(is_sampled).unwrap();
        let spool = Spool::for_test(None);
        // A tree with wide nodes and long chains: each path is what a thread looks up.
        let path = |seed: u64| -> Vec<u64> {
            (0..8)
                .map(|step| 1 + hash(step, seed >> (step * 2)) % (3 + 61 * u64::from(step == 2)))
                .collect()
        };
        let look_up = |seed: u64| {
            path(seed).into_iter().fold(0, |parent, frame| {
                table.intern(&spool, Ticks(1), (parent, frame, hash(parent, frame))).unwrap()
            })
        };
        let ids: Vec<Vec<u32>> = std::thread::scope(|scope| {
            let look_up = &look_up;
            let threads = (0..4).map(|_| scope.spawn(move || (0..20_000).map(look_up).collect()));
            threads.collect::<Vec<_>>().into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        assert!(ids.iter().all(|found| *found == ids[0]));
        let paths: HashSet<Vec<u64>> = (0..20_000).map(path).collect();
        let distinct: HashSet<u32> = ids[0].iter().copied().collect();
        assert_eq!(distinct.len(), paths.len(), "one id for each stack");
        assert!(table.far_used.load(Ordering::Relaxed) > 0, "some lines are full");
        let next = ids[0]
            .iter()
            .filter(|&&id| matches!(table.successors.of(id - 1), Successor::Marked(_)));
        assert!(next.count() > 0, "some have no slot");
    }
}
