//! `sizes`: how many blocks of each requested size were allocated and freed.
//!
//! A mapping and an unmapping count with the length that they were called with.

use std::collections::BTreeMap;
use std::io::Write;

use tftrace_format::reader::Trace;
use tftrace_format::{Domain, Event};

use crate::Error;
use crate::heap::{Change, replay};

/// Writes one line per size in these domains (without any, in all): SIZE ALLOCATIONS FREES.
pub fn write(trace: &Trace<'_>, domains: &[Domain], out: &mut dyn Write) -> Result<(), Error> {
    let is_asked_for = |domain| domains.is_empty() || domains.contains(&domain);
    let mut sizes: BTreeMap<u64, (u64, u64)> = BTreeMap::new();
    replay(trace, None, |event: &Event, change| match (*event, change) {
        (Event::Allocated { domain, size, .. }, _) if is_asked_for(domain) => {
            sizes.entry(size).or_default().0 += 1;
        }
        (Event::Freed { domain, .. }, Change::Freed(_, block, _)) if is_asked_for(domain) => {
            sizes.entry(block.size).or_default().1 += 1;
        }
        (Event::RangeFreed { domain, size, .. }, _) if is_asked_for(domain) => {
            sizes.entry(size).or_default().1 += 1;
        }
        _ => {}
    });
    let temporaries = trace.totals().flat_map(|page| page.entries);
    for entry in temporaries.filter(|entry| is_asked_for(entry.key.domain)) {
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
    use tftrace_format::Ticks;
    use tftrace_format::builder::{Packing, TraceBuilder};
    use tftrace_format::totals::{Temporaries, TemporaryKey};

    #[test]
    fn temporaries_count_as_allocated_and_freed_and_each_domain_can_be_asked_for() {
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
        let sizes = |domains: &[Domain]| {
            let mut out = Vec::new();
            write(&Trace::open(&bytes).unwrap(), domains, &mut out).unwrap();
            String::from_utf8(out).unwrap()
        };
        assert_eq!(sizes(&[]), "4096 0 1\n10001 9 8\n20001 1 0\n50001 1 1\n");
        assert_eq!(sizes(&[Domain::Malloc]), "10001 9 8\n20001 1 0\n");
        assert_eq!(sizes(&[Domain::Mmap]), "4096 0 1\n50001 1 1\n");
        assert_eq!(sizes(&[Domain::Mmap, Domain::Malloc]), sizes(&[]));
        assert_eq!(sizes(&[Domain::Cuda]), "");
    }
}
