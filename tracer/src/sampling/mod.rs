//! `TFTRACE_SAMPLE`: which allocations are recorded, and which frees belong to one that was.
//!
//! Every byte that is allocated is a sample with the same chance, 1 in the period; a block is recorded
//! if a sample falls into it. Whether it does depends on nothing but its size, so a reader knows what
//! it stands for. Never reads a clock, never captures: most calls of the host end here.

mod gap;
mod live_set;

use core::num::NonZeroU64;
use core::sync::atomic::{AtomicBool, Ordering};

use tftrace_format::Domain;
use tftrace_format::counters::Counter;

pub(crate) use gap::Gap;
use gap::Mean;
use live_set::LiveSet;

use crate::thread::guard::{self, HookEntry};
use crate::thread::slot::ThreadSlot;

/// The largest period. Above it the sum of 64 means would come near the range of the arithmetic.
pub(crate) const LARGEST_PERIOD: u64 = 1 << 40;

/// What all threads share.
#[derive(Debug)]
pub(crate) struct Sampling {
    mean: Mean,
    live: LiveSet,
}

impl Sampling {
    /// Nothing sampled yet; `None` if there is no memory for what will be.
    pub(crate) fn new(period: NonZeroU64) -> Option<Self> {
        let sampling = Self { mean: Mean::new(period), live: LiveSet::new()? };
        SAMPLED.store(true, Ordering::Relaxed);
        Some(sampling)
    }
}

/// The same in all processes of the program, so that hooks of one that is not sampled look no further.
static SAMPLED: AtomicBool = AtomicBool::new(false);

/// The slot of the calling thread, if only a sample is recorded: to ask whether a call is over at once.
#[inline(always)]
pub(crate) fn slot() -> Option<&'static ThreadSlot> {
    // Relaxed: a hint. Where it is missed the call takes the longer way.
    if SAMPLED.load(Ordering::Relaxed) { guard::idle_slot() } else { None }
}

/// Whether a new block is certainly not in the sample: its bytes are counted, and the call is over.
/// False: [`takes`] is to be asked.
#[inline(always)]
pub(crate) fn leaves_out(slot: &ThreadSlot, sp: u64, domain: Domain, size: u64) -> bool {
    domain.is_sampled()
        && slot.process.switch.is_left_on()
        && guard::briefly(slot, sp, |lane| lane.gap.passes(size))
}

/// Whether a block that dies is certainly not in the sample. False: [`forgets`] is to be asked.
#[inline(always)]
pub(crate) fn lacks(slot: &ThreadSlot, domain: Domain, address: u64) -> bool {
    match &slot.process.sampling {
        Some(sampling) if domain.is_sampled() => !sampling.live.may_hold(domain, address),
        _ => false,
    }
}

/// Whether a new block is recorded. To be asked once for each, before the host gets it.
#[inline(always)]
pub(crate) fn takes(entry: &mut HookEntry, domain: Domain, address: u64, size: u64) -> bool {
    let process = entry.process;
    match &process.sampling {
        Some(sampling) if domain.is_sampled() => {
            entry.lane().gap.ends_in(size, sampling.mean) && remember(entry, domain, address)
        }
        _ => true,
    }
}

/// A sample fell into the block. False: its free could not be told from others, so it is left out.
#[cold]
fn remember(entry: &HookEntry, domain: Domain, address: u64) -> bool {
    let Some(sampling) = &entry.process.sampling else { return true };
    let remembered = sampling.live.insert(domain, address);
    if !remembered {
        entry.process.spool.count(Counter::LostSamples, 1);
    }
    remembered
}

/// Whether the free of a block is recorded; the block is no longer known to live. To be asked before
/// another thread can get the address.
#[inline(always)]
pub(crate) fn forgets(entry: &HookEntry, domain: Domain, address: u64) -> bool {
    match &entry.process.sampling {
        Some(sampling) if domain.is_sampled() => sampling.live.remove(domain, address),
        _ => true,
    }
}

/// A block that was forgotten lives on: its `realloc` failed.
#[cold]
pub(crate) fn remember_again(entry: &HookEntry, domain: Domain, address: u64) {
    if let Some(sampling) = &entry.process.sampling {
        // It stood there a moment ago. Where somebody took its place, its free will be missing.
        let _ = sampling.live.insert(domain, address);
    }
}
