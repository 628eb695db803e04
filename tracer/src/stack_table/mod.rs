//! Turns (parent, frame) pairs into [`StackId`]s, for all threads at once.
//!
//! Insert-only and lock-free. The nodes stand in pages of the trace, which are written once, and leave them for
//! chunks when they are full; this table only finds their ids. Never waits, never allocates from the heap: a full
//! table is a counted loss.
//!
//! A node is known by 39 bits of its hash, which depends on its frame and on its parent: that two are taken for
//! one has, in a table that is full, a probability of about one in ten thousand.
//!
//! A stack that is new makes a chain of new nodes, whose ids follow one another: what is looked for is
//! most often the next node, and has no slot ([`successors`]). The other children of neighbours are looked
//! for in one line of memory, the near part of the table, and only those of stacks with many children in
//! the far part, by their hash: a chain stays in the cache.
//!
//! A program that does the same again asks for nodes in the order in which it made them, and so nine in ten of them
//! are the one behind the node before ([`StackTable::is_behind`]): they are in memory that is read from front to back.

mod full_pages;
mod node_pages;
mod pieces;
mod successors;
mod wanted;

use core::sync::atomic::{AtomicU32, Ordering};

use tftrace_format::counters::Counter;
use tftrace_format::{StackId, Ticks};

use crate::arch;
use crate::spool::Spool;
use crate::system_call;
pub(crate) use full_pages::FullPages;
use node_pages::PAGES;
use pieces::{LINE, Pieces};
use successors::{Mark, Successor, Successors};
pub(crate) use wanted::{Wanted, hash};

/// A slot holds an id in these bits, and above it a tag, so that few nodes are looked at in vain.
const ID_BITS: u32 = 24;
const MOST_NODES: u32 = 1 << ID_BITS;

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

enum Look {
    Found(u32),
    Other,
    Empty,
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

    /// The first slot of the line of the far part in which a node is looked for first.
    #[inline(always)]
    fn far_line(&self, node: &Wanted) -> usize {
        (node.far() & self.first_slots.wrapping_sub(1)) & !(LINE - 1)
    }

    /// Whether the node behind another one, of the next id, is the wanted one. Of nodes that follow one another in
    /// the program's time that is often so, and takes no search.
    #[inline(always)]
    pub(crate) fn is_behind(&self, id: u32, node: &Wanted) -> bool {
        match self.successors.of(id) {
            Successor::Child(mark) | Successor::Other(mark) => {
                mark == Mark::of(node) && self.is(id.wrapping_add(1), node)
            }
            Successor::Undecided | Successor::None => false,
        }
    }

    /// Brings near what [`Self::is_behind`] looks at.
    #[inline(always)]
    pub(crate) fn fetch_behind(&self, id: u32) {
        self.successors.fetch_ahead(id);
        if let Some(check) = self.checks.of(id.wrapping_add(1)) {
            arch::fetch_ahead(check);
        }
    }

    /// The id of a node, which is made if there is none. `None`: the table or the file is full, which is counted.
    #[inline]
    pub(crate) fn intern(&self, spool: &Spool, now: Ticks, node: &Wanted) -> Option<u32> {
        let parent = node.parent;
        let mut own = None;
        match self.successors.of(parent) {
            Successor::Child(mark) if mark == Mark::of(node) => {
                let next = parent.wrapping_add(1);
                if self.is(next, node) {
                    return Some(next);
                }
            }
            Successor::Child(_) | Successor::Other(_) | Successor::None => {}
            Successor::Undecided => {
                let id = self.own(&mut own, spool, now, node)?;
                if let Some(id) = self.first_child(parent, id, node) {
                    return Some(id);
                }
            }
        }
        // Half of what a look-up there takes is waiting for its line.
        arch::fetch_ahead(self.far_slot(self.far_line(node)));
        // Each node has a place of its own where the search begins, so that it ends soon.
        let (after, before) = self
            .near
            .line((parent >> self.parents_per_line_bits) as usize)
            .split_at_checked(node.start())
            .unwrap_or_default();
        for slot in before.iter().chain(after) {
            match self.look(slot, node) {
                Look::Found(id) => return Some(id),
                Look::Other => {}
                Look::Empty => {
                    let id = self.own(&mut own, spool, now, node)?;
                    if let Some(id) = self.fill(slot, id, node) {
                        return Some(id);
                    }
                }
            }
        }
        self.intern_far(spool, now, node, own)
    }

