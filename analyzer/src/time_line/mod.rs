//! Memory over time: what every call stack had live at the end of each window, and when what is
//! live at the end was allocated.
//!
//! One pass over the events. Windows have equal lengths, which double when there are too many, and in a long trace less
//! where much happens ([`windows`]), so that memory follows the number of stacks, not the length of the trace.

mod coarse;
mod folded;
mod history;
mod kept;
mod pass;
mod requests;
mod series;
mod starters;
mod windows;

use rustc_hash::FxHashMap;
use tftrace_format::reader::Trace;
use tftrace_format::{Domain, StackId, Ticks};

use crate::heap::{Level, Replay, Resident, SiteId, TotalsKey, replay, replay_shutting_down};
use coarse::coarse_numbers;
use folded::Folded;
use history::History;
use kept::{Kept, KeptBySite};
use pass::Pass;

use crate::python::free_lists;

pub use requests::Requests;
pub use series::{Idle, Series};

/// How much later than the interpreter's last breath a process may go on and still count as ending.
const LONGEST_SHUT_DOWN: f64 = 30.0;

/// Of what was allocated this share is next to nothing.
const NEXT_TO_NOTHING: f64 = 0.005;

/// Beside what is idle in a list some are used, as many as this times the list in all.
const BESIDE_IDLE: f64 = 1.1;

/// A call stack's memory of one domain.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct StackMemory {
    /// Whose memory.
    pub domain: Domain,
    /// Who asked; `None`: the stack was not recorded.
    pub stack: Option<StackId>,
    site: SiteId,
}

impl StackMemory {
    /// The same without the time line's number.
    pub fn key(self) -> TotalsKey {
        (self.domain, self.stack)
    }
}

/// Memory over time.
#[derive(Debug)]
pub struct TimeLine {
    /// Whose each site is, by its number; `None` for a pool.
    keys: Vec<Option<TotalsKey>>,
    /// What came and went.
    history: History,
    /// What is live at the end.
    kept: KeptBySite,
    /// The part of it that Python's last collection freed.
    garbage: KeptBySite,
    starters: starters::Starters,
    /// When temporaries were.
    folded: Folded,
    /// How time was cut when the pass ended.
    windows: windows::Windows,
    /// What is live when the time line ends, by domain.
    pub levels: [Level; Domain::ALL.len()],
    /// Pools, by the domain whose blocks are cut out of them.
    pub pools: [Level; Domain::ALL.len()],
    /// The part of these in which no block is live, in bytes.
    pub slack: [u64; Domain::ALL.len()],
    /// Whose the resident memory is then, if the kernel was asked.
    pub resident: Option<Resident>,
    /// Live blocks of the C heap when the time line ends, as glibc counts them, in bytes.
    pub malloc_chunk_bytes: u64,
    /// When the time line ends: with the trace, or when Python began to shut down.
    pub end: Ticks,
    /// Whether it ends because Python began to shut down.
    pub ends_at_shut_down: bool,
    /// What counts as time.
    pub requests: Requests,
    /// Calls of TensorFlow's entry points, where nothing better counts.
    pub entry_points: Option<Requests>,
    /// Events in the trace.
    pub events: u64,
    /// When each window ends, in seconds since the trace began.
    pub seconds: Vec<f64>,
}

impl TimeLine {
    /// Reads all events of a trace.
    pub fn of(trace: &Trace<'_>) -> Self {
        Self::read(trace).0
    }

    /// Reads all events of a trace. Gives what a replay leaves behind, too: they are not read again.
    pub fn read(trace: &Trace<'_>) -> (Self, Replay) {
        if let (Some(line), replayed) = Self::until(trace, true) {
            return (line, replayed);
        }
        // A process that goes on for long was not about to end.
        let (line, replayed) = Self::until(trace, false);
        (line.expect("it ends with the trace"), replayed)
    }

    /// Up to Python's shutdown, if there was one and it matters, else to the end. `None`: the trace goes
    /// on for long after that.
    fn until(trace: &Trace<'_>, ends_at_shut_down: bool) -> (Option<Self>, Replay) {
        let mut pass = Pass::new(trace, ends_at_shut_down);
        let mut replayed = replay(trace, None, &mut pass);
        let last = replayed.last.unwrap_or(Ticks(0));
        (pass.end(&mut replayed.heap, &replayed.blocks, last), replayed)
    }

