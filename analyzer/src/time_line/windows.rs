//! Windows of equal length over a time whose end is not known yet.

use tftrace_format::Ticks;

/// There are never more than so many windows, and in the end more than half as many, unless the
/// trace is shorter than a quarter of a second.
pub(super) const MOST: usize = 4096;

/// How time is cut.
#[derive(Clone, Copy, Debug)]
pub(super) struct Windows {
    /// The length of each, in ticks.
    ticks: u64,
}

impl Windows {
    /// Windows of about a sixteenth of a millisecond.
    pub(super) fn new(ticks_per_second: u64) -> Self {
        Self { ticks: (ticks_per_second / 16384).max(1) }
    }

    /// The window of a time; `None` if the windows are too short for it.
    pub(super) fn of(self, time: Ticks) -> Option<usize> {
        let window = usize::try_from(time.0 / self.ticks).ok()?;
        (window < MOST).then_some(window)
    }

    /// When a window ends.
    pub(super) fn end_of(self, window: usize) -> Ticks {
        Ticks(self.ticks.saturating_mul(window as u64 + 1))
    }

    /// Makes every two windows one.
    pub(super) fn double(&mut self) {
        self.ticks = self.ticks.saturating_mul(2);
    }
}
