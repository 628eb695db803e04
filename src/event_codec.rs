//! A page of events as the payload of a chunk, before compression.
//!
//! Addresses and times are what takes most of it.

use crate::columns;
use crate::event::{Domain, Event, RawAllocation, RawBlock, RawEvent};
use crate::ids::{LabelId, StackId, Ticks};
use crate::page::EVENTS_PER_PAGE;
use crate::page_codec::{PLAIN_LIMIT, PageThread, WRITING_ROOM};
use crate::places::{Places, address_of, number_of};
use crate::varint::{Reader, Writer};

const COLUMNS: usize = 7;
/// The most bytes that an event takes in each column.
const SHARES: [usize; COLUMNS] = [1, 10, 5, 10, 7, 7, 10];

pub(crate) const ALLOCATED: u8 = 1;
pub(crate) const FREED: u8 = 2;
pub(crate) const RANGE_FREED: u8 = 3;
pub(crate) const MARKED: u8 = 4;
pub(crate) const FILE_MAPPED: u8 = 5;
pub(crate) const FAILED: u8 = 6;
pub(crate) const CONTEXT_ENDED: u8 = 7;
pub(crate) const FOLDED: u8 = 8;

const _: () = assert!(
    EVENTS_PER_PAGE * (1 + 10 + 5 + 10 + 7 + 7 + 10) + 64 <= WRITING_ROOM,
    "a page's events can be written"
);
const _: () = assert!(
    EVENTS_PER_PAGE * (1 + 10 + 5 + 10 + 10) + 64 <= PLAIN_LIMIT,
    "a page's events can be read: each has one number of the last three columns at most"
);

/// Writes the thread and its events, which must be sorted by [`Event::order`]. Gives the bytes written, or `None` if
/// `room` is too small, of which an event takes 50 bytes meanwhile.
pub fn write_events(
    thread: PageThread,
    mut events: impl Iterator<Item = Event>,
    room: &mut [u8],
) -> Option<usize> {
    columns::write(thread, SHARES, room, |columns| {
        let mut out = EventsWriter::new(columns);
        events.try_for_each(|event| out.event(&event))
    })
}

/// As [`write_events`], of events as they stand in a page, sorted by [`RawEvent::order`]; `None`, too, if one of them is
/// damaged.
pub fn write_raw_events(
    thread: PageThread,
    mut events: impl Iterator<Item = RawEvent>,
    room: &mut [u8],
) -> Option<usize> {
    columns::write(thread, SHARES, room, |columns| {
        let mut out = EventsWriter::new(columns);
        events.try_for_each(|event| match event.block() {
            Some(block) => out.block(&block),
            None => out.event(&event.unpack()?),
        })
    })
}

#[derive(Debug)]
struct EventsWriter<'w, 'a> {
    columns: &'w mut [Writer<'a>; COLUMNS],
    time: u64,
    stack: u64,
    places: Places,
}

impl<'w, 'a> EventsWriter<'w, 'a> {
    fn new(columns: &'w mut [Writer<'a>; COLUMNS]) -> Self {
        Self { columns, time: 0, stack: 0, places: Places::NONE }
    }

    #[inline]
    fn head(&mut self, kind: u8, domain: u8, time: u64) {
        let [heads, times, ..] = self.columns;
        heads.byte(kind | domain << 4);
        times.number(time.wrapping_sub(self.time));
        self.time = time;
    }

    #[inline]
    fn stack(&mut self, stack: u32) {
        let [_, _, stacks, ..] = self.columns;
        let stack = u64::from(stack);
        stacks.difference(self.stack, stack);
        self.stack = stack;
    }

    #[inline]
    fn size(&mut self, size: u64) {
        let [_, _, _, sizes, ..] = self.columns;
        sizes.number(size);
    }

    #[inline]
    fn count(&mut self, count: u64) {
        let [.., counts] = self.columns;
        counts.number(count);
    }

    /// An address of anything but an allocation.
    #[inline]
    fn other_address(&mut self, domain: u8, address: u64) -> Option<()> {
        let [.., others, _] = self.columns;
        let last = self.places.of_domain(domain);
        others.number(number_of(*last, address)?);
        *last = address;
        Some(())
    }

    #[inline]
    fn block(&mut self, block: &RawBlock) -> Option<()> {
        let RawBlock { time, domain, address, allocated } = *block;
        let Some(RawAllocation { size, stack, file_backed }) = allocated else {
            self.head(FREED, domain, time);
            return self.other_address(domain, address);
        };
        self.head(if file_backed { FILE_MAPPED } else { ALLOCATED }, domain, time);
        self.stack(stack);
        self.size(size);
        if file_backed {
            return self.other_address(domain, address);
        }
        let [_, _, _, _, allocations, ..] = self.columns;
        let last = self.places.of_size(domain, size);
        allocations.number(number_of(*last, address)?);
        *last = address;
        *self.places.of_domain(domain) = address;
        Some(())
    }

    fn event(&mut self, event: &Event) -> Option<()> {
        let time = event.time().0;
        match *event {
            Event::Allocated { domain, address, size, stack, file_backed, .. } => {
                let allocated = RawAllocation { size, stack: StackId::to_wire(stack), file_backed };
                let (domain, allocated) = (domain as u8, Some(allocated));
                return self.block(&RawBlock { time, domain, address, allocated });
            }
            Event::Freed { domain, address, .. } => {
                let (domain, allocated) = (domain as u8, None);
                return self.block(&RawBlock { time, domain, address, allocated });
            }
            Event::RangeFreed { domain, address, size, .. } => {
                self.head(RANGE_FREED, domain as u8, time);
                self.size(size);
                return self.other_address(domain as u8, address);
            }
            Event::Marked { label, .. } => {
                self.head(MARKED, Domain::Malloc as u8, time);
                self.stack(label.0);
            }
            Event::Failed { domain, size, stack, error, .. } => {
                self.head(FAILED, domain as u8, time);
                self.stack(StackId::to_wire(stack));
                self.size(size);
                self.count(error.into());
            }
            Event::ContextEnded { context, .. } => {
                self.head(CONTEXT_ENDED, Domain::Cuda as u8, time);
                self.stack(context);
            }
            Event::Folded { domain, size, stack, count, .. } => {
                self.head(FOLDED, domain as u8, time);
                self.stack(StackId::to_wire(stack));
                self.size(size);
                self.count(count);
            }
        }
        Some(())
    }
}

