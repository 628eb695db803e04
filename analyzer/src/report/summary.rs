//! The report on standard output: the verdict, the suspects, where the memory is, what was lost.

use std::io::{self, Write};

use anstyle::Style;

use super::numbers::{bytes, count, counted, duration, plain};
use super::sampled::{self, with_error};
use crate::findings::{place, rate_in_words, until_limit};
use crate::model::{FrameKind, Growth, Pattern, Report, Suppressed, Suspect, Verdict};

const BOLD: Style = Style::new().bold();
/// Frames of a suspect's stack that are printed: the user's own, and what leads to the memory.
const FRAMES: usize = 6;
/// Owners of memory that are printed.
const OWNERS: usize = 10;

/// A verdict in words, as the report prints it.
pub fn verdict_in_words(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Leak => "LEAK",
        Verdict::CacheFilling => "CACHE FILLING",
        Verdict::WarmUp => "WARM-UP",
        Verdict::Sawtooth => "SAWTOOTH",
        Verdict::Retention => "RETENTION",
        Verdict::Steady => "STEADY",
        Verdict::Undecided => "UNDECIDED",
    }
}

/// Writes the report, with so many suspects.
pub fn write(report: &Report, top: usize, out: &mut dyn Write) -> io::Result<()> {
    let Report { verdict, sentence, action, growth, .. } = report;
    heading(*verdict, [sentence, action], growth, out)?;
    children(report, out)?;
    process(report, out)?;
    let shown = report.suspects.iter().filter(|suspect| suspect.suppressed_by.is_none());
    let shown: Vec<&Suspect> = shown.collect();
    list("suspects", &shown, top, out, write_suspect)?;
    reconciliation(report, out)?;
    if let Some(gpu) = &report.gpu {
        super::gpu::write(gpu, out)?;
    }
    writeln!(out)?;
    suppressions(&report.suppressions, out)?;
    match report.lost.anything {
        false => writeln!(out, "nothing lost"),
        true => report.lost.notes.iter().try_for_each(|note| writeln!(out, "{}", plain(note))),
    }
}

/// The verdict, its sentence and what to do, and when memory will have run out.
pub(super) fn heading(
    verdict: Verdict,
    [sentence, action]: [&str; 2],
    growth: &Growth,
    out: &mut dyn Write,
) -> io::Result<()> {
    writeln!(out, "{BOLD}{}{BOLD:#}: {}", verdict_in_words(verdict), plain(sentence))?;
    writeln!(out, "{}", plain(action))?;
    until_limit(growth).map_or(Ok(()), |line| writeln!(out, "{line}"))
}

/// So many of these under a title, each by its number, and how many more there are.
pub(super) fn list<T>(
    title: &str,
    shown: &[&T],
    top: usize,
    out: &mut dyn Write,
    write_one: impl Fn(usize, &T, &mut dyn Write) -> io::Result<()>,
) -> io::Result<()> {
    if !shown.is_empty() {
        writeln!(out, "\n{BOLD}{title}{BOLD:#}, those that leak first")?;
    }
    for (at, suspect) in shown.iter().take(top).enumerate() {
        write_one(at + 1, suspect, out)?;
    }
    match shown.len().checked_sub(top).filter(|more| *more > 0) {
        Some(more) => writeln!(out, "\nand {} more: --top N, or the page", count(more as u64)),
        None => Ok(()),
    }
}

/// A prefork server does its work in processes that this verdict is not about.
fn children(report: &Report, out: &mut dyn Write) -> io::Result<()> {
    let children = &report.process.children;
    let Some(first) = children.first() else { return Ok(()) };
    let them = match children.len() {
        1 => "1 other process of this run has a trace".to_owned(),
        more => format!("{} other processes of this run have traces", count(more as u64)),
    };
    let dots = if children.len() > 1 { " …" } else { "" };
    let own = plain(&report.process.trace);
    writeln!(out, "{them}: tftrace-analyze merge {own} {}{dots}", plain(first))
}

fn process(report: &Report, out: &mut dyn Write) -> io::Result<()> {
    let process = &report.process;
    writeln!(
        out,
        "\nprocess:  {} (pid {}), {}, {}",
        plain(&process.command.join(" ")),
        process.pid,
        duration(process.seconds),
        counted(process.events, "event"),
    )?;
    if let Some(period) = process.sample_period {
        writeln!(out, "sampled:  {}", sampled::in_words(period))?;
    }
    if let Some(line) = &process.compacted {
        writeln!(out, "compacted: {}", plain(line))?;
    }
    match report.requests.count {
        Some(requests) => {
            writeln!(out, "requests: {} ({})", count(requests), plain(&report.requests.source))
        }
        None => writeln!(out, "requests: not counted: {}", plain(&report.requests.source)),
    }
}

