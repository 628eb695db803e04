//! Finds which of the kept frames still stand, without writing any of the new ones down.
//!
//! This is done for every block of Python's, with a hundred frames in an import.

use tftrace_format::Ticks;

use super::kept_frames::KeptFrames;
use super::layout::{CFrames, Chain, Current, Layout, flagged};
use super::links::{self, Entered, Flagged, Frames, Link, linked};
use super::memory::{byte, word};
use super::run_alone;

/// New frames at the leaf, and kept ones, among which the first common one is looked for.
pub(super) const WINDOW: usize = 32;

/// What of the loops that run the frames is compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Loops {
    /// All: a whole stack has its Python frames among its native ones.
    Compared,
    /// What the chain of frames says by itself. [`super::kept_frames::KeptFrame::native`] may be of
    /// an earlier call then, which the next comparison of loops notices.
    LeftOut,
}

/// How many of the kept frames still stand, from the root on, and how many frames there are now;
/// `None` if that is not known. `now` the look at them begins.
///
/// # Safety
/// `thread` is the calling thread's state in a running interpreter of this layout.
#[inline(always)]
pub(super) unsafe fn compare(
    layout: &Layout,
    thread: u64,
    kept: &KeptFrames,
    loops: Loops,
    now: Ticks,
) -> Option<(usize, usize)> {
    // SAFETY: our caller promises it.
    let innermost = |current| unsafe { innermost(current, thread) };
    match layout.chain {
        Chain::CFrames { current, c_frames: Some(c_frames), is_entry: Some(is_entry) } => {
            debug_assert_eq!(layout.frame_previous, flagged::PREVIOUS);
            // SAFETY: as above; frames and C frames are linked.
            let same = unsafe { standing(&Flagged, innermost(current)?, kept, now) }?;
            let loops_hold = loops == Loops::LeftOut
                // SAFETY: as above.
                || unsafe { same_loops(layout, thread, (c_frames, is_entry), kept, same) }?;
            loops_hold.then_some(same)
        }
        // SAFETY: as above.
        Chain::CFrames { .. } => unsafe { run_alone::compare(layout, thread, kept) },
        Chain::EntryFrames { current, owner, owner_of_entry } => {
            let (previous, instruction) = (layout.frame_previous, layout.frame_instruction);
            let frames = Entered { previous, instruction, owner, owner_of_entry };
            // SAFETY: as above.
            unsafe { standing(&frames, innermost(current)?, kept, now) }
        }
    }
}

/// What a thread's chain of frames begins with.
///
/// # Safety
/// As for [`compare`].
#[inline(always)]
pub(super) unsafe fn innermost(current: Current, thread: u64) -> Option<u64> {
    // SAFETY: a field of the thread state, and of what it refers to, says our caller.
    let read = |base: u64, offset: u64| unsafe { word(base.wrapping_add(offset)) };
    match current {
        Current::InCFrame { cframe, current } => read(read(thread, cframe)?, current),
        Current::InThreadState { current } => read(thread, current),
    }
}

/// The kept frame of this address, among those at the leaf.
#[inline(always)]
pub(super) fn find(links: &[Link], frame: u64) -> Option<usize> {
    /// What the interpreter takes at a time for its own stack of frames.
    const PIECE: u64 = 16 << 10;
    let last = links.len().checked_sub(1)?;
    let leaf = links.last()?.frame;
    if leaf == frame {
        return Some(last);
    }
    // There a callee stands above its caller, so this one is new. Where that is not so, it only counts
    // as new although it may be kept.
    if frame.wrapping_sub(leaf) < PIECE {
        return None;
    }
    let first = links.len().saturating_sub(WINDOW);
    let found = links.get(first..)?.iter().rposition(|at| at.frame == frame)?;
    Some(first.wrapping_add(found))
}

