//! A program that ends frees what it kept: functions return, threads are joined, sessions are closed. What it kept while it
//! served is seen at the last request.

use tftrace_format::Ticks;

use crate::report::numbers::bytes;
use crate::time_line::{Requests, TimeLine};
use crate::verdict::{FEWEST_WINDOWS, LEAST_BYTES};

/// So much of what grew since start-up must be freed after the last request.
const FREED: f64 = 0.25;
/// A program that goes on for longer than this share of its time, and for more than a second, releases things late.
const ENDS_AT_ONCE: f64 = 0.05;
const A_SECOND: f64 = 1.0;
/// What was allocated as many ticks before it is freed, or somewhat more, may be in the trace as a temporary, whose time is
/// not known.
const FOLDED: f64 = 1.25 * (1 << 23) as f64;

/// A moment shortly before the last request of a program that then ends, and frees much of what it kept until then; and how
/// many bytes that is.
pub(super) fn before_the_end(
    line: &TimeLine,
    start_up: usize,
    ticks_per_second: u64,
) -> Option<(Ticks, u64)> {
    let count = *line.requests.until.last()?;
    if count < FEWEST_WINDOWS as f64 {
        return None;
    }
    let last = line.requests.until.iter().position(|until| *until >= count)?;
    let second = |window: usize| line.seconds.get(window).copied().unwrap_or(0.0);
    let (began, end) = (second(start_up), second(line.len() - 1));
    if end - second(last) > A_SECOND.max(ENDS_AT_ONCE * (end - began)) {
        return None;
    }
    let folded = FOLDED / ticks_per_second.max(1) as f64;
    let is_early = |window: &usize| second(*window) <= second(last) - folded;
    let window = (start_up + 1..last).rev().find(is_early)?;
    let all = line.series(line.stacks());
    let live = |window: usize| all.live.get(window).copied().unwrap_or(0.0);
    let grown = live(window) - live(start_up);
    // What was there before does not count, whenever it was freed.
    let older = live(start_up) - all.kept[..=start_up].iter().sum::<f64>();
    let freed = live(window) - live(line.len() - 1) - older.max(0.0);
    let is_much = grown >= LEAST_BYTES && freed >= LEAST_BYTES && freed >= FREED * grown;
    is_much.then(|| (line.end_of(window), freed as u64))
}

/// The requests of a whole time line, as one of the same trace that ends earlier sees them.
pub(super) fn requests_until(whole: &TimeLine, earlier: &TimeLine) -> Requests {
    let until = earlier.seconds.iter().map(|seconds| {
        let window = whole.seconds.partition_point(|end| end < seconds);
        whole.requests.until.get(window).or(whole.requests.until.last()).copied().unwrap_or(0.0)
    });
    Requests { until: until.collect(), source: whole.requests.source.clone() }
}

/// What is said of that. Short: the page has three lines for all of the sentence.
pub(super) fn in_words(freed: u64) -> String {
    format!(" It freed {} as it ended.", bytes(freed))
}
