//! The first pass: looks at every page once and finds out what the file holds.

mod nodes;

use std::collections::HashMap;

use super::damage::{Damage, DamageKind, OpenError};
use super::node_table::NodeTable;
use super::ordered::{helpers, in_order};
use super::packed::totals_of;
use super::records::Records;
use super::runs::{Found, Part, found_in};
use super::snapshot::Snapshot;
use super::source::{EventPage, Place, RawPage, Source};
use super::{TotalsPage, Trace};
use crate::chunk::{self, ChunkHeader, Slot};
use crate::counters::{COUNTERS_PAGE, Counter, Counters};
use crate::event::Event;
use crate::header::{FORMAT_VERSION, Header, HeaderFault};
use crate::ids::Ticks;
use crate::page::{NODES_PER_PAGE, PAGE_BYTES, PAGE_HEADER_BYTES};
use crate::page::{PageFault, PageHeader, PageKind, u64_at};
use crate::page_codec::{PageThread, decompress, raw_events};
use crate::totals::{TOTALS_BYTES, Temporaries};

/// A page of temporaries.
#[derive(Clone, Copy, Debug)]
pub(super) struct TotalsSource(Source);

impl TotalsSource {
    pub(super) fn read(&self, trace: &Trace<'_>) -> Option<TotalsPage> {
        let (thread, entries) = match self.0.place() {
            Place::Chunk(offset) => {
                let (header, plain) = plain_chunk(trace.bytes, offset)?;
                totals_of(header.kind, &plain)?
            }
            Place::Raw(number) => {
                let RawPage { offset, thread } = *trace.raw_pages.get(number)?;
                let words = raw_words(trace.snapshot.body(trace.bytes, offset), TOTALS_BYTES);
                (thread, words.filter_map(Temporaries::from_wire).collect())
            }
        };
        Some(TotalsPage { thread, entries })
    }
}

/// The chunk at `offset`, decompressed.
pub(super) fn plain_chunk(bytes: &[u8], offset: usize) -> Option<(ChunkHeader, Vec<u8>)> {
    match chunk::look(bytes.get(offset..)?) {
        Slot::Chunk(header, payload, _) => Some((header, decompress(&header, payload)?)),
        _ => None,
    }
}

/// What follows a page's header, as far as the file goes.
pub(super) fn page_body(bytes: &[u8], offset: usize) -> &[u8] {
    let end = bytes.len().min(offset.saturating_add(PAGE_BYTES));
    bytes.get(offset.saturating_add(PAGE_HEADER_BYTES)..end).unwrap_or_default()
}

/// The non-zero entries of a body whose entries have two words.
fn raw_words(body: &[u8], entry_bytes: usize) -> impl Iterator<Item = [u64; 2]> + '_ {
    let words = body.chunks_exact(entry_bytes).map(|slot| [u64_at(slot, 0), u64_at(slot, 8)]);
    // The second word is stored last: without it the entry was never finished.
    words.filter(|words| words[1] != 0)
}

pub(super) fn open(bytes: &[u8], is_written: bool) -> Result<Trace<'_>, OpenError> {
    if bytes.is_empty() {
        return Err(OpenError::Empty);
    }
    let header = Header::from_wire(bytes).map_err(|fault| match fault {
        HeaderFault::NotATrace => OpenError::NotATrace,
        HeaderFault::Truncated => OpenError::Truncated(bytes.len() as u64),
        HeaderFault::Newer(found) => OpenError::Newer { found, known: FORMAT_VERSION },
        HeaderFault::Damaged => OpenError::Damaged,
    })?;
    let mut scan = Scan::new(bytes, header);
    if is_written {
        scan.copy_pages();
    }
    // After that: where the file has grown, chunks may stand behind its end as it was.
    scan.counters();
    scan.pages();
    Ok(scan.finish())
}