/// As [`compare`], by the chain of frames, which begins with `innermost`.
///
/// From the leaf on, frames that are kept and changed count as new, as those do that are not kept. Those
/// from the root to the last that stays are what is common: all that may have run are looked at.
///
/// # Safety
/// The frame is the calling thread's innermost one, or 0.
#[inline(always)]
unsafe fn standing<F: Frames>(
    frames: &F,
    innermost: u64,
    kept: &KeptFrames,
    now: Ticks,
) -> Option<(usize, usize)> {
    let mut links = kept.links();
    let out_of_reach = kept.out_of_reach(now);
    let (mut new, mut unknown) = (0, 0);
    // SAFETY: our caller promises it; a link leads to each of the others.
    let mut frame = unsafe { frames.python(innermost) }?;
    while frame != 0 {
        match find(links, frame) {
            Some(index) => {
                let reached = links.get(..=index)?;
                // What was reached may have gone on in any case: all that it called has ended.
                let unseen = out_of_reach.min(index);
                // SAFETY: links led to the last of them.
                let changed = match unsafe { links::innermost_changed(frames, reached, unseen) } {
                    None => return Some((index + 1, index + 1 + new)),
                    Some(changed) => changed,
                };
                new += index + 1 - changed;
                frame = reached.get(changed)?.frame;
                links = links.get(..changed)?;
            }
            None => {
                new += 1;
                unknown += 1;
                if unknown > WINDOW {
                    return None;
                }
            }
        }
        // SAFETY: as above.
        let previous = unsafe { frames.previous(frame) }?;
        // SAFETY: as above.
        frame = unsafe { frames.python(previous) }?;
    }
    Some((0, new))
}

/// Whether the frames that stay, `common` of `total`, are run by the loops that ran them, in 3.11.
///
/// A loop's C frame refers to the innermost frame that it runs, and so where one loop's frames end is
/// known without a look at each of them.
///
/// # Safety
/// As for [`compare`]; links lead to all those frames.
unsafe fn same_loops(
    layout: &Layout,
    thread: u64,
    (c_frames, is_entry): (CFrames, u64),
    kept: &KeptFrames,
    (common, total): (usize, usize),
) -> Option<bool> {
    const C_FRAME_CURRENT: u64 = flagged::C_FRAME_CURRENT;
    const C_FRAME_PREVIOUS: u64 = flagged::C_FRAME_PREVIOUS;
    // SAFETY: a field of the thread state, of a C frame or of a frame, which are linked.
    let read = |base: u64, offset: u64| unsafe { word(base.wrapping_add(offset)) };
    if common == 0 {
        return Some(true);
    }
    let mut native = read(thread, c_frames.innermost)?;
    let mut frame = read(native, C_FRAME_CURRENT)?;
    for _ in common..total {
        // SAFETY: as above.
        if unsafe { byte(frame.wrapping_add(is_entry)) }? != 0 {
            native = read(native, c_frames.previous)?;
        }
        frame = read(frame, layout.frame_previous)?;
    }
    // Those of the frames that stay. What is kept of the others says where they stand, so no load waits for
    // another one.
    let loops = kept.loops();
    let inside = loops.iter().rposition(|at| at.first < common)?;
    let (mut inner, around) = loops.get(..=inside)?.split_last()?;
    if inner.native != native {
        return Some(false);
    }
    for at in around.iter().rev() {
        let runs = kept.links().get(inner.first.checked_sub(1)?)?.frame;
        // SAFETY: links have led to this C frame.
        if unsafe { linked(inner.native, C_FRAME_PREVIOUS) } != inner.around {
            return Some(false);
        }
        // SAFETY: a link has just led there.
        if unsafe { linked(at.native, C_FRAME_CURRENT) } != runs {
            return Some(false);
        }
        inner = at;
    }
    // The one that stands outside of all loops runs nothing.
    let outermost = read(inner.native, C_FRAME_PREVIOUS)?;
    Some(outermost == 0 || read(outermost, C_FRAME_CURRENT)? == 0)
}

#[cfg(test)]
mod tests {
    use super::super::frames;
    use super::super::moved_leaf;
    use super::super::simulated::{Frame, Interpreter};
    use super::*;

    /// As `python::update_from` does it, where this many frames cannot have run since. Gives how many stayed.
    fn update(
        kept: &mut KeptFrames,
        interpreter: &Interpreter,
        loops: Loops,
        out_of_reach: usize,
    ) -> usize {
        let now = kept.last_look.pretend(out_of_reach, kept.len());
        let (layout, thread) = (&interpreter.layout, interpreter.thread());
        if loops == Loops::LeftOut
            // SAFETY: all links lead to places of the interpreter's.
            && let Some(instruction) = unsafe { moved_leaf::instruction(layout, thread, kept, now) }
        {
            kept.move_leaf(instruction, instruction);
            return kept.len() - 1;
        }
        // SAFETY: as above.
        let same = unsafe { compare(layout, thread, kept, loops, now) };
        let wanted = same.map_or(usize::MAX, |(common, total)| total - common);
        kept.begin_new();
        let last_common = same.and_then(|(common, _)| common.checked_sub(1));
        let outside = last_common.map_or(0, |last| kept.get(last).unwrap().native);
        // SAFETY: as above.
        unsafe {
            frames::take_new(&interpreter.layout, interpreter.thread(), kept, wanted, outside)
        };
        let common = match same {
            Some((common, total)) => {
                kept.keep_common(common, total);
                common
            }
            None => kept.compare(!interpreter.layout.has_no_c_frames()),
        };
        for index in common..kept.total() {
            let raw = kept.new_at(index).unwrap();
            kept.keep(index, raw.instruction, false);
        }
        kept.finish();
        common
    }

