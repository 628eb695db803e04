//! Which stacks have a child whose id follows theirs: it needs no slot in the table that finds nodes.
//!
//! A byte for each stack, decided once, by one exchange: so threads that look for the same child at
//! the same time agree on where it is. Never waits, never changes what was decided.

use core::sync::atomic::{AtomicU8, Ordering};

use crate::system_call;

/// No child of the stack was numbered yet.
const UNDECIDED: u8 = 0;
/// The next id is not a child's, or that child has a slot like all others.
const NONE: u8 = 1;
/// From here on: the next id is a child's, and this is its mark.
const FIRST_MARK: u8 = 2;
const MARKS: u64 = 256 - FIRST_MARK as u64;

/// What is known of a stack's next id.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Successor {
    Undecided,
    /// Whoever looks for another mark need not look there.
    Marked(Mark),
    None,
}

/// A few bits of a child's hash.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Mark(u8);

impl Mark {
    /// From bits of the hash that nothing else depends on.
    #[inline(always)]
    pub(super) fn of(hash: u64) -> Self {
        Self(FIRST_MARK.wrapping_add((((hash >> 40) * MARKS) >> 24) as u8))
    }
}

/// What is known of all stacks.
#[derive(Debug)]
pub(super) struct Successors {
    bytes: *mut AtomicU8,
    stacks: u32,
}

impl Successors {
    /// For so many stacks; `None` if there is no memory.
    pub(super) fn new(stacks: u32) -> Option<Self> {
        let bytes = system_call::map_private(stacks as usize).ok()?;
        Some(Self { bytes: bytes.cast(), stacks })
    }

    #[inline(always)]
    fn byte(&self, stack: u32) -> Option<&AtomicU8> {
        if stack >= self.stacks {
            return None;
        }
        // SAFETY: below the array's length, which stays mapped; zeros are valid.
        Some(unsafe { &*self.bytes.wrapping_add(stack as usize) })
    }

    #[inline(always)]
    fn read(byte: u8) -> Successor {
        match byte {
            UNDECIDED => Successor::Undecided,
            NONE => Successor::None,
            mark => Successor::Marked(Mark(mark)),
        }
    }

    /// What is known of a stack.
    #[inline(always)]
    pub(super) fn of(&self, stack: u32) -> Successor {
        // Acquire: pairs with the release in `decide`; the child was written before.
        self.byte(stack).map_or(Successor::None, |byte| Self::read(byte.load(Ordering::Acquire)))
    }

    /// Decides what follows a stack, if that is open: a child that is written, or none. Gives what holds now.
    #[inline(always)]
    pub(super) fn decide(&self, stack: u32, child: Option<Mark>) -> Successor {
        let Some(byte) = self.byte(stack) else { return Successor::None };
        let wanted = child.map_or(NONE, |mark| mark.0);
        // Release: who sees the mark finds the child. Acquire: that of another thread.
        match byte.compare_exchange(UNDECIDED, wanted, Ordering::AcqRel, Ordering::Acquire) {
            Ok(_) => Self::read(wanted),
            Err(known) => Self::read(known),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_decided_stays() {
        let successors = Successors::new(100).unwrap();
        let marks = [0, 1 << 63, u64::MAX].map(Mark::of);
        assert_eq!(marks.map(|mark| mark.0), [2, 129, 255]);
        for stack in 0..100 {
            assert_eq!(successors.of(stack), Successor::Undecided);
            let wanted = marks.get(stack as usize % 4).copied();
            let expected = wanted.map_or(Successor::None, Successor::Marked);
            assert_eq!(successors.decide(stack, wanted), expected);
            assert_eq!(successors.decide(stack, Some(marks[1])), expected);
            assert_eq!(successors.decide(stack, None), expected);
        }
        assert_eq!(successors.of(0), Successor::Marked(marks[0]));
        assert_eq!(successors.of(100), Successor::None, "beyond the end nothing is marked");
    }
}
