//! Groups call stacks that go through the same functions, wherever in each function they call.
//!
//! The functions are those that the view shows: two ways through TensorFlow are one where its
//! frames are folded. Nothing is rounded or left out: the groups hold every stack once. Frames
//! without a function's name keep their address, because two addresses may be two functions.

use rustc_hash::FxHashMap;
use tftrace_format::reader::Trace;
use tftrace_format::{Domain, Frame, Node, StackId};

use super::view::{is_in_view, run_of};
use crate::cli::ViewArgs;
use crate::heap::{Level, StackTotals};
use crate::python;
use crate::symbol::Symbols;

/// Call stacks that read the same but for their source lines.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StackGroup {
    /// Whose memory.
    pub domain: Domain,
    /// Arenas of Python, of all stacks together: who maps an arena is not who fills it.
    pub arenas: bool,
    /// The memory of all members.
    pub level: Level,
    /// The stacks and what each has, in no order.
    pub members: Vec<(Option<StackId>, Level)>,
}

/// What two stacks of one group have in common.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
enum Common {
    Arenas,
    Functions(ChainId),
}

/// A chain of functions from the thread's root. 0 is the empty one.
type ChainId = u32;

/// What one frame adds to a chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Link {
    /// A function, or several where some are inlined.
    Function(u32),
    /// A run of a framework's frames, of any length.
    Run(&'static str),
}

/// Every stack, in groups, in no order.
pub fn group(
    trace: &Trace<'_>,
    symbols: &Symbols,
    totals: &StackTotals,
    view: ViewArgs,
) -> Vec<StackGroup> {
    let mut chains = Chains::new(trace, symbols, view);
    let mut groups: FxHashMap<(Domain, Common), StackGroup> = FxHashMap::default();
    for ((domain, stack), level) in totals.iter() {
        let asked_by = stack.and_then(|stack| trace.node(stack)).map(|node| node.frame);
        let asked_by = asked_by.map(|frame| symbols.places(frame)).unwrap_or_default();
        let common = match python::are_arenas(asked_by, domain, level) {
            true => Common::Arenas,
            false => Common::Functions(stack.map_or(0, |stack| chains.chain_to(stack))),
        };
        let group = groups.entry((domain, common)).or_insert_with(|| StackGroup {
            domain,
            arenas: common == Common::Arenas,
            level: Level::default(),
            members: Vec::new(),
        });
        group.level.add_all(level);
        group.members.push((stack, level));
    }
    groups.into_values().collect()
}

/// Numbers for chains of functions: equal functions in equal order have one number.
struct Chains<'a> {
    trace: &'a Trace<'a>,
    symbols: &'a Symbols,
    view: ViewArgs,
    functions: FxHashMap<Vec<(Option<&'a str>, &'a str)>, u32>,
    /// What a frame adds at the leaf; `None` if the view does not show it.
    of_frame: FxHashMap<Frame, Option<(u32, Option<&'static str>)>>,
    links: FxHashMap<(ChainId, Link), ChainId>,
    /// The last link of each chain, by its number less 1.
    last: Vec<Link>,
    /// By number of the stack, as one that others continue; `None` where it is not known yet.
    /// Never longer than the trace's own list of nodes.
    of_stack: Vec<Option<ChainId>>,
}

impl<'a> Chains<'a> {
    fn new(trace: &'a Trace<'a>, symbols: &'a Symbols, view: ViewArgs) -> Self {
        Self {
            trace,
            symbols,
            view,
            functions: FxHashMap::default(),
            of_frame: FxHashMap::default(),
            links: FxHashMap::default(),
            last: Vec::new(),
            of_stack: Vec::new(),
        }
    }

    /// The chain that ends in this stack's leaf, which is never part of a run.
    fn chain_to(&mut self, mut stack: StackId) -> ChainId {
        let Some(mut node) = self.trace.node(stack) else { return self.chain_of(stack) };
        // Parents have smaller ids; a damaged one that has not must not loop.
        let parent_of = |node: Node, stack| node.parent.filter(|parent| *parent < stack);
        while let Frame::For(_) | Frame::Pool(_) = node.frame
            && let Some(parent) = parent_of(node, stack)
            && let Some(of_parent) = self.trace.node(parent)
        {
            (stack, node) = (parent, of_parent);
        }
        let parent = parent_of(node, stack);
        let before = parent.map_or(0, |parent| self.chain_of(parent));
        match self.functions_of(node.frame) {
            Some((function, _)) => self.linked(before, Link::Function(function)),
            None => before,
        }
    }

