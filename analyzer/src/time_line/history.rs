//! What every site did in every window: written window by window, read site by site.
//!
//! Sixteen bytes for each site and window in which something happened, sorted where they are: where
//! many stacks do something all the time, this is what the analysis of a long trace takes.

use super::windows::MOST;
use crate::heap::SiteChange;

/// What a site did in a window, or a part of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Change {
    /// Bytes allocated less bytes freed.
    pub(super) bytes: i64,
    site: u32,
    /// The window, and how many allocations: [`CALLS_BITS`].
    window_and_calls: u32,
}

/// There are at most 4,096 windows. What more calls a site has in one is in further changes.
const CALLS_BITS: u32 = 20;
const MOST_CALLS: u32 = (1 << CALLS_BITS) - 1;
const _: () = assert!(MOST << CALLS_BITS == 1 << 32, "every window has a number that fits");

impl Change {
    fn new(site: u32, window: usize, calls: u32, bytes: i64) -> Self {
        Self { bytes, site, window_and_calls: (window as u32) << CALLS_BITS | calls }
    }

    pub(super) fn window(self) -> usize {
        (self.window_and_calls >> CALLS_BITS) as usize
    }

    /// Allocations.
    pub(super) fn calls(self) -> u32 {
        self.window_and_calls & MOST_CALLS
    }

    fn set_window(&mut self, window: usize) {
        *self = Self::new(self.site, window, self.calls(), self.bytes);
    }

    /// Takes in what the same site did in the same window; gives the calls for which there is no room.
    fn take_in(&mut self, other: Change) -> u32 {
        let calls = self.calls() + other.calls();
        self.bytes = self.bytes.saturating_add(other.bytes);
        self.window_and_calls = self.window_and_calls - self.calls() + calls.min(MOST_CALLS);
        calls.saturating_sub(MOST_CALLS)
    }
}

/// The same by window.
#[derive(Clone, Debug, Default)]
pub(super) struct Log {
    /// In the order of windows.
    changes: Vec<Change>,
    /// Where those of the last window begin.
    last: usize,
    /// By number of the site: one more than the place of its last change in a window, or 0.
    places: Vec<u32>,
}

impl Log {
    /// How many entries there are.
    pub(super) fn len(&self) -> usize {
        self.changes.len()
    }

    /// Adds what a site did since the last time, in a window that is not before the last one.
    pub(super) fn add(&mut self, window: usize, change: SiteChange) {
        let SiteChange { site, mut calls, bytes } = change;
        let site = site.index() as u32;
        while calls > MOST_CALLS {
            self.changes.push(Change::new(site, window, MOST_CALLS, 0));
            calls -= MOST_CALLS;
        }
        self.changes.push(Change::new(site, window, calls, bytes));
    }

    /// To be called when all that a window is known to have by now was added; more of it may follow.
    pub(super) fn added(&mut self, window: usize) {
        if self.changes.get(self.last).is_some_and(|change| change.window() == window) {
            self.put_together(self.last);
        } else {
            let of_others = |change: &Change| change.window() < window;
            self.last += self.changes[self.last..].partition_point(of_others);
        }
    }

    /// Gives every window a new number, in the same order, and makes those of one number one.
    pub(super) fn renumber(&mut self, numbers: &[u16]) {
        for change in &mut self.changes {
            let number = numbers.get(change.window()).copied().map(usize::from);
            change.set_window(number.unwrap_or(change.window()));
        }
        self.put_together(0);
    }

    /// Makes changes of one site and window one, from a place on with which a window begins.
    fn put_together(&mut self, from: usize) {
        let sites = self.changes[from..].iter().map(|change| change.site as usize + 1);
        let most = sites.max().unwrap_or(0).max(self.places.len());
        self.places.clear();
        self.places.resize(most, 0);
        self.last = from;
        let mut end = from;
        for at in from..self.changes.len() {
            let mut change = self.changes[at];
            if self.changes[self.last].window() != change.window() {
                self.last = end;
            }
            let place = &mut self.places[change.site as usize];
            if let Some(earlier) = (*place as usize).checked_sub(1).filter(|it| *it >= self.last) {
                match self.changes[earlier].take_in(change) {
                    0 => continue,
                    calls => change = Change::new(change.site, change.window(), calls, 0),
                }
            }
            *place = end as u32 + 1;
            self.changes[end] = change;
            end += 1;
        }
        self.changes.truncate(end);
    }

    /// The same by site, for so many sites.
    pub(super) fn by_site(self, sites: usize) -> History {
        let mut changes = self.changes;
        changes.sort_unstable_by_key(|change| (change.site, change.window(), change.bytes == 0));
        changes.shrink_to_fit();
        let mut history = History { starts: vec![0; sites + 1], changes };
        history.find_starts();
        history
    }
}

/// What every site did, in the order of windows.
#[derive(Clone, Debug, Default)]
pub(super) struct History {
    /// Where the changes of each site begin, by its number; and where the last ones end.
    starts: Vec<u32>,
    changes: Vec<Change>,
}

impl History {
    /// What a site did; several changes may be of one window.
    pub(super) fn of(&self, site: usize) -> &[Change] {
        let range = self.starts.get(site).zip(self.starts.get(site + 1));
        range.map_or(&[], |(&start, &end)| &self.changes[start as usize..end as usize])
    }

