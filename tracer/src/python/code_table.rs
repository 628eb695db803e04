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

/// An address and its number in one word, so that eight of them are a line of the processor's cache: the number in
/// these bits, 0 = the code object died; above it the address, in units of eight bytes. All zeros is a free slot.
const ID_BITS: u32 = 18;
const ID: u64 = (1 << ID_BITS) - 1;
const _: () = assert!(MOST as u64 <= ID);
/// Where code objects stand: below the end of what a program can have in 64 bits less those of the number.
const END_OF_ADDRESSES: u64 = 1 << (64 - ID_BITS + 3);

/// What a slot holds of an address that has no number.
#[inline(always)]
fn without_number(address: u64) -> u64 {
    address >> 3 << ID_BITS
}

/// The table.
#[derive(Debug)]
pub(super) struct CodeTable {
    slots: *mut AtomicU64,
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
        let slots = system_call::map_private(SLOTS * size_of::<AtomicU64>()).ok()?.cast();
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

    /// The slot of an address, or the free one that it would get, and what that held.
    #[inline(always)]
    fn find(&self, address: u64) -> Option<(&AtomicU64, u64)> {
        if address >= END_OF_ADDRESSES {
            return None;
        }
        for index in places::<SLOTS>((address >> 4).wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 40) {
            // SAFETY: below the array's length.
            let slot = unsafe { &*self.slots.wrapping_add(index) };
            // Acquire: who sees the number finds the record, where the trace has room for it.
            let found = slot.load(Ordering::Acquire);
            if found & !ID == without_number(address) || found == 0 {
                return Some((slot, found));
            }
        }
        None
    }

    /// The number of the code object at an address; 0 if it has none yet.
    #[inline(always)]
    pub(super) fn get(&self, address: u64) -> u32 {
        self.find(address).map_or(0, |(_, found)| (found & ID) as u32)
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
            let Some((slot, found)) = self.find(address) else { return 0 };
            if found & ID != 0 {
                return (found & ID) as u32;
            }
            let new = without_number(address) | u64::from(id);
            // Release: as for the load above.
            if slot.compare_exchange(found, new, Ordering::AcqRel, Ordering::Acquire).is_ok() {
                if found == 0 {
                    self.used.fetch_add(1, Ordering::Relaxed);
                }
                return id;
            }
            // Another thread was faster, perhaps with another address: look again.
        }
    }

    /// The code object at an address is about to die.
    pub(super) fn died(&self, address: u64) {
        let (word, bit) = self.filter(address);
        if word.load(Ordering::Relaxed) & bit == 0 {
            return;
        }
        if let Some((slot, found)) = self.find(address)
            && found != 0
            && slot.fetch_and(!ID, Ordering::AcqRel) & ID != 0
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
        assert_eq!(table.publish(END_OF_ADDRESSES | 0x1000, 3), 0);
        assert_eq!(table.get(END_OF_ADDRESSES | 0x1000), 0, "the word has no room for it");
        assert_eq!(table.get(0x1008), 0, "a neighbour is another one");
    }
}
