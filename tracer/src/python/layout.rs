//! Where CPython keeps what a walk of its frames needs: offsets in bytes, one table per version.
//!
//! Checked with `offsetof` against the headers of default x86-64 builds. Frames are private to the
//! interpreter and change with every minor version, never with a patch release.

use tftrace_format::record::LineTable;

use super::memory::byte;

/// How the frames of a thread are chained, and which of them begin a call of the evaluation loop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Chain {
    /// Until 3.11: the loop has a C frame on the C stack. The frame that it began with has a flag
    /// in 3.11; before, it runs one frame.
    CFrames { current: Current, c_frames: Option<CFrames>, is_entry: Option<u64> },
    /// From 3.12 on: the loop begins with a frame of its own that stands on the C stack.
    EntryFrames { current: Current, owner: u64, owner_of_entry: u8 },
}

/// The C frames, innermost first. 3.9 has none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct CFrames {
    /// In the thread state.
    pub(super) innermost: u64,
    pub(super) previous: u64,
}

/// Where a thread's innermost frame is found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Current {
    /// 3.11 and 3.12: in the C frame that `tstate.cframe` points to.
    InCFrame { cframe: u64, current: u64 },
    /// Before and since: in the thread state.
    InThreadState { current: u64 },
}

/// Of the cycle collector, in the state of the main interpreter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Collector {
    /// Flags: bytes that are 0 or 1.
    pub(super) enabled: u64,
    pub(super) collecting: u64,
    /// How many collections of the oldest generation were completed.
    pub(super) completed: u64,
}

impl Collector {
    /// Where they are in a version, if that is known.
    pub(super) fn of(version: (u8, u8)) -> Option<Self> {
        let (enabled, collecting, completed) = match version {
            (3, 9 | 10) => (628, 816, 792),
            (3, 11) => (660, 848, 824),
            (3, 12) => (124, 312, 288),
            (3, 13) => (7412, 7600, 7576),
            _ => return None,
        };
        Some(Self { enabled, collecting, completed })
    }
}

/// Offsets in a frame, in a code object and in a string.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Layout {
    pub(super) chain: Chain,
    /// In a frame: the code object, the caller's frame, the instruction that was reached.
    pub(super) frame_code: u64,
    pub(super) frame_previous: u64,
    pub(super) frame_instruction: u64,
    /// Until 3.10 the instruction is a number of steps of so many bytes; since, an address: 0.
    pub(super) instruction_step: i64,
    /// In a code object.
    pub(super) code_file: u64,
    pub(super) code_name: u64,
    pub(super) code_first_line: u64,
    pub(super) code_lines: u64,
    pub(super) code_instructions: u64,
    pub(super) line_table: LineTable,
    /// In a string: the data of an ASCII string, and of another one.
    pub(super) ascii_data: u64,
    pub(super) compact_data: u64,
}

/// In every version: a type's deallocator, a bytes object's length and data, a string's length and
/// the word of flags behind its hash.
pub(super) const TYPE_DEALLOC: u64 = 48;
pub(super) const BYTES_LENGTH: u64 = 16;
pub(super) const BYTES_DATA: u64 = 32;
pub(super) const STRING_LENGTH: u64 = 16;
pub(super) const STRING_STATE: u64 = 32;

const SINCE_3_9: Layout = Layout {
    chain: Chain::CFrames {
        current: Current::InThreadState { current: 24 },
        c_frames: None,
        is_entry: None,
    },
    frame_code: 32,
    frame_previous: 24,
    frame_instruction: 104,
    instruction_step: 1,
    code_file: 104,
    code_name: 112,
    code_first_line: 40,
    code_lines: 120,
    // What the number of steps is added to, see `Layout::instruction`.
    code_instructions: 0,
    line_table: LineTable::Lnotab,
    ascii_data: 48,
    compact_data: 72,
};

const SINCE_3_10: Layout = Layout {
    chain: Chain::CFrames {
        current: Current::InThreadState { current: 24 },
        c_frames: Some(CFrames { innermost: 48, previous: 8 }),
        is_entry: None,
    },
    frame_instruction: 96,
    instruction_step: 2,
    line_table: LineTable::Pep626,
    ..SINCE_3_9
};

