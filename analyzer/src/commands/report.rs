//! The report: the verdict on standard output, and the page beside the trace.

use std::io::{self, Write};
use std::path::{Path, PathBuf};

use tftrace_format::reader::Trace;

use crate::Error;
use crate::cli::{JudgeArgs, ReportArgs};
use crate::findings::examine;
use crate::page::{self, FlameGraph};
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
    let page = match asked.no_page {
        true => None,
        false => Some(page_path(path, asked.output.as_deref())?),
    };
    let found = examine(trace, path, &mut suppressions, asked.judge.requests.as_deref());
    if asked.json {
        serde_json::to_writer_pretty(&mut *out, &found.report).map_err(io::Error::from)?;
        writeln!(out)?;
    } else {
        summary::write(&found.report, asked.top, out)?;
    }
    for warning in found.symbols.warnings() {
        let _ = writeln!(anstream::stderr(), "tftrace-analyze: {}", numbers::plain(warning));
    }
    let Some(page) = page else { return Ok(()) };
    let graph = FlameGraph::build(trace, &found.symbols, &found.weights);
    page::write(&page, &found.report, &graph)?;
    let shown = page.display().to_string();
    if !asked.json {
        writeln!(out, "report: {}", numbers::plain(&shown))?;
    }
    if asked.open {
        // Who reads the report does not wait for a browser.
        out.flush()?;
        if let Err(reasons) = browser::open(&page) {
            // The report is written, which is what the exit code says.
            let line = format!("{shown}: --open: no browser: {reasons}: open the file by hand");
            let _ = writeln!(anstream::stderr(), "tftrace-analyze: {}", numbers::plain(&line));
        }
    }
    Ok(())
}

/// The built-in suppressions and those of the user's.
pub(super) fn suppressions(asked: &JudgeArgs) -> Result<Suppressions, Error> {
    let mut suppressions = Suppressions::built_in();
    asked.suppressions.iter().try_for_each(|file| suppressions.read(file))?;
    Ok(suppressions)
}

/// Where the page is written; never over the trace.
fn page_path(trace: &Path, output: Option<&Path>) -> Result<PathBuf, Error> {
    let Some(output) = output else { return Ok(page::path_for(trace)) };
    let same = output
        .canonicalize()
        .is_ok_and(|output| trace.canonicalize().is_ok_and(|trace| trace == output));
    if same { Err(Error::OutputIsTrace { path: output.to_path_buf() }) } else { Ok(output.into()) }
}
