//! What can be wrong with a trace, in words.

use std::fmt;

/// A part of a trace that could not be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Damage {
    /// Where, in bytes from the start of the file.
    pub offset: u64,
    /// How many bytes of the file are concerned.
    pub bytes: u64,
    /// What is wrong.
    pub kind: DamageKind,
}

/// What is wrong with a part of a trace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DamageKind {
    /// A page that is not what the tracer wrote.
    Page,
    /// Entries of a raw page whose check byte is wrong.
    Entries(u64),
    /// A chunk whose CRC is wrong.
    Chunk,
    /// A chunk with a right CRC and contents that make no sense.
    Contents,
    /// Numbers of the counters page.
    Counters(usize),
    /// The file ends before its last page.
    Truncated,
}

impl fmt::Display for Damage {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { offset, bytes, kind } = self;
        match kind {
            DamageKind::Page => write!(out, "byte {offset}: a damaged page ({bytes} bytes)"),
            DamageKind::Entries(count) => {
                write!(out, "byte {offset}: {count} damaged entries in a page")
            }
            DamageKind::Chunk => write!(out, "byte {offset}: a damaged chunk ({bytes} bytes)"),
            DamageKind::Contents => {
                write!(out, "byte {offset}: a chunk with contents that make no sense")
            }
            DamageKind::Counters(count) => {
                write!(out, "byte {offset}: {count} damaged counters; losses may be larger")
            }
            DamageKind::Truncated => {
                write!(out, "byte {offset}: the file is cut off, {bytes} bytes are missing")
            }
        }
    }
}

/// Why a file cannot be read at all.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OpenError {
    /// Nothing was written, or the program never started.
    #[error(
        "byte 0: the file is empty: nothing was recorded; check that the program ran with libtftrace.so preloaded"
    )]
    Empty,
    /// The magic is missing.
    #[error(
        "byte 0: not a tftrace trace; give the file that TFTRACE_OUTPUT named (default trace.bin)"
    )]
    NotATrace,
    /// It ends inside page 0.
    #[error("byte {0}: the file is cut off inside its header; copy the whole trace again")]
    Truncated(u64),
    /// A version this program does not know.
    #[error(
        "byte 8: trace format version {found}, this program reads up to {known}; update tftrace-analyze"
    )]
    Newer {
        /// The file's version.
        found: u32,
        /// The newest that is known.
        known: u32,
    },
    /// The header's CRC is wrong.
    #[error("byte 16: the header is damaged; copy the trace again, or trace again")]
    Damaged,
}
