//! GPU memory on standard output: each device, and the card of an allocation that failed.

use std::io::{self, Write};

use anstyle::Style;

use super::numbers::{bytes, count, counted, duration, plain};
use crate::model::{Gpu, Holder, Line, OutOfMemory};

const BOLD: Style = Style::new().bold();
/// Holders that are printed.
const HOLDERS: usize = 8;

/// Writes what the report says of a GPU.
pub(super) fn write(gpu: &Gpu, out: &mut dyn Write) -> io::Result<()> {
    if !gpu.devices.is_empty() || !gpu.host.is_empty() {
        writeln!(out, "\n{BOLD}GPU memory{BOLD:#}")?;
    }
    for device in &gpu.devices {
        let last = |values: &[u64]| bytes(values.last().copied().unwrap_or(0));
        writeln!(
            out,
            "  {}: {} taken from the driver (at most {}), {} of it in use (at most {})",
            name(device.number),
            last(&device.taken),
            bytes(device.peak_taken),
            last(&device.used),
            bytes(device.peak_used),
        )?;
    }
    for host in &gpu.host {
        writeln!(
            out,
            "  {} host memory: {} (at most {})",
            host.kind,
            bytes(host.bytes),
            bytes(host.peak)
        )?;
    }
    match &gpu.out_of_memory {
        Some(failed) => card(gpu, failed, out),
        None => Ok(()),
    }
}

fn name(device: Option<u16>) -> String {
    device.map_or_else(|| "a device".to_owned(), |number| format!("device {number}"))
}

fn card(gpu: &Gpu, failed: &OutOfMemory, out: &mut dyn Write) -> io::Result<()> {
    writeln!(
        out,
        "\n{BOLD}out of memory on {}{BOLD:#}: {} were asked for after {}, with {} in use of {} taken{}",
        name(failed.device),
        bytes(failed.asked),
        duration(failed.seconds),
        bytes(failed.used),
        bytes(failed.taken),
        match gpu.failures {
            0 | 1 => String::new(),
            more => format!("; the last of {} that failed", count(more)),
        },
    )?;
    writeln!(out, "  asked for by {}", place(failed.your_line.as_ref(), failed.op.as_deref()))?;
    writeln!(out, "  what held the device then:")?;
    for Holder { your_line, op, bytes: held, blocks } in failed.holders.iter().take(HOLDERS) {
        let place = place(your_line.as_ref(), op.as_deref());
        writeln!(out, "  {:>10} in {}  {place}", bytes(*held), counted(*blocks, "block"))?;
    }
    match failed.holders.len().checked_sub(HOLDERS).filter(|more| *more > 0) {
        Some(more) => writeln!(out, "  and {} more places: --json has them", count(more as u64)),
        None => Ok(()),
    }
}

/// A line and an op in words.
fn place(line: Option<&Line>, op: Option<&str>) -> String {
    let line = line.map(|line| match line.line {
        0 => format!("{} ({})", line.function, line.file),
        number => format!("{} ({}:{number})", line.function, line.file),
    });
    let parts: Vec<&str> = [line.as_deref(), op].into_iter().flatten().collect();
    match parts.is_empty() {
        true => "none of your lines".to_owned(),
        false => plain(&parts.join("  ")),
    }
}
