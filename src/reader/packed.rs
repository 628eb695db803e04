//! What a chunk of events or of totals holds, as columns or, in versions up to 5, as rows.

use crate::chunk::ChunkKind;
use crate::event::Event;
use crate::event_codec::EventsReader;
use crate::page_codec::PageThread;
use crate::rows::{EventRows, total_rows};
use crate::totals::Temporaries;
use crate::totals_codec::TotalsReader;

/// Whether a chunk of this kind holds events.
pub(super) fn events_are_in(kind: u8) -> bool {
    [ChunkKind::Events, ChunkKind::EventRows].map(|kind| kind as u8).contains(&kind)
}

/// Shows the events of a chunk. Gives whose they are, and whether that was all that stands there; `None` if not even
/// the beginning makes sense.
pub(super) fn each_event(
    kind: u8,
    bytes: &[u8],
    show: impl FnMut(Event),
) -> Option<(PageThread, bool)> {
    if kind == ChunkKind::EventRows as u8 {
        let (thread, mut events) = EventRows::new(bytes)?;
        events.by_ref().for_each(show);
        return Some((thread, events.is_finished()));
    }
    let (thread, mut events) = EventsReader::new(bytes)?;
    events.by_ref().for_each(show);
    Some((thread, events.is_finished()))
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
