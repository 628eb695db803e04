//! Call stacks as a tree of frames with several weights, and the part of it that is large enough.
//!
//! Nothing is dropped silently: what is too small to keep stands under `[smaller call stacks]`, so
//! the sum of the kept nodes is the sum of all.

use rustc_hash::FxHashMap;
use tftrace_format::Domain;

use super::frame_table::{FrameId, FrameTable, GraphFrame};
use crate::stack::run_label;

/// How many weights a node has; [`super::flame_graph::WEIGHT_NAMES`] says which.
pub(super) const WEIGHTS: usize = 5;
/// What a node weighs.
pub type NodeWeights = [u64; WEIGHTS];

/// What one node adds to a stack.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Step {
    /// Whose memory: the first step of every stack.
    Domain(Domain),
    /// A function.
    Frame(FrameId),
    /// Folded frames, and how many. Runs at one place are one node, however long each is.
    Run(&'static str, u32),
    /// Stacks that were cut here.
    Smaller,
    /// The stack was not recorded.
    NoStack,
}

#[derive(Clone, Debug)]
struct Node {
    parent: usize,
    step: Step,
    own: NodeWeights,
    /// Of a run: the shortest and the longest.
    lengths: (u32, u32),
}

/// The tree. A parent stands before its children.
#[derive(Clone, Debug)]
pub struct StackTree {
    nodes: Vec<Node>,
    children: FxHashMap<(usize, Step), usize>,
}

impl Default for StackTree {
    fn default() -> Self {
        let root = Node { parent: 0, step: Step::NoStack, own: [0; WEIGHTS], lengths: (0, 0) };
        Self { nodes: vec![root], children: FxHashMap::default() }
    }
}

/// The nodes of a part of a tree, root first, children behind their parent.
#[derive(Clone, Debug, Default)]
pub(super) struct Kept {
    /// How many nodes are above each; the root itself is not in the list.
    pub(super) depths: Vec<u32>,
    pub(super) frames: Vec<FrameId>,
    /// Without what is below.
    pub(super) own: Vec<NodeWeights>,
    /// Nodes that are in the tree and not here.
    pub(super) left_out: usize,
}

impl StackTree {
    /// Adds what a stack weighs; from the root to the leaf.
    pub fn add(&mut self, steps: impl IntoIterator<Item = Step>, weights: NodeWeights) {
        let leaf = steps.into_iter().fold(Self::ROOT, |at, step| self.child(at, step));
        self.weigh(leaf, weights);
    }

    /// The number of the root.
    pub(super) const ROOT: usize = 0;

    /// The node below another one that a step leads to.
    pub(super) fn child(&mut self, at: usize, step: Step) -> usize {
        // A run is the same node whatever its length.
        let key = match step {
            Step::Run(name, _) => Step::Run(name, 0),
            step => step,
        };
        let next = self.nodes.len();
        let child = *self.children.entry((at, key)).or_insert_with(|| {
            let lengths = (u32::MAX, 0);
            self.nodes.push(Node { parent: at, step, own: [0; WEIGHTS], lengths });
            next
        });
        if let Step::Run(_, frames) = step {
            let lengths = &mut self.nodes[child].lengths;
            *lengths = (lengths.0.min(frames), lengths.1.max(frames));
        }
        child
    }

    /// Adds to what a node weighs without what is below.
    pub(super) fn weigh(&mut self, at: usize, weights: NodeWeights) {
        add(&mut self.nodes[at].own, &weights);
    }

    /// The same tree, whose frames have these numbers now. Nothing can be added to it.
    pub(super) fn renumbered(mut self, numbers: &[FrameId]) -> Self {
        for node in &mut self.nodes {
            if let Step::Frame(frame) = &mut node.step {
                *frame = numbers[*frame as usize];
            }
        }
        self.children.clear();
        self
    }

    /// How many nodes it has, the root not counted.
    pub fn len(&self) -> usize {
        self.nodes.len() - 1
    }