/// Where 3.11 keeps what is compared for every block: the only version whose frames have a flag.
pub(super) mod flagged {
    pub(in crate::python) const PREVIOUS: u64 = 48;
    pub(in crate::python) const INSTRUCTION: u64 = 56;
    pub(in crate::python) const C_FRAME_CURRENT: u64 = 8;
    pub(in crate::python) const C_FRAME_PREVIOUS: u64 = 16;
}

const SINCE_3_11: Layout = Layout {
    chain: Chain::CFrames {
        current: Current::InCFrame { cframe: 56, current: flagged::C_FRAME_CURRENT },
        c_frames: Some(CFrames { innermost: 56, previous: flagged::C_FRAME_PREVIOUS }),
        is_entry: Some(68),
    },
    frame_code: 32,
    frame_previous: flagged::PREVIOUS,
    frame_instruction: flagged::INSTRUCTION,
    code_first_line: 72,
    code_instructions: 184,
    ascii_data: 48,
    compact_data: 72,
    ..SINCE_3_12
};

const SINCE_3_12: Layout = Layout {
    chain: Chain::EntryFrames {
        current: Current::InCFrame { cframe: 56, current: 0 },
        owner: 70,
        owner_of_entry: 3,
    },
    frame_code: 0,
    frame_previous: 8,
    frame_instruction: 56,
    instruction_step: 0,
    code_file: 112,
    code_name: 120,
    code_first_line: 68,
    code_lines: 136,
    code_instructions: 192,
    line_table: LineTable::Locations,
    ascii_data: 40,
    compact_data: 56,
};

const SINCE_3_13: Layout = Layout {
    chain: Chain::EntryFrames {
        current: Current::InThreadState { current: 72 },
        owner: 70,
        owner_of_entry: 3,
    },
    code_instructions: 200,
    ..SINCE_3_12
};

const SINCE_3_14: Layout = Layout {
    chain: Chain::EntryFrames {
        current: Current::InThreadState { current: 72 },
        owner: 74,
        owner_of_entry: 3,
    },
    code_instructions: 208,
    ..SINCE_3_12
};

impl Layout {
    /// The layout of a version (major, minor), if it is known.
    pub(super) fn of(version: (u8, u8)) -> Option<Self> {
        match version {
            (3, 9) => Some(SINCE_3_9),
            (3, 10) => Some(SINCE_3_10),
            (3, 11) => Some(SINCE_3_11),
            (3, 12) => Some(SINCE_3_12),
            (3, 13) => Some(SINCE_3_13),
            (3, 14) => Some(SINCE_3_14),
            _ => None,
        }
    }
    /// The instruction that a frame had reached, as an address: from what its field holds.
    #[inline(always)]
    pub(super) fn instruction(&self, code: u64, field: u64) -> u64 {
        match self.instruction_step {
            0 => field,
            // An `int`, -1 before the first instruction.
            step => code.wrapping_add_signed(i64::from(field as i32).wrapping_mul(step)),
        }
    }

    /// Whether a Python frame is a generator's, or of another kind than a function's that was called, as far as its
    /// version says so.
    ///
    /// # Safety
    /// The frame is one of the calling thread's, linked just now.
    #[inline(always)]
    pub(super) unsafe fn is_generator(&self, frame: u64) -> bool {
        /// `FRAME_OWNED_BY_THREAD`.
        const CALLED: u8 = 0;
        let owner = match self.chain {
            // Its neighbour.
            Chain::CFrames { is_entry: Some(is_entry), .. } => is_entry.wrapping_add(1),
            Chain::CFrames { .. } => return false,
            Chain::EntryFrames { owner, .. } => owner,
        };
        // SAFETY: our caller promises it.
        let owner = unsafe { byte(frame.wrapping_add(owner)) };
        owner != Some(CALLED)
    }

    /// Whether native frames that run Python frames are known by their code alone.
    pub(super) fn has_no_c_frames(&self) -> bool {
        matches!(self.chain, Chain::CFrames { c_frames: None, .. })
    }
}

/// The code object that a frame's field refers to: 3.14 has flags in the lowest bits.
#[inline(always)]
pub(super) fn code_of(field: u64) -> u64 {
    field & !3
}
