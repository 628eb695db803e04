//! The verdict on histories whose truth is known: every block has a birth and a death.
//!
//! `cargo test -p tftrace-analyzer validation -- --nocapture` prints the table.

use super::{Axis, judge};
use crate::model::Verdict;
use crate::time_line::Series;

const WINDOWS: usize = 160;
/// The stated minimum run length.
const REQUESTS: usize = 1000;
const NEVER: f64 = f64::INFINITY;

/// A history in requests: birth, death and size of every block.
struct History {
    random: fastrand::Rng,
    blocks: Vec<(f64, f64, f64)>,
    /// Bytes per request that leak in the long run; 0 for those that do not.
    leaks: f64,
}

impl History {
    fn new(seed: u64) -> Self {
        Self { random: fastrand::Rng::with_seed(seed), blocks: Vec::new(), leaks: 0.0 }
    }

    fn exponential(&mut self) -> f64 {
        -(1.0 - self.random.f64()).ln()
    }

    /// What a process allocates at its start and keeps.
    fn start_up(mut self) -> Self {
        for _ in 0..2000 {
            let birth = self.random.f64() * 0.15 * REQUESTS as f64;
            let size = 100.0 + 20_000.0 * self.random.f64();
            self.blocks.push((birth, NEVER, size));
        }
        self
    }

    /// Buffers that come and go: so many a request, living so many requests on average.
    fn churn(mut self, each: usize, lifetime: f64, size: f64) -> Self {
        for request in 0..REQUESTS {
            for _ in 0..each {
                let birth = request as f64 + self.random.f64();
                let death = birth + lifetime * self.exponential();
                let bytes = size * (0.5 + self.random.f64());
                self.blocks.push((birth, death, bytes));
            }
        }
        self
    }

    /// Sizes with a heavy tail: a rare batch is a thousand times as large.
    fn heavy_tail(mut self) -> Self {
        for request in 0..REQUESTS {
            let birth = request as f64 + self.random.f64();
            let size = (2_000.0 * (1.0 - self.random.f64()).powf(-0.8)).min(5e6);
            let death = birth + 3.0 * self.exponential();
            self.blocks.push((birth, death, size));
        }
        self
    }

    /// Every request, from one on, leaks with this chance.
    fn leak(mut self, chance: f64, size: f64, from: usize) -> Self {
        for request in from..REQUESTS {
            if self.random.f64() < chance {
                let bytes = size * (0.5 + self.random.f64());
                self.blocks.push((request as f64 + self.random.f64(), NEVER, bytes));
            }
        }
        self.leaks += chance * size;
        self
    }

    /// A cache whose misses become seldom: it fills towards a bound.
    fn saturating(mut self, scale: f64) -> Self {
        for request in 0..REQUESTS {
            if self.random.f64() < (-(request as f64) / scale).exp() {
                self.blocks.push((request as f64 + self.random.f64(), NEVER, 60_000.0));
            }
        }
        self
    }

    /// The last so many results are kept.
    fn bounded(mut self, entries: usize) -> Self {
        for request in 0..REQUESTS {
            let death = (request + entries) as f64;
            self.blocks.push((request as f64 + 0.5, death, 60_000.0));
        }
        self
    }

    /// A free list: each request leaves one more in it, or, once it is full, takes the place of any other.
    fn turned_over(mut self, entries: usize, size: f64) -> Self {
        let mut list: Vec<f64> = Vec::new();
        for request in 0..REQUESTS {
            let birth = request as f64 + self.random.f64();
            if list.len() < entries {
                list.push(birth);
                continue;
            }
            let replaced = self.random.usize(0..entries);
            self.blocks.push((std::mem::replace(&mut list[replaced], birth), birth, size));
        }
        self.blocks.extend(list.into_iter().map(|birth| (birth, NEVER, size)));
        self
    }

    /// A queue that is not emptied as fast as it is filled: what goes in late waits the longest, and what is old is gone.
    fn backlog(mut self, taken: f64, size: f64) -> Self {
        for request in 0..REQUESTS {
            let birth = request as f64 + self.random.f64();
            let bytes = size * (0.5 + self.random.f64());
            self.blocks.push((birth, birth / taken, bytes));
        }
        self.leaks += (1.0 - taken) * size;
        self
    }

    /// A pool of large buffers, which one after the other is needed for the first time until two thirds of the time are over.
    fn pool(mut self, buffers: usize) -> Self {
        for buffer in 0..buffers {
            let part = (buffer as f64 + self.random.f64()) / buffers as f64;
            self.blocks.push((part * 0.7 * REQUESTS as f64, NEVER, 1e6));
        }
        self
    }

    /// Filled, and emptied every so many requests.
    fn teeth(mut self, period: usize) -> Self {
        let shift = self.random.usize(0..period);
        for request in 0..REQUESTS {
            let death = ((request + shift) / period + 1) * period - shift;
            self.blocks.push((request as f64 + 0.5, death as f64, 60_000.0));
        }
        self
    }

