//! The numbers that name things in a trace, each a type of its own.

use core::num::NonZeroU32;

/// A node of the stack tree: one call stack, from its root to its leaf.
///
/// Numbered from 1 in order of first sight, never reused within a trace.
/// Invariant: a parent has the smaller id, so one forward pass rebuilds the tree.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StackId(NonZeroU32);

impl StackId {
    /// The id with this number; `None` for 0, which stands for "no stack".
    pub const fn new(number: u32) -> Option<Self> {
        match NonZeroU32::new(number) {
            Some(number) => Some(Self(number)),
            None => None,
        }
    }

    /// The number, at least 1.
    pub const fn get(self) -> u32 {
        self.0.get()
    }

    /// The number as it stands in a trace: 0 for "no stack".
    pub fn to_wire(stack: Option<Self>) -> u32 {
        stack.map_or(0, Self::get)
    }
}

/// One loading of one object file into the process. Unloading and loading again gives a new id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MappingId(pub u32);

impl MappingId {
    /// Ids have 20 bits in a stack frame.
    pub const LIMIT: u32 = 1 << 20;
}

/// One life of one Python code object. An address that is used again gives a new id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CodeId(pub u32);

impl CodeId {
    /// Stands for a code object that could not be written into the trace.
    pub const UNKNOWN: CodeId = CodeId(0);
}

/// What a framework said it was computing when it allocated.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct OpId(pub u32);

/// A name given to `tftrace_mark`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LabelId(pub u32);

/// A point in time: clock ticks since the trace began, as recorded. At least 1, below 2^56.
///
/// [`crate::reader::Trace::seconds`] turns it into seconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ticks(pub u64);

impl Ticks {
    /// The largest value the format can hold: 277 days at 3 GHz.
    pub const MAX: Ticks = Ticks((1 << 56) - 1);
}
