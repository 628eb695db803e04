//! Memory over time: what every call stack had live at the end of each window, and when what is
//! live at the end was allocated.
//!
//! One pass over the events. Windows have equal lengths, which double when there are too many, so
//! that memory follows the number of stacks, not the length of the trace.

mod requests;
mod windows;

use rustc_hash::FxHashMap;
use tftrace_format::reader::Trace;
use tftrace_format::{Domain, Event, Ticks};

use crate::heap::{Change, Level, LiveHeap, Purpose, Purposes, TotalsKey};
use crate::progress::Progress;

pub use requests::Requests;
use windows::Windows;

/// How much later than the interpreter's last breath a process may go on and still count as ending.
const LONGEST_SHUT_DOWN: f64 = 30.0;

/// Windows of start-up, at most, once it is known how long that took.
const MOST_BEFORE: usize = 100;
/// Windows after start-up, at most.
const MOST_AFTER: usize = 256;

/// What one call stack had in one domain, window by window. Only windows in which something happened.
#[derive(Clone, Debug, Default)]
struct Changes {
    /// What came and went, by window.
    live: Vec<windows::Change>,
    /// Window, bytes allocated in it that are live at the end, and their blocks.
    kept: Vec<(u16, u64, u32)>,
}

/// Memory over time.
#[derive(Debug)]
pub struct TimeLine {
    changes: FxHashMap<TotalsKey, Changes>,
    /// What is live when the time line ends, by domain.
    pub levels: [Level; Domain::ALL.len()],
    /// Pools, by the domain whose blocks are cut out of them.
    pub pools: [Level; Domain::ALL.len()],
    /// The part of these in which no block is live, in bytes.
    pub slack: [u64; Domain::ALL.len()],
    /// Live blocks of the C heap when the time line ends, as glibc counts them, in bytes.
    pub malloc_chunk_bytes: u64,
    /// When the time line ends: with the trace, or when Python began to shut down.
    pub end: Ticks,
    /// Whether it ends because Python began to shut down.
    pub ends_at_shut_down: bool,
    /// Allocations and frees before the end, by window.
    pub activity: Vec<f64>,
    /// What counts as time.
    pub requests: Requests,
    /// Events in the trace.
    pub events: u64,
    /// When each window ends, in seconds since the trace began.
    pub seconds: Vec<f64>,
}

/// Memory of one call stack, or of several, over time: one number for each window.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Series {
    /// Bytes live before the first window.
    pub before: f64,
    /// Bytes live when the window ended.
    pub live: Vec<f64>,
    /// Bytes allocated in the window that are live at the end.
    pub kept: Vec<f64>,
    /// Blocks of these.
    pub kept_blocks: Vec<f64>,
    /// Of the bytes, those that Python's collection at exit freed, before it took anything apart:
    /// nothing held them.
    pub garbage: Vec<f64>,
    /// Blocks of these.
    pub garbage_blocks: Vec<f64>,
}

impl Series {
    /// Nothing, in so many windows.
    pub fn new(windows: usize) -> Self {
        let zeros = vec![0.0; windows];
        Self {
            before: 0.0,
            live: zeros.clone(),
            kept: zeros.clone(),
            kept_blocks: zeros.clone(),
            garbage: zeros.clone(),
            garbage_blocks: zeros,
        }
    }

    /// The same from a window on.
    pub fn since(&self, window: usize) -> Self {
        let cut = |values: &[f64]| values.get(window..).unwrap_or_default().to_vec();
        let before = window.checked_sub(1).and_then(|before| self.live.get(before));
        Self {
            before: before.copied().unwrap_or(self.before),
            live: cut(&self.live),
            kept: cut(&self.kept),
            kept_blocks: cut(&self.kept_blocks),
            garbage: cut(&self.garbage),
            garbage_blocks: cut(&self.garbage_blocks),
        }
    }

    /// The same without what nothing held.
    pub fn without_garbage(&self) -> Self {
        let less = |all: &[f64], garbage: &[f64]| -> Vec<f64> {
            all.iter().zip(garbage).map(|(all, garbage)| (all - garbage).max(0.0)).collect()
        };
        let mut so_far = 0.0;
        let live = self.live.iter().zip(&self.garbage).map(|(live, garbage)| {
            so_far += garbage;
            (live - so_far).max(0.0)
        });
        Self {
            live: live.collect(),
            kept: less(&self.kept, &self.garbage),
            kept_blocks: less(&self.kept_blocks, &self.garbage_blocks),
            before: self.before,
            ..Self::new(self.live.len())
        }
    }