    /// A few large allocations at any time, each kept.
    fn steps(mut self, count: usize) -> Self {
        for _ in 0..count {
            let birth = self.random.f64() * 0.8 * REQUESTS as f64;
            self.blocks.push((birth, NEVER, 3e6 * (0.5 + self.random.f64())));
        }
        self
    }

    /// A list that grows by reallocation: one block at any time.
    fn growing_block(mut self, bytes: f64) -> Self {
        let mut size = 0.0;
        for request in 0..REQUESTS {
            let grown = size + bytes * (0.5 + self.random.f64());
            let death = if request + 1 == REQUESTS { NEVER } else { request as f64 + 1.5 };
            self.blocks.push((request as f64 + 0.5, death, grown));
            size = grown;
        }
        self.leaks += bytes;
        self
    }

    fn series(&self) -> Series {
        let mut series = Series::new(WINDOWS);
        let width = REQUESTS as f64 / WINDOWS as f64;
        let window = |time: f64| (time / width) as usize;
        let mut changes = vec![0.0; WINDOWS + 1];
        for &(birth, death, size) in &self.blocks {
            let (born, died) = (window(birth).min(WINDOWS - 1), window(death).min(WINDOWS));
            changes[born] += size;
            changes[died] -= size;
            if death >= REQUESTS as f64 {
                series.kept[born] += size;
                series.kept_blocks[born] += 1.0;
            }
        }
        let mut level = 0.0;
        for (live, change) in series.live.iter_mut().zip(&changes) {
            level += change;
            *live = level;
        }
        series
    }
}

fn axis() -> Axis {
    Axis { units: vec![REQUESTS as f64 / WINDOWS as f64; WINDOWS] }
}

/// With so many the share that is covered is known to 0.7 percentage points.
const COVERAGE_SEEDS: u64 = 1000;

