//! One ordered stream out of many pages.
//!
//! A page is opened when the stream reaches its first event and dropped after its last, and a
//! thread fills one page at a time: memory follows the number of threads, not of events.

use std::cmp::Reverse;
use std::collections::binary_heap::{BinaryHeap, PeekMut};

use super::scan::{EventPage, Source, page_body, plain_chunk};
use crate::event::Event;
use crate::ids::Ticks;
use crate::page_codec::{EventsReader, PageThread, raw_events};

/// The events of all threads, ordered by time; frees before allocations of the same tick.
#[derive(Debug)]
pub struct Events<'a> {
    bytes: &'a [u8],
    /// Pages that were not reached yet, the earliest last.
    waiting: Vec<EventPage>,
    open: BinaryHeap<Reverse<OpenPage>>,
}

#[derive(Debug)]
struct OpenPage {
    next: (Ticks, bool),
    /// Equal times are given out in a fixed order, so that equal files give equal reports.
    number: usize,
    thread: PageThread,
    /// The latest event first: the next one is popped.
    events: Vec<Event>,
}

impl PartialEq for OpenPage {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for OpenPage {}

impl PartialOrd for OpenPage {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for OpenPage {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.next, self.number).cmp(&(other.next, other.number))
    }
}

impl<'a> Events<'a> {
    pub(super) fn new(bytes: &'a [u8], pages: &[EventPage]) -> Self {
        let mut waiting = pages.to_vec();
        waiting.sort_by_key(|page| Reverse(page.first));
        Self { bytes, waiting, open: BinaryHeap::new() }
    }

    /// How many pages are yet to be opened: a measure of progress.
    pub fn pages_left(&self) -> usize {
        self.waiting.len()
    }

    /// Opens every page that may hold the next event.
    fn open_pages(&mut self) {
        while let Some(page) = self.waiting.last() {
            let next = self.open.peek().map(|Reverse(open)| open.next.0);
            if next.is_some_and(|next| next < page.first) {
                return;
            }
            let source = page.source;
            self.waiting.pop();
            // What cannot be read here was counted as damage by the first pass.
            if let Some((thread, mut events)) = read_page(self.bytes, source) {
                // Stable, then reversed: events of one tick come out as they were recorded.
                events.sort_by_key(Event::order);
                events.reverse();
                if let Some(first) = events.last() {
                    let (next, number) = (first.order(), self.waiting.len());
                    self.open.push(Reverse(OpenPage { next, number, thread, events }));
                }
            }
        }
    }
}

fn read_page(bytes: &[u8], source: Source) -> Option<(PageThread, Vec<Event>)> {
    match source {
        Source::Raw { offset, thread } => {
            Some((thread, raw_events(page_body(bytes, offset)).flatten().collect()))
        }
        Source::Chunk { offset } => {
            let (_, plain) = plain_chunk(bytes, offset)?;
            let (thread, events) = EventsReader::new(&plain)?;
            Some((thread, events.collect()))
        }
    }
}

impl Iterator for Events<'_> {
    type Item = (PageThread, Event);

    fn next(&mut self) -> Option<Self::Item> {
        self.open_pages();
        let mut first = self.open.peek_mut()?;
        let Reverse(page) = &mut *first;
        let event = page.events.pop()?;
        let thread = page.thread;
        match page.events.last() {
            // The heap is put in order again when `first` goes out of scope.
            Some(next) => page.next = next.order(),
            None => drop(PeekMut::pop(first)),
        }
        Some((thread, event))
    }
}