    /// The most bytes that a site had when a window ended.
    pub(super) fn peak(&self, site: usize) -> i64 {
        let mut changes = self.of(site).iter().peekable();
        let (mut level, mut peak) = (0i64, 0);
        while let Some(change) = changes.next() {
            level = level.saturating_add(change.bytes);
            if changes.peek().is_none_or(|next| next.window() != change.window()) {
                peak = peak.max(level);
            }
        }
        peak
    }

    /// Gives every window a new number, and makes those of one number one.
    pub(super) fn renumber(&mut self, numbers: &[u16]) {
        for change in &mut self.changes {
            let number = numbers.get(change.window()).copied().map(usize::from);
            change.set_window(number.unwrap_or(change.window()));
        }
        self.changes.dedup_by(|next, sum| {
            let same = (next.site, next.window()) == (sum.site, sum.window());
            if same {
                let calls = sum.take_in(*next);
                *next = Change::new(next.site, next.window(), calls, 0);
            }
            same && next.calls() == 0
        });
        self.changes.shrink_to_fit();
        self.find_starts();
    }

    fn find_starts(&mut self) {
        self.starts.fill(0);
        for change in &self.changes {
            self.starts[change.site as usize + 1] += 1;
        }
        for at in 1..self.starts.len() {
            self.starts[at] += self.starts[at - 1];
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::heap::{Purpose, SiteId, SiteTable};
    use tftrace_format::{Domain, StackId};

    fn sites() -> [SiteId; 3] {
        let mut table = SiteTable::default();
        [1, 2, 3].map(|stack| table.id(Purpose::Use(Domain::Malloc), StackId::new(stack)))
    }

    fn of(history: &History, site: SiteId) -> Vec<(usize, u32, i64)> {
        let own = history.of(site.index()).iter();
        own.map(|change| (change.window(), change.calls(), change.bytes)).collect()
    }

    fn add(log: &mut Log, window: usize, changes: &[(SiteId, u32, i64)]) {
        for &(site, calls, bytes) in changes {
            log.add(window, SiteChange { site, calls, bytes });
        }
        log.added(window);
    }

    #[test]
    fn what_was_written_by_window_is_read_by_site() {
        let [a, b, c] = sites();
        let mut log = Log::default();
        add(&mut log, 0, &[(b, 1, 10), (a, 1, 1)]);
        add(&mut log, 0, &[(a, 1, 2), (c, 1, 5)]);
        add(&mut log, 1, &[(c, 1, 7), (b, 1, -10)]);
        add(&mut log, 3, &[(a, 1, 4)]);
        assert_eq!(log.len(), 6);
        let history = log.clone().by_site(3);
        assert_eq!(of(&history, a), [(0, 2, 3), (3, 1, 4)]);
        assert_eq!(of(&history, b), [(0, 1, 10), (1, 1, -10)]);
        assert_eq!(of(&history, c), [(0, 1, 5), (1, 1, 7)]);
        log.renumber(&[0, 0, 1, 1]);
        assert_eq!(log.len(), 4);
        add(&mut log, 1, &[(b, 1, 1), (a, 0, 0)]);
        let mut history = log.by_site(4);
        assert_eq!(of(&history, a), [(0, 2, 3), (1, 1, 4)]);
        assert_eq!(of(&history, b), [(0, 2, 0), (1, 1, 1)]);
        assert_eq!(of(&history, c), [(0, 2, 12)]);
        history.renumber(&[6, 6]);
        assert_eq!(of(&history, a), [(6, 3, 7)]);
        assert_eq!(of(&history, b), [(6, 3, 1)]);
        assert_eq!((history.of(3), history.of(4)), (&[][..], &[][..]));
    }

    #[test]
    fn a_peak_is_what_was_live_when_a_window_ended() {
        let [a, b, c] = sites();
        let mut log = Log::default();
        add(&mut log, 0, &[(a, 1, 10), (b, 1, 100)]);
        add(&mut log, 0, &[(a, 1, -9), (b, 1, 5)]);
        add(&mut log, 2, &[(a, 1, 6), (b, 1, -90), (c, 0, -4)]);
        add(&mut log, 5, &[(a, 1, -7)]);
        let history = log.by_site(3);
        assert_eq!([a, b, c].map(|site| history.peak(site.index())), [7, 105, 0]);
        assert_eq!(history.peak(3), 0, "no such site");
    }

    #[test]
    fn no_call_is_lost_where_a_site_has_more_than_one_change_holds() {
        let [a, b, _] = sites();
        let mut log = Log::default();
        add(&mut log, 4094, &[(a, 3 * MOST_CALLS + 5, 100), (b, 1, 1)]);
        add(&mut log, 4095, &[(a, MOST_CALLS, -40)]);
        add(&mut log, 4095, &[(a, 9, -1)]);
        let halves: Vec<u16> = (0..4096).map(|window| window / 2).collect();
        log.renumber(&halves);
        let mut history = log.by_site(2);
        history.renumber(&[3; 2048]);
        let sums = of(&history, a).into_iter().fold((0u64, 0), |sum, (window, calls, bytes)| {
            assert_eq!(window, 3);
            (sum.0 + u64::from(calls), sum.1 + bytes)
        });
        assert_eq!(sums, (4 * u64::from(MOST_CALLS) + 14, 59));
        assert_eq!(of(&history, b), [(3, 1, 1)]);
        assert_eq!(history.of(0).len(), 5, "as many as are needed");
    }
}
