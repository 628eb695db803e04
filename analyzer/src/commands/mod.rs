//! The commands: each reads one trace and writes one thing.

pub mod check;
pub mod diff;
pub mod export;
pub mod folded;
pub mod info;
pub mod merge;
pub mod report;
pub mod sites;
pub mod sizes;

use std::io::{self, Write};
use std::path::Path;

use tftrace_format::reader::Trace;

use crate::Error;
use crate::cli::{Cli, Command, ExportArgs};
use crate::input::{format_version, is_written, open_trace};
use crate::report::numbers::plain;
use export::Format;

/// Does what the command line asks for.
pub fn run(cli: &Cli) -> Result<Outcome, Error> {
    let done = match &cli.command {
        Some(Command::Check(asked)) => {
            let mut outcome = Outcome::Done;
            with_trace(&asked.trace, |opened, _, out| {
                outcome = check::write(opened, asked, out)?;
                Ok(())
            })?;
            return Ok(outcome);
        }
        Some(Command::Sites(asked)) => with_trace(&asked.trace, |opened, _, out| {
            sites::write(opened, &asked.trace, asked, out)
        }),
        Some(Command::Info { trace }) => {
            with_trace(trace, |opened, version, out| info::write(opened, version, out))
        }
        Some(Command::Sizes { trace, domains }) => with_trace(trace, |opened, _, out| {
            crate::report::wholeness::warn(trace, opened);
            sizes::write(opened, domains, out)
        }),
        Some(Command::Folded { trace, metric, domains, view }) => {
            with_trace(trace, |opened, _, out| {
                crate::report::wholeness::warn(trace, opened);
                warn(&folded::write(opened, *metric, domains, *view, out)?);
                Ok(())
            })
        }
        Some(Command::Diff(asked)) => with_trace(&asked.before, |before, _, _| {
            crate::report::wholeness::warn(&asked.before, before);
            with_trace(&asked.after, |after, _, out| {
                crate::report::wholeness::warn(&asked.after, after);
                warn(&diff::write((before, &asked.before), (after, &asked.after), asked, out)?);
                Ok(())
            })
        }),
        Some(Command::Merge(asked)) => merge::write(asked),
        Some(Command::Pprof(asked)) => export(asked, Format::Pprof),
        Some(Command::Speedscope { metric, export: asked }) => {
            export(asked, Format::Speedscope(*metric))
        }
        None => {
            // Without a command clap insists on a trace.
            let path = cli.report.trace.as_deref().unwrap_or(Path::new("trace.bin"));
            with_trace(path, |opened, _, out| report::write(opened, path, &cli.report, out))
        }
    };
    done.map(|()| Outcome::Done)
}

/// What a command that ran to its end has to say by its exit code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// What was asked for is done; a check found no leak.
    Done,
    /// A check found a leak.
    Leak,
    /// A check that must decide could not.
    Undecided,
}

impl Outcome {
    /// The exit code.
    pub fn code(self) -> u8 {
        match self {
            Outcome::Done => 0,
            Outcome::Leak => 3,
            Outcome::Undecided => 4,
        }
    }
}

fn export(asked: &ExportArgs, format: Format) -> Result<(), Error> {
    with_trace(&asked.trace, |opened, _, out| {
        crate::report::wholeness::warn(&asked.trace, opened);
        warn(&export::write(opened, asked, format, out)?);
        Ok(())
    })
}

fn warn(warnings: &[String]) {
    for warning in warnings {
        // A closed stderr is no reason to fail.
        let _ = writeln!(anstream::stderr(), "tftrace-analyze: {}", plain(warning));
    }
}

/// Opens a trace, and standard output for what is said of it. The command also gets the version of
/// the format that the file has.
fn with_trace(
    path: &Path,
    command: impl FnOnce(&Trace<'_>, u32, &mut dyn Write) -> Result<(), Error>,
) -> Result<(), Error> {
    with_opened(path, |trace, version| {
        let mut out = io::BufWriter::new(anstream::AutoStream::auto(io::stdout()));
        command(trace, version, &mut out)?;
        out.flush()?;
        Ok(())
    })
}

/// So often a trace is opened again that its program changed in the middle of it.
const ATTEMPTS: u32 = 10;

/// Opens a trace for as long as something is done with it.
fn with_opened<T>(
    path: &Path,
    work: impl FnOnce(&Trace<'_>, u32) -> Result<T, Error>,
) -> Result<T, Error> {
    let mut attempt = 1;
    loop {
        let mapped = open_trace(path)?;
        let is_written = is_written(path, mapped.bytes());
        let opened = match is_written {
            true => Trace::open_written(mapped.bytes()),
            false => Trace::open(mapped.bytes()),
        };
        let trace = opened.map_err(|source| Error::Trace { path: path.to_path_buf(), source })?;
        let is_disturbed = is_written && (!trace.damage().is_empty() || trace.is_outdated());
        if is_disturbed && attempt < ATTEMPTS {
            attempt += 1;
            continue;
        }
        // Without a version it would not have opened.
        let done = work(&trace, format_version(mapped.bytes()).unwrap_or(0))?;
        if is_written && trace.is_outdated() {
            warn(&[format!(
                "{}: its program compacted it while it was read, so events are missing: try again",
                path.display()
            )]);
        }
        return Ok(done);
    }
}