/// So often the pages are looked at until no run has begun meanwhile. In an import one begins every few milliseconds.
const MOST_WALKS: usize = 20;
/// So many bytes of chunks are worth a second thread.
const WORTH_THREADS: usize = 4 << 20;

struct Scan<'a> {
    trace: Trace<'a>,
    raw: Vec<(PageHeader, usize)>,
    /// Serials of raw pages, and whether a chunk has the page too: then it is a copy.
    replaced: HashMap<u64, bool>,
    /// The same as they were copied, of a trace that is being written.
    copied: Option<Vec<(PageHeader, usize)>>,
    /// Pages of nodes with damaged ones: their serials, where they are, and how many.
    damaged_nodes: Vec<(u64, usize, u64)>,
    /// The serial of the last compaction; 0: there was none.
    compacted_below: u64,
}

impl<'a> Scan<'a> {
    fn new(bytes: &'a [u8], header: Header<'a>) -> Self {
        let trace = Trace {
            bytes,
            header,
            nodes: NodeTable::default(),
            records: Records::default(),
            counters: Counters::default(),
            damage: Vec::new(),
            raw_pages: Vec::new(),
            event_pages: Vec::new(),
            totals_pages: Vec::new(),
            snapshot: Snapshot::default(),
            unused: 0,
        };
        let (raw, replaced, damaged_nodes) = (Vec::new(), HashMap::new(), Vec::new());
        Self { trace, raw, replaced, copied: None, damaged_nodes, compacted_below: 0 }
    }

    fn damage(&mut self, offset: usize, bytes: usize, kind: DamageKind) {
        self.trace.damage.push(Damage { offset: offset as u64, bytes: bytes as u64, kind });
    }

    fn counters(&mut self) {
        let start = COUNTERS_PAGE * PAGE_BYTES;
        let page = self.trace.bytes.get(start..).unwrap_or_default();
        self.trace.counters = Counters::from_wire(page);
        let damaged = self.trace.counters.damaged();
        let len = self.trace.bytes.len();
        if damaged > 0 && !page.is_empty() {
            self.damage(start, damaged * 8, DamageKind::Counters(damaged));
        }
        let taken = self.trace.counters.get(Counter::PagesTaken).unwrap_or(0).max(2);
        let missing = (taken as usize).saturating_mul(PAGE_BYTES).saturating_sub(len);
        if missing > 0 {
            self.damage(len, missing, DamageKind::Truncated);
        }
    }

    /// Whether what a run holds stands elsewhere: a compaction took its place, or is not complete.
    fn is_void(&self, header: &PageHeader) -> bool {
        match header.kind {
            PageKind::Drained => header.serial < self.compacted_below,
            PageKind::Compacted => header.serial != self.compacted_below,
            _ => false,
        }
    }

    /// The serial of the last compaction. Where the counter is damaged: of the last that began.
    fn last_compaction(&self) -> u64 {
        self.trace.counters.get(Counter::CompactedBelow).unwrap_or_else(|| {
            let pages = self.trace.bytes.chunks(PAGE_BYTES).skip(COUNTERS_PAGE + 1);
            let headers = pages.filter_map(|page| PageHeader::from_wire(page).ok());
            let compacted = headers.filter(|header| header.kind == PageKind::Compacted);
            compacted.map(|header| header.serial).max().unwrap_or(0)
        })
    }

    /// Copies the pages of threads before anything else is looked at.
    fn copy_pages(&mut self) {
        self.compacted_below = self.last_compaction();
        let bytes = self.trace.bytes;
        let (snapshot, raw) = Snapshot::take(bytes, || {
            self.parts();
            std::mem::take(&mut self.raw)
        });
        self.trace.snapshot = snapshot;
        self.copied = Some(raw);
    }

