//! The call stacks of a trace as the page draws them: three trees, one for each way to see a stack.

use tftrace_format::reader::Trace;

use super::drawing::Drawing;
use super::frame_table::FrameTable;
use super::sites::{Asked, Site, sites};
use super::sketch::Sketch;
use super::stack_tree::{StackTree, WEIGHTS};
use crate::cli::{Frames, ViewArgs};
use crate::heap::StackTotals;
use crate::parallel::both;
use crate::symbol::Symbols;

/// The names of a node's weights, as the page's script and its permalinks know them.
pub const WEIGHT_NAMES: [&str; WEIGHTS] = ["growth", "unfreed", "peak", "temporary", "count"];

/// Which frames of a stack are shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum View {
    /// Python functions, ops and native code, frameworks folded.
    Mixed,
    /// Every native frame.
    Native,
    /// Python functions and ops.
    Python,
}

impl View {
    /// In the order in which the page offers them.
    pub const ALL: [View; 3] = [View::Mixed, View::Native, View::Python];

    /// As the page's script and its permalinks know it.
    pub fn name(self) -> &'static str {
        match self {
            View::Mixed => "mixed",
            View::Native => "native",
            View::Python => "python",
        }
    }

    pub(super) fn arguments(self) -> ViewArgs {
        let frames = match self {
            View::Mixed => Frames::Mixed,
            View::Native => Frames::Native,
            View::Python => Frames::Python,
        };
        ViewArgs { frames, show_all: false }
    }
}

/// What the page's flame graph and its list of sites are made of.
#[derive(Clone, Debug, Default)]
pub struct FlameGraph {
    /// All frames.
    pub frames: FrameTable,
    /// A tree for each of [`View::ALL`].
    pub trees: [StackTree; View::ALL.len()],
    /// Whether growth was judged; without it the page does not offer it.
    pub has_growth: bool,
    /// The places that asked for memory, heaviest first.
    pub sites: Vec<Site>,
}

impl FlameGraph {
    /// Draws every stack that has any weight, and what it grew by, if that was judged. Its frames are named by `symbols`.
    pub fn build(
        trace: &Trace<'_>,
        symbols: &Symbols,
        mut sketch: Sketch,
        growth: Option<&StackTotals>,
    ) -> Self {
        if let Some(growth) = growth {
            sketch.add_growth(trace, growth);
        }
        let cuts = sketch.cuts(trace);
        let mut graph = Self { has_growth: growth.is_some(), ..Self::default() };
        let [mixed, native, python] = &mut graph.trees;
        let frames = &mut graph.frames;
        let ((sites, plain), ()) = both(
            || {
                let mut frames = FrameTable::default();
                let mut drawing = Drawing::new(trace, symbols, &mut frames);
                let mut trees = [StackTree::default(), StackTree::default()];
                for (tree, view) in trees.iter_mut().zip([View::Native, View::Python]) {
                    drawing.draw_plain(tree, view.arguments(), &cuts);
                }
                (sites(&Asked::new(trace, symbols), sketch.stacks()), (trees, frames))
            },
            || Drawing::new(trace, symbols, frames).draw_folded(mixed, &cuts),
        );
        graph.sites = sites;
        let (trees, drawn) = plain;
        let numbers = frames.take_in(drawn);
        [*native, *python] = trees.map(|tree| tree.renumbered(&numbers));
        graph
    }
}

#[cfg(test)]
mod tests {
    use super::super::stack_tree::add;
    use super::*;
    use crate::heap::{Level, weigh};
    use crate::stack::frames_of;
    use crate::symbol::{Kind, Place, resolve};
    use tftrace_format::builder::{Packing, TraceBuilder};
    use tftrace_format::totals::{Temporaries, TemporaryKey};
    use tftrace_format::{CodeId, Domain, Event, Frame, Ticks};

