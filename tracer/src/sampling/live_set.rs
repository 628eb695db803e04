//! The addresses of sampled blocks that live, for all threads at once.
//!
//! Lock-free and bounded: a full bucket is a counted loss, nothing ever waits. Of the addresses that
//! are not in it, which are nearly all that are asked for, most are told by one count that stays in
//! the processor's cache.

use core::sync::atomic::{AtomicU16, AtomicU64, Ordering};

use tftrace_format::Domain;

use super::gap::mix;
use crate::system_call;

/// A bucket is a cache line.
const BUCKET: usize = 8;
const BUCKETS: usize = 1 << 17;
const COUNTS: usize = 1 << 16;

/// The set: 1,048,576 addresses in 8 MiB of address space, of which those are touched that are used.
#[derive(Debug)]
pub(crate) struct LiveSet {
    /// Domain and address; 0 = free.
    places: *mut AtomicU64,
    /// How many addresses of the set fall on each count. A zero says that an address is not in it.
    counts: *mut AtomicU16,
}

// SAFETY: both arrays stay mapped for ever and are used through atomics only.
unsafe impl Sync for LiveSet {}
// SAFETY: as above.
unsafe impl Send for LiveSet {}

/// A key, and its hash.
#[derive(Clone, Copy)]
struct Key {
    word: u64,
    hash: u64,
}

impl Key {
    #[inline(always)]
    fn new(domain: Domain, address: u64) -> Self {
        let word = address | ((domain as u64).wrapping_add(1) << 56);
        Self { word, hash: (word ^ (word >> 32)).wrapping_mul(0x9E37_79B9_7F4A_7C15) }
    }

    /// Two buckets, of which it is in the one that had more room.
    fn buckets(self) -> [usize; 2] {
        let mixed = mix(self.hash);
        [mixed as usize % BUCKETS, (mixed >> 32) as usize % BUCKETS]
    }
}

impl LiveSet {
    /// An empty set; `None` if there is no memory.
    pub(super) fn new() -> Option<Self> {
        let places = system_call::map_private(BUCKETS * BUCKET * size_of::<AtomicU64>()).ok()?;
        let counts = system_call::map_private(COUNTS * size_of::<AtomicU16>()).ok()?;
        Some(Self { places: places.cast(), counts: counts.cast() })
    }

    /// The count that an address falls on: neighbours share one, or one line of them, as they share the
    /// time at which they are freed.
    #[inline(always)]
    fn count(&self, key: Key) -> &AtomicU16 {
        let index = ((key.word >> 9) ^ (key.word >> 25)) as usize % COUNTS;
        // SAFETY: below the array's length.
        unsafe { &*self.counts.wrapping_add(index) }
    }

    fn bucket(&self, index: usize) -> impl Iterator<Item = &AtomicU64> {
        let first = self.places.wrapping_add((index % BUCKETS).wrapping_mul(BUCKET));
        // SAFETY: `index` is below the buckets, so all its places are inside the array.
        (0..BUCKET).map(move |place| unsafe { &*first.wrapping_add(place) })
    }

    /// Adds an address, by the thread that the block was just given to. False: there is no room.
    ///
    /// One that is there already stays: the free in between was not seen.
    pub(super) fn insert(&self, domain: Domain, address: u64) -> bool {
        let key = Key::new(domain, address);
        let [first, second] = key.buckets();
        // Relaxed: what is there of this key was seen, with the block, by whoever has it now.
        let holds =
            |bucket| self.bucket(bucket).any(|place| place.load(Ordering::Relaxed) == key.word);
        if holds(first) || holds(second) {
            return true;
        }
        let room =
            |bucket| self.bucket(bucket).filter(|place| place.load(Ordering::Relaxed) == 0).count();
        let order = if room(first) >= room(second) { [first, second] } else { [second, first] };
        let counted = |count: u16| count.checked_add(1);
        // Release, here and below: who gets the block from this thread sees both.
        if self.count(key).fetch_update(Ordering::Release, Ordering::Relaxed, counted).is_err() {
            return false;
        }
        let taken = order.into_iter().flat_map(|bucket| self.bucket(bucket)).any(|place| {
            place.compare_exchange(0, key.word, Ordering::Release, Ordering::Relaxed).is_ok()
        });
        if !taken {
            self.count(key).fetch_sub(1, Ordering::Relaxed); // What was added above.
        }
        taken
    }

    /// Whether an address may be in the set; asked by the thread that has the block.
    #[inline(always)]
    pub(super) fn may_hold(&self, domain: Domain, address: u64) -> bool {
        // Acquire: pairs with the release of `insert`, through whatever brought the block here.
        self.count(Key::new(domain, address)).load(Ordering::Acquire) != 0
    }

    /// Takes an address out, by the thread that frees the block. False: it is not in the set.
    #[inline(always)]
    pub(super) fn remove(&self, domain: Domain, address: u64) -> bool {
        self.may_hold(domain, address) && self.take(Key::new(domain, address))
    }

    #[cold]
    fn take(&self, key: Key) -> bool {
        let taken = key.buckets().into_iter().flat_map(|bucket| self.bucket(bucket)).any(|place| {
            // Release: the place is used again by whoever sees it free. Only one who frees the
            // block can have it; a second free is the host's error, and finds nothing.
            place.compare_exchange(key.word, 0, Ordering::AcqRel, Ordering::Relaxed).is_ok()
        });
        if taken {
            self.count(key).fetch_sub(1, Ordering::Release);
        }
        taken
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_in_the_set_until_it_is_taken_out() {
        let set = LiveSet::new().unwrap();
        assert!(!set.remove(Domain::Malloc, 16));
        assert!(set.insert(Domain::Malloc, 16) && set.insert(Domain::Malloc, 16));
        assert!(!set.remove(Domain::Python, 16), "domains are spaces of their own");
        assert!(set.remove(Domain::Malloc, 16));
        assert!(!set.remove(Domain::Malloc, 16), "once, however often it was added");
    }

    #[test]
    fn it_takes_most_of_its_places_and_says_when_it_is_full() {
        let set = LiveSet::new().unwrap();
        let address = |block: u64| 0x7F00_0000_0000 + block * 48;
        let places = (BUCKETS * BUCKET) as u64;
        let first_loss = (0..places).find(|&block| !set.insert(Domain::Malloc, address(block)));
        let held = first_loss.unwrap();
        assert!(held > places * 7 / 10, "full at {held} of {places}");
        assert!((0..held).all(|block| set.remove(Domain::Malloc, address(block))));
        assert!((0..=held).all(|block| !set.remove(Domain::Malloc, address(block))));
    }

    /// What one thread adds another takes out, while both change the same buckets.
    #[test]
    fn blocks_are_found_by_other_threads() {
        let set = LiveSet::new().unwrap();
        let blocks = || (0..20_000u64).map(|block| 0x7F00_0000_0000 + block * 16);
        std::thread::scope(|scope| {
            for domain in [Domain::Malloc, Domain::Python, Domain::TensorFlow] {
                let (sender, receiver) = std::sync::mpsc::channel();
                let set = &set;
                scope.spawn(move || {
                    for address in blocks() {
                        assert!(set.insert(domain, address));
                        sender.send(address).unwrap();
                    }
                });
                scope.spawn(move || {
                    receiver.iter().for_each(|address| assert!(set.remove(domain, address)));
                });
            }
        });
        let left = (0..COUNTS as u64).map(|index| set.count(Key { word: index << 9, hash: 0 }));
        assert_eq!(left.map(|count| u64::from(count.load(Ordering::Relaxed))).sum::<u64>(), 0);
    }
}
