//! The report on several processes: each by itself in a line, then what they have in common.

use std::io::{self, Write};

use anstyle::Style;

use super::numbers::{bytes, count, counted, plain};
use super::summary::{self, verdict_in_words};
use crate::findings::{place_of, rate_in_words, until_limit};
use crate::model::{Merged, MergedSuspect, Part, Report, Verdict};

const BOLD: Style = Style::new().bold();
/// Processes that are named one by one in a suspect.
const NAMED: usize = 8;

/// Writes the report, with so many suspects.
pub fn write(found: &Merged, top: usize, out: &mut dyn Write) -> io::Result<()> {
    let verdict = verdict_in_words(found.verdict);
    writeln!(out, "{BOLD}{verdict}{BOLD:#}: {}", plain(&found.sentence))?;
    writeln!(out, "{}", plain(&found.action))?;
    if let Some(line) = until_limit(&found.growth) {
        writeln!(out, "{line}")?;
    }
    processes(&found.processes, out)?;
    let shown = found.suspects.iter().filter(|suspect| suspect.suppressed_by.is_none());
    let shown: Vec<&MergedSuspect> = shown.collect();
    if !shown.is_empty() {
        writeln!(out, "\n{BOLD}suspects{BOLD:#} of all processes, those that leak first")?;
    }
    for (at, suspect) in shown.iter().take(top).enumerate() {
        write_suspect(at + 1, suspect, out)?;
    }
    if let Some(more) = shown.len().checked_sub(top).filter(|more| *more > 0) {
        writeln!(out, "\nand {} more: --top N", count(more as u64))?;
    }
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
        "\n{BOLD}{:>9}  {:<13} {:>10}  {:>9}  growth{BOLD:#}",
        "pid", "verdict", "live", "requests"
    )?;
    for report in reports {
        let live = |domain: &crate::model::Series| domain.bytes.last().copied().unwrap_or(0);
        let live: u64 = report.time_line.domains.iter().map(live).sum();
        let growth = match report.verdict {
            Verdict::Leak => {
                rate_in_words(report.growth.bytes_per_request, report.growth.bytes_per_second)
            }
            _ => "-".to_owned(),
        };
        writeln!(
            out,
            "{:>9}  {:<13} {:>10}  {:>9}  {growth}",
            report.process.pid,
            verdict_in_words(report.verdict),
            bytes(live),
            report.requests.count.map_or_else(|| "-".to_owned(), count),
        )?;
    }
    Ok(())
}

fn write_suspect(rank: usize, suspect: &MergedSuspect, out: &mut dyn Write) -> io::Result<()> {
    let at = place_of(suspect.your_line.as_ref(), &suspect.name);
    let verdict = verdict_in_words(suspect.verdict);
    writeln!(out, "\n{BOLD}{rank:>3}. {verdict}  {}{BOLD:#}", plain(&at))?;
    let mut facts = Vec::new();
    if suspect.bytes_per_request.is_some() {
        facts.push(rate_in_words(suspect.bytes_per_request, None));
    }
    if suspect.bytes_per_second.is_some() {
        facts.push(rate_in_words(None, suspect.bytes_per_second));
    }
    facts.push(format!(
        "{} held in {}",
        bytes(suspect.held_bytes),
        counted(suspect.held_blocks, "block")
    ));
    if suspect.share_of_growth > 0.0 {
        facts.push(format!("{:.0} % of the growth", suspect.share_of_growth * 100.0));
    }
    facts.push(match &suspect.op {
        Some(op) => format!("{}, {}", suspect.domain, plain(op)),
        None => suspect.domain.clone(),
    });
    writeln!(out, "     {}", facts.join("; "))?;
    let (alike, others): (Vec<&Part>, Vec<&Part>) =
        suspect.processes.iter().partition(|part| part.verdict == suspect.verdict);
    writeln!(out, "     in {}", pids(&alike))?;
    if !others.is_empty() {
        writeln!(out, "     otherwise in {}", pids(&others))?;
    }
    for pattern in &suspect.patterns {
        summary::pattern(pattern, out)?;
    }
    Ok(())
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