/// Reads what [`write_events`] wrote; ends at the first event that makes no sense.
#[derive(Clone, Debug)]
pub struct EventsReader<'a> {
    columns: [Reader<'a>; COLUMNS],
    time: u64,
    stack: u64,
    places: Places,
    has_failed: bool,
}

impl<'a> EventsReader<'a> {
    /// Reads the thread, and stands before the first event.
    pub fn new(bytes: &'a [u8]) -> Option<(PageThread, Self)> {
        let (thread, columns) = columns::read(bytes)?;
        let (places, has_failed) = (Places::NONE, false);
        Some((thread, Self { columns, time: 0, stack: 0, places, has_failed }))
    }

    /// Whether everything was read.
    pub fn is_finished(&self) -> bool {
        !self.has_failed && self.columns.iter().all(Reader::is_empty)
    }

    #[inline]
    fn next_stack(&mut self) -> Option<u32> {
        let [_, _, stacks, ..] = &mut self.columns;
        self.stack = stacks.difference(self.stack)?;
        u32::try_from(self.stack).ok()
    }

    #[inline]
    fn next_size(&mut self) -> Option<u64> {
        let [_, _, _, sizes, ..] = &mut self.columns;
        sizes.number()
    }

    #[inline]
    fn next_count(&mut self) -> Option<u64> {
        let [.., counts] = &mut self.columns;
        counts.number()
    }

    #[inline]
    fn next_address(&mut self, domain: u8) -> Option<u64> {
        let [.., others, _] = &mut self.columns;
        let last = self.places.of_domain(domain);
        *last = address_of(*last, others.number()?)?;
        Some(*last)
    }

    #[inline]
    fn next_allocation(&mut self, domain: u8, size: u64) -> Option<u64> {
        let [_, _, _, _, allocations, ..] = &mut self.columns;
        let last = self.places.of_size(domain, size);
        let address = address_of(*last, allocations.number()?)?;
        *last = address;
        *self.places.of_domain(domain) = address;
        Some(address)
    }

    #[inline]
    fn behind(&mut self, head: u8) -> Option<Event> {
        let [_, times, ..] = &mut self.columns;
        self.time = self.time.wrapping_add(times.number()?);
        let (time, place) = (Ticks(self.time), head >> 4);
        let domain = Domain::from_wire(place.into())?;
        Some(match head & 0xF {
            kind @ (ALLOCATED | FILE_MAPPED) => {
                let (stack, size) = (StackId::new(self.next_stack()?), self.next_size()?);
                let file_backed = kind == FILE_MAPPED;
                let address = match file_backed {
                    true => self.next_address(place)?,
                    false => self.next_allocation(place, size)?,
                };
                Event::Allocated { time, domain, address, size, stack, file_backed }
            }
            FREED => Event::Freed { time, domain, address: self.next_address(place)? },
            RANGE_FREED => {
                let (size, address) = (self.next_size()?, self.next_address(place)?);
                Event::RangeFreed { time, domain, address, size }
            }
            MARKED => Event::Marked { time, label: LabelId(self.next_stack()?) },
            FAILED => {
                let (stack, size) = (StackId::new(self.next_stack()?), self.next_size()?);
                let error = u32::try_from(self.next_count()?).ok()?;
                Event::Failed { time, domain, size, stack, error }
            }
            CONTEXT_ENDED => Event::ContextEnded { time, context: self.next_stack()? },
            FOLDED => {
                let (stack, size) = (StackId::new(self.next_stack()?), self.next_size()?);
                Event::Folded { time, domain, size, stack, count: self.next_count()? }
            }
            _ => return None,
        })
    }
}

