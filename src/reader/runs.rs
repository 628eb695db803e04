//! What stands in the runs of chunks of a trace: each part of the file can be looked at by itself.
//!
//! Everything is decompressed and decoded, and nothing is kept of it but where it stands.

use std::ops::Range;

use super::damage::DamageKind;
use super::packed::{each_event, events_are_in, totals_are_in, totals_of};
use super::source::{EventPage, Source};
use crate::chunk::{self, ChunkHeader, ChunkKind, Slot};
use crate::page::{PageHeader, u32_at, u64_at};
use crate::page_codec::decompress;

/// A part of the file, as its page headers tell it.
pub(super) enum Part {
    /// A run of chunks, from the end of its header.
    Run { start: usize, end: usize },
    /// Pages that are damaged, in which chunks may be left.
    Damaged { at: usize, bytes: usize, end: usize },
    /// A page of nodes.
    Nodes(PageHeader, usize),
}

/// What stands in a run.
pub(super) enum Found<'a> {
    Damage {
        offset: usize,
        bytes: usize,
        kind: DamageKind,
    },
    /// A damaged chunk that would be all of this damage, and the serial of the page that it replaces.
    Unfinished {
        offset: usize,
        bytes: usize,
        serial: u64,
    },
    Record {
        payload: &'a [u8],
        offset: usize,
    },
    Events {
        serial: u64,
        page: Option<EventPage>,
    },
    Totals {
        serial: u64,
        offset: usize,
    },
    Nodes {
        serial: u64,
        offset: usize,
    },
}

/// What stands in a part of the file. Looks at nothing else, so that it does not matter when.
pub(super) fn found_in<'a>(bytes: &'a [u8], part: &Part) -> Vec<Found<'a>> {
    let mut found = Vec::new();
    match *part {
        Part::Run { start, end } => chunks(bytes, start, end, &mut found),
        Part::Damaged { at, end, .. } => chunks_after_damage(bytes, at, end, &mut found),
        Part::Nodes(..) => {}
    }
    found
}

/// Reads the chunks of a run. After the last one there are only zeros.
fn chunks<'a>(bytes: &'a [u8], start: usize, end: usize, found: &mut Vec<Found<'a>>) {
    let mut at = start;
    let mut damaged: Option<Range<usize>> = None;
    while at < end {
        match chunk::look(&bytes[at..end]) {
            Slot::Chunk(header, payload, taken) => {
                found.extend(damaged.take().map(|range| damage(bytes, range)));
                in_chunk(&header, payload, at, found);
                at += taken;
            }
            Slot::Empty => at += 8,
            Slot::Damaged => {
                damaged.get_or_insert(at..at).end = end.min(at + 8);
                at += 8;
            }
        }
    }
    found.extend(damaged.map(|range| damage(bytes, range)));
}

/// What is to be said of bytes that are no chunk, and no zeros.
fn damage<'a>(bytes: &[u8], range: Range<usize>) -> Found<'a> {
    let (offset, header) = (range.start, &bytes[range]);
    let (payload_len, serial) = (u32_at(header, 8) as usize, u64_at(header, 16));
    match chunk::framed_len(payload_len) {
        Some(len) if payload_len != 0 && header.len() <= len => {
            Found::Unfinished { offset, bytes: header.len(), serial }
        }
        _ => Found::Damage { offset, bytes: header.len(), kind: DamageKind::Chunk },
    }
}

/// Finds whole chunks in a place whose page header is lost; the page is already counted.
fn chunks_after_damage<'a>(bytes: &'a [u8], at: usize, end: usize, found: &mut Vec<Found<'a>>) {
    let mut at = at;
    while at < end {
        match chunk::look(&bytes[at..end]) {
            Slot::Chunk(header, payload, taken) => {
                in_chunk(&header, payload, at, found);
                at += taken;
            }
            _ => at += 8,
        }
    }
}

/// What a chunk holds; nothing if it may be skipped.
fn in_chunk<'a>(
    header: &ChunkHeader,
    payload: &'a [u8],
    offset: usize,
    found: &mut Vec<Found<'a>>,
) {
    let understood = if header.kind == ChunkKind::Record as u8 {
        found.push(Found::Record { payload, offset });
        true
    } else if events_are_in(header.kind) {
        in_event_chunk(header, payload, offset, found)
    } else if totals_are_in(header.kind) {
        let totals = decompress(header, payload).and_then(|plain| totals_of(header.kind, &plain));
        found.extend(totals.as_ref().map(|_| Found::Totals { serial: header.serial, offset }));
        totals.is_some()
    } else if header.kind == ChunkKind::Nodes as u8 {
        found.push(Found::Nodes { serial: header.serial, offset });
        true
    } else {
        header.kind >= 128
    };
    if !understood {
        found.push(Found::Damage { offset, bytes: payload.len(), kind: DamageKind::Contents });
    }
}

/// Whether all of it makes sense; what stands before the first event that does not is taken.
fn in_event_chunk(
    header: &ChunkHeader,
    payload: &[u8],
    offset: usize,
    found: &mut Vec<Found<'_>>,
) -> bool {
    let Some(plain) = decompress(header, payload) else { return false };
    let mut first = None;
    let read = each_event(header.kind, &plain, |event| {
        first.get_or_insert(event.time());
    });
    let Some((_, is_whole)) = read else { return false };
    let page = first.map(|first| EventPage { source: Source::chunk(offset), first });
    found.push(Found::Events { serial: header.serial, page });
    is_whole
}
