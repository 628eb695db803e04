//! Freed memory that the allocator keeps: the live heap is flat, the process is not.

use tftrace_format::Domain;
use tftrace_format::reader::Trace;
use tftrace_format::record::MemoryReading;

use crate::heap::HOST;
use crate::model::{Estimate, Verdict};
use crate::time_line::{Series, TimeLine};
use crate::verdict::{Axis, judge};

/// Less is no reason to change an allocator, in bytes.
const LEAST: f64 = 32e6;
/// Resident memory that grew by less than this share did not grow.
const LEAST_SHARE: f64 = 0.1;
/// Where it did not grow, freed memory is worth a word if it is this share of all.
const MOST_SHARE: f64 = 0.4;
/// What is live, or kept free, explains growth of resident memory if it is at least this share of it.
const EXPLAINED: f64 = 0.5;

/// What was found out about memory that nobody uses.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Retention {
    /// By how much resident memory grew from the first third of the time to the end, in bytes.
    pub(super) growth: f64,
    /// What malloc keeps at the end, in bytes.
    pub(super) free: u64,
    /// Whether it was still growing at the end.
    pub(super) growing: bool,
    /// How fast, if it was.
    pub(super) rate: Option<Estimate>,
}

/// Resident anonymous memory at each window's end; `None` before the first reading.
pub(super) fn resident(
    trace: &Trace<'_>,
    line: &TimeLine,
    field: fn(&MemoryReading) -> u64,
) -> Vec<Option<u64>> {
    let mut readings = trace.readings().iter().filter(|reading| field(reading) > 0).peekable();
    let mut last = None;
    line.seconds
        .iter()
        .map(|&end| {
            let is_before = |reading: &&MemoryReading| {
                trace.seconds(tftrace_format::Ticks(reading.time)) <= end
            };
            while let Some(reading) = readings.next_if(is_before) {
                last = Some(field(reading));
            }
            last
        })
        .collect()
}

/// Looks for it. `live` is what is live in the host's memory, pools left out.
pub(super) fn retention(
    trace: &Trace<'_>,
    line: &TimeLine,
    axis: &Axis,
    live: &[f64],
    start_up: usize,
) -> Option<Retention> {
    let mut known = trace.readings().iter().filter(|reading| reading.rss_anonymous > 0);
    let reading = known.rfind(|reading| reading.time <= line.end.0)?;
    let rss: Vec<f64> = resident(trace, line, |reading| reading.rss_anonymous)
        .into_iter()
        .map(|bytes| bytes.unwrap_or(0) as f64)
        .collect();
    let last = rss.len().checked_sub(1)?;
    let first = start_up.min(last);
    let growth = rss[last] - rss[first];
    let live_growth = live[last] - live[first];
    // Pools and malloc keep what is free; which of it is resident the kernel does not say.
    let pools: u64 =
        [Domain::Python, Domain::TensorFlow].iter().map(|at| line.slack[*at as usize]).sum();
    let free = reading.malloc_free.saturating_add(pools);
    let unused = (rss[last] - live[last]).min(free as f64);
    let is_most = unused > LEAST.max(MOST_SHARE * rss[last]);
    let is_unexplained = growth > LEAST.max(LEAST_SHARE * rss[last])
        && live_growth < EXPLAINED * growth
        && unused > EXPLAINED * growth;
    if !is_most && !is_unexplained {
        return None;
    }
    // Like one block that is resized: only its size tells.
    let mut series = Series { live: rss.clone(), ..Series::new(rss.len()) };
    series.kept[last] = rss[last];
    let judged = judge(&series, axis);
    Some(Retention {
        growth,
        free,
        growing: judged.verdict == Verdict::Leak && is_unexplained,
        rate: judged.rate.filter(|_| is_unexplained),
    })
}

/// What is live in the host's memory at each window's end.
pub(super) fn live(line: &TimeLine) -> Vec<f64> {
    let of_host = line.stacks().filter(|of| HOST.contains(&of.domain));
    line.series(of_host).live
}
