//! The bytes of every call stack for a metric.

use tftrace_format::reader::Trace;
use tftrace_format::{Domain, Event, StackId};

use super::purpose::{Purpose, Purposes};
use super::replay::{Replay, replay};
use super::sampling::Sampling;
use super::totals::{Level, StackTotals, TotalsKey};
use super::unfreed::Unfreed;
use crate::cli::Metric;

/// A trace, measured.
#[derive(Debug)]
pub struct Measured {
    /// The run through all events.
    pub replay: Replay,
    /// What counts as unfreed, whatever the metric.
    pub unfreed: Unfreed,
    /// The metric, by domain and call stack.
    pub totals: StackTotals,
    /// Temporaries of host memory that the trace holds, whatever they stand for.
    pub temporaries: Level,
}

/// Memory of the host. What stands in a pool is counted, and the pool is not: nothing counts twice.
pub const HOST: [Domain; 4] = [Domain::Malloc, Domain::Mmap, Domain::Python, Domain::TensorFlow];

/// Measures these domains. Reads the events once.
pub fn measure(trace: &Trace<'_>, metric: Metric, domains: &[Domain]) -> Measured {
    let replayed = replay(trace, None, |_: &Event, _| ());
    let sites = replayed.heap.sites();
    let unfreed = replayed.unfreed(trace);
    let mut totals = match metric {
        Metric::Unfreed => unfreed.totals(domains),
        Metric::Allocated => sites.allocated(domains),
        Metric::Temporary => StackTotals::default(),
        Metric::Peak => sites.at_peak(domains),
    };
    let purposes = Purposes::of(trace);
    let sampling = Sampling::of(trace);
    let mut temporaries = Level::default();
    totals.extend(trace.totals().flat_map(|page| page.entries).filter_map(|entry| {
        if HOST.contains(&entry.key.domain) {
            let bytes = entry.key.size.saturating_mul(entry.count);
            temporaries.add_all(Level::exact(bytes, entry.count));
        }
        let key = used_for(&purposes, domains, entry.key.domain, entry.key.stack)?;
        let counts = matches!(metric, Metric::Allocated | Metric::Temporary);
        counts.then(|| (key, sampling.temporaries(&entry)))
    }));
    Measured { replay: replayed, unfreed, totals, temporaries }
}

/// Where a requested block counts: with what it is for, if that is one of `domains`. A pool counts
/// nowhere, what is cut out of it does.
pub(super) fn used_for(
    purposes: &Purposes,
    domains: &[Domain],
    domain: Domain,
    stack: Option<StackId>,
) -> Option<TotalsKey> {
    match purposes.get(domain, stack) {
        Purpose::Use(of) if domains.contains(&of) => Some((of, stack)),
        Purpose::Use(_) | Purpose::Pool(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tftrace_format::builder::{Packing, TraceBuilder};
    use tftrace_format::totals::{Temporaries, TemporaryKey};
    use tftrace_format::{Frame, Ticks};

    #[test]
    fn every_metric_counts_its_own_bytes() {
        let mut builder = TraceBuilder::new();
        let stack = Some(builder.stack(&[Frame::Raw { address: 1 }]));
        let domain = Domain::Malloc;
        for (time, address, size) in [(10, 16, 10_001), (20, 64, 20_001), (40, 16, 7)] {
            let time = Ticks(time);
            let event = Event::Allocated { time, domain, address, size, stack, file_backed: false };
            builder.event(0, event);
        }
        builder.event(0, Event::Freed { time: Ticks(30), domain, address: 16 });
        let key = TemporaryKey { stack, size: 100, domain };
        builder.temporaries(0, Temporaries { key, count: 5 });
        let bytes = builder.build(Packing::Chunked);
        let trace = Trace::open(&bytes).unwrap();
        for (metric, bytes, blocks) in [
            (Metric::Unfreed, 20_008, 2),
            (Metric::Allocated, 30_509, 8),
            (Metric::Temporary, 500, 5),
            (Metric::Peak, 30_002, 2),
        ] {
            let sum = measure(&trace, metric, &HOST).totals.sum();
            assert_eq!(sum, Level::exact(bytes, blocks), "{metric:?}");
        }
    }

    /// Each sampled block stands for several, with an error; a mapping stands for itself.
    #[test]
    fn a_sample_is_scaled_in_every_metric() {
        let mut builder = TraceBuilder::new();
        builder.sample_period(4096);
        let (stack, file_backed) = (None, false);
        for (domain, address, size) in [
            (Domain::Malloc, 16, 64),
            (Domain::Python, 16, 4096),
            (Domain::Mmap, 1 << 20, 4096),
            (Domain::Malloc, 1 << 12, 1 << 20),
        ] {
            let time = Ticks(10);
            builder.event(0, Event::Allocated { time, domain, address, size, stack, file_backed });
        }
        builder.event(0, Event::Freed { time: Ticks(20), domain: Domain::Malloc, address: 16 });
        let key = TemporaryKey { stack, size: 64, domain: Domain::Malloc };
        builder.temporaries(0, Temporaries { key, count: 3 });
        let bytes = builder.build(Packing::Chunked);
        let trace = Trace::open(&bytes).unwrap();
        // 64 / (1 - exp(-1/64)) and 4096 / (1 - exp(-1)), rounded.
        let (small, page) = (4128, 6480);
        let (large, mapped) = (1 << 20, 4096);
        for (metric, bytes) in [
            (Metric::Unfreed, page + mapped + large),
            (Metric::Allocated, 4 * small + page + mapped + large),
            (Metric::Temporary, 3 * small),
            (Metric::Peak, small + page + mapped + large),
        ] {
            let measured = measure(&trace, metric, &HOST);
            let sum = measured.totals.sum();
            assert!(sum.bytes.abs_diff(bytes) <= 3, "{metric:?}: {} is not {bytes}", sum.bytes);
            assert!(sum.error() > 0.0, "{metric:?}");
        }
        let unfreed = measure(&trace, Metric::Unfreed, &HOST).unfreed;
        assert_eq!(unfreed.level(Domain::Mmap), Level::exact(mapped, 1));
        assert_eq!(unfreed.level(Domain::Malloc).error(), 0.0, "far above the period, and exact");
    }

    #[test]
    fn only_the_domains_that_were_asked_for_are_counted() {
        let mut builder = TraceBuilder::new();
        let (stack, file_backed) = (None, false);
        for (domain, size) in [(Domain::Cuda, 300), (Domain::Malloc, 1), (Domain::Mmap, 4096)] {
            let (time, address) = (Ticks(10), 1 << 20);
            let event = Event::Allocated { time, domain, address, size, stack, file_backed };
            builder.event(0, event);
            let key = TemporaryKey { stack, size: size * 1000, domain };
            builder.temporaries(0, Temporaries { key, count: 1 });
        }
        let bytes = builder.build(Packing::Raw);
        let trace = Trace::open(&bytes).unwrap();
        for (domains, live) in [(&HOST[..], 4097), (&[Domain::Cuda][..], 300), (&[], 0)] {
            let sum = |metric| measure(&trace, metric, domains).totals.sum().bytes;
            assert_eq!(sum(Metric::Unfreed), live, "{domains:?}");
            assert_eq!(sum(Metric::Peak), live, "{domains:?}");
            assert_eq!(sum(Metric::Temporary), live * 1000, "{domains:?}");
            assert_eq!(sum(Metric::Allocated), live * 1001, "{domains:?}");
        }
        let temporaries = measure(&trace, Metric::Unfreed, &[]).temporaries;
        assert_eq!(temporaries, Level::exact(4_097_000, 2), "of the host, always");
    }
}
