//! A native frame that is kept, and what of it must still stand for a later stack to have it too.

use super::stack_range::StackRange;

/// A frame, as it was when the stack was last unwound.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub(crate) struct KeptFrame {
    /// Where the return address stands on the stack.
    pub(crate) slot: u64,
    /// The return address, or the address a signal interrupted.
    pub(crate) address: u64,
    /// The frame pointer register in this frame.
    pub(crate) bp: u64,
    /// Where `bp` was read: relative to the word above `slot`; 0 = the callee left the register alone.
    pub(crate) bp_from: i32,
    /// Its node, once it has one; Python frames that it runs stand above that.
    pub(crate) stack: u32,
    /// Where children of that are looked for, as [`super::stack_cache::Node`] has it.
    pub(super) path: u32,
    /// How many Python frames stand above `stack`, those of the frames towards the root included.
    pub(crate) python: u32,
    /// Its object, as [`super::objects`] numbers them, in 31 bits.
    pub(crate) mapping: u32,
    /// The stack that scheduled the work that begins here; 0 = this is no such place.
    pub(crate) scheduled: u32,
    /// The same of the nearest frame towards the root that has one: as `bp_matters`.
    pub(super) origin: u32,
    /// Whether a signal interrupted it.
    pub(crate) interrupted: bool,
    /// Whether the step that led here used more of the stack than is remembered.
    pub(crate) must_be_reached: bool,
    /// What the step from here does with `bp`.
    pub(crate) step_uses_bp: bool,
    pub(crate) step_restores_bp: bool,
    /// Whether the walk from here depends on `bp`: set once the frames towards the root are known.
    pub(super) bp_matters: bool,
    /// Whether a signal handler stands at or below this frame, towards the root: as above.
    pub(super) in_handler: bool,
}

impl KeptFrame {
    /// Whether the walk that goes on from here is the one that went on from `kept`, given that
    /// what is kept towards the root still stands on the stack ([`KeptFrame::still_stands`]).
    #[inline(always)]
    pub(crate) fn continues_as(&self, kept: &Self) -> bool {
        self.is_same_place(kept) && (self.bp == kept.bp || !kept.bp_matters)
    }

    /// Whether both are the same call.
    #[inline(always)]
    pub(crate) fn is_same_place(&self, other: &Self) -> bool {
        self.slot == other.slot
            && self.address == other.address
            && self.interrupted == other.interrupted
            && self.scheduled == other.scheduled
    }

    /// Whether the words of the stack that led to this frame are what they were.
    #[inline(always)]
    pub(super) fn still_stands(&self, range: StackRange) -> bool {
        range.read(self.slot) == Some(self.address)
            && !self.must_be_reached
            && (self.scheduled == 0
                || range.read(self.slot.wrapping_add(8)).map(|word| word as u32)
                    == Some(self.scheduled))
            && (!self.bp_matters
                || self.bp_from == 0
                || range.read(self.bp_place()) == Some(self.bp))
    }

    /// Whether [`KeptFrame::still_stands`] has only the return address to look at.
    #[inline(always)]
    pub(super) fn needs_no_more(&self) -> bool {
        !self.must_be_reached && self.scheduled == 0 && (!self.bp_matters || self.bp_from == 0)
    }

    fn bp_place(&self) -> u64 {
        self.slot.wrapping_add(8).wrapping_add_signed(i64::from(self.bp_from))
    }
}