    /// Up to a moment, as if Python had begun to shut down then.
    pub fn ending_at(trace: &Trace<'_>, end: Ticks) -> Option<Self> {
        let mut pass = Pass::new(trace, true);
        replay_shutting_down(trace, end, &mut pass);
        pass.end_early()
    }

    /// When a window ends.
    pub fn end_of(&self, window: usize) -> Ticks {
        self.windows.end_of(window)
    }

    /// Adds a block that Python's last collection freed after that.
    fn was_garbage(&mut self, site: SiteId, born: Ticks, level: Level) {
        let key = self.keys.get(site.index()).copied().flatten().filter(|_| born <= self.end);
        if let Some((domain, _)) = key {
            self.garbage.add(site.index(), self.windows.of(born), domain, level);
        }
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
        let numbers = coarse_numbers(&self.seconds, start_up, &self.requests.until);
        let first = numbers.get(start_up).map_or(0, |first| usize::from(*first));
        self.history.renumber(&numbers);
        self.kept.renumber(&numbers);
        self.garbage.renumber(&numbers);
        self.folded.renumber(&numbers);
        let count = numbers.last().map_or(0, |last| usize::from(*last) + 1);
        let mut seconds = vec![0.0; count];
        let mut until = vec![0.0; if self.requests.until.is_empty() { 0 } else { count }];
        for (window, number) in numbers.iter().map(|number| usize::from(*number)).enumerate() {
            seconds[number] = self.seconds[window];
            if let (Some(until), Some(requests)) =
                (until.get_mut(number), self.requests.until.get(window))
            {
                *until = *requests;
            }
        }
        (self.seconds, self.requests.until) = (seconds, until);
        first
    }

    /// What other threads allocated shortly before the thread began that was the first with this stack;
    /// newest first.
    pub fn before_thread_of(&self, stack: StackId) -> &[StackId] {
        self.starters.before(stack)
    }

