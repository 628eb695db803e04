//! The heaviest groups of call stacks, in an order that depends on nothing but memory and place.

use std::cmp::{Ordering, Reverse};

use tftrace_format::reader::Trace;
use tftrace_format::{CudaMemory, Domain, Frame, StackId};

use super::groups::StackGroup;
use crate::heap::Level;

/// A group of call stacks, and the one of them that stands for all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ranked {
    /// Whose memory.
    pub domain: Domain,
    /// Arenas of Python; their stacks have nothing in common.
    pub arenas: bool,
    /// The memory of all stacks of the group.
    pub level: Level,
    /// How many stacks.
    pub stacks: u64,
    /// The heaviest of them.
    pub heaviest: Option<StackId>,
}

/// The `top` heaviest groups: by bytes, then blocks, then by the place in the program.
pub fn heaviest(trace: &Trace<'_>, mut groups: Vec<StackGroup>, top: usize) -> Vec<Ranked> {
    groups.sort_unstable_by_key(|group| Reverse(group.level));
    // Only groups that tie for a shown rank are compared by place: that walks their frames.
    if let Some(last) = top.checked_sub(1).and_then(|last| groups.get(last)).map(|g| g.level) {
        groups.truncate(groups.partition_point(|group| group.level >= last));
    }
    let mut ranked: Vec<Ranked> = groups.iter().map(|group| rank(trace, group)).collect();
    ranked.sort_by(|a, b| {
        let by_domain = || a.domain.cmp(&b.domain);
        let by_place = || by_place(trace, a.heaviest, b.heaviest);
        b.level.cmp(&a.level).then_with(by_domain).then_with(by_place)
    });
    ranked.truncate(top);
    ranked
}

fn rank(trace: &Trace<'_>, group: &StackGroup) -> Ranked {
    let members = group.members.iter();
    let heaviest = members.min_by(|a, b| b.1.cmp(&a.1).then_with(|| by_place(trace, a.0, b.0)));
    Ranked {
        domain: group.domain,
        arenas: group.arenas,
        level: group.level,
        stacks: group.members.len() as u64,
        heaviest: heaviest.and_then(|(stack, _)| *stack),
    }
}

fn by_place(trace: &Trace<'_>, a: Option<StackId>, b: Option<StackId>) -> Ordering {
    let frames = |stack: Option<StackId>| {
        stack.into_iter().flat_map(|stack| trace.frames(stack)).map(|frame| place(trace, frame))
    };
    // Equal places under two ids: the object was loaded twice.
    frames(a).cmp(frames(b)).then_with(|| a.cmp(&b))
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
        Frame::Op(op) => (7, &[], u64::from(op.0)),
        Frame::For(domain) => (8, &[], domain as u64),
        Frame::Pool(domain) => (9, &[], domain as u64),
        Frame::Cuda(CudaMemory { kind, device, context }) => {
            let device = device.map_or(0, |device| u64::from(device) + 1);
            (10, &[], device << 32 | (kind as u64) << 24 | u64::from(context))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tftrace_format::builder::{Packing, TraceBuilder};

    #[test]
    fn ties_are_broken_by_place_and_not_by_the_order_of_the_trace() {
        let mut builder = TraceBuilder::new();
        let mut of = |address| builder.stack(&[Frame::Raw { address }]);
        let (late, early, heavy, light) = (of(0x30), of(0x20), of(0x40), of(0x10));
        let bytes = builder.build(Packing::Raw);
        let trace = Trace::open(&bytes).unwrap();
        let group = |members: &[(StackId, u64)]| StackGroup {
            domain: Domain::Malloc,
            arenas: false,
            level: Level::exact(members.iter().map(|member| member.1).sum(), members.len() as u64),
            members: members
                .iter()
                .map(|&(stack, bytes)| (Some(stack), Level::exact(bytes, 1)))
                .collect(),
        };
        let stacks = |top| -> Vec<_> {
            let groups =
                vec![group(&[(late, 5)]), group(&[(early, 5)]), group(&[(light, 2), (heavy, 4)])];
            let ranked = heaviest(&trace, groups, top);
            ranked.iter().map(|ranked| (ranked.heaviest.unwrap(), ranked.stacks)).collect()
        };
        assert_eq!(stacks(20), [(heavy, 2), (early, 1), (late, 1)]);
        assert_eq!(stacks(2), [(heavy, 2), (early, 1)]);
        assert!(stacks(0).is_empty());
        let tied = heaviest(&trace, vec![group(&[(late, 5), (early, 5)])], 1);
        assert_eq!(tied[0].heaviest, Some(early));
    }
}
