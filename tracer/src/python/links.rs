//! Whether kept Python frames are still linked as they were, one to the next.
//!
//! Only compares: nothing here finds frames that are not kept.

use super::kept_frames::Link;
use super::layout::flagged;

/// A field of a frame.
///
/// # Safety
/// The frame is one of the calling thread's, linked just now.
#[inline(always)]
pub(super) unsafe fn linked(frame: u64, offset: u64) -> u64 {
    // SAFETY: our caller promises it.
    unsafe { (frame.wrapping_add(offset) as *const u64).read() }
}

/// How a loop's first frame is told, and what leads from it to the frame outside.
pub(super) trait Loops {
    /// Where a frame has its instruction, if that is a constant.
    const FRAME_INSTRUCTION: Option<u64>;

    /// Whether the link from `at` leads to `outer`, as it did when they were kept.
    ///
    /// # Safety
    /// `at` is linked, and so is its loop.
    unsafe fn follows(&self, at: &Link, outer: &Link) -> bool;

    /// Whether nothing is outside `at`, as when it was kept.
    ///
    /// # Safety
    /// As for `follows`.
    unsafe fn is_root(&self, at: &Link) -> bool;
}

/// 3.11: the first frame has a flag, the loops have C frames. Its offsets are constants here, so
/// that the loop over a hundred frames keeps everything in registers.
pub(super) struct Flagged;

impl Loops for Flagged {
    const FRAME_INSTRUCTION: Option<u64> = Some(flagged::INSTRUCTION);

    #[inline(always)]
    unsafe fn follows(&self, at: &Link, outer: &Link) -> bool {
        // SAFETY: our caller promises it, here and below.
        let previous = unsafe { linked(at.frame, flagged::PREVIOUS) };
        // SAFETY: as above.
        let begins = unsafe { (at.frame.wrapping_add(flagged::IS_ENTRY) as *const u8).read() } != 0;
        if at.native == outer.native {
            return previous == outer.frame && !begins;
        }
        previous == outer.frame
            && begins
            // SAFETY: as above; the C frame of a loop that runs.
            && unsafe { linked(at.native, flagged::C_FRAME_PREVIOUS) } == outer.native
    }

    #[inline(always)]
    unsafe fn is_root(&self, at: &Link) -> bool {
        // SAFETY: our caller promises it, here and below.
        let previous = unsafe { linked(at.frame, flagged::PREVIOUS) };
        // SAFETY: as above.
        previous == 0
            && unsafe { (at.frame.wrapping_add(flagged::IS_ENTRY) as *const u8).read() } != 0
    }
}

/// Since 3.12: the loops have frames of their own in the chain.
pub(super) struct Entered {
    pub(super) previous: u64,
    pub(super) owner: u64,
    pub(super) owner_of_entry: u8,
}

impl Entered {
    /// Whether the frame `previous`, with which the loop of `at` began, is what it was, and the one
    /// outside it is `outer`.
    #[inline(always)]
    unsafe fn began(&self, at: &Link, previous: u64, outer: u64) -> bool {
        previous == at.native
            // SAFETY: a link has just led there.
            && unsafe { (previous.wrapping_add(self.owner) as *const u8).read() } == self.owner_of_entry
            // SAFETY: as above.
            && unsafe { linked(previous, self.previous) } == outer
    }
}

impl Loops for Entered {
    const FRAME_INSTRUCTION: Option<u64> = None;

    #[inline(always)]
    unsafe fn follows(&self, at: &Link, outer: &Link) -> bool {
        // SAFETY: our caller promises it.
        let previous = unsafe { linked(at.frame, self.previous) };
        if outer.native == at.native || at.native == 0 {
            return previous == outer.frame;
        }
        // SAFETY: as above.
        unsafe { self.began(at, previous, outer.frame) }
    }

    #[inline(always)]
    unsafe fn is_root(&self, at: &Link) -> bool {
        // SAFETY: our caller promises it.
        let previous = unsafe { linked(at.frame, self.previous) };
        if at.native == 0 {
            return previous == 0;
        }
        // SAFETY: as above.
        unsafe { self.began(at, previous, 0) }
    }
}

/// From which of these frames on, root first, the stack is another; `None` if they are not linked
/// as they were. An instruction is of one code object: there is nothing else to compare.
///
/// # Safety
/// The last one is linked, and so is its loop; instructions are addresses.
#[inline(always)]
pub(super) unsafe fn compare_links<L: Loops>(
    links: &[Link],
    loops: &L,
    frame_instruction: u64,
) -> Option<usize> {
    let frame_instruction = L::FRAME_INSTRUCTION.unwrap_or(frame_instruction);
    let mut differs = None;
    let (mut at, outside) = links.split_last()?;
    for outer in outside.iter().rev() {
        // SAFETY: the link before has led here.
        if unsafe { linked(at.frame, frame_instruction) } != at.instruction {
            differs = Some(at);
        }
        // SAFETY: as above.
        if !unsafe { loops.follows(at, outer) } {
            return None;
        }
        at = outer;
    }
    // SAFETY: as above.
    if unsafe { linked(at.frame, frame_instruction) } != at.instruction {
        differs = Some(at);
    }
    // SAFETY: as above.
    if !unsafe { loops.is_root(at) } {
        return None;
    }
    let Some(differs) = differs else { return Some(links.len()) };
    // What stands in the slice before it.
    let before = (core::ptr::from_ref(differs) as usize).wrapping_sub(links.as_ptr() as usize);
    Some(before / size_of::<Link>())
}
