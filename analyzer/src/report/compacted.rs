//! Says of a trace whose file has a bound what is coarse in it, and how far past the bound it went.

use tftrace_format::counters::Counter;
use tftrace_format::page::PAGE_BYTES;
use tftrace_format::reader::Trace;

use super::numbers::{bytes, counted, duration};

/// One sentence, or nothing if the file was never compacted and kept its bound.
pub fn line(trace: &Trace<'_>) -> Option<String> {
    let folded = trace.compacted().map(|(until, folded)| {
        format!(
            "{} that came and went in the first {} are only counted: curves lack them until then",
            counted(folded, "allocation"),
            duration(trace.seconds(until)),
        )
    });
    let beyond = trace.counters().get(Counter::PagesBeyondBound).filter(|pages| *pages > 0);
    let beyond = beyond.map(|pages| {
        format!(
            "the file went {} past its bound of {}: by what is live, or was not compacted yet",
            bytes(pages.saturating_mul(PAGE_BYTES as u64)),
            bytes(trace.header().bound.map_or(0, std::num::NonZeroU64::get)),
        )
    });
    let parts: Vec<String> = folded.into_iter().chain(beyond).collect();
    (!parts.is_empty()).then(|| parts.join("; "))
}

#[cfg(test)]
mod tests {
    use super::*;
    use tftrace_format::Ticks;
    use tftrace_format::builder::{Packing, TraceBuilder};
    use tftrace_format::record::Record;

    #[test]
    fn what_was_folded_and_how_far_the_bound_was_passed_is_said() {
        let mut builder = TraceBuilder::new();
        let said = |builder: &TraceBuilder| {
            let bytes = builder.build(Packing::Raw);
            line(&Trace::open(&bytes).unwrap())
        };
        assert_eq!(said(&builder), None);
        builder.record(&Record::Compacted { until: Ticks(2_500_000_000), folded: 1200 });
        let folded = "1,200 allocations that came and went in the first 2.5 s are only counted: \
                      curves lack them until then";
        assert_eq!(said(&builder).as_deref(), Some(folded));
        builder.counter(Counter::PagesBeyondBound, 2);
        let both = said(&builder).unwrap();
        assert!(both.starts_with(folded) && both.contains("went 65.5 kB past"), "{both}");
    }
}