    /// Bytes live at the end.
    pub fn held(&self) -> f64 {
        self.kept.iter().sum()
    }
}

/// State of a pass over the events.
struct Pass<'t, 'a> {
    trace: &'t Trace<'a>,
    purposes: Purposes,
    heap: LiveHeap,
    windows: Windows,
    changes: FxHashMap<TotalsKey, Changes>,
    /// What mappings had at the last look: they are cut and joined, and are few.
    mapped: FxHashMap<TotalsKey, u64>,
    activity: Vec<f64>,
    requests: requests::Counted,
    window: usize,
}

impl TimeLine {
    /// Reads all events of a trace.
    pub fn of(trace: &Trace<'_>) -> Self {
        let purposes = Purposes::of(trace);
        let mut pass = Pass {
            trace,
            heap: LiveHeap::new(purposes.clone()),
            purposes,
            windows: Windows::new(trace.header().ticks_per_second),
            changes: FxHashMap::default(),
            mapped: FxHashMap::default(),
            activity: Vec::new(),
            requests: requests::Counted::new(trace),
            window: 0,
        };
        let mut beginnings = trace.recordings().iter().filter(|(_, on)| *on).peekable();
        let mut shut_down = trace.shut_down();
        let mut at_shut_down: Option<TimeLine> = None;
        let (mut last, mut count) = (Ticks(0), 0u64);
        let mut events = trace.events();
        let pages = events.pages_left() as u64;
        let progress = Progress::begin("reading events", pages);
        while let Some((_, event)) = events.next() {
            let time = event.time();
            if shut_down.take_if(|at| time > *at).is_some() {
                at_shut_down = Some(pass.end(last, true));
            }
            while beginnings.next_if(|(at, _)| time > *at).is_some() {
                pass.begin_anew();
            }
            pass.apply(&event);
            (last, count) = (time, count + 1);
            if count.is_multiple_of(1 << 16) {
                progress.at(pages.saturating_sub(events.pages_left() as u64));
            }
        }
        let followed_by_the_end =
            |line: &TimeLine| trace.seconds(last) - trace.seconds(line.end) < LONGEST_SHUT_DOWN;
        let mut line = match at_shut_down.filter(followed_by_the_end) {
            Some(line) => line,
            None => pass.end(last, false),
        };
        line.events = count;
        line
    }

    /// How many windows there are.
    pub fn len(&self) -> usize {
        self.seconds.len()
    }

    /// Whether nothing happened.
    pub fn is_empty(&self) -> bool {
        self.seconds.is_empty()
    }

    /// Joins windows, so that there are enough of them after start-up, however short that is, and not
    /// more than can be judged. Returns the first window after start-up.
    pub fn coarsen(&mut self, start_up: usize) -> usize {
        let chunk = |windows: usize, most: usize| windows.div_ceil(most).max(1);
        let before = chunk(start_up, MOST_BEFORE);
        let after = chunk(self.len() - start_up, MOST_AFTER);
        let first = start_up.div_ceil(before);
        let number = |window: usize| match window < start_up {
            true => window / before,
            false => first + (window - start_up) / after,
        };
        let numbers: Vec<u16> = (0..self.len()).map(|window| number(window) as u16).collect();
        for changes in self.changes.values_mut() {
            windows::renumber(&mut changes.live, &numbers);
            for kept in &mut changes.kept {
                kept.0 = numbers.get(usize::from(kept.0)).copied().unwrap_or(kept.0);
            }
            windows::sum_up(&mut changes.kept);
        }
        let count = numbers.last().map_or(0, |last| usize::from(*last) + 1);
        let (mut seconds, mut activity) = (vec![0.0; count], vec![0.0; count]);
        let mut until = vec![0.0; if self.requests.until.is_empty() { 0 } else { count }];
        for (window, number) in numbers.iter().map(|number| usize::from(*number)).enumerate() {
            seconds[number] = self.seconds[window];
            activity[number] += self.activity[window];
            if let (Some(until), Some(requests)) =
                (until.get_mut(number), self.requests.until.get(window))
            {
                *until = *requests;
            }
        }
        (self.seconds, self.activity, self.requests.until) = (seconds, activity, until);
        first
    }

