//! Composes a small trace in memory: the writer of tests and synthetic benchmarks.
//!
//! Uses only the encoders of this crate, so what it writes is what the tracer writes. It never
//! touches a file, and it never drops an event silently: what does not fit is a counted loss.

use std::collections::HashMap;
use std::num::NonZeroU64;

use crate::chunk::{ChunkHeader, ChunkKind, Codec, framed_len};
use crate::counters::{COUNTERS_PAGE, Counter};
use crate::event::{EVENT_BYTES, Event, RawEvent};
use crate::event_codec::write_events;
use crate::header::{ClockKind, HEADER_LIMIT, Header};
use crate::ids::{LabelId, MappingId, StackId, Ticks};
use crate::node::{Frame, NODE_BYTES, Node};
use crate::node_codec::write_nodes;
use crate::page::{
    EVENTS_PER_PAGE, NODES_PER_PAGE, PAGE_BYTES, PAGE_HEADER_BYTES, PageHeader, PageKind,
    TOTALS_PER_PAGE,
};
use crate::page_codec::{PAYLOAD_LIMIT, PageThread, WRITING_ROOM, compress};
use crate::record::{Mapping, MemoryReading, RECORD_LIMIT, Record};
use crate::totals::{TOTALS_BYTES, Temporaries};
use crate::totals_codec::write_totals;

/// How events and temporaries are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Packing {
    /// As a thread leaves them: pages of the file.
    Raw,
    /// As the drain leaves them: compressed chunks.
    Chunked,
}

/// Collects what a trace says; [`TraceBuilder::build`] writes it.
#[derive(Clone, Debug)]
pub struct TraceBuilder {
    header: Header<'static>,
    nodes: Vec<Node>,
    node_ids: HashMap<(Option<StackId>, Frame), StackId>,
    /// One record each, as bytes.
    records: Vec<Vec<u8>>,
    mappings: u32,
    labels: u32,
    events: Vec<(PageThread, Vec<(Event, RawEvent)>)>,
    temporaries: Vec<(PageThread, Vec<Temporaries>)>,
    counters: HashMap<Counter, u64>,
}

impl Default for TraceBuilder {
    fn default() -> Self {
        Self::new()
    }
}

impl TraceBuilder {
    /// A trace of process 4 that says nothing yet; its clock ticks a thousand million times a second.
    pub fn new() -> Self {
        let header = Header {
            pid: 4,
            parent_pid: 3,
            process_start: 2,
            ticks_per_second: 1_000_000_000,
            clock_origin: 1,
            wall_clock_ns: 1,
            clock: ClockKind::Monotonic,
            depth: 1024,
            command_line: b"python\0serve.py\0",
            executable: b"/usr/bin/python3",
            sample_period: None,
            bound: None,
        };
        Self {
            header,
            nodes: Vec::new(),
            node_ids: HashMap::new(),
            records: Vec::new(),
            mappings: 0,
            labels: 0,
            events: Vec::new(),
            temporaries: Vec::new(),
            counters: HashMap::new(),
        }
    }

    /// Replaces the header.
    pub fn header(&mut self, header: Header<'static>) -> &mut Self {
        self.header = header;
        self
    }

    /// Says that the events are a sample, one per so many bytes; 0: they are all that happened.
    pub fn sample_period(&mut self, bytes: u64) -> &mut Self {
        self.header.sample_period = NonZeroU64::new(bytes);
        self
    }

    /// The stack of these frames, from root to leaf. Equal stacks have one id.
    ///
    /// # Panics
    /// Without frames, which no stack of a trace is.
    pub fn stack(&mut self, frames: &[Frame]) -> StackId {
        let mut parent = None;
        for &frame in frames {
            parent = Some(self.node(parent, frame));
        }
        parent.expect("a stack has at least one frame")
    }

    fn node(&mut self, parent: Option<StackId>, frame: Frame) -> StackId {
        let Self { nodes, node_ids, .. } = self;
        *node_ids.entry((parent, frame)).or_insert_with(|| {
            nodes.push(Node { parent, frame });
            let number = u32::try_from(nodes.len()).expect("fewer than 2^32 stacks");
            StackId::new(number).expect("counted from 1")
        })
    }

