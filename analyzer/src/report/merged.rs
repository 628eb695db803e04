//! The report on several processes: each by itself in a line, then what they have in common.

use std::io::{self, Write};

use anstyle::Style;

use super::numbers::{bytes, count, plain};
use super::summary::{self, verdict_in_words};
use crate::findings::rate_in_words;
use crate::model::{Merged, MergedSuspect, Part, Report, Verdict};

const BOLD: Style = Style::new().bold();
/// Processes that are named one by one in a suspect.
const NAMED: usize = 8;

/// Writes the report, with so many suspects.
pub fn write(found: &Merged, top: usize, out: &mut dyn Write) -> io::Result<()> {
    let Merged { verdict, sentence, action, growth, .. } = found;
    summary::heading(*verdict, [sentence, action], growth, out)?;
    processes(&found.processes, out)?;
    let shown = found.suspects.iter().filter(|suspect| suspect.whole.suppressed_by.is_none());
    let shown: Vec<&MergedSuspect> = shown.collect();
    summary::list("suspects of all processes", &shown, top, out, write_suspect)?;
    writeln!(out)?;
    for report in &found.processes {
        let pid = report.process.pid;
        for note in &report.lost.notes {
            writeln!(out, "pid {pid}: {}", plain(note))?;
        }
        let mut lines = Vec::new();
        summary::suppressions(&report.suppressions, &mut lines)?;
        for line in String::from_utf8_lossy(&lines).lines() {
            writeln!(out, "pid {pid}: {line}")?;
        }
    }
    if !found.processes.iter().any(|report| report.lost.anything) {
        writeln!(out, "nothing lost")?;
    }
    Ok(())
}

/// A table with a line for each process.
fn processes(reports: &[Report], out: &mut dyn Write) -> io::Result<()> {
    writeln!(
        out,
        "\n{BOLD}{:>9}  {:<13} {:>10}  {:>10}  {:>9}  growth{BOLD:#}",
        "pid", "verdict", "live", "peak", "requests"
    )?;
    for report in reports {
        let live = report.time_line.live();
        let growth = match report.verdict {
            Verdict::Leak => {
                rate_in_words(report.growth.bytes_per_request, report.growth.bytes_per_second)
            }
            _ => "-".to_owned(),
        };
        writeln!(
            out,
            "{:>9}  {:<13} {:>10}  {:>10}  {:>9}  {growth}",
            report.process.pid,
            verdict_in_words(report.verdict),
            bytes(live.last().copied().unwrap_or(0)),
            bytes(live.iter().copied().max().unwrap_or(0)),
            report.requests.count.map_or_else(|| "-".to_owned(), count),
        )?;
    }
    Ok(())
}

fn write_suspect(rank: usize, suspect: &MergedSuspect, out: &mut dyn Write) -> io::Result<()> {
    let MergedSuspect { whole, processes } = suspect;
    // The one is a mean over requests, the other the sum of all processes.
    let per_second = whole.bytes_per_second.filter(|_| whole.bytes_per_request.is_some());
    let per_second = per_second.map(|rate| rate_in_words(None, Some(rate)));
    summary::numbers_of(rank, whole, per_second.as_slice(), out)?;
    let (alike, others): (Vec<&Part>, Vec<&Part>) =
        processes.iter().partition(|part| part.verdict == whole.verdict);
    writeln!(out, "     in {}", pids(&alike))?;
    if !others.is_empty() {
        writeln!(out, "     otherwise in {}", pids(&others))?;
    }
    whole.patterns.iter().try_for_each(|pattern| summary::pattern(pattern, out))
}

/// `pids 17, 18 and 3 more`, each with its verdict if they differ.
fn pids(parts: &[&Part]) -> String {
    let named = parts
        .iter()
        .take(NAMED)
        .map(|part| format!("pid {} ({})", part.pid, verdict_in_words(part.verdict)));
    let named: Vec<String> = named.collect();
    match parts.len().checked_sub(NAMED).filter(|more| *more > 0) {
        Some(more) => format!("{} and {} more", named.join(", "), count(more as u64)),
        None => named.join(", "),
    }
}