    /// Whether nothing was added.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// What each node weighs together with all below it.
    fn totals(&self) -> Vec<NodeWeights> {
        let mut totals: Vec<NodeWeights> = self.nodes.iter().map(|node| node.own).collect();
        for at in (1..totals.len()).rev() {
            let below = totals[at];
            add(&mut totals[self.nodes[at].parent], &below);
        }
        totals
    }

    /// The largest nodes, at most `most` of them together with those that stand for the others.
    /// A node is as large as its largest part of any weight.
    pub(super) fn kept(&self, most: usize, frames: &mut FrameTable) -> Kept {
        let totals = self.totals();
        let parts: Vec<f64> = totals.iter().map(|total| largest_part(total, &totals[0])).collect();
        let narrowest = match self.len() > most {
            // Each kept node may need another one for what was cut below it.
            true => nth_largest(&parts, most / 2),
            false => -1.0,
        };
        let mut children: Vec<Vec<usize>> = vec![Vec::new(); self.nodes.len()];
        let mut cut: Vec<NodeWeights> = vec![[0; WEIGHTS]; self.nodes.len()];
        for (at, node) in self.nodes.iter().enumerate().skip(1) {
            if parts[at] > narrowest && node.step != Step::Smaller {
                children[node.parent].push(at);
            } else {
                add(&mut cut[node.parent], &totals[at]);
            }
        }
        let mut kept = Kept { left_out: self.len(), ..Kept::default() };
        let mut labels = Labels { frames, of: FxHashMap::default() };
        // Nodes to write, last first: each with its depth.
        let mut next = vec![(0, 0)];
        while let Some((at, depth)) = next.pop() {
            if at > 0 {
                kept.left_out -= 1;
                kept.push(depth - 1, labels.frame(&self.nodes[at]), self.nodes[at].own);
            }
            if cut[at] != [0; WEIGHTS] {
                kept.push(depth, labels.note("[smaller call stacks]"), cut[at]);
            }
            let children = &mut children[at];
            // The heaviest is written first; nodes are numbered in the order of first sight.
            children.sort_by_key(|&child| (totals[child].iter().max(), std::cmp::Reverse(child)));
            next.extend(children.iter().map(|&child| (child, depth + 1)));
        }
        kept
    }
}

impl Kept {
    fn push(&mut self, depth: u32, frame: FrameId, own: NodeWeights) {
        self.depths.push(depth);
        self.frames.push(frame);
        self.own.push(own);
    }
}

/// Gives what is no function a place in the table of frames.
struct Labels<'a> {
    frames: &'a mut FrameTable,
    of: FxHashMap<(Step, u32), FrameId>,
}

impl Labels<'_> {
    fn frame(&mut self, node: &Node) -> FrameId {
        let (from, to) = node.lengths;
        let text = match node.step {
            Step::Frame(frame) => return frame,
            Step::Domain(domain) => domain.name().to_owned(),
            Step::Run(name, _) => {
                let key = (Step::Run(name, from), to);
                let frames = &mut *self.frames;
                let label =
                    || frames.id(GraphFrame::note(run_label(name, from as usize, to as usize)));
                return *self.of.entry(key).or_insert_with(label);
            }
            Step::Smaller => "[smaller call stacks]".to_owned(),
            Step::NoStack => "[no call stack recorded]".to_owned(),
        };
        self.note(&text)
    }

    fn note(&mut self, text: &str) -> FrameId {
        self.frames.id(GraphFrame::note(text))
    }
}

/// Adds up; sums saturate, as those of the heap do.
pub(super) fn add(sum: &mut NodeWeights, more: &NodeWeights) {
    for (sum, more) in sum.iter_mut().zip(more) {
        *sum = sum.saturating_add(*more);
    }
}

/// The largest of the parts that a node has of the whole, over all weights.
pub(super) fn largest_part(node: &NodeWeights, whole: &NodeWeights) -> f64 {
    let parts = node.iter().zip(whole).filter(|(_, whole)| **whole > 0);
    parts.map(|(node, whole)| *node as f64 / *whole as f64).fold(0.0, f64::max)
}

