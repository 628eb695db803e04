//! A native frame that is kept, and what of it must still stand for a later stack to have it too.

use super::stack_range::StackRange;

/// A signal interrupted the frame.
pub(super) const INTERRUPTED: u32 = 1;
/// The step that led here used more of the stack than is remembered.
pub(super) const MUST_BE_REACHED: u32 = 2;
/// What the step from here does with `bp`.
pub(super) const STEP_USES_BP: u32 = 4;
pub(super) const STEP_RESTORES_BP: u32 = 8;
/// The walk from here depends on `bp`: set once the frames towards the root are known.
const BP_MATTERS: u32 = 16;
/// A signal handler stands at or below this frame, towards the root: as above.
const IN_HANDLER: u32 = 32;

/// A frame as a walk finds it.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Walked {
    /// Where the return address stands on the stack.
    pub(super) slot: u64,
    /// The return address, or the address a signal interrupted.
    pub(super) address: u64,
    /// The frame pointer register in this frame.
    pub(super) bp: u64,
    /// Where `bp` was read: relative to the word above `slot`; 0 = the callee left the register alone.
    pub(super) bp_from: i32,
    /// The stack that scheduled the work that begins here; 0 = this is no such place.
    pub(super) scheduled: u32,
    /// Its object, as [`super::objects`] numbers them, in 31 bits.
    pub(super) mapping: u32,
    pub(super) flags: u32,
}

impl Walked {
    pub(super) fn is_interrupted(&self) -> bool {
        self.flags & INTERRUPTED != 0
    }

    /// The frame in words. It is read again a moment later, and a processor waits for stores that it finds
    /// in pieces of another size.
    #[inline(always)]
    pub(super) fn to_words(self) -> [u64; 5] {
        let Self { slot, address, bp, bp_from, scheduled, mapping, flags } = self;
        let pair = |low: u32, high: u32| u64::from(low) | u64::from(high) << 32;
        [slot, address, bp, pair(bp_from.cast_unsigned(), scheduled), pair(mapping, flags)]
    }

    #[inline(always)]
    pub(super) fn from_words([slot, address, bp, origin, what]: [u64; 5]) -> Self {
        let high = |word: u64| (word >> 32) as u32;
        let (bp_from, scheduled) = ((origin as u32).cast_signed(), high(origin));
        Self { slot, address, bp, bp_from, scheduled, mapping: what as u32, flags: high(what) }
    }
}

/// A frame, as it was when the stack was last unwound.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub(crate) struct KeptFrame {
    /// As [`Walked`] has them, up to `scheduled`.
    pub(crate) slot: u64,
    pub(crate) address: u64,
    pub(super) bp: u64,
    pub(super) bp_from: i32,
    pub(crate) scheduled: u32,
    pub(crate) mapping: u32,
    flags: u32,
    /// The stack that scheduled the work of the nearest frame towards the root that has one, or of this one.
    pub(super) origin: u32,
    /// Its node, once it has one; Python frames that it runs stand above that.
    pub(crate) stack: u32,
    /// How many Python frames stand above `stack`, those of the frames towards the root included.
    pub(crate) python: u32,
    /// How many words are compared of it and of the frames towards the root.
    pub(super) words: u32,
}

/// What must be what it was for a frame to stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Compared {
    /// The return address.
    Address,
    /// The return address, and what was saved of `bp` not far below it.
    AddressAndBp,
    /// More, or elsewhere: [`KeptFrame::still_stands`] knows.
    More,
}

impl KeptFrame {
    /// The frame that called, or was called by, nothing that is kept: `caller` is the kept frame outside it.
    #[inline(always)]
    pub(super) fn below(caller: Option<&Self>, walked: &Walked) -> Self {
        let (outer, origin) = caller.map_or((0, 0), |caller| (caller.flags, caller.origin));
        let Walked { slot, address, bp, bp_from, scheduled, mapping, flags } = *walked;
        let uses = flags & STEP_USES_BP != 0;
        let matters = uses || (outer & BP_MATTERS != 0 && flags & STEP_RESTORES_BP == 0);
        let in_handler = outer & IN_HANDLER != 0 || flags & INTERRUPTED != 0;
        let flags =
            flags | if matters { BP_MATTERS } else { 0 } | if in_handler { IN_HANDLER } else { 0 };
        let origin = if scheduled == 0 { origin } else { scheduled };
        let (stack, python, words) = (0, 0, 0);
        Self { slot, address, bp, bp_from, scheduled, mapping, flags, origin, stack, python, words }
    }

