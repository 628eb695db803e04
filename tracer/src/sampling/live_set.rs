//! The addresses of sampled blocks that live, for all threads at once.
//!
//! Lock-free and bounded: a full bucket is a counted loss, nothing ever waits. Of the addresses that
//! are not in it, which are nearly all that are asked for, most are told by one count that stays in
//! the processor's cache.

use core::sync::atomic::{AtomicU16, AtomicU64, AtomicUsize, Ordering};

use tftrace_format::Domain;

use super::gap::mix;
use crate::system_call;

/// A bucket is a cache line.
const BUCKET: usize = 8;
/// Buckets of each level, in powers of two. A level is used where the one before it has no room, so that
/// a few thousand addresses take a few pages of memory.
const LEVELS: [u32; 3] = [10, 13, 17];
/// The buckets of all levels.
const BUCKETS: usize = (1 << LEVELS[0]) + (1 << LEVELS[1]) + (1 << LEVELS[2]);
const COUNTS: usize = 1 << 16;
/// Addresses that differ in these bits only fall on one count.
const GRANULE_BITS: u32 = 9;

/// The set: more than a million addresses in 9 MiB of address space, of which those are touched that are used.
#[derive(Debug)]
pub(crate) struct LiveSet {
    /// Domain and address; 0 = free.
    places: *mut AtomicU64,
    /// How many addresses of the set fall on each count. A zero says that an address is not in it.
    counts: *mut AtomicU16,
    /// How many levels were ever used.
    levels: AtomicUsize,
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

    /// Two buckets for each level, of which it is in the one that had more room.
    fn buckets(self) -> impl Iterator<Item = [usize; 2]> {
        let mixed = mix(self.hash);
        let mut first = 0;
        LEVELS.into_iter().map(move |power| {
            let (low, high) = (mixed & ((1 << power) - 1), (mixed >> 32) & ((1 << power) - 1));
            let pair = [low, high].map(|bucket| first + bucket as usize);
            first += 1 << power;
            pair
        })
    }
}

/// The bits of [`offset_of_count`].
pub(super) const OFFSETS: u32 = (COUNTS as u32 - 1) * size_of::<AtomicU16>() as u32;

/// How many bytes before it the count of an address has, whatever its domain: neighbours share a count, or a
/// line of them, as they share the time at which they are freed. `arch::pass_filter` does the same.
#[inline(always)]
fn offset_of_count(word: u64) -> usize {
    (((word ^ (word >> 16)) as u32 >> (GRANULE_BITS - 1)) & OFFSETS) as usize
}

impl LiveSet {
    /// An empty set; `None` if there is no memory.
    pub(super) fn new() -> Option<Self> {
        let places = system_call::map_private(BUCKETS * BUCKET * size_of::<AtomicU64>()).ok()?;
        let counts = system_call::map_private(COUNTS * size_of::<AtomicU16>()).ok()?;
        let levels = AtomicUsize::new(0);
        Some(Self { places: places.cast(), counts: counts.cast(), levels })
    }

    /// The counts, for the entries of hooks, which look at them first.
    pub(super) fn counts(&self) -> *mut AtomicU16 {
        self.counts
    }

    /// Makes the entries of hooks take an address for one that may be in the set.
    pub(super) fn watch(&self, address: u64) {
        self.raise(Key::new(Domain::Malloc, address));
    }

    /// The same for all addresses of a range, for ever.
    pub(super) fn watch_range(&self, range: core::ops::Range<u64>) {
        let last = range.end.saturating_sub(1);
        for address in range.step_by(1 << GRANULE_BITS).chain([last]) {
            self.watch(address);
        }
    }

    /// Takes back one `watch`.
    pub(super) fn stop_watching(&self, address: u64) {
        self.lower(Key::new(Domain::Malloc, address));
    }

    fn raise(&self, key: Key) {
        let higher = |count: u16| Some(count.saturating_add(1));
        // Release: who gets the block from this thread sees it. Never fails.
        let _ = self.count(key).fetch_update(Ordering::Release, Ordering::Relaxed, higher);
    }

    fn lower(&self, key: Key) {
        // At its limit a count may stand for more than it says: it stays there, which costs time only.
        let lower = |count: u16| if count == u16::MAX { None } else { count.checked_sub(1) };
        let _ = self.count(key).fetch_update(Ordering::Release, Ordering::Relaxed, lower);
    }

    /// The count that an address falls on.
    #[inline(always)]
    fn count(&self, key: Key) -> &AtomicU16 {
        // SAFETY: below the array's length.
        unsafe { &*self.counts.wrapping_byte_add(offset_of_count(key.word)) }
    }

    fn bucket(&self, index: usize) -> impl Iterator<Item = &AtomicU64> {
        let first = self.places.wrapping_add(index.min(BUCKETS - 1).wrapping_mul(BUCKET));
        // SAFETY: `index` is below the buckets, so all its places are inside the array.
        (0..BUCKET).map(move |place| unsafe { &*first.wrapping_add(place) })
    }

    /// Adds an address, by the thread that the block was just given to. False: there is no room.
    ///
    /// One that is there already stays: the free in between was not seen.
    pub(super) fn insert(&self, domain: Domain, address: u64) -> bool {
        let key = Key::new(domain, address);
        // Relaxed: what is there of this key was seen, with the block, by whoever has it now.
        let is_key = |place: &AtomicU64| place.load(Ordering::Relaxed) == key.word;
        if self.used_places(key).any(is_key) {
            return true;
        }
        self.raise(key);
        let room =
            |bucket| self.bucket(bucket).filter(|place| place.load(Ordering::Relaxed) == 0).count();
        let taken = key.buckets().enumerate().any(|(level, [first, second])| {
            let order = if room(first) >= room(second) { [first, second] } else { [second, first] };
            // Release: before the place is taken, so that whoever looks for the key looks here.
            self.levels.fetch_max(level + 1, Ordering::Release);
            order.into_iter().flat_map(|bucket| self.bucket(bucket)).any(|place| {
                // Release: who gets the block from this thread sees it.
                place.compare_exchange(0, key.word, Ordering::Release, Ordering::Relaxed).is_ok()
            })
        });
        if !taken {
            self.lower(key);
        }
        taken
    }

    /// The places where a key may be.
    fn used_places(&self, key: Key) -> impl Iterator<Item = &AtomicU64> {
        // Acquire: pairs with the release in `insert`, through whatever brought the block here.
        let levels = self.levels.load(Ordering::Acquire);
        key.buckets().take(levels).flatten().flat_map(|bucket| self.bucket(bucket))
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
        let taken = self.used_places(key).any(|place| {
            // Relaxed: as in `insert`. Most that are looked for are not there.
            // Release: the place is used again by whoever sees it free. Only one who frees the
            // block can have it; a second free is the host's error, and finds nothing.
            place.load(Ordering::Relaxed) == key.word
                && place.compare_exchange(key.word, 0, Ordering::AcqRel, Ordering::Relaxed).is_ok()
        });
        if taken {
            self.lower(key);
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