    /// Adds an object file that is mapped at `start`, its file addresses beginning at 0.
    pub fn object(&mut self, path: &str, start: u64, len: u64, build_id: &[u8]) -> MappingId {
        let id = MappingId(self.mappings);
        self.mappings += 1;
        let path = path.as_bytes();
        let seen = Ticks(1);
        self.record(&Record::Mapped(Mapping { id, start, len, bias: start, seen, build_id, path }));
        id
    }

    /// Adds a record.
    ///
    /// # Panics
    /// If it is larger than [`RECORD_LIMIT`].
    pub fn record(&mut self, record: &Record<'_>) -> &mut Self {
        let mut room = vec![0; RECORD_LIMIT];
        let len = record.to_wire(&mut room).expect("the record is within RECORD_LIMIT");
        room.truncate(len);
        self.records.push(room);
        self
    }

    /// Adds a reading of the process's memory.
    pub fn reading(&mut self, reading: MemoryReading) -> &mut Self {
        self.record(&Record::Memory(reading, None))
    }

    /// Names a mark.
    pub fn label(&mut self, text: &str) -> LabelId {
        let id = LabelId(self.labels);
        self.labels += 1;
        self.record(&Record::Label { id, text: text.as_bytes() });
        id
    }

    /// Adds a note of the tracer.
    pub fn note(&mut self, text: &str) -> &mut Self {
        self.record(&Record::Note { text: text.as_bytes() })
    }

    /// Adds that the Python interpreter began to shut down, or was started again.
    pub fn shut_down(&mut self, time: Ticks, begins: bool) -> &mut Self {
        self.record(&Record::ShutDown { time, begins })
    }

    /// Adds that recording was switched on or off.
    pub fn recording(&mut self, time: Ticks, on: bool) -> &mut Self {
        self.record(&Record::Recording { time, on })
    }

    /// Sets a counter. [`Counter::PagesTaken`] is counted by [`TraceBuilder::build`].
    pub fn counter(&mut self, counter: Counter, value: u64) -> &mut Self {
        self.counters.insert(counter, value);
        self
    }

    /// Adds an event of the thread with this number. An address that does not fit is a counted loss.
    pub fn event(&mut self, thread: u32, event: Event) -> &mut Self {
        match RawEvent::pack(&event) {
            Some(raw) => {
                // Sizes above a tebibyte are rounded by a page, and so they are by the drain.
                let event = raw.unpack().expect("what was packed can be unpacked");
                of_thread(&mut self.events, thread).push((event, raw));
            }
            None => *self.counters.entry(Counter::LostBadAddress).or_default() += 1,
        }
        self
    }

    /// Adds temporaries of the thread with this number. A size that does not fit is ignored.
    pub fn temporaries(&mut self, thread: u32, entry: Temporaries) -> &mut Self {
        if entry.key.to_wire().is_some() {
            of_thread(&mut self.temporaries, thread).push(entry);
        }
        self
    }

    /// The bytes of the trace.
    ///
    /// # Panics
    /// If the trace has more pages or stacks than the format can number.
    pub fn build(&self, packing: Packing) -> Vec<u8> {
        let mut out = Output::new(&self.header);
        for (page, nodes) in self.nodes.chunks(NODES_PER_PAGE).enumerate() {
            let first = u32::try_from(1 + page * NODES_PER_PAGE).expect("fewer than 2^32 stacks");
            out.nodes(packing, first, nodes);
        }
        for (thread, events) in &self.events {
            for events in events.chunks(EVENTS_PER_PAGE) {
                out.events(packing, *thread, events);
            }
        }
        for (thread, entries) in &self.temporaries {
            for entries in entries.chunks(TOTALS_PER_PAGE) {
                out.totals(packing, *thread, entries);
            }
        }
        for record in &self.records {
            out.chunk(ChunkKind::Record, Codec::Plain, record, record.len(), 0);
        }
        out.finish(&self.counters)
    }
}

fn of_thread<T>(threads: &mut Vec<(PageThread, Vec<T>)>, number: u32) -> &mut Vec<T> {
    let at = threads.iter().position(|(thread, _)| thread.number == number).unwrap_or_else(|| {
        threads.push((PageThread { number, tid: 1000 + number }, Vec::new()));
        threads.len() - 1
    });
    &mut threads[at].1
}

/// The pages so far, and the chunks that will follow them as one run.
struct Output {
    bytes: Vec<u8>,
    chunks: Vec<u8>,
    serial: u64,
}

