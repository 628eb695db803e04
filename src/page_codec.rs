//! A page's entries as the payload of a chunk: differences of variable length, then LZ4.

use crate::chunk::Codec;
use crate::event::{Domain, Event, RawAllocation, RawBlock, RawEvent};
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
    let mut out = EventsWriter::new(thread, room);
    events.for_each(|event| out.event(&event));
    out.out.finish()
}

/// As [`write_events`], of events as they stand in a page, sorted by [`RawEvent::order`]; `None`, too, if one of them is
/// damaged.
pub fn write_raw_events(
    thread: PageThread,
    mut events: impl Iterator<Item = RawEvent>,
    room: &mut [u8],
) -> Option<usize> {
    let mut out = EventsWriter::new(thread, room);
    events.try_for_each(|event| {
        match event.block() {
            Some(block) => out.block(&block),
            None => out.event(&event.unpack()?),
        }
        Some(())
    })?;
    out.out.finish()
}

/// Writes events as differences to the one before.
#[derive(Debug)]
struct EventsWriter<'a> {
    out: Writer<'a>,
    time: u64,
    address: u64,
    stack: u64,
}

const ALLOCATED: u8 = 1;
const FREED: u8 = 2;
const RANGE_FREED: u8 = 3;
const MARKED: u8 = 4;
const FILE_MAPPED: u8 = 5;
const FAILED: u8 = 6;
const CONTEXT_ENDED: u8 = 7;
const FOLDED: u8 = 8;

impl<'a> EventsWriter<'a> {
    fn new(thread: PageThread, room: &'a mut [u8]) -> Self {
        let mut out = Writer::new(room);
        thread.write(&mut out);
        Self { out, time: 0, address: 0, stack: 0 }
    }

    #[inline]
    fn head(&mut self, kind: u8, domain: u8, time: u64, address: u64) {
        self.out.byte(kind | domain << 4);
        self.out.number(time.wrapping_sub(self.time));
        self.out.difference(self.address, address);
        (self.time, self.address) = (time, address);
    }

    #[inline]
    fn stack(&mut self, stack: u32) {
        let stack = u64::from(stack);
        self.out.difference(self.stack, stack);
        self.stack = stack;
    }

    #[inline]
    fn block(&mut self, block: &RawBlock) {
        let RawBlock { time, domain, address, allocated } = *block;
        let Some(RawAllocation { size, stack, file_backed }) = allocated else {
            return self.head(FREED, domain, time, address);
        };
        self.head(if file_backed { FILE_MAPPED } else { ALLOCATED }, domain, time, address);
        self.out.number(size);
        self.stack(stack);
    }

    fn event(&mut self, event: &Event) {
        let (time, same) = (event.time().0, self.address);
        match *event {
            Event::Allocated { domain, address, size, stack, file_backed, .. } => {
                let allocated = RawAllocation { size, stack: StackId::to_wire(stack), file_backed };
                let (domain, allocated) = (domain as u8, Some(allocated));
                self.block(&RawBlock { time, domain, address, allocated });
            }
            Event::Freed { domain, address, .. } => {
                self.block(&RawBlock { time, domain: domain as u8, address, allocated: None });
            }
            Event::RangeFreed { domain, address, size, .. } => {
                self.head(RANGE_FREED, domain as u8, time, address);
                self.out.number(size);
            }
            Event::Marked { label, .. } => {
                self.head(MARKED, Domain::Malloc as u8, time, same);
                self.stack(label.0);
            }
            Event::Failed { domain, size, stack, error, .. } => {
                self.head(FAILED, domain as u8, time, error.into());
                self.out.number(size);
                self.stack(StackId::to_wire(stack));
            }
            Event::ContextEnded { context, .. } => {
                self.head(CONTEXT_ENDED, Domain::Cuda as u8, time, same);
                self.stack(context);
            }
            Event::Folded { domain, size, stack, count, .. } => {
                self.head(FOLDED, domain as u8, time, same);
                self.out.number(size);
                self.stack(StackId::to_wire(stack));
                self.out.number(count);
            }
        }
    }
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
            kind @ (ALLOCATED | FILE_MAPPED) => {
                let size = input.number()?;
                let stack = StackId::new(next_stack(input)?);
                Event::Allocated {
                    time,
                    domain,
                    address,
                    size,
                    stack,
                    file_backed: kind == FILE_MAPPED,
                }
            }
            FREED => Event::Freed { time, domain, address },
            RANGE_FREED => Event::RangeFreed { time, domain, address, size: input.number()? },
            MARKED => Event::Marked { time, label: LabelId(next_stack(input)?) },
            FAILED => {
                let size = input.number()?;
                let stack = StackId::new(next_stack(input)?);
                Event::Failed { time, domain, size, stack, error: address as u32 }
            }
            CONTEXT_ENDED => Event::ContextEnded { time, context: next_stack(input)? },
            FOLDED => {
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

#[cfg(test)]
mod tests {
    use super::*;

    fn events() -> [Event; 9] {
        let (time, domain, address, size) = (Ticks(70), Domain::CudaHost, 0x7FFF_1234_5678, 77);
        let stack = StackId::new(u32::MAX);
        let allocated = |time: u64, size, file_backed| {
            let (time, domain) = (Ticks(time), Domain::Mmap);
            Event::Allocated { time, domain, address, size, stack, file_backed }
        };
        [
            Event::Failed { time: Ticks(3), domain, size, stack, error: 2 },
            Event::Freed { time: Ticks(5), domain, address },
            Event::ContextEnded { time: Ticks(7), context: 9 },
            Event::RangeFreed { time, domain: Domain::Mmap, address: address - 4096, size },
            allocated(1 << 50, (1 << 40) - 1, true),
            allocated(1 << 50, 1 << 45, false),
            Event::Folded { time: Ticks(1 << 51), domain, size, stack: None, count: 1 << 47 },
            Event::Marked { time: Ticks(1 << 51), label: LabelId(8) },
            Event::Freed { time: Ticks::MAX, domain: Domain::Malloc, address: 16 },
        ]
    }

    #[test]
    fn events_of_a_page_are_written_as_those_that_they_stand_for() {
        let raw = events().map(|event| RawEvent::pack(&event).unwrap());
        let thread = PageThread { number: 3, tid: 400 };
        let (mut room, mut of_page) = ([0; 300], [0; 300]);
        let len = write_events(thread, events().into_iter(), &mut room).unwrap();
        assert_eq!(write_raw_events(thread, raw.into_iter(), &mut of_page), Some(len));
        assert_eq!(room, of_page);
        let (found, mut reader) = EventsReader::new(&room[..len]).unwrap();
        assert_eq!((found, reader.by_ref().collect::<Vec<_>>()), (thread, events().to_vec()));
        assert!(reader.is_finished());
        assert_eq!(write_raw_events(thread, raw.into_iter(), &mut of_page[..len - 1]), None);
    }

    #[test]
    fn the_order_of_an_event_of_a_page_is_its_own() {
        for event in events() {
            let raw = RawEvent::pack(&event).unwrap();
            assert_eq!(raw.order(), Some(event.order()));
            for bit in 0..192 {
                let mut damaged = raw;
                damaged.0[bit / 64] ^= 1 << (bit % 64);
                assert_eq!((damaged.order(), damaged.unpack()), (None, None), "bit {bit}");
            }
        }
    }
}
