//! Memory without an address (`cuMemCreate`): alive while its handle or a mapping of it is.
//!
//! Lock-free. Where the tables have no room for it, memory counts until its handle is released.

use core::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};

/// A row of places in which a key may stand.
const ROW: usize = 64;
const ROWS: usize = 1024;

struct Handle {
    /// 0 = free.
    handle: AtomicU64,
    /// How many handles and mappings there are.
    uses: AtomicU32,
}

struct Mapping {
    /// 0 = free.
    address: AtomicU64,
    size: AtomicU64,
    handle: AtomicU64,
    /// Whether its end is the last use of the handle.
    is_last: AtomicBool,
}

static HANDLES: [Handle; ROW * ROWS] =
    [const { Handle { handle: AtomicU64::new(0), uses: AtomicU32::new(0) } }; ROW * ROWS];
static MAPPINGS: [Mapping; ROW * ROWS] = [const {
    Mapping {
        address: AtomicU64::new(0),
        size: AtomicU64::new(0),
        handle: AtomicU64::new(0),
        is_last: AtomicBool::new(false),
    }
}; ROW * ROWS];

fn row<T>(table: &'static [T], key: u64) -> &'static [T] {
    let number = (key.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 54) as usize % ROWS;
    table.get(number * ROW..).and_then(|rest| rest.get(..ROW)).unwrap_or_default()
}

fn find(handle: u64) -> Option<&'static Handle> {
    if handle == 0 {
        return None;
    }
    // Acquire: who sees the handle sees how often it is used.
    row(&HANDLES, handle).iter().find(|place| place.handle.load(Ordering::Acquire) == handle)
}

/// Memory was created.
pub(super) fn created(handle: u64) {
    if handle == 0 {
        return;
    }
    for place in row(&HANDLES, handle) {
        // Nobody knows the handle yet but who created it.
        let claimed = place.handle.compare_exchange(0, handle, Ordering::AcqRel, Ordering::Relaxed);
        if claimed.is_ok() {
            place.uses.store(1, Ordering::Release);
            return;
        }
    }
}

/// There is one handle more.
pub(super) fn retained(handle: u64) {
    if let Some(place) = find(handle) {
        place.uses.fetch_add(1, Ordering::Relaxed);
    }
}

/// What the end of a use is to the memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Use {
    /// There are others.
    OneOfSeveral,
    Last,
    /// Nothing is known of the memory: it lives as long as one handle.
    Unknown,
}

/// There is one use less. To be called before the driver is told: it may give out the same handle at once, to
/// another thread.
pub(super) fn released(handle: u64) -> Use {
    let Some(place) = find(handle) else { return Use::Unknown };
    // Acquire and release: the last sees what the others did.
    if place.uses.fetch_sub(1, Ordering::AcqRel) != 1 {
        return Use::OneOfSeveral;
    }
    place.handle.store(0, Ordering::Release);
    Use::Last
}

/// The use goes on: the driver refused to end it.
pub(super) fn not_released(handle: u64, ended: Use) {
    match ended {
        Use::OneOfSeveral => retained(handle),
        Use::Last => created(handle),
        Use::Unknown => {}
    }
}

/// Memory was mapped.
pub(super) fn mapped(address: u64, size: u64, handle: u64) {
    let Some(memory) = find(handle) else { return };
    for place in row(&MAPPINGS, address) {
        let claimed = place.address.compare_exchange(0, 1, Ordering::AcqRel, Ordering::Relaxed);
        if claimed.is_ok() {
            memory.uses.fetch_add(1, Ordering::Relaxed);
            place.size.store(size, Ordering::Relaxed);
            place.handle.store(handle, Ordering::Relaxed);
            // Release: who sees the address sees the rest.
            place.address.store(address, Ordering::Release);
            return;
        }
    }
}

