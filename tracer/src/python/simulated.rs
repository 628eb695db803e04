//! An interpreter of plain arrays, for tests: Python frames linked as each version links them.

use super::frames::{self, Found, RawFrame};
use super::layout::{Chain, Current, Layout};

/// A Python frame: where it stands, its code, the instruction, and the loop that runs it.
pub(super) type Frame = (usize, u64, u64, usize);

/// Places for frames, for C frames or entry frames, and a thread state: what an interpreter has.
pub(super) struct Interpreter {
    pub(super) layout: Layout,
    frames: Vec<[u64; 16]>,
    loops: Vec<[u64; 16]>,
    thread: [u64; 16],
    /// What `tstate.cframe` points to in 3.12.
    c_frame: [u64; 2],
}

impl Interpreter {
    pub(super) fn new(version: (u8, u8)) -> Self {
        let places = || vec![[0; 16]; 2000];
        let layout = Layout::of(version).unwrap();
        Self { layout, frames: places(), loops: places(), thread: [0; 16], c_frame: [0; 2] }
    }

    pub(super) fn thread(&self) -> u64 {
        self.thread.as_ptr() as u64
    }

    /// Links these frames, root first.
    pub(super) fn link(&mut self, stack: &[Frame]) {
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
    pub(super) fn walked(&self) -> Vec<(RawFrame, u64)> {
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
