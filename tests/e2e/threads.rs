//! Counts are exact with many threads, whoever frees.

use crate::support::Host;

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