    /// Whether a signal interrupted it.
    #[inline(always)]
    pub(super) fn is_interrupted(&self) -> bool {
        self.flags & INTERRUPTED != 0
    }

    /// Whether it runs in a signal handler.
    #[inline(always)]
    pub(super) fn is_in_handler(&self) -> bool {
        self.flags & IN_HANDLER != 0
    }

    /// Whether the walk from here depends on `bp`.
    #[inline(always)]
    pub(super) fn needs_bp(&self) -> bool {
        self.flags & BP_MATTERS != 0
    }

    /// Whether a walk that came to a frame goes on as it went on from this one, given that
    /// what is kept towards the root still stands on the stack ([`KeptFrame::still_stands`]).
    #[inline(always)]
    pub(super) fn is_met_by(&self, walked: &Walked) -> bool {
        self.is_same_place(walked) && (self.bp == walked.bp || !self.needs_bp())
    }

    /// Whether both are the same call.
    #[inline(always)]
    pub(super) fn is_same_place(&self, walked: &Walked) -> bool {
        self.slot == walked.slot
            && self.address == walked.address
            && (self.flags ^ walked.flags) & INTERRUPTED == 0
            && self.scheduled == walked.scheduled
    }

    /// Whether the words of the stack that led to this frame are what they were.
    #[inline(always)]
    pub(super) fn still_stands(&self, range: StackRange) -> bool {
        range.read(self.slot) == Some(self.address)
            && self.flags & MUST_BE_REACHED == 0
            && (self.scheduled == 0
                || range.read(self.slot.wrapping_add(8)).map(|word| word as u32)
                    == Some(self.scheduled))
            && (!self.needs_bp()
                || self.bp_from == 0
                || range.read(self.bp_place()) == Some(self.bp))
    }

    /// What [`KeptFrame::still_stands`] would look at.
    #[inline(always)]
    pub(super) fn compared(&self) -> Compared {
        /// What a call saves of registers, and keeps for itself above that.
        const NEAR: u64 = 4096;
        if self.flags & MUST_BE_REACHED != 0 || self.scheduled != 0 {
            return Compared::More;
        }
        if !self.needs_bp() || self.bp_from == 0 {
            return Compared::Address;
        }
        let below = self.slot.wrapping_sub(self.bp_place());
        if below == 0 || below > NEAR || !below.is_multiple_of(8) {
            return Compared::More;
        }
        Compared::AddressAndBp
    }

    /// The lowest place that is compared without a closer look.
    #[inline(always)]
    pub(super) fn lowest(&self) -> u64 {
        match self.compared() {
            Compared::AddressAndBp => self.bp_place(),
            Compared::Address | Compared::More => self.slot,
        }
    }

    #[inline(always)]
    pub(super) fn bp_place(&self) -> u64 {
        self.slot.wrapping_add(8).wrapping_add_signed(i64::from(self.bp_from))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_walked_frame_survives_as_words() {
        let walked = Walked {
            slot: 1,
            address: u64::MAX,
            bp: 1 << 63,
            bp_from: -16,
            scheduled: u32::MAX,
            mapping: (1 << 31) - 1,
            flags: INTERRUPTED | STEP_RESTORES_BP,
        };
        assert_eq!(format!("{walked:?}"), format!("{:?}", Walked::from_words(walked.to_words())));
    }

    #[test]
    fn bp_matters_until_a_step_towards_the_leaf_restores_it() {
        let walked = |flags: u32, scheduled: u32| Walked { flags, scheduled, ..Walked::default() };
        let root = KeptFrame::below(None, &walked(STEP_USES_BP, 7));
        let leaves_it = KeptFrame::below(Some(&root), &walked(INTERRUPTED, 0));
        let restores = KeptFrame::below(Some(&leaves_it), &walked(STEP_RESTORES_BP, 9));
        assert_eq!([&root, &leaves_it, &restores].map(KeptFrame::needs_bp), [true, true, false]);
        assert_eq!([&root, &leaves_it, &restores].map(|frame| frame.origin), [7, 7, 9]);
        let in_handler = [&root, &leaves_it, &restores].map(KeptFrame::is_in_handler);
        assert_eq!(in_handler, [false, true, true]);
    }
}