    /// Every call stack and domain that had memory.
    pub fn keys(&self) -> impl Iterator<Item = TotalsKey> + '_ {
        self.changes.keys().copied()
    }

    /// Bytes of one that were allocated in a window from `from` on and are live at the end.
    pub fn kept_since(&self, key: TotalsKey, from: usize) -> f64 {
        let kept = self.changes.get(&key).map_or(&[][..], |changes| &changes.kept);
        let since = kept.iter().filter(|(window, ..)| usize::from(*window) >= from);
        since.map(|(_, bytes, _)| *bytes as f64).sum()
    }

    /// How often one allocated, by window; temporaries are not among these.
    pub fn calls(&self, key: TotalsKey) -> impl Iterator<Item = (usize, u32)> + '_ {
        let changes = self.changes.get(&key).map_or(&[][..], |changes| &changes.live);
        changes.iter().map(|change| (usize::from(change.window), change.calls))
    }

    /// What of one is live at the end.
    pub fn held_by(&self, key: TotalsKey) -> Level {
        let mut held = Level::default();
        for &(_, bytes, blocks) in self.changes.get(&key).map_or(&[][..], |of| &of.kept) {
            held.add_all(Level { bytes, blocks: u64::from(blocks) });
        }
        held
    }

    /// Adds the memory of one to a series.
    pub fn add_to(&self, key: TotalsKey, series: &mut Series) {
        let Some(changes) = self.changes.get(&key) else { return };
        let mut level = 0i64;
        let mut next = changes.live.iter().peekable();
        for (window, live) in series.live.iter_mut().enumerate() {
            while let Some(change) = next.next_if(|change| usize::from(change.window) <= window) {
                level = level.saturating_add(change.bytes);
            }
            *live += level.max(0) as f64;
        }
        for &(window, bytes, blocks) in &changes.kept {
            if let (Some(kept), Some(kept_blocks)) = (
                series.kept.get_mut(usize::from(window)),
                series.kept_blocks.get_mut(usize::from(window)),
            ) {
                *kept += bytes as f64;
                *kept_blocks += f64::from(blocks);
            }
        }
    }

    /// The memory of several together.
    pub fn series(&self, keys: impl IntoIterator<Item = TotalsKey>) -> Series {
        let mut series = Series::new(self.len());
        keys.into_iter().for_each(|key| self.add_to(key, &mut series));
        series
    }

    /// The memory of a domain.
    pub fn of_domain(&self, domain: Domain) -> Series {
        self.series(self.keys().filter(|(of, _)| *of == domain))
    }
}

impl Pass<'_, '_> {
    fn apply(&mut self, event: &Event) {
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
        let change = self.heap.apply(event);
        let (domain, stack, bytes) = match (*event, change) {
            (Event::Allocated { domain: Domain::Mmap, .. }, _) => return,
            (Event::Allocated { domain, stack, size, .. }, _) => (domain, stack, size as i64),
            (Event::Freed { domain, .. }, Change::Freed(block)) => {
                (domain, block.stack, -(block.size as i64))
            }
            (Event::Marked { label, .. }, _) => return self.requests.mark(label, self.window),
            _ => return,
        };
        if self.activity.len() <= self.window {
            self.activity.resize(self.window + 1, 0.0);
        }
        self.activity[self.window] += 1.0;
        if let Purpose::Use(of) = self.purposes.get(domain, stack) {
            self.change((of, stack), bytes, u32::from(bytes > 0));
        }
    }

    fn change(&mut self, key: TotalsKey, bytes: i64, calls: u32) {
        let live = &mut self.changes.entry(key).or_default().live;
        let window = self.window as u16;
        match live.last_mut() {
            Some(last) if last.window == window => last.add(bytes, calls),
            _ => live.push(windows::Change { window, calls, bytes }),
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
    fn begin_anew(&mut self) {
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
            self.windows.double();
            self.window /= 2;
            for changes in self.changes.values_mut() {
                windows::join(&mut changes.live);
            }
            self.activity = self.activity.chunks(2).map(|pair| pair.iter().sum()).collect();
            self.requests.halve();
        }
    }

    /// The time line up to now.
    fn end(&mut self, end: Ticks, ends_at_shut_down: bool) -> TimeLine {
        self.look_at_mappings();
        let mut changes = self.changes.clone();
        let windows = self.windows;
        self.heap.each_live(|key, bytes, born| {
            let Some(window) = windows.of(born) else { return };
            changes.entry(key).or_default().kept.push((window as u16, bytes, 1));
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
        let mut activity = self.activity.clone();
        activity.resize(count, 0.0);
        TimeLine {
            changes,
            levels: Domain::ALL.map(|domain| self.heap.level(domain)),
            pools: Domain::ALL.map(|domain| self.heap.pools(domain)),
            slack: Domain::ALL.map(|domain| self.heap.slack(domain)),
            malloc_chunk_bytes: self.heap.malloc_chunk_bytes(),
            end,
            ends_at_shut_down,
            activity,
            requests: self.requests.until(count),
            events: 0,
            seconds,
        }
    }
}
