//! What is known of the node behind each node, of the next id.
//!
//! A child of a node that stands behind it needs no slot in the table that finds nodes. Whatever stands there can be
//! told from what is looked for by a few bits.
//!
//! A byte for each node, decided once, by one exchange: so threads that look for the same child at
//! the same time agree on where it is. Never waits, never changes what was decided.

use core::ops::Range;
use core::sync::atomic::{AtomicU8, Ordering};

use super::wanted::Wanted;
use crate::arch;
use crate::system_call;

/// The next id is nobody's yet, and no child of the node was numbered.
const UNDECIDED: u8 = 0;
/// What the next id is of has a slot, and nothing more is known of it.
const NONE: u8 = 1;
/// From here on the next id is a child's, and this is its mark; from `FIRST_OTHER` on it is another node's.
const FIRST_CHILD: u8 = 2;
const MARKS: u8 = (u8::MAX - FIRST_CHILD) / 2 + 1;
const FIRST_OTHER: u8 = FIRST_CHILD + MARKS;

/// What is known of a node's next id.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Successor {
    Undecided,
    /// It is a child's, which has no slot. Whoever looks for another mark need not look there.
    Child(Mark),
    /// It is that of a node with a slot.
    Other(Mark),
    /// As `Other`, or nobody's.
    None,
}

/// A few bits of a node's hash.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Mark(u8);

impl Mark {
    /// From bits of the hash that nothing else depends on.
    #[inline(always)]
    pub(super) fn of(node: &Wanted) -> Self {
        Self(((node.mark_bits() * u64::from(MARKS)) >> 24) as u8)
    }
}

impl Successor {
    #[inline(always)]
    fn from_byte(byte: u8) -> Self {
        match byte {
            UNDECIDED => Self::Undecided,
            NONE => Self::None,
            FIRST_CHILD..FIRST_OTHER => Self::Child(Mark(byte.wrapping_sub(FIRST_CHILD))),
            FIRST_OTHER.. => Self::Other(Mark(byte.wrapping_sub(FIRST_OTHER))),
        }
    }

    #[inline(always)]
    fn to_byte(self) -> u8 {
        match self {
            Self::Undecided => UNDECIDED,
            Self::None => NONE,
            Self::Child(mark) => FIRST_CHILD.wrapping_add(mark.0),
            Self::Other(mark) => FIRST_OTHER.wrapping_add(mark.0),
        }
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

    /// Makes the bytes of stacks ready that are decided next.
    pub(super) fn populate(&self, stacks: Range<u32>) {
        let stacks = stacks.start.min(self.stacks)..stacks.end.min(self.stacks);
        let first = self.bytes.wrapping_add(stacks.start as usize);
        system_call::populate(first.cast(), stacks.len());
    }

    /// What is known of a stack.
    #[inline(always)]
    pub(super) fn of(&self, stack: u32) -> Successor {
        // Acquire: pairs with the release in `decide`; the node behind it was written before.
        self.byte(stack)
            .map_or(Successor::None, |byte| Successor::from_byte(byte.load(Ordering::Acquire)))
    }

    /// Brings near what is known of a stack.
    #[inline(always)]
    pub(super) fn fetch_ahead(&self, stack: u32) {
        arch::fetch_ahead(self.bytes.wrapping_add(stack as usize));
    }

    /// Decides what follows a stack, if that is open: a node that is written, or none. Gives what holds now.
    #[inline(always)]
    pub(super) fn decide(&self, stack: u32, wanted: Successor) -> Successor {
        let Some(byte) = self.byte(stack) else { return Successor::None };
        // Release: who sees the mark finds the node. Acquire: that of another thread.
        let (new, order) = (wanted.to_byte(), (Ordering::AcqRel, Ordering::Acquire));
        match byte.compare_exchange(UNDECIDED, new, order.0, order.1) {
            Ok(_) => wanted,
            Err(known) => Successor::from_byte(known),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_decided_stays() {
        let successors = Successors::new(100).unwrap();
        let mark = |frame: u64| Mark::of(&Wanted::new(0, frame));
        let all = (0..2_000).map(mark);
        let kinds = [Successor::Child, Successor::Other, |_| Successor::None];
        for (at, mark) in all.enumerate() {
            let (stack, wanted) = (at as u32 % 100, kinds[at % 3](mark));
            let before = successors.of(stack);
            let expected = if before == Successor::Undecided { wanted } else { before };
            assert_eq!(before == Successor::Undecided, at < 100);
            assert_eq!(successors.decide(stack, wanted), expected);
            assert_eq!(successors.of(stack), expected);
        }
        assert_eq!(successors.of(100), Successor::None, "beyond the end nothing is known");
    }

    #[test]
    fn every_byte_is_one_thing_and_marks_are_spread() {
        for byte in 0..=u8::MAX {
            assert_eq!(Successor::from_byte(byte).to_byte(), byte);
        }
        let mut seen = [0; MARKS as usize];
        (0..20_000).for_each(|frame| seen[usize::from(Mark::of(&Wanted::new(7, frame)).0)] += 1);
        assert!(seen.iter().all(|count| (80..250).contains(count)), "{seen:?}");
    }
}
