//! The heaviest groups of call stacks as text: what each holds, and one of its stacks.

use std::io::{self, Write};

use anstyle::Style;
use tftrace_format::Domain;

use super::call_stack;
use super::numbers::{bytes, count, counted, share, share_of_rest};
use super::sampled::with_error;
use super::text::Report;
use crate::heap::Level;
use crate::stack::Ranked;

const BOLD: Style = Style::new().bold();

/// Memory of a domain in words: `52.4 MB in 800 blocks`.
pub(super) fn level(level: Level, domain: Domain) -> String {
    format!("{} in {}", with_error(level.bytes, level.error()), blocks(level, domain))
}

fn blocks(level: Level, domain: Domain) -> String {
    counted(level.blocks, if domain == Domain::Mmap { "range" } else { "block" })
}

/// Writes the heading, the entries, and what they amount to.
pub(super) fn write(report: &Report<'_>, out: &mut dyn Write) -> io::Result<()> {
    let sum = report.measured.totals.sum();
    let stacks = report.measured.totals.iter().count() as u64;
    writeln!(
        out,
        "\n{BOLD}{}: {} in {}, from {}{BOLD:#}",
        report.metric.bytes_in_words(),
        with_error(sum.bytes, sum.error()),
        counted(sum.blocks, "block"),
        counted(stacks, "call stack"),
    )?;
    if report.ranked.is_empty() {
        return Ok(());
    }
    writeln!(out, "{}", report.metric.meaning_in_words())?;
    writeln!(
        out,
        "Call stacks through the same functions are one entry, heaviest first. An entry shows its \
         heaviest stack,\nfrom the function that asked for the memory down to where its thread \
         started."
    )?;
    for arenas in report.ranked.iter().filter(|entry| entry.arenas) {
        write_arenas(arenas.level, sum, out)?;
    }
    for (rank, entry) in report.ranked.iter().filter(|entry| !entry.arenas).enumerate() {
        write_entry(report, rank + 1, entry, sum, out)?;
    }
    amounts(report, sum, stacks, out)
}

/// Arenas are said apart: they would head every report of a Python program, and nobody could tell
/// from their stacks what fills them.
fn write_arenas(level: Level, sum: Level, out: &mut dyn Write) -> io::Result<()> {
    writeln!(
        out,
        "Not in the list: Python's small objects, {} in {}, {} of all. An arena is mapped as a \
         whole and then\nfilled by all code: the call stack that mapped it says nothing about who \
         fills it.",
        bytes(level.bytes),
        counted(level.blocks, "arena"),
        share(level.bytes, sum.bytes),
    )
}

fn write_entry(
    report: &Report<'_>,
    rank: usize,
    entry: &Ranked,
    sum: Level,
    out: &mut dyn Write,
) -> io::Result<()> {
    let domain = entry.domain;
    write!(
        out,
        "\n{BOLD}{rank:>3}. {} {} in {}{BOLD:#}, {} on average, {} of all  ({})",
        with_error(entry.level.bytes, entry.level.error()),
        report.metric.state_in_words(),
        blocks(entry.level, domain),
        bytes(entry.level.bytes / entry.level.blocks.max(1)),
        share(entry.level.bytes, sum.bytes),
        domain.name(),
    )?;
    match entry.stacks {
        1 => writeln!(out)?,
        stacks => writeln!(out, ", {} call stacks", count(stacks))?,
    }
    let Report { trace, symbols, view, depth, .. } = *report;
    let user_line = call_stack::user_line(trace, symbols, entry.heaviest);
    let user_line = user_line.as_deref().unwrap_or("not on this call stack");
    writeln!(out, "       your code: {user_line}")?;
    for line in call_stack::lines(trace, symbols, entry.heaviest, view, depth) {
        writeln!(out, "       {line}")?;
    }
    Ok(())
}

/// How much the entries are of everything, and what is left.
fn amounts(report: &Report<'_>, sum: Level, stacks: u64, out: &mut dyn Write) -> io::Result<()> {
    let mut shown = Level::default();
    report.ranked.iter().for_each(|entry| shown.add_all(entry.level));
    let shown_stacks: u64 = report.ranked.iter().map(|entry| entry.stacks).sum();
    if shown_stacks == stacks {
        return Ok(());
    }
    writeln!(
        out,
        "\nall of the above: {}, {} of it; the other {}: {}, {}",
        bytes(shown.bytes),
        share(shown.bytes, sum.bytes),
        counted(stacks.saturating_sub(shown_stacks), "call stack"),
        bytes(sum.bytes.saturating_sub(shown.bytes)),
        share_of_rest(shown.bytes, sum.bytes),
    )?;
    writeln!(out, "more entries: --top N; more frames: --depth N, or --show-all")
}
