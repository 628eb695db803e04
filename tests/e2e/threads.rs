//! Counts are exact with many threads, whoever frees.

use crate::support::Host;
use crate::support::build::compile;

#[test]
fn eight_threads_that_free_their_own_blocks() {
    let trace = Host::c("threads_own.c").arg("8").arg("20000").trace();
    trace.assert_host_unharmed();
    trace.assert_counts(&[(10_001, 160_000, 160_000 - 80)]);
}

/// An address that another thread reuses at once must be seen freed first.
#[test]
fn blocks_freed_by_another_thread_while_their_addresses_are_reused() {
    let trace = Host::c("threads_pingpong.c").arg("30000").trace();
    trace.assert_host_unharmed();
    trace.assert_counts(&[(20_001, 60_000, 60_000), (20_003, 60_000, 60_000)]);
}

#[test]
fn two_thousand_short_threads() {
    let trace = Host::c("threads_short.c").arg("2000").trace();
    trace.assert_host_unharmed();
    trace.assert_counts(&[(10_001, 2_000, 2_000), (10_003, 2_000, 1_999)]);
}

/// A hook may come while its thread holds the loader's locks, and another waits for them.
#[test]
fn allocations_under_the_loaders_lock_while_another_thread_loads_a_library() {
    let library = compile("plug.c", &["-shared", "-fPIC", "-DENTRY=entry_of_a"]);
    let trace = Host::c("loader_lock.c").arg(&library).trace();
    trace.assert_host_unharmed();
    trace.assert_counts(&[(10_003, 60, 60)]);
}
