//! What the trace says of CUDA's memory: by device over time, and of an allocation that failed.
//!
//! A trace without CUDA is not read for it.

mod levels;
mod out_of_memory;

use tftrace_format::reader::Trace;
use tftrace_format::{CudaMemory, Event, Frame, StackId};

use crate::heap::{Change, LiveHeap, Watcher, replay};
use crate::model::Gpu;
use crate::symbol::Symbols;
use levels::Levels;

/// Examines CUDA's memory, in windows that end at these seconds; `None`: the program uses none.
pub fn examine(trace: &Trace<'_>, symbols: &Symbols, window_ends: &[f64]) -> Option<Gpu> {
    if !trace.nodes().any(|(_, node)| matches!(node.frame, Frame::Cuda(_))) {
        return None;
    }
    let levels = Levels::new(trace, window_ends);
    let failures = out_of_memory::Failures::default();
    let mut watching = Watching { trace, levels, failures };
    replay(trace, None, &mut watching);
    let Watching { levels, failures, .. } = watching;
    let (devices, host) = levels.end();
    Some(Gpu {
        devices,
        host,
        failures: failures.count,
        out_of_memory: failures.last.map(|last| last.describe(trace, symbols)),
    })
}

/// What is kept while the events go by.
struct Watching<'t, 'a> {
    trace: &'t Trace<'a>,
    levels: Levels<'t, 'a>,
    failures: out_of_memory::Failures,
}

impl Watcher for &mut Watching<'_, '_> {
    fn after(&mut self, _heap: &LiveHeap, _thread: u32, event: &Event, change: Change) {
        self.levels.apply(event, change);
        self.failures.apply(self.trace, event, &self.levels);
    }
}

/// The stacks that a failed allocation is described by, for who resolves names.
pub fn failed_stacks<'a>(trace: &'a Trace<'a>) -> impl Iterator<Item = Option<StackId>> + 'a {
    let has_cuda = trace.nodes().any(|(_, node)| matches!(node.frame, Frame::Cuda(_)));
    let events = has_cuda.then(|| trace.events()).into_iter().flatten();
    events.filter_map(|(_, event)| match event {
        Event::Failed { stack, .. } => Some(stack),
        _ => None,
    })
}

/// Which of CUDA's memory a block of this stack is, if it is.
fn memory_of(trace: &Trace<'_>, stack: Option<StackId>) -> Option<CudaMemory> {
    let node = trace.node(stack?)?;
    let frame = match node.frame {
        Frame::Op(_) | Frame::Pool(_) => trace.node(node.parent?)?.frame,
        frame => frame,
    };
    match frame {
        Frame::Cuda(memory) => Some(memory),
        _ => None,
    }
}

/// Whether a block of this stack is a region of a pool.
fn is_pool(trace: &Trace<'_>, stack: Option<StackId>) -> bool {
    let frame = stack.and_then(|stack| trace.node(stack)).map(|node| node.frame);
    matches!(frame, Some(Frame::Pool(_)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Device, Holder};
    use crate::stack::frames_of;
    use crate::symbol::resolve;
    use tftrace_format::builder::{Packing, TraceBuilder};
    use tftrace_format::record::Record;
    use tftrace_format::{CudaKind, Domain, Event, OpId, Ticks};

    const SECOND: u64 = 1_000_000_000; // Ticks are nanoseconds here.

    #[test]
    fn a_device_has_what_was_taken_and_a_failure_has_who_held_it() {
        let mut builder = TraceBuilder::new();
        let op = |id, name| Record::Op { id: OpId(id), name, region: b"", data_type: 0 };
        builder.record(&op(1, b"Add")).record(&op(2, b"Conv"));
        let root = Frame::Raw { address: 1 };
        let memory = |kind| Frame::Cuda(CudaMemory { kind, device: Some(3), context: 1 });
        let device = memory(CudaKind::Device);
        let region = builder.stack(&[root, device, Frame::Pool(Domain::Cuda)]);
        let add = builder.stack(&[root, device, Frame::Op(OpId(1))]);
        let conv = builder.stack(&[root, device, Frame::Op(OpId(2))]);
        let pinned = builder.stack(&[root, memory(CudaKind::Pinned)]);
        for (seconds, domain, address, size, stack) in [
            (1, Domain::Cuda, 1 << 40, 1_000_000, region),
            (2, Domain::TensorFlow, 1 << 40, 300_001, add),
            (3, Domain::TensorFlow, (1 << 40) + 500_000, 400_001, conv),
            (4, Domain::CudaHost, 1 << 41, 5000, pinned),
        ] {
            let (time, stack) = (Ticks(seconds * SECOND), Some(stack));
            let file_backed = false;
            let event = Event::Allocated { time, domain, address, size, stack, file_backed };
            builder.event(0, event);
        }
        let failed = |seconds, domain, stack, size| Event::Failed {
            time: Ticks(seconds * SECOND),
            domain,
            size,
            stack: Some(stack),
            error: 2,
        };
        // Say when temporaries were, and are none of those that led to it.
        for part in 1..=3 {
            let (time, domain, stack) = (Ticks(part), Domain::Python, None);
            builder.event(0, Event::Folded { time, domain, size: 8, stack, count: 8 });
        }
        // The pool is refused a region, and then has no room for a tensor.
        builder.event(0, failed(5, Domain::Cuda, region, 1 << 30));
        builder.event(0, failed(6, Domain::TensorFlow, add, 600_001));
        let (time, domain) = (Ticks(7 * SECOND), Domain::TensorFlow);
        builder.event(0, Event::Freed { time, domain, address: 1 << 40 });
        let bytes = builder.build(Packing::Chunked);
        let trace = Trace::open(&bytes).unwrap();
        let symbols = resolve(&trace, &frames_of(&trace, trace.nodes().map(|(id, _)| Some(id))));
        let gpu = examine(&trace, &symbols, &[2.5, 8.0]).unwrap();
        let [Device { number, taken, used, peak_taken, peak_used }] = &gpu.devices[..] else {
            panic!("{:?}", gpu.devices);
        };
        assert_eq!((*number, *peak_taken, *peak_used), (Some(3), 1_000_000, 700_002));
        assert_eq!((&taken[..], &used[..]), (&[1_000_000; 2][..], &[300_001, 400_001][..]));
        assert_eq!((gpu.host[0].kind, gpu.host[0].bytes), ("pinned", 5000));
        let card = gpu.out_of_memory.unwrap();
        assert_eq!((gpu.failures, card.asked, card.op.as_deref()), (1, 600_001, Some("op Add")));
        assert_eq!((card.taken, card.used, card.seconds), (1_000_000, 700_002, 6.0));
        let holder =
            |op: &str, bytes| Holder { your_line: None, op: Some(op.to_owned()), bytes, blocks: 1 };
        assert_eq!(card.holders, [holder("op Conv", 400_001), holder("op Add", 300_001)]);
    }

    #[test]
    fn a_program_without_cuda_has_none() {
        let bytes = TraceBuilder::new().build(Packing::Raw);
        let trace = Trace::open(&bytes).unwrap();
        assert!(
            examine(&trace, &resolve(&trace, &frames_of(&trace, std::iter::empty())), &[1.0])
                .is_none()
        );
    }
}
