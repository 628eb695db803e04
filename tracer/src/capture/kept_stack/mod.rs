//! The last stack of a thread, root first, and room for the frames that a new one adds.

mod standing;

use crate::capture::kept_frame::{Compared, KeptFrame, Walked};
use crate::capture::stack_range::StackRange;
use crate::capture::stack_words::{StackWord, StackWords, WORDS_PER_FRAME};
use crate::python::out_of_reach::WholeLook;
use crate::system_call;

/// Frames that fit at first, and the most that are followed.
const FIRST_CAPACITY: usize = 2048;
const MOST_FRAMES: usize = 1 << 17;

/// The frames of a thread's last stack. All zeros is valid and empty.
///
/// One mapping holds two arrays of the same length: the stack, root first, and the new frames, leaf
/// first.
#[derive(Debug)]
pub(crate) struct KeptStack {
    frames: *mut KeptFrame,
    capacity: usize,
    len: usize,
    new_len: usize,
    /// How many frames from the root on have nodes.
    interned: usize,
    /// What is compared of the stack each time.
    words: StackWords,
    /// How many frames from the root on stand each below all that is compared of the one before.
    descending: usize,
    /// The look at Python's frames that ended when all of these were looked at last.
    look: WholeLook,
    /// How many of Python's frames were taken to stand, this time, before they were looked at.
    unseen: usize,
    /// Whether the root is missing.
    cut: bool,
    /// The state of the object table that the frames' objects were looked up in.
    pub(crate) generation: u64,
    /// Addresses that are one mapped stack: from the lowest stack pointer that a walk led from to
    /// the root, to the place of the root's return address.
    proven: (u64, u64),
    /// How often the lower end was moved since the kernel was asked.
    moved: u32,
    /// Mappings that the kernel was asked about, and which of them is replaced next.
    mappings: [(u64, u64); 4],
    next_mapping: usize,
}

impl KeptStack {
    /// The end of the mapping that `address` is in, if the kernel was asked about it before.
    pub(crate) fn known_end(&self, address: u64) -> Option<u64> {
        let holds = |(start, end): &&(u64, u64)| (*start..*end).contains(&address);
        self.mappings.iter().find(holds).map(|(_, end)| *end)
    }

    /// Remembers a mapping.
    pub(crate) fn learn_mapping(&mut self, mapping: (u64, u64)) {
        if let Some(place) = self.mappings.get_mut(self.next_mapping % 4) {
            *place = mapping;
        }
        self.next_mapping = self.next_mapping.wrapping_add(1);
    }

    /// The part of the stack from `sp` on in which kept places can be read: it is known to be one
    /// stack, the one that the frames were kept from. A host may have several (coroutines), and
    /// unmap one between two others.
    #[inline(always)]
    pub(super) fn trusted(&self, sp: u64) -> Option<StackRange> {
        let (low, root) = self.proven;
        (low..root).contains(&sp).then_some(StackRange { start: sp, end: root.wrapping_add(8) })
    }

    /// A walk went from `sp` through every frame to the one at `root`. True now and then: the
    /// kernel can say how far down the stack reaches, which saves many such walks.
    #[cold]
    pub(super) fn prove(&mut self, sp: u64, root: u64) -> bool {
        const PATIENCE: u32 = 64;
        if self.proven.1 != root || self.proven.0 <= sp {
            (self.proven, self.moved) = ((sp, root), 0);
            return false;
        }
        self.proven.0 = sp;
        self.moved = self.moved.wrapping_add(1) % PATIENCE;
        self.moved == 0
    }

    /// The kernel says that the stack reaches down to `low`.
    pub(super) fn reaches_down_to(&mut self, low: u64) {
        self.proven.0 = self.proven.0.min(low);
    }

    /// The thread is gone, and its stacks with it.
    pub(crate) fn forget_stacks(&mut self) {
        self.forget();
        (self.proven, self.moved, self.mappings) = ((0, 0), 0, [(0, 0); 4]);
    }

    pub(crate) fn len(&self) -> usize {
        self.len
    }