    #[test]
    fn every_tree_weighs_what_the_trace_weighs() {
        let mut builder = TraceBuilder::new();
        let frames = |range: std::ops::Range<u64>| -> Vec<Frame> {
            range.map(|address| Frame::Raw { address }).collect()
        };
        let domain = Domain::Malloc;
        for at in 1..200_u64 {
            // Most stacks are too narrow to be drawn.
            let stack = Some(builder.stack(&[frames(1..4), frames(at..at + 3)].concat()));
            let size = if at % 50 == 0 { 10_000_001 } else { at };
            let (time, address) = (Ticks(at), at * 0x1000_0000);
            let event = Event::Allocated { time, domain, address, size, stack, file_backed: false };
            builder.event(0, event);
            builder.event(
                0,
                Event::Freed { time: Ticks(200 + at), domain, address: at * 0x1000_0000 },
            );
        }
        let time = Ticks(500);
        let event = Event::Allocated {
            time,
            domain,
            address: 16,
            size: 7,
            stack: None,
            file_backed: false,
        };
        builder.event(0, event);
        let stack = Some(builder.stack(&frames(1..3)));
        let key = TemporaryKey { stack, size: 1000, domain };
        builder.temporaries(0, Temporaries { key, count: 10_000_000 });
        let bytes = builder.build(Packing::Chunked);
        let trace = Trace::open(&bytes).unwrap();
        let (_, weights) = weigh(&trace, &Domain::ALL);
        let stacks = weights.allocated.iter().map(|((_, stack), _)| stack);
        let symbols = resolve(&trace, &frames_of(&trace, stacks));
        let peak = weights.peak.sum().bytes;
        let sketch = Sketch::of(&trace, &weights);
        let mut graph = FlameGraph::build(&trace, &symbols, sketch, None);
        assert!(!graph.has_growth);
        for tree in &graph.trees {
            let kept = tree.kept(usize::MAX, &mut graph.frames);
            let mut sum = [0; WEIGHTS];
            kept.own.iter().for_each(|own| add(&mut sum, own));
            let expected = [0, 7, peak, 10_000_000_000, 10_000_200];
            assert_eq!(sum, expected);
        }
        let of_sites: u64 = graph.sites.iter().map(|site| site.weights[4]).sum();
        assert_eq!(of_sites, 10_000_200);
        assert!(graph.trees[0].len() < 100, "{}", graph.trees[0].len());
    }
    #[test]
    fn each_tree_has_its_own_functions_and_the_growth() {
        let mut builder = TraceBuilder::new();
        let code = |code| Frame::Python { code: CodeId(code), instruction: 0 };
        let native = |address| Frame::Raw { address };
        let stacks = [[code(1), native(1)], [code(2), native(2)], [code(3), native(3)]];
        let stacks = stacks.map(|frames| builder.stack(&frames));
        let domain = Domain::Malloc;
        for (at, stack) in (1..).zip(stacks) {
            let (time, address, stack) = (Ticks(at), at << 12, Some(stack));
            let size = 1_000;
            let event = Event::Allocated { time, domain, address, size, stack, file_backed: false };
            builder.event(0, event);
        }
        let bytes = builder.build(Packing::Chunked);
        let trace = Trace::open(&bytes).unwrap();
        let (_, weights) = weigh(&trace, &Domain::ALL);
        let named = (1..4).flat_map(|at| {
            let python = Place::of(Kind::Python, format!("python {at}"));
            let native = Place::unnamed(format!("native {at}"));
            [(code(at), vec![python]), (Frame::Raw { address: at.into() }, vec![native])]
        });
        let symbols = Symbols::of(named);
        let growth = StackTotals::from_iter([((domain, Some(stacks[1])), Level::exact(300, 1))]);
        let sketch = Sketch::of(&trace, &weights);
        let mut graph = FlameGraph::build(&trace, &symbols, sketch, Some(&growth));
        assert!(graph.has_growth);
        for (view, tree) in View::ALL.into_iter().zip(&graph.trees) {
            let kept = tree.kept(usize::MAX, &mut graph.frames);
            let names = kept.frames.iter().map(|frame| graph.frames.get(*frame).unwrap());
            let names: Vec<&str> = names.map(|frame| frame.function.as_str()).collect();
            let shows = |kind: &str| (1..4).all(|at| names.contains(&&*format!("{kind} {at}")));
            let expected = [view != View::Native, view != View::Python];
            assert_eq!([shows("python"), shows("native")], expected, "{view:?}: {names:?}");
            let grown: u64 = kept.own.iter().map(|own| own[0]).sum();
            assert_eq!(grown, 300, "{view:?}");
            let leaf = kept.own.iter().position(|own| own[0] > 0).unwrap();
            assert!(names[leaf].ends_with('2'), "{view:?}: {names:?}");
        }
    }
}
