//! `TFTRACE_SAMPLE`: which allocations are recorded, and which frees belong to one that was.
//!
//! Every byte that is allocated is a sample with the same chance, 1 in the period; a block is recorded
//! if a sample falls into it. Whether it does depends on nothing but its size, so a reader knows what
//! it stands for. Never reads a clock, never captures. Most calls of the host do not even come here: the
//! entries of the hooks (`arch`) see by two words that they are not in the sample.

mod gap;
mod live_set;

use core::num::NonZeroU64;
use core::sync::atomic::{AtomicPtr, AtomicU16, AtomicU32, Ordering};

use tftrace_format::Domain;
use tftrace_format::counters::Counter;

pub(crate) use gap::Gap;
use gap::Mean;
use live_set::LiveSet;

use crate::arch;
use crate::capture::loader_list;
use crate::process;
use crate::stand_in;
use crate::thread::guard::HookEntry;

/// The largest period. Above it the sum of 64 means would come near the range of the arithmetic.
pub(crate) const LARGEST_PERIOD: u64 = 1 << 40;

/// What all threads share.
#[derive(Debug)]
pub(crate) struct Sampling {
    mean: Mean,
    live: LiveSet,
}

/// A count for each place that addresses fall on: 0 says that no end of a block there matters. One for all
/// where every block is recorded, and before the first process is set up.
pub(crate) static FILTER: AtomicPtr<AtomicU16> = AtomicPtr::new((&raw const ONE).cast_mut());
/// The count of all addresses, which is never changed.
static ONE: AtomicU16 = AtomicU16::new(1);
/// The offsets that there are in the filter. To be read before it.
pub(crate) static FILTER_MASK: AtomicU32 = AtomicU32::new(0);

impl Sampling {
    /// Nothing sampled yet; `None` if there is no memory for what will be.
    pub(crate) fn new(period: NonZeroU64) -> Option<Self> {
        let sampling = Self { mean: Mean::new(period), live: LiveSet::new()? };
        // What stands in the pool is none of the real allocator's blocks.
        sampling.live.watch_range(stand_in::range());
        // A child of `fork` remembers the objects that its parent saw.
        loader_list::link_maps().for_each(|link_map| sampling.live.watch(link_map));
        // Release: who sees the filter sees what was added to it, and who sees the offsets sees it.
        FILTER.store(sampling.live.counts(), Ordering::Release);
        FILTER_MASK.store(live_set::OFFSETS, Ordering::Release);
        Some(sampling)
    }
}

fn current() -> Option<&'static Sampling> {
    process::if_set_up()?.sampling.as_ref()
}

/// From now on the free of this address comes to the hook, whoever calls it.
pub(crate) fn watch(address: u64) {
    if let Some(sampling) = current() {
        sampling.live.watch(address);
    }
}

/// The opposite, once for each time that [`watch`] was called.
pub(crate) fn stop_watching(address: u64) {
    if let Some(sampling) = current() {
        sampling.live.stop_watching(address);
    }
}

/// Whether a new block is recorded. To be asked once for each, before the host gets it.
#[inline(always)]
pub(crate) fn takes(entry: &mut HookEntry, domain: Domain, address: u64, size: u64) -> bool {
    let process = entry.process();
    match &process.sampling {
        Some(sampling) if domain.is_sampled() => {
            // SAFETY: the word is this thread's own, and the reference ends before anything else that
            // this thread does with it, but for a handler, whose bytes are forgotten.
            let left = unsafe { &mut *arch::bytes_to_sample() };
            entry.lane().gap.ends_in(left, size, sampling.mean) && remember(entry, domain, address)
        }
        _ => true,
    }
}

/// What is left of the calling thread's gap: it changes with every block that is counted.
#[inline(always)]
pub(crate) fn bytes_left() -> u64 {
    // SAFETY: the word is this thread's own.
    unsafe { arch::bytes_to_sample().read() }
}

/// Takes a block that is not in the sample, and smaller than what is left, off the calling thread's gap.
#[inline(always)]
pub(crate) fn pass(size: u64) {
    // SAFETY: the word is this thread's own.
    unsafe { arch::bytes_to_sample().write(bytes_left().saturating_sub(size)) };
}

/// Runs `work`, none of whose blocks is in the sample.
#[cold]
pub(crate) fn far_from_sample<R>(work: impl FnOnce() -> R) -> R {
    let left = arch::bytes_to_sample();
    // SAFETY: the word is this thread's own.
    let before = unsafe { left.replace(LARGEST_PERIOD) };
    let result = work();
    // SAFETY: as above.
    unsafe { left.write(before) };
    result
}

/// In a child of `fork`: its first allocation comes to the hook, which begins its trace.
pub(crate) extern "C" fn begin_in_child() {
    // SAFETY: the word is this thread's own.
    unsafe { arch::bytes_to_sample().write(0) };
}

/// A sample fell into the block. False: its free could not be told from others, so it is left out.
#[cold]
fn remember(entry: &HookEntry, domain: Domain, address: u64) -> bool {
    let Some(sampling) = &entry.process().sampling else { return true };
    let remembered = sampling.live.insert(domain, address);
    if !remembered {
        entry.process().spool.count(Counter::LostSamples, 1);
    }
    remembered
}

/// Whether the free of a block is recorded; the block is no longer known to live. To be asked before
/// another thread can get the address.
#[inline(always)]
pub(crate) fn forgets(entry: &HookEntry, domain: Domain, address: u64) -> bool {
    match &entry.process().sampling {
        Some(sampling) if domain.is_sampled() => sampling.live.remove(domain, address),
        _ => true,
    }
}

/// A block that was forgotten lives on: its `realloc` failed.
#[cold]
pub(crate) fn remember_again(entry: &HookEntry, domain: Domain, address: u64) {
    if let Some(sampling) = &entry.process().sampling {
        // It stood there a moment ago. Where somebody took its place, its free will be missing.
        let _ = sampling.live.insert(domain, address);
    }
}
