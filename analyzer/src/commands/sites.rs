//! `sites`: the call stacks with the most memory, and the flame graph beside the trace.

use std::io::Write;
use std::path::Path;

use tftrace_format::reader::Trace;

use crate::Error;
use crate::cli::SitesArgs;
use crate::heap::{HOST, measure};
use crate::report::text::Report;
use crate::report::{browser, flame_graph, numbers};
use crate::stack::{FoldedStacks, frames_of, group, heaviest, without_slivers};
use crate::symbol::resolve;

/// A frame narrower than one part of this many is not drawn: a quarter of a pixel, zoomed out.
const DRAWN_PARTS: u64 = 5_000;

/// Writes the sites of the trace at `path`.
pub fn write(
    trace: &Trace<'_>,
    path: &Path,
    asked: &SitesArgs,
    out: &mut dyn Write,
) -> Result<(), Error> {
    let svg = match asked.no_svg {
        true => None,
        false => Some(flame_graph::path_for(path, asked.output.as_deref())?),
    };
    let metric = asked.metric;
    let measured = measure(trace, metric, &HOST);
    let drawn = match svg {
        Some(_) => without_slivers(trace, &measured.totals, DRAWN_PARTS),
        None => Vec::new(),
    };
    // Which stacks go through the same functions is known once all of them have names.
    let stacks = measured.totals.iter().map(|((_, stack), _)| stack);
    let symbols = resolve(trace, &frames_of(trace, stacks));
    let ranked = heaviest(trace, group(trace, &symbols, &measured.totals, asked.view), asked.top);
    let report = Report {
        trace,
        measured: &measured,
        metric,
        ranked: &ranked,
        view: asked.view,
        depth: asked.depth,
        symbols: &symbols,
    };
    report.write(out)?;
    let Some(svg) = svg else { return Ok(()) };
    let stacks = FoldedStacks::new(trace, &symbols, &drawn, asked.view);
    if stacks.is_empty() {
        writeln!(out, "\nno flame graph: there are no {}", metric.bytes_in_words())?;
        return Ok(());
    }
    flame_graph::write(&svg, &stacks, metric, &trace.command_line())?;
    let shown = svg.display().to_string();
    writeln!(out, "\nflame graph: {}", numbers::plain(&shown))?;
    if asked.open {
        // Who reads the report does not wait for a browser.
        out.flush()?;
        browser::show(&svg);
    }
    Ok(())
}