    /// Makes a new node the first child of its parent: its id if it stands behind that, or if another
    /// thread put the same there. `None`: it needs a slot.
    fn first_child(&self, parent: u32, id: u32, node: &Wanted) -> Option<u32> {
        let next = parent.wrapping_add(1);
        let child = Successor::Child(Mark::of(node));
        match self.successors.decide(parent, if id == next { child } else { Successor::None }) {
            Successor::Child(_) if self.is(next, node) => Some(next),
            _ => None,
        }
    }

    /// As `intern`, for a node whose line is full.
    fn intern_far(
        &self,
        spool: &Spool,
        now: Ticks,
        node: &Wanted,
        mut own: Option<u32>,
    ) -> Option<u32> {
        let line = self.far_line(node);
        let first = (0..LINE).map(|probe| line | (node.start().wrapping_add(probe) & (LINE - 1)));
        let all = (0..self.far_slots).map(|probe| node.far().wrapping_add(probe));
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
        if value >> ID_BITS != node.tag() {
            return Look::Other;
        }
        if self.is(id, node) { Look::Found(id) } else { Look::Other }
    }

    /// Whether a node is the wanted one.
    #[inline(always)]
    fn is(&self, id: u32, node: &Wanted) -> bool {
        // Relaxed: the acquire of the slot, or of the mark, ordered this.
        self.checks.of(id).is_some_and(|check| check.load(Ordering::Relaxed) == node.check())
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
        let value = id | (node.tag() << ID_BITS);
        // Release: who finds the id finds the node.
        match slot.compare_exchange(0, value, Ordering::AcqRel, Ordering::Acquire) {
            Ok(_) => {
                self.successors.decide(id.wrapping_sub(1), Successor::Other(Mark::of(node)));
                Some(id)
            }
            Err(other) => match self.compare(other, node) {
                Look::Found(id) => Some(id),
                Look::Other | Look::Empty => None,
            },
        }
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
                table.intern(&spool, Ticks(1), &Wanted::new(parent, frame)).unwrap()
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
        let next =
            ids[0].iter().filter(|&&id| matches!(table.successors.of(id - 1), Successor::Child(_)));
        assert!(next.count() > 0, "some have no slot");
    }

    #[test]
    fn who_asks_again_in_the_same_order_finds_each_node_behind_the_last_one() {
        let table = StackTable::new(false).unwrap();
        let spool = Spool::for_test(None);
        // Four threads at once make some nodes that are of no use: they are not found this way either.
        let nodes = |thread: u64| {
            let mut seed = thread;
            let mut parent = 0;
            let mut made = Vec::new();
            for _ in 0..20_000 {
                seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                let outwards = (seed >> 33) % 8;
                parent = if outwards == 0 { 0 } else { parent };
                let node = Wanted::new(parent, 1 + (seed >> 40) % 5);
                parent = table.intern(&spool, Ticks(1), &node).unwrap();
                made.push((node, parent));
            }
            made
        };
        let made: Vec<Vec<(Wanted, u32)>> = std::thread::scope(|scope| {
            let nodes = &nodes;
            let threads = (0..4).map(|thread| scope.spawn(move || nodes(thread / 2)));
            threads.collect::<Vec<_>>().into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        let found: HashSet<u32> = made.iter().flatten().map(|made| made.1).collect();
        let behind = |id: u32, node: &Wanted| table.is_behind(id - 1, node);
        for (node, id) in made.iter().flatten() {
            let (next, other) = (table.is_behind(*id, node), Wanted::new(node.parent, 99));
            assert!(
                !next && !behind(*id, &other),
                "{node:?} is not behind itself, and no other one is it"
            );
        }
        let are_behind = made.iter().flatten().filter(|(node, id)| behind(*id, node));
        assert!(are_behind.count() > 3 * 20_000, "of four times 20,000");
        let known = |id: &u32| {
            !matches!(table.successors.of(id - 1), Successor::Undecided | Successor::None)
        };
        let used = table.next_id.load(Ordering::Relaxed);
        let known: HashSet<u32> = (1..used).filter(known).collect();
        assert!(known.is_subset(&found), "a node that lost the race for its slot is nobody's");
    }
}
