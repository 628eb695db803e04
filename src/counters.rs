//! Page 1: numbers that change while the trace is written. Each is one word with a check byte.

use crate::check;
use crate::page::{PAGE_BYTES, u64_at};

/// Which page of the file holds the counters.
pub const COUNTERS_PAGE: usize = 1;

/// A number in the counters page.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(usize)]
pub enum Counter {
    /// Pages of the file that were ever taken, header and counters included.
    PagesTaken = 0,
    /// Events lost because the trace file could not grow (disk full, a limit).
    LostFileFull = 1,
    /// Events lost because a signal handler interrupted the tracer in an interrupted tracer.
    LostNested = 2,
    /// Events lost because no memory was left for a thread's state.
    LostNoMemory = 3,
    /// Events lost because an address did not fit into the format.
    LostBadAddress = 4,
    /// Events recorded without a stack, because the stack table was full.
    StackTableFull = 5,
    /// Stacks that end early, because the unwinder could not go on.
    StacksCutShort = 6,
    /// Stacks that were also unwound in full and by the `backtrace` crate (`TFTRACE_CHECK_UNWIND`).
    UnwindChecked = 7,
    /// Of these, stacks where incremental and full unwinding disagree.
    UnwindIncrementalDiffers = 8,
    /// Of these, stacks where the `backtrace` crate disagrees.
    UnwindBacktraceDiffers = 9,
    /// Events that happened while the tracer was setting itself up.
    LostDuringSetUp = 10,
    /// Records (mappings, samples, names) that could not be written.
    LostRecords = 11,
    /// Sampled allocations that were not recorded, because too many sampled blocks were live.
    LostSamples = 12,
    /// The serial of the last compaction. Storing it makes what that wrote exist, and what it was
    /// made of not, at once.
    CompactedBelow = 13,
    /// By how many pages the file went past its bound at most, because its live data needs them.
    PagesBeyondBound = 14,
}

impl Counter {
    /// All counters, in the order of their numbers.
    pub const ALL: [Counter; 15] = [
        Counter::PagesTaken,
        Counter::LostFileFull,
        Counter::LostNested,
        Counter::LostNoMemory,
        Counter::LostBadAddress,
        Counter::StackTableFull,
        Counter::StacksCutShort,
        Counter::UnwindChecked,
        Counter::UnwindIncrementalDiffers,
        Counter::UnwindBacktraceDiffers,
        Counter::LostDuringSetUp,
        Counter::LostRecords,
        Counter::LostSamples,
        Counter::CompactedBelow,
        Counter::PagesBeyondBound,
    ];

    /// Why events are missing, in words, for the counters that count missing events.
    pub fn loss(self) -> Option<&'static str> {
        match self {
            Counter::LostFileFull => Some("the trace file could not grow (disk full or a limit)"),
            Counter::LostNested => Some("signal handlers nested too deep inside the tracer"),
            Counter::LostNoMemory => Some("no memory for a thread's state"),
            Counter::LostBadAddress => Some("an address above 2^48"),
            Counter::LostDuringSetUp => Some("the tracer was still setting itself up"),
            Counter::LostRecords => Some("no room for a record of a mapping, sample or name"),
            Counter::LostSamples => Some(
                "more sampled blocks were live than the tracer remembers (a larger TFTRACE_SAMPLE helps)",
            ),
            _ => None,
        }
    }

    /// Where the counter's word stands in the counters page, in bytes.
    pub const fn offset(self) -> usize {
        64 + self as usize * 8
    }
}

/// The counters of a trace, as read. A damaged counter is `None`; one never written is 0.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counters([Option<u64>; Counter::ALL.len()]);

impl Counters {
    /// Reads the counters page. A counter beyond the end of `page` counts as damaged.
    pub fn from_wire(page: &[u8]) -> Self {
        let mut values = [None; Counter::ALL.len()];
        for (value, counter) in values.iter_mut().zip(Counter::ALL) {
            let end = counter.offset() + 8;
            if page.len() >= end && end <= PAGE_BYTES {
                let word = u64_at(page, counter.offset());
                *value = if word == 0 { Some(0) } else { check::open(word, 0) };
            }
        }
        Self(values)
    }

    /// The counter's value; `None` if its bytes are damaged.
    pub fn get(&self, counter: Counter) -> Option<u64> {
        self.0.get(counter as usize).copied().flatten()
    }

    /// How many counters are damaged.
    pub fn damaged(&self) -> usize {
        self.0.iter().filter(|value| value.is_none()).count()
    }
}
