//! Holds `docs/trace-format.md` to its word: the bytes in it are what the encoders write.
//!
//! A block that begins with "```hex NAME" is an example: bytes, then a semicolon and their meaning.
//! Never repairs the document: a failure prints the bytes that the example claims to be.

use core::num::NonZeroU64;

use crate::check;
use crate::chunk::{ChunkHeader, ChunkKind, Codec, Slot, framed_len, look};
use crate::counters::{Counter, Counters};
use crate::cuda_memory::{CudaKind, CudaMemory};
use crate::event::{Domain, Event, RawEvent};
use crate::event_codec::{EventsReader, write_events};
use crate::header::{ClockKind, Header};
use crate::ids::{CodeId, LabelId, MappingId, StackId, Ticks};
use crate::layout::{Area, AreaKind, AreaWriter, MemoryLayout};
use crate::node::{Frame, Node};
use crate::node_codec::{NodesReader, write_nodes};
use crate::page::{PAGE_BYTES, PageHeader, PageKind, u32_at, u64_at};
use crate::page_codec::PageThread;
use crate::record::{Mapping, MemoryReading, Record};
use crate::rows::{EventRows, total_rows};
use crate::totals::{Temporaries, TemporaryKey};
use crate::totals_codec::{TotalsReader, write_totals};
use crate::varint::{Reader, Writer};

const DOCUMENT: &str = include_str!("../docs/trace-format.md");
const EXAMPLE: &str = "```hex ";

/// The bytes of the example of this name.
fn example(name: &str) -> Vec<u8> {
    let mut lines = DOCUMENT.lines().skip_while(|line| line.strip_prefix(EXAMPLE) != Some(name));
    assert!(lines.next().is_some(), "no example is named {name}");
    let bytes = lines.take_while(|line| *line != "```").map(|line| line.split(';').next());
    let bytes = bytes.flat_map(|bytes| bytes.unwrap_or_default().split_whitespace());
    bytes.map(|byte| u8::from_str_radix(byte, 16).expect("two hexadecimal digits")).collect()
}

/// Fails unless the example is exactly `written`. Gives its bytes, to be decoded.
fn written_as(name: &str, written: &[u8]) -> Vec<u8> {
    let documented = example(name);
    assert!(
        documented == written,
        "docs/trace-format.md, example {name}: the encoder writes\n{}",
        written.chunks(8).map(|row| format!("{row:02x?}\n")).collect::<String>()
    );
    documented
}

fn bytes_of(words: &[u64]) -> Vec<u8> {
    words.iter().flat_map(|word| word.to_le_bytes()).collect()
}

fn bytes_of_node(node: Node) -> Vec<u8> {
    node.to_wire().unwrap().into_iter().flat_map(u32::to_le_bytes).collect()
}

fn node_of(bytes: &[u8]) -> Option<Node> {
    Node::from_wire([0, 4, 8].map(|place| u32_at(bytes, place)))
}

fn words_of<const COUNT: usize>(bytes: &[u8]) -> [u64; COUNT] {
    core::array::from_fn(|index| u64_at(bytes, index * 8))
}

fn allocation() -> Event {
    Event::Allocated {
        time: Ticks(1000),
        domain: Domain::Malloc,
        address: 0x7F00_1234_5670,
        size: 10_001,
        stack: StackId::new(5),
        file_backed: false,
    }
}

fn free() -> Event {
    Event::Freed { time: Ticks(1300), domain: Domain::Malloc, address: 0x7F00_1234_5670 }
}

const THREAD: PageThread = PageThread { number: 1, tid: 4242 };

#[test]
fn every_example_is_checked() {
    let named: Vec<_> = DOCUMENT.lines().filter_map(|line| line.strip_prefix(EXAMPLE)).collect();
    let checked = [
        "header",
        "sampled",
        "counter",
        "page",
        "event",
        "unmapping",
        "counted",
        "totals",
        "node",
        "cuda",
        "failure",
        "varints",
        "chunk",
        "events",
        "temporaries",
        "nodes",
        "mapping",
        "layout",
        "event-rows",
        "total-rows",
    ];
    assert_eq!(named, checked);
}

#[test]
fn the_header_is_as_documented() {
    let header = Header {
        pid: 4242,
        parent_pid: 4200,
        process_start: 1_234_567,
        ticks_per_second: 2_445_000_000,
        clock_origin: 0x1122_3344_5566,
        wall_clock_ns: 1_700_000_000_000_000_000,
        clock: ClockKind::Tsc,
        depth: 1024,
        command_line: b"python\0serve.py\0",
        executable: b"/usr/bin/python3",
        sample_period: None,
        bound: None,
    };
    let mut room = [0; 256];
    let len = header.to_wire(&mut room).unwrap();
    let documented = written_as("header", &room[..len]);
    assert_eq!(Header::from_wire(&documented), Ok(header));
}