impl Output {
    fn new(header: &Header<'_>) -> Self {
        let mut bytes = vec![0; HEADER_LIMIT];
        header.to_wire(&mut bytes).expect("a header is within HEADER_LIMIT");
        bytes.resize((COUNTERS_PAGE + 1) * PAGE_BYTES, 0);
        Self { bytes, chunks: Vec::new(), serial: 0 }
    }

    fn next_serial(&mut self) -> u64 {
        self.serial += 1;
        self.serial
    }

    fn page(
        &mut self,
        kind: PageKind,
        thread: PageThread,
        opened: Ticks,
        entries: impl Iterator<Item = u8>,
        entry_bytes: usize,
    ) {
        let start = self.bytes.len();
        let serial = self.next_serial();
        let header = PageHeader { kind, serial, number: thread.number, tid: thread.tid, opened };
        self.bytes.extend_from_slice(&header.to_wire());
        self.bytes.extend(entries);
        let entries = self.bytes.len() - start - PAGE_HEADER_BYTES;
        assert!(entries.is_multiple_of(entry_bytes) && entries <= PAGE_BYTES - PAGE_HEADER_BYTES);
        self.bytes.resize(start + PAGE_BYTES, 0);
    }

    fn nodes(&mut self, packing: Packing, first: u32, nodes: &[Node]) {
        let words = nodes.iter().flat_map(|node| node.to_wire().expect("few stacks"));
        let bytes = words.flat_map(u32::to_le_bytes);
        // One that is not full has no chunk in a trace of the tracer's.
        if packing == Packing::Raw || nodes.len() < NODES_PER_PAGE {
            let thread = PageThread { number: first, tid: 0 };
            return self.page(PageKind::Nodes, thread, Ticks(1), bytes, NODE_BYTES);
        }
        let mut room = vec![0; WRITING_ROOM];
        let body: Vec<u8> = bytes.collect();
        let len = write_nodes(first, &body, &mut room).expect("a page fits");
        self.packed(ChunkKind::Nodes, &room[..len]);
    }

    fn events(&mut self, packing: Packing, thread: PageThread, events: &[(Event, RawEvent)]) {
        if packing == Packing::Raw {
            let opened = events.iter().map(|(event, _)| event.time()).min().unwrap_or(Ticks(1));
            let words = events.iter().flat_map(|(_, raw)| raw.0);
            let bytes = words.flat_map(u64::to_le_bytes);
            return self.page(PageKind::Events, thread, opened, bytes, EVENT_BYTES);
        }
        let mut sorted: Vec<Event> = events.iter().map(|(event, _)| *event).collect();
        sorted.sort_by_key(Event::order);
        let mut room = vec![0; WRITING_ROOM];
        let len = write_events(thread, sorted.into_iter(), &mut room).expect("a page fits");
        self.packed(ChunkKind::Events, &room[..len]);
    }

    fn totals(&mut self, packing: Packing, thread: PageThread, entries: &[Temporaries]) {
        if packing == Packing::Raw {
            let words = entries.iter().flat_map(|entry| {
                let key = entry.key.to_wire().expect("checked when it was added");
                [key, Temporaries::count_to_wire(key, entry.count)]
            });
            let bytes = words.flat_map(u64::to_le_bytes);
            return self.page(PageKind::Totals, thread, Ticks(1), bytes, TOTALS_BYTES);
        }
        let mut room = vec![0; WRITING_ROOM];
        let len = write_totals(thread, entries.iter().copied(), &mut room).expect("a page fits");
        self.packed(ChunkKind::Totals, &room[..len]);
    }

    fn packed(&mut self, kind: ChunkKind, plain: &[u8]) {
        let mut room = vec![0; PAYLOAD_LIMIT];
        let (codec, len) = compress(plain, &mut room).expect("PAYLOAD_LIMIT is enough");
        let serial = self.next_serial();
        self.chunk(kind, codec, &room[..len], plain.len(), serial);
    }

    fn chunk(&mut self, kind: ChunkKind, codec: Codec, payload: &[u8], plain: usize, serial: u64) {
        let header = ChunkHeader {
            kind: kind as u8,
            codec: codec as u8,
            payload_len: payload.len() as u32,
            plain_len: plain as u32,
            serial,
        };
        let taken = framed_len(payload.len()).expect("a payload is small");
        let end = self.chunks.len() + taken;
        self.chunks.extend_from_slice(&header.to_wire(payload));
        self.chunks.extend_from_slice(payload);
        self.chunks.resize(end, 0);
    }

