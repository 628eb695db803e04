//! The Python frames of a thread's last stack, root first, and room for those of the new one.

use tftrace_format::Ticks;

use super::frames::RawFrame;
use super::links::Link;
use super::out_of_reach::{LastLook, WholeLook};
use crate::clock::Clock;
use crate::system_call;

/// A Python frame that has its place in the stack tree.
#[derive(Clone, Copy, Debug, Default)]
#[repr(C)]
pub(crate) struct KeptFrame {
    pub(super) raw: RawFrame,
    /// An address inside the native frame of the evaluation loop that runs it; 0 = unknown.
    pub(crate) native: u64,
    /// The frame of the stack tree.
    pub(crate) wire: u64,
    /// The node of the Python functions from the root to this one, without native frames.
    pub(crate) alone: u32,
    /// How many frames from the root to this one are generators, or another kind that is no call of a function.
    generators: u32,
}

/// An evaluation loop, and the kept frames that it runs: neighbours of one another.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub(super) struct KeptLoop {
    /// Its C frame, as [`KeptFrame::native`].
    pub(super) native: u64,
    /// `native` of the loop around it; 0 = none is kept. By itself, so that a comparison with it says
    /// nothing to the compiler of where that loop's C frame is.
    pub(super) around: u64,
    /// The outermost frame that it runs, counted from the root.
    pub(super) first: usize,
}

const FIRST_CAPACITY: usize = 512;
const MOST_FRAMES: usize = 1 << 17;

/// The Python frames of a thread's last stack. All zeros is valid and empty.
///
/// One mapping holds four arrays of the same length: the kept frames, root first, the new ones,
/// innermost first, and of the kept ones the links and the loops.
#[derive(Debug)]
pub(crate) struct KeptFrames {
    frames: *mut KeptFrame,
    capacity: usize,
    len: usize,
    /// How many loops run them.
    loops_len: usize,
    new_len: usize,
    /// How many frames there are now: the kept ones that stay, and the new ones.
    total: usize,
    /// Where the frames of the loop begin that is being walked.
    loop_start: usize,
    /// How many frames, from the root on, are what they were when a whole stack was last recorded.
    stayed: usize,
    /// How many frames have a node `alone`.
    alone: usize,
    /// The state of the code table that `wire`s were made in.
    generation: u64,
    /// The state of the thread, as the interpreter gave it when it was asked last; 0 = it was not.
    pub(super) thread: u64,
    pub(super) last_look: LastLook,
}

impl KeptFrames {
    /// Drops everything.
    pub(crate) fn clear(&mut self) {
        (self.new_len, self.thread) = (0, 0);
        self.keep_first(0);
    }

    /// Forgets all kept frames but the first `common`.
    #[inline(always)]
    fn keep_first(&mut self, common: usize) {
        self.len = common;
        self.changed_from(common);
        while let Some(last) = self.loops_len.checked_sub(1)
            && self.loops().get(last).is_some_and(|last| last.first >= common)
        {
            self.loops_len = last;
        }
    }

    /// Notes which loop runs the frame that is kept as the `index`th.
    #[inline(always)]
    fn note_loop(&mut self, index: usize, native: u64) {
        let around = self.loops().last().map_or(0, |last| last.native);
        if around == native && self.loops_len != 0 {
            return;
        }
        // SAFETY: there are no more loops than frames, and all arrays have the same capacity.
        unsafe { self.loop_place(self.loops_len).write(KeptLoop { native, around, first: index }) };
        self.loops_len = self.loops_len.wrapping_add(1);
    }

    #[inline(always)]
    fn loop_place(&self, index: usize) -> *mut KeptLoop {
        self.link_place(self.capacity).cast::<KeptLoop>().wrapping_add(index)
    }

    /// The loops that run the kept frames, root first.
    #[inline(always)]
    pub(super) fn loops(&self) -> &[KeptLoop] {
        if self.loops_len == 0 {
            return &[];
        }
        // SAFETY: `loops_len` of the fourth array are written.
        unsafe { core::slice::from_raw_parts(self.loop_place(0), self.loops_len) }
    }