/// Calls `each` with the first address of every mapping in a range, whatever a host takes for one.
pub(super) fn each_mapping(start: u64, size: u64, mut each: impl FnMut(u64)) {
    /// The least that can be mapped.
    const STEP: u64 = 64 << 10;
    if size / STEP > MAPPINGS.len() as u64 {
        let known = MAPPINGS.iter().map(|place| place.address.load(Ordering::Acquire));
        // 1: it is being filled.
        known.filter(|&at| at > 1 && at.wrapping_sub(start) < size).for_each(each);
        return;
    }
    let mut at = start;
    while at.wrapping_sub(start) < size {
        let mapped = mapping(at).map(|place| place.size.load(Ordering::Relaxed));
        if mapped.is_some() {
            each(at);
        }
        at = at.wrapping_add(mapped.map_or(STEP, |mapped| mapped.max(STEP)));
    }
}

/// The mapping at an address is about to end: as [`released`].
pub(super) fn unmapping(address: u64) {
    if let Some(place) = mapping(address) {
        let is_last = released(place.handle.load(Ordering::Relaxed)) != Use::OneOfSeveral;
        place.is_last.store(is_last, Ordering::Relaxed); // Read by the same call.
    }
}

/// It did not end.
pub(super) fn not_unmapped(address: u64) {
    if let Some(place) = mapping(address) {
        let is_last = place.is_last.load(Ordering::Relaxed);
        let ended = if is_last { Use::Last } else { Use::OneOfSeveral };
        not_released(place.handle.load(Ordering::Relaxed), ended);
    }
}

/// It ended; gives the handle of the memory that was in use no more.
pub(super) fn unmapped(address: u64) -> Option<u64> {
    let place = mapping(address)?;
    let handle = place.handle.load(Ordering::Relaxed);
    let is_last = place.is_last.load(Ordering::Relaxed);
    place.address.store(0, Ordering::Release);
    is_last.then_some(handle)
}

fn mapping(address: u64) -> Option<&'static Mapping> {
    // Acquire: pairs with the release in `mapped`.
    row(&MAPPINGS, address).iter().find(|place| place.address.load(Ordering::Acquire) == address)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_lives_as_long_as_a_handle_or_a_mapping() {
        let mappings = || {
            let mut found = Vec::new();
            each_mapping((1 << 32) - (4 << 20), 8 << 20, |at| found.push(at));
            found
        };
        created(0x5000);
        mapped(1 << 32, 2 << 20, 0x5000);
        assert_eq!(released(0x5000), Use::OneOfSeveral, "it is mapped");
        assert_eq!(mappings(), [1 << 32]);
        unmapping(1 << 32);
        // The driver refuses, and would give the same handle to somebody else otherwise.
        not_unmapped(1 << 32);
        retained(0x5000);
        unmapping(1 << 32);
        assert_eq!(unmapped(1 << 32), None, "there is a handle");
        assert_eq!(mappings(), []);
        assert_eq!(released(0x5000), Use::Last);
        not_released(0x5000, Use::Last);
        mapped(1 << 32, 2 << 20, 0x5000);
        assert_eq!(released(0x5000), Use::OneOfSeveral);
        unmapping(1 << 32);
        created(0x5000);
        assert_eq!(unmapped(1 << 32), Some(0x5000));
        assert_eq!(released(0x5000), Use::Last, "the handle of another's memory");
        for handle in [0, 0x5000] {
            assert_eq!(released(handle), Use::Unknown);
            not_released(handle, Use::Unknown);
            assert_eq!(released(handle), Use::Unknown, "what the driver refuses makes none known");
        }
    }

    #[test]
    fn a_range_that_is_none_is_over_soon() {
        let address = 7 << 40;
        created(0x7000);
        mapped(address, 2 << 20, 0x7000);
        for (start, size) in [(0, u64::MAX), (address, 1 << 60), (address - (1 << 35), 1 << 36)] {
            let mut found = false;
            each_mapping(start, size, |at| found |= at == address);
            assert!(found, "{start:#x}, {size:#x}");
        }
    }
}
