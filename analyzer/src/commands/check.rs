//! `check`: whether a trace shows a leak, as an exit code.

use std::io::{self, Write};

use tftrace_format::reader::Trace;

use super::Outcome;
use crate::Error;
use crate::cli::{CheckArgs, CheckFormat, FailOn, Per, Rate};
use crate::findings::{examine, place, rate_in_words};
use crate::model::{Report, Suspect, Verdict};
use crate::report::numbers::plain;
use crate::report::summary::{self, verdict_in_words};

/// Prints the outcome and says which it is.
///
/// # Errors
/// If a file of suppressions cannot be used, if growth per request is limited and no requests were
/// counted, and if standard output cannot be written.
pub fn write(trace: &Trace<'_>, asked: &CheckArgs, out: &mut dyn Write) -> Result<Outcome, Error> {
    crate::report::wholeness::warn(&asked.trace, trace);
    let mut suppressions = super::report::suppressions(&asked.judge)?;
    let report =
        examine(trace, &asked.trace, &mut suppressions, asked.judge.requests.as_deref()).report;
    let outcome = outcome(&report, asked)?;
    let leaks = || {
        let leaks = report.suspects.iter().filter(|suspect| suspect.verdict == Verdict::Leak);
        leaks.filter(|suspect| suspect.suppressed_by.is_none())
    };
    match asked.format {
        CheckFormat::Text => {
            let verdict = verdict_in_words(report.verdict);
            writeln!(out, "{verdict}: {}", plain(&report.sentence))?;
            for leak in leaks() {
                let rate = rate_in_words(leak.bytes_per_request, leak.bytes_per_second);
                writeln!(out, "{}: {rate}", plain(&place(leak)))?;
            }
            if outcome == Outcome::Done && report.verdict == Verdict::Leak {
                writeln!(out, "allowed by --max-growth")?;
            }
        }
        CheckFormat::Github => {
            let level = if outcome == Outcome::Leak { "error" } else { "warning" };
            leaks().try_for_each(|leak| annotate(level, leak, out))?;
            if outcome == Outcome::Undecided {
                writeln!(out, "::error title=tftrace::{}", escaped(&report.sentence))?;
            }
        }
    }
    summary::suppressions(&report.suppressions, out)?;
    Ok(outcome)
}

fn outcome(report: &Report, asked: &CheckArgs) -> Result<Outcome, Error> {
    Ok(match report.verdict {
        Verdict::Leak if is_within(report, asked)? => Outcome::Done,
        Verdict::Leak => Outcome::Leak,
        Verdict::Undecided if asked.fail_on == Some(FailOn::Undecided) => Outcome::Undecided,
        _ => Outcome::Done,
    })
}

/// Whether all leaks together are within what is allowed.
fn is_within(report: &Report, asked: &CheckArgs) -> Result<bool, Error> {
    let Some(Rate { bytes, per }) = asked.max_growth else { return Ok(false) };
    let growth = match per {
        Per::Request => report.growth.bytes_per_request,
        Per::Second => report.growth.bytes_per_second,
    };
    match growth {
        Some(growth) => Ok(growth.low <= bytes),
        None => Err(Error::NoRequests { path: asked.trace.clone() }),
    }
}

/// One annotation at the line that leaks.
fn annotate(level: &str, leak: &Suspect, out: &mut dyn Write) -> io::Result<()> {
    let at = leak.your_line.as_ref().map_or_else(String::new, |line| {
        format!("file={},line={},", escaped_property(&line.file), line.line)
    });
    let rate = rate_in_words(leak.bytes_per_request, leak.bytes_per_second);
    let remedy = leak
        .patterns
        .first()
        .map_or_else(String::new, |pattern| format!(" {} {}", pattern.sentence, pattern.remedy));
    let text = format!("leaks {rate} in {}.{remedy}", leak.name);
    writeln!(out, "::{level} {at}title=tftrace::{}", escaped(&text))
}

/// Text as workflow commands have it.
fn escaped(text: &str) -> String {
    text.replace('%', "%25").replace('\r', "%0D").replace('\n', "%0A")
}

fn escaped_property(text: &str) -> String {
    escaped(text).replace(':', "%3A").replace(',', "%2C")
}