/// Version 2: the header of a sample ends with the period.
#[test]
fn the_header_of_a_sample_is_as_documented() {
    let header = Header {
        pid: 4242,
        parent_pid: 4200,
        process_start: 1_234_567,
        ticks_per_second: 1_000_000_000,
        clock_origin: 0,
        wall_clock_ns: 0,
        clock: ClockKind::Monotonic,
        depth: 1024,
        command_line: b"serve\0",
        executable: b"/srv/serve",
        sample_period: NonZeroU64::new(512 << 10),
        bound: None,
    };
    let mut room = [0; 256];
    let len = header.to_wire(&mut room).unwrap();
    let documented = written_as("sampled", &room[..len]);
    assert_eq!(Header::from_wire(&documented), Ok(header));
}

#[test]
fn a_counter_is_as_documented() {
    let documented = written_as("counter", &check::seal(300, 0).to_le_bytes());
    let mut page = vec![0; PAGE_BYTES];
    page[Counter::PagesTaken.offset()..][..8].copy_from_slice(&documented);
    assert_eq!(Counters::from_wire(&page).get(Counter::PagesTaken), Some(300));
}

#[test]
fn a_page_header_is_as_documented() {
    let header = PageHeader {
        kind: PageKind::Events,
        serial: 7,
        number: THREAD.number,
        tid: THREAD.tid,
        opened: Ticks(1000),
    };
    let documented = written_as("page", &header.to_wire());
    assert_eq!(PageHeader::from_wire(&documented), Ok(header));
}

#[test]
fn event_slots_are_as_documented() {
    let unmapping = Event::RangeFreed {
        time: Ticks(2000),
        domain: Domain::Mmap,
        address: 0x7F00_2000_0000,
        size: 5 << 40,
    };
    for (name, event) in [("event", allocation()), ("unmapping", unmapping)] {
        let written = RawEvent::pack(&event).unwrap();
        let documented = written_as(name, &bytes_of(&written.0));
        assert_eq!(RawEvent(words_of(&documented)).unpack(), Some(event));
    }
}

#[test]
fn temporaries_are_as_documented() {
    let key = TemporaryKey { stack: StackId::new(5), size: 64, domain: Domain::Malloc };
    let entry = Temporaries { key, count: 1000 };
    let word = key.to_wire().unwrap();
    let documented =
        written_as("totals", &bytes_of(&[word, Temporaries::count_to_wire(word, entry.count)]));
    assert_eq!(Temporaries::from_wire(words_of(&documented)), Some(entry));

    let mut room = [0; 128];
    let len = write_totals(THREAD, [entry].into_iter(), &mut room).unwrap();
    let documented = written_as("temporaries", &room[..len]);
    let (thread, mut decoded) = TotalsReader::new(&documented).unwrap();
    assert_eq!((thread, decoded.next(), decoded.is_finished()), (THREAD, Some(entry), true));
}

#[test]
fn chunks_of_versions_up_to_5_are_as_documented() {
    let (event_rows, totals) = (example("event-rows"), example("total-rows"));
    let (thread, mut rows) = EventRows::new(&event_rows).unwrap();
    assert_eq!((thread, rows.by_ref().collect::<Vec<_>>()), (THREAD, vec![allocation(), free()]));
    assert!(rows.is_finished());
    let key = TemporaryKey { stack: StackId::new(5), size: 64, domain: Domain::Malloc };
    let entry = Temporaries { key, count: 1000 };
    assert_eq!(total_rows(&totals), Some((THREAD, vec![entry])));
}

#[test]
fn a_chunk_of_nodes_is_as_documented() {
    let native = Frame::Native { mapping: MappingId(3), offset: 0x28ABC };
    let python = Frame::Python { code: CodeId(7), instruction: 2 };
    let nodes = [(5, native), (6, python)]
        .map(|(id, frame)| (id, Node { parent: StackId::new(id - 1), frame }));
    let body: Vec<u8> = nodes.iter().flat_map(|(_, node)| bytes_of_node(*node)).collect();
    let mut room = [0; 64];
    let len = write_nodes(5, &body, &mut room).unwrap();
    let documented = written_as("nodes", &room[..len]);
    let reader = NodesReader::new(&documented).unwrap();
    assert!(reader.eq(nodes));
}

#[test]
fn a_node_is_as_documented() {
    let frame = Frame::Native { mapping: MappingId(3), offset: 0x28ABC };
    let node = Node { parent: StackId::new(4), frame };
    let documented = written_as("node", &bytes_of_node(node));
    assert_eq!(node_of(&documented), Some(node));
}

#[test]
fn cuda_memory_is_as_documented() {
    let memory = CudaMemory { kind: CudaKind::Device, device: Some(0), context: 2 };
    let node = Node { parent: StackId::new(7), frame: Frame::Cuda(memory) };
    let documented = written_as("cuda", &bytes_of_node(node));
    assert_eq!(node_of(&documented), Some(node));
}

