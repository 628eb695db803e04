//! Which call stacks are drawn, and how far: all weights of each, and where it is too narrow to be seen.
//!
//! Growth comes last: it is judged while the rest is made.

use rustc_hash::FxHashMap;
use tftrace_format::reader::Trace;
use tftrace_format::{Domain, StackId};

use super::stack_tree::{NodeWeights, WEIGHTS, add, largest_part};
use crate::heap::{StackTotals, TotalsKey, Weights};

/// A stack is cut where less than one part in this many of every weight goes through it: a tenth
/// of a pixel, zoomed out. Naming the frames of all stacks would take as long as all the rest.
const CUT_PARTS: f64 = 20_000.0;
/// The weight that is known last.
const GROWTH: usize = 0;

/// A call stack and its weights, in the order of [`WEIGHT_NAMES`](super::WEIGHT_NAMES).
pub(super) type WeighedStack = (Domain, Option<StackId>, NodeWeights);

/// A call stack to draw, or what was cut below it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Cut {
    pub(super) domain: Domain,
    pub(super) stack: Option<StackId>,
    pub(super) smaller: bool,
}

/// All call stacks with their weights, and which of them are wide enough to be drawn.
#[derive(Debug)]
pub struct Sketch {
    /// Sorted by stack and domain.
    stacks: Vec<WeighedStack>,
    /// What all weigh together.
    whole: NodeWeights,
    /// By number of the stack: whether it is wide by any weight. Of those that the trace has nodes of.
    wide: Vec<bool>,
}

fn place_of((domain, stack): TotalsKey) -> (Option<StackId>, Domain) {
    (stack, domain)
}

/// The number of the caller's stack. Parents have smaller ids; a damaged one that has not must not loop.
fn caller(trace: &Trace<'_>, stack: StackId) -> Option<StackId> {
    trace.node(stack).and_then(|node| node.parent).filter(|parent| *parent < stack)
}

impl Sketch {
    /// All weights but the growth.
    pub fn of(trace: &Trace<'_>, weights: &Weights) -> Self {
        let stacks = by_stack(weights);
        let (mut whole, mut end) = ([0; WEIGHTS], 0);
        for (_, stack, weights) in &stacks {
            add(&mut whole, weights);
            // The number of a stack whose node is lost may be any number: no room is made for it.
            if let Some(stack) = stack.filter(|stack| trace.node(*stack).is_some()) {
                end = end.max(stack.get() as usize + 1);
            }
        }
        let mut sketch = Self { stacks, whole, wide: vec![false; end] };
        let mut through = Vec::new();
        (0..WEIGHTS).for_each(|weight| sketch.find_wide(trace, weight, &mut through));
        sketch
    }

    /// Adds by how much stacks grew. What grew is live: it has other weights as well.
    pub(super) fn add_growth(&mut self, trace: &Trace<'_>, growth: &StackTotals) {
        for (key, level) in growth.iter() {
            let place =
                self.stacks.binary_search_by_key(&place_of(key), |it| place_of((it.0, it.1)));
            if let Ok(at) = place {
                let grown = &mut self.stacks[at].2[GROWTH];
                *grown = level.bytes;
                self.whole[GROWTH] = self.whole[GROWTH].saturating_add(*grown);
            }
        }
        self.find_wide(trace, GROWTH, &mut Vec::new());
    }

    /// Every stack with its weights.
    pub(super) fn stacks(&self) -> &[WeighedStack] {
        &self.stacks
    }

    /// Finds the stacks that are wide by a weight: one after the other, as a TensorFlow program has millions of nodes.
    /// `through` is room for it.
    fn find_wide(&mut self, trace: &Trace<'_>, weight: usize, through: &mut Vec<u64>) {
        let whole = self.whole[weight];
        if whole == 0 {
            return;
        }
        through.clear();
        through.resize(self.wide.len(), 0);
        for (_, stack, weights) in &self.stacks {
            if let Some(stack) = stack.filter(|stack| trace.node(*stack).is_some()) {
                let sum = &mut through[stack.get() as usize];
                *sum = sum.saturating_add(weights[weight]);
            }
        }
        // A caller has the smaller number: from behind, each stack is complete before its caller.
        for at in (1..through.len()).rev() {
            let own = through[at];
            self.wide[at] |= own as f64 / whole as f64 * CUT_PARTS >= 1.0;
            if own != 0
                && let Some(caller) = StackId::new(at as u32).and_then(|stack| caller(trace, stack))
            {
                let sum = &mut through[caller.get() as usize];
                *sum = sum.saturating_add(own);
            }
        }
    }

    /// Cuts each stack where it is too narrow to be seen by any weight; sorted.
    pub(super) fn cuts(&self, trace: &Trace<'_>) -> Vec<(Cut, NodeWeights)> {
        let is_wide = |stack: StackId, own: &NodeWeights| {
            let known = self.wide.get(stack.get() as usize).copied();
            known.unwrap_or_else(|| largest_part(own, &self.whole) * CUT_PARTS >= 1.0)
        };
        let mut cuts: FxHashMap<Cut, NodeWeights> = FxHashMap::default();
        for &(domain, stack, weights) in &self.stacks {
            let mut wide = stack;
            while let Some(narrow) = wide.filter(|stack| !is_wide(*stack, &weights)) {
                wide = caller(trace, narrow);
            }
            let cut = Cut { domain, stack: wide, smaller: wide != stack };
            add(cuts.entry(cut).or_default(), &weights);
        }
        let mut cuts: Vec<_> = cuts.into_iter().collect();
        cuts.sort_unstable();
        cuts
    }
}

/// All weights of each stack but the growth; sorted by stack and domain.
fn by_stack(weights: &Weights) -> Vec<WeighedStack> {
    let Weights { growth: _, unfreed, peak, temporary, allocated } = weights;
    // What was allocated is, mostly, all that can have any other weight.
    let mut stacks = Vec::with_capacity(allocated.len());
    let mut lists = [unfreed, peak, temporary, allocated].map(|it| it.iter().peekable());
    while let Some(key) =
        lists.iter_mut().filter_map(|it| Some(it.peek()?.0)).min_by_key(|key| place_of(*key))
    {
        let [unfreed, peak, temporary, allocated] = lists.each_mut().map(|list| {
            let level = list.next_if(|(of, _)| *of == key);
            level.map(|(_, level)| level).unwrap_or_default()
        });
        let weights = [0, unfreed.bytes, peak.bytes, temporary.bytes, allocated.blocks];
        stacks.push((key.0, key.1, weights));
    }
    stacks
}