    /// Every call stack and domain that had memory.
    pub fn stacks(&self) -> impl Iterator<Item = StackMemory> + '_ {
        let has_any = |site: SiteId| {
            !self.history.of(site.index()).is_empty() || !self.kept.of(site.index()).is_empty()
        };
        let known = SiteId::all(self.keys.len()).zip(&self.keys);
        known.filter(move |(site, _)| has_any(*site)).filter_map(|(site, key)| {
            let (domain, stack) = (*key)?;
            Some(StackMemory { domain, stack, site })
        })
    }

    /// Bytes of one that were allocated in a window from `from` on and are live at the end.
    pub fn kept_since(&self, of: StackMemory, from: usize) -> f64 {
        let kept = self.kept.of(of.site.index());
        let since = kept.iter().filter(|kept| usize::from(kept.window) >= from);
        since.map(|kept| kept.bytes as f64).sum()
    }

    /// The part of it that may have come to whoever keeps it by a free list of Python's
    /// ([`free_lists`](crate::python::free_lists)).
    pub fn passed_on_since(&self, of: StackMemory, from: usize) -> f64 {
        let kept = self.kept.of(of.site.index());
        let is_passed_on = |kept: &&Kept| usize::from(kept.window) >= from && kept.reused != 0;
        kept.iter().filter(is_passed_on).map(|kept| kept.bytes as f64).sum()
    }

    /// What some have that may be idle in such lists: blocks of those sizes of which they kept no more since a window than
    /// the list takes. What is young is no evidence that there are more: a cache that turns over has as much.
    pub fn idle_since(&self, stacks: &[StackMemory], from: usize) -> Idle {
        let young = from + (self.len() - from) * 9 / 10;
        let reused = |until: usize| {
            let kept = stacks.iter().flat_map(|of| self.kept.of(of.site.index()));
            kept.filter(move |of| of.reused != 0 && (from..until).contains(&of.window.into()))
        };
        let mut blocks: FxHashMap<u16, f64> = FxHashMap::default();
        for kept in reused(young) {
            *blocks.entry(kept.reused).or_default() += f64::from(kept.blocks);
        }
        let may_be_idle = |size: u16, blocks: f64| {
            blocks <= BESIDE_IDLE * free_lists::most_idle(size.into()) as f64
        };
        let idle = reused(self.len()).filter(|kept| {
            let blocks = blocks.get(&kept.reused).copied().unwrap_or(0.0);
            may_be_idle(kept.reused, blocks)
        });
        let counts = blocks.iter().filter(|(size, blocks)| may_be_idle(**size, **blocks));
        let most = counts.map(|(_, blocks)| *blocks).fold(0.0, f64::max);
        let zeros = vec![0.0; self.len()];
        let mut found = Idle { bytes: zeros.clone(), blocks: zeros, most };
        add_kept(idle, &mut found.bytes, &mut found.blocks);
        found
    }

    /// The first and the last window in which one allocated what is live at the end.
    pub fn kept_over(&self, of: StackMemory) -> Option<(usize, usize)> {
        self.kept.over(of.site.index())
    }

    /// The most of one that was live when a window ended, in bytes.
    pub fn peak_of(&self, of: StackMemory) -> i64 {
        self.history.peak(of.site.index())
    }

    /// Call stacks of whose temporaries it is known when some of them were.
    pub fn stacks_of_temporaries(&self) -> impl Iterator<Item = StackId> + '_ {
        self.folded.stacks()
    }

    /// How often a call stack allocated a temporary, by window, more or less; 0 where that is not known.
    pub fn temporaries(&self, stack: StackId) -> impl Iterator<Item = (usize, u64)> + '_ {
        self.folded.of(stack)
    }

    /// How often one allocated, by window; temporaries are not among these.
    pub fn calls(&self, of: StackMemory) -> impl Iterator<Item = (usize, u32)> + '_ {
        let changes = self.history.of(of.site.index());
        changes.iter().map(|change| (change.window(), change.calls()))
    }

    /// For how many seconds at the end next to nothing was allocated, compared with what was since a window.
    pub fn idle_at_end(&self, since: usize) -> f64 {
        let mut done = vec![0; self.len()];
        for (window, calls) in self.stacks().flat_map(|of| self.calls(of)) {
            if let Some(done) = done.get_mut(window) {
                *done += u64::from(calls);
            }
        }
        let all: u64 = done[since..].iter().sum();
        let mut left = 0;
        let is_rest = |calls: &&u64| {
            left += **calls;
            left as f64 <= NEXT_TO_NOTHING * all as f64
        };
        let idle = done[since..].iter().rev().take_while(is_rest).count();
        let end = |window: usize| self.seconds.get(window).copied().unwrap_or(0.0);
        match self.len().checked_sub(idle + 1) {
            Some(busy) => end(self.len() - 1) - end(busy),
            None => end(self.len().saturating_sub(1)),
        }
    }

    /// What of one is live at the end.
    pub fn held_by(&self, of: StackMemory) -> Level {
        let mut held = Level::default();
        for kept in self.kept.of(of.site.index()) {
            held.add_all(Level::exact(kept.bytes, u64::from(kept.blocks)));
        }
        held
    }

    /// The memory of several together.
    pub fn series(&self, stacks: impl IntoIterator<Item = StackMemory>) -> Series {
        let mut series = Series::new(self.len());
        // By how much the sum of all changes with each window: most of them change seldom.
        let mut steps = vec![0i128; self.len()];
        for site in stacks.into_iter().map(|of| of.site.index()) {
            let (mut level, mut shown) = (0i64, 0);
            for change in self.history.of(site) {
                level = level.saturating_add(change.bytes);
                let Some(step) = steps.get_mut(change.window()) else { break };
                *step += i128::from(level.max(0) - shown);
                shown = level.max(0);
            }
            let Series { kept, kept_blocks, garbage, garbage_blocks, .. } = &mut series;
            add_kept(self.kept.of(site), kept, kept_blocks);
            add_kept(self.garbage.of(site), garbage, garbage_blocks);
        }
        let mut level = 0;
        for (live, step) in series.live.iter_mut().zip(steps) {
            level += step;
            // Of 128 bits it would take ten times as long.
            *live = match i64::try_from(level) {
                Ok(level) => level as f64,
                Err(_) => level as f64,
            };
        }
        series
    }

    /// The memory of a domain.
    pub fn of_domain(&self, domain: Domain) -> Series {
        self.series(self.stacks().filter(|of| of.domain == domain))
    }
}

/// Adds what is live at the end to a series.
fn add_kept<'k>(from: impl IntoIterator<Item = &'k Kept>, bytes: &mut [f64], blocks: &mut [f64]) {
    for kept in from {
        let window = usize::from(kept.window);
        if let (Some(bytes), Some(blocks)) = (bytes.get_mut(window), blocks.get_mut(window)) {
            *bytes += kept.bytes as f64;
            *blocks += f64::from(kept.blocks);
        }
    }
}
