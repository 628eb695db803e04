//! Turns (parent, frame) pairs into [`StackId`]s, for all threads at once.
//!
//! Insert-only and lock-free. The nodes stand in pages of the trace; this table only finds them.
//! Never waits, never allocates from the heap: a full table is a counted loss.

use core::sync::atomic::{AtomicPtr, AtomicU32, AtomicU64, Ordering};

use tftrace_format::counters::Counter;
use tftrace_format::node::NODE_BYTES;
use tftrace_format::page::{NODES_PER_PAGE, PAGE_HEADER_BYTES, PageKind};
use tftrace_format::{StackId, Ticks, check};

use crate::spool::Spool;
use crate::system_call;

const SLOTS: usize = 1 << 23;
/// Above this the table is called full: probes would get long.
const MOST_NODES: u32 = (SLOTS / 8 * 7) as u32;
const PAGES: usize = MOST_NODES as usize / NODES_PER_PAGE + 2;

/// The table.
#[derive(Debug)]
pub(crate) struct StackTable {
    /// Open addressing: 0, or the id of a node with this hash.
    slots: *mut AtomicU32,
    /// The first byte of each page of nodes, null until it is taken.
    pages: *mut AtomicPtr<u8>,
    next_id: AtomicU32,
}

// SAFETY: both arrays stay mapped for ever and are used through atomics only.
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

impl StackTable {
    /// An empty table; `None` if there is no memory for it.
    pub(crate) fn new() -> Option<Self> {
        let slots = system_call::map_private(SLOTS * size_of::<AtomicU32>()).ok()?;
        let pages = system_call::map_private(PAGES * size_of::<AtomicPtr<u8>>()).ok()?;
        Some(Self { slots: slots.cast(), pages: pages.cast(), next_id: AtomicU32::new(1) })
    }

    fn slot(&self, index: usize) -> &AtomicU32 {
        // SAFETY: masked to the table's length.
        unsafe { &*self.slots.wrapping_add(index & (SLOTS - 1)) }
    }

    fn page(&self, id: u32) -> Option<&AtomicPtr<u8>> {
        let page = id as usize / NODES_PER_PAGE;
        if page >= PAGES {
            return None;
        }
        // SAFETY: below the array's length.
        Some(unsafe { &*self.pages.wrapping_add(page) })
    }

    /// The two words of a node's place in its page.
    fn words(&self, id: u32) -> Option<[&AtomicU64; 2]> {
        // Acquire: pairs with the release that published the page.
        let page = self.page(id)?.load(Ordering::Acquire);
        if page.is_null() {
            return None;
        }
        let at = PAGE_HEADER_BYTES + id as usize % NODES_PER_PAGE * NODE_BYTES;
        // SAFETY: inside the page, which stays mapped; aligned to eight bytes.
        let first = unsafe { AtomicU64::from_ptr(page.wrapping_add(at).cast()) };
        // SAFETY: as above.
        let second = unsafe { AtomicU64::from_ptr(page.wrapping_add(at + 8).cast()) };
        Some([first, second])
    }

    /// The id of the stack that ends with `frame` (as [`tftrace_format::Frame::to_wire`] gives it)
    /// below `parent` (0 = it is the root). `None`: the table or the file is full, which is counted.
    /// `hash` is [`hash`] of both.
    #[inline]
    pub(crate) fn intern(
        &self,
        spool: &Spool,
        now: Ticks,
        (parent, frame, hash): (u32, u64, u64),
    ) -> Option<u32> {
        let start = hash as usize;
        let sealed = check::seal(u64::from(parent), frame);
        let mut own = 0;
        for probe in 0..SLOTS {
            let slot = self.slot(start.wrapping_add(probe));
            // Acquire: pairs with the release below; the node's words were written before.
            let mut id = slot.load(Ordering::Acquire);
            if id == 0 {
                if own == 0 {
                    own = self.add(spool, now, sealed, frame)?;
                }
                // Release: who finds the id finds the node.
                match slot.compare_exchange(0, own, Ordering::AcqRel, Ordering::Acquire) {
                    Ok(_) => return Some(own),
                    Err(other) => id = other,
                }
            }
            let [first, second] = self.words(id)?;
            // Relaxed: the acquire of the slot ordered these.
            if second.load(Ordering::Relaxed) == frame && first.load(Ordering::Relaxed) == sealed {
                // If another thread was faster, the node that was added stays unused.
                return Some(id);
            }
        }
        None
    }

    #[cold]
    fn add(&self, spool: &Spool, now: Ticks, sealed: u64, frame: u64) -> Option<u32> {
        let id = self.next_id.load(Ordering::Relaxed); // Only an early look; the real id comes below.
        if id >= MOST_NODES {
            spool.count(Counter::StackTableFull, 1);
            return None;
        }
        let id = self.next_id.fetch_add(1, Ordering::Relaxed); // Unique is enough; published by the slot.
        let page = self.page(id)?;
        if page.load(Ordering::Acquire).is_null() {
            self.add_page(spool, now, id, page)?;
        }
        let [first, second] = self.words(id)?;
        first.store(sealed, Ordering::Relaxed);
        // Release: a reader of the file that sees the frame sees the parent. The commit point.
        second.store(frame, Ordering::Release);
        Some(id)
    }

    fn add_page(&self, spool: &Spool, now: Ticks, id: u32, page: &AtomicPtr<u8>) -> Option<()> {
        let first_id = id - id % NODES_PER_PAGE as u32;
        let Some(index) = spool.take(PageKind::Nodes, first_id, 0, now) else {
            spool.count(Counter::StackTableFull, 1);
            return None;
        };
        let new = spool.page(index);
        // A thread that loses this race leaves its page empty in the file, which a reader understands.
        let _ =
            page.compare_exchange(core::ptr::null_mut(), new, Ordering::AcqRel, Ordering::Acquire);
        Some(())
    }
}

/// The id as the format's type.
#[inline(always)]
pub(crate) fn stack_id(id: Option<u32>) -> Option<StackId> {
    id.and_then(StackId::new)
}
