//! Makes traces of arbitrary bytes, with the checks of the format in order.
//!
//! A CRC keeps a fuzzer out of everything behind it: random bytes hardly ever have the right one.
//! So the frames of pages and chunks are made here, and only what they frame is arbitrary.

use tftrace_format::builder::{Packing, TraceBuilder};
use tftrace_format::chunk::{ChunkHeader, ChunkKind, Codec};
use tftrace_format::node::{PARENT_LIMIT, sealed};
use tftrace_format::page::{PAGE_BODY_BYTES, PAGE_BYTES, PageHeader, PageKind};
use tftrace_format::page_codec::compress;
use tftrace_format::record::{RECORD_LIMIT, Record};
use tftrace_format::totals::{Temporaries, TemporaryKey};
use tftrace_format::{
    CodeId, Domain, Event, Frame, LabelId, MappingId, OpId, StackId, Ticks, check,
};

/// Arbitrary bytes, taken from the front; zeros once they are used up.
#[derive(Debug)]
pub struct Input<'a>(pub &'a [u8]);

impl<'a> Input<'a> {
    /// One byte.
    pub fn byte(&mut self) -> u8 {
        self.bytes(1).first().copied().unwrap_or(0)
    }

    /// Up to so many bytes.
    pub fn bytes(&mut self, len: usize) -> &'a [u8] {
        let (taken, rest) = self.0.split_at(len.min(self.0.len()));
        self.0 = rest;
        taken
    }

    /// A number of one to eight bytes; the first byte says how many. Small ones are likely.
    pub fn number(&mut self) -> u64 {
        let head = self.byte();
        if head < 0xF0 {
            return u64::from(head);
        }
        let mut word = [0; 8];
        let bytes = self.bytes(usize::from(head & 7) + 1);
        word[..bytes.len()].copy_from_slice(bytes);
        u64::from_le_bytes(word)
    }

    /// Bytes whose number stands before them.
    pub fn text(&mut self) -> &'a [u8] {
        let len = self.number().min(4096);
        self.bytes(len as usize)
    }
}

/// Arbitrary bytes; behind a sound header if the first is even.
pub fn headed(bytes: &[u8]) -> Vec<u8> {
    let Some((kind, rest)) = bytes.split_first() else { return Vec::new() };
    if kind & 1 != 0 {
        return rest.to_vec();
    }
    let mut trace = TraceBuilder::new().build(Packing::Raw);
    trace.truncate(2 * PAGE_BYTES);
    trace.extend_from_slice(rest);
    trace
}

/// A trace of arbitrary pages.
pub fn pages(bytes: &[u8]) -> Vec<u8> {
    let mut input = Input(bytes);
    let mut trace = TraceBuilder::new().build(Packing::Raw);
    trace.truncate(2 * PAGE_BYTES);
    let mut serial = 0;
    while !input.0.is_empty() && trace.len() < 40 * PAGE_BYTES {
        serial += 1;
        page(&mut input, serial, &mut trace);
    }
    trace
}

fn page(input: &mut Input<'_>, serial: u64, trace: &mut Vec<u8>) {
    let kind = match input.byte() % 8 {
        0 => PageKind::Events,
        1 => PageKind::Totals,
        2 => PageKind::Nodes,
        3 => PageKind::WideNodes,
        4 => PageKind::Drained,
        5 => PageKind::Compacted,
        _ => PageKind::Chunks,
    };
    let (number, tid) = (input.number() as u32, input.number() as u32);
    let opened = Ticks(input.number());
    let mut body = Vec::new();
    match kind {
        PageKind::Events | PageKind::Totals => body.extend_from_slice(input.text()),
        PageKind::Nodes => {
            for _ in 0..input.byte() {
                let (parent, frame) = (input.number() as u32 % PARENT_LIMIT, frame(input).to_wire());
                body.extend_from_slice(&sealed(parent, frame).to_le_bytes());
                body.extend_from_slice(&frame.to_le_bytes());
            }
        }
        PageKind::WideNodes => {
            for _ in 0..input.byte() {
                let (parent, frame) = (input.number(), frame(input).to_wire());
                body.extend_from_slice(&check::seal(parent, frame).to_le_bytes());
                body.extend_from_slice(&frame.to_le_bytes());
            }
        }
        PageKind::Chunks | PageKind::Drained | PageKind::Compacted => {
            for _ in 0..input.byte() {
                chunk(input, &mut body);
            }
        }
    }
    body.truncate(PAGE_BODY_BYTES);
    let number = if kind.is_run() && number == 0 { 1 } else { number };
    trace.extend_from_slice(&PageHeader { kind, serial, number, tid, opened }.to_wire());
    trace.extend_from_slice(&body);
    trace.resize(trace.len().next_multiple_of(PAGE_BYTES), 0);
}

