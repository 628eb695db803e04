//! Nothing is missed before main and after it.

use crate::support::Host;

#[test]
fn allocations_before_main_and_after_it_are_counted() {
    let trace = Host::c("boot.c").trace();
    trace.assert_host_unharmed();
    trace.assert_counts(&[
        (10_001, 1, 1),
        (10_003, 1, 0),
        (10_005, 1, 0),
        (10_007, 1, 0),
        (10_009, 2, 1),
        (10_011, 1, 0),
    ]);
}
