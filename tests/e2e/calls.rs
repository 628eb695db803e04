//! Every function of the malloc family is counted exactly, whatever it returns.

use std::collections::HashMap;

use tftrace_format::reader::Trace;
use tftrace_format::{Event, Ticks};

use crate::support::Host;

#[test]
fn every_function_of_the_family_is_counted() {
    let trace = Host::c("malloc_family.c").arg("100").trace();
    trace.assert_host_unharmed();
    let once = [
        10_001, 10_003, 10_005, 10_107, 10_009, 10_368, 10_013, 10_015, 10_017, 10_019, 10_021,
        10_432,
    ];
    trace.assert_counts(&once.map(|size| (size, 100, 50)));
}

#[test]
fn realloc_is_a_free_and_an_allocation() {
    let trace = Host::c("realloc_moves.c").arg("500").trace();
    trace.assert_host_unharmed();
    trace.assert_counts(&[(20_001, 500, 500), (20_003, 500, 500), (20_005, 500, 450)]);
}

/// `realloc(p, 0)` frees on glibc; a tracer that trusts the null result calls it a leak.
#[test]
fn realloc_to_zero_frees_the_block() {
    let trace = Host::c("realloc_zero.c").arg("500").trace();
    trace.assert_host_unharmed();
    trace.assert_counts(&[(10_001, 500, 500)]);
}

#[test]
fn a_failed_call_leaves_the_block_alive_and_errno_as_it_was() {
    let trace = Host::c("failed_calls.c").arg("400").trace();
    trace.assert_host_unharmed();
    trace.assert_counts(&[(30_001, 400, 300), (30_003, 0, 0), (30_005, 400, 400)]);
}

/// More kinds of temporaries than a page of counts holds are counted in several that stay open: a page
/// that is filled in each round would make the trace longer with each round.
#[test]
fn temporaries_of_many_kinds_are_counted_without_end_in_a_short_trace() {
    let trace = Host::c("many_kinds.c").arg("8000").arg("300").trace();
    trace.assert_host_unharmed();
    let kinds: Vec<_> = (10_001..18_001).map(|size| (size, 300, 300)).collect();
    trace.assert_counts(&kinds);
    let pages = std::fs::metadata(trace.path()).unwrap().len() / (32 << 10);
    // 64 of them are room for late events; five in each round were 1,500.
    assert!(pages < 150, "{pages} pages");
}

/// What is only counted has no time, but for some: requests are counted by them.
#[test]
fn when_some_temporaries_were_is_known_of_all_kinds_where_there_are_few() {
    let known = |kinds: &str, rounds: &str| {
        let trace = Host::c("many_kinds.c").arg(kinds).arg(rounds).trace();
        trace.assert_host_unharmed();
        let bytes = std::fs::read(trace.path()).unwrap();
        let mut known: HashMap<u64, Vec<(Ticks, u64)>> = HashMap::new();
        for (_, event) in Trace::open(&bytes).unwrap().events() {
            if let Event::Folded { time, size, count, .. } = event
                && size > 10_000
            {
                known.entry(size).or_default().push((time, count));
            }
        }
        known
    };
    let few = known("20", "1000");
    assert_eq!(few.len(), 20);
    for times in few.values() {
        assert!(times.is_sorted() && times.len() < 60, "{times:?}");
        let counts = times.iter().map(|(_, count)| count);
        assert!((875..=1125).contains(&counts.sum::<u64>()), "{times:?}");
    }
    let many = known("8000", "300");
    assert!((100..4000).contains(&many.len()), "{} of 8,000", many.len());
}

#[test]
fn marks_and_flushes_are_accepted_while_tracing() {
    let trace = Host::c("marks.c").trace();
    trace.assert_host_ends_with(0);
    assert_eq!(trace.plain.stderr, "not traced\n");
    assert_eq!(trace.traced.stderr, "marked\n");
    trace.assert_counts(&[(10_001, 10, 0)]);
}

#[test]
fn a_flush_in_a_signal_handler_waits_for_no_lock_of_the_interrupted_code() {
    let trace = Host::c("flushes.c").trace();
    trace.assert_host_unharmed();
    trace.assert_counts(&[(10_001, 1, 0)]);
}
