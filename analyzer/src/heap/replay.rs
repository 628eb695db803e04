//! Runs a trace's events through the live heap, in order, to their end or to a given one.
//!
//! Two threads do it where there are two processors: one pairs events with blocks, one adds up.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::mpsc::sync_channel;
use std::thread::{Builder, available_parallelism, scope};

use tftrace_format::reader::{Events, Trace};
use tftrace_format::{Domain, Event, LabelId, Ticks};

use super::adding::Adding;
use super::live::{Change, LiveHeap};
use super::live_blocks::LiveBlocks;
use super::pairing::{Batch, Paired, Pairing, Step, Until};
use super::purpose::Purposes;
use super::totals::StackTotals;
use super::unfreed::Unfreed;
use crate::progress::Progress;

/// So many batches may be paired and not added up.
const BATCHES_AHEAD: usize = 4;
/// So many pages are worth a second thread.
const WORTH_A_THREAD: usize = 64;

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
    /// The blocks that are live then.
    pub blocks: LiveBlocks,
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
    pub(super) at_shut_down: Option<Unfreed>,
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

    pub(super) fn step(&mut self, step: &Step, watcher: &mut impl Watcher) {
        let Step { thread, event, .. } = step;
        let change = self.heap.apply(event, step.ended());
        self.count(event);
        watcher.after(&self.heap, *thread, event, change);
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
            // The frees that it means were counted; the totals have what was folded.
            Event::ContextEnded { .. } | Event::Folded { .. } => {}
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

    pub(super) fn look_at(&mut self, malloc_in_use: u64) {
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
    /// Python began to shut down after the event of this time, when these blocks were live.
    fn shuts_down(&mut self, _heap: &mut LiveHeap, _blocks: &LiveBlocks, _last: Ticks) {}

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
pub fn replay(trace: &Trace<'_>, limit: Option<u64>, watcher: impl Watcher + Send) -> Replay {
    let until = Until { limit, shut_down: trace.shut_down() };
    trace.read_events(|events| replay_events(trace, events, until, watcher))
}

/// Applies all events, as if Python had begun to shut down at another time.
pub fn replay_shutting_down(
    trace: &Trace<'_>,
    shut_down: Ticks,
    watcher: impl Watcher + Send,
) -> Replay {
    let until = Until { limit: None, shut_down: Some(shut_down) };
    trace.read_events(|events| replay_events(trace, events, until, watcher))
}

fn replay_events(
    trace: &Trace<'_>,
    events: &mut Events<'_>,
    until: Until,
    watcher: impl Watcher + Send,
) -> Replay {
    let pages = events.pages_left();
    let progress = Progress::begin("reading events", pages as u64);
    let shown = |left: usize| progress.at(pages.saturating_sub(left) as u64);
    let purposes = Arc::new(Purposes::of(trace));
    let mut pairing = Pairing::new(trace, Arc::clone(&purposes), events, until);
    let mut adding = Adding::new(trace, purposes, watcher);
    let has_two = available_parallelism().is_ok_and(|processors| processors.get() > 1);
    if pages < WORTH_A_THREAD || !has_two || !in_two_threads(&mut pairing, &mut adding, shown) {
        let mut batch = Batch::default();
        while let Some(paired) = pairing.next(std::mem::take(&mut batch)) {
            shown(pairing.pages_left());
            match paired {
                Paired::Batch(full) => {
                    adding.add(&full);
                    batch = full;
                }
                Paired::ShutsDown(blocks) => {
                    adding.shuts_down(&blocks);
                    pairing.give_back(blocks);
                }
            }
        }
    }
    adding.end(pairing.end())
}

/// Adds up in a thread of its own what this one pairs. Whether there is one to be had: if not, nothing
/// was done.
fn in_two_threads(
    pairing: &mut Pairing<'_, '_>,
    adding: &mut Adding<'_, impl Watcher + Send>,
    shown: impl Fn(usize),
) -> bool {
    scope(|scope| {
        let (paired, to_add) = sync_channel(BATCHES_AHEAD);
        let (added, empty) = sync_channel(BATCHES_AHEAD + 2);
        let (lent, returned) = sync_channel(1);
        let add = move || {
            for paired in to_add {
                // Nobody listens to what comes back from the last ones.
                match paired {
                    Paired::Batch(batch) => {
                        adding.add(&batch);
                        added.send(batch).unwrap_or_default();
                    }
                    Paired::ShutsDown(blocks) => {
                        adding.shuts_down(&blocks);
                        lent.send(blocks).unwrap_or_default();
                    }
                }
            }
        };
        if Builder::new().name("tftrace-add".into()).spawn_scoped(scope, add).is_err() {
            return false;
        }
        while let Some(next) = pairing.next(empty.try_recv().unwrap_or_default()) {
            shown(pairing.pages_left());
            let lends = matches!(next, Paired::ShutsDown(_));
            // Whoever ends before all is added up has panicked, and so will the scope.
            if paired.send(next).is_err() {
                break;
            }
            if lends {
                let Ok(blocks) = returned.recv() else { break };
                pairing.give_back(blocks);
            }
        }
        true
    })
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

    #[test]
    fn events_that_say_when_temporaries_were_are_not_counted() {
        let folded = |time| {
            let (time, domain, stack) = (Ticks(time), Domain::Malloc, None);
            Event::Folded { time, domain, size: 8, stack, count: 8 }
        };
        let mut builder = TraceBuilder::new();
        builder.event(0, folded(5)).event(0, allocated(10, 16, 10_001)).event(0, folded(15));
        builder.event(0, allocated(20, 64, 20_001)).event(0, freed(30, 16));
        let bytes = builder.build(Packing::Raw);
        let trace = Trace::open(&bytes).unwrap();
        let end = replay(&trace, None, |_: &Event, _| ());
        assert_eq!(end.counts, EventCounts { allocations: 2, frees: 1, ..Default::default() });
        assert_eq!((end.peak.events, end.peak.bytes), (2, 30_002));
        let at_peak = replay(&trace, Some(end.peak.events), |_: &Event, _| ());
        assert_eq!(at_peak.heap.host_bytes(), 30_002);
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
