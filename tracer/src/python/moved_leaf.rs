//! The innermost frame that went on to another instruction, or still stands where it was: for most blocks nothing else
//! has changed, and that is looked for first.

use tftrace_format::Ticks;

use super::comparison::innermost;
use super::kept_frames::KeptFrames;
use super::layout::{Chain, Layout, code_of};
use super::links::{self, Entered, Flagged, Frames, linked};

/// Where the innermost frame stands now, if it is the call that is kept, and so are all outside it: in the same place,
/// of the same code and linked to the same caller. Not until 3.10, where instructions say nothing without the code object.
/// `now` the look begins.
///
/// # Safety
/// As for [`super::comparison::compare`].
#[inline(always)]
pub(super) unsafe fn instruction(
    layout: &Layout,
    thread: u64,
    kept: &KeptFrames,
    now: Ticks,
) -> Option<u64> {
    // SAFETY: our caller promises it.
    let innermost = |current| unsafe { innermost(current, thread) };
    let field = |offset: u64| {
        let leaf = kept.links().last().map_or(0, |leaf| leaf.frame);
        // SAFETY: asked for once the frame was found to be linked.
        unsafe { linked(leaf, offset) }
    };
    let code = || code_of(field(layout.frame_code));
    match layout.chain {
        Chain::CFrames { current, is_entry: Some(_), .. } => {
            // SAFETY: as above.
            unsafe { of_leaf(&Flagged, innermost(current)?, code, kept, now) }
        }
        Chain::CFrames { .. } => None,
        Chain::EntryFrames { current, owner, owner_of_entry } => {
            let (previous, instruction) = (layout.frame_previous, layout.frame_instruction);
            let frames = Entered { previous, instruction, owner, owner_of_entry };
            // SAFETY: as above.
            unsafe { of_leaf(&frames, innermost(current)?, code, kept, now) }
        }
    }
}

/// As [`instruction`], by the chain of frames, which begins with `innermost`.
///
/// # Safety
/// The frame is the calling thread's innermost one, or 0.
#[inline(always)]
unsafe fn of_leaf<F: Frames>(
    frames: &F,
    innermost: u64,
    code: impl FnOnce() -> u64,
    kept: &KeptFrames,
    now: Ticks,
) -> Option<u64> {
    let (leaf, outer) = kept.links().split_last()?;
    // SAFETY: our caller promises it.
    if unsafe { frames.python(innermost) }? != leaf.frame {
        return None;
    }
    let caller = outer.last().map_or(0, |caller| caller.frame);
    // SAFETY: it is linked: it is the innermost one.
    let instruction = unsafe { frames.instruction(leaf, caller) }?;
    let has_gone_on = instruction != leaf.instruction();
    if has_gone_on && kept.get(outer.len()).is_none_or(|kept| kept.raw.code != code()) {
        return None;
    }
    // The caller may have gone on in any case, and called what stands where the innermost frame stood.
    let unseen = kept.out_of_reach(now).min(outer.len().saturating_sub(1));
    // SAFETY: a link has led to the last of them.
    let changed = unsafe { links::innermost_changed(frames, outer, unseen) };
    changed.is_none().then_some(instruction)
}
