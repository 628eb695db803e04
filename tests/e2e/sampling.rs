//! `TFTRACE_SAMPLE`: estimates are right within their error, frees of sampled blocks exact.

use crate::support::Host;
use crate::support::build::{compile, repository};
use crate::support::trace::{Trace, analyze, folded_of, sizes};

/// The sizes of `sampled.c`, and those that `realloc` makes of them.
const SIZES: [u64; 12] =
    [17, 34, 101, 202, 1003, 2006, 10_007, 20_014, 70_001, 140_002, 300_007, 600_014];

fn run(rounds: u32, end: &str, period: &str) -> Trace {
    let trace = Host::program(compile("sampled.c", &[]))
        .arg(rounds.to_string())
        .arg(end)
        .env("TFTRACE_SAMPLE", period)
        .trace();
    trace.assert_host_unharmed();
    trace
}

/// What `info` says is unfreed in a domain: bytes, blocks, and the standard error of the bytes.
#[track_caller]
fn unfreed(trace: &Trace, domain: &str) -> [f64; 3] {
    let info = analyze(&["info"], &trace.path());
    let line = info.lines().find_map(|line| line.strip_prefix(&format!("unfreed {domain}: ")));
    let line = line.unwrap_or_else(|| panic!("{domain} is not in\n{info}"));
    let line = line.replace(',', "");
    let mut numbers = line.split_whitespace().filter_map(|word| word.parse().ok());
    std::array::from_fn(|_| numbers.next().unwrap_or_else(|| panic!("{line}")))
}

#[track_caller]
fn assert_events_fit(trace: &Trace) {
    let info = analyze(&["info"], &trace.path());
    for fact in ["unmatched frees: 0 ", "replaced blocks: 0 ", "nothing lost"] {
        assert!(info.contains(fact), "{fact} is not in\n{info}");
    }
}

/// The period lies among the sizes. Runs differ by their seeds, which come from the clock.
#[test]
fn the_live_heap_is_estimated_within_its_error() {
    let (mut deviations, mut of_blocks) = (Vec::new(), Vec::new());
    for _ in 0..8 {
        let trace = run(20, "keep", "20kB");
        assert_events_fit(&trace);
        let words: Vec<f64> =
            trace.traced.stdout.split_whitespace().filter_map(|word| word.parse().ok()).collect();
        let [bytes, blocks, error] = unfreed(&trace, "malloc");
        // What libc itself keeps is less than a sample.
        let deviation = (bytes - words[0]) / error;
        assert!(deviation.abs() < 4.0, "{bytes} ± {error}, but {} are live", words[0]);
        assert!((0.001..0.05).contains(&(error / words[0])), "{error} of {bytes}");
        deviations.push(deviation);
        of_blocks.push((blocks - words[1]) / words[1]);
    }
    // Nearly all blocks have 17 or 101 bytes: a sample is some 1,000 of them, a run is off by 17 %, as a
    // standard deviation.
    let mean = of_blocks.iter().sum::<f64>() / of_blocks.len() as f64;
    assert!(mean.abs() < 0.3, "{of_blocks:?}");
    // Were they all alike, the seeds would be; were they wide, the error would be too small.
    let mean_square = deviations.iter().map(|d| d * d).sum::<f64>() / deviations.len() as f64;
    assert!((0.05..4.0).contains(&mean_square), "{deviations:?}");
    assert!(deviations.iter().any(|deviation| *deviation != deviations[0]), "{deviations:?}");
}

#[test]
fn every_sampled_block_is_freed_once_whoever_frees_it() {
    let trace = run(20, "free", "2KiB");
    assert_events_fit(&trace);
    let counts = sizes(&trace.path());
    for size in SIZES {
        let counts = counts.get(&size).copied().unwrap_or_default();
        assert_eq!(counts.allocations, counts.frees, "size {size}; {trace:?}");
    }
    // Far above the period all blocks are samples: the counts are those of the program.
    let large = counts[&600_014];
    assert_eq!(large.allocations, 4 * 20 / 4, "{large:?}");
    let small = counts[&17].allocations as f64;
    let expected = 4.0 * 20.0 * 800.0 * (1.0 - (-17.0f64 / 2048.0).exp());
    assert!((small - expected).abs() < 5.0 * expected.sqrt(), "{small} of {expected}");
}

/// The next sample is far away in the parent, and so it would be in the child.
#[test]
fn a_forked_child_of_a_sampled_host_has_a_trace_from_its_first_allocation() {
    let trace = Host::c("forks.c").env("TFTRACE_SAMPLE", "1TiB").trace();
    trace.assert_host_unharmed();
    assert_eq!(trace.files().len(), 2, "{:?}", trace.files());
}

#[test]
fn a_sampled_trace_says_so_everywhere() {
    let trace = run(2, "keep", "64KiB");
    let words = "estimated from 1 sample per 64 KiB; ± is one standard error";
    for arguments in [&["info"][..], &["sites", "--no-svg"], &[]] {
        let report = analyze(arguments, &trace.path());
        assert!(report.contains(words), "{arguments:?}: {report}");
        assert!(report.contains(" ± "), "{arguments:?}: {report}");
    }
    let json = analyze(&["--json"], &trace.path());
    assert!(json.contains("\"sample_period\": 65536"), "{json}");
}

#[test]
fn a_period_that_is_none_is_said_and_everything_is_recorded() {
    for period in ["0", "512K", "-1", "often"] {
        let trace = Host::c("chain.c").arg("50").env("TFTRACE_SAMPLE", period).trace();
        trace.assert_host_ends_with(0);
        let expected = "tftrace: TFTRACE_SAMPLE must be a size such as 512KiB, 1B to 1TiB; every \
                        allocation is recorded\n";
        assert_eq!(trace.traced.stderr, expected, "{period}");
        assert!(!analyze(&["info"], &trace.path()).contains("sampled:"), "{period}");
    }
}

/// Large objects of Python's come from `malloc`, and are one block of the sample, not two.
#[test]
fn python_objects_are_estimated_within_their_error() {
    let Some(python) = std::env::var_os("TFTRACE_TEST_PYTHON") else {
        println!("skipped: TFTRACE_TEST_PYTHON names no interpreter");
        return;
    };
    let program = repository().join("tests/programs/python_objects.py");
    let trace = Host::program(python).arg(program).env("TFTRACE_SAMPLE", "4KiB").trace();
    trace.assert_host_ends_with(0);
    let words: Vec<&str> = trace.traced.stdout.split_whitespace().collect();
    let [line, small, large] = words[..] else { panic!("{trace:?}") };
    let frame = format!("keep (python_objects.py:{line})");
    let stacks = folded_of(&trace.path(), &["--domain", "python", "--frames", "python"]);
    let kept = stacks.iter().filter(|(frames, _)| frames.contains(&frame));
    let kept: f64 = kept.map(|(_, bytes)| *bytes as f64).sum();
    let [small, large] = [small, large].map(|bytes| bytes.parse::<f64>().unwrap());
    // n blocks of s bytes, each in the sample with the chance p.
    let variance = |bytes: f64, size: f64| {
        let sampled = -(-size / 4096.0).exp_m1();
        bytes * size * (1.0 - sampled) / sampled
    };
    let error = (variance(small, 134.0) + variance(large, 5034.0)).sqrt();
    let off = (kept - small - large).abs();
    assert!(off < 4.0 * error, "{kept}, but {small} and {large} are kept; one error is {error}");
}
