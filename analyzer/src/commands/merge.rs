//! `merge`: the traces of several processes in one report.

use std::io::{self, Write};
use std::path::{Path, PathBuf};

use super::report::{page_path, show_page, suppressions};
use crate::Error;
use crate::cli::MergeArgs;
use crate::findings::{examine, together};
use crate::page;
use crate::report::{merged, wholeness};

/// Writes the report on all of them, and a page. One is open at a time.
///
/// # Errors
/// If a trace or a file of suppressions cannot be read, and if standard
/// output cannot be written.
pub fn write(asked: &MergeArgs) -> Result<(), Error> {
    let suppressions = suppressions(&asked.judge)?;
    let traces: Vec<&Path> = asked.traces.iter().map(PathBuf::as_path).collect();
    let beside = page::path_for_all(traces.first().copied().unwrap_or(Path::new("trace.bin")));
    let page = page_path(&asked.page, beside, &traces)?;
    let mut reports = Vec::new();
    let mut seen: Vec<PathBuf> = Vec::new();
    for path in &asked.traces {
        // `merge trace.bin trace*.bin` names one twice: it is one process all the same.
        let file = path.canonicalize().unwrap_or_else(|_| path.clone());
        if seen.contains(&file) {
            continue;
        }
        seen.push(file);
        let report = super::with_opened(path, |trace, _| {
            wholeness::warn(path, trace);
            let found =
                examine(trace, path, &mut suppressions.clone(), asked.judge.requests.as_deref());
            super::warn(found.symbols.warnings());
            Ok(found.report)
        })?;
        reports.push(report);
    }
    let found = together(reports);
    let mut out = io::BufWriter::new(anstream::AutoStream::auto(io::stdout()));
    if asked.json {
        serde_json::to_writer_pretty(&mut out, &found).map_err(io::Error::from)?;
        writeln!(out)?;
    } else {
        merged::write(&found, asked.top, &mut out)?;
    }
    if let Some(page) = page {
        page::write_merged(&page, &found)?;
        show_page(&page, &asked.page, asked.json, &mut out)?;
    }
    out.flush()?;
    Ok(())
}
