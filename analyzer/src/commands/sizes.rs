//! `sizes`: how many blocks of each requested size were allocated and freed, in all domains.
//!
//! A mapping and an unmapping count with the length that they were called with.

use std::collections::BTreeMap;
use std::io::Write;

use tftrace_format::Event;
use tftrace_format::reader::Trace;

use crate::Error;
use crate::heap::{Change, replay};

/// Writes one line per size: SIZE ALLOCATIONS FREES.
pub fn write(trace: &Trace<'_>, out: &mut dyn Write) -> Result<(), Error> {
    let mut sizes: BTreeMap<u64, (u64, u64)> = BTreeMap::new();
    replay(trace, None, |event, change| match (*event, change) {
        (Event::Allocated { size, .. }, _) => {
            sizes.entry(size).or_default().0 += 1;
        }
        (Event::Freed { .. }, Change::Freed(block)) => {
            sizes.entry(block.size).or_default().1 += 1;
        }
        (Event::RangeFreed { size, .. }, _) => sizes.entry(size).or_default().1 += 1,
        _ => {}
    });
    for entry in trace.totals().flat_map(|page| page.entries) {
        let (allocations, frees) = sizes.entry(entry.key.size).or_default();
        *allocations = allocations.saturating_add(entry.count);
        *frees = frees.saturating_add(entry.count);
    }
    for (size, (allocations, frees)) in sizes {
        writeln!(out, "{size} {allocations} {frees}")?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use tftrace_format::builder::{Packing, TraceBuilder};
    use tftrace_format::totals::{Temporaries, TemporaryKey};
    use tftrace_format::{Domain, Ticks};

    #[test]
    fn temporaries_count_as_allocated_and_freed() {
        let mut builder = TraceBuilder::new();
        let (stack, domain, file_backed) = (None, Domain::Malloc, false);
        for (time, address, size) in [(10, 16, 20_001), (20, 64, 10_001), (30, 128, 10_001)] {
            let time = Ticks(time);
            builder.event(0, Event::Allocated { time, domain, address, size, stack, file_backed });
        }
        for (time, address) in [(40, 64), (50, 9999)] {
            builder.event(1, Event::Freed { time: Ticks(time), domain, address });
        }
        let key = TemporaryKey { stack, size: 10_001, domain };
        builder.temporaries(0, Temporaries { key, count: 7 });
        let domain = Domain::Mmap;
        builder.event(
            0,
            Event::Allocated {
                time: Ticks(60),
                domain,
                address: 1 << 20,
                size: 50_001,
                stack,
                file_backed,
            },
        );
        for (time, address, size) in [(70, 1 << 20, 4096), (80, (1 << 20) + 4096, 50_001)] {
            builder.event(0, Event::RangeFreed { time: Ticks(time), domain, address, size });
        }
        let bytes = builder.build(Packing::Raw);
        let mut out = Vec::new();
        write(&Trace::open(&bytes).unwrap(), &mut out).unwrap();
        assert_eq!(String::from_utf8(out).unwrap(), "4096 0 1\n10001 9 8\n20001 1 0\n50001 1 1\n");
    }
}