    fn finish(mut self, counters: &HashMap<Counter, u64>) -> Vec<u8> {
        if !self.chunks.is_empty() {
            let pages = (PAGE_HEADER_BYTES + self.chunks.len()).div_ceil(PAGE_BYTES);
            let number = u32::try_from(pages).expect("fewer than 2^32 pages");
            let serial = self.next_serial();
            let header =
                PageHeader { kind: PageKind::Chunks, serial, number, tid: 0, opened: Ticks(1) };
            let start = self.bytes.len();
            self.bytes.extend_from_slice(&header.to_wire());
            self.bytes.extend_from_slice(&self.chunks);
            self.bytes.resize(start + pages * PAGE_BYTES, 0);
        }
        let pages = (self.bytes.len() / PAGE_BYTES) as u64;
        let counted = counters.iter().map(|(&counter, &value)| (counter, value));
        for (counter, value) in counted.chain([(Counter::PagesTaken, pages)]) {
            let at = COUNTERS_PAGE * PAGE_BYTES + counter.offset();
            self.bytes[at..at + 8].copy_from_slice(&crate::check::seal(value, 0).to_le_bytes());
        }
        self.bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Domain;
    use crate::reader::Trace;

    #[test]
    fn nodes_of_earlier_versions_are_read() {
        let mut bytes = TraceBuilder::new().build(Packing::Raw);
        let (kind, opened) = (PageKind::WideNodes, Ticks(1));
        let header = PageHeader { kind, serial: 9, number: 1, tid: 0, opened };
        bytes.extend_from_slice(&header.to_wire());
        let frames = [Frame::Raw { address: 1 }, Frame::Raw { address: 2 }].map(Frame::to_wire);
        for (parent, frame) in [(0, frames[0]), (1, frames[1]), (2, 0)] {
            let sealed = if frame == 0 { 0 } else { crate::check::seal(parent, frame) };
            [sealed, frame].iter().for_each(|word| bytes.extend_from_slice(&word.to_le_bytes()));
        }
        bytes.resize(bytes.len().next_multiple_of(PAGE_BYTES), 0);
        let trace = Trace::open(&bytes).unwrap();
        assert_eq!(trace.damage(), []);
        let stack: Vec<Frame> = trace.frames(StackId::new(2).unwrap()).collect();
        assert_eq!(stack, [Frame::Raw { address: 2 }, Frame::Raw { address: 1 }]);
        assert_eq!(trace.node(StackId::new(3).unwrap()), None);
    }

    #[test]
    fn events_and_totals_of_earlier_versions_are_read() {
        let builder = TraceBuilder::new();
        let mut out = Output::new(&builder.header);
        // Thread 1, 4242: at tick 1000 and 300 ticks later, a block of 10,001 bytes at 1000.
        let events = [1, 0x92, 0x21, 1, 0xE8, 7, 0x80, 0x40, 0x91, 0x4E, 0, 2, 0xAC, 2, 0];
        out.packed(ChunkKind::EventRows, &events);
        // 1000 times 64 bytes.
        out.packed(ChunkKind::TotalRows, &[1, 0x92, 0x21, 0, 0, 0x40, 0xE8, 7]);
        let bytes = out.finish(&HashMap::new());
        let trace = Trace::open(&bytes).unwrap();
        assert_eq!(trace.damage(), []);
        let (domain, address, size) = (Domain::Malloc, 0x1000, 10_001);
        let time = Ticks(1000);
        let allocated =
            Event::Allocated { time, domain, address, size, stack: None, file_backed: false };
        let freed = Event::Freed { time: Ticks(1300), domain, address };
        let events: Vec<Event> = trace.events().map(|(_, event)| event).collect();
        assert_eq!(events, [allocated, freed]);
        let key = crate::totals::TemporaryKey { stack: None, size: 64, domain };
        let totals: Vec<_> = trace.totals().flat_map(|page| page.entries).collect();
        assert_eq!(totals, [Temporaries { key, count: 1000 }]);
    }

    #[test]
    fn an_address_that_does_not_fit_is_a_counted_loss() {
        let mut builder = TraceBuilder::new();
        builder.event(0, Event::Freed { time: Ticks(1), domain: Domain::Malloc, address: 1 << 48 });
        let bytes = builder.build(Packing::Raw);
        assert_eq!(Trace::open(&bytes).unwrap().losses(), [(1, "an address above 2^48")]);
    }
}
