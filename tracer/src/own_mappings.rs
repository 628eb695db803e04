//! Which private memory is the tracer's own: a list of its mappings, for a look at the process's.
//!
//! Written wherever memory is mapped, so without a lock. Never decides anything: only figures come of it.

use core::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

/// More mappings are not told from the host's.
const PLACES: usize = 32_768;

/// One mapping; a start of 0: none.
struct Place {
    start: AtomicU64,
    len: AtomicU64,
}

// Pages of it that are not used take no memory.
static LIST: [Place; PLACES] =
    [const { Place { start: AtomicU64::new(0), len: AtomicU64::new(0) } }; PLACES];
static USED: AtomicUsize = AtomicUsize::new(0);
/// One more than the place that was given back last; 0: none is known. Others wait unused.
static FREE: AtomicUsize = AtomicUsize::new(0);

/// Notes a mapping; gives its start.
pub(crate) fn note(start: *mut u8, len: usize) -> *mut u8 {
    // Relaxed, here and below: who reads meanwhile may take an old length for a new mapping's.
    let index = match FREE.swap(0, Ordering::Relaxed) {
        0 => USED.fetch_add(1, Ordering::Relaxed),
        free => free - 1,
    };
    if let Some(place) = LIST.get(index) {
        place.len.store(len as u64, Ordering::Relaxed);
        place.start.store(start as u64, Ordering::Relaxed);
    }
    start
}

/// Forgets one, before it is unmapped.
pub(crate) fn forget(start: *mut u8) {
    let is_it = |place: &Place| place.start.load(Ordering::Relaxed) == start as u64;
    if let Some(index) = noted().position(is_it)
        && let Some(place) = LIST.get(index)
    {
        place.start.store(0, Ordering::Relaxed);
        FREE.store(index + 1, Ordering::Relaxed);
    }
}

/// All of them, as start and end.
pub(crate) fn ranges() -> impl Iterator<Item = (u64, u64)> {
    noted().filter_map(|place| {
        let start = place.start.load(Ordering::Relaxed);
        (start != 0).then(|| (start, start.saturating_add(place.len.load(Ordering::Relaxed))))
    })
}

fn noted() -> impl Iterator<Item = &'static Place> {
    LIST.iter().take(USED.load(Ordering::Relaxed))
}
