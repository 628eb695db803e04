//! Writes a long synthetic trace: what a service leaves behind that was traced for hours.
//!
//! `cargo run --release -p tftrace-analyzer --example long_trace -- FILE EVENTS [LIVE_BLOCKS [KEEPS_EVERY]]`
//!
//! Streams: its own memory follows the live blocks, so that any number of events can be written.
//! Four threads serve requests of 100 events; blocks live long enough not to be folded, a quarter of
//! them is freed by another thread, and one call stack keeps 48 bytes of every request, or of every
//! KEEPS_EVERY-th: of a billion events, 10 million blocks would be live in the end.

use std::collections::VecDeque;
use std::env;
use std::fs::File;
use std::io::{self, BufWriter, Seek, SeekFrom, Write};

use tftrace_format::builder::{Packing, TraceBuilder};
use tftrace_format::check;
use tftrace_format::chunk::{ChunkHeader, ChunkKind, framed_len};
use tftrace_format::counters::{COUNTERS_PAGE, Counter};
use tftrace_format::event_codec::write_events;
use tftrace_format::page::{EVENTS_PER_PAGE, PAGE_BYTES, PAGE_HEADER_BYTES, PageHeader, PageKind};
use tftrace_format::page_codec::{PAYLOAD_LIMIT, PageThread, WRITING_ROOM, compress};
use tftrace_format::{Domain, Event, Frame, StackId, Ticks};

const THREADS: u32 = 4;
const EVENTS_PER_REQUEST: u64 = 100;
/// Distinct call stacks.
const STACKS: u64 = 20_000;
/// Pages of one run of chunks.
const RUN_PAGES: usize = 64;
const TICKS_PER_EVENT: u64 = 700;

fn main() -> io::Result<()> {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let number = |at: usize| arguments.get(at).and_then(|text| text.parse::<u64>().ok());
    let (Some(path), Some(events)) = (arguments.first(), number(1)) else {
        return Err(io::Error::other("usage: long_trace FILE EVENTS [LIVE_BLOCKS [KEEPS_EVERY]]"));
    };
    let live_blocks = number(2).unwrap_or(200_000) as usize;
    let keeps_every = number(3).unwrap_or(1).max(1);
    let mut builder = TraceBuilder::new();
    let label = builder.label("request");
    let stacks: Vec<StackId> = (0..STACKS).map(|stack| builder.stack(&frames(stack))).collect();
    let mut out = Output::new(path, &builder.build(Packing::Chunked))?;
    let mut live: VecDeque<u64> = VecDeque::new();
    let mut random = 0x9E37_79B9_7F4A_7C15u64;
    let (mut time, mut next_address, mut free) = (1_000_000u64, 0x5500_0000_0000u64, Vec::new());
    for event in 0..events {
        time += TICKS_PER_EVENT;
        random =
            random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let dice = random >> 33;
        let request = event / EVENTS_PER_REQUEST;
        let thread = (request % u64::from(THREADS)) as u32;
        let (ticks, domain) = (Ticks(time), Domain::Malloc);
        let event = match event % EVENTS_PER_REQUEST {
            0 => Event::Marked { time: ticks, label },
            1 if request.is_multiple_of(keeps_every) => {
                next_address += 64;
                let (address, stack) = (next_address, stacks.first().copied());
                Event::Allocated {
                    time: ticks,
                    domain,
                    address,
                    size: 48,
                    stack,
                    file_backed: false,
                }
            }
            step if step.is_multiple_of(2) || live.len() < live_blocks => {
                let address = free.pop().unwrap_or_else(|| {
                    next_address += 64;
                    next_address
                });
                live.push_back(address);
                let stack = stacks.get((dice % STACKS) as usize).copied();
                let size = 16 + dice % 1000;
                Event::Allocated { time: ticks, domain, address, size, stack, file_backed: false }
            }
            _ => {
                let at = (dice as usize) % live.len();
                let address = live.swap_remove_back(at).unwrap_or_default();
                free.push(address);
                Event::Freed { time: ticks, domain, address }
            }
        };
        let is_foreign = matches!(event, Event::Freed { .. }) && dice.is_multiple_of(4);
        out.event(if is_foreign { (thread + 1) % THREADS } else { thread }, event)?;
    }
    let bytes = out.finish()?;
    println!("{path}: {events} events, {bytes} bytes");
    Ok(())
}