#[test]
fn a_failed_allocation_is_as_documented() {
    let failed = Event::Failed {
        time: Ticks(3000),
        domain: Domain::Cuda,
        size: 4 << 30,
        stack: StackId::new(8),
        error: 2,
    };
    let documented = written_as("failure", &bytes_of(&RawEvent::pack(&failed).unwrap().0));
    assert_eq!(RawEvent(words_of(&documented)).unpack(), Some(failed));
}

#[test]
fn temporaries_with_a_time_are_as_documented() {
    let folded = Event::Folded {
        time: Ticks(2000),
        domain: Domain::Python,
        size: 64,
        stack: StackId::new(5),
        count: 8,
    };
    let documented = written_as("counted", &bytes_of(&RawEvent::pack(&folded).unwrap().0));
    assert_eq!(RawEvent(words_of(&documented)).unpack(), Some(folded));
    let mut room = [0; 128];
    let len = write_events(THREAD, [folded].into_iter(), &mut room).unwrap();
    let (_, mut read) = EventsReader::new(&room[..len]).unwrap();
    assert_eq!((read.next(), read.is_finished()), (Some(folded), true));
}

#[test]
fn varints_are_as_documented() {
    let mut room = [0; 32];
    let mut writer = Writer::new(&mut room);
    writer.number(127);
    writer.number(300);
    writer.difference(1000, 999);
    writer.difference(1000, 1064);
    writer.bytes(b"hi");
    let len = writer.finish().unwrap();
    let documented = written_as("varints", &room[..len]);
    let mut reader = Reader::new(&documented);
    assert_eq!((reader.number(), reader.number()), (Some(127), Some(300)));
    assert_eq!((reader.difference(1000), reader.difference(1000)), (Some(999), Some(1064)));
    assert_eq!(reader.bytes(), Some(b"hi".as_slice()));
}

#[test]
fn a_chunk_is_as_documented() {
    let record = Record::Label { id: LabelId(0), text: b"request" };
    let mut room = [0; 64];
    let payload_len = record.to_wire(&mut room).unwrap();
    let payload = &room[..payload_len];
    let header = ChunkHeader {
        kind: ChunkKind::Record as u8,
        codec: Codec::Plain as u8,
        payload_len: payload_len as u32,
        plain_len: payload_len as u32,
        serial: 0,
    };
    let mut written = header.to_wire(payload).to_vec();
    written.extend_from_slice(payload);
    written.resize(framed_len(payload_len).unwrap(), 0);
    let documented = written_as("chunk", &written);
    assert_eq!(look(&documented), Slot::Chunk(header, payload, documented.len()));
}

#[test]
fn a_mapping_is_as_documented() {
    let record = Record::Mapped(Mapping {
        id: MappingId(3),
        start: 0x7F00_0000_0000,
        len: 2 << 20,
        bias: 0x7F00_0000_0000,
        seen: Ticks(1000),
        build_id: &[0xAB, 0xCD],
        path: b"/lib/libc.so.6",
    });
    let mut room = [0; 64];
    let len = record.to_wire(&mut room).unwrap();
    let documented = written_as("mapping", &room[..len]);
    assert_eq!(Record::from_wire(&documented), Some(record));
}

#[test]
fn a_reading_with_a_layout_is_as_documented() {
    let mut areas = AreaWriter::default();
    for (start, pages, kind) in
        [(0x5555_0000_0000, 16, AreaKind::Heap), (0x7F00_0000_0000, 2, AreaKind::Stack)]
    {
        let (len, resident) = (2048 << 12, pages << 12);
        assert!(areas.push(&Area { start, len, resident, kind }));
    }
    let layout = MemoryLayout {
        files: 300 << 12,
        main_stack: 33 << 12,
        tracer: 5 << 12,
        rest: 0,
        areas: areas.bytes(),
    };
    let reading = MemoryReading { time: 1000, threads: 2, ..Default::default() };
    let record = Record::Memory(reading, Some(layout));
    let mut room = [0; 128];
    let len = record.to_wire(&mut room).unwrap();
    let documented = written_as("layout", &room[..len]);
    assert_eq!(Record::from_wire(&documented), Some(record));
}

#[test]
fn a_drained_page_is_as_documented() {
    let mut room = [0; 256];
    let events = [allocation(), free()];
    let len = write_events(THREAD, events.into_iter(), &mut room).unwrap();
    let documented = written_as("events", &room[..len]);
    let (thread, mut decoded) = EventsReader::new(&documented).unwrap();
    assert_eq!(thread, THREAD);
    assert!(decoded.by_ref().eq(events));
    assert!(decoded.is_finished());
}