    pub(crate) fn interned(&self) -> usize {
        self.interned
    }

    pub(crate) fn set_interned(&mut self, count: usize) {
        self.interned = count;
    }

    pub(crate) fn is_cut(&self) -> bool {
        self.cut
    }

    pub(crate) fn set_cut(&mut self, cut: bool) {
        self.cut = cut;
    }

    /// Drops everything: the next stack is unwound in full.
    pub(crate) fn forget(&mut self) {
        (self.len, self.new_len, self.interned, self.cut) = (0, 0, 0, false);
        self.descending = 0;
        self.words.truncate(0);
        self.distrust();
    }

    /// Whether the leaf runs in a signal handler.
    #[inline(always)]
    pub(crate) fn is_in_handler(&self) -> bool {
        self.len
            .checked_sub(1)
            .and_then(|leaf| self.get(leaf))
            .is_some_and(KeptFrame::is_in_handler)
    }

    /// The stack that scheduled the work of the leaf; 0 = its own thread began it.
    pub(crate) fn origin(&self) -> u32 {
        self.len.checked_sub(1).and_then(|leaf| self.get(leaf)).map_or(0, |leaf| leaf.origin)
    }

    #[inline(always)]
    pub(crate) fn get(&self, index: usize) -> Option<&KeptFrame> {
        if index >= self.len {
            return None;
        }
        // SAFETY: `len` frames of the first array are written.
        Some(unsafe { &*self.frames.wrapping_add(index) })
    }

    #[inline(always)]
    pub(crate) fn get_mut(&mut self, index: usize) -> Option<&mut KeptFrame> {
        if index >= self.len {
            return None;
        }
        // SAFETY: `len` frames of the first array are written, and `self` is borrowed mutably.
        Some(unsafe { &mut *self.frames.wrapping_add(index) })
    }

    /// How many words are compared of the first `count` frames.
    #[inline(always)]
    fn words_before(&self, count: usize) -> usize {
        let last = count.checked_sub(1).and_then(|last| self.get(last));
        last.map_or(0, |last| last.words as usize)
    }

    /// Notes what is to be compared of the frame that is kept as the `index`th, which is the last. Gives how many
    /// words are compared now.
    #[inline(always)]
    fn add_words(&mut self, index: usize, frame: &KeptFrame) -> u32 {
        match frame.compared() {
            Compared::Address => self.words.push(index, StackWord::new(frame.slot, frame.address)),
            Compared::AddressAndBp => {
                self.words.push(index, StackWord::new(frame.slot, frame.address));
                self.words.push(index, StackWord::new(frame.bp_place(), frame.bp));
            }
            Compared::More => self.words.push(index, StackWord::CLOSER_LOOK),
        }
        self.words.len() as u32
    }

    /// Keeps only the first `len` frames.
    #[inline(always)]
    pub(crate) fn truncate(&mut self, len: usize) {
        self.len = self.len.min(len);
        self.words.truncate(self.words_before(self.len));
        self.interned = self.interned.min(len);
        self.descending = self.descending.min(len);
        if len == 0 {
            self.cut = false;
        }
    }

    /// Begins to collect the new frames.
    #[inline(always)]
    pub(crate) fn begin_new(&mut self) {
        self.new_len = 0;
    }

    /// Adds the next frame, going from the leaf to the root. False: no room, and none to be had.
    #[inline(always)]
    pub(super) fn push_new(&mut self, frame: Walked) -> bool {
        if self.len.saturating_add(self.new_len) >= self.capacity && !self.enlarge() {
            return false;
        }
        // SAFETY: the second array has `capacity` places, each as large as this, and `new_len` is below it.
        unsafe { self.new_place(self.new_len).write(frame.to_words()) };
        self.new_len = self.new_len.wrapping_add(1);
        true
    }

    /// The place of the new frame that was pushed as `index`th.
    #[inline(always)]
    fn new_place(&self, index: usize) -> *mut [u64; 5] {
        const { assert!(size_of::<[u64; 5]>() <= size_of::<KeptFrame>()) };
        self.frames.wrapping_add(self.capacity).cast::<[u64; 5]>().wrapping_add(index)
    }

