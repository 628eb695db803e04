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

/// What happened in a window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Change {
    pub(super) window: u16,
    /// Allocations.
    pub(super) calls: u32,
    /// Bytes allocated less bytes freed.
    pub(super) bytes: i64,
}

impl Change {
    pub(super) fn add(&mut self, bytes: i64, calls: u32) {
        self.bytes = self.bytes.saturating_add(bytes);
        self.calls = self.calls.saturating_add(calls);
    }
}

/// Gives every change the window that its window became.
pub(super) fn renumber(changes: &mut Vec<Change>, number: &[u16]) {
    for change in changes.iter_mut() {
        change.window = number.get(usize::from(change.window)).copied().unwrap_or(change.window);
    }
    changes.dedup_by(|next, sum| {
        let same = next.window == sum.window;
        if same {
            sum.add(next.bytes, next.calls);
        }
        same
    });
}

/// Makes every two windows one.
pub(super) fn join(changes: &mut Vec<Change>) {
    changes.iter_mut().for_each(|change| change.window /= 2);
    changes.dedup_by(|next, sum| {
        let same = next.window == sum.window;
        if same {
            sum.add(next.bytes, next.calls);
        }
        same
    });
}

/// Adds up the bytes and blocks of each window, and brings the windows in order.
pub(super) fn sum_up(kept: &mut Vec<(u16, u64, u32)>) {
    kept.sort_unstable_by_key(|(window, ..)| *window);
    kept.dedup_by(|next, sum| {
        let same = next.0 == sum.0;
        if same {
            sum.1 = sum.1.saturating_add(next.1);
            sum.2 = sum.2.saturating_add(next.2);
        }
        same
    });
    kept.shrink_to_fit();
}