type Shape = (&'static str, fn(u64) -> History);

const LEAKS: [Shape; 9] = [
    ("linear", |seed| History::new(seed).start_up().churn(5, 2.0, 5e3).leak(1.0, 1e3, 0)),
    ("linear, begins late", |seed| {
        History::new(seed).start_up().churn(5, 2.0, 5e3).leak(1.0, 1e3, 300)
    }),
    ("linear on a cache that fills", |seed| History::new(seed).saturating(60.0).leak(1.0, 8e3, 0)),
    ("rare: one request in a hundred", |seed| {
        History::new(seed).start_up().churn(2, 2.0, 5e3).leak(0.03, 2e4, 0)
    }),
    ("slow: 64 bytes on megabytes of churn", |seed| {
        History::new(seed).start_up().churn(20, 10.0, 2e4).leak(1.0, 64.0, 0)
    }),
    ("linear on teeth", |seed| History::new(seed).teeth(150).leak(1.0, 2e4, 0)),
    ("linear, and something large is freed", |seed| {
        let mut history = History::new(seed).start_up().churn(5, 2.0, 5e3).leak(1.0, 1e3, 0);
        let death = (0.5 + 0.4 * history.random.f64()) * REQUESTS as f64;
        history.blocks.push((0.5, death, 2.8e5));
        history
    }),
    ("heavy tail and a leak", |seed| History::new(seed).heavy_tail().leak(1.0, 5e3, 0)),
    ("one block that grows", |seed| History::new(seed).growing_block(400.0)),
];

const CLEAN: [Shape; 13] = [
    ("noise only", |seed| History::new(seed).start_up().churn(10, 3.0, 1e4)),
    ("long-lived churn", |seed| History::new(seed).churn(5, 60.0, 1e4)),
    ("saturating, soon", |seed| History::new(seed).start_up().saturating(80.0)),
    ("saturating, late", |seed| History::new(seed).start_up().saturating(250.0)),
    ("bounded cache", |seed| History::new(seed).start_up().bounded(200)),
    ("bounded cache, half the run", |seed| History::new(seed).start_up().bounded(500)),
    ("free list, soon full", |seed| {
        History::new(seed).start_up().churn(3, 1.0, 5e2).turned_over(250, 500.0)
    }),
    ("free list, half the run", |seed| {
        History::new(seed).start_up().churn(3, 1.0, 5e2).turned_over(500, 500.0)
    }),
    ("sawtooth", |seed| History::new(seed).start_up().teeth(120)),
    ("sawtooth, two teeth", |seed| History::new(seed).start_up().teeth(450)),
    ("heavy tail", |seed| History::new(seed).start_up().heavy_tail()),
    ("a pool of large buffers", |seed| History::new(seed).pool(20)),
    ("steps", |seed| History::new(seed).start_up().churn(3, 2.0, 5e3).steps(5)),
];

#[test]
fn leaks_are_found_and_what_is_clean_is_not_accused() {
    println!("{:<40} verdicts of 40 seeds", "shape");
    let [mut missed, mut accused] = [0, 0];
    for (shapes, is_leak) in [(&LEAKS[..], true), (&CLEAN[..], false)] {
        for (name, make) in shapes {
            let mut counts = std::collections::BTreeMap::<Verdict, usize>::new();
            for seed in 0..40 {
                let verdict = judge(&make(seed).series(), &axis()).verdict;
                *counts.entry(verdict).or_default() += 1;
            }
            println!("{name:<40} {counts:?}");
            let found = counts.get(&Verdict::Leak).copied().unwrap_or(0);
            if is_leak { missed += 40 - found } else { accused += found }
        }
    }
    let (leaks, clean) = (40 * LEAKS.len(), 40 * CLEAN.len());
    println!("missed {missed} of {leaks}, accused {accused} of {clean}");
    assert!(missed * 20 <= leaks, "missed {missed} of {leaks}");
    assert!(accused * 100 <= clean, "accused {accused} of {clean}");
}

/// Nothing old is kept of it. After start-up, which is judged by itself.
#[test]
fn a_queue_that_becomes_longer_leaks_and_one_that_does_not_is_none() {
    let queue = |taken: f64| {
        let judged = move |seed| {
            let history = History::new(seed).churn(3, 2.0, 5e2).backlog(taken, 1e4);
            (history.leaks, judge(&history.series(), &axis()))
        };
        (0..40).map(judged)
    };
    for (truth, judged) in queue(0.6) {
        assert_eq!(judged.verdict, Verdict::Leak);
        let rate = judged.rate.unwrap();
        assert!((0.8..1.2).contains(&(rate.estimate / truth)), "{rate:?}: {truth}");
    }
    // It waits for no longer than the others before it.
    assert!(queue(0.999).all(|(_, judged)| judged.verdict != Verdict::Leak));
}

/// What was there before is no part of what grows.
#[test]
fn a_block_that_grows_beside_what_start_up_left_is_one_block() {
    for seed in 0..10 {
        let mut series = History::new(seed).growing_block(400.0).series();
        series.before = 1e8;
        series.live.iter_mut().for_each(|live| *live += 1e8);
        assert_eq!(judge(&series, &axis()).verdict, Verdict::Leak);
    }
    // It is gone in the end: a pool, and not a block that was still growing.
    let mut series = History::new(1).pool(20).series();
    (series.kept, series.kept_blocks) = (vec![0.0; WINDOWS], vec![0.0; WINDOWS]);
    if let Some(last) = series.live.last_mut() {
        *last = 0.0;
    }
    assert_ne!(judge(&series, &axis()).verdict, Verdict::Leak);
}

/// How many intervals cover the truth, of how many histories that are called a leak.
fn covers(make: fn(u64) -> History) -> (usize, usize) {
    let rates = (0..COVERAGE_SEEDS).filter_map(|seed| {
        let history = make(seed);
        Some((history.leaks, judge(&history.series(), &axis()).rate?))
    });
    let rates: Vec<_> = rates.collect();
    let covers = rates.iter().filter(|(truth, rate)| (rate.low..rate.high).contains(truth));
    (covers.count(), rates.len())
}

#[test]
fn intervals_cover_the_truth() {
    println!("{:<40} interval covers the truth, of {COVERAGE_SEEDS} seeds", "shape");
    // Shapes side by side: there are many histories.
    let found = std::thread::scope(|scope| {
        LEAKS.map(|(_, make)| scope.spawn(move || covers(make))).map(|shape| shape.join().unwrap())
    });
    let (mut covered, mut count) = (0, 0);
    for ((name, _), (covers, of)) in LEAKS.into_iter().zip(found) {
        let share = covers as f64 / of as f64;
        println!("{name:<40} {covers} of {of} ({:.1} %)", share * 100.0);
        assert!((0.93..=0.97).contains(&share), "{name}: {share}");
        covered += covers;
        count += of;
    }
    let share = covered as f64 / count as f64;
    println!("together {:.1} %", share * 100.0);
    assert!((0.93..=0.97).contains(&share), "{share}");
}

/// A leak of which too few requests were seen is not called harmless.
#[test]
fn a_few_requests_that_keep_something_are_undecided() {
    let mut series = Series::new(WINDOWS);
    let mut units = vec![0.0; WINDOWS];
    for request in 0..9 {
        let window = request * WINDOWS / 9;
        units[window] = 1.0;
        series.kept[window] = 50_000.0;
        series.kept_blocks[window] = 3.0;
    }
    let mut level = 0.0;
    for (live, kept) in series.live.iter_mut().zip(&series.kept) {
        level += kept;
        *live = level;
    }
    let axis = Axis { units };
    assert!(!axis.is_long_enough());
    assert_eq!(judge(&series, &axis).verdict, Verdict::Undecided);
    // Taken at the beginning, and nothing since: it is not this that is undecided.
    series.kept[WINDOWS / 4..].fill(0.0);
    let level = series.live[WINDOWS / 4 - 1];
    series.live[WINDOWS / 4..].fill(level);
    assert_eq!(judge(&series, &axis).verdict, Verdict::WarmUp);
}
