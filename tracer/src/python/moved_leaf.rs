//! The innermost frame that went on to another instruction: the most frequent change of all.

use super::comparison::innermost;
use super::frames::RawFrame;
use super::kept_frames::KeptFrames;
use super::layout::{Chain, Layout, code_of};
use super::links::linked;

/// The innermost frame as it is now, if it is the call that is kept, at another instruction: in the same place,
/// of the same code and linked to the same caller. Not until 3.10, where instructions say nothing without the
/// code object.
///
/// # Safety
/// As for [`super::comparison::compare`], which has found that all kept frames but the last still stand, and one more.
#[inline(always)]
pub(super) unsafe fn moved_leaf(
    layout: &Layout,
    thread: u64,
    kept: &KeptFrames,
) -> Option<RawFrame> {
    let leaf = kept.len().checked_sub(1).and_then(|leaf| kept.get(leaf))?.raw;
    let (Chain::CFrames { current, .. } | Chain::EntryFrames { current, .. }) = layout.chain;
    // SAFETY: our caller promises it.
    let is_it = unsafe { innermost(current, thread) } == Some(leaf.frame);
    if !is_it || layout.instruction_step != 0 {
        return None;
    }
    // SAFETY: the frame is linked, as just seen.
    let field = |offset: u64| unsafe { linked(leaf.frame, offset) };
    let is_same = code_of(field(layout.frame_code)) == leaf.code
        && field(layout.frame_previous) == leaf.previous;
    is_same.then(|| RawFrame { instruction: field(layout.frame_instruction), ..leaf })
}