    #[test]
    fn the_frame_that_was_reached_first_is_always_looked_at() {
        let mut interpreter = Interpreter::new((3, 11));
        // SAFETY: zeros are a valid, empty value.
        let mut kept: KeptFrames = unsafe { core::mem::zeroed() };
        let mut stack: Vec<Frame> = (0..60).map(|at| (at, 0x1000, 0x1000, 0)).collect();
        interpreter.link(&stack);
        update(&mut kept, &interpreter, Loops::LeftOut, 0);
        // Callees have ended faster than anybody reckons with, and their caller has gone on.
        stack.truncate(40);
        stack[39].2 = 0x1010;
        interpreter.link(&stack);
        assert_eq!(update(&mut kept, &interpreter, Loops::LeftOut, 44), 39);
        assert_eq!(kept.get(39).unwrap().raw.instruction, 0x1010);
        // The caller has gone on, and called what was called before.
        stack[38].2 = 0x1010;
        interpreter.link(&stack);
        assert_eq!(update(&mut kept, &interpreter, Loops::LeftOut, 40), 38);
        assert_eq!(kept.get(38).unwrap().raw.instruction, 0x1010);
        // Another function is called from the same place.
        (stack[39].1, stack[39].2) = (0x2000, 0x2010);
        interpreter.link(&stack);
        assert_eq!(update(&mut kept, &interpreter, Loops::LeftOut, 0), 39);
        assert_eq!(kept.get(39).unwrap().raw.code, 0x2000);
    }

    #[test]
    fn kept_frames_are_always_those_of_the_last_walk() {
        for version in [(3, 9), (3, 10), (3, 11), (3, 12), (3, 13), (3, 14)] {
            let mut interpreter = Interpreter::new(version);
            // SAFETY: zeros are a valid, empty value.
            let mut kept: KeptFrames = unsafe { core::mem::zeroed() };
            let mut stack: Vec<Frame> = Vec::new();
            let mut seed = 1u64;
            let mut random = |below: u64| {
                seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                (seed >> 33) % below
            };
            let mut stayed = 0;
            for round in 0..4_000u64 {
                // Now and then much of it goes, as at the end of a request.
                let pops = match random(50) {
                    0 => 60,
                    1..8 => random(WINDOW as u64),
                    _ => random(4),
                } as usize;
                stack.truncate(stack.len().saturating_sub(pops));
                if let Some(resumed) = stack.last_mut() {
                    resumed.2 = resumed.1 + 0x10 * random(3);
                }
                let out_of_reach = [0, stack.len().saturating_sub(1)][random(2) as usize];
                for _ in 0..=random(if round % 500 == 0 { 500 } else { 8 }) {
                    // Addresses are used again, and sometimes the whole frame is.
                    let at = stack.len() * 2 + random(2) as usize;
                    let outer = stack.last().map(|frame| frame.3);
                    // A new loop stands at one of two places on the C stack.
                    let runs = match outer {
                        Some(outer) if random(2) == 0 => outer,
                        Some(outer) => outer + 1 + random(2) as usize,
                        None => random(2) as usize,
                    };
                    if at < 1990 && runs < 1990 {
                        let code = 0x1000 * (1 + random(3));
                        stack.push((at, code, code + 0x10 * random(3), runs));
                    }
                }
                let leaf = stack.last_mut().unwrap();
                leaf.2 = leaf.1 + 0x10 * random(5);
                interpreter.link(&stack);
                let loops = [Loops::Compared, Loops::LeftOut][random(2) as usize];
                stayed += update(&mut kept, &interpreter, loops, out_of_reach);
                let walked = interpreter.walked();
                assert_eq!(walked.len(), stack.len(), "{version:?}, round {round}");
                assert_eq!(kept.len(), stack.len(), "{version:?}, round {round}");
                for (index, (raw, native)) in walked.into_iter().enumerate() {
                    let at = kept.get(index).unwrap();
                    assert_eq!(at.raw, raw, "{version:?}, round {round}");
                    if loops == Loops::Compared {
                        assert_eq!(at.native, native, "{version:?}, round {round}");
                    }
                    assert_eq!(at.wire, raw.instruction, "{version:?}, round {round}");
                }
            }
            assert!(stayed > 20_000, "{version:?}: frames that stay are found: {stayed}");
        }
    }
}
