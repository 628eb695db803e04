//! Where CPython keeps what a walk of its frames needs: offsets in bytes, one table per version.
//!
//! Checked with `offsetof` against the headers of default x86-64 builds. Frames are private to the
//! interpreter and change with every minor version, never with a patch release.

use tftrace_format::record::LineTable;

/// How the frames of a thread are chained, and which of them begin a call of the evaluation loop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Chain {
    /// 3.11: `tstate.cframe` leads to C frames on the C stack, each to its innermost frame; the
    /// frame that an evaluation loop began with has a flag.
    FlaggedEntry { cframe: u64, cframe_current: u64, cframe_previous: u64, is_entry: u64 },
    /// From 3.12 on: the loop begins with a frame of its own that stands on the C stack.
    EntryFrames { current: Current, owner: u64, owner_of_entry: u8 },
}

/// Where a thread's innermost frame is found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Current {
    /// 3.12: in the C frame that `tstate.cframe` points to.
    InCFrame { cframe: u64, current: u64 },
    /// From 3.13 on: in the thread state.
    InThreadState { current: u64 },
}

/// Offsets in a frame, in a code object and in a string.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Layout {
    pub(super) chain: Chain,
    /// In a frame: the code object, the caller's frame, the instruction that was reached.
    pub(super) frame_code: u64,
    pub(super) frame_previous: u64,
    pub(super) frame_instruction: u64,
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

const SINCE_3_12: Layout = Layout {
    chain: Chain::EntryFrames {
        current: Current::InCFrame { cframe: 56, current: 0 },
        owner: 70,
        owner_of_entry: 3,
    },
    frame_code: 0,
    frame_previous: 8,
    frame_instruction: 56,
    code_file: 112,
    code_name: 120,
    code_first_line: 68,
    code_lines: 136,
    code_instructions: 192,
    line_table: LineTable::Locations,
    ascii_data: 40,
    compact_data: 56,
};

const SINCE_3_11: Layout = Layout {
    chain: Chain::FlaggedEntry { cframe: 56, cframe_current: 8, cframe_previous: 16, is_entry: 68 },
    frame_code: 32,
    frame_previous: 48,
    code_first_line: 72,
    code_instructions: 184,
    ascii_data: 48,
    compact_data: 72,
    ..SINCE_3_12
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

impl Layout {
    /// The layout of a version (major, minor), if it is known.
    pub(super) fn of(version: (u8, u8)) -> Option<Self> {
        match version {
            (3, 11) => Some(SINCE_3_11),
            (3, 12) => Some(SINCE_3_12),
            (3, 13) => Some(SINCE_3_13),
            _ => None,
        }
    }
}
