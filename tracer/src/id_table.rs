//! Numbers what is written into the trace once, however often it comes: by a 64-bit hash.
//!
//! Insert-only and lock-free. Two of the most things that a table takes in share a hash with a
//! probability below one in ten billion for ops, one in a billion for code objects.

use core::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use crate::stack_table::hash;
use crate::system_call;

#[repr(C)]
struct Slot {
    /// 0 = free.
    hash: AtomicU64,
    /// 0 = not written yet.
    id: AtomicU32,
    _padding: u32,
}

/// A table of so many slots.
#[derive(Debug)]
pub(crate) struct IdTable<const SLOTS: usize> {
    slots: *mut Slot,
    used: AtomicU32,
}

// SAFETY: the array stays mapped for ever and is used through atomics only.
unsafe impl<const SLOTS: usize> Sync for IdTable<SLOTS> {}
// SAFETY: as above.
unsafe impl<const SLOTS: usize> Send for IdTable<SLOTS> {}

/// The places of a table of so many slots in which something with this hash is looked for: first a line in a 64th
/// of them, then one in an eighth, then all, so that what a few take is few pages of memory.
#[inline(always)]
pub(crate) fn places<const SLOTS: usize>(hash: u64) -> impl Iterator<Item = usize> {
    const LINE: usize = 8;
    const { assert!(SLOTS.is_power_of_two() && SLOTS / 64 >= LINE) };
    let hash = hash as usize;
    let line = move |first: usize, slots: usize| {
        let start = first.wrapping_add(hash % slots / LINE * LINE);
        start..start.wrapping_add(LINE)
    };
    let all = (0..SLOTS).map(move |probe| hash.wrapping_add(probe) % SLOTS);
    line(0, SLOTS / 64).chain(line(SLOTS / 8, SLOTS / 8)).chain(all)
}

/// What a place in the table is to who comes to it.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Found {
    /// It has a number, or 0: it will not get one.
    Known(u32),
    /// This number is the caller's to write down.
    New(u32),
}

impl<const SLOTS: usize> IdTable<SLOTS> {
    /// Above this, what is new gets no number: probes would get long.
    const MOST: u32 = (SLOTS / 4 * 3) as u32;

    /// An empty table; `None` if there is no memory for it.
    pub(crate) fn new() -> Option<Self> {
        let slots = system_call::map_private(SLOTS * size_of::<Slot>()).ok()?.cast();
        Some(Self { slots, used: AtomicU32::new(0) })
    }

    /// Whether what is new gets no number.
    pub(crate) fn is_full(&self) -> bool {
        self.used.load(Ordering::Relaxed) >= Self::MOST
    }

    /// The number of what has this hash, which is not 0.
    #[inline(always)]
    pub(crate) fn find(&self, hash: u64) -> Found {
        for index in places::<SLOTS>(hash) {
            // SAFETY: below the array's length.
            let slot = unsafe { &*self.slots.wrapping_add(index) };
            let mut found = slot.hash.load(Ordering::Acquire);
            if found == 0 {
                if self.is_full() {
                    return Found::Known(0);
                }
                match slot.hash.compare_exchange(0, hash, Ordering::AcqRel, Ordering::Acquire) {
                    Ok(_) => {
                        let id = self.used.fetch_add(1, Ordering::Relaxed).wrapping_add(1); // Unique is enough.
                        slot.id.store(id, Ordering::Release);
                        return Found::New(id);
                    }
                    Err(other) => found = other,
                }
            }
            if found == hash {
                return Found::Known(slot.id.load(Ordering::Acquire));
            }
        }
        Found::Known(0)
    }
}

/// A hash of several texts in this order, never 0.
#[inline(always)]
pub(crate) fn hash_of<'a>(seed: u64, texts: impl IntoIterator<Item = &'a [u8]>) -> u64 {
    let mut all = seed;
    for text in texts {
        all = hash(text.len() as u32, all);
        for part in text.chunks(8) {
            let word = part.iter().fold(0u64, |word, &byte| word << 8 | u64::from(byte));
            all = hash(0, all ^ word);
        }
    }
    all | 1
}

#[cfg(test)]
mod tests {
    use super::*;

    const SLOTS: usize = 1 << 10;

    #[test]
    fn a_thing_has_one_number_and_is_new_once() {
        let table = IdTable::<SLOTS>::new().unwrap();
        assert_eq!(table.find(77), Found::New(1));
        assert_eq!(table.find(77), Found::Known(1));
        // The same place, another thing.
        assert_eq!(table.find(77 + SLOTS as u64), Found::New(2));
        assert_eq!(table.find(77 + SLOTS as u64), Found::Known(2));
        for hash in 1000..1000 + SLOTS as u64 {
            table.find(hash);
        }
        assert_eq!(table.find(9_999_999), Found::Known(0), "a full table numbers no more");
        assert_eq!(table.find(77), Found::Known(1));
    }

    #[test]
    fn threads_that_come_at_once_get_one_number() {
        let table = IdTable::<SLOTS>::new().unwrap();
        let new = AtomicU32::new(0);
        std::thread::scope(|scope| {
            for _ in 0..3 {
                scope.spawn(|| {
                    for hash in 1..8 {
                        if let Found::New(id) = table.find(hash) {
                            assert!((1..8).contains(&id));
                            new.fetch_add(1, Ordering::Relaxed); // A count.
                        }
                    }
                });
            }
        });
        assert_eq!(new.load(Ordering::Relaxed), 7, "each hash is new to one thread");
    }

    #[test]
    fn texts_are_told_apart_by_where_one_ends() {
        let of = |texts: [&str; 2]| hash_of(7, texts.map(str::as_bytes));
        assert_ne!(of(["ab", "c"]), of(["a", "bc"]));
        assert_eq!(of(["ab", "c"]), of(["ab", "c"]));
        assert_ne!(of(["", ""]), 0);
    }
}