impl Iterator for EventsReader<'_> {
    type Item = Event;

    fn next(&mut self) -> Option<Event> {
        let [heads, ..] = &mut self.columns;
        let head = heads.byte().filter(|_| !self.has_failed)?;
        let event = self.behind(head);
        self.has_failed = event.is_none();
        event
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::places::ADDRESSES;

    const THREAD: PageThread = PageThread { number: 3, tid: 400 };
    const ROOM: usize = 64 + 50 * 12;

    fn events() -> [Event; 12] {
        let (time, domain, address, size) = (Ticks(70), Domain::CudaHost, 0x7FFF_1234_5678, 77);
        let stack = StackId::new(u32::MAX);
        let allocated = |time: u64, size, file_backed| {
            let (time, domain) = (Ticks(time), Domain::Mmap);
            Event::Allocated { time, domain, address, size, stack, file_backed }
        };
        let small = |time: u64, address| {
            let (time, domain, size, file_backed) = (Ticks(time), Domain::Python, 56, false);
            Event::Allocated { time, domain, address, size, stack, file_backed }
        };
        [
            Event::Failed { time: Ticks(3), domain, size, stack, error: u32::MAX },
            Event::Freed { time: Ticks(5), domain, address },
            Event::ContextEnded { time: Ticks(7), context: 9 },
            Event::RangeFreed { time, domain: Domain::Mmap, address: address - 4096, size },
            small(1 << 49, ADDRESSES - 1),
            small(1 << 49, 0),
            small(1 << 49, 17),
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
        let (mut room, mut of_page) = ([0; ROOM], [0; ROOM]);
        let len = write_events(THREAD, events().into_iter(), &mut room).unwrap();
        assert_eq!(write_raw_events(THREAD, raw.into_iter(), &mut of_page), Some(len));
        assert_eq!(room[..len], of_page[..len]);
        let (found, mut reader) = EventsReader::new(&room[..len]).unwrap();
        assert_eq!((found, reader.by_ref().collect::<Vec<_>>()), (THREAD, events().to_vec()));
        assert!(reader.is_finished());
        assert_eq!(write_raw_events(THREAD, raw.into_iter(), &mut of_page[..ROOM - 1]), None);
        for cut in 0..len {
            let whole = EventsReader::new(&room[..cut]).is_some_and(|(_, mut reader)| {
                reader.by_ref().count() == events().len() && reader.is_finished()
            });
            assert!(!whole, "{cut}");
        }
    }

    #[test]
    fn an_event_that_makes_no_sense_is_the_end_and_not_all() {
        let bytes = |head: u8| [1, 1, 1, 1, 0, 0, 0, 0, head, 0];
        for (head, is_whole) in [(MARKED, false), (CONTEXT_ENDED | 9 << 4, false), (9, false)] {
            let bytes = bytes(head);
            let (_, mut reader) = EventsReader::new(&bytes).unwrap();
            assert_eq!((reader.next(), reader.next()), (None, None));
            assert_eq!(reader.is_finished(), is_whole, "{head:#x}");
        }
    }

    #[test]
    fn any_page_of_events_fits_into_the_room() {
        // Each number as long as it can be.
        let page = (0..EVENTS_PER_PAGE as u64).map(|at| {
            let far = at % 2 == 0;
            Event::Allocated {
                time: if far { Ticks::MAX } else { Ticks(0) },
                domain: Domain::TensorFlow,
                address: if far { ADDRESSES - 1 } else { 16 * (at % 7) },
                size: u64::MAX,
                stack: StackId::new(if far { u32::MAX } else { 1 }),
                file_backed: at % 3 == 0,
            }
        });
        let mut room = vec![0; WRITING_ROOM];
        let len = write_events(THREAD, page.clone(), &mut room).unwrap();
        assert!(len <= crate::page_codec::PLAIN_LIMIT, "{len}");
        assert!(EventsReader::new(&room[..len]).unwrap().1.eq(page));
    }

    #[test]
    fn blocks_of_one_size_side_by_side_take_a_byte_each_for_their_addresses() {
        let page = (0..1000u64).map(|at| Event::Allocated {
            time: Ticks(at),
            domain: Domain::Python,
            // Two sizes in turn, each in its own place.
            address: 0x7F00_0000_0000 + at % 2 * 0x10_0000 + at / 2 * 64,
            size: 50 + at % 2 * 200,
            stack: StackId::new(7),
            file_backed: false,
        });
        let mut room = vec![0; WRITING_ROOM];
        let len = write_events(THREAD, page, &mut room).unwrap();
        let others = 4 * 1000 + 500;
        assert!((others + 900..others + 1100).contains(&len), "{len}");
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
