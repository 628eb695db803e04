//! Call stacks with all their weights, as lists of frames that other tools know.

use rustc_hash::FxHashMap;
use tftrace_format::Domain;
use tftrace_format::reader::Trace;

use crate::cli::ViewArgs;
use crate::heap::{Level, StackTotals, Weights};
use crate::stack::{Row, rows};
use crate::symbol::{Place, Symbols};

/// What one number of a stack is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Measure {
    /// Its name, without a unit.
    pub name: &'static str,
    /// Whether it is bytes; else it is a number of blocks.
    pub is_bytes: bool,
}

/// The four weights that every trace has, in bytes and in blocks.
pub(super) const MEASURES: [Measure; 8] = [
    Measure { name: "unfreed_space", is_bytes: true },
    Measure { name: "unfreed_objects", is_bytes: false },
    Measure { name: "peak_space", is_bytes: true },
    Measure { name: "peak_objects", is_bytes: false },
    Measure { name: "temporary_space", is_bytes: true },
    Measure { name: "temporary_objects", is_bytes: false },
    Measure { name: "alloc_space", is_bytes: true },
    Measure { name: "alloc_objects", is_bytes: false },
];

/// The values of a stack, in the order of [`ExportedStacks::measures`].
pub(super) type Values = [u64; MEASURES.len()];

/// A frame: a function, or what stands for several.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct ExportedFrame {
    pub(super) name: String,
    /// Empty if it is not known.
    pub(super) file: String,
    /// 0 if it is not known.
    pub(super) line: u32,
}

/// All stacks of a trace. Stacks that read the same are one.
#[derive(Clone, Debug, Default)]
pub struct ExportedStacks {
    pub(super) frames: Vec<ExportedFrame>,
    /// Domain, frames from the leaf to the root, values; sorted.
    pub(super) stacks: Vec<(Domain, Box<[u32]>, Values)>,
}

impl ExportedStacks {
    /// All of the weights, with the frames that the view shows.
    pub fn new(trace: &Trace<'_>, symbols: &Symbols, weights: &Weights, view: ViewArgs) -> Self {
        let mut table = Table::default();
        let mut merged: FxHashMap<(Domain, Box<[u32]>), Values> = FxHashMap::default();
        let totals = [&weights.unfreed, &weights.peak, &weights.temporary, &weights.allocated];
        for (at, totals) in totals.into_iter().enumerate() {
            for (domain, stack, level) in sorted(totals) {
                let frames = stack.into_iter().flat_map(|stack| trace.frames(stack));
                let places: Vec<&Place> = frames.flat_map(|frame| symbols.places(frame)).collect();
                let frames = match stack {
                    None => [table.note("[no call stack recorded]")].into(),
                    Some(_) => rows(&places, view).iter().map(|row| table.id(row)).collect(),
                };
                let values = merged.entry((domain, frames)).or_default();
                values[2 * at] = values[2 * at].saturating_add(level.bytes);
                values[2 * at + 1] = values[2 * at + 1].saturating_add(level.blocks);
            }
        }
        let mut stacks: Vec<_> =
            merged.into_iter().map(|((domain, frames), values)| (domain, frames, values)).collect();
        stacks.sort_unstable();
        Self { frames: table.frames, stacks }
    }

    /// What the values of a stack are.
    pub fn measures(&self) -> &'static [Measure] {
        &MEASURES
    }
}

/// In one order, whatever the table's: equal traces give equal files.
fn sorted(
    totals: &StackTotals,
) -> impl Iterator<Item = (Domain, Option<tftrace_format::StackId>, Level)> {
    let mut all: Vec<_> =
        totals.iter().map(|((domain, stack), level)| (domain, stack, level)).collect();
    all.sort_unstable();
    all.into_iter()
}

/// Frames by number, each once.
#[derive(Default)]
struct Table {
    frames: Vec<ExportedFrame>,
    ids: FxHashMap<ExportedFrame, u32>,
    /// A function stands on thousands of stacks: look it up once.
    of_place: FxHashMap<*const Place, u32>,
}

impl Table {
    fn id(&mut self, row: &Row<'_>) -> u32 {
        match *row {
            // Without its length: runs of any length are one function.
            Row::Run(name, _) => self.note(&format!("[{name} frames]")),
            Row::Shown(place) => match self.of_place.get(&std::ptr::from_ref(place)) {
                Some(&id) => id,
                None => {
                    let id = self.add(exported(place));
                    self.of_place.insert(place, id);
                    id
                }
            },
        }
    }

    fn note(&mut self, name: &str) -> u32 {
        self.add(ExportedFrame { name: name.to_owned(), file: String::new(), line: 0 })
    }

    fn add(&mut self, frame: ExportedFrame) -> u32 {
        let next = self.frames.len() as u32;
        *self.ids.entry(frame).or_insert_with_key(|frame| {
            self.frames.push(frame.clone());
            next
        })
    }
}

fn exported(place: &Place) -> ExportedFrame {
    let name = place.function.clone();
    let location = place.location.as_deref().unwrap_or_default();
    let with_line =
        location.rsplit_once(':').and_then(|(file, line)| Some((file, line.parse().ok()?)));
    let (file, line) = match (with_line, &place.module) {
        (Some((file, line)), _) => (file, line),
        (None, Some(module)) if location.is_empty() => (&**module, 0),
        (None, _) => (location, 0),
    };
    ExportedFrame { name, file: file.to_owned(), line }
}
