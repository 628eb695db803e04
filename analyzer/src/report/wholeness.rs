//! Says what of a trace is missing: lost by the tracer, or damaged in the file.

use std::io::{self, Write};

use tftrace_format::counters::Counter;
use tftrace_format::reader::Trace;

use super::numbers::{count, counted};

/// Damaged places that are listed one by one.
const LISTED: usize = 5;

/// One line per reason, without an end of line; `nothing lost` if there is none.
pub fn lines(trace: &Trace<'_>) -> Vec<String> {
    let mut lines = Vec::new();
    for counter in Counter::ALL {
        let number = trace.counters().get(counter).unwrap_or(0);
        if number == 0 {
            continue;
        }
        let noun = if counter == Counter::LostRecords { "record" } else { "event" };
        if let Some(reason) = counter.loss() {
            lines.push(format!("lost: {}: {reason}", counted(number, noun)));
        } else if counter == Counter::StackTableFull {
            let events = counted(number, "event");
            lines.push(format!("lost: the call stacks of {events}: the stack table was full"));
        }
    }
    let damage = trace.damage();
    if !damage.is_empty() {
        let places = counted(damage.len() as u64, "damaged place");
        lines.push(format!("lost: what stood in {places} of the file; all else was read"));
        lines.extend(damage.iter().take(LISTED).map(|damage| format!("damaged: {damage}")));
        if let Some(more) = damage.len().checked_sub(LISTED).filter(|more| *more > 0) {
            lines.push(format!("damaged: and {} more", count(more as u64)));
        }
    }
    if lines.is_empty() {
        lines.push("nothing lost".to_owned());
    }
    lines
}

/// Whether something is missing.
pub fn is_whole(trace: &Trace<'_>) -> bool {
    trace.damage().is_empty()
        && trace.losses().is_empty()
        && trace.counters().get(Counter::StackTableFull) == Some(0)
}

/// Warns on stderr, for commands whose output is read by programs.
pub fn warn(path: &std::path::Path, trace: &Trace<'_>) {
    if !is_whole(trace) {
        let mut stderr = io::stderr().lock();
        for line in lines(trace) {
            // A closed stderr is no reason to hold back the output.
            let _ = writeln!(stderr, "tftrace-analyze: {}: {line}", path.display());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tftrace_format::builder::{Packing, TraceBuilder};

    #[test]
    fn every_loss_and_every_damage_is_said_in_words() {
        let mut builder = TraceBuilder::new();
        let mut bytes = builder.build(Packing::Raw);
        assert_eq!(lines(&Trace::open(&bytes).unwrap()), ["nothing lost"]);
        builder.counter(Counter::LostFileFull, 1200).counter(Counter::LostRecords, 1);
        builder.note("here");
        bytes = builder.build(Packing::Raw);
        bytes.truncate(bytes.len() - 32 * 1024);
        let lines = lines(&Trace::open(&bytes).unwrap());
        assert_eq!(
            lines,
            [
                "lost: 1,200 events: the trace file could not grow (disk full or a limit)",
                "lost: 1 record: no room for a record of a mapping, sample or name",
                "lost: what stood in 1 damaged place of the file; all else was read",
                "damaged: byte 65536: the file is cut off, 32768 bytes are missing",
            ]
        );
    }
}
