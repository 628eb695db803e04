//! Draws call stacks into the trees of the flame graph.

use rustc_hash::FxHashMap;
use tftrace_format::reader::Trace;
use tftrace_format::{Domain, Frame, StackId};

use super::flame_graph::View;
use super::frame_table::{FrameId, FrameTable, GraphFrame};
use super::sketch::Cut;
use super::stack_tree::{NodeWeights, StackTree, Step};
use crate::cli::ViewArgs;
use crate::stack::{Row, is_in_view, rows};
use crate::symbol::{Place, Symbols};

/// What all trees have in common.
pub(super) struct Drawing<'a> {
    trace: &'a Trace<'a>,
    symbols: &'a Symbols,
    frames: &'a mut FrameTable,
    /// A function stands on thousands of stacks: look it up once.
    ids: FxHashMap<*const Place, FrameId>,
}

impl<'a> Drawing<'a> {
    pub(super) fn new(
        trace: &'a Trace<'a>,
        symbols: &'a Symbols,
        frames: &'a mut FrameTable,
    ) -> Self {
        Self { trace, symbols, frames, ids: FxHashMap::default() }
    }

    fn step(&mut self, place: &Place) -> Step {
        let frames = &mut *self.frames;
        Step::Frame(*self.ids.entry(place).or_insert_with(|| frames.id(GraphFrame::of(place))))
    }

    /// Draws stacks as the mixed view shows them: each as a whole, because what is folded depends on what is beside it.
    pub(super) fn draw_folded(&mut self, tree: &mut StackTree, stacks: &[(Cut, NodeWeights)]) {
        let mut last = LastStack::default();
        for (cut, weights) in stacks {
            let domain = tree.child(StackTree::ROOT, Step::Domain(cut.domain));
            let places = last.places(self.trace, self.symbols, cut.stack);
            let leaf = self.draw(tree, domain, View::Mixed.arguments(), &places);
            end(tree, leaf, cut, weights);
        }
    }

    /// Draws stacks as a view shows them that folds nothing: below where their callers stand already.
    pub(super) fn draw_plain(
        &mut self,
        tree: &mut StackTree,
        view: ViewArgs,
        stacks: &[(Cut, NodeWeights)],
    ) {
        let mut known: FxHashMap<(Domain, StackId), usize> = FxHashMap::default();
        let mut new: Vec<(StackId, Frame)> = Vec::new();
        let mut last = LastStack::default();
        for (cut, weights) in stacks {
            let domain = tree.child(StackTree::ROOT, Step::Domain(cut.domain));
            let mut at = domain;
            new.clear();
            let mut next = cut.stack;
            while let Some(stack) = next {
                if let Some(known) = known.get(&(cut.domain, stack)) {
                    at = *known;
                    break;
                }
                let node = self.trace.node(stack);
                new.push((stack, node.map_or(Frame::Unknown, |node| node.frame)));
                // As `Trace::frames` goes.
                next = node.and_then(|node| node.parent).filter(|parent| *parent < stack);
            }
            for &(stack, frame) in new.iter().rev() {
                for place in self.symbols.places(frame).iter().rev() {
                    if is_in_view(place, view) {
                        let step = self.step(place);
                        at = tree.child(at, step);
                    }
                }
                known.insert((cut.domain, stack), at);
            }
            if at == domain {
                // The view shows nothing of it but what it leaves out.
                let places = last.places(self.trace, self.symbols, cut.stack);
                at = self.draw(tree, domain, view, &places);
            }
            end(tree, at, cut, weights);
        }
    }

    /// The node below `at` of what a view shows of these, leaf first.
    fn draw(
        &mut self,
        tree: &mut StackTree,
        at: usize,
        view: ViewArgs,
        places: &[&Place],
    ) -> usize {
        rows(places, view).into_iter().rev().fold(at, |at, row| {
            let step = match row {
                Row::Run(name, frames) => Step::Run(name, frames as u32),
                Row::Shown(place) => self.step(place),
            };
            tree.child(at, step)
        })
    }
}

/// The stack that was drawn last, root first: the next one shares most of its callers, whose names are known then.
#[derive(Default)]
struct LastStack<'a>(Vec<(StackId, &'a [Place])>);

