//! Every weight of every call stack at once: for what shows them beside one another.

use tftrace_format::reader::Trace;
use tftrace_format::totals::Temporaries;
use tftrace_format::{Domain, Event};

use super::measure::used_for;
use super::purpose::Purposes;
use super::replay::{Replay, replay};
use super::sampling::Sampling;
use super::totals::StackTotals;

/// What each call stack weighs, by domain.
#[derive(Clone, Debug, Default)]
pub struct Weights {
    /// By how much it grew after warm-up; `None` if that was not judged.
    pub growth: Option<StackTotals>,
    /// Live when the trace ends, or when Python begins to shut down.
    pub unfreed: StackTotals,
    /// Live when the memory of the host was largest.
    pub peak: StackTotals,
    /// Freed so soon that the trace holds a count only.
    pub temporary: StackTotals,
    /// Ever requested, temporaries included.
    pub allocated: StackTotals,
}

/// Weighs these domains, but for the growth. Reads the events once.
pub fn weigh(trace: &Trace<'_>, domains: &[Domain]) -> (Replay, Weights) {
    let replayed = replay(trace, None, |_: &Event, _| ());
    let weights = Weights::of(trace, &replayed, domains);
    (replayed, weights)
}

impl Weights {
    /// The weights after all events were replayed.
    pub fn of(trace: &Trace<'_>, replayed: &Replay, domains: &[Domain]) -> Self {
        let (purposes, sampling) = (Purposes::of(trace), Sampling::of(trace));
        let of_entry = |entry: Temporaries| {
            let key = used_for(&purposes, domains, entry.key.domain, entry.key.stack)?;
            Some((key, sampling.temporaries(&entry)))
        };
        let entries = trace.totals().flat_map(|page| page.entries);
        let temporary: StackTotals = entries.filter_map(of_entry).collect();
        let sites = replayed.heap.sites();
        let mut allocated = sites.allocated(domains);
        allocated.extend(temporary.iter());
        Self {
            growth: None,
            unfreed: replayed.unfreed_totals(trace, domains),
            peak: sites.at_peak(domains),
            temporary,
            allocated,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::Metric;
    use crate::heap::measure;
    use tftrace_format::builder::{Packing, TraceBuilder};
    use tftrace_format::totals::TemporaryKey;
    use tftrace_format::{Frame, OpId, Ticks};

    #[test]
    fn each_weight_is_what_its_metric_measures() {
        let mut builder = TraceBuilder::new();
        let root = Frame::Raw { address: 1 };
        let plain = Some(builder.stack(&[root]));
        let tensor = Some(builder.stack(&[root, Frame::Op(OpId(3))]));
        let pool = Some(builder.stack(&[root, Frame::Pool(Domain::TensorFlow)]));
        let domain = Domain::Malloc;
        for (time, address, size, stack) in
            [(10, 16, 10_001, plain), (20, 1 << 20, 20_001, tensor), (30, 1 << 30, 1 << 20, pool)]
        {
            let time = Ticks(time);
            let event = Event::Allocated { time, domain, address, size, stack, file_backed: false };
            builder.event(0, event);
        }
        builder.event(0, Event::Freed { time: Ticks(40), domain, address: 16 });
        let key = TemporaryKey { stack: plain, size: 100, domain };
        builder.temporaries(0, Temporaries { key, count: 5 });
        let bytes = builder.build(Packing::Chunked);
        let trace = Trace::open(&bytes).unwrap();
        let (_, weights) = weigh(&trace, &Domain::ALL);
        for (metric, totals) in [
            (Metric::Unfreed, &weights.unfreed),
            (Metric::Peak, &weights.peak),
            (Metric::Temporary, &weights.temporary),
            (Metric::Allocated, &weights.allocated),
        ] {
            let sorted = |totals: &StackTotals| {
                let mut all: Vec<_> = totals.iter().collect();
                all.sort_unstable();
                all
            };
            let measured = measure(&trace, metric, &Domain::ALL).totals;
            assert_eq!(sorted(totals), sorted(&measured), "{metric:?}");
            assert!(totals.sum().bytes > 0, "{metric:?}");
        }
    }
}