fn write_suspect(rank: usize, suspect: &Suspect, out: &mut dyn Write) -> io::Result<()> {
    numbers_of(rank, suspect, &[], out)?;
    if suspect.windows > 0 {
        writeln!(out, "     rests on {}", counted(suspect.windows as u64, "window"))?;
    }
    for known in &suspect.patterns {
        pattern(known, out)?;
    }
    if let Some(needed) = &suspect.needed {
        writeln!(out, "     to decide: {}", plain(needed))?;
    }
    if matches!(suspect.verdict, Verdict::Leak | Verdict::Undecided) {
        stack(suspect, out)?;
    }
    Ok(())
}

/// What a suspect does and where, how fast, how much it holds. `rates` are said beside its own.
pub(super) fn numbers_of(
    rank: usize,
    suspect: &Suspect,
    rates: &[String],
    out: &mut dyn Write,
) -> io::Result<()> {
    let verdict = verdict_in_words(suspect.verdict);
    writeln!(out, "\n{BOLD}{rank:>3}. {verdict}  {}{BOLD:#}", plain(&place(suspect)))?;
    let mut facts = Vec::new();
    if suspect.bytes_per_request.is_some() || suspect.bytes_per_second.is_some() {
        facts.push(rate_in_words(suspect.bytes_per_request, suspect.bytes_per_second));
    }
    facts.extend_from_slice(rates);
    facts.push(format!(
        "{} held in {}",
        with_error(suspect.held_bytes, suspect.held_bytes_error),
        counted(suspect.held_blocks, "block")
    ));
    if suspect.share_of_growth > 0.0 {
        facts.push(format!("{:.0} % of the growth", suspect.share_of_growth * 100.0));
    }
    facts.push(match &suspect.op {
        Some(op) => format!("{}, {}", suspect.domain, plain(op)),
        None => suspect.domain.clone(),
    });
    writeln!(out, "     {}", facts.join("; "))
}

/// A known cause with its evidence and its remedy.
pub(super) fn pattern(pattern: &Pattern, out: &mut dyn Write) -> io::Result<()> {
    writeln!(out, "     {}: {}", pattern.id, plain(&pattern.sentence))?;
    for evidence in &pattern.evidence {
        writeln!(out, "       evidence: {}", plain(evidence))?;
    }
    writeln!(out, "       remedy: {}", plain(&pattern.remedy))
}

/// What does not count, and rules that hide nothing.
pub fn suppressions(suppressed: &Suppressed, out: &mut dyn Write) -> io::Result<()> {
    for used in &suppressed.used {
        let file = used.file.as_ref().map_or_else(
            || format!("built-in list, version {}", suppressed.built_in_version),
            Clone::clone,
        );
        writeln!(
            out,
            "suppressed: {} by {} ({})",
            counted(used.suspects as u64, "suspect"),
            plain(&used.rule),
            plain(&file)
        )?;
    }
    for rule in &suppressed.stale {
        writeln!(out, "stale suppression, fits no suspect: {}", plain(rule))?;
    }
    Ok(())
}

/// The deepest frames that say something: the user's, ops, and what was asked first.
fn stack(suspect: &Suspect, out: &mut dyn Write) -> io::Result<()> {
    let said: Vec<_> = suspect
        .stack
        .iter()
        .rev()
        .filter(|frame| !frame.framework || frame.kind == FrameKind::Op)
        .filter(|frame| matches!(frame.kind, FrameKind::Python | FrameKind::Op | FrameKind::Native))
        .collect();
    for frame in said.iter().take(FRAMES) {
        let at = match (&frame.file, frame.line) {
            (Some(file), Some(line)) => format!("  {file}:{line}"),
            (Some(file), None) => format!("  {file}"),
            (None, _) => frame.module.as_ref().map_or_else(String::new, |file| format!("  {file}")),
        };
        writeln!(out, "       {}", plain(&format!("{}{at}", frame.function)))?;
    }
    Ok(())
}

fn reconciliation(report: &Report, out: &mut dyn Write) -> io::Result<()> {
    let found = &report.reconciliation;
    let whole = match (found.rss_anonymous, found.explained) {
        (Some(whole), Some(explained)) => {
            format!("{} anonymous memory, {:.0} % explained", bytes(whole), explained * 100.0)
        }
        _ => "the kernel's figure is not in the trace".to_owned(),
    };
    writeln!(out, "\n{BOLD}where the memory is{BOLD:#}: {whole}")?;
    for owner in found.owners.iter().take(OWNERS) {
        writeln!(out, "  {:>10}  {}", with_error(owner.bytes, owner.bytes_error), owner.name)?;
    }
    let others = found.owners.iter().skip(OWNERS);
    let others = others.fold(0u64, |sum, owner| sum.saturating_add(owner.bytes));
    for (bytes_of, what) in [(others, "others"), (found.unexplained.unwrap_or(0), "unexplained")] {
        if bytes_of > 0 {
            writeln!(out, "  {:>10}  {what}", bytes(bytes_of))?;
        }
    }
    if found.not_resident > 0 {
        let live = bytes(found.not_resident);
        writeln!(
            out,
            "  beside that {live} are live but take no memory: never touched, or swapped out"
        )?;
    }
    Ok(())
}
