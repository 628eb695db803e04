//! One pass over the events, from which a time line is made.

use rustc_hash::FxHashMap;
use tftrace_format::reader::Trace;
use tftrace_format::{Domain, Event, Ticks};

use super::windows::{self, Windows};
use super::{Changes, LONGEST_SHUT_DOWN, TimeLine, requests, starters};
use crate::heap::{Change, LiveHeap, Purpose, Resident, SiteId, TotalsKey, Watcher};

/// Memory follows what this counts: where many stacks do something all the time, windows are longer.
const MOST_ENTRIES: usize = 6 << 20;
/// But not so few.
const FEWEST_WINDOWS: usize = 512;

/// What one site had so far.
#[derive(Clone, Debug, Default)]
struct SoFar {
    /// What came and went in the last window in which something did.
    last: Option<windows::Change>,
    /// The same in earlier windows.
    earlier: Vec<windows::Change>,
}

impl SoFar {
    /// All of it, in order.
    fn all(&mut self) -> &mut Vec<windows::Change> {
        self.earlier.extend(self.last.take());
        &mut self.earlier
    }
}

/// State of a pass over the events.
pub(super) struct Pass<'t, 'a> {
    trace: &'t Trace<'a>,
    windows: Windows,
    /// By number of the site.
    sites: Vec<SoFar>,
    /// What mappings had at the last look: they are cut and joined, and are few.
    mapped: FxHashMap<SiteId, u64>,
    /// Windows in all of `sites` together.
    entries: usize,
    requests: requests::Counted,
    starters: starters::Starters,
    window: usize,
    /// Sites that had asked for memory before this event.
    known_sites: usize,
    /// Events so far.
    events: u64,
    /// Whether the time line ends when Python shuts down.
    ends_at_shut_down: bool,
    /// The time line, if it has ended.
    ended: Option<TimeLine>,
    /// Until when Python's last collection frees what nobody held, if it was seen.
    collected: Option<Ticks>,
}

impl<'t, 'a> Pass<'t, 'a> {
    pub(super) fn new(trace: &'t Trace<'a>, ends_at_shut_down: bool) -> Self {
        let collected = trace.last_collection().filter(|collected| collected.enabled);
        Self {
            trace,
            windows: Windows::new(trace.header().ticks_per_second),
            sites: Vec::new(),
            mapped: FxHashMap::default(),
            entries: 0,
            requests: requests::Counted::new(trace),
            starters: starters::Starters::default(),
            window: 0,
            known_sites: 0,
            events: 0,
            ends_at_shut_down,
            ended: None,
            collected: collected.map(|collected| collected.ended),
        }
    }

    /// The time line after the last event, and how many there were. `None`: the program went on for
    /// long after Python's shutdown.
    pub(super) fn end(mut self, heap: &LiveHeap, last: Ticks) -> Option<TimeLine> {
        let mut line = match self.ended.take() {
            Some(line) => {
                let went_on = self.trace.seconds(last) - self.trace.seconds(line.end);
                Some(line).filter(|_| went_on < LONGEST_SHUT_DOWN)?
            }
            None => self.line(heap, last, false),
        };
        for changes in line.changes.values_mut() {
            windows::sum_up(&mut changes.garbage);
        }
        line.events = self.events;
        Some(line)
    }

    fn change(&mut self, site: SiteId, bytes: i64, calls: u32) {
        if self.sites.len() <= site.index() {
            self.sites.resize_with(site.index() + 1, SoFar::default);
        }
        let so_far = &mut self.sites[site.index()];
        let window = self.window as u16;
        match &mut so_far.last {
            Some(last) if last.window == window => return last.add(bytes, calls),
            last => {
                let change = windows::Change { window, calls, bytes };
                so_far.earlier.extend(last.replace(change));
            }
        }
        self.entries += 1;
        if self.entries > MOST_ENTRIES && self.window > FEWEST_WINDOWS {
            self.coarsen();
        }
    }

    /// Notes what every stack's mappings came to since the last look.
    fn look_at_mappings(&mut self, heap: &LiveHeap) {
        let mut now: FxHashMap<SiteId, u64> = FxHashMap::default();
        heap.each_mapping(|site, bytes| *now.entry(site).or_default() += bytes);
        let before = std::mem::take(&mut self.mapped);
        for (&site, &bytes) in &now {
            let change = bytes as i64 - before.get(&site).copied().unwrap_or(0) as i64;
            if change != 0 {
                self.change(site, change, 0);
            }
        }
        for (&site, &bytes) in before.iter().filter(|(site, _)| !now.contains_key(site)) {
            self.change(site, -(bytes as i64), 0);
        }
        self.mapped = now;
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
        for so_far in &mut self.sites {
            let all = so_far.all();
            windows::join(all);
            self.entries += all.len();
            so_far.last = so_far.earlier.pop();
        }
        self.requests.halve();
    }

