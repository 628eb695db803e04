//! No file makes the analyzer panic: one clear line, or a report that says what is missing.

use std::path::Path;

use crate::support::Host;
use crate::support::trace::{analyze, try_analyze};

/// Writes `bytes` and has them read. `true`: there was a report; `false`: one line and a failure.
#[track_caller]
fn is_read(place: &Path, what: &str, bytes: &[u8]) -> bool {
    let file = place.join("damaged.bin");
    std::fs::write(&file, bytes).unwrap();
    let outcome = try_analyze(&["info"], &file);
    match outcome.code() {
        0 => true,
        1 => {
            let lines = outcome.stderr.lines().count();
            assert_eq!(lines, 1, "{what}: {outcome:?}");
            assert!(outcome.stderr.contains("damaged.bin"), "{what}: names no file: {outcome:?}");
            false
        }
        code => panic!("{what}: exit code {code}: {outcome:?}"),
    }
}

#[test]
fn files_that_are_no_traces_are_refused_in_one_line() {
    let place = tempfile::tempdir().unwrap();
    let mut newer = b"TFTRACE\0".to_vec();
    newer.extend(99u32.to_le_bytes());
    newer.resize(200_000, 0);
    let mut state = 1u64;
    let random: Vec<u8> = std::iter::repeat_with(|| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (state >> 56) as u8
    })
    .take(100_000)
    .collect();
    let headed = [&b"TFTRACE\0"[..], &random].concat();
    for (what, bytes) in [
        ("an empty file", &[][..]),
        ("text", b"this is no trace\n"),
        ("a newer version", &newer),
        ("random bytes", &random),
        ("random bytes behind a magic", &headed),
        ("zeros", &[0; 70_000]),
    ] {
        assert!(!is_read(place.path(), what, bytes), "{what} gave a report");
    }
    let absent = try_analyze(&["info"], &place.path().join("absent.bin"));
    assert_eq!((absent.code(), absent.stderr.lines().count()), (1, 1), "{absent:?}");
    let directory = try_analyze(&["info"], place.path());
    assert_eq!((directory.code(), directory.stderr.lines().count()), (1, 1), "{directory:?}");
}

/// Bytes at the beginning of a trace, where every cut is tried.
const HEADER_BYTES: usize = 128;
/// Cuts of the rest. Odd, so that every alignment comes up; processes are too slow for every byte,
/// which the property tests of the reader try.
const CUTS: usize = 311;

#[test]
fn a_trace_cut_anywhere_is_reported_or_refused() {
    let trace = Host::c("chain.c").arg("50").trace();
    trace.assert_host_unharmed();
    let whole = std::fs::read(trace.path()).unwrap();
    assert!(is_read(&trace.directory, "the whole trace", &whole));
    let used = whole.iter().rposition(|byte| *byte != 0).unwrap();
    let step = (used / CUTS) | 1;
    for cut in (0..HEADER_BYTES).chain((HEADER_BYTES..used).step_by(step)) {
        is_read(&trace.directory, &format!("cut at {cut}"), &whole[..cut]);
    }
}

#[test]
fn a_trace_with_changed_bytes_is_reported_or_refused() {
    let trace = Host::c("chain.c").arg("50").trace();
    let whole = std::fs::read(trace.path()).unwrap();
    let used = whole.iter().rposition(|byte| *byte != 0).unwrap();
    let step = (used / CUTS) | 1;
    for at in (0..used).step_by(step) {
        let mut changed = whole.clone();
        changed[at] ^= 0x55;
        is_read(&trace.directory, &format!("byte {at} changed"), &changed);
    }
}

#[test]
fn a_whole_trace_says_that_nothing_is_lost() {
    let trace = Host::c("chain.c").arg("50").trace();
    let info = analyze(&["info"], &trace.path());
    assert!(info.contains("nothing lost"), "{info}");
}
