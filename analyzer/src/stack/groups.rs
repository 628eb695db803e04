//! Groups call stacks that go through the same functions, wherever in each function they call.
//!
//! Nothing is rounded or left out: the groups hold every stack once. Frames without a function's
//! name keep their address, because two addresses may be two functions.

use rustc_hash::FxHashMap;
use tftrace_format::reader::Trace;
use tftrace_format::{Domain, Frame, StackId};

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
/// A function, or several where some are inlined: what one frame stands for.
type FunctionId = u32;

/// Every stack, in groups, in no order.
pub fn group(trace: &Trace<'_>, symbols: &Symbols, totals: &StackTotals) -> Vec<StackGroup> {
    let mut chains = Chains::new(trace, symbols);
    let mut groups: FxHashMap<(Domain, Common), StackGroup> = FxHashMap::default();
    for ((domain, stack), level) in totals.iter() {
        let asked_by = stack.and_then(|stack| trace.node(stack)).map(|node| node.frame);
        let asked_by = asked_by.map(|frame| symbols.places(frame)).unwrap_or_default();
        let common = match python::are_arenas(asked_by, domain, level) {
            true => Common::Arenas,
            false => Common::Functions(stack.map_or(0, |stack| chains.chain_of(stack))),
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
    functions: FxHashMap<Vec<(Option<&'a str>, &'a str)>, FunctionId>,
    of_frame: FxHashMap<Frame, FunctionId>,
    links: FxHashMap<(ChainId, FunctionId), ChainId>,
    /// By number of the stack; 0 where the chain is not known yet. Never longer than the trace's
    /// own list of nodes.
    of_stack: Vec<ChainId>,
}

impl<'a> Chains<'a> {
    fn new(trace: &'a Trace<'a>, symbols: &'a Symbols) -> Self {
        Self {
            trace,
            symbols,
            functions: FxHashMap::default(),
            of_frame: FxHashMap::default(),
            links: FxHashMap::default(),
            of_stack: Vec::new(),
        }
    }

    fn chain_of(&mut self, stack: StackId) -> ChainId {
        let mut new = Vec::new();
        let mut chain = 0;
        let mut next = Some(stack);
        // Stacks share their callers: each node is walked once for all of them.
        while let Some(stack) = next {
            let known = self.of_stack.get(stack.get() as usize).copied().unwrap_or(0);
            if known != 0 {
                chain = known;
                break;
            }
            let node = self.trace.node(stack);
            new.push((stack, node.map(|node| node.frame)));
            // Parents have smaller ids; a damaged one that has not must not loop.
            next = node.and_then(|node| node.parent).filter(|parent| *parent < stack);
        }
        for (stack, frame) in new.into_iter().rev() {
            let link = (chain, self.function_of(frame.unwrap_or(Frame::Unknown)));
            let next = self.links.len() as ChainId + 1;
            chain = *self.links.entry(link).or_insert(next);
            // The number of a stack whose node is lost may be any number: no room is made for it.
            if frame.is_some() {
                let at = stack.get() as usize;
                if self.of_stack.len() <= at {
                    self.of_stack.resize(at + 1, 0);
                }
                self.of_stack[at] = chain;
            }
        }
        chain
    }

    fn function_of(&mut self, frame: Frame) -> FunctionId {
        if let Some(&known) = self.of_frame.get(&frame) {
            return known;
        }
        let places = self.symbols.places(frame).iter();
        let names = places.map(|place| (place.module.as_deref(), place.function.as_str()));
        let next = self.functions.len() as FunctionId;
        let function = *self.functions.entry(names.collect()).or_insert(next);
        self.of_frame.insert(frame, function);
        function
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::symbol::Place;
    use tftrace_format::builder::{Packing, TraceBuilder};

    const ROOT: Frame = Frame::Raw { address: 1 };
    const A_CALL: Frame = Frame::Raw { address: 10 };
    const A_OTHER_CALL: Frame = Frame::Raw { address: 11 };
    const OTHER_MODULE: Frame = Frame::Raw { address: 20 };
    const INLINED: Frame = Frame::Raw { address: 30 };
    const ARENA: Frame = Frame::Raw { address: 40 };

    fn symbols() -> Symbols {
        let place = |function: &str, module: &str, line: &str| Place {
            function: function.into(),
            location: Some(line.into()),
            module: Some(module.into()),
            inlined: false,
            is_python: false,
        };
        let inlined = Place { inlined: true, ..place("parse", "a.so", "a.c:30") };
        Symbols::of([
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
            totals.add((domain, stack), Level { bytes, blocks });
        }
        let bytes = builder.build(Packing::Raw);
        let groups = group(&Trace::open(&bytes).unwrap(), &symbols(), &totals);
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