    /// The time line up to now. What comes after is not in it, and in no other.
    fn line(&mut self, heap: &LiveHeap, end: Ticks, ends_at_shut_down: bool) -> TimeLine {
        self.look_at_mappings(heap);
        let mut changes: FxHashMap<TotalsKey, Changes> = FxHashMap::default();
        for (site, mut so_far) in std::mem::take(&mut self.sites).into_iter().enumerate() {
            let live = std::mem::take(so_far.all());
            if let Some(key) = heap.sites().key_at(site).filter(|_| !live.is_empty()) {
                changes.insert(key, Changes { live, ..Changes::default() });
            }
        }
        let windows = self.windows;
        heap.each_live(|key, level, born| {
            let Some(window) = windows.of(born) else { return };
            let kept = &mut changes.entry(key).or_default().kept;
            // A leak may have millions of blocks.
            if kept.len() >= 2 * windows::MOST {
                windows::sum_up(kept);
            }
            kept.push((window as u16, level.bytes, level.blocks as u32));
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
            levels: Domain::ALL.map(|domain| heap.level(domain)),
            pools: Domain::ALL.map(|domain| heap.pools(domain)),
            slack: Domain::ALL.map(|domain| heap.slack(domain)),
            resident: nearest.map(|layout| Resident::of(heap, layout)),
            malloc_chunk_bytes: heap.malloc_chunk_bytes(),
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

impl Watcher for &mut Pass<'_, '_> {
    fn shuts_down(&mut self, heap: &LiveHeap, last: Ticks) {
        if self.ends_at_shut_down {
            self.ended = Some(self.line(heap, last, true));
        }
    }

    /// Nothing is known to be live any more.
    fn begins_anew(&mut self) {
        self.mapped.clear();
        let window = self.window as u16;
        for so_far in &mut self.sites {
            let all = so_far.all();
            if !all.is_empty() {
                let bytes = -all.iter().map(|change| change.bytes).sum::<i64>();
                so_far.last = Some(windows::Change { window, calls: 0, bytes });
            }
        }
    }

    fn look_at(&self, site: SiteId) -> u64 {
        let Some(SoFar { last: Some(last), earlier }) = self.sites.get(site.index()) else {
            return 0;
        };
        // Where the next change is written, if it is not of the same window.
        let end = earlier.last().map_or(0, |change| change.calls);
        u64::from(last.calls ^ end)
    }

    fn before(&mut self, heap: &LiveHeap, thread: u32, event: &Event) {
        self.events += 1;
        if self.ended.is_some() {
            return;
        }
        let window = match self.windows.of(event.time()) {
            Some(window) => window,
            None => {
                self.halve(event.time());
                self.windows.of(event.time()).unwrap_or(self.window)
            }
        };
        if window > self.window {
            self.look_at_mappings(heap);
            self.window = window;
        }
        self.starters.seen(thread);
    }

    fn after(&mut self, heap: &LiveHeap, thread: u32, event: &Event, change: Change) {
        if let Some(line) = &mut self.ended {
            if let Change::Freed(block, level) = change
                && self.collected.is_some_and(|ended| event.time() <= ended)
                && let Some(key) = heap.sites().key(block.site)
            {
                line.was_garbage(key, block.born, level);
            }
            return;
        }
        if let Event::Allocated { stack, .. } = *event {
            let sites = heap.sites().len();
            self.starters.allocated(thread, stack, sites > self.known_sites);
            self.known_sites = sites;
        }
        let (site, bytes, calls) = match (*event, change) {
            // What ranges have is looked at between windows.
            (_, Change::Mapped(site)) => (site, 0, 1),
            (_, Change::Allocated(site, level)) => {
                let bytes = level.bytes as i64;
                (site, bytes, u32::from(bytes > 0))
            }
            (_, Change::Freed(block, level)) => (block.site, -(level.bytes as i64), 0),
            (Event::Marked { label, .. }, _) => return self.requests.mark(label, self.window),
            _ => return,
        };
        if matches!(heap.sites().purpose(site), Purpose::Use(_)) {
            self.change(site, bytes, calls);
        }
    }
}
