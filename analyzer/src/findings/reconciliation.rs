//! Where the process's anonymous memory is: what explains the kernel's own figure.

use tftrace_format::Domain;
use tftrace_format::reader::Trace;
use tftrace_format::record::MemoryReading;

use crate::model::{Owner, Reconciliation};
use crate::time_line::TimeLine;

/// The last reading of memory before the time line ends.
pub(super) fn last_reading<'t>(trace: &'t Trace<'_>, line: &TimeLine) -> Option<&'t MemoryReading> {
    let mut known = trace.readings().iter().filter(|reading| reading.rss_anonymous > 0);
    known.rfind(|reading| reading.time <= line.end.0)
}

/// Explains the last reading by what is live then.
pub(super) fn reconcile(trace: &Trace<'_>, line: &TimeLine) -> Reconciliation {
    let mut owners = Vec::new();
    let mut add_estimate = |name: String, bytes: u64, bytes_error: f64| {
        if bytes > 0 {
            owners.push(Owner { name, bytes, bytes_error });
        }
    };
    for domain in crate::heap::HOST {
        let level = line.levels[domain as usize];
        add_estimate(format!("live blocks: {}", domain.name()), level.bytes, level.error());
    }
    let mut add = |name, bytes| add_estimate(name, bytes, 0.0);
    for (domain, name) in [
        (Domain::Python, "kept by Python's allocator (pymalloc slack)"),
        (Domain::TensorFlow, "kept by TensorFlow's pool (BFC slack)"),
    ] {
        add(name.into(), line.slack[domain as usize]);
    }
    let reading = last_reading(trace, line);
    if let Some(reading) = reading.filter(|reading| reading.malloc_known) {
        add("kept by malloc: freed, not given back".into(), reading.malloc_free);
        add(
            "malloc: block headers, per-thread caches, blocks from before the trace".into(),
            reading.malloc_in_use.saturating_sub(line.malloc_chunk_bytes),
        );
    }
    owners.sort_by(|a, b| b.bytes.cmp(&a.bytes).then_with(|| a.name.cmp(&b.name)));
    let Some(reading) = reading else {
        return Reconciliation { owners, ..Reconciliation::default() };
    };
    let whole = reading.rss_anonymous;
    let sum: u64 = owners.iter().map(|owner| owner.bytes).sum();
    Reconciliation {
        seconds: Some(trace.seconds(tftrace_format::Ticks(reading.time))),
        rss_anonymous: Some(whole),
        explained: Some((sum as f64 / whole as f64).min(1.0)),
        owners,
    }
}