/// A chunk with the right CRC, whose payload is arbitrary before or after compression.
fn chunk(input: &mut Input<'_>, body: &mut Vec<u8>) {
    let kind = match input.byte() % 8 {
        0 => input.byte(),
        1 => ChunkKind::EventRows as u8,
        2 => ChunkKind::Events as u8,
        3 => ChunkKind::TotalRows as u8,
        4 => ChunkKind::Totals as u8,
        5 => ChunkKind::Nodes as u8,
        _ => ChunkKind::Record as u8,
    };
    let how = input.byte();
    let (serial, plain) = (input.number(), input.text());
    let mut room = vec![0; plain.len() + 64];
    let packed = match how % 4 {
        // LZ4 of something sound.
        0 => {
            compress(plain, &mut room).map(|(codec, len)| (codec as u8, &room[..len], plain.len()))
        }
        // Arbitrary bytes that are said to be LZ4, or something unknown.
        1 => Some((Codec::Lz4 as u8, plain, input.number() as usize)),
        2 => Some((input.byte(), plain, plain.len())),
        _ => Some((Codec::Plain as u8, plain, plain.len())),
    };
    let Some((codec, payload, plain_len)) = packed else { return };
    let payload_len = payload.len() as u32;
    let header = ChunkHeader { kind, codec, payload_len, plain_len: plain_len as u32, serial };
    body.extend_from_slice(&header.to_wire(payload));
    body.extend_from_slice(payload);
    body.resize(body.len().next_multiple_of(8), 0);
}

fn frame(input: &mut Input<'_>) -> Frame {
    let kind = input.byte();
    match kind % 9 {
        0 | 1 => Frame::Native { mapping: MappingId(input.byte().into()), offset: input.number() },
        2 => Frame::Raw { address: input.number() },
        3 | 4 => {
            Frame::Python { code: CodeId(input.byte().into()), instruction: input.number() as u32 }
        }
        5 => Frame::Op(OpId(input.byte().into())),
        6 => Frame::For(domain(input)),
        7 => Frame::Pool(domain(input)),
        _ => [Frame::Scheduled, Frame::Truncated, Frame::Unknown][usize::from(kind / 9) % 3],
    }
}

fn domain(input: &mut Input<'_>) -> Domain {
    Domain::ALL[usize::from(input.byte()) % Domain::ALL.len()]
}

/// The trace of an arbitrary program: the format is sound, what it says is not.
pub fn program(bytes: &[u8]) -> Vec<u8> {
    let mut input = Input(bytes);
    let mut builder = TraceBuilder::new();
    let packing = if input.byte() & 1 == 0 { Packing::Raw } else { Packing::Chunked };
    let mut stacks = Vec::new();
    let mut time = 1;
    for _ in 0..5_000 {
        if input.0.is_empty() {
            break;
        }
        step(&mut input, &mut builder, &mut stacks, &mut time);
    }
    builder.build(packing)
}

fn step(
    input: &mut Input<'_>,
    builder: &mut TraceBuilder,
    stacks: &mut Vec<StackId>,
    time: &mut u64,
) {
    let kind = input.byte();
    *time = time.wrapping_add(input.number() << (kind >> 4));
    let at = Ticks(*time);
    let thread = u32::from(input.byte() % 4);
    match kind % 16 {
        0 | 1 => {
            let frames: Vec<_> = (0..=input.byte() % 40).map(|_| frame(input)).collect();
            stacks.push(builder.stack(&frames));
        }
        2..=5 => {
            let stack = stacks.get(usize::from(input.byte()) % stacks.len().max(1)).copied();
            let (domain, address, size) = (domain(input), input.number(), input.number());
            let file_backed = kind & 0x80 != 0;
            let event = Event::Allocated { time: at, domain, address, size, stack, file_backed };
            builder.event(thread, event);
        }
        6 | 7 => {
            let (domain, address) = (domain(input), input.number());
            builder.event(thread, Event::Freed { time: at, domain, address });
        }
        8 => {
            let (domain, address, size) = (domain(input), input.number(), input.number());
            builder.event(thread, Event::RangeFreed { time: at, domain, address, size });
        }
        9 => {
            let label = LabelId(input.byte().into());
            builder.event(thread, Event::Marked { time: at, label });
        }
        10 => {
            let stack = stacks.get(usize::from(input.byte()) % stacks.len().max(1)).copied();
            let key = TemporaryKey { stack, size: input.number(), domain: domain(input) };
            builder.temporaries(thread, Temporaries { key, count: input.number() });
        }
        _ => {
            let bytes = input.text();
            let mut room = vec![0; RECORD_LIMIT];
            // Only what can be written again: the builder insists.
            if let Some(record) = Record::from_wire(bytes)
                && record.to_wire(&mut room).is_some()
            {
                builder.record(&record);
            }
        }
    }
}
