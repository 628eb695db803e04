//! How many of the kept Python frames cannot have run since they were looked at last: those far from the leaf.
//!
//! A caller goes on only when all that it called has ended, and frames inside it stand again only when as many
//! have begun. An interpreter takes its time for each of them. Callers so far out that there was no time to come
//! back to them are what they were, and need not be read: each would take a line and a half of memory, and of two
//! hundred the nearest cache of a processor has no room for all, beside what the host keeps there.

use tftrace_format::Ticks;
use tftrace_format::header::ClockKind;

use crate::clock::{Clock, TICK_BITS};

/// What the processor's counter goes on, at least, while a function ends and another one begins. Measured with
/// `benches/python_calls.py` where the counter has 2.6 GHz: 58 for a function that does nothing but call the next
/// (CPython 3.11 with all optimizations, 3.12 and 3.13; nobody has measured 3.14 yet). Generators are faster (42 in 3.12,
/// 23 to 29 in 3.13) and count as if they took no time.
const COUNTS_PER_FRAME: u64 = 16;
/// How many frames can run in a tick.
const FRAMES_PER_TICK: u64 = (1 << TICK_BITS) / COUNTS_PER_FRAME;

/// Frames that count as having run in any case. A processor may read its counter some hundred instructions before or
/// after its turn, which are those of five frames at most.
const MARGIN: usize = 8;

/// From how many frames on a look is timed: of fewer, each is in the cache.
const DEEP: usize = 48;

/// When frames were looked at last. All zeros: nobody knows.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct LastLook(u64);

impl LastLook {
    /// A look at all of these frames, of which there are `len`, ends now.
    #[inline(always)]
    pub(super) fn ends(&mut self, len: usize, clock: &Clock) {
        let now = match clock.kind {
            ClockKind::Tsc if len >= DEEP => clock.about_now(),
            _ => Ticks(0),
        };
        // A counter that was set back or goes on beyond what a trace holds says the same each time.
        self.0 = if (2..Ticks::MAX.0).contains(&now.0) { now.0 } else { 0 };
    }

    /// How many of those that were looked at, `len` with so many generators among them, from the root on, are as they
    /// were then; `now` the next look begins, and the interpreter has not run since.
    #[inline(always)]
    pub(super) fn out_of_reach(self, len: usize, generators: usize, now: Ticks) -> usize {
        if self.0 == 0 {
            return 0;
        }
        let Some(passed) = now.0.checked_sub(self.0) else { return 0 };
        // The tick that has begun may be nearly over.
        let frames = passed.saturating_add(1).saturating_mul(FRAMES_PER_TICK);
        let may_have_run = usize::try_from(frames).unwrap_or(usize::MAX);
        len.saturating_sub(may_have_run.saturating_add(MARGIN).saturating_add(generators))
    }
}

/// A look at all Python frames, for who compares other frames of the same stack and does so less often.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct WholeLook {
    pub(super) ended: LastLook,
    pub(super) len: usize,
    pub(super) generators: usize,
}

impl WholeLook {
    /// How many of the frames, from the root on, cannot have run since; `now` as for [`LastLook::out_of_reach`].
    #[inline(always)]
    pub(crate) fn out_of_reach(&self, now: Ticks) -> usize {
        self.ended.out_of_reach(self.len, self.generators, now)
    }
}

#[cfg(test)]
impl WholeLook {
    /// A look at `len` frames, and when the next one begins, so that this many are out of reach.
    pub(crate) fn pretend(out_of_reach: usize, len: usize) -> (Self, Ticks) {
        let mut ended = LastLook::default();
        let now = ended.pretend(out_of_reach, len);
        (Self { ended, len, generators: 0 }, now)
    }
}

#[cfg(test)]
impl LastLook {
    /// A look after which `out_of_reach` of `len` frames cannot have run at the time that is given, or one less, or as
    /// many as the margin leaves.
    pub(super) fn pretend(&mut self, out_of_reach: usize, len: usize) -> Ticks {
        *self = Self(1);
        let may_have_run = (len - out_of_reach.min(len)).saturating_sub(MARGIN);
        Ticks((may_have_run as u64).div_ceil(FRAMES_PER_TICK).max(1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_are_out_of_reach_that_there_was_no_time_to_come_back_to() {
        let look = LastLook(1_000_000);
        let after = |ticks: u64| look.out_of_reach(200, 0, Ticks(1_000_000 + ticks));
        // Both looks were somewhere in their ticks: one more may have gone by.
        assert_eq!(after(0), 200 - MARGIN - 2);
        assert_eq!(after(10), 200 - MARGIN - 22);
        assert_eq!(after(95), 0);
        assert_eq!(after(Ticks::MAX.0 - 1_000_000), 0);
        assert_eq!(look.out_of_reach(200, 30, Ticks(1_000_000)), 200 - MARGIN - 2 - 30);
        assert_eq!(look.out_of_reach(200, 0, Ticks(999_999)), 0, "the clock went back");
        assert_eq!(LastLook::default().out_of_reach(200, 0, Ticks(1)), 0);
    }

    #[test]
    fn only_a_look_at_a_deep_stack_is_timed_and_only_by_the_processors_counter() {
        let is_timed = |len: usize, kind: ClockKind| {
            let mut look = LastLook::default();
            look.ends(len, &Clock { kind, origin: 0, monotonic_origin: 0 });
            look.0 != 0
        };
        assert!(is_timed(DEEP, ClockKind::Tsc));
        assert!(!is_timed(DEEP - 1, ClockKind::Tsc));
        assert!(!is_timed(DEEP, ClockKind::Monotonic), "it counts nanoseconds");
        let mut look = LastLook(5);
        look.ends(1, &Clock { kind: ClockKind::Tsc, origin: 0, monotonic_origin: 0 });
        assert_eq!(look.out_of_reach(200, 0, Ticks(6)), 0, "another stack's time is none");
        let mut look = LastLook(5);
        look.ends(DEEP, &Clock { kind: ClockKind::Tsc, origin: u64::MAX, monotonic_origin: 0 });
        assert_eq!(look.out_of_reach(200, 0, Ticks(1)), 0, "the counter was set back");
    }
}
