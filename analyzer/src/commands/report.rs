//! The report: the verdict on standard output, and the page beside the trace.

use std::io::{self, Write};
use std::path::{Path, PathBuf};

use tftrace_format::reader::Trace;

use crate::Error;
use crate::cli::{JudgeArgs, PageArgs, ReportArgs};
use crate::findings::{Findings, examine_beside};
use crate::page::{self, FlameGraph, Sketch};
use crate::report::{browser, numbers, summary};
use crate::suppression::Suppressions;

/// Writes the report on the trace at `path`.
pub fn write(
    trace: &Trace<'_>,
    path: &Path,
    asked: &ReportArgs,
    out: &mut dyn Write,
) -> Result<(), Error> {
    let mut suppressions = suppressions(&asked.judge)?;
    let page = page_path(&asked.page, page::path_for(path), &[path])?;
    let requests = asked.judge.requests.as_deref();
    let (found, sketch) = examine_beside(trace, path, &mut suppressions, requests, |weights| {
        page.is_some().then(|| Sketch::of(trace, weights))
    });
    let Findings { report, mut weights, symbols } = found;
    let growth = weights.growth.take();
    // The others are large, and in the sketch.
    drop(weights);
    if asked.json {
        serde_json::to_writer_pretty(&mut *out, &report).map_err(io::Error::from)?;
        writeln!(out)?;
    } else {
        summary::write(&report, asked.top, out)?;
    }
    for warning in symbols.warnings() {
        let _ = writeln!(anstream::stderr(), "tftrace-analyze: {}", numbers::plain(warning));
    }
    let Some((page, sketch)) = page.zip(sketch) else { return Ok(()) };
    let graph = FlameGraph::build(trace, &symbols, sketch, growth.as_ref());
    page::write(&page, &report, &graph)?;
    show_page(&page, &asked.page, asked.json, out)
}

/// Says where the page is, and opens it if that is asked for. A program that reads JSON knows.
pub(super) fn show_page(
    page: &Path,
    asked: &PageArgs,
    json: bool,
    out: &mut dyn Write,
) -> Result<(), Error> {
    if !json {
        writeln!(out, "report: {}", numbers::plain(&page.display().to_string()))?;
    }
    if asked.open {
        // Who reads the report does not wait for a browser.
        out.flush()?;
        browser::show(page);
    }
    Ok(())
}

/// The built-in suppressions and those of the user's.
pub(super) fn suppressions(asked: &JudgeArgs) -> Result<Suppressions, Error> {
    let mut suppressions = Suppressions::built_in();
    asked.suppressions.iter().try_for_each(|file| suppressions.read(file))?;
    Ok(suppressions)
}

/// Where the page is written, if it is; never over a trace.
pub(super) fn page_path(
    asked: &PageArgs,
    beside: PathBuf,
    traces: &[&Path],
) -> Result<Option<PathBuf>, Error> {
    if asked.no_page {
        return Ok(None);
    }
    let path = asked.output.clone().unwrap_or(beside);
    let is_page = |trace: &&Path| {
        path.canonicalize().is_ok_and(|path| trace.canonicalize().is_ok_and(|it| it == path))
    };
    match traces.iter().any(is_page) {
        true => Err(Error::OutputIsTrace { path }),
        false => Ok(Some(path)),
    }
}
