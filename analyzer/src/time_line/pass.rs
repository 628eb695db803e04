//! One pass over the events, from which a time line is made.

use rustc_hash::FxHashMap;
use tftrace_format::reader::Trace;
use tftrace_format::{Domain, Event, Ticks};

use super::windows::{self, Windows};
use super::{Changes, TimeLine, requests, starters};
use crate::heap::{
    Block, Change, Level, LiveHeap, Purpose, Purposes, Resident, Sampling, TotalsKey,
};

/// Memory follows what this counts: where many stacks do something all the time, windows are longer.
const MOST_ENTRIES: usize = 6 << 20;
/// But not so few.
const FEWEST_WINDOWS: usize = 512;

/// State of a pass over the events.
pub(super) struct Pass<'t, 'a> {
    trace: &'t Trace<'a>,
    purposes: Purposes,
    heap: LiveHeap,
    windows: Windows,
    changes: FxHashMap<TotalsKey, Changes>,
    /// What mappings had at the last look: they are cut and joined, and are few.
    mapped: FxHashMap<TotalsKey, u64>,
    /// Entries in all of `changes` together.
    entries: usize,
    /// Whether the time line has ended.
    is_over: bool,
    requests: requests::Counted,
    starters: starters::Starters,
    window: usize,
}

impl<'t, 'a> Pass<'t, 'a> {
    pub(super) fn new(trace: &'t Trace<'a>) -> Self {
        let purposes = Purposes::of(trace);
        Self {
            trace,
            heap: LiveHeap::new(purposes.clone(), Sampling::of(trace)),
            purposes,
            windows: Windows::new(trace.header().ticks_per_second),
            changes: FxHashMap::default(),
            mapped: FxHashMap::default(),
            entries: 0,
            is_over: false,
            requests: requests::Counted::new(trace),
            starters: starters::Starters::default(),
            window: 0,
        }
    }

    /// The frees that an event means beside itself, to be applied before it.
    pub(super) fn frees_meant_by(&self, event: &Event) -> Vec<Event> {
        self.heap.frees_meant_by(event)
    }

    /// Applies the next event; gives the block that it freed, and what it stood for.
    pub(super) fn apply(
        &mut self,
        thread: u32,
        event: &Event,
    ) -> Option<(TotalsKey, Block, Level)> {
        let window = match self.windows.of(event.time()) {
            Some(window) => window,
            None => {
                self.halve(event.time());
                self.windows.of(event.time()).unwrap_or(self.window)
            }
        };
        if window > self.window {
            self.look_at_mappings();
            self.window = window;
        }
        self.starters.seen(thread);
        if let Event::Allocated { stack, .. } = *event {
            self.starters.allocated(thread, stack);
        }
        let change = self.heap.apply(event);
        let mut freed = None;
        let (domain, stack, bytes) = match (*event, change) {
            // What ranges have is looked at between windows.
            (Event::Allocated { domain: domain @ Domain::Mmap, stack, .. }, _) => {
                if let Purpose::Use(of) = self.purposes.get(domain, stack) {
                    self.change((of, stack), 0, 1);
                }
                return None;
            }
            (Event::Allocated { domain, stack, .. }, Change::Allocated(level)) => {
                (domain, stack, level.bytes as i64)
            }
            (Event::Freed { domain, .. }, Change::Freed(block, level)) => {
                freed = Some((block, level));
                (domain, block.stack, -(level.bytes as i64))
            }
            (Event::Marked { label, .. }, _) => {
                self.requests.mark(label, self.window);
                return None;
            }
            _ => return None,
        };
        let Purpose::Use(of) = self.purposes.get(domain, stack) else { return None };
        let key = (of, stack);
        self.change(key, bytes, u32::from(bytes > 0));
        freed.map(|(block, level)| (key, block, level))
    }

