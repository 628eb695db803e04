//! Finds which of the kept frames still stand, without writing any of the new ones down.
//!
//! This is done for every block of Python's, with a hundred frames in an import: the loop reads
//! where frames are from the list of the kept ones and only compares links, so that no load waits
//! for another one.

use super::kept_frames::KeptFrames;
use super::layout::{Chain, Current, Layout, code_of, flagged};
use super::links::{Entered, Flagged, compare_links, linked};
use super::memory::{byte, word};

/// New frames at the leaf, and kept ones, among which the first common one is looked for.
const WINDOW: usize = 32;

/// Where the kept frames and those of now meet.
struct Meeting {
    /// The kept frame that is the innermost one to stand on the stack still, though perhaps not as
    /// it was.
    index: usize,
    /// Frames that are new, inside it.
    new: usize,
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
) -> Option<(usize, usize)> {
    match layout.chain {
        // SAFETY: our caller promises it.
        Chain::CFrames { .. } => unsafe { compare_run_by_c_frames(layout, thread, kept) },
        // SAFETY: as above.
        Chain::EntryFrames { .. } => unsafe { compare_entered(layout, thread, kept) },
    }
}

/// The kept frame of this address, among those at the leaf.
#[inline(always)]
fn find(kept: &KeptFrames, frame: u64) -> Option<usize> {
    let links = kept.links();
    let first = links.len().saturating_sub(WINDOW);
    let found = links.get(first..)?.iter().rposition(|at| at.frame == frame)?;
    Some(first.wrapping_add(found))
}

/// As [`compare`], where evaluation loops have C frames, or nothing.
///
/// # Safety
/// As for [`compare`].
#[inline(always)]
unsafe fn compare_run_by_c_frames(
    layout: &Layout,
    thread: u64,
    kept: &KeptFrames,
) -> Option<(usize, usize)> {
    let Chain::CFrames { current, c_frames, is_entry } = layout.chain else { return None };
    // SAFETY: a field of the thread state, says our caller. The same holds for the fields below:
    // frames that are linked, and C frames, which stand on this thread's stack.
    let read = |base: u64, offset: u64| unsafe { word(base.wrapping_add(offset)) };
    // SAFETY: as above.
    let flag = |base: u64, offset: u64| unsafe { byte(base.wrapping_add(offset)) };
    // The C frame of the loop around the one with this C frame.
    let outer = |native: u64| match c_frames {
        Some(c_frames) => read(native, c_frames.previous),
        None => Some(0),
    };
    let mut native = match c_frames {
        Some(c_frames) => read(thread, c_frames.innermost)?,
        None => 0,
    };
    let mut frame = match current {
        Current::InCFrame { cframe, current } => read(read(thread, cframe)?, current)?,
        Current::InThreadState { current } => read(thread, current)?,
    };
    let mut new = 0;
    let Meeting { mut index, new } = loop {
        if let Some(index) = find(kept, frame) {
            break Meeting { index, new };
        }
        new += 1;
        if new > WINDOW {
            return None;
        }
        if is_entry.is_none_or(|is_entry| flag(frame, is_entry) != Some(0)) {
            native = outer(native)?;
        }
        frame = read(frame, layout.frame_previous)?;
    };
    let total = index + 1 + new;
    let mut differs_from = index + 1;
    loop {
        let at = kept.get(index)?;
        if let (Some(c_frames), Some(is_entry)) = (c_frames, is_entry)
            && native == at.native
        {
            debug_assert_eq!(
                (is_entry, c_frames.previous),
                (flagged::IS_ENTRY, flagged::C_FRAME_PREVIOUS)
            );
            let links = kept.links().get(..=index)?;
            // SAFETY: a link has just led to the last of them, and `native` is its loop.
            let differs = unsafe { compare_links(links, &Flagged, layout.frame_instruction) }?;
            let differs_from = if differs > index { differs_from } else { differs };
            return Some((differs_from, total));
        }
        let frame = at.raw.frame;
        // SAFETY: a link has just led here. The same holds for the fields below.
        let code = code_of(unsafe { linked(frame, layout.frame_code) });
        // SAFETY: as above.
        let instruction = unsafe { linked(frame, layout.frame_instruction) };
        let instruction = layout.instruction(code, instruction);
        let same_loop = native == at.native || c_frames.is_none();
        if !(code == at.raw.code && instruction == at.raw.instruction && same_loop) {
            differs_from = index;
        }
        if is_entry.is_none_or(|is_entry| flag(frame, is_entry) != Some(0)) {
            native = outer(native)?;
        }
        // SAFETY: as above.
        let previous = unsafe { linked(frame, layout.frame_previous) };
        let Some(next) = index.checked_sub(1) else {
            return (previous == 0).then_some((differs_from, total));
        };
        if kept.get(next)?.raw.frame != previous {
            return None;
        }
        index = next;
    }
}

/// As [`compare`], where evaluation loops begin with frames of their own.
///
/// # Safety
/// As for [`compare`].
#[inline(always)]
unsafe fn compare_entered(
    layout: &Layout,
    thread: u64,
    kept: &KeptFrames,
) -> Option<(usize, usize)> {
    let Chain::EntryFrames { current, owner, owner_of_entry } = layout.chain else { return None };
    // SAFETY: a field of the thread state, says our caller. The same holds for the fields below:
    // frames that are linked.
    let read = |base: u64, offset: u64| unsafe { word(base.wrapping_add(offset)) };
    // SAFETY: as above.
    let is_entry = |frame: u64| unsafe { byte(frame.wrapping_add(owner)) } == Some(owner_of_entry);
    let mut frame = match current {
        Current::InCFrame { cframe, current } => read(read(thread, cframe)?, current)?,
        Current::InThreadState { current } => read(thread, current)?,
    };
    let mut new = 0;
    let Meeting { index, new } = loop {
        if let Some(index) = find(kept, frame) {
            break Meeting { index, new };
        }
        if !is_entry(frame) {
            new += 1;
        }
        if new > WINDOW {
            return None;
        }
        frame = read(frame, layout.frame_previous)?;
    };
    let loops = Entered { previous: layout.frame_previous, owner, owner_of_entry };
    let links = kept.links().get(..=index)?;
    // SAFETY: a link has just led to the last of them.
    let differs_from = unsafe { compare_links(links, &loops, layout.frame_instruction) }?;
    Some((differs_from, index + 1 + new))
}

#[cfg(test)]
mod tests {
    use super::super::frames::{self, Found, RawFrame};
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
    fn update(kept: &mut KeptFrames, interpreter: &Interpreter) -> usize {
        // SAFETY: all links lead to places of the interpreter's.
        let same = unsafe { compare(&interpreter.layout, interpreter.thread(), kept) };
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
                stayed += update(&mut kept, &interpreter);
                let walked = interpreter.walked();
                assert_eq!(walked.len(), stack.len(), "{version:?}, round {round}");
                assert_eq!(kept.len(), stack.len(), "{version:?}, round {round}");
                for (index, (raw, native)) in walked.into_iter().enumerate() {
                    let at = kept.get(index).unwrap();
                    assert_eq!((at.raw, at.native), (raw, native), "{version:?}, round {round}");
                    assert_eq!(at.wire, raw.instruction, "{version:?}, round {round}");
                }
            }
            assert!(stayed > 20_000, "{version:?}: frames that stay are found: {stayed}");
        }
    }
}
