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

#[cfg(test)]
mod tests {
    use tftrace_format::builder::{Packing, TraceBuilder};
    use tftrace_format::reader::Trace;
    use tftrace_format::{Domain, Event, Frame};

    use super::*;

    const REQUESTS: u64 = 400;
    /// Ticks between two, of a thousand million a second.
    const REQUEST: u64 = 5_000_000;
    const OLD: u64 = 0x100_0000;

    /// What is said of a service that had a large block before the first request, kept 1,000 bytes of each, and freed
    /// these blocks after so many ticks.
    fn freed(frees: impl Iterator<Item = u64>, after: u64) -> Option<u64> {
        let mut builder = TraceBuilder::new();
        let stack = Some(builder.stack(&[Frame::Raw { address: 1 }]));
        let label = builder.label("request");
        let (domain, file_backed) = (Domain::Malloc, false);
        let allocate = |builder: &mut TraceBuilder, time, address, size| {
            let time = Ticks(time);
            builder.event(0, Event::Allocated { time, domain, address, size, stack, file_backed });
        };
        allocate(&mut builder, 1, OLD, 10_000_000);
        for request in 1..=REQUESTS {
            allocate(&mut builder, request * REQUEST, OLD + request * 0x1000, 1_000);
            builder.event(0, Event::Marked { time: Ticks(request * REQUEST + 1), label });
        }
        let end = Ticks(REQUESTS * REQUEST + after);
        for block in frees {
            builder.event(0, Event::Freed { time: end, domain, address: OLD + block * 0x1000 });
        }
        let bytes = builder.build(Packing::Raw);
        let line = TimeLine::of(&Trace::open(&bytes).unwrap());
        before_the_end(&line, line.requests.first_window(), 1_000_000_000).map(|(_, freed)| freed)
    }

    #[test]
    fn what_a_program_frees_when_it_ends_is_seen_if_it_grew_since_start_up_and_the_program_ends_at_once()
     {
        let soon = REQUEST;
        let some = freed(1..=REQUESTS, soon).unwrap();
        assert!((395_000..400_000).contains(&some), "but for the last few: {some}");
        assert!(freed(1..=REQUESTS / 2, soon).is_some());
        assert_eq!(freed(1..=REQUESTS / 8, soon), None, "little of it");
        assert_eq!(freed(0..=0, soon), None, "what was there before");
        assert_eq!(freed(0..=REQUESTS, soon), Some(some), "that is not counted");
        assert_eq!(freed(1..=REQUESTS, 1_100_000_000), None, "it goes on for more than a second");
        assert_eq!(freed(0..0, soon), None, "nothing is freed");
    }
}
