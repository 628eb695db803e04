//! `tftrace-analyze` itself over good, damaged and arbitrary files: one clear line, or a report.

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use proptest::prelude::*;
use tftrace_analyzer::cli::{Frames, Metric, ViewArgs};
use tftrace_analyzer::commands::{folded, info, sizes};
use tftrace_format::builder::{Packing, TraceBuilder};
use tftrace_format::reader::Trace;
use tftrace_format::record::MemoryReading;
use tftrace_format::totals::{Temporaries, TemporaryKey};
use tftrace_format::{Domain, Event, Frame, Ticks};

fn small_trace(packing: Packing) -> Vec<u8> {
    let mut builder = TraceBuilder::new();
    let mapping = builder.object("/nowhere/libx.so", 0x7000_0000, 0x1000, &[7; 20]);
    let stack = Some(builder.stack(&[
        Frame::Native { mapping, offset: 0x10 },
        Frame::Native { mapping, offset: 0x20 },
    ]));
    let domain = Domain::Malloc;
    for (time, address, size) in [(1_000_000, 16, 10_001), (2_000_000, 64, 20_001)] {
        let time = Ticks(time);
        let event = Event::Allocated { time, domain, address, size, stack, file_backed: false };
        builder.event(0, event);
    }
    builder.event(1, Event::Freed { time: Ticks(3_000_000), domain, address: 16 });
    let key = TemporaryKey { stack, size: 48, domain };
    builder.temporaries(1, Temporaries { key, count: 900 });
    builder.reading(MemoryReading {
        time: 2_500_000,
        malloc_in_use: 30_500,
        malloc_known: true,
        ..Default::default()
    });
    builder.build(packing)
}

/// Runs every command that only reads.
fn read_everything(bytes: &[u8]) {
    if let Ok(trace) = Trace::open(bytes) {
        let mut out = Vec::new();
        info::write(&trace, 1, &mut out).unwrap();
        sizes::write(&trace, &[], &mut out).unwrap();
        for metric in [Metric::Unfreed, Metric::Allocated, Metric::Temporary, Metric::Peak] {
            for frames in [Frames::Mixed, Frames::Native, Frames::Python] {
                let view = ViewArgs { frames, show_all: frames == Frames::Native };
                folded::write(&trace, metric, &Domain::ALL, view, &mut out).unwrap();
            }
        }
    }
}

fn analyze(arguments: &[&str], trace: &Path) -> Output {
    analyze_with(arguments, trace, &[])
}

/// The same, with these environment variables.
fn analyze_with(arguments: &[&str], trace: &Path, variables: &[(&str, &str)]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tftrace-analyze"));
    command.args(arguments).arg(trace).stdin(Stdio::null());
    // A developer's own settings say nothing about ours.
    for name in ["BROWSER", "NO_COLOR", "CLICOLOR_FORCE"] {
        command.env_remove(name);
    }
    command.envs(variables.iter().copied()).output().unwrap()
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap()
}

struct Files(tempfile::TempDir);

impl Files {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn with(&self, name: &str, bytes: &[u8]) -> PathBuf {
        let path = self.0.path().join(name);
        std::fs::write(&path, bytes).unwrap();
        path
    }
}

#[test]
fn the_sites_and_their_flame_graph_show_the_unfreed_block() {
    let files = Files::new();
    let trace = files.with("trace.bin", &small_trace(Packing::Raw));
    let output = analyze(&["sites"], &trace);
    assert!(output.status.success(), "{output:?}");
    assert_eq!(text(&output.stderr), "");
    let report = text(&output.stdout);
    for part in [
        "process:    python serve.py\n            pid 4, executable /usr/bin/python3\n",
        "3 (2 allocations, 1 free, 0 marks), and 900 temporary allocations, which are only counted",
        "unfreed bytes: 20.0 kB in 1 block, from 1 call stack\nUnfreed is what was still allocated",
        "  1. 20.0 kB unfreed in 1 block, 20.0 kB on average, 100 % of all  (malloc)\n       your code: not on this call stack\n       libx.so+0x20\n       libx.so+0x10\n",
        "live malloc blocks: 30.0 kB as requested, 30.0 kB as glibc counts them; glibc itself says 30.5 kB in use (difference -1.5 %, -468 B)",
        "nothing lost\nwarning: /nowhere/libx.so: no function names: the file is gone or cannot be read\n",
    ] {
        assert!(report.contains(part), "{part} is not in\n{report}");
    }
    let svg = std::fs::read_to_string(trace.with_extension("svg")).unwrap();
    assert!(svg.contains("unfreed bytes") && svg.contains("libx.so+0x20"), "{svg}");
    assert!(report.ends_with(&format!("flame graph: {}\n", trace.with_extension("svg").display())));
    let again = analyze(&["sites"], &files.with("trace.bin", &small_trace(Packing::Chunked)));
    assert_eq!(text(&again.stdout), report, "packing changes nothing");
    let again = std::fs::read_to_string(trace.with_extension("svg")).unwrap();
    assert_eq!(again, svg, "equal traces give equal flame graphs");
}

