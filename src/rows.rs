//! Pages of events and of totals as they stand in chunks of traces of versions up to 5: row by row.

use std::vec::Vec;

use crate::event::{Domain, Event};
use crate::event_codec::{
    ALLOCATED, CONTEXT_ENDED, FAILED, FILE_MAPPED, FOLDED, FREED, MARKED, RANGE_FREED,
};
use crate::ids::{LabelId, StackId, Ticks};
use crate::page_codec::PageThread;
use crate::totals::{Temporaries, TemporaryKey};
use crate::varint::Reader;

/// Reads a page of events; ends at the first one that makes no sense.
#[derive(Clone, Debug)]
pub(crate) struct EventRows<'a> {
    input: Reader<'a>,
    time: u64,
    address: u64,
    stack: u64,
}

impl<'a> EventRows<'a> {
    /// Reads the thread, and stands before the first event.
    pub(crate) fn new(bytes: &'a [u8]) -> Option<(PageThread, Self)> {
        let mut input = Reader::new(bytes);
        let thread = PageThread::read(&mut input)?;
        Some((thread, Self { input, time: 0, address: 0, stack: 0 }))
    }

    /// Whether everything was read.
    pub(crate) fn is_finished(&self) -> bool {
        self.input.is_empty()
    }
}

impl Iterator for EventRows<'_> {
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

/// Reads a page of totals; `None` if a part makes no sense.
pub(crate) fn total_rows(bytes: &[u8]) -> Option<(PageThread, Vec<Temporaries>)> {
    let mut input = Reader::new(bytes);
    let thread = PageThread::read(&mut input)?;
    let (mut last_stack, mut entries) = (0, Vec::new());
    while !input.is_empty() {
        let domain = Domain::from_wire(u64::from(input.byte()?))?;
        last_stack = input.difference(last_stack)?;
        let (size, count) = (input.number()?, input.number()?);
        let stack = StackId::new(u32::try_from(last_stack).ok()?);
        entries.push(Temporaries { key: TemporaryKey { stack, size, domain }, count });
    }
    Some((thread, entries))
}
