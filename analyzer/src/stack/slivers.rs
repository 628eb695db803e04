//! Decides which call stacks are wide enough to be drawn, before any of them is named.
//!
//! A trace of TensorFlow has a hundred thousand stacks; a screen has a thousand pixels.

use rustc_hash::FxHashMap;
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
    let mut through: FxHashMap<(Domain, StackId), u64> = FxHashMap::default();
    for ((domain, stack), level) in totals.iter() {
        for stack in stacks_above(trace, stack) {
            let bytes = through.entry((domain, stack)).or_default();
            *bytes = bytes.saturating_add(level.bytes);
        }
    }
    let mut kept: FxHashMap<(Domain, Option<StackId>, bool), u64> = FxHashMap::default();
    for ((domain, stack), level) in totals.iter() {
        let wide = stacks_above(trace, stack)
            .find(|&above| through.get(&(domain, above)).is_some_and(|&b| b >= narrowest));
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

/// The stack itself, then its callers' stacks up to the root.
fn stacks_above<'a>(
    trace: &'a Trace<'_>,
    stack: Option<StackId>,
) -> impl Iterator<Item = StackId> + 'a {
    std::iter::successors(stack, |&stack| {
        // Parents have smaller ids; a damaged one that has not must not loop.
        trace.node(stack)?.parent.filter(|parent| *parent < stack)
    })
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
        let mut totals = StackTotals::default();
        for (stack, bytes) in
            [(Some(wide), 996), (Some(narrow[0]), 1), (Some(narrow[1]), 2), (None, 1)]
        {
            totals.add((Domain::Malloc, stack), Level { bytes, blocks: 1 });
        }
        let of = |stack, smaller, bytes| Drawn { domain: Domain::Malloc, stack, smaller, bytes };
        assert_eq!(
            without_slivers(&trace, &totals, 100),
            [of(None, false, 1), of(Some(root), true, 3), of(Some(wide), false, 996)]
        );
        assert_eq!(without_slivers(&trace, &totals, 10_000), whole(&totals));
    }
}
