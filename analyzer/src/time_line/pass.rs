//! One pass over the events, from which a time line is made.

use std::ops::RangeInclusive;

use tftrace_format::reader::Trace;
use tftrace_format::{Domain, Event, Ticks};

use super::folded::Folded;
use super::history::Log;
use super::kept::KeptBySite;
use super::windows::Windows;
use super::{LONGEST_SHUT_DOWN, TimeLine, requests, starters};
use crate::heap::{Change, LiveBlocks, LiveHeap, Resident, Watcher};

/// Memory follows what this counts: where many stacks do something all the time, windows are longer.
const MOST_ENTRIES: usize = 6 << 20;
/// But not so few.
const FEWEST_WINDOWS: usize = 512;

/// State of a pass over the events.
pub(super) struct Pass<'t, 'a> {
    trace: &'t Trace<'a>,
    windows: Windows,
    log: Log,
    requests: requests::Counted,
    starters: starters::Starters,
    folded: Folded,
    window: usize,
    /// Sites that had asked for memory before this event.
    known_sites: usize,
    /// Events so far.
    events: u64,
    /// Whether the time line ends when Python shuts down.
    ends_at_shut_down: bool,
    /// The time line, if it has ended.
    ended: Option<TimeLine>,
    /// When Python's last collection frees what nobody held, if it was seen. Before it the interpreter drops the states of
    /// other threads, and with them what these held.
    collected: Option<RangeInclusive<Ticks>>,
}

impl<'t, 'a> Pass<'t, 'a> {
    pub(super) fn new(trace: &'t Trace<'a>, ends_at_shut_down: bool) -> Self {
        let collected = trace.last_collection().filter(|collected| collected.enabled);
        Self {
            trace,
            windows: Windows::new(trace.header().ticks_per_second),
            log: Log::default(),
            requests: requests::Counted::new(trace),
            starters: starters::Starters::default(),
            folded: Folded::default(),
            window: 0,
            known_sites: 0,
            events: 0,
            ends_at_shut_down,
            ended: None,
            collected: collected.map(|collected| collected.began..=collected.ended),
        }
    }

    /// The time line after the last event, and how many there were. `None`: the program went on for
    /// long after Python's shutdown.
    pub(super) fn end(
        mut self,
        heap: &mut LiveHeap,
        blocks: &LiveBlocks,
        last: Ticks,
    ) -> Option<TimeLine> {
        let line = match self.ended.take() {
            Some(line) => {
                let went_on = self.trace.seconds(last) - self.trace.seconds(line.end);
                Some(line).filter(|_| went_on < LONGEST_SHUT_DOWN)?
            }
            None => self.line(heap, blocks, last, false),
        };
        Some(self.complete(line))
    }

    /// The time line up to the moment that counted as shutdown; `None`: nothing came later.
    pub(super) fn end_early(mut self) -> Option<TimeLine> {
        let line = self.ended.take()?;
        Some(self.complete(line))
    }

    /// Adds what is known once all events were seen.
    fn complete(&self, mut line: TimeLine) -> TimeLine {
        line.garbage.sum_up();
        line.events = self.events;
        line
    }

    /// Writes down what happened since the last time, as of the current window.
    fn write_down(&mut self, heap: &mut LiveHeap, now: Ticks) {
        let (log, window) = (&mut self.log, self.window);
        heap.take_changes(|change| log.add(window, change));
        log.added(window);
        if self.log.len() > MOST_ENTRIES && self.window > FEWEST_WINDOWS {
            self.coarsen(now, true);
        }
    }

    /// Goes on to the window of a time.
    #[cold]
    fn go_on(&mut self, heap: &mut LiveHeap, time: Ticks) {
        self.write_down(heap, time);
        while !self.windows.reach(time) {
            self.coarsen(time, false);
        }
        self.window = self.windows.last();
        self.windows.counts(time);
    }

    /// Makes fewer windows; `halve` as for [`Windows::coarsen`].
    fn coarsen(&mut self, time: Ticks, halve: bool) {
        let numbers = self.windows.coarsen(time, halve);
        self.window = self.windows.last();
        self.log.renumber(&numbers);
        self.requests.renumber(&numbers);
        self.folded.renumber(&numbers);
    }

    /// The time line up to now. What comes after is not in it, and in no other.
    fn line(
        &mut self,
        heap: &mut LiveHeap,
        blocks: &LiveBlocks,
        end: Ticks,
        ends_at_shut_down: bool,
    ) -> TimeLine {
        self.write_down(heap, end);
        let windows = std::mem::replace(&mut self.windows, Windows::new(1));
        let keys = heap.sites().keys();
        let history = std::mem::take(&mut self.log).by_site(keys.len());
        let mut kept = KeptBySite::default();
        heap.each_live(blocks, |site, level, born| {
            let domain =
                keys.get(site.index()).copied().flatten().map_or(Domain::Malloc, |key| key.0);
            kept.add(site.index(), windows.of(born), domain, level);
        });
        kept.sum_up();
        let count = windows.of(end) + 1;
        let trace_seconds = |window: usize| self.trace.seconds(windows.end_of(window));
        let mut seconds: Vec<f64> = (0..count).map(trace_seconds).collect();
        if let Some(last) = seconds.last_mut() {
            *last = self.trace.seconds(end);
        }
        // The kernel is asked seldom.
        let layouts = self.trace.layouts().iter();
        let nearest = layouts.min_by_key(|layout| layout.time.0.abs_diff(end.0));
        TimeLine {
            keys,
            history,
            kept,
            garbage: KeptBySite::default(),
            levels: Domain::ALL.map(|domain| heap.level(domain)),
            pools: Domain::ALL.map(|domain| heap.pools(domain)),
            slack: Domain::ALL.map(|domain| heap.slack(blocks, domain)),
            resident: nearest.map(|layout| Resident::of(heap, blocks, layout)),
            malloc_chunk_bytes: heap.malloc_chunk_bytes(),
            end,
            ends_at_shut_down,
            requests: self.requests.until(count),
            entry_points: self.requests.entry_points(count),
            events: 0,
            seconds,
            starters: std::mem::take(&mut self.starters),
            folded: std::mem::take(&mut self.folded).sorted(),
            windows,
        }
    }
}

impl Watcher for &mut Pass<'_, '_> {
    fn shuts_down(&mut self, heap: &mut LiveHeap, blocks: &LiveBlocks, last: Ticks) {
        if self.ends_at_shut_down {
            self.ended = Some(self.line(heap, blocks, last, true));
        }
    }

    fn before(&mut self, heap: &mut LiveHeap, thread: u32, event: &Event) {
        self.events += u64::from(!matches!(event, Event::Folded { .. }));
        if self.ended.is_some() {
            return;
        }
        if !self.windows.counts(event.time()) {
            self.go_on(heap, event.time());
        }
        self.starters.seen(thread);
    }

    fn after(&mut self, heap: &LiveHeap, thread: u32, event: &Event, change: Change) {
        if let Some(line) = &mut self.ended {
            if let Change::Freed(site, block, level) = change
                && self.collected.as_ref().is_some_and(|when| when.contains(&event.time()))
            {
                line.was_garbage(site, block.born, level);
            }
            return;
        }
        match *event {
            Event::Allocated { stack, .. } => {
                let sites = heap.sites().len();
                self.starters.allocated(thread, stack, sites > self.known_sites);
                self.known_sites = sites;
            }
            Event::Marked { label, .. } => self.requests.mark(label, self.window),
            Event::Folded { stack: Some(stack), count, .. } => {
                self.folded.add(stack, self.window, count);
            }
            _ => {}
        }
    }
}
