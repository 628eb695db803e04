//! The call stacks of a trace as the page draws them: three trees, one for each way to see a stack.

use rustc_hash::FxHashMap;
use tftrace_format::reader::Trace;
use tftrace_format::{Domain, StackId};

use super::drawing::Drawing;
use super::frame_table::FrameTable;
use super::sites::{Asked, Site, sites};
use super::stack_tree::{NodeWeights, StackTree, WEIGHTS, add, largest_part};
use crate::cli::{Frames, ViewArgs};
use crate::heap::{StackTotals, TotalsKey, Weights};
use crate::parallel::both;
use crate::symbol::Symbols;

/// The names of a node's weights, as the page's script and its permalinks know them.
pub const WEIGHT_NAMES: [&str; WEIGHTS] = ["growth", "unfreed", "peak", "temporary", "count"];

/// The one of them that is no bytes.
const COUNT: usize = WEIGHTS - 1;

/// A stack is cut where less than one part in this many of every weight goes through it: a tenth
/// of a pixel, zoomed out. Naming the frames of all stacks would take as long as all the rest.
const CUT_PARTS: f64 = 20_000.0;

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

/// A call stack to draw, or what was cut below it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Cut {
    pub(super) domain: Domain,
    pub(super) stack: Option<StackId>,
    pub(super) smaller: bool,
}

impl FlameGraph {
    /// Draws every stack that has any weight. Its frames are named by `symbols`.
    pub fn build(trace: &Trace<'_>, symbols: &Symbols, weights: Weights) -> Self {
        let mut graph = Self { has_growth: weights.growth.is_some(), ..Self::default() };
        let (asked, (stacks, cuts)) = both(
            || Asked::new(trace, symbols),
            || {
                let stacks = by_stack(&weights);
                let cuts = without_slivers(trace, &stacks);
                (stacks, cuts)
            },
        );
        // They are large, and what follows needs none of them.
        drop(weights);
        let mut drawing = Drawing::new(trace, symbols, &mut graph.frames);
        let [mixed, native, python] = &mut graph.trees;
        graph.sites = both(|| sites(&asked, &stacks), || drawing.draw_folded(mixed, &cuts)).0;
        drawing.draw_plain(native, View::Native.arguments(), &cuts);
        drawing.draw_plain(python, View::Python.arguments(), &cuts);
        graph
    }
}

/// All weights of each stack, in the order of [`WEIGHT_NAMES`]; sorted by stack and domain.
fn by_stack(weights: &Weights) -> Vec<(Domain, Option<StackId>, NodeWeights)> {
    let Weights { growth, unfreed, peak, temporary, allocated } = weights;
    let none = StackTotals::default();
    let growth = growth.as_ref().unwrap_or(&none);
    // What was allocated is all that can have any other weight.
    let mut stacks = Vec::with_capacity(allocated.len());
    let mut lists = [growth, unfreed, peak, temporary, allocated].map(|it| it.iter().peekable());
    let number = |(domain, stack): TotalsKey| (stack, domain);
    while let Some(key) =
        lists.iter_mut().filter_map(|list| Some(list.peek()?.0)).min_by_key(|key| number(*key))
    {
        let mut own = [0; WEIGHTS];
        for (at, (own, list)) in own.iter_mut().zip(&mut lists).enumerate() {
            let level = list.next_if(|(of, _)| *of == key).map(|(_, level)| level);
            *own = level.map_or(0, |level| if at == COUNT { level.blocks } else { level.bytes });
        }
        stacks.push((key.0, key.1, own));
    }
    stacks
}

/// Cuts each stack where it is too narrow to be seen by any weight; sorted.
fn without_slivers(
    trace: &Trace<'_>,
    stacks: &[(Domain, Option<StackId>, NodeWeights)],
) -> Vec<(Cut, NodeWeights)> {
    let caller = |stack: StackId| {
        let parent = trace.node(stack).and_then(|node| node.parent);
        // Parents have smaller ids; a damaged one that has not must not loop.
        parent.filter(|parent| *parent < stack)
    };
    let mut whole = [0; WEIGHTS];
    let mut end = 0;
    for (_, stack, weights) in stacks {
        add(&mut whole, weights);
        // The number of a stack whose node is lost may be any number: no room is made for it.
        if let Some(stack) = stack.filter(|stack| trace.node(*stack).is_some()) {
            end = end.max(stack.get() as usize + 1);
        }
    }
    let is_wide_by = |own: u64, whole: u64| own as f64 / whole as f64 * CUT_PARTS >= 1.0;
    let mut wide = vec![false; end];
    let mut through: Vec<u64> = vec![0; end];
    // One weight after the other: a TensorFlow program has millions of nodes.
    for weight in (0..WEIGHTS).filter(|weight| whole[*weight] > 0) {
        through.fill(0);
        for (_, stack, weights) in stacks {
            if let Some(stack) = stack.filter(|stack| trace.node(*stack).is_some()) {
                let sum = &mut through[stack.get() as usize];
                *sum = sum.saturating_add(weights[weight]);
            }
        }
        // A caller has the smaller number: from behind, each stack is complete before its caller.
        for at in (1..end).rev() {
            wide[at] |= is_wide_by(through[at], whole[weight]);
            if through[at] != 0
                && let Some(caller) = StackId::new(at as u32).and_then(caller)
            {
                let own = through[at];
                let sum = &mut through[caller.get() as usize];
                *sum = sum.saturating_add(own);
            }
        }
    }
    drop(through);
    let is_wide = |stack: StackId, own: &NodeWeights| {
        let known = wide.get(stack.get() as usize).copied();
        known.unwrap_or_else(|| largest_part(own, &whole) * CUT_PARTS >= 1.0)
    };
    let mut cuts: FxHashMap<Cut, NodeWeights> = FxHashMap::default();
    for &(domain, stack, weights) in stacks {
        let mut wide = stack;
        while let Some(narrow) = wide.filter(|stack| !is_wide(*stack, &weights)) {
            wide = caller(narrow);
        }
        let cut = Cut { domain, stack: wide, smaller: wide != stack };
        add(cuts.entry(cut).or_default(), &weights);
    }
    let mut cuts: Vec<_> = cuts.into_iter().collect();
    cuts.sort_unstable();
    cuts
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::heap::weigh;
    use crate::stack::frames_of;
    use crate::symbol::resolve;
    use tftrace_format::builder::{Packing, TraceBuilder};
    use tftrace_format::totals::{Temporaries, TemporaryKey};
    use tftrace_format::{Event, Frame, Ticks};

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
        let mut graph = FlameGraph::build(&trace, &symbols, weights);
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
}
