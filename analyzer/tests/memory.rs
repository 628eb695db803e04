//! The memory of a report follows what is live and how many call stacks there are, not the events.

use std::path::Path;
use std::process::{Command, Stdio};

use tftrace_format::builder::{Packing, TraceBuilder};
use tftrace_format::{Domain, Event, Frame, StackId, Ticks};

const LIVE_BLOCKS: u64 = 2_000;
const STACKS: u64 = 20;
const MIB: f64 = 1048576.0;

/// A program that does the same all the time: each block is freed when so many others came after it, or
/// none is.
fn program(events: u64, frees: bool) -> Vec<u8> {
    let mut builder = TraceBuilder::new();
    let frame = |address| Frame::Raw { address };
    let stacks: Vec<StackId> =
        (0..STACKS).map(|leaf| builder.stack(&[frame(1), frame(1000 + leaf)])).collect();
    let (domain, file_backed) = (Domain::Malloc, false);
    let places = if frees { 2 * LIVE_BLOCKS } else { events };
    let address = |block: u64| (1 << 40) + block % places * 64;
    for at in 0..events {
        let (time, block) = (Ticks(1_000_000 + at * 700), at / 2);
        let event = match (at % 2, block.checked_sub(LIVE_BLOCKS)) {
            (1, Some(old)) if frees => Event::Freed { time, domain, address: address(old) },
            (1, _) => continue,
            _ => {
                let stack = stacks.get((block % STACKS) as usize).copied();
                let (address, size) = (address(block), 16 + block % 1000);
                Event::Allocated { time, domain, address, size, stack, file_backed }
            }
        };
        builder.event(0, event);
    }
    builder.build(Packing::Chunked)
}

/// The most memory of its own that a report on the trace was seen to have (`RssAnon`: what is mapped of
/// files is not counted), in bytes. Looked at all the time, so that what it keeps is not missed.
fn seen_of_report(trace: &Path) -> u64 {
    let mut program = Command::new(env!("CARGO_BIN_EXE_tftrace-analyze"))
        .arg(trace)
        .args(["--json", "--no-page"])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let status = format!("/proc/{}/status", program.id());
    let mut most = 0;
    loop {
        let text = std::fs::read_to_string(&status).unwrap_or_default();
        let line = text.lines().find_map(|line| line.strip_prefix("RssAnon:"));
        let own = line.and_then(|line| line.trim().strip_suffix(" kB")?.parse::<u64>().ok());
        most = most.max(own.unwrap_or(0) * 1024);
        if let Some(status) = program.try_wait().unwrap() {
            assert!(status.success(), "{trace:?}: {status}");
            return most;
        }
        std::thread::yield_now();
    }
}

#[test]
fn ten_times_the_events_take_no_more_memory() {
    let folder = tempfile::tempdir().unwrap();
    let seen = [(100_000, true), (1_000_000, true), (1_000_000, false)].map(|(events, frees)| {
        let path = folder.path().join(format!("{events}-{frees}.bin"));
        std::fs::write(&path, program(events, frees)).unwrap();
        seen_of_report(&path)
    });
    let [short, long, keeps] = seen.map(|bytes| bytes as f64 / MIB);
    // Seven bytes for each of the other events would be too much.
    assert!(long < short + 6.0, "{short} MiB for the short trace, {long} for the long one");
    assert!(keeps > long + 6.0, "what is live does take memory: {keeps} MiB, {long} without it");
    // Half a million blocks: 44 bytes for each would be too much, the growth of what holds them included.
    assert!(keeps < long + 21.0, "{keeps} MiB with what is live, {long} without it");
}
