//! Runs a trace's events through the live heap, in order, to their end or to a given one.

use std::collections::BTreeMap;

use tftrace_format::page_codec::PageThread;
use tftrace_format::reader::{Events, Trace};
use tftrace_format::{Domain, Event, LabelId, Ticks};

use super::live::{Change, LiveHeap};
use super::purpose::Purposes;
use super::sampling::Sampling;
use super::totals::StackTotals;
use super::unfreed::Unfreed;
use crate::progress::Progress;

/// So many events are looked at together before they are applied, one after the other.
const AHEAD: usize = 64;
/// Progress is shown after so many times of that.
const SHOWN_EVERY: u32 = 1 << 10;

/// How many events of which kind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct EventCounts {
    /// Allocations and mappings.
    pub allocations: u64,
    /// Frees and unmappings.
    pub frees: u64,
    /// Marks.
    pub marks: u64,
    /// Allocations that failed.
    pub failures: u64,
}

impl EventCounts {
    /// All of them.
    pub fn sum(&self) -> u64 {
        self.allocations + self.frees + self.marks + self.failures
    }
}

/// The moment when host memory was largest.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Peak {
    /// How many events led to it; 0 if nothing was ever live.
    pub events: u64,
    /// Live bytes of malloc and anonymous mmap.
    pub bytes: u64,
    /// When.
    pub time: Option<Ticks>,
}

/// The live malloc blocks when the allocator was last asked for its own figure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AtReading {
    /// As requested.
    pub bytes: u64,
    /// As glibc counts them.
    pub chunk_bytes: u64,
    /// What glibc said.
    pub malloc_in_use: u64,
    /// The variance of `bytes`, if they are estimated.
    pub variance: u128,
}

/// What a run through the events leaves behind.
#[derive(Debug, Default)]
pub struct Replay {
    /// The heap after the last event.
    pub heap: LiveHeap,
    /// What the events were.
    pub counts: EventCounts,
    /// When the last one happened.
    pub last: Option<Ticks>,
    /// When memory was largest.
    pub peak: Peak,
    /// How often each mark was set.
    pub marks: BTreeMap<LabelId, u64>,
    /// The heap beside the allocator's figure, if the trace has one.
    pub at_reading: Option<AtReading>,
    /// What was unfreed when the Python interpreter began to shut down, if events followed.
    at_shut_down: Option<Unfreed>,
}

impl Replay {
    /// What counts as unfreed: the heap at the end, or when the interpreter began to shut down.
    pub fn unfreed(&self, trace: &Trace<'_>) -> Unfreed {
        let at_shut_down = self.unfreed_at_shut_down(trace).cloned();
        at_shut_down.unwrap_or_else(|| Unfreed::of(&self.heap, None))
    }

    /// The same as totals of call stacks.
    pub fn unfreed_totals(&self, trace: &Trace<'_>, domains: &[Domain]) -> StackTotals {
        match self.unfreed_at_shut_down(trace) {
            Some(unfreed) => unfreed.totals(domains),
            None => self.heap.totals(domains),
        }
    }

    fn unfreed_at_shut_down(&self, trace: &Trace<'_>) -> Option<&Unfreed> {
        self.at_shut_down.as_ref().filter(|unfreed| {
            let seconds = |time: Option<Ticks>| time.map_or(0.0, |time| trace.seconds(time));
            unfreed.is_followed_by_the_end(seconds(self.last) - seconds(unfreed.shut_down))
        })
    }

    fn step(&mut self, thread: u32, event: &Event, watcher: &mut impl Watcher) {
        let change = self.heap.apply(event);
        self.count(event);
        watcher.after(&self.heap, thread, event, change);
    }

    /// Looks at what the next events will concern, so that it is in the processor's cache then.
    fn look_ahead(&self, events: &[(PageThread, Event)]) {
        let mut found = [None; AHEAD];
        for (site, (_, event)) in found.iter_mut().zip(events) {
            *site = self.heap.site_of(event);
        }
        let sites = found.into_iter().flatten();
        let seen = sites.fold(0, |seen, site| seen ^ self.heap.sites().look_at(site));
        // The looking is what is wanted, and nothing of what was seen.
        std::hint::black_box(seen);
    }

    fn count(&mut self, event: &Event) {
        self.last = Some(event.time());
        match *event {
            Event::Allocated { .. } => {
                self.counts.allocations += 1;
                self.look_for_peak();
            }
            Event::Freed { .. } | Event::RangeFreed { .. } => self.counts.frees += 1,
            Event::Failed { .. } => self.counts.failures += 1,
            // The frees that it means were counted.
            Event::ContextEnded { .. } => {}
            Event::Marked { label, .. } => {
                self.counts.marks += 1;
                *self.marks.entry(label).or_default() += 1;
            }
        }
    }