/// A call stack of 20 frames that shares its root with its neighbours.
fn frames(stack: u64) -> Vec<Frame> {
    let at =
        |step: u64, branch: u64| Frame::Raw { address: 0x7F00_0000_0000 + step * 65_536 + branch };
    (0..20).map(|step| at(step, stack >> (20u64.saturating_sub(step + 1)).min(15))).collect()
}

/// The file, and what was not written yet.
struct Output {
    file: BufWriter<File>,
    written: u64,
    serial: u64,
    threads: Vec<Vec<Event>>,
    chunks: Vec<u8>,
}

impl Output {
    /// Begins with what a finished trace has but for its events.
    fn new(path: &str, beginning: &[u8]) -> io::Result<Self> {
        let mut file = BufWriter::new(File::create(path)?);
        file.write_all(beginning)?;
        let threads = (0..THREADS).map(|_| Vec::new()).collect();
        Ok(Self {
            file,
            written: beginning.len() as u64,
            serial: 1 << 32,
            threads,
            chunks: Vec::new(),
        })
    }

    fn event(&mut self, thread: u32, event: Event) -> io::Result<()> {
        let events = &mut self.threads[thread as usize];
        events.push(event);
        if events.len() == EVENTS_PER_PAGE { self.page(thread) } else { Ok(()) }
    }

    /// Writes what a thread has as one chunk.
    fn page(&mut self, thread: u32) -> io::Result<()> {
        let events = std::mem::take(&mut self.threads[thread as usize]);
        let (mut plain, mut packed) = (vec![0; WRITING_ROOM], vec![0; PAYLOAD_LIMIT]);
        let number = PageThread { number: thread, tid: 1000 + thread };
        let len = write_events(number, events.into_iter(), &mut plain).expect("a page fits");
        let (codec, packed_len) = compress(&plain[..len], &mut packed).expect("a page fits");
        let payload = &packed[..packed_len];
        self.serial += 1;
        let header = ChunkHeader {
            kind: ChunkKind::Events as u8,
            codec: codec as u8,
            payload_len: packed_len as u32,
            plain_len: len as u32,
            serial: self.serial,
        };
        let taken = framed_len(packed_len).expect("a payload is small");
        if self.chunks.len() + taken > RUN_PAGES * PAGE_BYTES - PAGE_HEADER_BYTES {
            self.run()?;
        }
        let end = self.chunks.len() + taken;
        self.chunks.extend_from_slice(&header.to_wire(payload));
        self.chunks.extend_from_slice(payload);
        self.chunks.resize(end, 0);
        Ok(())
    }

    fn run(&mut self) -> io::Result<()> {
        let pages = (PAGE_HEADER_BYTES + self.chunks.len()).div_ceil(PAGE_BYTES);
        self.serial += 1;
        let (kind, opened) = (PageKind::Chunks, Ticks(1));
        let header = PageHeader { kind, serial: self.serial, number: pages as u32, tid: 0, opened }
            .to_wire();
        self.chunks.resize(pages * PAGE_BYTES - PAGE_HEADER_BYTES, 0);
        self.file.write_all(&header)?;
        self.file.write_all(&self.chunks)?;
        self.written += (pages * PAGE_BYTES) as u64;
        self.chunks.clear();
        Ok(())
    }

    /// Writes the rest. Gives the length of the file.
    fn finish(mut self) -> io::Result<u64> {
        (0..THREADS).try_for_each(|thread| self.page(thread))?;
        self.run()?;
        let at = COUNTERS_PAGE * PAGE_BYTES + Counter::PagesTaken.offset();
        self.file.seek(SeekFrom::Start(at as u64))?;
        let pages = self.written / PAGE_BYTES as u64;
        self.file.write_all(&check::seal(pages, 0).to_le_bytes())?;
        self.file.flush()?;
        Ok(self.written)
    }
}
