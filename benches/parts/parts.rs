//! Micro-benchmarks of the parts that can be linked: `cargo bench -p tftrace-parts`.
//!
//! Of the tracer these are what it shares with the analyzer: it is no Rust library, because its
//! `malloc` would take over in whatever it is linked into. `benches/pair_cost.c` measures it whole.

#![expect(missing_docs, reason = "criterion's macro makes a function without")]

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use tftrace_analyzer::heap::{Change, replay};
use tftrace_analyzer::stack::frames_of;
use tftrace_analyzer::symbol::resolve;
use tftrace_analyzer::time_line::TimeLine;
use tftrace_format::builder::{Packing, TraceBuilder};
use tftrace_format::event::RawEvent;
use tftrace_format::event_codec::{EventsReader, write_events};
use tftrace_format::page::EVENTS_PER_PAGE;
use tftrace_format::page_codec::{PAYLOAD_LIMIT, PageThread, WRITING_ROOM};
use tftrace_format::page_codec::{compress, decompress_into};
use tftrace_format::reader::Trace;
use tftrace_format::{Domain, Event, Frame, StackId, Ticks};

const EVENTS: u64 = 500_000;
const THREADS: u64 = 4;
const STACKS: u64 = 2_000;
const LIVE_BLOCKS: u64 = 50_000;

/// Blocks of many stacks that live until so many others came after them; with their threads.
fn events(stacks: &[StackId]) -> impl Iterator<Item = (u32, Event)> + '_ {
    let (domain, file_backed) = (Domain::Malloc, false);
    (0..EVENTS).map(move |at| {
        let (time, block) = (Ticks(1_000_000 + at * 700), at / 2);
        // A thread does some things before another one does.
        let thread = (at / 50 % THREADS) as u32;
        if at % 2 == 0 {
            let dice = block.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 33;
            let stack = stacks.get((dice % stacks.len() as u64) as usize).copied();
            let (address, size) = ((1 << 40) + block * 64, 16 + dice % 1000);
            (thread, Event::Allocated { time, domain, address, size, stack, file_backed })
        } else {
            let address = (1 << 40) + block.saturating_sub(LIVE_BLOCKS) * 64;
            (thread, Event::Freed { time, domain, address })
        }
    })
}

fn builder() -> (TraceBuilder, Vec<StackId>) {
    let mut builder = TraceBuilder::new();
    let frame = |step: u64, stack: u64| {
        let address = (step << 20) | (stack >> (8 - step));
        Frame::Raw { address }
    };
    let stacks = (0..STACKS).map(|stack| {
        let frames: Vec<Frame> = (0..8).map(|step| frame(step + 1, stack)).collect();
        builder.stack(&frames)
    });
    let stacks = stacks.collect();
    (builder, stacks)
}

/// What stands in a page and in a chunk.
fn format(criterion: &mut Criterion) {
    let (_, stacks) = builder();
    let page: Vec<Event> = events(&stacks).take(EVENTS_PER_PAGE).map(|(_, event)| event).collect();
    let mut group = criterion.benchmark_group("format");
    group.throughput(Throughput::Elements(page.len() as u64));
    group.bench_function("pack an event for a page", |bench| {
        bench.iter(|| page.iter().filter_map(|event| RawEvent::pack(black_box(event))).count());
    });
    let thread = PageThread { number: 1, tid: 1 };
    let (mut plain, mut packed) = (vec![0; WRITING_ROOM], vec![0; PAYLOAD_LIMIT]);
    let mut made = (0, 0);
    group.bench_function("encode and compress a page", |bench| {
        bench.iter(|| {
            let len = write_events(thread, page.iter().copied(), &mut plain).expect("it fits");
            let (_, packed_len) = compress(&plain[..len], &mut packed).expect("it fits");
            made = (len, packed_len);
        });
    });
    let header = tftrace_format::chunk::ChunkHeader {
        kind: tftrace_format::chunk::ChunkKind::Events as u8,
        codec: tftrace_format::chunk::Codec::Lz4 as u8,
        payload_len: made.1 as u32,
        plain_len: made.0 as u32,
        serial: 1,
    };
    group.bench_function("decompress and decode a page", |bench| {
        bench.iter(|| {
            let plain = decompress_into(&header, &packed[..made.1], &mut plain).expect("ours");
            let (_, events) = EventsReader::new(plain).expect("ours");
            assert_eq!(events.map(black_box).count(), page.len());
        });
    });
    group.finish();
}

/// A whole trace, step by step.
fn trace(criterion: &mut Criterion) {
    let (mut builder, stacks) = builder();
    events(&stacks).for_each(|(thread, event)| {
        builder.event(thread, event);
    });
    let bytes = builder.build(Packing::Chunked);
    let trace = Trace::open(&bytes).expect("ours");
    let mut group = criterion.benchmark_group("trace");
    group.sample_size(10).throughput(Throughput::Elements(EVENTS));
    group.bench_function("open: check and decode all", |bench| {
        bench.iter(|| Trace::open(black_box(&bytes)).expect("ours"));
    });
    group.bench_function("merge on one core", |bench| bench.iter(|| trace.events().count()));
    group.bench_function("merge, decoded ahead", |bench| {
        bench.iter(|| trace.read_events(|events| events.count()));
    });
    group.bench_function("replay", |bench| {
        bench.iter(|| replay(&trace, None, |_: &Event, _: Change| ()).counts);
    });
    group.bench_function("replay with the time line", |bench| {
        bench.iter(|| TimeLine::of(&trace).events);
    });
    group.finish();
}

/// Functions, files and lines of this program, which has debug information.
fn symbols(criterion: &mut Criterion) {
    const FRAMES: u64 = 1_000;
    let mut builder = TraceBuilder::new();
    let path = std::env::current_exe().expect("it runs");
    let length = std::fs::metadata(&path).expect("it is there").len();
    let mapping = builder.object(path.to_str().expect("UTF-8"), 1 << 40, 1 << 30, &[]);
    let offset = |at: u64| length / 2 / FRAMES * at;
    let stacks: Vec<StackId> = (0..FRAMES)
        .map(|at| builder.stack(&[Frame::Native { mapping, offset: offset(at) }]))
        .collect();
    let bytes = builder.build(Packing::Chunked);
    let trace = Trace::open(&bytes).expect("ours");
    let frames = frames_of(&trace, stacks.into_iter().map(Some));
    let mut group = criterion.benchmark_group("symbols");
    group.sample_size(10).throughput(Throughput::Elements(FRAMES));
    group.bench_function("name a thousand frames of one file", |bench| {
        bench.iter(|| resolve(&trace, &frames));
    });
    group.finish();
}

criterion_group!(benches, format, trace, symbols);
criterion_main!(benches);
