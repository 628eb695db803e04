//! Reading a trace: every whole chunk of any file, and a list of what was not readable.
//!
//! [`Trace::open`] looks at every page once (headers, CRCs, the stack tree, records).
//! [`Trace::events`] then streams the events of all threads in one order, holding one page per thread.

mod damage;
mod merge;
mod node_table;
mod ordered;
mod packed;
mod records;
mod runs;
mod scan;
mod snapshot;
mod source;

pub use damage::{Damage, DamageKind, OpenError};
pub use merge::Events;

use merge::OpenPage;
use node_table::NodeTable;
use records::Records;
use source::{EventPage, RawPage};

use crate::counters::{COUNTERS_PAGE, Counter, Counters};
use crate::header::Header;
use crate::ids::{CodeId, LabelId, MappingId, OpId, StackId, Ticks};
use crate::layout::{Area, MemoryLayout};
use crate::node::{Frame, Node};
use crate::page::PAGE_BYTES;
use crate::page_codec::PageThread;
use crate::record::{LineTable, MemoryReading};
use crate::totals::Temporaries;

/// So many pages are worth a second thread.
const WORTH_THREADS: usize = 64;

/// An object file that was on a stack, owned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LoadedObject {
    /// Names it in stack frames.
    pub id: MappingId,
    /// Address of its first mapped byte.
    pub start: u64,
    /// Bytes from its first to its last mapped one.
    pub len: u64,
    /// What the loader added to the addresses in the file.
    pub bias: u64,
    /// The note that names this build; empty if it has none.
    pub build_id: Vec<u8>,
    /// The path under which it was loaded.
    pub path: Vec<u8>,
    /// When it was first seen on a stack.
    pub seen: Ticks,
    /// When it was unloaded, if it was.
    pub unmapped: Option<Ticks>,
}

impl LoadedObject {
    /// The address in the file's own numbering, for an offset as frames carry it.
    pub fn file_address(&self, offset: u64) -> u64 {
        self.start.wrapping_add(offset).wrapping_sub(self.bias)
    }
}

/// A Python code object that was on a stack, owned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CodeObject {
    /// The line that its first instruction counts from.
    pub first_line: u32,
    /// The function's name, as tracebacks print it.
    pub name: String,
    /// The file it was compiled from.
    pub file: String,
    /// What `lines` is.
    pub line_table: LineTable,
    /// Which instruction is of which line.
    pub lines: Vec<u8>,
}

/// What a framework said it was computing, owned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Op {
    /// The operation, as the framework names it; empty if it did not say.
    pub name: String,
    /// What the memory is of it: `output`, `temp`, ...
    pub region: String,
    /// TensorFlow's number of the element type; 0 = unknown.
    pub data_type: u32,
}

/// Temporaries of one thread while one page was open.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TotalsPage {
    /// Whose.
    pub thread: PageThread,
    /// The entries.
    pub entries: Vec<Temporaries>,
}

/// The cycle collection that Python runs when it begins to shut down.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LastCollection {
    /// When it began.
    pub began: Ticks,
    /// When it was over.
    pub ended: Ticks,
    /// Whether the program had left the collector on; if not, none was run.
    pub enabled: bool,
}

/// Whose the process's memory was, owned: see [`MemoryLayout`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Layout {
    /// When.
    pub time: Ticks,
    /// Private pages of files, in bytes.
    pub files: u64,
    /// The main thread's stack.
    pub main_stack: u64,
    /// The tracer's own.
    pub tracer: u64,
    /// Areas that are not listed.
    pub rest: u64,
    /// Those that are, by address.
    pub areas: Vec<Area>,
}

impl Layout {
    fn of(time: u64, layout: &MemoryLayout<'_>) -> Self {
        let MemoryLayout { files, main_stack, tracer, rest, .. } = *layout;
        let areas = layout.areas().collect();
        Self { time: Ticks(time), files, main_stack, tracer, rest, areas }
    }
}

