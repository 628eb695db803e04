//! Finds which of the kept frames still stand, without writing any of the new ones down.
//!
//! This is done for every block of Python's, with a hundred frames in an import.

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
/// `None` if that is not known.
///
/// # Safety
/// `thread` is the calling thread's state in a running interpreter of this layout.
#[inline(always)]
pub(super) unsafe fn compare(
    layout: &Layout,
    thread: u64,
    kept: &KeptFrames,
    loops: Loops,
) -> Option<(usize, usize)> {
    // SAFETY: our caller promises it.
    let innermost = |current| unsafe { innermost(current, thread) };
    match layout.chain {
        Chain::CFrames { current, c_frames: Some(c_frames), is_entry: Some(is_entry) } => {
            debug_assert_eq!(layout.frame_previous, flagged::PREVIOUS);
            // SAFETY: as above; frames and C frames are linked.
            let same = unsafe { standing(&Flagged, innermost(current)?, kept) }?;
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
            unsafe { standing(&frames, innermost(current)?, kept) }
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
/// from the root to the last that stays, all of which are looked at, are what is common.
///
/// # Safety
/// The frame is the calling thread's innermost one, or 0.
#[inline(always)]
unsafe fn standing<F: Frames>(
    frames: &F,
    innermost: u64,
    kept: &KeptFrames,
) -> Option<(usize, usize)> {
    let mut links = kept.links();
    let (mut new, mut unknown) = (0, 0);
    // SAFETY: our caller promises it; a link leads to each of the others.
    let mut frame = unsafe { frames.python(innermost) }?;
    while frame != 0 {
        match find(links, frame) {
            Some(index) => {
                let reached = links.get(..=index)?;
                // SAFETY: links led to the last of them.
                let changed = match unsafe { links::innermost_changed(frames, reached) } {
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
    use super::super::frames::{self, Found, RawFrame};
    use super::super::moved_leaf::moved_leaf;
    use super::*;

    /// A Python frame: where it stands, its code, the instruction, and the loop that runs it.
    type Frame = (usize, u64, u64, usize);

    /// Places for frames, for C frames or entry frames, and a thread state: what an interpreter has.
    struct Interpreter {
        layout: Layout,
        frames: Vec<[u64; 16]>,
        loops: Vec<[u64; 16]>,
        thread: [u64; 16],
        /// What `tstate.cframe` points to in 3.12.
        c_frame: [u64; 2],
    }

    impl Interpreter {
        fn new(version: (u8, u8)) -> Self {
            let places = || vec![[0; 16]; 2000];
            let layout = Layout::of(version).unwrap();
            Self { layout, frames: places(), loops: places(), thread: [0; 16], c_frame: [0; 2] }
        }

        fn thread(&self) -> u64 {
            self.thread.as_ptr() as u64
        }

        /// Links these frames, root first.
        fn link(&mut self, stack: &[Frame]) {
            let layout = self.layout;
            let is_run_alone = matches!(layout.chain, Chain::CFrames { is_entry: None, .. });
            let set = |place: &mut [u64; 16], offset: u64, value: u64| {
                place[offset as usize / 8] = value;
            };
            let (mut previous, mut last_loop, mut leaf) = (0, None, 0);
            for &(at, code, instruction, runs) in stack {
                let begins = last_loop != Some(runs) || is_run_alone;
                let loop_place = self.loops[runs].as_ptr() as u64;
                if begins && let Chain::EntryFrames { owner, owner_of_entry, .. } = layout.chain {
                    let entry = &mut self.loops[runs];
                    set(entry, layout.frame_previous, previous);
                    entry[owner as usize / 8] = u64::from(owner_of_entry) << (owner % 8 * 8);
                    previous = loop_place;
                }
                let address = self.frames[at].as_ptr() as u64;
                let frame = &mut self.frames[at];
                *frame = [0; 16];
                set(frame, layout.frame_code, code);
                set(frame, layout.frame_instruction, instruction);
                set(frame, layout.frame_previous, previous);
                if let Chain::CFrames { current, c_frames, is_entry } = layout.chain {
                    if is_entry.is_some() {
                        self.frames[at][8] = u64::from(begins) << 32;
                    }
                    let outer = last_loop.map_or(0, |outer| self.loops[outer].as_ptr() as u64);
                    if begins && let Some(c_frames) = c_frames {
                        set(&mut self.loops[runs], c_frames.previous, outer);
                    }
                    if let Current::InCFrame { current, .. } = current {
                        set(&mut self.loops[runs], current, address);
                    }
                }
                (previous, last_loop, leaf) = (address, Some(runs), address);
            }
            match layout.chain {
                Chain::CFrames { current, c_frames, .. } => {
                    let innermost = self.loops[last_loop.unwrap()].as_ptr() as u64;
                    if let Current::InThreadState { current } = current {
                        self.thread[current as usize / 8] = leaf;
                    }
                    if let Some(c_frames) = c_frames {
                        self.thread[c_frames.innermost as usize / 8] = innermost;
                    }
                }
                Chain::EntryFrames { current: Current::InCFrame { cframe, .. }, .. } => {
                    self.c_frame[0] = leaf;
                    self.thread[cframe as usize / 8] = self.c_frame.as_ptr() as u64;
                }
                Chain::EntryFrames { current: Current::InThreadState { current }, .. } => {
                    self.thread[current as usize / 8] = leaf;
                }
            }
        }

        /// What a whole walk finds, root first.
        fn walked(&self) -> Vec<(RawFrame, u64)> {
            let (mut found, mut since) = (Vec::new(), 0);
            // SAFETY: all links lead to places of this value.
            unsafe {
                frames::walk(&self.layout, self.thread(), |next| {
                    match next {
                        Found::Frame(frame) => found.push((frame, 0)),
                        Found::Loop { native } => {
                            found[since..].iter_mut().for_each(|frame| frame.1 = native);
                            since = found.len();
                        }
                    }
                    true
                });
            }
            found.reverse();
            found
        }
    }

    /// As `python::update_from` does it. Gives how many stayed.
    fn update(kept: &mut KeptFrames, interpreter: &Interpreter, loops: Loops) -> usize {
        // SAFETY: all links lead to places of the interpreter's.
        let same = unsafe { compare(&interpreter.layout, interpreter.thread(), kept, loops) };
        let only_the_leaf = same == Some((kept.len().wrapping_sub(1), kept.len()));
        // SAFETY: as above; it is called where that was found.
        let moved = || unsafe { moved_leaf(&interpreter.layout, interpreter.thread(), kept) };
        if loops == Loops::LeftOut
            && only_the_leaf
            && let Some(raw) = moved()
        {
            kept.move_leaf(raw.instruction, raw.instruction);
            return kept.len() - 1;
        }
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
            kept.keep(index, raw.instruction);
        }
        kept.finish();
        common
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
                // Now and then most of it goes, as at the end of a request.
                let pops = if random(50) == 0 { 60 } else { random(4) } as usize;
                stack.truncate(stack.len().saturating_sub(pops));
                for _ in 0..=random(if round % 1000 == 0 { 500 } else { 4 }) {
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
                stayed += update(&mut kept, &interpreter, loops);
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