    fn change(&mut self, key: TotalsKey, bytes: i64, calls: u32) {
        if self.is_over {
            return;
        }
        let live = &mut self.changes.entry(key).or_default().live;
        let window = self.window as u16;
        match live.last_mut() {
            Some(last) if last.window == window => return last.add(bytes, calls),
            _ => live.push(windows::Change { window, calls, bytes }),
        }
        self.entries += 1;
        if self.entries > MOST_ENTRIES && self.window > FEWEST_WINDOWS {
            self.coarsen();
        }
    }

    /// Notes what every stack's mappings came to since the last look.
    fn look_at_mappings(&mut self) {
        let mut now: FxHashMap<TotalsKey, u64> = FxHashMap::default();
        self.heap.each_mapping(|key, bytes| *now.entry(key).or_default() += bytes);
        let before = std::mem::take(&mut self.mapped);
        for (&key, &bytes) in &now {
            let change = bytes as i64 - before.get(&key).copied().unwrap_or(0) as i64;
            if change != 0 {
                self.change(key, change, 0);
            }
        }
        for (&key, &bytes) in before.iter().filter(|(key, _)| !now.contains_key(key)) {
            self.change(key, -(bytes as i64), 0);
        }
        self.mapped = now;
    }

    /// Recording begins: nothing is known to be live any more.
    pub(super) fn begin_anew(&mut self) {
        self.heap.begin_anew();
        self.mapped.clear();
        for changes in self.changes.values_mut() {
            let sum: i64 = changes.live.iter().map(|change| change.bytes).sum();
            let window = self.window as u16;
            changes.live.push(windows::Change { window, calls: 0, bytes: -sum });
        }
    }

    /// Doubles the windows until a time fits in.
    fn halve(&mut self, time: Ticks) {
        while self.windows.of(time).is_none() {
            self.coarsen();
        }
    }

    /// Doubles the windows.
    fn coarsen(&mut self) {
        self.windows.double();
        self.window /= 2;
        self.entries = 0;
        for changes in self.changes.values_mut() {
            windows::join(&mut changes.live);
            self.entries += changes.live.len();
        }
        self.requests.halve();
    }

    /// The time line up to now. What comes after is not in it, and in no other.
    pub(super) fn end(&mut self, end: Ticks, ends_at_shut_down: bool) -> TimeLine {
        self.look_at_mappings();
        let mut changes = std::mem::take(&mut self.changes);
        self.is_over = true;
        let windows = self.windows;
        self.heap.each_live(|key, level, born| {
            let Some(window) = windows.of(born) else { return };
            changes.entry(key).or_default().kept.push((
                window as u16,
                level.bytes,
                level.blocks as u32,
            ));
        });
        for changes in changes.values_mut() {
            windows::sum_up(&mut changes.kept);
        }
        let count = windows.of(end).map_or(0, |last| last + 1);
        let trace_seconds = |window: usize| self.trace.seconds(windows.end_of(window));
        let mut seconds: Vec<f64> = (0..count).map(trace_seconds).collect();
        if let Some(last) = seconds.last_mut() {
            *last = self.trace.seconds(end);
        }
        // The kernel is asked seldom.
        let layouts = self.trace.layouts().iter();
        let nearest = layouts.min_by_key(|layout| layout.time.0.abs_diff(end.0));
        TimeLine {
            changes,
            levels: Domain::ALL.map(|domain| self.heap.level(domain)),
            pools: Domain::ALL.map(|domain| self.heap.pools(domain)),
            slack: Domain::ALL.map(|domain| self.heap.slack(domain)),
            resident: nearest.map(|layout| Resident::of(&self.heap, layout)),
            malloc_chunk_bytes: self.heap.malloc_chunk_bytes(),
            end,
            ends_at_shut_down,
            requests: self.requests.until(count),
            entry_points: self.requests.entry_points(count),
            events: 0,
            seconds,
            starters: std::mem::take(&mut self.starters),
            windows,
        }
    }
}
