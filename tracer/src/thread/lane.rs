//! What a thread records into: its open pages, its kept stacks and its caches. Events are appended, and
//! temporaries folded, where they stand in the file.
//!
//! Never waits: a page that cannot be had is a counted loss.

use core::sync::atomic::Ordering;

use tftrace_format::counters::Counter;
use tftrace_format::event::{Event, RawEvent};
use tftrace_format::totals::TemporaryKey;
use tftrace_format::{Domain, Ticks};

use super::event_pages::{EventPages, Slot};
use super::totals_pages::TotalsPages;
use crate::capture::kept_stack::KeptStack;
use crate::capture::rule_cache::RuleCache;
use crate::process::Process;
use crate::python::kept_frames::KeptFrames;
use crate::sampling::Gap;
use crate::spool::Spool;

/// What lives longer than this, in ticks, is no temporary: some tenth of a second, below which a time
/// line has no windows that matter.
const LONGEST_TEMPORARY: u64 = 1 << 23;
/// A block of at least this size that is resized is no temporary either: what grows by `realloc` would
/// never be seen.
const LARGE_RESIZED: u64 = 16 << 10;

/// How a block ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    Freed,
    /// Another block took its place (`realloc`).
    Resized,
}

/// One of a thread's two sets of open pages. All zeros is a valid, empty lane.
#[derive(Debug)]
pub(crate) struct Lane {
    events: EventPages,
    totals: TotalsPages,
    pub(crate) kept: KeptStack,
    /// The node that was asked for last: the next one is behind it, mostly.
    pub(crate) last_node: u32,
    pub(crate) rules: RuleCache,
    pub(crate) python: KeptFrames,
    pub(crate) gap: Gap,
}

impl Lane {
    /// Appends an event; an allocation that may be folded later can be found by its address.
    #[inline(always)]
    pub(crate) fn append(&mut self, process: &Process, thread: (u32, u32), event: &Event) {
        let Some(raw) = RawEvent::pack(event) else {
            process.spool.count(Counter::LostBadAddress, 1);
            return;
        };
        let Some(slot) = self.events.append(&process.spool, thread, event.time(), raw) else {
            process.spool.count(Counter::LostFileFull, 1);
            return;
        };
        if let Event::Allocated { address, domain, stack, size, .. } = *event
            && domain != Domain::Mmap
        {
            self.events.remember(address, slot);
            // Most are folded soon; the count would be waited for then.
            if let Some(key) = (TemporaryKey { stack, size, domain }).to_wire() {
                self.totals.fetch_ahead(key);
            }
        }
    }

    /// Whether the block is a temporary, and when it was allocated: a moment ago, in an open page, and nobody else has
    /// freed it since.
    #[inline(always)]
    fn foldable(
        &self,
        process: &Process,
        domain: Domain,
        address: u64,
        now: Ticks,
        end: End,
    ) -> Option<(Slot, Ticks, TemporaryKey)> {
        let (slot, time, size, stack) = self.events.find(domain, address)?;
        if now.0.saturating_sub(time.0) > LONGEST_TEMPORARY
            || (end == End::Resized && size >= LARGE_RESIZED)
            // Relaxed: a figure; whoever frees while the interpreter shuts down has stored it or comes later.
            || time.0 < process.folds_from.load(Ordering::Relaxed)
            || process.foreign.since(domain, address, time)
        {
            return None;
        }
        Some((slot, time, TemporaryKey { stack, size, domain }))
    }

    /// Tells other threads of the end of a block that is being resized, if that will not be folded; to be
    /// called before the real call.
    #[inline(always)]
    pub(crate) fn announce_resized(
        &self,
        process: &Process,
        domain: Domain,
        address: u64,
        time: Ticks,
    ) {
        if self.foldable(process, domain, address, time, End::Resized).is_none() {
            process.foreign.announce(domain, address, time);
        }
    }

    /// Folds the end of a block with its allocation, if it was a temporary. False: the end is to be
    /// recorded. `now` need not be exact.
    #[inline(always)]
    pub(crate) fn folds(
        &mut self,
        process: &Process,
        thread: (u32, u32),
        (domain, address): (Domain, u64),
        now: Ticks,
        end: End,
    ) -> bool {
        let Some((slot, time, key)) = self.foldable(process, domain, address, now, end) else {
            return false;
        };
        let TemporaryKey { stack, size, domain } = key;
        let Some(key) = key.to_wire() else { return false };
        let Some(count) = self.totals.count_of(&process.spool, thread, key, now) else {
            return false;
        };
        self.events.remove(slot);
        let timed = count.add_one();
        self.events.forget(address);
        if let Some(count) = timed {
            self.note_time(process, thread, &Event::Folded { time, domain, size, stack, count });
        }
        true
    }

    /// Records when a temporary was that is folded.
    #[cold]
    fn note_time(&mut self, process: &Process, thread: (u32, u32), event: &Event) {
        // What is lost here is not the temporary itself.
        if let Some(raw) = RawEvent::pack(event) {
            _ = self.events.append(&process.spool, thread, event.time(), raw);
        }
    }

    /// Records the end of a block that is no temporary.
    #[inline(always)]
    pub(crate) fn ended(
        &mut self,
        process: &Process,
        thread: (u32, u32),
        (domain, address): (Domain, u64),
        time: Ticks,
    ) {
        process.foreign.announce(domain, address, time);
        self.events.forget(address);
        self.append(process, thread, &Event::Freed { time, domain, address });
    }

    /// Hands what was counted so far to the drain: from now on there are other temporaries, and few.
    pub(crate) fn hand_over_totals(&mut self, spool: &Spool) {
        self.totals.hand_over_all(spool);
    }

    /// Hands the open pages to the drain: the thread is gone.
    pub(crate) fn retire(&mut self, spool: &Spool) {
        self.events.retire(spool);
        self.totals.retire(spool);
        self.kept.forget_stacks();
        self.python.clear();
    }

    /// The host jumped out of a hook: what it was doing may be half done.
    pub(crate) fn after_jump(&mut self) {
        self.events.after_jump();
        // The kept stack may be half changed.
        self.kept.forget();
        self.python.clear();
    }
}
