//! One ordered stream out of many pages.
//!
//! A page is opened when the stream reaches its first event and dropped after its last, and a
//! thread fills one page at a time: memory follows the number of threads, not of events.

use std::cmp::Reverse;
use std::collections::binary_heap::BinaryHeap;

use super::Trace;
use super::packed::each_event;
use super::scan::plain_chunk;
use super::source::{EventPage, Place, RawPage};
use crate::event::Event;
use crate::ids::Ticks;
use crate::page_codec::{PageThread, raw_events};

/// The events of all threads, ordered by time; frees before allocations of the same tick.
pub struct Events<'p> {
    /// When the pages begin that were not reached yet, the earliest first.
    waiting: &'p [EventPage],
    /// What is in them, in the same order.
    pages: Box<dyn Iterator<Item = Option<OpenPage>> + 'p>,
    /// The page that the next events are from, until `run_ends`.
    current: OpenPage,
    run_ends: usize,
    /// All other pages that were reached and are not used up.
    open: BinaryHeap<Reverse<OpenPage>>,
}

/// A page that was decoded.
#[derive(Debug)]
pub(super) struct OpenPage {
    thread: PageThread,
    /// In the order of [`Event::order`]; events of one tick as they were recorded.
    events: Vec<Event>,
    /// The next event.
    at: usize,
    /// Equal times are given out in a fixed order, so that equal files give equal reports.
    number: usize,
}

impl OpenPage {
    /// Reads a page. `None`: what cannot be read here was counted as damage by the first pass.
    pub(super) fn read(trace: &Trace<'_>, page: &EventPage) -> Option<Self> {
        let Trace { bytes, snapshot, .. } = trace;
        let (thread, mut events): (_, Vec<Event>) = match page.source.place() {
            Place::Raw(number) => {
                let RawPage { offset, thread } = *trace.raw_pages.get(number)?;
                (thread, raw_events(snapshot.body(bytes, offset)).flatten().collect())
            }
            Place::Chunk(offset) => {
                let (header, plain) = plain_chunk(bytes, offset)?;
                let mut events = Vec::new();
                let (thread, _) = each_event(header.kind, &plain, |event| events.push(event))?;
                (thread, events)
            }
        };
        snapshot.leave_out_later(&mut events);
        // Stable: events of one tick come out as they were recorded.
        events.sort_by_key(Event::order);
        Some(Self { thread, events, at: 0, number: 0 })
    }

    fn none() -> Self {
        let thread = PageThread { number: 0, tid: 0 };
        Self { thread, events: Vec::new(), at: 0, number: 0 }
    }

    /// What a page is given out by: the order of its next event. A page that is used up comes last.
    fn next(&self) -> (bool, Option<(Ticks, bool)>, usize) {
        let next = self.events.get(self.at).map(Event::order);
        (next.is_none(), next, self.number)
    }
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
        self.next().cmp(&other.next())
    }
}

impl<'p> Events<'p> {
    /// The events of pages that are in the order in which they begin, and what is in them.
    pub(super) fn new(
        waiting: &'p [EventPage],
        pages: impl Iterator<Item = Option<OpenPage>> + 'p,
    ) -> Self {
        let pages = Box::new(pages);
        Self { waiting, pages, current: OpenPage::none(), run_ends: 0, open: BinaryHeap::new() }
    }

    /// How many pages are yet to be opened: a measure of progress.
    pub fn pages_left(&self) -> usize {
        self.waiting.len()
    }

    /// Opens every page that may hold the next event.
    fn open_pages(&mut self) {
        while let Some((page, later)) = self.waiting.split_first() {
            let next = self.open.peek().and_then(|Reverse(open)| open.events.get(open.at));
            if next.is_some_and(|next| next.time() < page.first) {
                return;
            }
            self.waiting = later;
            if let Some(Some(page)) = self.pages.next()
                && !page.events.is_empty()
            {
                self.open.push(Reverse(OpenPage { number: self.waiting.len(), ..page }));
            }
        }
    }

    /// Finds the page that the next events are from, and how many: a thread seldom does one thing and
    /// then another thread the next.
    fn next_run(&mut self) -> Option<()> {
        let used = std::mem::replace(&mut self.current, OpenPage::none());
        if used.at < used.events.len() {
            self.open.push(Reverse(used));
        }
        self.open_pages();
        let Reverse(first) = self.open.pop()?;
        // Until another page's next event, and before the next page begins.
        let other = self
            .open
            .peek()
            .and_then(|Reverse(other)| Some((other.events.get(other.at)?.order(), other.number)));
        let begins = self.waiting.first().map(|page| page.first);
        let follows = |event: &Event| {
            other.is_none_or(|other| (event.order(), first.number) < other)
                && begins.is_none_or(|begins| event.time() < begins)
        };
        let rest = first.events.get(first.at + 1..).unwrap_or_default();
        let length = 1 + rest.iter().position(|event| !follows(event)).unwrap_or(rest.len());
        self.run_ends = first.at + length;
        self.current = first;
        Some(())
    }
}

impl Iterator for Events<'_> {
    type Item = (PageThread, Event);

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        if self.current.at == self.run_ends {
            self.next_run()?;
        }
        let event = *self.current.events.get(self.current.at)?;
        self.current.at += 1;
        Some((self.current.thread, event))
    }
}
