//! The pages of threads of a trace that is still being written, as they were at one moment.
//!
//! A page that a chunk replaces is used again at once, so what is read later is not what was found. Here
//! the pages are copied first; a page that is replaced meanwhile stands in a chunk, and those are
//! looked at after this. Pages are not copied at the same time, so events later than all of that are
//! left out: else a block could be seen twice whose free stands in a page that was copied before.

use std::collections::HashMap;

use super::scan::page_body;
use crate::event::Event;
use crate::ids::Ticks;
use crate::page::{PageHeader, PageKind};
use crate::page_codec::raw_events;

/// More are not copied (128 MiB). Where more wait, no drain runs that would use the others again.
const MOST_PAGES: usize = 4096;
/// So often a page is copied that changes meanwhile.
const ATTEMPTS: usize = 20;

/// Copies of pages, and until when they show what happened. Empty for a trace that nobody writes.
#[derive(Debug, Default)]
pub(super) struct Snapshot {
    bodies: HashMap<usize, Box<[u8]>>,
    until: Option<Ticks>,
}

impl Snapshot {
    /// Copies the pages that `raw` finds; each call of it looks anew. Gives those that hold something.
    pub(super) fn take(
        bytes: &[u8],
        mut raw: impl FnMut() -> Vec<(PageHeader, usize)>,
    ) -> (Self, Vec<(PageHeader, usize)>) {
        // What is recorded by now is recorded before the first page is copied.
        let until =
            raw().into_iter().filter_map(|(header, at)| newest(&header, page_body(bytes, at)));
        let until = until.max();
        let mut pages = raw();
        // The newest pages are those that change.
        pages.sort_unstable_by_key(|(header, _)| std::cmp::Reverse(header.serial));
        let mut bodies = HashMap::new();
        let mut place = 0;
        pages.retain(|(header, at)| {
            place += 1;
            if place > MOST_PAGES {
                return true;
            }
            let copy = copied(bytes, header, *at);
            copy.map(|body| bodies.insert(*at, body)).is_some()
        });
        pages.sort_unstable_by_key(|(_, at)| *at);
        (Self { bodies, until }, pages)
    }

    /// What follows the header of a page of a thread's.
    pub(super) fn body<'a>(&'a self, bytes: &'a [u8], offset: usize) -> &'a [u8] {
        match self.bodies.get(&offset) {
            Some(copy) => copy,
            None => page_body(bytes, offset),
        }
    }

    /// Leaves out what is later than the time that is shown.
    pub(super) fn leave_out_later(&self, events: &mut Vec<Event>) {
        if let Some(until) = self.until {
            events.retain(|event| event.time() <= until);
        }
    }
}

fn newest(header: &PageHeader, body: &[u8]) -> Option<Ticks> {
    let events = raw_events(body).flatten();
    (header.kind != PageKind::Totals).then(|| events.map(|event| event.time()).max()).flatten()
}

/// The page, if it is still this one once it is copied.
fn copied(bytes: &[u8], header: &PageHeader, at: usize) -> Option<Box<[u8]>> {
    let mut body: Box<[u8]> = Box::default();
    for _ in 0..ATTEMPTS {
        body = page_body(bytes, at).into();
        if PageHeader::from_wire(bytes.get(at..)?).ok()? != *header {
            return None;
        }
        // An event that was just being written has no sound check byte.
        if header.kind == PageKind::Totals || raw_events(&body).all(|event| event.is_ok()) {
            break;
        }
    }
    Some(body)
}