    fn pages(&mut self) {
        self.compacted_below = self.last_compaction();
        let mut parts = self.parts_of_now();
        let ends = parts.iter().filter_map(|part| match part {
            // The newest page of nodes is seldom full, and so a page.
            Part::Nodes(header, _) => Some(header.number as usize + NODES_PER_PAGE),
            _ => None,
        });
        let end = ends.max().unwrap_or(0).min(self.most_nodes());
        self.trace.nodes.reserve(end);
        if self.node_pages(&parts) {
            // What was drained meanwhile stands in runs that may not have been there either.
            self.raw.clear();
            parts = self.parts_of_now();
        }
        // Those that were taken since then show nothing of the time that is shown.
        self.raw = self.copied.take().unwrap_or_else(|| std::mem::take(&mut self.raw));
        let of_nodes = parts.iter().filter_map(|part| match part {
            Part::Nodes(header, _) => Some(header),
            _ => None,
        });
        let raw = self.raw.iter().map(|(header, _)| header).chain(of_nodes);
        self.replaced = raw.map(|header| (header.serial, false)).collect();
        let bytes = self.trace.bytes;
        let in_runs = parts.iter().map(|part| match part {
            Part::Run { start, end } => end - start,
            _ => 0,
        });
        // This thread has little to do meanwhile.
        let threads = if in_runs.sum::<usize>() < WORTH_THREADS { 0 } else { helpers() + 1 };
        let look = |part: &Part| found_in(bytes, part);
        in_order(&parts, threads, look, |found| {
            for (part, found) in parts.iter().zip(found) {
                if let Part::Damaged { at, bytes, .. } = part {
                    self.damage(*at, *bytes, DamageKind::Page);
                }
                found.into_iter().for_each(|found| self.found(found));
            }
        });
    }

    /// As [`Scan::parts`]. While the file is written, a run may begin where no page was any more a moment ago, and take in
    /// a page that would have come later in the same walk: then both are missing.
    fn parts_of_now(&mut self) -> Vec<Part> {
        let mut parts = self.parts();
        let runs = |parts: &[Part]| -> Vec<usize> {
            let start = |part: &Part| match part {
                Part::Run { start, .. } => Some(*start),
                _ => None,
            };
            parts.iter().filter_map(start).collect()
        };
        for _ in 0..MOST_WALKS {
            if self.copied.is_none() {
                break;
            }
            self.raw.clear();
            let again = self.parts();
            let is_same = runs(&again) == runs(&parts);
            parts = again;
            if is_same {
                break;
            }
        }
        parts
    }

    /// The parts of the file by their headers; pages of threads are put aside.
    fn parts(&mut self) -> Vec<Part> {
        let bytes = self.trace.bytes;
        let taken = self.trace.counters.get(Counter::PagesTaken).unwrap_or(0) as usize;
        let mut parts = Vec::new();
        let mut unused = 0;
        let mut at = (COUNTERS_PAGE + 1) * PAGE_BYTES;
        while let Some(page) = bytes.get(at..).filter(|page| !page.is_empty()) {
            match PageHeader::from_wire(page) {
                Ok(header) if header.kind.is_run() => {
                    let run = (header.number.max(1) as usize).saturating_mul(PAGE_BYTES);
                    let end = at.saturating_add(run).min(bytes.len());
                    if self.is_void(&header) {
                        unused += end - at;
                    } else {
                        parts.push(Part::Run { start: (at + PAGE_HEADER_BYTES).min(end), end });
                    }
                    at = end;
                    continue;
                }
                Ok(header) if matches!(header.kind, PageKind::Nodes | PageKind::WideNodes) => {
                    parts.push(Part::Nodes(header, at));
                }
                Ok(header) => self.raw.push((header, at)),
                // A page whose magic is missing may be the rest of a run whose header is damaged.
                Err(PageFault::Unused) if at / PAGE_BYTES < taken => {
                    unused += page.len().min(PAGE_BYTES)
                }
                Err(PageFault::Unused) => {}
                Err(PageFault::Damaged) => {
                    let end = self.next_page(at);
                    parts.push(Part::Damaged { at, bytes: PAGE_BYTES.min(page.len()), end });
                    at = end;
                    continue;
                }
            }
            at = at.saturating_add(PAGE_BYTES);
        }
        self.trace.unused = unused as u64;
        parts
    }

