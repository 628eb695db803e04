//! The Python frames of the calling thread, innermost first, without the GIL and without the
//! interpreter's API.
//!
//! Only this thread changes its chain of frames, and it is inside a call that allocates: every
//! frame that is linked is whole, except where a signal interrupted the interpreter itself.

use super::kept_frames::KeptFrames;
use super::layout::{Chain, Current, Layout, code_of};
use super::memory::{byte, word};

/// A Python frame, as the walk finds it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct RawFrame {
    /// Where the interpreter keeps it.
    pub(super) frame: u64,
    /// What it is linked to: its caller, or where that ends the frame of an evaluation loop.
    pub(super) previous: u64,
    /// Its code object.
    pub(super) code: u64,
    /// The instruction it had reached, as an address.
    pub(super) instruction: u64,
}

/// What a walk finds.
pub(super) enum Found {
    /// The next frame.
    Frame(RawFrame),
    /// The frames since the last of these were run by one evaluation loop, whose native frame
    /// holds this address; 0 = not known.
    Loop { native: u64 },
}

/// More frames than any recursion limit allows: ends a walk in circles.
const MOST_FRAMES: usize = 1 << 17;

/// Gives the frames of a thread to `each`, innermost first, until it returns false.
///
/// # Safety
/// `thread` is the calling thread's state in a running interpreter of this layout.
#[inline(always)]
pub(super) unsafe fn walk(layout: &Layout, thread: u64, mut each: impl FnMut(Found) -> bool) {
    // SAFETY: a field of the thread state, says our caller. The same holds for the fields below:
    // frames that are linked, and C frames, which stand on this thread's stack.
    let read = |base: u64, offset: u64| unsafe { word(base.wrapping_add(offset)) }.unwrap_or(0);
    // SAFETY: as above.
    let flag = |base: u64, offset: u64| unsafe { byte(base.wrapping_add(offset)) }.unwrap_or(0);
    let raw = |frame: u64| {
        let code = code_of(read(frame, layout.frame_code));
        let instruction = layout.instruction(code, read(frame, layout.frame_instruction));
        RawFrame { frame, previous: read(frame, layout.frame_previous), code, instruction }
    };
    let innermost = |current| match current {
        Current::InCFrame { cframe, current } => read(read(thread, cframe), current),
        Current::InThreadState { current } => read(thread, current),
    };
    match layout.chain {
        Chain::CFrames { current, c_frames, is_entry } => {
            let mut native = c_frames.map_or(0, |c_frames| read(thread, c_frames.innermost));
            let mut frame = innermost(current);
            for _ in 0..MOST_FRAMES {
                if frame == 0 || !each(Found::Frame(raw(frame))) {
                    return;
                }
                if is_entry.is_none_or(|is_entry| flag(frame, is_entry) != 0) {
                    if !each(Found::Loop { native }) {
                        return;
                    }
                    native = c_frames.map_or(0, |c_frames| read(native, c_frames.previous));
                }
                frame = read(frame, layout.frame_previous);
            }
        }
        Chain::EntryFrames { current, owner, owner_of_entry } => {
            let mut frame = innermost(current);
            for _ in 0..MOST_FRAMES {
                if frame == 0 {
                    return;
                }
                let found = if flag(frame, owner) == owner_of_entry {
                    Found::Loop { native: frame }
                } else {
                    Found::Frame(raw(frame))
                };
                if !each(found) {
                    return;
                }
                frame = read(frame, layout.frame_previous);
            }
        }
    }
}

/// Writes down the innermost `wanted` frames, or all there are. If the frame outside of these is of
/// the same loop, that is `outside`: its other frames, however many, are not visited.
///
/// # Safety
/// As for [`walk`].
#[inline(always)]
pub(super) unsafe fn take_new(
    layout: &Layout,
    thread: u64,
    into: &mut KeptFrames,
    wanted: usize,
    outside: u64,
) {
    if wanted == 0 {
        return;
    }
    // SAFETY: our caller promises it.
    unsafe {
        walk(layout, thread, |found| match found {
            Found::Frame(frame) if into.new_len() < wanted => into.push_new(frame),
            Found::Frame(_) => {
                into.end_loop(outside);
                false
            }
            Found::Loop { native } => into.end_loop(native) && into.new_len() < wanted,
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A thread state, and frames as 3.11 or 3.12 lays them out, in plain arrays.
    fn walked(version: (u8, u8), thread: &[u64]) -> Vec<(u64, u64)> {
        let layout = Layout::of(version).unwrap();
        let (mut found, mut since) = (Vec::new(), 0);
        // SAFETY: all addresses in the state lead to arrays that are large enough.
        unsafe {
            walk(&layout, thread.as_ptr() as u64, |next| {
                match next {
                    Found::Frame(frame) => found.push((frame.code, 0)),
                    Found::Loop { native } => {
                        found[since..].iter_mut().for_each(|frame| frame.1 = native);
                        since = found.len();
                    }
                }
                true
            });
        }
        found
    }

    #[test]
    fn frames_of_two_loops_are_found_from_the_inside_out() {
        // 3.11: code at word 4, caller at 6, the flag in word 8 (byte 68).
        let frame = |code: u64, caller: u64, is_entry: u64| {
            [0, 0, 0, 0, code, 0, caller, 0x1000, is_entry << 32]
        };
        let outer = frame(0xA000, 0, 1);
        let called = frame(0xB000, outer.as_ptr() as u64, 1);
        let inlined = frame(0xC000, called.as_ptr() as u64, 0);
        let outer_loop = [0, outer.as_ptr() as u64, 0];
        let inner_loop = [0, inlined.as_ptr() as u64, outer_loop.as_ptr() as u64];
        let mut thread = [0; 16];
        thread[7] = inner_loop.as_ptr() as u64;
        let (inner, outer) = (inner_loop.as_ptr() as u64, outer_loop.as_ptr() as u64);
        assert_eq!(walked((3, 11), &thread), [(0xC000, inner), (0xB000, inner), (0xA000, outer)]);
    }

    #[test]
    fn frames_before_the_first_loop_of_a_thread_that_runs_none_are_none() {
        assert_eq!(walked((3, 12), &[0; 16]), []);
        assert_eq!(walked((3, 13), &[0; 16]), []);
    }
}
