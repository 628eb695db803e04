//! `pprof` and `speedscope`: every call stack, in a file for another tool.

use std::ffi::OsStr;
use std::io::Write;
use std::path::{Path, PathBuf};

use tftrace_format::reader::Trace;

use crate::Error;
use crate::cli::{ExportArgs, Metric, ViewArgs};
use crate::export::{ExportedStacks, pprof, speedscope};
use crate::heap::{HOST, Replay, Weights, weigh};
use crate::output_file;
use crate::report::numbers::plain;
use crate::report::text::seconds;
use crate::stack::frames_of;
use crate::symbol::resolve;

/// Which tool's file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// Gzip of pprof's protocol buffer.
    Pprof,
    /// Speedscope's JSON, of one metric: it has no room for stacks that several profiles share.
    Speedscope(Metric),
}

impl Format {
    /// How the file's name ends, beside the trace.
    fn extension(self) -> &'static str {
        match self {
            Format::Pprof => "pb.gz",
            Format::Speedscope(_) => "speedscope.json",
        }
    }
}

/// Writes the file, and its path on standard output.
///
/// Gives a line for each object file without names.
pub fn write(
    trace: &Trace<'_>,
    asked: &ExportArgs,
    format: Format,
    out: &mut dyn Write,
) -> Result<Vec<String>, Error> {
    let path = path_for(&asked.trace, asked.output.as_deref(), format)?;
    let domains: &[_] = if asked.domains.is_empty() { &HOST } else { &asked.domains };
    let (replay, weights) = weigh(trace, domains);
    let failed = |source| Error::WriteFile { path: path.clone(), source };
    let mut bytes = Vec::new();
    let warnings = write_to(trace, &replay, &weights, asked.view, format, &mut bytes)
        .and_then(|warnings| output_file::write(&path, &bytes).map(|()| warnings))
        .map_err(failed)?;
    writeln!(out, "{}", plain(&path.display().to_string()))?;
    Ok(warnings)
}

fn write_to(
    trace: &Trace<'_>,
    replay: &Replay,
    weights: &Weights,
    view: ViewArgs,
    format: Format,
    file: &mut dyn Write,
) -> std::io::Result<Vec<String>> {
    // What was ever live was allocated: these are all stacks, but for damage.
    let totals = [&weights.allocated, &weights.unfreed, &weights.peak];
    let all = totals.into_iter().flat_map(|totals| totals.iter().map(|((_, stack), _)| stack));
    let symbols = resolve(trace, &frames_of(trace, all));
    let stacks = ExportedStacks::new(trace, &symbols, weights, view);
    let program = trace.command_line();
    match format {
        Format::Pprof => {
            let started = trace.header().wall_clock_ns;
            pprof(&stacks, &program, started, seconds(trace, replay), file)?;
        }
        Format::Speedscope(metric) => speedscope(&stacks, metric, &program, file)?,
    }
    Ok(symbols.warnings().to_vec())
}

/// Where the file goes: beside the trace, and never in its place.
fn path_for(trace: &Path, output: Option<&Path>, format: Format) -> Result<PathBuf, Error> {
    let path = match output {
        Some(output) => output.to_owned(),
        None => {
            let mut name = trace.file_stem().unwrap_or(OsStr::new("trace")).to_owned();
            name.push(".");
            name.push(format.extension());
            trace.with_file_name(name)
        }
    };
    let same = std::fs::canonicalize(&path)
        .is_ok_and(|path| std::fs::canonicalize(trace).is_ok_and(|trace| trace == path));
    if same { Err(Error::OutputIsTrace { path }) } else { Ok(path) }
}