    /// The next page that begins with a whole header or is unused.
    fn next_page(&self, damaged: usize) -> usize {
        let bytes = self.trace.bytes;
        let mut at = damaged.saturating_add(PAGE_BYTES);
        while let Some(page) = bytes.get(at..).filter(|page| !page.is_empty()) {
            if PageHeader::from_wire(page) != Err(PageFault::Damaged) {
                return at;
            }
            at = at.saturating_add(PAGE_BYTES);
        }
        bytes.len()
    }

    fn found(&mut self, found: Found<'a>) {
        match found {
            Found::Damage { offset, bytes, kind } => self.damage(offset, bytes, kind),
            // The process died while it was written: what it was to hold is in the page, which is read.
            Found::Unfinished { serial, .. } if self.replaced.contains_key(&serial) => {}
            Found::Unfinished { offset, bytes, .. } => {
                self.damage(offset, bytes, DamageKind::Chunk);
            }
            Found::Record { payload, offset } => {
                if !self.trace.records.take(payload) {
                    self.damage(offset, payload.len(), DamageKind::Contents);
                }
            }
            Found::Events { serial, page } => {
                self.is_in_chunk(serial);
                self.trace.event_pages.extend(page);
            }
            Found::Nodes { serial, offset } => {
                if self.node_chunk(offset) {
                    self.is_in_chunk(serial);
                } else {
                    self.damage(offset, 0, DamageKind::Contents);
                }
            }
            Found::Totals { serial, offset } => {
                self.is_in_chunk(serial);
                self.trace.totals_pages.push(TotalsSource(Source::chunk(offset)));
            }
        }
    }

    fn is_in_chunk(&mut self, serial: u64) {
        if let Some(replaced) = self.replaced.get_mut(&serial) {
            *replaced = true;
        }
    }

    fn finish(mut self) -> Trace<'a> {
        self.damaged_node_pages();
        for (header, offset) in std::mem::take(&mut self.raw) {
            if self.replaced.get(&header.serial).copied().unwrap_or(false) {
                continue;
            }
            let source = Source::raw(self.trace.raw_pages.len());
            let thread = PageThread { number: header.number, tid: header.tid };
            self.trace.raw_pages.push(RawPage { offset, thread });
            if header.kind == PageKind::Totals {
                self.raw_totals(offset);
                self.trace.totals_pages.push(TotalsSource(source));
            } else {
                self.raw_events(offset, source);
            }
        }
        self.trace.records.finish();
        // Of pages that begin at the same time, the last one is opened first.
        self.trace.event_pages.reverse();
        self.trace.event_pages.sort_by_key(|page| page.first);
        self.trace.event_pages.shrink_to_fit();
        self.trace
    }

    fn raw_totals(&mut self, offset: usize) {
        let body = self.trace.snapshot.body(self.trace.bytes, offset);
        let words = raw_words(body, TOTALS_BYTES);
        let damaged = words.filter(|&words| Temporaries::from_wire(words).is_none()).count();
        if damaged > 0 {
            self.damage(offset, PAGE_BYTES, DamageKind::Entries(damaged as u64));
        }
    }

    fn raw_events(&mut self, offset: usize, source: Source) {
        let (mut first, mut damaged) = (None, 0);
        for event in raw_events(self.trace.snapshot.body(self.trace.bytes, offset)) {
            match event.as_ref().map(Event::time) {
                Ok(time) => first = Some(first.map_or(time, |first: Ticks| first.min(time))),
                Err(()) => damaged += 1,
            }
        }
        if let Some(first) = first {
            self.trace.event_pages.push(EventPage { source, first });
        }
        if damaged > 0 {
            self.damage(offset, PAGE_BYTES, DamageKind::Entries(damaged));
        }
    }
}