impl<'a> LastStack<'a> {
    /// The functions of a stack, leaf first.
    fn places(
        &mut self,
        trace: &Trace<'_>,
        symbols: &'a Symbols,
        stack: Option<StackId>,
    ) -> Vec<&'a Place> {
        let mut new = Vec::new();
        let (mut next, mut shared) = (stack, 0);
        while let Some(stack) = next {
            // Callers have the smaller numbers.
            if let Ok(index) = self.0.binary_search_by_key(&stack, |(stack, _)| *stack) {
                shared = index + 1;
                break;
            }
            let node = trace.node(stack);
            new.push((stack, symbols.places(node.map_or(Frame::Unknown, |node| node.frame))));
            // As `Trace::frames` goes.
            next = node.and_then(|node| node.parent).filter(|parent| *parent < stack);
        }
        self.0.truncate(shared);
        self.0.extend(new.into_iter().rev());
        self.0.iter().rev().flat_map(|(_, places)| *places).collect()
    }
}

/// Weighs where a stack ends.
fn end(tree: &mut StackTree, leaf: usize, cut: &Cut, weights: &NodeWeights) {
    let leaf = match cut.stack {
        _ if cut.smaller => tree.child(leaf, Step::Smaller),
        None => tree.child(leaf, Step::NoStack),
        Some(_) => leaf,
    };
    tree.weigh(leaf, *weights);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::symbol::Kind;
    use tftrace_format::builder::{Packing, TraceBuilder};
    use tftrace_format::{CodeId, OpId};

    /// Frames of native code, of Python and of ops; one has an inlined function, and one no name at all.
    fn named() -> Symbols {
        let native = |name: &str| Place::unnamed(name);
        let python = |name: &str| Place::of(Kind::Python, name);
        let code = |code| Frame::Python { code: CodeId(code), instruction: 0 };
        Symbols::of([
            (Frame::Raw { address: 1 }, vec![native("main")]),
            (Frame::Raw { address: 2 }, vec![native("inlined"), native("outer")]),
            (code(3), vec![python("handle")]),
            (code(4), vec![python("predict")]),
            (Frame::Op(OpId(5)), vec![Place::of(Kind::Op, "MatMul")]),
            (Frame::Unknown, vec![Place::of(Kind::Note, "[unknown frames]")]),
        ])
    }

    #[test]
    fn what_callers_share_is_drawn_as_each_stack_alone_would_be() {
        let symbols = named();
        let mut builder = TraceBuilder::new();
        let mut seed = 1_u64;
        let mut random = |below: u64| {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (seed >> 33) % below
        };
        let mut cuts = Vec::new();
        for at in 0..500 {
            let frames: Vec<Frame> = (0..random(8))
                .map(|_| match random(6) {
                    0 => Frame::Raw { address: 1 },
                    1 => Frame::Raw { address: 2 },
                    2 => Frame::Raw { address: 9 },
                    3 => Frame::Python { code: CodeId(3), instruction: 0 },
                    4 => Frame::Python { code: CodeId(4), instruction: 0 },
                    _ => Frame::Op(OpId(5)),
                })
                .collect();
            let stack = (!frames.is_empty()).then(|| builder.stack(&frames));
            let domain = [Domain::Malloc, Domain::Python][random(2) as usize];
            cuts.push((Cut { domain, stack, smaller: random(4) == 0 }, [at, 1, 0, 2, 3]));
        }
        // Its node is lost.
        let lost = Cut { domain: Domain::Malloc, stack: StackId::new(1 << 20), smaller: false };
        cuts.push((lost, [1; 5]));
        let bytes = builder.build(Packing::Raw);
        let trace = Trace::open(&bytes).unwrap();
        let mut frames = FrameTable::default();
        for view in [View::Native, View::Python] {
            let mut together = StackTree::default();
            let mut alone = StackTree::default();
            let mut last = LastStack::default();
            let mut drawing = Drawing::new(&trace, &symbols, &mut frames);
            drawing.draw_plain(&mut together, view.arguments(), &cuts);
            for (cut, weights) in &cuts {
                let domain = alone.child(StackTree::ROOT, Step::Domain(cut.domain));
                let frames = cut.stack.into_iter().flat_map(|stack| trace.frames(stack));
                let places: Vec<&Place> = frames.flat_map(|frame| symbols.places(frame)).collect();
                assert_eq!(last.places(&trace, &symbols, cut.stack), places);
                let leaf = drawing.draw(&mut alone, domain, view.arguments(), &places);
                end(&mut alone, leaf, cut, weights);
            }
            let [together, alone] = [together, alone].map(|tree| {
                let kept = tree.kept(usize::MAX, &mut frames);
                (kept.depths, kept.frames, kept.own)
            });
            assert!(together.0.len() > 100, "{view:?}");
            assert_eq!(together, alone, "{view:?}");
        }
    }
}