    /// The frames from here on are not what they were.
    #[inline(always)]
    fn changed_from(&mut self, common: usize) {
        self.stayed = self.stayed.min(common);
        self.alone = self.alone.min(common);
    }

    /// How many frames, from the root on, are what they were at the last call.
    #[inline(always)]
    pub(crate) fn take_stayed(&mut self) -> usize {
        core::mem::replace(&mut self.stayed, self.len)
    }

    /// What [`Self::take_stayed`] would give.
    #[inline(always)]
    pub(crate) fn stayed(&self) -> usize {
        self.stayed
    }

    /// How many frames, from the root on, have a node without native frames.
    #[inline(always)]
    pub(crate) fn alone(&self) -> usize {
        self.alone
    }

    /// Gives the next frame its node without native frames.
    #[inline(always)]
    pub(crate) fn set_alone(&mut self, index: usize, node: u32) {
        if index < self.len && index == self.alone {
            // SAFETY: `len` frames of the first array are written, and `self` is borrowed mutably.
            let frame = unsafe { &mut *self.frames.wrapping_add(index) };
            frame.alone = node;
            self.alone = index.wrapping_add(1);
        }
    }

    /// The innermost frame has gone on to another instruction.
    #[inline(always)]
    pub(super) fn move_leaf(&mut self, instruction: u64, wire: u64) {
        let Some(leaf) = self.len.checked_sub(1) else { return };
        // SAFETY: `len` frames of the first array are written, and `self` is borrowed mutably.
        let frame = unsafe { &mut *self.frames.wrapping_add(leaf) };
        (frame.raw.instruction, frame.wire) = (instruction, wire);
        let fields = Link::fields(frame.raw.previous, instruction);
        // SAFETY: whoever writes a kept frame writes its link.
        unsafe { (*self.link_place(leaf)).fields = fields };
        self.changed_from(leaf);
    }

