//! The bytes of every call stack for a metric.

use tftrace_format::reader::Trace;
use tftrace_format::{Domain, Event};

use super::replay::{Replay, replay};
use super::totals::{Level, StackTotals};
use crate::cli::Metric;

/// A trace, measured.
#[derive(Debug)]
pub struct Measured {
    /// The run through all events.
    pub replay: Replay,
    /// The metric, by domain and call stack. Host memory only, so that nothing counts twice.
    pub totals: StackTotals,
    /// Temporaries of host memory.
    pub temporaries: Level,
}

/// Memory that stands in no other domain's memory.
fn is_host(domain: Domain) -> bool {
    matches!(domain, Domain::Malloc | Domain::Mmap)
}

/// Measures a trace. Reads the events once, and for [`Metric::Peak`] a second time.
pub fn measure(trace: &Trace<'_>, metric: Metric) -> Measured {
    let mut requested = StackTotals::default();
    let replay_all = replay(trace, None, |event, _| {
        if metric == Metric::Allocated
            && let Event::Allocated { domain, size, stack, file_backed: false, .. } = *event
            && is_host(domain)
        {
            requested.add((domain, stack), Level { bytes: size, blocks: 1 });
        }
    });
    let mut temporaries = Level::default();
    for entry in trace.totals().flat_map(|page| page.entries) {
        let bytes = entry.key.size.saturating_mul(entry.count);
        let level = Level { bytes, blocks: entry.count };
        if is_host(entry.key.domain) {
            temporaries.add_all(level);
            if matches!(metric, Metric::Allocated | Metric::Temporary) {
                requested.add((entry.key.domain, entry.key.stack), level);
            }
        }
    }
    let totals = match metric {
        Metric::Unfreed => replay_all.heap.host_totals(),
        Metric::Allocated | Metric::Temporary => requested,
        Metric::Peak => replay(trace, Some(replay_all.peak.events), |_, _| ()).heap.host_totals(),
    };
    Measured { replay: replay_all, totals, temporaries }
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
            let sum = measure(&trace, metric).totals.sum();
            assert_eq!(sum, Level { bytes, blocks }, "{metric:?}");
        }
    }
}
