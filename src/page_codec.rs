//! A page's entries as the payload of a chunk: differences of variable length, then LZ4.

use crate::chunk::Codec;
use crate::event::{Domain, Event, RawEvent};
use crate::ids::{LabelId, StackId, Ticks};
use crate::totals::Temporaries;
use crate::varint::{Reader, Writer};

/// The most bytes that the entries of one page take before compression.
pub const PLAIN_LIMIT: usize = 48 * 1024;
/// The most bytes a payload takes, compressed or not.
pub const PAYLOAD_LIMIT: usize = PLAIN_LIMIT + PLAIN_LIMIT / 255 + 64;

/// Writes the thread and its events, which must be sorted by [`Event::order`].
///
/// Gives the bytes written, or `None` if `room` is too small.
pub fn write_events(
    thread: PageThread,
    events: impl Iterator<Item = Event>,
    room: &mut [u8],
) -> Option<usize> {
    let mut out = Writer::new(room);
    thread.write(&mut out);
    let (mut last_time, mut last_address, mut last_stack) = (0, 0, 0);
    for event in events {
        let (kind, domain, address, size, stack) = match event {
            Event::Allocated { domain, address, size, stack, file_backed, .. } => {
                let kind = if file_backed { 5 } else { 1 };
                (kind, domain, address, Some(size), Some(StackId::to_wire(stack)))
            }
            Event::Freed { domain, address, .. } => (2, domain, address, None, None),
            Event::RangeFreed { domain, address, size, .. } => {
                (3, domain, address, Some(size), None)
            }
            Event::Marked { label, .. } => (4, Domain::Malloc, last_address, None, Some(label.0)),
            Event::Failed { domain, size, stack, error, .. } => {
                (6, domain, u64::from(error), Some(size), Some(StackId::to_wire(stack)))
            }
            Event::ContextEnded { context, .. } => {
                (7, Domain::Cuda, last_address, None, Some(context))
            }
            Event::Folded { domain, size, stack, .. } => {
                (8, domain, last_address, Some(size), Some(StackId::to_wire(stack)))
            }
        };
        out.byte(kind | ((domain as u8) << 4));
        out.number(event.time().0.wrapping_sub(last_time));
        out.difference(last_address, address);
        if let Some(size) = size {
            out.number(size);
        }
        if let Some(stack) = stack {
            out.difference(last_stack, u64::from(stack));
            last_stack = u64::from(stack);
        }
        if let Event::Folded { count, .. } = event {
            out.number(count);
        }
        (last_time, last_address) = (event.time().0, address);
    }
    out.finish()
}

/// Whose page it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PageThread {
    /// The tracer's number of the thread.
    pub number: u32,
    /// The kernel's.
    pub tid: u32,
}

impl PageThread {
    fn write(self, out: &mut Writer<'_>) {
        out.number(u64::from(self.number));
        out.number(u64::from(self.tid));
    }

    fn read(input: &mut Reader<'_>) -> Option<Self> {
        Some(Self {
            number: u32::try_from(input.number()?).ok()?,
            tid: u32::try_from(input.number()?).ok()?,
        })
    }
}

/// Reads what [`write_events`] wrote; ends at the first entry that makes no sense.
#[derive(Clone, Debug)]
pub struct EventsReader<'a> {
    input: Reader<'a>,
    time: u64,
    address: u64,
    stack: u64,
}

impl<'a> EventsReader<'a> {
    /// Reads the thread, and stands before the first event.
    pub fn new(bytes: &'a [u8]) -> Option<(PageThread, Self)> {
        let mut input = Reader::new(bytes);
        let thread = PageThread::read(&mut input)?;
        Some((thread, Self { input, time: 0, address: 0, stack: 0 }))
    }

    /// Whether everything was read.
    pub fn is_finished(&self) -> bool {
        self.input.is_empty()
    }
}

impl Iterator for EventsReader<'_> {
    type Item = Event;

    fn next(&mut self) -> Option<Event> {
        let input = &mut self.input;
        let head = input.byte()?;
        let domain = Domain::from_wire(u64::from(head >> 4))?;
        self.time = self.time.wrapping_add(input.number()?);
        let time = Ticks(self.time);
        self.address = input.difference(self.address)?;
        let address = self.address;
        let mut next_stack = |input: &mut Reader<'_>| {
            self.stack = input.difference(self.stack)?;
            u32::try_from(self.stack).ok()
        };
        Some(match head & 0xF {
            kind @ (1 | 5) => {
                let size = input.number()?;
                let stack = StackId::new(next_stack(input)?);
                Event::Allocated { time, domain, address, size, stack, file_backed: kind == 5 }
            }
            2 => Event::Freed { time, domain, address },
            3 => Event::RangeFreed { time, domain, address, size: input.number()? },
            4 => Event::Marked { time, label: LabelId(next_stack(input)?) },
            6 => {
                let size = input.number()?;
                let stack = StackId::new(next_stack(input)?);
                Event::Failed { time, domain, size, stack, error: address as u32 }
            }
            7 => Event::ContextEnded { time, context: next_stack(input)? },
            8 => {
                let size = input.number()?;
                let stack = StackId::new(next_stack(input)?);
                Event::Folded { time, domain, size, stack, count: input.number()? }
            }
            _ => return None,
        })
    }
}

