//! Keeps the file below its bound: what came and went is counted, what lives stays as events.
//!
//! All drained chunks are read in the order of time and written anew. One store then makes what was written exist
//! and what it was made of not: a reader finds every event once, whenever the process dies.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use tftrace_format::chunk::{ChunkKind, Codec, Slot, look};
use tftrace_format::counters::Counter;
use tftrace_format::event_codec::{EventsReader, write_events};
use tftrace_format::page::{PAGE_BYTES, PAGE_HEADER_BYTES, PageKind};
use tftrace_format::page_codec::{
    PAYLOAD_LIMIT, PageThread, WRITING_ROOM, compress, decompress_into,
};
use tftrace_format::record::Record;
use tftrace_format::totals::Temporaries;
use tftrace_format::totals_codec::{TotalsReader, write_totals};
use tftrace_format::{Domain, Event, Ticks, event};

use super::fold::{Fold, Folded, Kept};
use super::run_log::{Chunk, RunLog};
use crate::process::Process;
use crate::spool::chunk_log::{RUN_BYTES, RUN_PAGES};
use crate::spool::{PageIndex, Spool};

/// Events of a chunk, and entries of one: even the longest fit into [`WRITING_ROOM`].
const EVENTS_PER_CHUNK: usize = 1_000;
const TOTALS_PER_CHUNK: usize = 1_400;

/// How long to wait for a thread to leave its hook, in milliseconds: one that the system does not let run.
const PATIENCE_MS: u32 = 200;

/// The runs of the drain, and what they may take.
#[derive(Debug)]
pub(super) struct Compactor {
    bound_pages: u64,
    drained: RunLog,
    compacted: RunLog,
    emptied: Vec<PageIndex>,
    folded: u64,
    /// Pages that were drained when the last attempt failed.
    failed_at: u64,
    plain: Vec<u8>,
    packed: Vec<u8>,
}

impl Compactor {
    /// For a file of so many bytes; `None`: no memory.
    pub(super) fn new(bound: u64) -> Option<Self> {
        let mut compactor = Self {
            bound_pages: bound / PAGE_BYTES as u64,
            drained: RunLog::new(PageKind::Drained, None),
            compacted: RunLog::new(PageKind::Compacted, Some(0)),
            emptied: Vec::new(),
            folded: 0,
            failed_at: 0,
            plain: Vec::new(),
            packed: Vec::new(),
        };
        let rooms = [(&mut compactor.plain, WRITING_ROOM), (&mut compactor.packed, PAYLOAD_LIMIT)];
        for (room, len) in rooms {
            room.try_reserve_exact(len).ok()?;
            room.resize(len, 0);
        }
        Some(compactor)
    }

    /// Appends a drained page.
    pub(super) fn append(&mut self, spool: &Spool, now: Ticks, chunk: Chunk<'_>) -> Option<()> {
        self.drained.append(spool, &mut self.emptied, now, chunk)
    }

    /// Compacts if it is time to.
    pub(super) fn after_page(&mut self, process: &Process) {
        let pages = self.drained.pages();
        if pages < self.failed_at.saturating_add(self.due(&process.spool)) {
            return;
        }
        self.failed_at = match self.compact(process) {
            Some(()) => 0,
            // No memory, no disk, or a thread that hangs in a hook: again after as much again.
            None => pages,
        };
        let beyond = process.spool.disk_pages().saturating_sub(self.bound_pages);
        if beyond > 0 {
            process.spool.raise_counter(Counter::PagesBeyondBound, beyond);
        }
    }

    /// Pages that may be drained before it pays to compact: half of what is free, because for a moment
    /// what stays is there twice. Where live data leaves nothing free, a part of that.
    fn due(&self, spool: &Spool) -> u64 {
        let (drained, compacted) = (self.drained.pages(), self.compacted.pages());
        let others = spool.disk_pages().saturating_sub(drained.saturating_add(compacted));
        // An eighth is left for what threads write while this works.
        let aim = self.bound_pages.saturating_sub(self.bound_pages / 8);
        let room = aim.saturating_sub(others.saturating_add(compacted.saturating_mul(2)));
        (room / 2).max(compacted / 4).max(self.bound_pages / 16)
    }

