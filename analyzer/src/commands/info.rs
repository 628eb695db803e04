//! `info`: what a trace is, and how whole it is.

use std::io::{self, Write};

use tftrace_format::Domain;
use tftrace_format::counters::Counter;
use tftrace_format::header::ClockKind;
use tftrace_format::page::PAGE_BYTES;
use tftrace_format::reader::Trace;
use tftrace_format::record::MemoryReading;

use crate::Error;
use crate::cli::Metric;
use crate::heap::{HOST, Replay, measure};
use crate::report::numbers::{bytes, count, counted, duration, plain, share};
use crate::report::text::{events, reconciled, seconds};
use crate::report::{compacted, recording, sampled, wholeness};

/// Writes one line per fact: `NAME: VALUE`. The file says of itself that it has `version`.
pub fn write(trace: &Trace<'_>, version: u32, out: &mut dyn Write) -> Result<(), Error> {
    let measured = measure(trace, Metric::Unfreed, &HOST);
    let replay = &measured.replay;
    process(trace, replay, version, out)?;
    if let Some(line) = sampled::line(trace) {
        writeln!(out, "sampled: {line}")?;
    }
    if let Some(line) = compacted::line(trace) {
        writeln!(out, "compacted: {line}")?;
    }
    writeln!(out, "events: {}", events(&measured))?;
    writeln!(
        out,
        "temporaries: {} in {}",
        bytes(measured.temporaries.bytes),
        counted(measured.temporaries.blocks, "allocation")
    )?;
    writeln!(out, "stacks: {} (callers' stacks included)", count(trace.node_count() as u64))?;
    writeln!(out, "objects: {}", count(trace.objects().count() as u64))?;
    for domain in Domain::ALL {
        let level = measured.unfreed.level(domain);
        if replay.heap.peak(domain).blocks > 0 {
            write!(out, "unfreed {}: {} bytes", domain.name(), count(level.bytes))?;
            write!(out, " in {}", counted(level.blocks, "block"))?;
            match level.error() {
                0.0 => writeln!(out)?,
                error => writeln!(out, " ± {} bytes", count(error.round() as u64))?,
            }
        }
    }
    let anomalies = replay.heap.anomalies();
    writeln!(
        out,
        "unmatched frees: {} (memory from before the trace, or from elsewhere)",
        count(anomalies.unmatched_frees)
    )?;
    writeln!(
        out,
        "replaced blocks: {} (allocated where a block was live: its free is missing or came late)",
        count(anomalies.replaced)
    )?;
    for (label, times) in &replay.marks {
        let name = trace.label(*label).map_or_else(|| format!("[mark {}]", label.0), plain);
        writeln!(out, "mark: {name}: {}", counted(*times, "time"))?;
    }
    if let Some(line) = recording::line(trace) {
        writeln!(out, "{line}")?;
    }
    readings(trace, out)?;
    writeln!(out, "{}", reconciled(replay.at_reading.as_ref()))?;
    unwinding(trace, out)?;
    for line in wholeness::lines(trace) {
        writeln!(out, "{line}")?;
    }
    for note in trace.notes() {
        writeln!(out, "note: {}", plain(note))?;
    }
    Ok(())
}

fn process(
    trace: &Trace<'_>,
    replay: &Replay,
    version: u32,
    out: &mut dyn Write,
) -> io::Result<()> {
    let header = trace.header();
    let executable = String::from_utf8_lossy(header.executable);
    writeln!(out, "process: {}", plain(&trace.command_line()))?;
    writeln!(out, "executable: {}", plain(&executable))?;
    writeln!(out, "pid: {} (parent {})", header.pid, header.parent_pid)?;
    writeln!(out, "format: version {version}")?;
    let clock = match header.clock {
        ClockKind::Tsc => "the processor's time stamp counter",
        ClockKind::Monotonic => "CLOCK_MONOTONIC",
    };
    writeln!(out, "clock: {clock}, {} ticks per second", count(header.ticks_per_second))?;
    writeln!(out, "depth: at most {} a stack", counted(u64::from(header.depth), "frame"))?;
    writeln!(out, "duration: {}", duration(seconds(trace, replay)))?;
    let used = trace.used_bytes();
    let pages = count(used.div_ceil(PAGE_BYTES as u64));
    writeln!(out, "pages: {pages} in use ({})", bytes(used))
}

