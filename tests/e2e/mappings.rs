//! Address ranges: mmap, munmap of a part, mremap.

use crate::support::Host;
use crate::support::trace::{Trace, is_frame};

fn unfreed_below(trace: &Trace, function: &str) -> u64 {
    let stacks = trace.folded();
    let below = stacks.iter().filter(|(frames, _)| frames.iter().any(|it| is_frame(it, function)));
    below.map(|(_, bytes)| bytes).sum()
}

#[test]
fn whole_and_partial_unmappings_and_moves_are_exact() {
    let trace = Host::c("mappings.c").arg("40").trace();
    trace.assert_host_unharmed();
    trace.assert_counts(&[(1_000_003, 40, 30)]);
    assert_eq!(
        unfreed_below(&trace, "keep_part"),
        40 * 32_768,
        "one quarter of each stays; {trace:?}"
    );
    // The moved range is the caller's of mremap: main's.
    assert_eq!(unfreed_below(&trace, "keep_moved"), 0, "{trace:?}");
    assert_eq!(trace.live_blocks(90_112), 40, "{trace:?}");
}