/// A trace, opened: everything but its events.
#[derive(Debug)]
pub struct Trace<'a> {
    bytes: &'a [u8],
    header: Header<'a>,
    nodes: NodeTable,
    records: Records,
    counters: Counters,
    damage: Vec<Damage>,
    raw_pages: Vec<RawPage>,
    event_pages: Vec<EventPage>,
    totals_pages: Vec<scan::TotalsSource>,
    snapshot: snapshot::Snapshot,
    /// Bytes of pages that were taken and are free again.
    unused: u64,
}

impl<'a> Trace<'a> {
    /// Opens the trace in `bytes`. Damage is no error as long as the header can be read.
    pub fn open(bytes: &'a [u8]) -> Result<Self, OpenError> {
        scan::open(bytes, false)
    }

    /// As [`Trace::open`], for a file that a running program still writes: shows what happened until one
    /// moment in this call. What the program did to the file meanwhile may count as damage; then the
    /// file should be mapped and opened again.
    pub fn open_written(bytes: &'a [u8]) -> Result<Self, OpenError> {
        scan::open(bytes, true)
    }

    /// Whether the program has compacted its trace since it was opened: what chunks held then is
    /// elsewhere in the file now, and was read in part.
    pub fn is_outdated(&self) -> bool {
        let page = self.bytes.get(COUNTERS_PAGE * PAGE_BYTES..).unwrap_or_default();
        let below = |counters: &Counters| counters.get(Counter::CompactedBelow);
        below(&Counters::from_wire(page)) != below(&self.counters)
    }

