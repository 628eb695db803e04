//! The trace format over generated events: what goes in comes out, and damage is counted.

use proptest::prelude::*;
use tftrace_format::builder::{Packing, TraceBuilder};
use tftrace_format::page::{PAGE_BYTES, PAGE_HEADER_BYTES};
use tftrace_format::reader::Trace;
use tftrace_format::record::MemoryReading;
use tftrace_format::totals::{Temporaries, TemporaryKey};
use tftrace_format::{Domain, Event, Frame, LabelId, StackId, Ticks};

/// Times are large, as they are in a trace: a word of one byte could be damaged into an empty one.
const TIMES: std::ops::Range<u64> = 1_000_000..9_000_000_000;

fn domain() -> impl Strategy<Value = Domain> {
    (0..6u64).prop_map(|number| Domain::from_wire(number).unwrap())
}

fn event() -> impl Strategy<Value = Event> {
    let (time, address) = (|| TIMES.prop_map(Ticks), || 1..1u64 << 48);
    prop_oneof![
        (time(), domain(), address(), 0..1u64 << 40, any::<u32>(), any::<bool>()).prop_map(
            |(time, domain, address, size, stack, file_backed)| {
                let stack = StackId::new(stack);
                Event::Allocated { time, domain, address, size, stack, file_backed }
            }
        ),
        (time(), domain(), address()).prop_map(|(time, domain, address)| Event::Freed {
            time,
            domain,
            address
        }),
        (time(), domain(), address(), 0..1u64 << 40).prop_map(|(time, domain, address, size)| {
            Event::RangeFreed { time, domain, address, size }
        }),
        (time(), any::<u32>())
            .prop_map(|(time, label)| Event::Marked { time, label: LabelId(label) }),
        (time(), domain(), 0..1u64 << 40, any::<u32>(), any::<u32>()).prop_map(
            |(time, domain, size, stack, error)| {
                let stack = StackId::new(stack);
                Event::Failed { time, domain, size, stack, error }
            }
        ),
        (time(), any::<u32>()).prop_map(|(time, context)| Event::ContextEnded { time, context }),
        (time(), domain(), 0..1u64 << 29, any::<u32>(), 0..1u64 << 48).prop_map(
            |(time, domain, size, stack, count)| {
                let stack = StackId::new(stack);
                Event::Folded { time, domain, size, stack, count }
            }
        ),
    ]
}

fn composed(events: &[(u32, Event)]) -> TraceBuilder {
    let mut builder = TraceBuilder::new();
    let mapping = builder.object("/lib/libx.so", 0x7000_0000, 0x1000, &[7; 20]);
    let stack = builder
        .stack(&[Frame::Native { mapping, offset: 0x10 }, Frame::Native { mapping, offset: 0x20 }]);
    builder.label("request");
    builder.note("a note");
    builder.reading(MemoryReading { time: 1_000_000, threads: 3, ..Default::default() });
    let key = TemporaryKey { stack: Some(stack), size: 48, domain: Domain::Malloc };
    builder.temporaries(0, Temporaries { key, count: 900 });
    for &(thread, event) in events {
        builder.event(thread, event);
    }
    builder
}

/// Everything that a trace says.
fn contents(trace: &Trace<'_>) -> String {
    let events: Vec<_> = trace.events().collect();
    let nodes: Vec<_> = (1..9).map(|id| trace.node(StackId::new(id).unwrap())).collect();
    let totals: Vec<_> = trace.totals().collect();
    let objects: Vec<_> = trace.objects().collect();
    let rest = (trace.readings(), trace.notes(), trace.label(LabelId(0)), trace.counters());
    format!("{events:?} {nodes:?} {totals:?} {objects:?} {rest:?}")
}