    /// Says which native frame runs a kept frame.
    #[inline(always)]
    pub(super) fn set_native(&mut self, index: usize, native: u64) {
        if index < self.len {
            // SAFETY: `len` frames of the first array are written, and `self` is borrowed mutably.
            let frame = unsafe { &mut *self.frames.wrapping_add(index) };
            if core::mem::replace(&mut frame.native, native) != native {
                self.stayed = self.stayed.min(index);
            }
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// A kept frame, counted from the root.
    #[inline(always)]
    pub(crate) fn get(&self, index: usize) -> Option<&KeptFrame> {
        if index >= self.len {
            return None;
        }
        // SAFETY: `len` frames of the first array are written.
        Some(unsafe { &*self.frames.wrapping_add(index) })
    }

    /// The place of a kept frame's link.
    #[inline(always)]
    fn link_place(&self, index: usize) -> *mut Link {
        self.frames.wrapping_add(self.capacity.wrapping_mul(2)).cast::<Link>().wrapping_add(index)
    }

    /// The links of the kept frames, root first.
    #[inline(always)]
    pub(super) fn links(&self) -> &[Link] {
        if self.len == 0 {
            return &[];
        }
        // SAFETY: whoever writes a kept frame writes its link.
        unsafe { core::slice::from_raw_parts(self.link_place(0), self.len) }
    }

    /// The place of the new frame that was pushed as `index`th.
    #[inline(always)]
    fn new_place(&self, index: usize) -> *mut KeptFrame {
        self.frames.wrapping_add(self.capacity).wrapping_add(index)
    }

    /// A new frame, counted from the root. Its `wire` is not known yet.
    #[inline(always)]
    fn new_frame(&self, index: usize) -> Option<&KeptFrame> {
        let pushed = self.total.checked_sub(index)?.checked_sub(1)?;
        if pushed >= self.new_len {
            return None;
        }
        // SAFETY: below `new_len`: written.
        Some(unsafe { &*self.new_place(pushed) })
    }

    #[inline(always)]
    pub(super) fn begin_new(&mut self) {
        (self.new_len, self.loop_start) = (0, 0);
    }

    /// Adds the next frame, from the innermost outwards. False: no room for more.
    #[inline(always)]
    pub(super) fn push_new(&mut self, raw: RawFrame) -> bool {
        if self.new_len >= self.capacity && !self.enlarge() {
            return false;
        }
        // SAFETY: `new_len` is below the capacity of the second array.
        unsafe { self.new_place(self.new_len).write(KeptFrame { raw, ..KeptFrame::default() }) };
        self.new_len = self.new_len.wrapping_add(1);
        true
    }

    /// Says which native frame runs the frames since the last call.
    #[inline(always)]
    pub(super) fn end_loop(&mut self, native: u64) -> bool {
        for index in self.loop_start..self.new_len {
            // SAFETY: below `new_len`: written, and `self` is borrowed mutably.
            let frame = unsafe { &mut *self.new_place(index) };
            frame.native = native;
        }
        self.loop_start = self.new_len;
        true
    }

    /// Whether the kept frames were numbered in this state of the code table; forgets them if not.
    #[inline(always)]
    pub(super) fn is_of(&mut self, generation: u64) -> bool {
        if self.generation != generation {
            self.generation = generation;
            self.keep_first(0);
        }
        self.len != 0
    }

    /// The state of the code table that the kept frames were numbered in.
    #[inline(always)]
    pub(super) fn generation(&self) -> u64 {
        self.generation
    }

    /// Keeps `common` frames from the root on; the new ones are those behind them, `total` in all.
    #[inline(always)]
    pub(super) fn keep_common(&mut self, common: usize, total: usize) {
        self.total = total;
        self.keep_first(common);
    }

    /// How many frames from the root on are what was kept, now that all new ones are there;
    /// without their loops, where a walk does not find them.
    #[inline(always)]
    pub(super) fn compare(&mut self, with_loops: bool) -> usize {
        self.total = self.new_len;
        let mut common = 0;
        while let (Some(kept), Some(new)) = (self.get(common), self.new_frame(common))
            && kept.raw == new.raw
            && (kept.native == new.native || !with_loops)
        {
            common += 1;
        }
        self.keep_first(common);
        common
    }

    pub(super) fn total(&self) -> usize {
        self.total
    }

    pub(super) fn new_len(&self) -> usize {
        self.new_len
    }

    /// A new frame as it was found, counted from the root.
    #[inline(always)]
    pub(super) fn new_at(&self, index: usize) -> Option<RawFrame> {
        self.new_frame(index).map(|frame| frame.raw)
    }

    /// How many of the first `count` frames are generators.
    #[inline(always)]
    fn generators(&self, count: usize) -> usize {
        let last = count.checked_sub(1).and_then(|last| self.get(last));
        last.map_or(0, |last| last.generators as usize)
    }

    /// Keeps a new frame, in the place it has from the root on.
    #[inline(always)]
    pub(super) fn keep(&mut self, index: usize, wire: u64, is_generator: bool) {
        let Some(new) = self.new_frame(index).copied() else { return };
        if index != self.len || (index >= self.capacity && !self.enlarge()) {
            return;
        }
        let generators = (self.generators(index) as u32).wrapping_add(u32::from(is_generator));
        // SAFETY: below the capacity of the first array, as just checked.
        unsafe { self.frames.wrapping_add(index).write(KeptFrame { wire, generators, ..new }) };
        let RawFrame { frame, previous, instruction, .. } = new.raw;
        let link = Link { fields: Link::fields(previous, instruction), frame, native: new.native };
        // SAFETY: below the capacity of the third array.
        unsafe { self.link_place(index).write(link) };
        self.note_loop(index, new.native);
        self.len = index.wrapping_add(1);
    }

    #[inline(always)]
    pub(super) fn finish(&mut self) {
        self.new_len = 0;
    }

    /// All kept frames are what stands now: they were looked at, and none has run since.
    #[inline(always)]
    pub(crate) fn end_look(&mut self, clock: &Clock) {
        self.last_look.ends(self.len, clock);
    }

    /// The look that has just ended.
    #[inline(always)]
    pub(crate) fn whole_look(&self) -> WholeLook {
        let (len, generators) = (self.len, self.generators(self.len));
        WholeLook { ended: self.last_look, len, generators }
    }

    /// How many frames, from the root on, cannot have run since the last look; `now` the next one begins.
    #[inline(always)]
    pub(super) fn out_of_reach(&self, now: Ticks) -> usize {
        self.last_look.out_of_reach(self.len, self.generators(self.len), now)
    }

    #[cold]
    fn enlarge(&mut self) -> bool {
        let capacity =
            if self.capacity == 0 { FIRST_CAPACITY } else { self.capacity.saturating_mul(4) };
        if capacity > MOST_FRAMES {
            return false;
        }
        let each = 2 * size_of::<KeptFrame>() + size_of::<Link>() + size_of::<KeptLoop>();
        let bytes = |capacity: usize| capacity * each;
        let Ok(new) = system_call::map_private(bytes(capacity)) else { return false };
        let new = new.cast::<KeptFrame>();
        if self.capacity != 0 {
            // SAFETY: the old first array has that many frames, the new one is larger.
            unsafe { core::ptr::copy_nonoverlapping(self.frames, new, self.len) };
            let (from, to) = (self.new_place(0), new.wrapping_add(capacity));
            // SAFETY: as above; the second array of each begins after `capacity` frames.
            unsafe { core::ptr::copy_nonoverlapping(from, to, self.new_len) };
            let to = new.wrapping_add(capacity * 2).cast::<Link>();
            // SAFETY: as above; the third array begins after both others.
            unsafe { core::ptr::copy_nonoverlapping(self.link_place(0), to, self.len) };
            let to = to.wrapping_add(capacity).cast::<KeptLoop>();
            // SAFETY: as above; the fourth array begins after the third.
            unsafe { core::ptr::copy_nonoverlapping(self.loop_place(0), to, self.loops_len) };
            // SAFETY: the old mapping is this value's own.
            unsafe { system_call::unmap(self.frames.cast(), bytes(self.capacity)) };
        }
        (self.frames, self.capacity) = (new, capacity);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn update(kept: &mut KeptFrames, codes: &[u64], generation: u64) -> usize {
        kept.begin_new();
        for &code in codes.iter().rev() {
            assert!(kept.push_new(RawFrame { frame: code, previous: 0, code, instruction: 0 }));
        }
        kept.end_loop(77);
        kept.is_of(generation);
        let common = kept.compare(true);
        for index in common..kept.total() {
            let raw = kept.new_at(index).unwrap();
            kept.keep(index, raw.code + 1, false);
        }
        kept.finish();
        let wires: Vec<u64> = (0..kept.len()).map(|index| kept.get(index).unwrap().wire).collect();
        assert_eq!(wires, codes.iter().map(|code| code + 1).collect::<Vec<_>>());
        assert!((0..kept.len()).all(|index| kept.get(index).unwrap().native == 77));
        common
    }

    #[test]
    fn what_is_common_from_the_root_on_stays_until_a_code_object_dies() {
        // SAFETY: zeros are a valid, empty value.
        let mut kept: KeptFrames = unsafe { core::mem::zeroed() };
        assert_eq!(update(&mut kept, &[10, 20, 30], 1), 0);
        assert_eq!(update(&mut kept, &[10, 20, 30, 40], 1), 3);
        assert_eq!(update(&mut kept, &[10, 25], 1), 1);
        assert_eq!(update(&mut kept, &[10, 25], 2), 0, "the numbers may be of dead code objects");
        let many: Vec<u64> = (1..5000).collect();
        assert_eq!(update(&mut kept, &many, 2), 0);
        assert_eq!(update(&mut kept, &many, 2), many.len());
    }
}