    /// What was known when the trace began.
    pub fn header(&self) -> &Header<'a> {
        &self.header
    }

    /// The command line, arguments separated by spaces.
    pub fn command_line(&self) -> String {
        let arguments = self.header.command_line.split(|&byte| byte == 0);
        let arguments: Vec<_> =
            arguments.filter(|a| !a.is_empty()).map(String::from_utf8_lossy).collect();
        arguments.join(" ")
    }

    /// The node of a stack; `None` if it was lost to damage.
    pub fn node(&self, stack: StackId) -> Option<Node> {
        self.nodes.get(stack.get() as usize)
    }

    /// How many stacks there are, prefixes included.
    pub fn node_count(&self) -> usize {
        self.nodes().count()
    }

    /// A number above those of all stacks whose node is known.
    pub fn stacks_end(&self) -> usize {
        self.nodes.len()
    }

    /// A Python code object; `None` if it was lost to damage, or is not in the trace.
    pub fn code(&self, id: CodeId) -> Option<&CodeObject> {
        self.records.codes.get(&id)
    }

    /// What a framework computed; `None` if it was lost to damage, or is not in the trace.
    pub fn op(&self, id: OpId) -> Option<&Op> {
        self.records.ops.get(&id)
    }

    /// The nodes of all stacks, those lost to damage left out.
    pub fn nodes(&self) -> impl Iterator<Item = (StackId, Node)> + '_ {
        let numbers = 0..self.nodes.len();
        numbers.filter_map(|id| Some((StackId::new(id as u32)?, self.nodes.get(id)?)))
    }

    /// The frames of a stack from leaf to root. A lost node ends it with [`Frame::Unknown`].
    pub fn frames(&self, stack: StackId) -> impl Iterator<Item = Frame> + '_ {
        let mut next = Some(stack);
        std::iter::from_fn(move || {
            let id = next.take()?;
            let Some(node) = self.node(id) else { return Some(Frame::Unknown) };
            // Parents have smaller ids; a damaged one that has not must not loop.
            next = node.parent.filter(|parent| *parent < id);
            Some(node.frame)
        })
    }

    /// The object of a mapping id; `None` if its record was lost.
    pub fn object(&self, id: MappingId) -> Option<&LoadedObject> {
        self.records.objects.get(&id)
    }

    /// All objects, in no order.
    pub fn objects(&self) -> impl Iterator<Item = &LoadedObject> {
        self.records.objects.values()
    }

    /// The name of a mark.
    pub fn label(&self, id: LabelId) -> Option<&str> {
        self.records.labels.get(&id).map(String::as_str)
    }

    /// Samples of the process's memory, by time.
    pub fn readings(&self) -> &[MemoryReading] {
        &self.records.readings
    }

    /// Whose the process's memory was, by time: seldom looked at.
    pub fn layouts(&self) -> &[Layout] {
        &self.records.layouts
    }

    /// When the Python interpreter began to shut down for the last time; `None` if it did not, or
    /// was started again.
    pub fn shut_down(&self) -> Option<Ticks> {
        let last = self.records.shut_downs.iter().max();
        last.filter(|(_, begins)| *begins).map(|(time, _)| *time)
    }

    /// The cycle collection at the beginning of Python's shutdown; `None` if it was not seen.
    pub fn last_collection(&self) -> Option<LastCollection> {
        self.records.last_collection
    }

    /// When recording was switched on (true) or off, by time. Empty: it was never off.
    pub fn recordings(&self) -> &[(Ticks, bool)] {
        &self.records.recordings
    }

    /// If the trace was compacted: until when, and how many allocations are only counted since.
    pub fn compacted(&self) -> Option<(Ticks, u64)> {
        self.records.compacted
    }

    /// What the tracer said about itself.
    pub fn notes(&self) -> &[String] {
        &self.records.notes
    }

    /// The numbers of the counters page.
    pub fn counters(&self) -> &Counters {
        &self.counters
    }

    /// What was not readable: all of it, because [`Trace::open`] looks at every page.
    pub fn damage(&self) -> &[Damage] {
        &self.damage
    }

    /// Events that could not be recorded: how many, and why. Only reasons that occurred.
    pub fn losses(&self) -> Vec<(u64, &'static str)> {
        let counters = Counter::ALL.into_iter().filter_map(|counter| {
            let count = self.counters.get(counter)?;
            Some((count, counter.loss()?))
        });
        counters.filter(|(count, _)| *count > 0).collect()
    }

    /// Seconds since the trace began. Uses the memory readings to refine the clock's rate.
    pub fn seconds(&self, time: Ticks) -> f64 {
        let rate =
            self.records.readings.last().filter(|reading| reading.monotonic_ns > 500_000_000);
        match rate {
            Some(reading) if reading.time > 0 => {
                time.0 as f64 * (reading.monotonic_ns as f64 / reading.time as f64) / 1e9
            }
            _ => time.0 as f64 / self.header.ticks_per_second as f64,
        }
    }

    /// Temporaries, page by page.
    pub fn totals(&self) -> impl Iterator<Item = TotalsPage> + '_ {
        self.totals_pages.iter().filter_map(|source| source.read(self))
    }

    /// The events of all threads, in order. What is damaged is left out and in [`Trace::damage`].
    pub fn events(&self) -> Events<'_> {
        let pages = self.event_pages.iter().map(|page| OpenPage::read(self, page));
        Events::new(&self.event_pages, pages)
    }

    /// Shows the same events to `consume`, while other threads decode those that follow.
    pub fn read_events<T>(&self, consume: impl FnOnce(&mut Events<'_>) -> T) -> T {
        let few = self.event_pages.len() < WORTH_THREADS;
        let threads = if few { 0 } else { ordered::helpers() };
        let read = |page: &EventPage| OpenPage::read(self, page);
        ordered::in_order(&self.event_pages, threads, read, |pages| {
            consume(&mut Events::new(&self.event_pages, pages))
        })
    }

    /// Bytes of the file that hold something.
    pub fn used_bytes(&self) -> u64 {
        let taken = self.counters.get(Counter::PagesTaken).unwrap_or(0);
        let taken = taken.saturating_mul(PAGE_BYTES as u64).min(self.bytes.len() as u64);
        taken.saturating_sub(self.unused)
    }
}
