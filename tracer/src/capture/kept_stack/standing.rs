//! Which of the kept frames still stand: all are compared that can have ended since.

use tftrace_format::Ticks;

use super::KeptStack;
use crate::arch::EntryRegisters;
use crate::capture::stack_range::StackRange;
use crate::python::out_of_reach::WholeLook;

impl KeptStack {
    /// All frames are to be compared the next time.
    pub(in crate::capture) fn distrust(&mut self) {
        (self.look, self.unseen) = (WholeLook::default(), 0);
    }

    /// All frames were looked at, and Python's as well.
    #[inline(always)]
    pub(in crate::capture) fn end_look(&mut self, look: WholeLook) {
        self.look = look;
    }

    /// How many of Python's frames were taken to stand.
    #[inline(always)]
    pub(in crate::capture) fn unseen(&self) -> usize {
        self.unseen
    }

    /// How many frames, from the root on, cannot have ended since the last look, as there was no time for it: those
    /// that called the evaluation loop of a Python frame which cannot have run. `now` the next look begins;
    /// `native_of` says where the loop's native frame is of a Python frame, as far as is known.
    #[inline(always)]
    pub(in crate::capture) fn out_of_reach(
        &mut self,
        now: Ticks,
        native_of: impl FnOnce(usize) -> u64,
    ) -> usize {
        self.unseen = self.look.out_of_reach(now);
        let Some(innermost) = self.unseen.checked_sub(1) else { return 0 };
        let native = native_of(innermost);
        if native == 0 || self.len == 0 {
            self.unseen = 0;
            return 0;
        }
        // SAFETY: that many frames of the first array are written.
        let frames =
            unsafe { core::slice::from_raw_parts(self.frames, self.descending.min(self.len)) };
        frames.partition_point(|frame| frame.slot > native)
    }

    /// How many frames, from the root on, still stand in this part of the stack; that so many do is known.
    #[inline(always)]
    pub(in crate::capture) fn still_standing(
        &self,
        range: StackRange,
        out_of_reach: usize,
    ) -> usize {
        let Some(root) = self.get(0).map(|root| root.slot).filter(|root| range.holds_word(*root))
        else {
            return 0;
        };
        // Those that stand above the stack pointer: known from the leaf on, as it is mostly few that do not.
        let mut in_reach = self.descending.min(self.len);
        while let Some(last) = in_reach.checked_sub(1)
            && self.get(last).is_some_and(|frame| frame.lowest() < range.start)
        {
            in_reach = last;
        }
        let end = self.words_before(in_reach);
        let reach = root.wrapping_sub(range.start);
        let mut count = out_of_reach.min(in_reach);
        loop {
            // SAFETY: each place is at most that of the root and not below the start, so it is in the range,
            // and a walk read this word before.
            let changed = unsafe { self.words.first_changed(self.words_before(count), end) };
            count = changed.map_or(in_reach.max(count), |changed| changed.frame);
            let Some(frame) = self.get(count) else { break };
            let stays_open = changed.is_none_or(|changed| changed.asks_for_a_closer_look);
            let near = frame.slot.wrapping_sub(range.start) <= reach;
            if !stays_open || !near || !frame.still_stands(range) {
                break;
            }
            count = count.wrapping_add(1);
        }
        count
    }