    fn compact(&mut self, process: &Process) -> Option<()> {
        let horizon = horizon(process)?;
        let mut fold = Fold::new(horizon);
        self.read(process, horizon, &mut fold)?;
        let Folded { kept, totals, pairs } = fold.finish()?;
        let serial = process.spool.take_serial();
        let mut new = RunLog::new(PageKind::Compacted, Some(serial));
        let folded = self.folded.saturating_add(pairs);
        self.emptied
            .try_reserve(self.drained.runs().len().checked_add(self.compacted.runs().len())?)
            .ok()?;
        let record = Record::Compacted { until: horizon, folded };
        if self.write(process, &mut new, &record, &kept, &totals).is_none() {
            self.empty(&process.spool, &new);
            return None;
        }
        // The commit point.
        process.spool.commit(Counter::CompactedBelow, serial);
        self.folded = folded;
        let drained = core::mem::replace(&mut self.drained, RunLog::new(PageKind::Drained, None));
        let compacted = core::mem::replace(&mut self.compacted, new);
        self.empty(&process.spool, &drained);
        self.empty(&process.spool, &compacted);
        Some(())
    }

    fn empty(&mut self, spool: &Spool, old: &RunLog) {
        for &run in old.runs() {
            // SAFETY: the drain's own run, which nothing refers to any more.
            if unsafe { spool.empty_run(run, RUN_PAGES) } && self.emptied.try_reserve(1).is_ok() {
                self.emptied.push(run);
            }
        }
    }

    /// Shows `fold` all events in the order of time.
    fn read(&mut self, process: &Process, horizon: Ticks, fold: &mut Fold) -> Option<()> {
        let spool = &process.spool;
        let mut pages: Vec<(Ticks, usize)> = Vec::new();
        let mut chunks: Vec<&[u8]> = Vec::new();
        for &run in self.drained.runs().iter().chain(self.compacted.runs()) {
            // SAFETY: a run of the drain's, which only this thread writes to, and not now.
            let run = unsafe { core::slice::from_raw_parts(spool.page(run), RUN_BYTES) };
            let mut rest = run.get(PAGE_HEADER_BYTES..)?;
            while let Slot::Chunk(header, payload, taken) = look(rest) {
                let plain = decompress_into(&header, payload, &mut self.plain)?;
                if header.kind == ChunkKind::Totals as u8 {
                    let (_, mut entries) = TotalsReader::new(plain)?;
                    entries.try_for_each(|entry| fold.count(entry.key, entry.count))?;
                } else if header.kind == ChunkKind::Events as u8 {
                    let (_, mut events) = EventsReader::new(plain)?;
                    if let Some(first) = events.next() {
                        pages.try_reserve(1).ok()?;
                        chunks.try_reserve(1).ok()?;
                        pages.push((first.time(), chunks.len()));
                        chunks.push(rest);
                    }
                }
                rest = rest.get(taken..)?;
            }
        }
        pages.sort_unstable_by_key(|page| Reverse(*page));
        let mut open: Vec<Cursor> = Vec::new();
        let mut order = BinaryHeap::new();
        let begin = |cursor: Cursor, order: &mut BinaryHeap<_>, open: &mut Vec<Cursor>| {
            open.try_reserve(1).ok()?;
            order.try_reserve(1).ok()?;
            if let Some(next) = cursor.events.last() {
                order.push(Reverse((next.order(), open.len())));
                open.push(cursor);
            }
            Some(())
        };
        begin(Cursor { thread: None, events: elsewhere(spool, horizon)? }, &mut order, &mut open)?;
        loop {
            while let Some((first, chunk)) = pages.last().copied()
                && order.peek().is_none_or(|Reverse(((next, _), _))| *next >= first)
            {
                pages.pop();
                let Slot::Chunk(header, payload, _) = look(chunks.get(chunk)?) else { return None };
                let plain = decompress_into(&header, payload, &mut self.plain)?;
                begin(Cursor::of(plain)?, &mut order, &mut open)?;
            }
            let Some(Reverse((_, at))) = order.pop() else { return Some(()) };
            let cursor = open.get_mut(at)?;
            let event = cursor.events.pop()?;
            match cursor.thread {
                Some(thread) => fold.drained(thread, event)?,
                None => fold.elsewhere(event)?,
            }
            match cursor.events.last() {
                Some(next) => order.push(Reverse((next.order(), at))),
                None => cursor.events = Vec::new(),
            }
        }
    }

