//! The heaviest call stacks, in an order that depends on nothing but memory and place.

use std::cmp::Ordering;

use tftrace_format::reader::Trace;
use tftrace_format::{Frame, StackId};

use crate::heap::{Level, StackTotals, TotalsKey};

/// A call stack and its memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ranked {
    /// Whose memory, and which stack.
    pub key: TotalsKey,
    /// How much.
    pub level: Level,
}

/// The `top` heaviest stacks: by bytes, then blocks, then by the place in the program.
pub fn heaviest(trace: &Trace<'_>, totals: &StackTotals, top: usize) -> Vec<Ranked> {
    let mut ranked: Vec<Ranked> = totals.iter().map(|(key, level)| Ranked { key, level }).collect();
    ranked.sort_unstable_by_key(|ranked| std::cmp::Reverse(ranked.level));
    // Only stacks that tie for a shown rank are compared by place: that walks their frames.
    if let Some(last) = top.checked_sub(1).and_then(|last| ranked.get(last)).map(|r| r.level) {
        ranked.truncate(ranked.partition_point(|ranked| ranked.level >= last));
    }
    ranked.sort_by(|a, b| b.level.cmp(&a.level).then_with(|| by_place(trace, a.key, b.key)));
    ranked.truncate(top);
    ranked
}

fn by_place(trace: &Trace<'_>, a: TotalsKey, b: TotalsKey) -> Ordering {
    let frames = |stack: Option<StackId>| {
        stack.into_iter().flat_map(|stack| trace.frames(stack)).map(|frame| place(trace, frame))
    };
    let by_frames = || frames(a.1).cmp(frames(b.1));
    // Equal places under two ids: the object was loaded twice.
    a.0.cmp(&b.0).then_with(by_frames).then_with(|| a.1.cmp(&b.1))
}

/// What stays the same when the program runs again at other addresses.
fn place<'a>(trace: &'a Trace<'_>, frame: Frame) -> (u8, &'a [u8], u64) {
    match frame {
        Frame::Native { mapping, offset } => match trace.object(mapping) {
            Some(object) => (0, object.path.as_slice(), object.file_address(offset)),
            None => (1, &[], offset),
        },
        Frame::Raw { address } => (2, &[], address),
        Frame::Python { code, instruction } => {
            (5, &[], u64::from(code.0) << 32 | u64::from(instruction))
        }
        Frame::Truncated => (3, &[], 0),
        Frame::Unknown => (4, &[], 0),
        Frame::Scheduled => (6, &[], 0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tftrace_format::Domain;
    use tftrace_format::builder::{Packing, TraceBuilder};

    #[test]
    fn ties_are_broken_by_place_and_not_by_the_order_of_the_trace() {
        let mut builder = TraceBuilder::new();
        let mut of = |address| builder.stack(&[Frame::Raw { address }]);
        let (late, early, heavy) = (of(0x30), of(0x20), of(0x40));
        let bytes = builder.build(Packing::Raw);
        let trace = Trace::open(&bytes).unwrap();
        let mut totals = StackTotals::default();
        for (stack, bytes) in [(late, 5), (early, 5), (heavy, 6)] {
            totals.add((Domain::Malloc, Some(stack)), Level { bytes, blocks: 1 });
        }
        let stacks = |top| -> Vec<_> {
            heaviest(&trace, &totals, top).iter().map(|ranked| ranked.key.1.unwrap()).collect()
        };
        assert_eq!(stacks(20), [heavy, early, late]);
        assert_eq!(stacks(2), [heavy, early]);
        assert!(stacks(0).is_empty());
    }
}
