//! Numbers code objects by their addresses, in each life of an address.
//!
//! Insert-only and lock-free; a code object that dies leaves its place to the next one there.

use core::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use crate::id_table::{Found, IdTable, places};
use crate::system_call;

const SLOTS: usize = 1 << 18;
/// Above this no new address is taken in: probes would get long.
const MOST: u32 = (SLOTS / 4 * 3) as u32;
/// Words of the filter: more than a host of which only a sample is recorded ever fills.
const FILTER_WORDS: usize = 1 << 10;

#[repr(C)]
struct Slot {
    address: AtomicU64,
    /// 0 = the code object died, or is being numbered.
    id: AtomicU32,
    _padding: u32,
}

/// The table.
#[derive(Debug)]
pub(super) struct CodeTable {
    slots: *mut Slot,
    /// A bit for every address that was ever numbered. Most code objects that die never were, and their
    /// places in the table are in no cache.
    filter: *mut AtomicU64,
    used: AtomicU32,
    /// By what code objects are, wherever they stand.
    numbers: IdTable<SLOTS>,
    /// Changes with every death: numbers that were found before may be of dead objects.
    generation: AtomicU64,
}

// SAFETY: the array stays mapped for ever and is used through atomics only.
unsafe impl Sync for CodeTable {}
// SAFETY: as above.
unsafe impl Send for CodeTable {}

impl CodeTable {
    /// An empty table; `None` if there is no memory for it.
    pub(super) fn new() -> Option<Self> {
        let slots = system_call::map_private(SLOTS * size_of::<Slot>()).ok()?.cast();
        let filter = system_call::map_private(FILTER_WORDS * size_of::<AtomicU64>()).ok()?.cast();
        let (used, numbers) = (AtomicU32::new(0), IdTable::new()?);
        Some(Self { slots, filter, used, numbers, generation: AtomicU64::new(1) })
    }

    /// The state of the table; numbers of another state may be stale.
    #[inline(always)]
    pub(super) fn generation(&self) -> u64 {
        // Acquire: pairs with the release in `died`.
        self.generation.load(Ordering::Acquire)
    }

    /// The word and the bit of the filter for an address.
    #[inline(always)]
    fn filter(&self, address: u64) -> (&AtomicU64, u64) {
        let hash = (address >> 4).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        // SAFETY: below the array's length: a hash's first ten bits.
        let word = unsafe { &*self.filter.wrapping_add((hash >> 54) as usize) };
        (word, 1 << (hash >> 48 & 63))
    }

    #[inline(always)]
    fn find(&self, address: u64) -> Option<&Slot> {
        for index in places::<SLOTS>((address >> 4).wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 40) {
            // SAFETY: below the array's length.
            let slot = unsafe { &*self.slots.wrapping_add(index) };
            let found = slot.address.load(Ordering::Acquire);
            if found == address || found == 0 {
                return Some(slot);
            }
        }
        None
    }

    /// The number of the code object at an address; 0 if it has none yet.
    #[inline(always)]
    pub(super) fn get(&self, address: u64) -> u32 {
        let slot = self.find(address).filter(|slot| slot.address.load(Ordering::Acquire) != 0);
        // Acquire: who sees the number finds the record, where the trace has room for it.
        slot.map_or(0, |slot| slot.id.load(Ordering::Acquire))
    }

    /// Whether code objects that are new get no number.
    pub(super) fn is_full(&self) -> bool {
        self.used.load(Ordering::Relaxed) >= MOST || self.numbers.is_full()
    }

    /// A number for a code object with this hash of all that the trace says of it; the same for all
    /// that are equal.
    pub(super) fn number(&self, hash: u64) -> Found {
        self.numbers.find(hash)
    }

    /// Gives an address a number that was reserved for it. If another thread was faster: its number.
    pub(super) fn publish(&self, address: u64, id: u32) -> u32 {
        let (word, bit) = self.filter(address);
        word.fetch_or(bit, Ordering::Relaxed); // With the GIL, which orders it before the object's death.
        loop {
            let Some(slot) = self.find(address) else { return 0 };
            let claimed =
                slot.address.compare_exchange(0, address, Ordering::AcqRel, Ordering::Acquire);
            match claimed {
                Ok(_) => {
                    self.used.fetch_add(1, Ordering::Relaxed);
                }
                Err(other) if other == address => {}
                // Another address took the place meanwhile: look on.
                Err(_) => continue,
            }
            return match slot.id.compare_exchange(0, id, Ordering::AcqRel, Ordering::Acquire) {
                Ok(_) => id,
                Err(other) => other,
            };
        }
    }

    /// The code object at an address is about to die.
    pub(super) fn died(&self, address: u64) {
        let (word, bit) = self.filter(address);
        if word.load(Ordering::Relaxed) & bit == 0 {
            return;
        }
        let slot = self.find(address).filter(|slot| slot.address.load(Ordering::Acquire) != 0);
        if let Some(slot) = slot
            && slot.id.swap(0, Ordering::AcqRel) != 0
        {
            // Release: who sees the new generation does not find the old number.
            self.generation.fetch_add(1, Ordering::Release);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_has_a_new_number_in_every_life() {
        let table = CodeTable::new().unwrap();
        assert_eq!(table.get(0x1000), 0);
        let first = 1;
        assert_eq!(table.number(77), Found::New(first));
        assert_eq!(table.publish(0x1000, first), first);
        assert_eq!(table.publish(0x1000, 99), first, "the faster thread's number stays");
        let before = table.generation();
        table.died(0x1000);
        assert_ne!(table.generation(), before);
        assert_eq!(table.get(0x1000), 0);
        assert_eq!(table.number(77), Found::Known(first), "the same code object again");
        let second = 2;
        assert_eq!(table.number(78), Found::New(second));
        assert_eq!(table.publish(0x1000, second), second);
        let before = table.generation();
        table.died(0x2000);
        assert_eq!(table.generation(), before, "an unknown code object is nobody's");
    }
}