    fn look_for_peak(&mut self) {
        let bytes = self.heap.host_bytes();
        if bytes > self.peak.bytes {
            self.peak = Peak { events: self.counts.sum(), bytes, time: self.last };
            self.heap.is_peak();
        }
    }

    fn look_at(&mut self, malloc_in_use: u64) {
        self.at_reading = Some(AtReading {
            bytes: self.heap.malloc().bytes,
            chunk_bytes: self.heap.malloc_chunk_bytes(),
            malloc_in_use,
            variance: self.heap.malloc().variance,
        });
    }
}

/// Who is shown the events, and what they do to the heap.
pub trait Watcher {
    /// Python began to shut down after the event of this time.
    fn shuts_down(&mut self, _heap: &mut LiveHeap, _last: Ticks) {}

    /// An event of this thread comes next.
    fn before(&mut self, _heap: &mut LiveHeap, _thread: u32, _event: &Event) {}

    /// An event was applied, and what it did. The end of a CUDA context is shown as the frees that it
    /// means, too.
    fn after(&mut self, heap: &LiveHeap, thread: u32, event: &Event, change: Change);
}

impl<F: FnMut(&Event, Change)> Watcher for F {
    fn after(&mut self, _heap: &LiveHeap, _thread: u32, event: &Event, change: Change) {
        self(event, change);
    }
}

/// Applies the first `limit` events (`None` = all), and shows each to `watcher` with what it did.
pub fn replay(trace: &Trace<'_>, limit: Option<u64>, watcher: impl Watcher) -> Replay {
    trace.read_events(|events| replay_events(trace, events, limit, watcher))
}

fn replay_events(
    trace: &Trace<'_>,
    events: &mut Events<'_>,
    limit: Option<u64>,
    mut watcher: impl Watcher,
) -> Replay {
    let reading = trace.readings().iter().rfind(|reading| reading.malloc_known);
    let mut pending = reading.map(|reading| (Ticks(reading.time), reading.malloc_in_use));
    // Blocks that were not recorded are in the allocator's figure.
    pending.take_if(|_| !trace.recordings().is_empty());
    let mut shut_down = trace.shut_down();
    let mut beginnings = trace.recordings().iter().filter(|(_, on)| *on).peekable();
    let pages = events.pages_left() as u64;
    let progress = Progress::begin("reading events", pages);
    let heap = LiveHeap::new(Purposes::of(trace), Sampling::of(trace));
    let mut replay = Replay { heap, ..Replay::default() };
    let mut until_shown = SHOWN_EVERY;
    let mut ahead = Vec::with_capacity(AHEAD);
    while limit.is_none_or(|limit| replay.counts.sum() < limit) {
        ahead.clear();
        ahead.extend(events.by_ref().take(AHEAD));
        if ahead.is_empty() {
            break;
        }
        replay.look_ahead(&ahead);
        for (thread, event) in &ahead {
            if limit.is_some_and(|limit| replay.counts.sum() >= limit) {
                break;
            }
            let time = event.time();
            if let Some((_, in_use)) = pending.take_if(|(at, _)| time > *at) {
                replay.look_at(in_use);
            }
            if shut_down.take_if(|at| time > *at).is_some() {
                replay.at_shut_down = Some(Unfreed::of(&replay.heap, trace.shut_down()));
                watcher.shuts_down(&mut replay.heap, replay.last.unwrap_or(Ticks(0)));
            }
            while beginnings.next_if(|(at, _)| time > *at).is_some() {
                replay.heap.begin_anew();
            }
            watcher.before(&mut replay.heap, thread.number, event);
            for free in replay.heap.frees_meant_by(event) {
                replay.step(thread.number, &free, &mut watcher);
            }
            replay.step(thread.number, event, &mut watcher);
        }
        until_shown -= 1;
        if until_shown == 0 {
            progress.at(pages.saturating_sub(events.pages_left() as u64));
            until_shown = SHOWN_EVERY;
        }
    }
    if let Some((_, in_use)) = pending {
        replay.look_at(in_use);
    }
    replay
}

#[cfg(test)]
mod tests {
    use super::*;
    use tftrace_format::builder::{Packing, TraceBuilder};
    use tftrace_format::record::MemoryReading;

    fn allocated(time: u64, address: u64, size: u64) -> Event {
        let (time, domain) = (Ticks(time), Domain::Malloc);
        Event::Allocated { time, domain, address, size, stack: None, file_backed: false }
    }

    fn freed(time: u64, address: u64) -> Event {
        Event::Freed { time: Ticks(time), domain: Domain::Malloc, address }
    }