    /// Whether the leaf is the last of the `standing` frames that still stand, so that all of the stack
    /// is what it was.
    #[inline(always)]
    pub(in crate::capture) fn is_leaf(&self, standing: usize, registers: EntryRegisters) -> bool {
        standing == self.len
            && standing.checked_sub(1).and_then(|leaf| self.get(leaf)).is_some_and(|leaf| {
                leaf.slot == registers.sp
                    && !leaf.is_interrupted()
                    && leaf.scheduled == 0
                    // That it was called by a frame which is gone would have to be forgotten.
                    && (!leaf.needs_bp() || (leaf.bp == registers.bp && leaf.bp_from == 0))
            })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::capture::kept_frame::{STEP_USES_BP, Walked};

    const FRAMES: usize = 6;

    /// A stack on which each frame has four words: a return address, `bp` saved below it, and two of its own.
    fn stack() -> Vec<u64> {
        (0..4 * FRAMES as u64).map(|word| 1000 + word).collect()
    }

    /// Where the return address of a frame stands, counted from the root.
    fn of(frame: usize) -> usize {
        4 * (FRAMES - 1 - frame) + 3
    }

    fn kept(stack: &[u64]) -> KeptStack {
        // SAFETY: zeros are a valid, empty stack.
        let mut kept: KeptStack = unsafe { core::mem::zeroed() };
        kept.begin_new();
        for frame in (0..FRAMES).rev() {
            let (at, bp_from) = (of(frame), -16);
            let slot = core::ptr::from_ref(&stack[at]) as u64;
            let (address, bp, flags) = (stack[at], stack[at - 1], STEP_USES_BP);
            let frame = Walked { slot, address, bp, bp_from, flags, ..Walked::default() };
            assert!(kept.push_new(frame));
        }
        kept.join_new(None);
        kept
    }

    #[test]
    fn frames_are_not_compared_that_called_a_python_frame_which_cannot_have_run() {
        let mut stack = stack();
        let mut kept = kept(&stack);
        let base = stack.as_ptr() as u64;
        let range = StackRange { start: base, end: base + 8 * stack.len() as u64 };
        let (look, now) = WholeLook::pretend(60, 100);
        // The loop that runs the 60th of Python's frames is called by the third frame.
        let native = base + 8 * of(2) as u64 - 8;
        let native_of = |python| if python == 59 { native } else { 0 };
        assert_eq!(kept.out_of_reach(now, native_of), 0, "nobody has looked");
        kept.end_look(look);
        assert_eq!((kept.out_of_reach(now, native_of), kept.unseen()), (3, 60));
        stack[of(2)] = 7;
        assert_eq!((kept.still_standing(range, 3), kept.still_standing(range, 0)), (FRAMES, 2));
        stack[of(3)] = 7;
        assert_eq!(kept.still_standing(range, 3), 3);
        let higher = StackRange { start: base + 8 * of(1) as u64 - 8, ..range };
        assert_eq!(kept.still_standing(higher, 3), 2, "the stack pointer is above the third");
        assert_eq!((kept.out_of_reach(now, |_| 0), kept.unseen()), (0, 0), "no loop is known");
        kept.distrust();
        assert_eq!((kept.out_of_reach(now, native_of), kept.unseen()), (0, 0));
    }

    #[test]
    fn a_frame_stands_while_its_return_address_and_what_it_saved_of_bp_do() {
        let mut stack = stack();
        let mut kept = kept(&stack);
        let base = stack.as_ptr() as u64;
        let place = |word: usize| base + 8 * word as u64;
        let range = |from: usize| StackRange { start: place(from), end: place(4 * FRAMES) };
        assert_eq!(kept.still_standing(range(0), 0), FRAMES);
        for frame in 0..FRAMES {
            for word in [of(frame), of(frame) - 1] {
                let before = core::mem::replace(&mut stack[word], 7);
                assert_eq!(kept.still_standing(range(0), 0), frame, "word {word} changed");
                stack[word] = before;
            }
            let own = of(frame) - 2;
            let before = core::mem::replace(&mut stack[own], 7);
            assert_eq!(kept.still_standing(range(0), 0), FRAMES, "word {own} is nobody's");
            stack[own] = before;
            assert_eq!(kept.still_standing(range(of(frame) - 1), 0), frame + 1);
            assert_eq!(
                kept.still_standing(range(of(frame)), 0),
                frame,
                "its `bp` is below the stack"
            );
            assert_eq!(kept.still_standing(range(of(frame) + 1), 0), frame);
        }
        kept.truncate(3);
        assert_eq!(kept.still_standing(range(0), 0), 3);
        // The last one, reached otherwise: `bp` is what it was in the callee, and the word is nobody's.
        kept.begin_new();
        let last = *kept.get(2).unwrap();
        let met = Walked { slot: last.slot, address: last.address, ..Walked::default() };
        kept.join_new(Some(&met));
        stack[of(2) - 1] = 7;
        assert_eq!(kept.still_standing(range(0), 0), 3);
    }
}
