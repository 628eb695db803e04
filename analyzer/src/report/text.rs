//! The report on standard output: the process, its memory, and the heaviest call stacks.

use std::io::{self, Write};

use anstyle::Style;
use tftrace_format::Domain;
use tftrace_format::reader::Trace;

use super::numbers::{bytes, count, counted, duration, plain, signed_bytes};
use super::sampled::{self, with_error};
use super::{entries, wholeness};
use crate::cli::{Metric, ViewArgs};
use crate::heap::{AtReading, Measured, Replay};
use crate::reconcile::difference;
use crate::stack::Ranked;
use crate::symbol::Symbols;

const BOLD: Style = Style::new().bold();

/// What the report is made of.
#[derive(Debug)]
pub struct Report<'a> {
    /// The trace.
    pub trace: &'a Trace<'a>,
    /// Its live heap and totals.
    pub measured: &'a Measured,
    /// Which bytes are ranked.
    pub metric: Metric,
    /// The heaviest groups of stacks.
    pub ranked: &'a [Ranked],
    /// What of each stack is shown.
    pub view: ViewArgs,
    /// How many frames of it are printed.
    pub depth: usize,
    /// Names of their frames.
    pub symbols: &'a Symbols,
}

/// How long the trace is, in seconds: to its last event or memory reading.
pub fn seconds(trace: &Trace<'_>, replay: &Replay) -> f64 {
    let reading = trace.readings().last().map_or(0, |reading| reading.time);
    let last = replay.last.map_or(0, |time| time.0).max(reading);
    trace.seconds(tftrace_format::Ticks(last))
}

/// The line that puts our live total beside the allocator's.
pub fn reconciled(at: Option<&AtReading>) -> String {
    let Some(at) = at else {
        return "live malloc blocks: not compared, glibc's own figure is not in the trace".into();
    };
    let difference = difference(at);
    let error = (at.variance as f64).sqrt();
    format!(
        "live malloc blocks: {} as requested, {} as glibc counts them; glibc itself says {} in use \
         (difference {:+.1} %, {})",
        with_error(at.bytes, error),
        bytes(at.chunk_bytes),
        bytes(at.malloc_in_use),
        difference.percent,
        signed_bytes(difference.bytes),
    )
}

/// The number of events, by kind.
pub fn events(measured: &Measured) -> String {
    let counts = &measured.replay.counts;
    let failures = match counts.failures {
        0 => String::new(),
        failures => format!(", {}", counted(failures, "failed allocation")),
    };
    format!(
        "{} ({}, {}, {}{failures}), and {}, which are only counted",
        count(counts.sum()),
        counted(counts.allocations, "allocation"),
        counted(counts.frees, "free"),
        counted(counts.marks, "mark"),
        counted(measured.temporaries.blocks, "temporary allocation"),
    )
}

impl Report<'_> {
    /// Writes all of it.
    pub fn write(&self, out: &mut dyn Write) -> io::Result<()> {
        self.process(out)?;
        self.memory(out)?;
        entries::write(self, out)?;
        writeln!(out)?;
        for line in wholeness::lines(self.trace) {
            writeln!(out, "{line}")?;
        }
        for warning in self.symbols.warnings() {
            writeln!(out, "warning: {}", plain(warning))?;
        }
        Ok(())
    }

    fn process(&self, out: &mut dyn Write) -> io::Result<()> {
        let (trace, header) = (self.trace, self.trace.header());
        let executable = String::from_utf8_lossy(header.executable);
        writeln!(out, "process:    {BOLD}{}{BOLD:#}", plain(&trace.command_line()))?;
        writeln!(out, "            pid {}, executable {}", header.pid, plain(&executable))?;
        writeln!(out, "duration:   {}", duration(seconds(trace, &self.measured.replay)))?;
        writeln!(out, "events:     {}", events(self.measured))?;
        if let Some(line) = sampled::line(trace) {
            writeln!(out, "sampled:    {line}")?;
        }
        if let Some(line) = super::compacted::line(trace) {
            writeln!(out, "compacted:  {line}")?;
        }
        match super::recording::line(trace) {
            Some(line) => writeln!(out, "{line}"),
            None => Ok(()),
        }
    }

    fn memory(&self, out: &mut dyn Write) -> io::Result<()> {
        let (heap, unfreed) = (&self.measured.replay.heap, &self.measured.unfreed);
        let ended = match unfreed.shut_down {
            Some(_) => "unfreed when Python shut down",
            None => "unfreed at the end",
        };
        writeln!(out, "\n{BOLD}{:<12}{:>36}{:>36}{BOLD:#}", "memory", "peak", ended)?;
        for domain in Domain::ALL {
            let (peak, end) = (heap.peak(domain), unfreed.level(domain));
            // A domain without events says nothing, not even zero.
            if peak.blocks > 0 {
                let level = |level| entries::level(level, domain);
                writeln!(out, "{:<12}{:>36}{:>36}", domain.name(), level(peak), level(end))?;
            }
        }
        for domain in Domain::ALL {
            let pools = unfreed.pools(domain);
            if pools.blocks > 0 {
                let cut = unfreed.level(domain).bytes;
                writeln!(
                    out,
                    "pools of {}: {} in {}, not counted above: the blocks inside are ({} unfreed)",
                    domain.name(),
                    with_error(pools.bytes, pools.error()),
                    counted(pools.blocks, "region"),
                    bytes(cut),
                )?;
            }
        }
        let peak = &self.measured.replay.peak;
        if let Some(time) = peak.time {
            let when = duration(self.trace.seconds(time));
            writeln!(
                out,
                "malloc and mmap together were largest after {when}: {}",
                bytes(peak.bytes)
            )?;
        }
        if let Some(time) = unfreed.shut_down {
            let freed = unfreed.host_bytes.saturating_sub(heap.host_bytes());
            writeln!(
                out,
                "Python began to shut down after {}: what it freed from then on, {} in the end, counts as \
                 unfreed",
                duration(self.trace.seconds(time)),
                bytes(freed),
            )?;
        }
        let file_backed = heap.file_backed();
        if file_backed.blocks > 0 {
            writeln!(
                out,
                "not counted: {} of mapped files in {}, which is page cache and not the process's own memory",
                bytes(file_backed.bytes),
                counted(file_backed.blocks, "range"),
            )?;
        }
        writeln!(out, "{}", reconciled(self.measured.replay.at_reading.as_ref()))
    }
}
