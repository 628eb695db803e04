//! All slots of the process: given to threads at their first event, taken back once they are gone.

use core::sync::atomic::{AtomicPtr, AtomicU32, AtomicU64, Ordering};

use super::slot::ThreadSlot;
use crate::arch;
use crate::process::Process;
use crate::system_call;

const MOST_SLOTS: u32 = 65_536;
/// After fewer new threads no search for dead ones is worth its system calls.
const FEWEST_THREADS: u32 = 32;

/// The slots.
#[derive(Debug)]
pub(crate) struct Registry {
    slots: *mut AtomicPtr<ThreadSlot>,
    used: AtomicU32,
    next_number: AtomicU32,
    /// How many threads came since dead ones were looked for, and how many must come before the next
    /// look: as many as lived at the last one, so that each pays for a few system calls.
    since_search: AtomicU32,
    search_after: AtomicU32,
    /// Changes whenever a slot is taken or given back: a hint that there may be a free one.
    free_hint: AtomicU64,
}

// SAFETY: the array stays mapped for ever and is used through atomics only.
unsafe impl Sync for Registry {}
// SAFETY: as above.
unsafe impl Send for Registry {}

impl Registry {
    /// No slots; `None` if there is no memory for the list.
    pub(crate) fn new() -> Option<Self> {
        let slots =
            system_call::map_private(MOST_SLOTS as usize * size_of::<AtomicPtr<ThreadSlot>>())
                .ok()?;
        Some(Self {
            slots: slots.cast(),
            used: AtomicU32::new(0),
            next_number: AtomicU32::new(1),
            since_search: AtomicU32::new(0),
            search_after: AtomicU32::new(FEWEST_THREADS),
            free_hint: AtomicU64::new(0),
        })
    }

    fn place(&self, index: u32) -> Option<&AtomicPtr<ThreadSlot>> {
        if index >= MOST_SLOTS {
            return None;
        }
        // SAFETY: below the array's length.
        Some(unsafe { &*self.slots.wrapping_add(index as usize) })
    }

    fn slots(&self) -> impl Iterator<Item = &'static ThreadSlot> + '_ {
        (0..self.used.load(Ordering::Acquire).min(MOST_SLOTS)).filter_map(|index| {
            // Acquire: pairs with the release in `create`; the slot was written before.
            let slot = self.place(index)?.load(Ordering::Acquire);
            // SAFETY: slots live for ever; only their owner touches what is not atomic.
            unsafe { slot.as_ref() }
        })
    }

    /// A slot for the calling thread. `None`: no memory.
    #[cold]
    pub(crate) fn register(&self, process: &'static Process) -> Option<&'static ThreadSlot> {
        // Relaxed: numbers that only say when it is worth looking.
        let since = self.since_search.fetch_add(1, Ordering::Relaxed);
        let is_free = || self.free_hint.load(Ordering::Acquire) > 0;
        if !is_free() && since >= self.search_after.load(Ordering::Relaxed) {
            let living = self.reclaim(process) as u32;
            self.search_after.store(living.max(FEWEST_THREADS), Ordering::Relaxed);
            self.since_search.store(0, Ordering::Relaxed);
        }
        let reused = if is_free() { self.slots().find(|slot| self.claim(slot)) } else { None };
        let slot = match reused {
            Some(slot) => slot,
            None => self.create(process)?,
        };
        slot.tid.store(system_call::thread_id(), Ordering::Relaxed); // Read by `reclaim`, which only looks.
        slot.thread_pointer.store(arch::thread_pointer(), Ordering::Relaxed); // A figure.
        slot.inside.store(0, Ordering::Relaxed); // The last owner may have died in there.
        slot.number.store(self.next_number.fetch_add(1, Ordering::Relaxed), Ordering::Relaxed);
        Some(slot)
    }

    /// Takes a slot whose owner is gone.
    fn claim(&self, slot: &ThreadSlot) -> bool {
        // Acquire: pairs with the release in `reclaim`; the pages were handed over before.
        let won = slot.owned.compare_exchange(0, 1, Ordering::AcqRel, Ordering::Relaxed).is_ok();
        if won {
            self.free_hint.fetch_sub(1, Ordering::AcqRel);
        }
        won
    }

    fn create(&self, process: &'static Process) -> Option<&'static ThreadSlot> {
        let index = self.used.load(Ordering::Relaxed);
        if index >= MOST_SLOTS {
            return None;
        }
        let index = self.used.fetch_add(1, Ordering::AcqRel);
        let slot = ThreadSlot::create(process, index)?;
        // SAFETY: just created; atomics may be written while it is shared.
        let shared = unsafe { &*slot };
        shared.owned.store(1, Ordering::Relaxed); // Published by the store below.
        // A search must not take the slot of a thread that has not written its id yet.
        shared.tid.store(system_call::thread_id(), Ordering::Relaxed);
        self.place(index)?.store(slot, Ordering::Release);
        Some(shared)
    }

    /// Sees every thread outside of its hooks once. `wait` is called while one is inside, and gives up by
    /// false. What a hook that is begun later does bears a later stamp. For the drain.
    #[inline(always)]
    pub(crate) fn pass_all(&self, mut wait: impl FnMut() -> bool) -> bool {
        self.slots().all(|slot| {
            // Relaxed: nothing that the thread did is read here; the caller waits for it to arrive.
            let inside = || {
                slot.owned.load(Ordering::Relaxed) == 1 && slot.depth.load(Ordering::Relaxed) != 0
            };
            while inside() {
                if !wait() {
                    return false;
                }
            }
            true
        })
    }

    /// Where threads stand: for each slot the stack pointer of the last hook, and the thread pointer. A
    /// thread may be gone, and its stack be kept by libc for the next one. For the drain.
    pub(crate) fn stacks(&self) -> impl Iterator<Item = (u64, u64)> + '_ {
        self.slots().map(|slot| {
            let pointer = |of: &AtomicU64| of.load(Ordering::Relaxed); // Figures.
            (pointer(&slot.entry_sp), pointer(&slot.thread_pointer))
        })
    }

    /// Frees the slots of threads that are gone, their pages handed to the drain. Gives the rest.
    pub(crate) fn reclaim(&self, process: &'static Process) -> usize {
        let mut living = 0;
        for slot in self.slots() {
            let tid = slot.tid.load(Ordering::Relaxed);
            if slot.owned.load(Ordering::Acquire) == 0 {
                continue;
            }
            if tid == 0 || system_call::thread_exists(process.pid, tid) {
                living += 1;
                continue;
            }
            // Two searches may find the same slot: the one that moves it to 2 goes on.
            if slot.owned.compare_exchange(1, 2, Ordering::AcqRel, Ordering::Relaxed).is_err() {
                continue;
            }
            for nested in [false, true] {
                // SAFETY: the owner is gone and this thread moved the slot to 2: it is ours alone.
                let lane = unsafe { &mut *slot.lane(nested) };
                lane.retire(&process.spool);
            }
            slot.depth.store(0, Ordering::Relaxed);
            // Release: pairs with the acquire in `claim`.
            slot.owned.store(0, Ordering::Release);
            self.free_hint.fetch_add(1, Ordering::AcqRel);
        }
        living
    }
}