    fn chain_of(&mut self, stack: StackId) -> ChainId {
        let mut new = Vec::new();
        let mut chain = 0;
        let mut next = Some(stack);
        // Stacks share their callers: each node is walked once for all of them.
        while let Some(stack) = next {
            if let Some(known) = self.of_stack.get(stack.get() as usize).copied().flatten() {
                chain = known;
                break;
            }
            let node = self.trace.node(stack);
            new.push((stack, node.map(|node| node.frame)));
            // Parents have smaller ids; a damaged one that has not must not loop.
            next = node.and_then(|node| node.parent).filter(|parent| *parent < stack);
        }
        for (stack, frame) in new.into_iter().rev() {
            chain = match self.functions_of(frame.unwrap_or(Frame::Unknown)) {
                None => chain,
                Some((function, None)) => self.linked(chain, Link::Function(function)),
                Some((_, Some(run))) if self.last(chain) == Some(Link::Run(run)) => chain,
                Some((_, Some(run))) => self.linked(chain, Link::Run(run)),
            };
            // The number of a stack whose node is lost may be any number: no room is made for it.
            if frame.is_some() {
                let at = stack.get() as usize;
                if self.of_stack.len() <= at {
                    self.of_stack.resize(at + 1, None);
                }
                self.of_stack[at] = Some(chain);
            }
        }
        chain
    }

    fn last(&self, chain: ChainId) -> Option<Link> {
        self.last.get((chain as usize).checked_sub(1)?).copied()
    }

    fn linked(&mut self, chain: ChainId, link: Link) -> ChainId {
        let next = self.last.len() as ChainId + 1;
        let linked = *self.links.entry((chain, link)).or_insert(next);
        if linked == next {
            self.last.push(link);
        }
        linked
    }