/// Writes the thread and its temporaries. Gives the bytes written, or `None` if `room` is too small.
pub fn write_totals(
    thread: PageThread,
    entries: impl Iterator<Item = Temporaries>,
    room: &mut [u8],
) -> Option<usize> {
    let mut out = Writer::new(room);
    thread.write(&mut out);
    let mut last_stack = 0;
    for entry in entries {
        let stack = u64::from(StackId::to_wire(entry.key.stack));
        out.byte(entry.key.domain as u8);
        out.difference(last_stack, stack);
        out.number(entry.key.size);
        out.number(entry.count);
        last_stack = stack;
    }
    out.finish()
}

/// Reads what [`write_totals`] wrote; ends at the first entry that makes no sense.
#[derive(Clone, Debug)]
pub struct TotalsReader<'a> {
    input: Reader<'a>,
    stack: u64,
}

impl<'a> TotalsReader<'a> {
    /// Reads the thread, and stands before the first entry.
    pub fn new(bytes: &'a [u8]) -> Option<(PageThread, Self)> {
        let mut input = Reader::new(bytes);
        let thread = PageThread::read(&mut input)?;
        Some((thread, Self { input, stack: 0 }))
    }

    /// Whether everything was read.
    pub fn is_finished(&self) -> bool {
        self.input.is_empty()
    }
}

impl Iterator for TotalsReader<'_> {
    type Item = Temporaries;

    fn next(&mut self) -> Option<Temporaries> {
        let domain = Domain::from_wire(u64::from(self.input.byte()?))?;
        self.stack = self.input.difference(self.stack)?;
        let size = self.input.number()?;
        let count = self.input.number()?;
        let stack = StackId::new(u32::try_from(self.stack).ok()?);
        Some(Temporaries { key: crate::totals::TemporaryKey { stack, size, domain }, count })
    }
}

/// Reads what [`write_totals`] wrote; `None` if a part makes no sense.
#[cfg(feature = "reader")]
pub fn read_totals(bytes: &[u8]) -> Option<(PageThread, std::vec::Vec<Temporaries>)> {
    let (thread, mut entries) = TotalsReader::new(bytes)?;
    let read = entries.by_ref().collect();
    entries.is_finished().then_some((thread, read))
}

/// Compresses `plain` into `room`. Gives the codec and the bytes used; `None` if `room` is too small.
pub fn compress(plain: &[u8], room: &mut [u8]) -> Option<(Codec, usize)> {
    if let Ok(len) = lz4_flex::block::compress_into(plain, room)
        && len < plain.len()
    {
        return Some((Codec::Lz4, len));
    }
    crate::page::put(room, 0, plain)?;
    Some((Codec::Plain, plain.len()))
}

/// The bytes before compression; `None` if they make no sense.
#[cfg(feature = "reader")]
pub fn decompress(header: &crate::chunk::ChunkHeader, payload: &[u8]) -> Option<std::vec::Vec<u8>> {
    let plain_len = header.plain_len as usize;
    if plain_len > PLAIN_LIMIT {
        return None;
    }
    let mut plain = std::vec![0; plain_len];
    decompress_into(header, payload, &mut plain)?;
    Some(plain)
}

/// Writes the bytes before compression into `room`, and gives them; `None` if they make no sense or do
/// not fit.
pub fn decompress_into<'r>(
    header: &crate::chunk::ChunkHeader,
    payload: &[u8],
    room: &'r mut [u8],
) -> Option<&'r [u8]> {
    let plain = room.get_mut(..header.plain_len as usize)?;
    let len = if header.codec == Codec::Plain as u8 {
        crate::page::put(plain, 0, payload)?;
        payload.len()
    } else if header.codec == Codec::Lz4 as u8 {
        lz4_flex::block::decompress_into(payload, plain).ok()?
    } else {
        return None;
    };
    (len == plain.len()).then_some(plain)
}

/// The events of a raw page's body, and how many slots of it are damaged.
pub fn raw_events(body: &[u8]) -> impl Iterator<Item = Result<Event, ()>> + '_ {
    body.chunks_exact(crate::event::EVENT_BYTES).filter_map(|slot| {
        let raw = RawEvent([0, 8, 16].map(|at| crate::page::u64_at(slot, at)));
        if raw.is_empty() { None } else { Some(raw.unpack().ok_or(())) }
    })
}