    #[test]
    fn a_free_by_another_thread_and_the_peak_are_seen_in_time_order() {
        let mut builder = TraceBuilder::new();
        builder.event(1, freed(30, 16)).event(0, allocated(10, 16, 10_001));
        builder.event(1, allocated(40, 16, 5)).event(0, allocated(20, 64, 20_001));
        for packing in [Packing::Raw, Packing::Chunked] {
            let bytes = builder.build(packing);
            let trace = Trace::open(&bytes).unwrap();
            let end = replay(&trace, None, |_: &Event, _| ());
            assert_eq!(end.peak, Peak { events: 2, bytes: 30_002, time: Some(Ticks(20)) });
            assert_eq!(end.counts, EventCounts { allocations: 3, frees: 1, ..Default::default() });
            assert_eq!(end.heap.level(Domain::Malloc).bytes, 20_006);
            assert_eq!(end.heap.anomalies(), Default::default());
            let at_peak = replay(&trace, Some(end.peak.events), |_: &Event, _| ());
            assert_eq!(at_peak.heap.host_bytes(), 30_002);
        }
    }

    /// Two threads' clocks may agree on a tick; one thread's own order is known.
    #[test]
    fn events_of_one_tick_are_seen_in_the_order_of_recording() {
        let mut builder = TraceBuilder::new();
        builder.event(0, allocated(10, 16, 10_001)).event(0, allocated(10, 16, 20_001));
        for packing in [Packing::Raw, Packing::Chunked] {
            let bytes = builder.build(packing);
            let end = replay(&Trace::open(&bytes).unwrap(), None, |_: &Event, _| ());
            assert_eq!(end.heap.level(Domain::Malloc).bytes, 20_001, "{packing:?}");
        }
    }

    #[test]
    fn the_heap_is_compared_at_the_time_of_the_last_reading_that_knows() {
        let mut builder = TraceBuilder::new();
        builder.event(0, allocated(10, 16, 100)).event(0, allocated(30, 256, 1000));
        let known = MemoryReading { malloc_known: true, ..Default::default() };
        builder.reading(MemoryReading { time: 5, malloc_in_use: 1, ..known });
        builder.reading(MemoryReading { time: 20, malloc_in_use: 112, ..known });
        builder.reading(MemoryReading { time: 40, ..Default::default() });
        let bytes = builder.build(Packing::Raw);
        let end = replay(&Trace::open(&bytes).unwrap(), None, |_: &Event, _| ());
        let expected = AtReading { bytes: 100, chunk_bytes: 112, malloc_in_use: 112, variance: 0 };
        assert_eq!(end.at_reading, Some(expected));
    }

    #[test]
    fn what_was_live_before_recording_began_again_is_not_counted() {
        let mut builder = TraceBuilder::new();
        builder.event(0, allocated(10, 16, 100)).event(0, allocated(30, 256, 1000));
        builder.event(0, freed(31, 16));
        builder.recording(Ticks(15), false).recording(Ticks(20), true);
        builder.reading(MemoryReading { time: 40, malloc_known: true, ..Default::default() });
        let bytes = builder.build(Packing::Raw);
        let end = replay(&Trace::open(&bytes).unwrap(), None, |_: &Event, _| ());
        assert_eq!(end.heap.level(Domain::Malloc).bytes, 1000);
        assert_eq!(end.heap.anomalies(), Default::default());
        assert_eq!(end.peak.bytes, 1000);
        assert_eq!(end.at_reading, None);
    }

    #[test]
    fn unfreed_is_counted_when_the_interpreter_begins_to_shut_down() {
        let mut builder = TraceBuilder::new();
        builder.event(0, allocated(10, 16, 100)).event(0, allocated(20, 256, 1000));
        builder.event(0, freed(30, 256)).event(0, allocated(31, 512, 7));
        let unfreed = |builder: &TraceBuilder| {
            let bytes = builder.build(Packing::Raw);
            let trace = Trace::open(&bytes).unwrap();
            let unfreed = replay(&trace, None, |_: &Event, _| ()).unfreed(&trace);
            assert_eq!(unfreed.totals(&Domain::ALL).sum(), unfreed.level(Domain::Malloc));
            (unfreed.shut_down, unfreed.level(Domain::Malloc).bytes)
        };
        assert_eq!(unfreed(&builder), (None, 107));
        builder.shut_down(Ticks(25), true);
        assert_eq!(unfreed(&builder), (Some(Ticks(25)), 1100));
        // A host that runs on is not about to end.
        let later = 40_000_000_000; // Ticks are nanoseconds here.
        let mut runs_on = builder.clone();
        runs_on.event(0, allocated(later, 1024, 1));
        assert_eq!(unfreed(&runs_on), (None, 108));
        builder.shut_down(Ticks(28), false);
        assert_eq!(unfreed(&builder), (None, 107), "the interpreter was started again");
    }
}
