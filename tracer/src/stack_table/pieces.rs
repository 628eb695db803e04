//! Words of four bytes, as many as there are ids: one for each stack, or lines of them for some.
//!
//! Mapped piece by piece, as ids are used: a host may limit its address space. Never unmaps a piece.

use core::ops::Range;
use core::sync::atomic::{AtomicPtr, AtomicU32, Ordering};

use super::MOST_NODES;
use crate::system_call;

/// Words of one line, which is one of the processor's cache.
pub(super) const LINE: usize = 64 / size_of::<AtomicU32>();
const LINES: usize = MOST_NODES as usize / LINE;
const PIECES: usize = 16;
const LINES_PER_PIECE: usize = LINES / PIECES;
const PIECE_BYTES: usize = LINES_PER_PIECE * LINE * size_of::<AtomicU32>();

const _: () = assert!(
    LINES * LINE == 1 << 24 && PIECE_BYTES == 4 << 20,
    "64 MiB of address space in the end"
);

/// The words; a piece is null until it is mapped.
#[derive(Debug)]
pub(super) struct Pieces([AtomicPtr<AtomicU32>; PIECES]);

impl Pieces {
    /// Nothing is mapped yet.
    pub(super) const fn new() -> Self {
        Self([const { AtomicPtr::new(core::ptr::null_mut()) }; PIECES])
    }

    /// A line of words: zeros until they are set; none if they cannot be mapped.
    #[inline(always)]
    pub(super) fn line(&self, line: usize) -> &[AtomicU32] {
        let line = line % LINES;
        let Some(piece) = self.0.get(line / LINES_PER_PIECE) else { return &[] };
        // Acquire: pairs with the release in `map_piece`.
        let mut base = piece.load(Ordering::Acquire);
        if base.is_null() {
            base = map_piece(piece);
            if base.is_null() {
                return &[];
            }
        }
        let line = base.cast::<[AtomicU32; LINE]>().wrapping_add(line % LINES_PER_PIECE);
        // SAFETY: below the piece's number of lines, each of which is an aligned array; all zeros is valid;
        // pieces stay mapped for ever.
        unsafe { &*line }
    }

    /// The word of a stack; `None` if it cannot be mapped.
    #[inline(always)]
    pub(super) fn of(&self, id: u32) -> Option<&AtomicU32> {
        self.line(id as usize / LINE).get(id as usize % LINE)
    }

    /// Makes lines ready that are written to next: those of one piece.
    pub(super) fn populate(&self, lines: Range<usize>) {
        let piece = lines.start / LINES_PER_PIECE;
        let end = lines.end.min((piece + 1) * LINES_PER_PIECE);
        if let Some(first) = self.line(lines.start).first() {
            let bytes = end.saturating_sub(lines.start) * LINE * size_of::<AtomicU32>();
            system_call::populate(core::ptr::from_ref(first).cast(), bytes);
        }
    }

    /// Maps so many lines now.
    pub(super) fn prepare(&self, lines: usize) {
        for piece in self.0.iter().take(lines.div_ceil(LINES_PER_PIECE)) {
            if piece.load(Ordering::Acquire).is_null() {
                map_piece(piece);
            }
        }
    }
}

/// Maps a piece, unless another thread was faster; null if there is no room for it.
#[cold]
fn map_piece(piece: &AtomicPtr<AtomicU32>) -> *mut AtomicU32 {
    let null = core::ptr::null_mut();
    let Ok(new) = system_call::map_private(PIECE_BYTES) else { return null };
    // Release: who finds the piece finds it mapped. Acquire: that of another thread.
    match piece.compare_exchange(null, new.cast(), Ordering::AcqRel, Ordering::Acquire) {
        Ok(_) => new.cast(),
        Err(other) => {
            // SAFETY: nobody knows this mapping.
            unsafe { system_call::unmap(new, PIECE_BYTES) };
            other
        }
    }
}