    /// Puts the new frames behind the kept ones, so that the stack is whole again. `met` is the
    /// last kept frame as it was reached this time.
    #[inline(always)]
    pub(super) fn join_new(&mut self, met: Option<&Walked>) {
        if let (Some(met), Some(index)) = (met, self.len.checked_sub(1))
            && let Some(kept) = self.get_mut(index)
        {
            (kept.bp, kept.bp_from) = (met.bp, met.bp_from);
            let kept = *kept;
            self.words.truncate(self.words_before(index));
            let words = self.add_words(index, &kept);
            if let Some(kept) = self.get_mut(index) {
                kept.words = words;
            }
        }
        // The frame outside the next one stays in registers: it was written a moment ago.
        let mut caller = self.len.checked_sub(1).and_then(|caller| self.get(caller)).copied();
        let (first, new_len) = (self.len, self.new_len);
        for index in first..first.wrapping_add(new_len) {
            let pushed = first.wrapping_add(new_len).wrapping_sub(index).wrapping_sub(1);
            let from = self.new_place(pushed).cast::<u64>();
            // SAFETY: `new_len` frames of the second array are written. Volatile: word by word, as they were
            // stored a moment ago; the compiler would take two at a time.
            let word = |index: usize| unsafe { from.wrapping_add(index).read_volatile() };
            let walked = Walked::from_words([word(0), word(1), word(2), word(3), word(4)]);
            let descends = caller.is_none_or(|caller| walked.slot < caller.lowest());
            if self.descending == index && descends {
                self.descending = index.wrapping_add(1);
            }
            let mut frame = KeptFrame::below(caller.as_ref(), &walked);
            frame.words = self.add_words(index, &frame);
            // SAFETY: `push_new` made sure that both together fit into the first array.
            unsafe { self.frames.wrapping_add(index).write(frame) };
            caller = Some(frame);
        }
        (self.len, self.new_len) = (first.wrapping_add(new_len), 0);
    }

    /// Makes room for frames now, so that the first stack needs no system call.
    pub(crate) fn make_room(&mut self) {
        if self.capacity == 0 {
            let _ = self.enlarge();
        }
    }

    #[cold]
    fn enlarge(&mut self) -> bool {
        let capacity =
            if self.capacity == 0 { FIRST_CAPACITY } else { self.capacity.saturating_mul(4) };
        if capacity > MOST_FRAMES {
            return false;
        }
        let bytes = |capacity: usize| capacity * 2 * size_of::<KeptFrame>();
        if !self.words.make_room(capacity.saturating_mul(WORDS_PER_FRAME)) {
            return false;
        }
        let Ok(new) = system_call::map_private(bytes(capacity)) else { return false };
        let new = new.cast::<KeptFrame>();
        if self.capacity != 0 {
            // SAFETY: the old first array has that many frames, the new one is larger.
            unsafe { core::ptr::copy_nonoverlapping(self.frames, new, self.len) };
            let (from, to) = (self.new_place(0), new.wrapping_add(capacity).cast::<[u64; 5]>());
            // SAFETY: the second array of each begins after `capacity` frames.
            unsafe { core::ptr::copy_nonoverlapping(from, to, self.new_len) };
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

    #[test]
    fn new_frames_are_joined_in_reverse_and_room_grows() {
        // SAFETY: zeros are a valid, empty stack.
        let mut kept: KeptStack = unsafe { core::mem::zeroed() };
        for round in 0..2 {
            kept.begin_new();
            for address in 0..5000u64 {
                assert!(kept.push_new(Walked { address, ..Default::default() }));
            }
            kept.join_new(None);
            assert_eq!(kept.len(), 5000 * (round + 1));
            assert_eq!(kept.get(0).unwrap().address, 4999, "the last pushed is the root");
            assert_eq!(kept.get(kept.len() - 1).unwrap().address, 0);
        }
    }
}
