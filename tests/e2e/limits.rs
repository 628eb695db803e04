//! Limits that the host meets: it runs on with the same results, and the trace says what is missing.

use crate::support::Host;
use crate::support::build::{compile, tools};
use crate::support::host::{Outcome, clean_environment, finish};
use crate::support::trace::{Trace, analyze, number_after};

/// A program started by a shell, which sets a limit before.
fn limited(limit: &str, program: &str, arguments: &[&str]) -> Host {
    let program = compile(program, &[]);
    let script = format!("{limit} && exec \"$0\" \"$@\"");
    let host = Host::program("/bin/sh").arg("-c").arg(script).arg(program.to_str().unwrap());
    arguments.iter().fold(host, Host::arg)
}

fn root() -> bool {
    let is_root = std::fs::metadata("/proc/self").is_ok_and(|about| {
        use std::os::unix::fs::MetadataExt;
        about.uid() == 0
    });
    if !is_root {
        println!("skipped: needs root");
    }
    is_root
}

#[track_caller]
fn blocks(outcome: &Outcome) -> i64 {
    outcome.stderr.trim().parse().unwrap_or_else(|_| panic!("{outcome:?}"))
}

#[test]
fn an_address_space_limit_that_the_host_sets_is_met_where_it_was() {
    let trace = Host::c("address_space.c").arg("more").arg("256").trace();
    trace.assert_host_ends_with(0);
    let (plain, traced) = (blocks(&trace.plain), blocks(&trace.traced));
    assert!((plain - traced).abs() <= 1, "{plain} MiB without the tracer, {traced} with it");
}

/// What the tracer maps counts too, so it must be little.
#[test]
fn of_an_address_space_the_tracer_takes_less_than_100_mib() {
    let trace = Host::c("address_space.c").arg("of").arg("1024").trace();
    trace.assert_host_ends_with(0);
    let (plain, traced) = (blocks(&trace.plain), blocks(&trace.traced));
    assert!(plain - traced < 100, "{plain} MiB without the tracer, {traced} with it");
}

/// Nothing rewrites what it writes, and the kernel alone would keep it in memory.
#[test]
fn of_a_host_with_one_thread_s_trace_little_is_resident() {
    let trace = Host::c("resident.c").trace();
    trace.assert_host_ends_with(0);
    trace.assert_counts(&[(101, 1_000_000, 900_000)]);
    assert!(std::fs::metadata(trace.path()).unwrap().len() > 40 << 20);
    let resident = |outcome: &Outcome| number_after(&outcome.stderr, "resident: ").unwrap();
    assert!(resident(&trace.traced) < 8 << 10, "{trace:?}");
}

#[test]
fn a_file_size_limit_ends_the_trace_and_not_the_host() {
    let trace = limited("ulimit -f 1200", "threads_leak.c", &["50000"]).trace();
    trace.assert_host_unharmed();
    says_what_is_lost(&trace);
}

#[test]
fn a_full_disk_ends_the_trace_and_not_the_host() {
    let program = compile("threads_leak.c", &[]);
    let place = tempfile::tempdir().unwrap();
    // The disk is gone with the shell: what is on it is copied.
    let script = "mkdir small && mount -t tmpfs -o size=256k none small && cd small \
                  && LD_PRELOAD=$1 $0 20000; code=$?; cp trace.bin ..; exit $code";
    let mut command = std::process::Command::new("unshare");
    command.args(["-rm", "sh", "-c", script]).arg(&program).arg(&tools().library);
    clean_environment(&mut command);
    let outcome = finish(command.current_dir(place.path()));
    if outcome.stderr.contains("unshare:") || outcome.stderr.contains("mount:") {
        println!("skipped: no file system can be mounted here: {}", outcome.stderr);
        return;
    }
    assert!(outcome.code() == 0 && outcome.stdout.starts_with("open files"), "{outcome:?}");
    assert_eq!(outcome.stderr, "");
    let info = analyze(&["info"], &place.path().join("trace.bin"));
    assert!(info.contains("lost: "), "{info}");
}

#[track_caller]
fn says_what_is_lost(trace: &Trace) {
    let info = analyze(&["info"], &trace.path());
    assert!(info.contains("lost: "), "{info}");
    let kept = trace.counts(10_001).allocations;
    assert!(0 < kept && kept < 200_000, "{kept}");
}

#[test]
fn a_limit_of_descriptors_is_no_limit_for_the_trace() {
    let trace = limited("ulimit -n 4", "threads_leak.c", &["5000"]).trace();
    trace.assert_host_unharmed();
    trace.assert_counts(&[(10_001, 20_000, 0), (10_003, 20_000, 20_000)]);
}

#[test]
fn without_standard_streams_and_a_home_the_trace_is_whole() {
    let trace = limited("exec 0<&- 2>&- && unset HOME", "threads_leak.c", &["5000"]).trace();
    trace.assert_host_ends_with(0);
    trace.assert_counts(&[(10_001, 20_000, 0), (10_003, 20_000, 20_000)]);
}

#[test]
fn a_program_that_goes_into_a_jail_and_gives_up_its_rights_is_traced_to_its_end() {
    if !root() {
        return;
    }
    let trace = Host::c("privileges.c").trace();
    trace.assert_host_unharmed();
    trace.assert_counts(&[(10_001, 10_000, 0), (10_003, 10_000, 10_000)]);
}

/// What a filter would kill the host for, the tracer does not do; more than once, because its threads
/// have to be gone in time.
#[test]
fn a_program_that_forbids_itself_system_calls_is_traced_to_its_end() {
    for action in ["errno", "kill", "kill", "kill", "kill"] {
        for whom in ["one", "all"] {
            let trace = Host::c("sandboxed.c").arg(action).arg(whom).trace();
            trace.assert_host_unharmed();
            trace.assert_counts(&[(1_001, 20_000, 0), (1_003, 20_000, 20_000)]);
        }
    }
}

#[test]
fn descriptors_are_the_hosts() {
    let trace = Host::c("descriptors.c").trace();
    trace.assert_host_unharmed();
    trace.assert_counts(&[(101, 80_000, 0), (103, 80_000, 80_000)]);
}
