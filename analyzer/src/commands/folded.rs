//! `folded`: every call stack as a line `root;...;leaf BYTES`.

use std::io::Write;

use tftrace_format::Domain;
use tftrace_format::reader::Trace;

use crate::Error;
use crate::cli::{Metric, ViewArgs};
use crate::heap::{HOST, measure};
use crate::stack::{FoldedStacks, frames_of, whole};
use crate::symbol::resolve;

/// Writes the lines of these domains, sorted; without any, of all host memory. No stack is left
/// out, however small.
///
/// Gives a line for each object file without names.
pub fn write(
    trace: &Trace<'_>,
    metric: Metric,
    domains: &[Domain],
    view: ViewArgs,
    out: &mut dyn Write,
) -> Result<Vec<String>, Error> {
    let measured = measure(trace, metric, if domains.is_empty() { &HOST } else { domains });
    let drawn = whole(&measured.totals);
    let symbols = resolve(trace, &frames_of(trace, drawn.iter().map(|drawn| drawn.stack)));
    for line in FoldedStacks::new(trace, &symbols, &drawn, view).lines() {
        writeln!(out, "{line}")?;
    }
    Ok(symbols.warnings().to_vec())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stack::view_tests::MIXED;
    use tftrace_format::builder::{Packing, TraceBuilder};
    use tftrace_format::{Event, Frame, Ticks};

    #[test]
    fn a_first_frame_names_the_domain_only_if_there_are_two() {
        let mut builder = TraceBuilder::new();
        let stack =
            Some(builder.stack(&[Frame::Raw { address: 0x10 }, Frame::Raw { address: 0x20 }]));
        let mut add = |domain, stack, size, file_backed| {
            let event = Event::Allocated {
                time: Ticks(1),
                domain,
                address: size,
                size,
                stack,
                file_backed,
            };
            builder.event(0, event).build(Packing::Raw)
        };
        let folded = |bytes: &[u8], domains: &[Domain]| {
            let mut out = Vec::new();
            write(&Trace::open(bytes).unwrap(), Metric::Unfreed, domains, MIXED, &mut out).unwrap();
            String::from_utf8(out).unwrap()
        };
        add(Domain::Malloc, stack, 10_001, false);
        let one = add(Domain::Mmap, stack, 1 << 20, true);
        assert_eq!(folded(&one, &[]), "0x10;0x20 10001\n");
        let two = add(Domain::Mmap, None, 1 << 30, false);
        let mmap = "mmap;[no call stack recorded] 1073741824";
        assert_eq!(folded(&two, &[]), format!("malloc;0x10;0x20 10001\n{mmap}\n"));
        assert_eq!(folded(&two, &[Domain::Malloc]), "0x10;0x20 10001\n");
        assert_eq!(folded(&two, &Domain::ALL), folded(&two, &[]));
        assert_eq!(folded(&two, &[Domain::Cuda]), "");
    }
}
