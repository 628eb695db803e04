//! Signals, jumps, ends of threads and code without tables: the host is unharmed, and counts are exact.

use crate::support::Host;
use crate::support::build::compile;
use crate::support::trace::counts;

#[test]
fn a_timer_whose_handler_maps_memory_while_main_allocates() {
    let trace = Host::c("signal_storm.c").trace();
    trace.assert_host_unharmed();
    trace.assert_counts(&[(12_288, 3_000, 3_000), (10_001, 100, 0)]);
}

#[test]
fn sixty_stack_overflows_are_recovered_from() {
    let trace = Host::c("overflows.c").trace();
    trace.assert_host_unharmed();
    trace.assert_counts(&[(10_001, 600, 0)]);
}

/// The hooks are no cancellation points, as the functions behind them are none.
#[test]
fn no_thread_is_cancelled_inside_an_allocation() {
    let trace = Host::c("cancelled.c").arg("300").trace();
    trace.assert_host_unharmed();
    trace.assert_counts(&[(10_001, 300, 0)]);
}

#[test]
fn code_without_tables_and_with_data_in_the_frame_pointer() {
    let trace = Host::c("strange_frames.c").arg("220").trace();
    trace.assert_host_unharmed();
    trace.assert_counts(&[(10_001, 220, 0), (10_003, 220, 0), (10_005, 220, 0), (10_007, 220, 0)]);
}

#[test]
fn thirty_thousand_calls_deep() {
    let trace = Host::c("deep.c").arg("30000").trace();
    trace.assert_host_unharmed();
    trace.assert_counts(&[(10_001, 1, 0)]);
}

/// In the last round of the destructors of thread-specific values the thread is hardly one any more.
#[test]
fn ten_thousand_threads_that_allocate_while_they_end_leave_nothing_behind() {
    let trace = Host::c("thread_ends.c").arg("10000").trace();
    trace.assert_host_unharmed();
    trace.assert_counts(&[(10_001, 40_000, 40_000), (10_003, 10_000, 10_000)]);
    assert_eq!(trace.files(), ["trace.bin"]);
}

#[test]
fn forks_while_threads_allocate_and_forks_of_forks() {
    let trace = Host::c("fork_storm.c").arg("25").trace();
    trace.assert_host_unharmed();
    trace.assert_counts(&[(10_001, 50, 0)]);
    let files = trace.files();
    assert_eq!(files.len(), 1 + 2 * 25, "each process has its own trace: {files:?}");
    for name in files.iter().filter(|name| *name != "trace.bin") {
        assert_eq!(counts(&trace.directory.join(name), 10_003).allocations, 50, "{name}");
    }
}

#[test]
fn children_that_run_no_fork_handlers() {
    let trace = Host::c("starts.c").arg("10").trace();
    trace.assert_host_unharmed();
    trace.assert_counts(&[(10_001, 50, 0), (10_003, 0, 0), (10_005, 50, 50)]);
    let files = trace.files();
    // `_Fork` and `clone`; what is executed is left alone, and a child of `vfork` is its parent.
    assert_eq!(files.len(), 1 + 2 * 10, "{files:?}");
    for name in files.iter().filter(|name| *name != "trace.bin") {
        assert_eq!(counts(&trace.directory.join(name), 10_003).allocations, 10, "{name}");
    }
}

#[test]
fn errno_floating_point_flags_and_results_are_the_real_functions() {
    let trace = Host::c("side_effects.c").trace();
    trace.assert_host_unharmed();
    trace.assert_counts(&[(10_001, 2_000, 2_000), (10_003, 2_000, 2_000), (10_005, 2_000, 2_000)]);
}

#[test]
fn another_interposer_whose_calloc_asks_dlsym_stands_before_or_behind() {
    let library = compile("interposer.c", &["-shared", "-fPIC"]);
    for before in [false, true] {
        let host = Host::c("side_effects.c");
        let host = if before { host.preload_before(&library) } else { host.preload(&library) };
        let trace = host.trace();
        trace.assert_host_unharmed();
        trace.assert_counts(&[(10_001, 2_000, 2_000), (10_005, 2_000, 2_000)]);
    }
}
