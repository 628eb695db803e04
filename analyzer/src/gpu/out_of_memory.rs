//! The allocation that failed, and who held the memory then: by op, and by line of the user's.

use std::collections::BTreeMap;

use tftrace_format::reader::Trace;
use tftrace_format::{Domain, Event, Frame, StackId, Ticks};

use super::levels::{Level, Levels};
use super::{is_pool, memory_of};
use crate::heap;
use crate::model::{Holder, Line, OutOfMemory};
use crate::python::user_place;
use crate::suspect::{frames, line_of};
use crate::symbol::{Place, Symbols};

/// Holders that are listed.
const MOST_HOLDERS: usize = 20;

/// The failures so far.
#[derive(Default)]
pub(super) struct Failures {
    pub(super) count: u64,
    pub(super) last: Option<Failure>,
    events: u64,
}

/// One failure.
pub(super) struct Failure {
    time: Ticks,
    stack: Option<StackId>,
    asked: u64,
    level: Level,
    device: Option<u16>,
    /// How many events led to it.
    events: u64,
}

impl Failures {
    pub(super) fn apply(&mut self, trace: &Trace<'_>, event: &Event, levels: &Levels<'_, '_>) {
        // The end of a context is shown as the frees that it means; what was folded is not counted.
        let is_none = matches!(event, Event::ContextEnded { .. } | Event::Folded { .. });
        self.events += u64::from(!is_none);
        let Event::Failed { time, size, stack, .. } = *event else { return };
        // A pool that is refused a large region asks for a smaller one; if that is not enough, it
        // fails itself. What is not CUDA's is not of interest here.
        let Some(memory) = memory_of(trace, stack).filter(|_| !is_pool(trace, stack)) else {
            return;
        };
        self.count += 1;
        let (device, level) = (memory.device, levels.of(memory.device));
        let events = self.events;
        self.last = Some(Failure { time, stack, asked: size, level, device, events });
    }
}

impl Failure {
    pub(super) fn describe(self, trace: &Trace<'_>, symbols: &Symbols) -> OutOfMemory {
        let heap = heap::replay(trace, Some(self.events), |_: &Event, _| ()).heap;
        let mut holders: BTreeMap<Key, heap::Level> = BTreeMap::new();
        for ((_, stack), level) in heap.totals(&[Domain::Cuda]).iter() {
            if memory_of(trace, stack).is_some_and(|memory| memory.device == self.device) {
                holders.entry(key(trace, symbols, stack)).or_default().add_all(level);
            }
        }
        let holders = holders.into_iter().map(|((your_line, op), level)| {
            let your_line = your_line.map(|(file, line, function)| Line { file, line, function });
            Holder { your_line, op, bytes: level.bytes, blocks: level.blocks }
        });
        let mut holders: Vec<Holder> = holders.collect();
        // Stable: equal ones stay in the order of their lines and ops.
        holders.sort_by_key(|holder| std::cmp::Reverse(holder.bytes));
        holders.truncate(MOST_HOLDERS);
        let (your_line, op) = key(trace, symbols, self.stack);
        OutOfMemory {
            seconds: trace.seconds(self.time),
            device: self.device,
            asked: self.asked,
            op,
            your_line: your_line.map(|(file, line, function)| Line { file, line, function }),
            stack: frames(trace, symbols, self.stack),
            taken: self.level.taken,
            used: self.level.used,
            holders,
        }
    }
}

/// A line of the user's (file, line, function), and an op.
type Key = (Option<(String, u32, String)>, Option<String>);

fn key(trace: &Trace<'_>, symbols: &Symbols, stack: Option<StackId>) -> Key {
    let Some(stack) = stack else { return (None, None) };
    let frames: Vec<Frame> = trace.frames(stack).collect();
    let places: Vec<&Place> = frames.iter().flat_map(|frame| symbols.places(*frame)).collect();
    let line = user_place(&places).map(|place| {
        let Line { file, line, function } = line_of(place);
        (file, line, function)
    });
    let op = frames.first().filter(|frame| matches!(frame, Frame::Op(_)));
    let op = op.and_then(|op| symbols.places(*op).first()).map(|op| op.function.clone());
    (line, op)
}