/// At most `n` of the parts are larger than this.
fn nth_largest(parts: &[f64], n: usize) -> f64 {
    let mut parts = parts.to_vec();
    match n < parts.len() {
        true => *parts.select_nth_unstable_by(n, |a, b| b.total_cmp(a)).1,
        false => -1.0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What the kept nodes weigh together, and their labels by depth.
    fn shown(tree: &StackTree, most: usize) -> (NodeWeights, Vec<String>) {
        let mut frames = FrameTable::default();
        for name in ["a", "b", "c"] {
            frames.id(GraphFrame::note(name));
        }
        let kept = tree.kept(most, &mut frames);
        let mut sum = [0; WEIGHTS];
        kept.own.iter().for_each(|own| add(&mut sum, own));
        let label = |(depth, frame): (&u32, &FrameId)| {
            format!("{depth} {}", frames.get(*frame).unwrap().function)
        };
        (sum, kept.depths.iter().zip(&kept.frames).map(label).collect())
    }

    #[test]
    fn stacks_share_their_callers_and_runs_of_all_lengths() {
        let mut tree = StackTree::default();
        let malloc = Step::Domain(Domain::Malloc);
        let run = |frames| Step::Run("TensorFlow", frames);
        tree.add([malloc, Step::Frame(0), run(31), Step::Frame(1)], [0, 5, 0, 0, 0]);
        tree.add([malloc, Step::Frame(0), run(28), Step::Frame(2)], [0, 7, 0, 1, 0]);
        tree.add([malloc, Step::NoStack], [0, 1, 0, 0, 0]);
        let run = "2 [28 to 31 TensorFlow frames]";
        let expected = ["0 malloc", "1 a", run, "3 c", "3 b", "1 [no call stack recorded]"];
        assert_eq!(shown(&tree, 100), ([0, 13, 0, 1, 0], expected.map(String::from).to_vec()));
    }

    #[test]
    fn a_part_of_a_tree_weighs_as_much_as_the_whole() {
        let mut tree = StackTree::default();
        let malloc = Step::Domain(Domain::Malloc);
        let mut frames = FrameTable::default();
        for at in 0..10_000_u32 {
            let leaf = frames.id(GraphFrame::note(format!("leaf {at}")));
            let above = frames.id(GraphFrame::note(format!("above {}", at % 100)));
            tree.add(
                [malloc, Step::Frame(above), Step::Frame(leaf)],
                [0, u64::from(at), 1, u64::from(at % 7), 2],
            );
        }
        let whole = tree.totals()[0];
        for most in [0, 1, 2, 10, 1000, 10_100, 20_000] {
            let kept = tree.kept(most, &mut frames);
            let mut sum = [0; WEIGHTS];
            kept.own.iter().for_each(|own| add(&mut sum, own));
            assert_eq!(sum, whole, "{most}");
            assert!(kept.frames.len() <= most.max(1), "{} of {most}", kept.frames.len());
        }
    }

    #[test]
    fn what_is_large_by_one_weight_alone_is_kept() {
        let mut tree = StackTree::default();
        tree.add([Step::Domain(Domain::Malloc), Step::Frame(0)], [0, 1_000_000, 0, 0, 0]);
        tree.add([Step::Domain(Domain::Malloc), Step::Frame(1)], [0, 1, 0, 0, 9]);
        tree.add([Step::Domain(Domain::Malloc), Step::Frame(2)], [0, 2, 0, 0, 0]);
        let (_, labels) = shown(&tree, 8);
        assert!(labels.contains(&"1 b".to_owned()), "{labels:?}");
        let mut many = tree.clone();
        for at in 3..100 {
            many.add([Step::Domain(Domain::Malloc), Step::Frame(at % 6 + 3)], [0, 1, 0, 0, 0]);
        }
        assert_eq!(many.len(), 10);
        assert_eq!(shown(&many, 8).1, ["0 malloc", "1 [smaller call stacks]", "1 a", "1 b"]);
    }
}