#[test]
fn open_shows_the_flame_graph_in_the_browser_and_keeps_its_noise_away() {
    let files = Files::new();
    let trace = files.with("trace.bin", &small_trace(Packing::Raw));
    let seen = files.0.path().join("seen");
    let noise = format!("echo noise; echo noise >&2; echo \"$@\" > '{}'", seen.display());
    let browser = format!("sh {}", files.with("browser.sh", noise.as_bytes()).display());
    let output = analyze_with(&["sites", "--open"], &trace, &[("BROWSER", &browser)]);
    assert_eq!((output.status.code(), text(&output.stderr)), (Some(0), ""));
    let svg = trace.with_extension("svg");
    assert_eq!(std::fs::read_to_string(seen).unwrap(), format!("{}\n", svg.display()));
    assert_eq!(output.stdout, analyze(&["sites"], &trace).stdout);
}

#[test]
fn open_without_a_browser_says_where_the_file_is_and_succeeds() {
    let files = Files::new();
    let trace = files.with("trace.bin", &small_trace(Packing::Raw));
    let nowhere = [("PATH", "/nowhere"), ("BROWSER", "no-such-browser")];
    let output = analyze_with(&["sites", "--open"], &trace, &nowhere);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let svg = trace.with_extension("svg");
    let start =
        format!("tftrace-analyze: {}: --open: no browser: no-such-browser: ", svg.display());
    let stderr = text(&output.stderr);
    assert!(stderr.starts_with(&start) && stderr.contains("; xdg-open: "), "{stderr}");
    assert!(stderr.ends_with(": open the file by hand\n"), "{stderr}");
    assert_eq!(stderr.lines().count(), 1, "{stderr}");
    assert!(svg.is_file());
    assert_eq!(output.stdout, analyze(&["sites"], &trace).stdout);
}

#[test]
fn escape_codes_are_only_decoration_and_go_where_they_are_not_wanted() {
    let files = Files::new();
    let trace = files.with("trace.bin", &small_trace(Packing::Raw));
    let report = |variables: &[_]| analyze_with(&["sites", "--no-svg"], &trace, variables).stdout;
    let force = ("CLICOLOR_FORCE", "1");
    let bold = String::from_utf8(report(&[force])).unwrap();
    assert!(bold.contains("\x1b[1m"), "{bold}");
    let plain = report(&[]);
    assert!(!plain.contains(&0x1b), "stdout is a pipe");
    assert_eq!(bold.replace("\x1b[1m", "").replace("\x1b[0m", ""), text(&plain));
    assert_eq!(text(&report(&[force, ("NO_COLOR", "1")])), text(&plain));
}

#[test]
fn the_report_sums_what_it_shows_and_what_it_does_not() {
    let files = Files::new();
    let mut builder = TraceBuilder::new();
    let (domain, file_backed) = (Domain::Malloc, false);
    for (address, size) in [(16, 600), (32, 300), (48, 90), (64, 10)] {
        let stack = Some(builder.stack(&[Frame::Raw { address }]));
        let time = Ticks(address);
        let event = Event::Allocated { time, domain, address, size, stack, file_backed };
        builder.event(0, event);
    }
    let trace = files.with("trace.bin", &builder.build(Packing::Raw));
    let report = |top| analyze(&["sites", "--no-svg", "--top", top], &trace).stdout;
    let two = report("2");
    let line = "\nall of the above: 900 B, 90 % of it; the other 2 call stacks: 100 B, 10 %\n";
    assert!(text(&two).contains(line), "{}", text(&two));
    assert!(text(&two).contains("\n  2. 300 B unfreed in 1 block, 300 B on average, 30 % of all"));
    assert!(!text(&two).contains("\n  3. "), "{}", text(&two));
    assert!(!text(&report("4")).contains("of the above"), "nothing is left out");
    assert!(text(&two).contains("\nmalloc "), "{}", text(&two));
    for domain in &Domain::ALL[1..] {
        let row = text(&two).lines().find(|line| line.split("  ").next() == Some(domain.name()));
        assert_eq!(row, None, "a domain without events");
    }
}

