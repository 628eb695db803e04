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
/// What was allocated as many seconds before it is freed may be in the trace as a temporary, whose time is not known.
const FOLDED: f64 = 0.15;

/// A moment shortly before the last request of a program that then ends, and frees much of what it kept until then; and how
/// many bytes that is.
pub(super) fn before_the_end(line: &TimeLine, start_up: usize) -> Option<(Ticks, u64)> {
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
    let is_early = |window: &usize| second(*window) <= second(last) - FOLDED;
    let window = (start_up + 1..last).rev().find(is_early)?;
    let all = line.series(line.stacks()).live;
    let live = |window: usize| all.get(window).copied().unwrap_or(0.0);
    let (at_last, at_end) = (live(window), live(line.len() - 1));
    let (grown, freed) = (at_last - live(start_up), at_last - at_end);
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

/// What is said of that.
pub(super) fn in_words(freed: u64) -> String {
    format!(
        " This is how it was at the last request: when the program ended it freed {}, so a service that goes on keeps \
         that.",
        bytes(freed)
    )
}