    /// The functions of a frame as a number, and the run that they are part of.
    fn functions_of(&mut self, frame: Frame) -> Option<(u32, Option<&'static str>)> {
        if let Some(&known) = self.of_frame.get(&frame) {
            return known;
        }
        let places = self.symbols.places(frame);
        let shown = places.is_empty() || places.iter().any(|place| is_in_view(place, self.view));
        let functions = shown.then(|| {
            let names = places.iter().map(|at| (at.module.as_deref(), at.function.as_str()));
            let next = self.functions.len() as u32;
            let number = *self.functions.entry(names.collect()).or_insert(next);
            (number, places.first().and_then(|place| run_of(place, self.view)))
        });
        self.of_frame.insert(frame, functions);
        functions
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stack::view_tests::MIXED;
    use crate::symbol::{Kind, Owner, Place};
    use tftrace_format::builder::{Packing, TraceBuilder};

    const ROOT: Frame = Frame::Raw { address: 1 };
    const A_CALL: Frame = Frame::Raw { address: 10 };
    const A_OTHER_CALL: Frame = Frame::Raw { address: 11 };
    const OTHER_MODULE: Frame = Frame::Raw { address: 20 };
    const INLINED: Frame = Frame::Raw { address: 30 };
    const ARENA: Frame = Frame::Raw { address: 40 };
    const COMPUTE: Frame = Frame::Raw { address: 50 };
    const RUN: Frame = Frame::Raw { address: 51 };

    fn symbols() -> Symbols {
        let place = |function: &str, module: &str, line: &str| Place {
            location: Some(line.into()),
            module: Some(module.into()),
            ..Place::of(Kind::Native(Owner::User), function)
        };
        let inlined = Place { inlined: true, ..place("parse", "a.so", "a.c:30") };
        let tensorflow = |function: &str| Place {
            kind: Kind::Native(Owner::Framework("TensorFlow")),
            ..place(function, "libtensorflow_cc.so.2", "")
        };
        Symbols::of([
            (COMPUTE, vec![tensorflow("Compute")]),
            (RUN, vec![tensorflow("Run")]),
            (ROOT, vec![place("main", "app", "m.c:1")]),
            (A_CALL, vec![place("serve", "a.so", "a.c:10")]),
            (A_OTHER_CALL, vec![place("serve", "a.so", "a.c:11")]),
            (OTHER_MODULE, vec![place("serve", "b.so", "b.c:20")]),
            (INLINED, vec![inlined, place("serve", "a.so", "a.c:31")]),
            (ARENA, vec![place("_PyObject_ArenaMmap", "python3.11", "obmalloc.c:152")]),
        ])
    }

    /// Groups of (stack from the root, domain, bytes, blocks), as bytes, blocks, and members' bytes.
    fn grouped(stacks: &[(&[Frame], Domain, u64, u64)]) -> Vec<(u64, u64, Vec<u64>)> {
        let mut builder = TraceBuilder::new();
        let mut totals = StackTotals::default();
        for &(frames, domain, bytes, blocks) in stacks {
            let stack = (!frames.is_empty()).then(|| builder.stack(frames));
            totals.extend([((domain, stack), Level::exact(bytes, blocks))]);
        }
        let bytes = builder.build(Packing::Raw);
        let groups = group(&Trace::open(&bytes).unwrap(), &symbols(), &totals, MIXED);
        let mut groups: Vec<_> = groups
            .into_iter()
            .map(|group| {
                let mut members: Vec<_> = group.members.iter().map(|(_, l)| l.bytes).collect();
                members.sort_unstable();
                (group.level.bytes, group.level.blocks, members)
            })
            .collect();
        groups.sort_unstable();
        groups
    }

    #[test]
    fn stacks_that_differ_in_the_call_site_only_are_one_group() {
        let malloc = Domain::Malloc;
        assert_eq!(
            grouped(&[
                (&[ROOT, A_CALL], malloc, 100, 1),
                (&[ROOT, A_OTHER_CALL], malloc, 30, 2),
                (&[ROOT, A_CALL, A_OTHER_CALL], malloc, 1, 1),
                (&[ROOT, A_OTHER_CALL, A_CALL], malloc, 2, 1),
            ]),
            [(3, 2, vec![1, 2]), (130, 3, vec![30, 100])]
        );
    }

    #[test]
    fn other_modules_inlined_functions_depths_and_domains_are_other_groups() {
        let malloc = Domain::Malloc;
        let alone: [(&[Frame], _, _, _); 6] = [
            (&[ROOT, A_CALL], malloc, 1, 1),
            (&[ROOT, OTHER_MODULE], malloc, 2, 1),
            (&[ROOT, INLINED], malloc, 3, 1),
            (&[A_CALL], malloc, 4, 1),
            (&[ROOT, A_CALL], Domain::Mmap, 5, 1),
            (&[], malloc, 6, 1),
        ];
        assert_eq!(grouped(&alone), [1, 2, 3, 4, 5, 6].map(|bytes| (bytes, 1, vec![bytes])));
    }

    #[test]
    fn ways_through_a_framework_are_one_but_not_what_asked_for_the_memory() {
        let malloc = Domain::Malloc;
        let purpose = Frame::For(Domain::TensorFlow);
        assert_eq!(
            grouped(&[
                (&[ROOT, COMPUTE, A_CALL], malloc, 1, 1),
                (&[ROOT, RUN, COMPUTE, RUN, A_CALL, purpose], malloc, 2, 1),
                (&[ROOT, COMPUTE, RUN], malloc, 4, 1),
                (&[ROOT, RUN], malloc, 8, 1),
                (&[ROOT, COMPUTE, RUN, COMPUTE], malloc, 16, 1),
                (&[ROOT, COMPUTE, RUN, COMPUTE, purpose], malloc, 32, 1),
            ]),
            [(3, 2, vec![1, 2]), (4, 1, vec![4]), (8, 1, vec![8]), (48, 2, vec![16, 32])]
        );
    }

    #[test]
    fn arenas_are_one_group_whoever_mapped_them() {
        let arena = 1 << 20;
        let expected =
            vec![(arena / 2, 1, vec![arena / 2]), (3 * arena, 3, vec![arena, 2 * arena])];
        assert_eq!(
            grouped(&[
                (&[ROOT, ARENA], Domain::Mmap, arena, 1),
                (&[ROOT, A_CALL, ARENA], Domain::Mmap, 2 * arena, 2),
                (&[ROOT, A_CALL], Domain::Mmap, arena / 2, 1),
            ]),
            expected
        );
    }
}