/// Who maps an arena is not who fills it: a stack below it would accuse the wrong function.
#[test]
fn arenas_of_python_are_said_apart_and_without_a_stack() {
    let files = Files::new();
    let mut builder = TraceBuilder::new();
    let python = builder.object("/nowhere/libpython3.11.so.1.0", 0x7000_0000, 0x1000, &[7; 20]);
    let (domain, size, file_backed) = (Domain::Mmap, 1 << 20, false);
    for (number, caller) in [(1, 0x10), (2, 0x20)] {
        let asked_by = Frame::Native { mapping: python, offset: 0x30 };
        let stack = Some(builder.stack(&[Frame::Raw { address: caller }, asked_by]));
        let (time, address) = (Ticks(number), number << 32);
        let event = Event::Allocated { time, domain, address, size, stack, file_backed };
        builder.event(0, event);
    }
    let trace = files.with("trace.bin", &builder.build(Packing::Raw));
    let report = analyze(&["sites", "--no-svg"], &trace).stdout;
    let report = text(&report);
    for part in [
        "\nNot in the list: Python's small objects, 2.1 MB in 2 arenas, 100 % of all. ",
        "says nothing about who fills it.\n\nnothing lost\n",
    ] {
        assert!(report.contains(part), "{part} is not in\n{report}");
    }
    assert!(!report.contains("\n  1. "), "{report}");
}

#[test]
fn what_cannot_be_read_at_all_is_one_line_and_exit_code_1() {
    let files = Files::new();
    let whole = small_trace(Packing::Raw);
    let mut newer = whole.clone();
    let known = tftrace_format::header::FORMAT_VERSION;
    newer[8] = known as u8 + 1;
    let is_newer =
        format!("byte 8: trace format version {}, this program reads up to {known}", known + 1);
    for (path, what) in [
        (files.with("empty", b""), "byte 0: the file is empty"),
        (files.with("other", b"\x7fELF, surely no trace"), "byte 0: not a tftrace trace"),
        (files.with("cut", &whole[..50]), "byte 50: the file is cut off inside its header"),
        (files.with("newer", &newer), &is_newer),
        (files.0.path().to_path_buf(), "open: not a regular file"),
        (files.0.path().join("missing"), "open: No such file or directory"),
    ] {
        for command in
            [&[][..], &["info"], &["sizes"], &["folded"], &["sites"], &["check"], &["merge"]]
        {
            let output = analyze(command, &path);
            assert_eq!(output.status.code(), Some(1), "{output:?}");
            assert_eq!(text(&output.stdout), "");
            let stderr = text(&output.stderr);
            let expected = format!("tftrace-analyze: {}: {what}", path.display());
            assert!(stderr.starts_with(&expected), "{stderr}");
            assert_eq!(stderr.lines().count(), 1, "{stderr}");
        }
    }
}

#[test]
fn a_reader_that_has_seen_enough_is_no_failure() {
    let files = Files::new();
    let trace = files.with("trace.bin", &small_trace(Packing::Raw));
    let program = env!("CARGO_BIN_EXE_tftrace-analyze");
    let mut command = Command::new(program);
    command.arg("info").arg(&trace).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    assert_eq!((output.status.code(), text(&output.stderr)), (Some(0), ""));
}

#[test]
fn damage_is_in_the_report_and_in_warnings() {
    let files = Files::new();
    let mut bytes = small_trace(Packing::Raw);
    let event_page = 3 * 32 * 1024;
    bytes[event_page + 64] ^= 1;
    let trace = files.with("trace.bin", &bytes);
    let line = "damaged: byte 98304: 1 damaged entries in a page";
    let report = analyze(&["sites", "--no-svg"], &trace);
    assert!(text(&report.stdout).contains(line), "{report:?}");
    let sizes = analyze(&["sizes"], &trace);
    assert_eq!(text(&sizes.stdout), "48 900 900\n20001 1 0\n");
    assert!(text(&sizes.stderr).contains(line), "{sizes:?}");
}

#[test]
fn a_trace_cut_anywhere_is_reported_or_refused() {
    for packing in [Packing::Raw, Packing::Chunked] {
        let bytes = small_trace(packing);
        // Long runs of zeros all read the same; cuts beside what is used do not.
        for cut in (0..bytes.len()).filter(|&cut| cut % 8191 == 0 || bytes[cut] != 0) {
            read_everything(&bytes[..cut]);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn arbitrary_changes_never_panic(
        chunked: bool,
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..200),
    ) {
        let packing = if chunked { Packing::Chunked } else { Packing::Raw };
        let mut bytes = small_trace(packing);
        let used: Vec<usize> = (0..bytes.len()).filter(|&at| bytes[at] != 0).collect();
        for (place, value) in changes {
            bytes[used[place.index(used.len())]] = value;
        }
        read_everything(&bytes);
    }

    #[test]
    fn arbitrary_bytes_after_a_whole_header_never_panic(
        noise in prop::collection::vec(any::<u8>(), 0..4096),
        page in 1..4usize,
    ) {
        let mut bytes = small_trace(Packing::Raw);
        let start = page * 32 * 1024 + 64;
        bytes[start..start + noise.len()].copy_from_slice(&noise);
        read_everything(&bytes);
        read_everything(&noise);
    }
}