    fn write(
        &mut self,
        process: &Process,
        new: &mut RunLog,
        record: &Record<'_>,
        kept: &[Kept],
        totals: &[(tftrace_format::totals::TemporaryKey, u64)],
    ) -> Option<()> {
        let Self { emptied, plain, packed, .. } = self;
        let (spool, now) = (&process.spool, process.clock.now());
        let len = record.to_wire(plain)?;
        let payload = plain.get(..len)?;
        let (kind, codec) = (ChunkKind::Record, Codec::Plain);
        new.append(spool, emptied, now, Chunk { kind, codec, payload, plain_len: len, serial: 0 })?;
        let mut append = |kind: ChunkKind, len: usize, plain: &[u8]| {
            let (codec, packed_len) = compress(plain.get(..len)?, packed)?;
            let payload = packed.get(..packed_len)?;
            new.append(
                spool,
                emptied,
                now,
                Chunk { kind, codec, payload, plain_len: len, serial: 0 },
            )
        };
        let same_thread = |a: &Kept, b: &Kept| a.thread.number == b.thread.number;
        for of_thread in kept.chunk_by(same_thread) {
            for part in of_thread.chunks(EVENTS_PER_CHUNK) {
                let events = part.iter().map(|kept| kept.event);
                let len = write_events(part.first()?.thread, events, plain)?;
                append(ChunkKind::Events, len, plain)?;
            }
        }
        for part in totals.chunks(TOTALS_PER_CHUNK) {
            let entries = part.iter().map(|&(key, count)| Temporaries { key, count });
            let len = write_totals(PageThread { number: 0, tid: 0 }, entries, plain)?;
            append(ChunkKind::Totals, len, plain)?;
        }
        Some(())
    }
}

/// A page of events that is being read, the latest first.
#[derive(Debug)]
struct Cursor {
    /// `None`: the events are not drained yet.
    thread: Option<PageThread>,
    events: Vec<Event>,
}

impl Cursor {
    fn of(plain: &[u8]) -> Option<Self> {
        let (thread, reader) = EventsReader::new(plain)?;
        let mut events = Vec::new();
        for event in reader {
            events.try_reserve(1).ok()?;
            events.push(event);
        }
        events.reverse();
        Some(Self { thread: Some(thread), events })
    }
}

/// A time before which every allocation stands in some page. `None`: a thread hangs in a hook.
///
/// An allocation is stamped and stored within one hook. So once every thread was seen outside of its
/// hooks, what comes is later. What a thread stored last may arrive a moment after what it stored
/// before: hence the pause.
fn horizon(process: &Process) -> Option<Ticks> {
    let pause = || std::thread::sleep(std::time::Duration::from_millis(1));
    pause();
    let now = process.clock.now();
    pause();
    let mut left = PATIENCE_MS;
    let mut wait = || {
        pause();
        left = left.saturating_sub(1);
        left > 0
    };
    let passed = process.threads.pass_all(&mut wait);
    pause();
    passed.then_some(now)
}

/// The blocks in pages that are not drained yet, events up to a time; the latest first.
///
/// Threads write on meanwhile: they add what is later, and take away an allocation only together with
/// its free.
fn elsewhere(spool: &Spool, until: Ticks) -> Option<Vec<Event>> {
    use core::sync::atomic::Ordering;
    let mut events = Vec::new();
    let mut enough_memory = true;
    spool.each_raw_page(|words| {
        let slots = words.get(PAGE_HEADER_BYTES / 8..).unwrap_or_default();
        for slot in slots.chunks_exact(event::EVENT_BYTES / 8) {
            let [first, second, third] = slot else { continue };
            // Acquire: pairs with the release of the last word.
            let third = third.load(Ordering::Acquire);
            let words = [first, second].map(|word| word.load(Ordering::Relaxed));
            let raw = event::RawEvent([words[0], words[1], third]);
            let Some(event) = (!raw.is_empty()).then(|| raw.unpack()).flatten() else { continue };
            let of_block = match event {
                Event::Allocated { domain, .. } | Event::Freed { domain, .. } => {
                    domain != Domain::Mmap
                }
                Event::RangeFreed { .. }
                | Event::Marked { .. }
                | Event::Failed { .. }
                | Event::ContextEnded { .. }
                | Event::Folded { .. } => false,
            };
            if of_block && event.time() < until {
                enough_memory &= events.try_reserve(1).is_ok();
                if enough_memory {
                    events.push(event);
                }
            }
        }
    });
    events.sort_unstable_by_key(|event| Reverse(event.order()));
    enough_memory.then_some(events)
}