fn readings(trace: &Trace<'_>, out: &mut dyn Write) -> io::Result<()> {
    let readings = trace.readings();
    if readings.is_empty() {
        return writeln!(out, "memory readings: none");
    }
    writeln!(out, "memory readings: {}", count(readings.len() as u64))?;
    type Field = fn(&MemoryReading) -> u64;
    // A process always has resident pages and a thread: without them the kernel was not asked.
    let of_kernel: Field = |reading| reading.rss_anonymous.saturating_add(reading.rss_file);
    let of_malloc: Field = |reading| u64::from(reading.malloc_known);
    let sizes: [(&str, Field, Field); 5] = [
        ("rss anonymous", |reading| reading.rss_anonymous, of_kernel),
        ("rss file", |reading| reading.rss_file, of_kernel),
        ("rss shared", |reading| reading.rss_shared, of_kernel),
        ("malloc in use", |reading| reading.malloc_in_use, of_malloc),
        ("malloc free", |reading| reading.malloc_free, of_malloc),
    ];
    for (name, field, is_known) in sizes {
        let known = || readings.iter().filter(|reading| is_known(reading) > 0);
        let (Some(first), Some(last)) = (known().next(), known().next_back()) else {
            writeln!(out, "  {name}: unknown")?;
            continue;
        };
        let peak = known().map(field).max().unwrap_or(0);
        let [first, last, peak] = [field(first), field(last), peak].map(bytes);
        writeln!(out, "  {name}: first {first}, last {last}, peak {peak}")?;
    }
    let counted_threads = || readings.iter().filter(|reading| reading.threads > 0);
    let (Some(first), Some(last)) = (counted_threads().next(), counted_threads().next_back())
    else {
        return writeln!(out, "  threads: unknown");
    };
    let peak = readings.iter().map(|reading| reading.threads).max().unwrap_or(0);
    writeln!(
        out,
        "  threads: first {}, last {}, peak {peak}, of these {} of the tracer",
        first.threads, last.threads, last.own_threads
    )?;
    match readings.iter().rfind(|reading| reading.cgroup_limit > 0) {
        None => writeln!(out, "  cgroup limit: none or unknown"),
        Some(reading) => {
            let [limit, current] = [reading.cgroup_limit, reading.cgroup_current].map(bytes);
            writeln!(out, "  cgroup limit: {limit}, in use {current}")
        }
    }
}

fn unwinding(trace: &Trace<'_>, out: &mut dyn Write) -> io::Result<()> {
    let counter = |counter| trace.counters().get(counter).unwrap_or(0);
    let cut_short = counter(Counter::StacksCutShort);
    if cut_short > 0 {
        writeln!(out, "stacks cut short: {} (the unwinder could not go on)", count(cut_short))?;
    }
    let checked = counter(Counter::UnwindChecked);
    if checked == 0 {
        return Ok(());
    }
    let same = checked.saturating_sub(counter(Counter::UnwindIncrementalDiffers));
    let agree = checked.saturating_sub(counter(Counter::UnwindBacktraceDiffers));
    writeln!(
        out,
        "unwinding: {} checked; incremental and full agree in {} ({}); same as backtrace crate in {} ({})",
        counted(checked, "stack"),
        count(same),
        share(same, checked),
        count(agree),
        share(agree, checked),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use tftrace_format::builder::{Packing, TraceBuilder};
    use tftrace_format::{Event, Ticks};

    #[test]
    fn every_fact_of_a_trace_is_printed() {
        let mut builder = TraceBuilder::new();
        let label = builder.label("request");
        builder.event(0, Event::Marked { time: Ticks(5), label });
        builder.event(0, Event::Marked { time: Ticks(2_500_000_000), label });
        builder.counter(Counter::UnwindChecked, 10_000).counter(Counter::UnwindBacktraceDiffers, 3);
        builder.note("Python 3.99 is unknown\x1b");
        builder.reading(MemoryReading { time: 1, rss_anonymous: 5_000_000, ..Default::default() });
        builder.reading(MemoryReading { time: 2, rss_anonymous: 3_000_000, ..Default::default() });
        let bytes = builder.build(Packing::Chunked);
        let mut out = Vec::new();
        // No file has this version yet: what is printed is what the file says, not what we read.
        write(&Trace::open(&bytes).unwrap(), 77, &mut out).unwrap();
        let out = String::from_utf8(out).unwrap();
        for line in [
            "process: python serve.py",
            "executable: /usr/bin/python3",
            "pid: 4 (parent 3)",
            "format: version 77",
            "duration: 2.5 s",
            "events: 2 (0 allocations, 0 frees, 2 marks), and 0 temporary allocations, which are only counted",
            "mark: request: 2 times",
            "  rss anonymous: first 5.0 MB, last 3.0 MB, peak 5.0 MB",
            "  malloc in use: unknown",
            "unwinding: 10,000 stacks checked; incremental and full agree in 10,000 (100 %); \
             same as backtrace crate in 9,997 (99.97 %)",
            "nothing lost",
            "note: Python 3.99 is unknown?",
        ] {
            assert!(out.lines().any(|found| found == line), "{line} is not in\n{out}");
        }
    }
}