fn packing(chunked: bool) -> Packing {
    if chunked { Packing::Chunked } else { Packing::Raw }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn events_in_are_events_out(events in prop::collection::vec((0..3u32, event()), 0..40)) {
        let builder = composed(&events);
        let mut expected: Vec<Event> = events.iter().map(|(_, event)| *event).collect();
        expected.sort_by_key(|event| (event.order(), format!("{event:?}")));
        for packing in [Packing::Raw, Packing::Chunked] {
            let bytes = builder.build(packing);
            let trace = Trace::open(&bytes).unwrap();
            prop_assert_eq!(trace.damage(), &[]);
            let mut read: Vec<Event> = trace.events().map(|(_, event)| event).collect();
            prop_assert!(read.is_sorted_by_key(Event::order));
            read.sort_by_key(|event| (event.order(), format!("{event:?}")));
            prop_assert_eq!(&read, &expected, "{:?}", packing);
            prop_assert_eq!(trace.totals().count(), 1);
            prop_assert_eq!(trace.node_count(), 2);
        }
    }

    #[test]
    fn a_change_of_what_is_read_is_counted_as_damage(
        events in prop::collection::vec((0..3u32, event()), 1..20),
        chunked: bool,
        place: prop::sample::Index,
        change in 1..=255u8,
    ) {
        let bytes = composed(&events).build(packing(chunked));
        let used: Vec<usize> = (0..bytes.len()).filter(|&at| bytes[at] != 0).collect();
        let at = used[place.index(used.len())];
        let mut damaged = bytes.clone();
        damaged[at] ^= change;
        let whole = Trace::open(&bytes).unwrap();
        if let Ok(trace) = Trace::open(&damaged) {
            let differs = contents(&trace) != contents(&whole);
            prop_assert!(!differs || !trace.damage().is_empty(), "byte {}", at);
            // One byte costs one event, or one page or chunk: never those of a second thread.
            let count = |trace: &Trace<'_>, thread| {
                trace.events().filter(|(of, _)| of.number == thread).count()
            };
            let lost: Vec<_> = (0..3).map(|thread| count(&whole, thread) - count(&trace, thread)).collect();
            prop_assert!(lost.iter().filter(|&&lost| lost > 0).count() <= 1, "byte {}", at);
            let in_header = at % PAGE_BYTES < PAGE_HEADER_BYTES;
            prop_assert!(chunked || in_header || lost.iter().sum::<usize>() <= 1, "byte {}", at);
        }
    }

    #[test]
    fn a_cut_is_counted_and_what_is_before_it_is_read(
        events in prop::collection::vec((0..3u32, event()), 1..20),
        chunked: bool,
        place: prop::sample::Index,
    ) {
        let bytes = composed(&events).build(packing(chunked));
        let cut = place.index(bytes.len());
        if let Ok(trace) = Trace::open(&bytes[..cut]) {
            prop_assert!(!trace.damage().is_empty(), "cut at {}", cut);
            prop_assert!(trace.events().count() <= events.len());
        }
    }
}

/// The process died while the drain wrote a chunk: the page that it was to replace is there.
#[test]
fn a_chunk_that_was_not_finished_beside_its_page_is_no_loss() {
    let event = Event::Freed { time: Ticks(5_000_000), domain: Domain::Malloc, address: 4096 };
    let builder = composed(&(0..300).map(|_| (0, event)).collect::<Vec<_>>());
    let (raw, chunked) = (builder.build(Packing::Raw), builder.build(Packing::Chunked));
    let whole = contents(&Trace::open(&raw).unwrap());
    let magic = |bytes: &[u8]| bytes.windows(4).position(|word| word == b"TFck").unwrap();
    // In both, the chunk of events is the first, and its serial is that of the page.
    let mut run = chunked[magic(&chunked) / PAGE_BYTES * PAGE_BYTES..].to_vec();
    let first = magic(&run);
    let second = first + 4 + magic(&run[first + 4..]);
    run[second..].fill(0);
    for unfinished in [first + 4..first + 4, second - 8..second, first + 32..second] {
        let mut with_both = raw.clone();
        let mut run = run.clone();
        run[unfinished].fill(0);
        run[first..first + 4].fill(0);
        with_both.extend_from_slice(&run);
        let trace = Trace::open(&with_both).unwrap();
        assert_eq!(trace.damage(), []);
        assert!(contents(&trace) == whole);
        // Of another page's it is damage.
        let serial = with_both.len() - run.len() + first + 16;
        with_both[serial] ^= 0x40;
        let trace = Trace::open(&with_both).unwrap();
        assert_eq!(trace.damage().len(), 1);
        assert!(contents(&trace) == whole);
    }
}

#[test]
fn a_page_that_is_free_again_is_not_in_use() {
    let event = Event::Freed { time: Ticks(1), domain: Domain::Malloc, address: 16 };
    let mut bytes = composed(&[(0, event), (1, event)]).build(Packing::Raw);
    let used = |bytes: &[u8]| Trace::open(bytes).unwrap().used_bytes();
    let all = used(&bytes);
    assert_eq!(all, bytes.len() as u64);
    // Behind the room for another page, which was never taken.
    bytes.extend([0; 32 << 10]);
    assert_eq!(used(&bytes), all);
    let is_of_events = |page: &&mut [u8]| page.starts_with(b"TFpg\x01");
    bytes.chunks_mut(32 << 10).find(is_of_events).unwrap().fill(0);
    assert_eq!(used(&bytes), all - (32 << 10));
}
