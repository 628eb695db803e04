//! What a chunk of events or of totals holds, as columns or, in versions up to 5, as rows.

use crate::chunk::ChunkKind;
use crate::event::Event;
use crate::event_codec::EventsReader;
use crate::page_codec::PageThread;
use crate::rows::{EventRows, total_rows};
use crate::totals::Temporaries;
use crate::totals_codec::TotalsReader;

/// The events of a chunk.
pub(super) enum PackedEvents<'a> {
    Columns(EventsReader<'a>),
    Rows(EventRows<'a>),
}

impl<'a> PackedEvents<'a> {
    /// Whether a chunk of this kind holds events.
    pub(super) fn are_in(kind: u8) -> bool {
        [ChunkKind::Events, ChunkKind::EventRows].map(|kind| kind as u8).contains(&kind)
    }

    /// Reads the thread, and stands before the first event.
    pub(super) fn new(kind: u8, bytes: &'a [u8]) -> Option<(PageThread, Self)> {
        if kind == ChunkKind::EventRows as u8 {
            EventRows::new(bytes).map(|(thread, rows)| (thread, Self::Rows(rows)))
        } else {
            EventsReader::new(bytes).map(|(thread, columns)| (thread, Self::Columns(columns)))
        }
    }

    /// Whether everything was read.
    pub(super) fn is_finished(&self) -> bool {
        match self {
            Self::Columns(events) => events.is_finished(),
            Self::Rows(events) => events.is_finished(),
        }
    }
}

impl Iterator for PackedEvents<'_> {
    type Item = Event;

    fn next(&mut self) -> Option<Event> {
        match self {
            Self::Columns(events) => events.next(),
            Self::Rows(events) => events.next(),
        }
    }
}

/// Whether a chunk of this kind holds totals.
pub(super) fn totals_are_in(kind: u8) -> bool {
    [ChunkKind::Totals, ChunkKind::TotalRows].map(|kind| kind as u8).contains(&kind)
}

/// The totals of a chunk; `None` if a part makes no sense.
pub(super) fn totals_of(kind: u8, bytes: &[u8]) -> Option<(PageThread, Vec<Temporaries>)> {
    if kind == ChunkKind::TotalRows as u8 {
        return total_rows(bytes);
    }
    let (thread, mut entries) = TotalsReader::new(bytes)?;
    let read = entries.by_ref().collect();
    entries.is_finished().then_some((thread, read))
}
