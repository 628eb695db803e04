//! Decides which call stacks are wide enough to be drawn, before any of them is named.
//!
//! A trace of TensorFlow has a hundred thousand stacks; a screen has a thousand pixels.

use rustc_hash::{FxHashMap, FxHashSet};
use tftrace_format::reader::Trace;
use tftrace_format::{Domain, StackId};

use crate::heap::StackTotals;

/// A call stack to draw.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Drawn {
    /// Whose memory.
    pub domain: Domain,
    /// The stack, or the part of it that is wide enough.
    pub stack: Option<StackId>,
    /// Stands for stacks below `stack` that are too narrow, together.
    pub smaller: bool,
    /// Its bytes.
    pub bytes: u64,
}

/// Every stack as it is.
pub fn whole(totals: &StackTotals) -> Vec<Drawn> {
    let drawn = totals.iter().map(|((domain, stack), level)| Drawn {
        domain,
        stack,
        smaller: false,
        bytes: level.bytes,
    });
    let mut drawn: Vec<_> = drawn.collect();
    drawn.sort_unstable();
    drawn
}

/// Cuts each stack where less than one part in `parts` of all bytes goes through it.
pub fn without_slivers(trace: &Trace<'_>, totals: &StackTotals, parts: u64) -> Vec<Drawn> {
    let narrowest = totals.sum().bytes / parts;
    let widths: Vec<Widths> =
        Domain::ALL.iter().map(|&domain| Widths::new(trace, totals, domain, narrowest)).collect();
    let mut kept: FxHashMap<(Domain, Option<StackId>, bool), u64> = FxHashMap::default();
    for ((domain, stack), level) in totals.iter() {
        let wide = stack.and_then(|stack| widths[domain as usize].last_wide(stack));
        let bytes = kept.entry((domain, wide, wide != stack)).or_default();
        *bytes = bytes.saturating_add(level.bytes);
    }
    let drawn = kept.into_iter().map(|((domain, stack, smaller), bytes)| Drawn {
        domain,
        stack,
        smaller,
        bytes,
    });
    let mut drawn: Vec<_> = drawn.collect();
    drawn.sort_unstable();
    drawn
}

/// For each stack the last of itself and its callers that is wide enough, in one domain.
struct Widths {
    /// By number of the stack. Never longer than the trace's own list of nodes.
    last_wide: Vec<Option<StackId>>,
    /// Stacks whose node is lost, which may have any number, if they are wide enough.
    lost: FxHashSet<StackId>,
}

impl Widths {
    fn new(trace: &Trace<'_>, totals: &StackTotals, domain: Domain, narrowest: u64) -> Self {
        let mut through: Vec<u64> = Vec::new();
        let mut lost = FxHashSet::default();
        let of_domain = totals.iter().filter(|((of, _), _)| *of == domain);
        for (stack, level) in of_domain.filter_map(|((_, stack), level)| Some((stack?, level))) {
            if trace.node(stack).is_some() {
                let at = stack.get() as usize;
                through.resize(through.len().max(at + 1), 0);
                through[at] = through[at].saturating_add(level.bytes);
            } else if level.bytes >= narrowest {
                lost.insert(stack);
            }
        }
        // A caller has the smaller number: from behind, each stack is complete before its caller.
        for at in (1..through.len()).rev() {
            if let Some(caller) = caller(trace, at).filter(|_| through[at] > 0) {
                through[caller] = through[caller].saturating_add(through[at]);
            }
        }
        let mut last_wide: Vec<Option<StackId>> = vec![None; through.len()];
        for at in 1..through.len() {
            last_wide[at] = match through[at] >= narrowest {
                true => StackId::new(at as u32),
                false => caller(trace, at).and_then(|caller| last_wide[caller]),
            };
        }
        Self { last_wide, lost }
    }

    fn last_wide(&self, stack: StackId) -> Option<StackId> {
        let known = self.last_wide.get(stack.get() as usize).copied().flatten();
        known.or_else(|| self.lost.get(&stack).copied())
    }
}

/// The number of the caller's stack.
fn caller(trace: &Trace<'_>, stack: usize) -> Option<usize> {
    let node = trace.node(StackId::new(u32::try_from(stack).ok()?)?)?;
    // Parents have smaller ids; a damaged one that has not must not loop.
    node.parent.map(|parent| parent.get() as usize).filter(|parent| *parent < stack)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::heap::Level;
    use tftrace_format::Frame;
    use tftrace_format::builder::{Packing, TraceBuilder};

    #[test]
    fn narrow_stacks_become_one_below_their_last_wide_caller() {
        let mut builder = TraceBuilder::new();
        let frame = |address| Frame::Raw { address };
        let root = builder.stack(&[frame(1)]);
        let wide = builder.stack(&[frame(1), frame(2)]);
        let narrow = [3, 4].map(|leaf| builder.stack(&[frame(1), frame(leaf)]));
        let bytes = builder.build(Packing::Raw);
        let trace = Trace::open(&bytes).unwrap();
        let of_malloc = |(stack, bytes)| ((Domain::Malloc, stack), Level::exact(bytes, 1));
        let stacks = [(Some(wide), 996), (Some(narrow[0]), 1), (Some(narrow[1]), 2), (None, 1)];
        let mut totals: StackTotals = stacks.map(of_malloc).into_iter().collect();
        let of = |stack, smaller, bytes| Drawn { domain: Domain::Malloc, stack, smaller, bytes };
        assert_eq!(
            without_slivers(&trace, &totals, 100),
            [of(None, false, 1), of(Some(root), true, 3), of(Some(wide), false, 996)]
        );
        assert_eq!(without_slivers(&trace, &totals, 10_000), whole(&totals));
        let lost = StackId::new(u32::MAX);
        totals.extend([of_malloc((lost, 1000))]);
        totals.extend([((Domain::Mmap, Some(root)), Level::exact(30, 1))]);
        let mmap = Drawn { domain: Domain::Mmap, ..of(Some(root), false, 30) };
        assert_eq!(
            without_slivers(&trace, &totals, 100),
            [
                of(None, false, 1),
                of(Some(root), true, 3),
                of(Some(wide), false, 996),
                of(lost, false, 1000),
                mmap,
            ]
        );
    }
}
