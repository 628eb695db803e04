//! The words of the stack by which kept frames still stand: return addresses, and saved frame pointers where the
//! walk depends on them.
//!
//! Only compares: what else a frame depends on is asked of the frame itself.

use crate::system_call;

/// Words that fit at first for each frame that does: code that keeps a frame pointer has two.
pub(super) const WORDS_PER_FRAME: usize = 2;

/// A word of the stack: by itself, so that little memory is read for every stack.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub(super) struct StackWord {
    place: *const u64,
    value: u64,
}

/// Where the word of a frame stands that asks for a closer look.
static NEVER: u64 = 0;

impl StackWord {
    /// The word that stands at `place`.
    pub(super) fn new(place: u64, value: u64) -> Self {
        Self { place: place as *const u64, value }
    }

    /// One that never stands: a closer look is to be taken at its frame.
    pub(super) const CLOSER_LOOK: Self = Self { place: &raw const NEVER, value: !NEVER };

    /// Whether it is [`Self::CLOSER_LOOK`].
    #[inline(always)]
    fn asks_for_a_closer_look(&self) -> bool {
        core::ptr::eq(self.place, &raw const NEVER)
    }
}

/// The words of all kept frames, root first. All zeros is valid and empty.
///
/// One mapping holds two arrays of the same length: the words, and which frame each is of.
#[derive(Debug)]
pub(super) struct StackWords {
    words: *mut StackWord,
    capacity: usize,
    len: usize,
}

/// The first word that is not what it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Changed {
    /// The frame that it is of.
    pub(super) frame: usize,
    /// It may stand nevertheless.
    pub(super) asks_for_a_closer_look: bool,
}

impl StackWords {
    pub(super) fn len(&self) -> usize {
        self.len
    }

    #[inline(always)]
    pub(super) fn truncate(&mut self, len: usize) {
        self.len = self.len.min(len);
    }

    /// Makes room for this many words; false if there is no memory.
    pub(super) fn make_room(&mut self, capacity: usize) -> bool {
        const EACH: usize = size_of::<StackWord>() + size_of::<u32>();
        let Ok(new) = system_call::map_private(capacity.saturating_mul(EACH)) else { return false };
        let new = new.cast::<StackWord>();
        if self.capacity != 0 {
            // SAFETY: the old first array has that many words, the new one is larger.
            unsafe { core::ptr::copy_nonoverlapping(self.words, new, self.len) };
            let to = new.wrapping_add(capacity).cast::<u32>();
            // SAFETY: as above; the second array of each begins after the first.
            unsafe { core::ptr::copy_nonoverlapping(self.owner_place(0), to, self.len) };
            // SAFETY: the old mapping is this value's own.
            unsafe { system_call::unmap(self.words.cast(), self.capacity.wrapping_mul(EACH)) };
        }
        (self.words, self.capacity) = (new, capacity);
        true
    }

    #[inline(always)]
    fn owner_place(&self, index: usize) -> *mut u32 {
        self.words.wrapping_add(self.capacity).cast::<u32>().wrapping_add(index)
    }

    /// Adds a word of a frame. Room for it was made.
    #[inline(always)]
    pub(super) fn push(&mut self, frame: usize, word: StackWord) {
        debug_assert!(self.len < self.capacity);
        if self.len < self.capacity {
            // SAFETY: below the capacity of the first array.
            unsafe { self.words.wrapping_add(self.len).write(word) };
            // SAFETY: as above, of the second.
            unsafe { self.owner_place(self.len).write(frame as u32) };
            self.len = self.len.wrapping_add(1);
        }
    }

    /// The first of the words `from..to` that is not what it was.
    ///
    /// # Safety
    /// All places of these are words of a mapped stack, or ask for a closer look.
    #[inline(always)]
    pub(super) unsafe fn first_changed(&self, from: usize, to: usize) -> Option<Changed> {
        if self.len == 0 {
            return None;
        }
        // SAFETY: `len` words are written.
        let words = unsafe { core::slice::from_raw_parts(self.words, self.len) };
        let words = words.get(from..to)?;
        // SAFETY: our caller promises it.
        let standing = unsafe { leading_that_stand(words) };
        let word = words.get(standing)?;
        // SAFETY: as many owners are written as words.
        let frame = unsafe { self.owner_place(from.wrapping_add(standing)).read() } as usize;
        Some(Changed { frame, asks_for_a_closer_look: word.asks_for_a_closer_look() })
    }
}

/// How many of these, from the first on, are what they were.
///
/// # Safety
/// All places are words of a mapped stack.
#[inline(always)]
unsafe fn leading_that_stand(words: &[StackWord]) -> usize {
    // SAFETY: our caller promises it.
    let stands = |at: &StackWord| unsafe { at.place.read() } == at.value;
    let mut left = words;
    // Eight at a time: a good part of the cost of a comparison would be that of the loop around it.
    while let [a, b, c, d, e, f, g, h, rest @ ..] = left
        && stands(a)
        && stands(b)
        && stands(c)
        && stands(d)
        && stands(e)
        && stands(f)
        && stands(g)
        && stands(h)
    {
        left = rest;
    }
    while let [at, rest @ ..] = left
        && stands(at)
    {
        left = rest;
    }
    words.len().wrapping_sub(left.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_that_changed_is_found_with_its_frame() {
        let mut stack: Vec<u64> = (100..120).collect();
        let place = |stack: &[u64], index: usize| (&raw const stack[index]) as u64;
        // SAFETY: zeros are a valid, empty value.
        let mut words: StackWords = unsafe { core::mem::zeroed() };
        // Root first: the highest place. Every frame has two words.
        let (mut capacity, frame_of) = (1, |index: usize| (19 - index) / 2);
        for index in (0..20).rev() {
            if words.len() == capacity || index == 19 {
                capacity *= 2;
                assert!(words.make_room(capacity));
            }
            words.push(frame_of(index), StackWord::new(place(&stack, index), stack[index]));
        }
        // SAFETY: all places are in `stack`.
        let changed = |words: &StackWords, from, to| unsafe { words.first_changed(from, to) };
        assert_eq!(changed(&words, 0, 20), None);
        for (index, before) in stack.clone().into_iter().enumerate() {
            stack[index] = 7;
            let found = Changed { frame: frame_of(index), asks_for_a_closer_look: false };
            assert_eq!(changed(&words, 0, 20), Some(found));
            assert_eq!(changed(&words, 19 - index, 20), Some(found));
            assert_eq!(changed(&words, 0, 19 - index), None);
            assert_eq!(changed(&words, 20 - index, 20), None);
            stack[index] = before;
        }
        words.truncate(12);
        words.push(6, StackWord::CLOSER_LOOK);
        let found = Changed { frame: 6, asks_for_a_closer_look: true };
        assert_eq!(changed(&words, 0, words.len()), Some(found));
    }
}
