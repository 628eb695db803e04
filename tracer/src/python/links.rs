//! Whether kept Python frames still stand as they did: the same instruction, and linked to the same
//! caller.
//!
//! Only compares: nothing here finds frames that are not kept. Where a frame is comes from the list of
//! the kept ones and never from the link that was just read, so that no load waits for another one.

use super::layout::flagged;
use super::memory::{byte, word};

/// What of a kept frame is compared for every block: by itself, so that little memory is read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub(super) struct Link {
    /// What stands in the frame: in the lower half what it is linked to, in the upper one the
    /// instruction that it had reached, as an address.
    pub(super) fields: u128,
    /// Where the interpreter keeps it.
    pub(super) frame: u64,
    /// As [`super::kept_frames::KeptFrame::native`].
    pub(super) native: u64,
}

impl Link {
    pub(super) fn fields(previous: u64, instruction: u64) -> u128 {
        u128::from(previous) | u128::from(instruction) << 64
    }

    #[inline(always)]
    pub(super) fn previous(&self) -> u64 {
        self.fields as u64
    }

    #[inline(always)]
    pub(super) fn instruction(&self) -> u64 {
        (self.fields >> 64) as u64
    }
}

/// A field of a frame.
///
/// # Safety
/// The frame is one of the calling thread's, linked just now.
#[inline(always)]
pub(super) unsafe fn linked(frame: u64, offset: u64) -> u64 {
    // SAFETY: our caller promises it.
    unsafe { (frame.wrapping_add(offset) as *const u64).read() }
}

/// How a version links its frames, where instructions are addresses.
pub(super) trait Frames {
    /// Whether `at` is what it was, and linked to what it was linked to: to `outer`, 0 at the root.
    ///
    /// # Safety
    /// `at` is linked.
    unsafe fn is_unchanged(&self, at: &Link, outer: u64) -> bool;

    /// The instruction that `at` has reached now, if it is linked to what it was linked to: to `outer`, 0 at the root.
    ///
    /// # Safety
    /// `at` is linked.
    unsafe fn instruction(&self, at: &Link, outer: u64) -> Option<u64>;

    /// The frame itself, or the one outside it if it is none of Python's.
    ///
    /// # Safety
    /// The frame is linked, or 0.
    unsafe fn python(&self, frame: u64) -> Option<u64>;

    /// The frame that a frame is linked to, which may be none of Python's; 0 at the root.
    ///
    /// # Safety
    /// The frame is linked.
    unsafe fn previous(&self, frame: u64) -> Option<u64>;
}

/// 3.11: both fields are neighbours, and all frames are Python's. The offsets are constants here, so
/// that the loop over a hundred frames keeps everything in registers.
pub(super) struct Flagged;

const _: () = assert!(flagged::INSTRUCTION == flagged::PREVIOUS + 8, "they are read as one word");

impl Frames for Flagged {
    #[inline(always)]
    unsafe fn is_unchanged(&self, at: &Link, _outer: u64) -> bool {
        let fields = at.frame.wrapping_add(flagged::PREVIOUS) as *const u128;
        // SAFETY: our caller promises it.
        unsafe { fields.read_unaligned() == at.fields }
    }

    #[inline(always)]
    unsafe fn instruction(&self, at: &Link, _outer: u64) -> Option<u64> {
        // SAFETY: our caller promises it.
        let previous = unsafe { linked(at.frame, flagged::PREVIOUS) };
        // SAFETY: as above.
        let instruction = unsafe { linked(at.frame, flagged::INSTRUCTION) };
        (previous == at.previous()).then_some(instruction)
    }

    #[inline(always)]
    unsafe fn python(&self, frame: u64) -> Option<u64> {
        Some(frame)
    }

    #[inline(always)]
    unsafe fn previous(&self, frame: u64) -> Option<u64> {
        // SAFETY: our caller promises it.
        unsafe { word(frame.wrapping_add(flagged::PREVIOUS)) }
    }
}

/// Since 3.12: evaluation loops have frames of their own in the chain.
pub(super) struct Entered {
    pub(super) previous: u64,
    pub(super) instruction: u64,
    pub(super) owner: u64,
    pub(super) owner_of_entry: u8,
}

impl Frames for Entered {
    #[inline(always)]
    unsafe fn is_unchanged(&self, at: &Link, outer: u64) -> bool {
        // SAFETY: our caller promises it.
        unsafe { self.instruction(at, outer) == Some(at.instruction()) }
    }

    #[inline(always)]
    unsafe fn instruction(&self, at: &Link, outer: u64) -> Option<u64> {
        // SAFETY: our caller promises it, here and below.
        let previous = unsafe { linked(at.frame, self.previous) };
        // SAFETY: as above.
        let instruction = unsafe { linked(at.frame, self.instruction) };
        let entry = at.previous();
        let is_linked = previous == entry
            && (entry != at.native
                || entry == 0
                // SAFETY: a link has just led there.
                || (unsafe { byte(entry.wrapping_add(self.owner)) } == Some(self.owner_of_entry)
                    // SAFETY: as above.
                    && unsafe { linked(entry, self.previous) } == outer));
        is_linked.then_some(instruction)
    }

    #[inline(always)]
    unsafe fn python(&self, mut frame: u64) -> Option<u64> {
        // SAFETY: our caller promises it, here and below.
        while unsafe { byte(frame.wrapping_add(self.owner)) } == Some(self.owner_of_entry) {
            // SAFETY: as above.
            frame = unsafe { word(frame.wrapping_add(self.previous)) }?;
        }
        Some(frame)
    }

    #[inline(always)]
    unsafe fn previous(&self, frame: u64) -> Option<u64> {
        // SAFETY: our caller promises it.
        unsafe { word(frame.wrapping_add(self.previous)) }
    }
}

/// The innermost of these frames, root first, that is not what it was; the first `unseen` are.
///
/// # Safety
/// The last one is linked.
#[inline(always)]
pub(super) unsafe fn innermost_changed<F: Frames>(
    frames: &F,
    links: &[Link],
    unseen: usize,
) -> Option<usize> {
    let mut left = links;
    // SAFETY: our caller promises it for the last one; each that is unchanged is linked to the next.
    let changed = |at: &Link, outer: u64| unsafe { !frames.is_unchanged(at, outer) };
    // Four at a time: most of the cost of a comparison would be that of the loop around it.
    while left.len() >= unseen.saturating_add(4)
        && let [.., e, d, c, b, a] = left
    {
        let places = left.len().wrapping_sub(1);
        if changed(a, b.frame) {
            return Some(places);
        }
        if changed(b, c.frame) {
            return Some(places.wrapping_sub(1));
        }
        if changed(c, d.frame) {
            return Some(places.wrapping_sub(2));
        }
        if changed(d, e.frame) {
            return Some(places.wrapping_sub(3));
        }
        left = left.get(..left.len().wrapping_sub(4)).unwrap_or_default();
    }
    while left.len() > unseen
        && let [rest @ .., at] = left
    {
        if changed(at, rest.last().map_or(0, |outer| outer.frame)) {
            return Some(rest.len());
        }
        left = rest;
    }
    None
}
