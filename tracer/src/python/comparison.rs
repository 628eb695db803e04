//! Finds which of the kept frames still stand, without writing any of the new ones down.
//!
//! Both lists are long and most of them is the same; they are told from the leaf, so first the two
//! must be laid side by side: by the address of a frame that stands in both.

use super::frames::Found;
use super::kept_frames::KeptFrames;

/// Kept frames, from the innermost on, among which a new one is looked for.
const WINDOW: usize = 16;

/// A walk of the new frames beside the kept ones.
pub(super) struct Comparison<'a> {
    kept: &'a KeptFrames,
    /// The kept frame beside the last new one.
    beside: Option<usize>,
    /// The frames from here on, counted from the root, are not what they were.
    differs_from: usize,
    /// The innermost kept frame beside those of the loop that is being walked.
    loop_leaf: Option<usize>,
    total: usize,
}

impl<'a> Comparison<'a> {
    pub(super) fn new(kept: &'a KeptFrames) -> Self {
        Self { kept, beside: None, differs_from: 0, loop_leaf: None, total: 0 }
    }

    /// Takes the next frame, or the end of a loop. False: the lists do not lie side by side.
    #[inline(always)]
    pub(super) fn next(&mut self, found: &Found) -> bool {
        match found {
            Found::Frame(raw) => {
                self.total += 1;
                let index = match self.beside {
                    Some(0) => return false,
                    Some(last) => last - 1,
                    None => match self.find(raw.frame) {
                        Some(index) => {
                            self.differs_from = index + 1;
                            index
                        }
                        // Not found yet: a frame that is new.
                        None => return self.total <= WINDOW,
                    },
                };
                let Some(kept) = self.kept.get(index) else { return false };
                if kept.raw.frame != raw.frame {
                    return false;
                }
                if kept.raw != *raw {
                    self.differs_from = index;
                }
                self.loop_leaf = self.loop_leaf.or(Some(index));
                self.beside = Some(index);
            }
            Found::Loop { native } => {
                // The frames of one loop are kept side by side: both ends tell for all.
                let same =
                    |index: usize| self.kept.get(index).is_some_and(|kept| kept.native == *native);
                if let (Some(root), Some(leaf)) = (self.beside, self.loop_leaf)
                    && !(same(root) && same(leaf))
                {
                    self.differs_from = root;
                }
                self.loop_leaf = None;
            }
        }
        true
    }

    #[inline(always)]
    fn find(&self, frame: u64) -> Option<usize> {
        let len = self.kept.len();
        let nearest = len.saturating_sub(WINDOW)..len;
        nearest.rev().find(|index| self.kept.get(*index).is_some_and(|at| at.raw.frame == frame))
    }

    /// How many frames from the root on are what they were, and how many there are now. `None` if
    /// that is not known.
    #[inline(always)]
    pub(super) fn end(self) -> Option<(usize, usize)> {
        (self.beside == Some(0)).then_some((self.differs_from, self.total))
    }
}

#[cfg(test)]
mod tests {
    use super::super::frames::RawFrame;
    use super::*;

    /// The frames of a thread, root first: each with the loop that runs it.
    type Stack = Vec<(RawFrame, u64)>;

    /// What a walk of these frames finds.
    fn walk(stack: &Stack, mut each: impl FnMut(Found) -> bool) {
        for (index, (raw, native)) in stack.iter().enumerate().rev() {
            let ends = index == 0 || stack[index - 1].1 != *native;
            if !each(Found::Frame(*raw)) || (ends && !each(Found::Loop { native: *native })) {
                return;
            }
        }
    }

    /// As `python::update_from` does it. Gives how many stayed.
    fn update(kept: &mut KeptFrames, stack: &Stack) -> usize {
        let mut comparison = Comparison::new(kept);
        let mut beside = true;
        walk(stack, |found| {
            beside = comparison.next(&found);
            beside
        });
        let same = if beside { comparison.end() } else { None };
        let wanted = same.map_or(usize::MAX, |(common, total)| total - common);
        kept.begin_new();
        if wanted != 0 {
            walk(stack, |found| match found {
                Found::Frame(raw) if kept.new_len() < wanted => kept.push_new(raw),
                Found::Frame(_) => true,
                Found::Loop { native } => kept.end_loop(native) && kept.new_len() < wanted,
            });
        }
        let common = match same {
            Some((common, total)) => {
                kept.keep_common(common, total);
                common
            }
            None => kept.compare(),
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
        // SAFETY: zeros are a valid, empty value.
        let mut kept: KeptFrames = unsafe { core::mem::zeroed() };
        let mut stack: Stack = Vec::new();
        let mut seed = 1u64;
        let mut random = |below: u64| {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (seed >> 33) % below
        };
        let mut stayed = 0;
        for round in 0..20_000u64 {
            // Now and then most of it goes, as at the end of a request.
            let pops = if random(50) == 0 { 60 } else { random(4) };
            stack.truncate(stack.len().saturating_sub(pops as usize));
            for _ in 0..random(if round % 1000 == 0 { 900 } else { 4 }) {
                let loops = stack.last().map_or(1, |(_, native)| native + random(2));
                // Addresses are used again, and sometimes the whole frame is.
                let frame = 1000 + stack.len() as u64 * 100 + random(2);
                let (code, instruction) = (random(3), random(3));
                stack.push((RawFrame { frame, code, instruction }, loops));
            }
            if let Some((raw, _)) = stack.last_mut() {
                raw.instruction = random(5);
            }
            stayed += update(&mut kept, &stack);
            assert_eq!(kept.len(), stack.len(), "round {round}");
            for (index, (raw, native)) in stack.iter().enumerate() {
                let at = kept.get(index).unwrap();
                assert_eq!((at.raw, at.native), (*raw, *native), "round {round}, frame {index}");
                assert_eq!(at.wire, raw.instruction, "round {round}, frame {index}");
            }
        }
        assert!(stayed > 100_000, "frames that stay are found: {stayed}");
    }
}
