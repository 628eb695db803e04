//! Which of the kept frames still stand, where each evaluation loop runs one frame: until 3.10.
//!
//! Instructions are numbers there, which say nothing without the code object.

use super::comparison::{WINDOW, find};
use super::kept_frames::KeptFrames;
use super::layout::{Chain, Current, Layout, code_of};
use super::links::linked;
use super::memory::word;

/// As [`super::comparison::compare`].
///
/// # Safety
/// As for [`super::comparison::compare`].
pub(super) unsafe fn compare(
    layout: &Layout,
    thread: u64,
    kept: &KeptFrames,
) -> Option<(usize, usize)> {
    let Chain::CFrames { current: Current::InThreadState { current }, c_frames, .. } = layout.chain
    else {
        return None;
    };
    // SAFETY: a field of the thread state, says our caller. The same holds for the fields below:
    // frames that are linked, and C frames, which stand on this thread's stack.
    let read = |base: u64, offset: u64| unsafe { word(base.wrapping_add(offset)) };
    // The C frame of the loop around the one with this C frame.
    let outer = |native: u64| match c_frames {
        Some(c_frames) => read(native, c_frames.previous),
        None => Some(0),
    };
    let mut native = match c_frames {
        Some(c_frames) => read(thread, c_frames.innermost)?,
        None => 0,
    };
    let mut frame = read(thread, current)?;
    let mut new = 0;
    let mut index = loop {
        if let Some(index) = find(kept.links(), frame) {
            break index;
        }
        new += 1;
        if new > WINDOW {
            return None;
        }
        native = outer(native)?;
        frame = read(frame, layout.frame_previous)?;
    };
    let total = index + 1 + new;
    let mut common = index + 1;
    loop {
        let at = kept.get(index)?;
        let frame = at.raw.frame;
        // SAFETY: a link has just led here. The same holds for the fields below.
        let code = code_of(unsafe { linked(frame, layout.frame_code) });
        // SAFETY: as above.
        let instruction = unsafe { linked(frame, layout.frame_instruction) };
        let instruction = layout.instruction(code, instruction);
        let same_loop = native == at.native || c_frames.is_none();
        if !(code == at.raw.code && instruction == at.raw.instruction && same_loop) {
            common = index;
        }
        native = outer(native)?;
        // SAFETY: as above.
        let previous = unsafe { linked(frame, layout.frame_previous) };
        let Some(next) = index.checked_sub(1) else {
            return (previous == 0).then_some((common, total));
        };
        if kept.get(next)?.raw.frame != previous {
            return None;
        }
        index = next;
    }
}
