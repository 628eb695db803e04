//! Windows over a time whose end is not known yet.
//!
//! Of equal length, at first. Where a trace goes on for long, a window is short enough for what happens in it, too: a
//! service that stands idle for hours may answer all its requests within seconds.

use tftrace_format::Ticks;

/// There are never more than so many windows. In the end there are more than half as many in a trace of up to a quarter
/// of an hour, unless it is shorter than a quarter of a second; in a longer one there may be as few as [`PARTS`].
pub(super) const MOST: usize = 4096;
/// Windows of at least one second in so many end after a number of events as well.
const LONG: u64 = 4;
/// Once they do, time is cut in about so many windows, and so are the events.
const PARTS: u64 = 512;
/// Fewer events end no window.
const FEWEST_EVENTS: u64 = 16;

/// How time is cut.
#[derive(Clone, Debug)]
pub(super) struct Windows {
    /// When each window ended that is over, in ticks: the first tick of the next one.
    ends: Vec<u64>,
    /// How many events each of them had.
    events: Vec<u64>,
    /// When the last window began, and how many events it has had.
    begun: u64,
    own_events: u64,
    /// The length of a window at most.
    ticks: u64,
    /// From which length on a window ends after a number of events.
    long: u64,
    /// After how many, at most.
    most_events: u64,
}

impl Windows {
    /// Windows of about a sixteenth of a millisecond.
    pub(super) fn new(ticks_per_second: u64) -> Self {
        Self {
            ends: Vec::new(),
            events: Vec::new(),
            begun: 0,
            own_events: 0,
            ticks: (ticks_per_second / 16384).max(1),
            long: (ticks_per_second / LONG).max(1),
            most_events: u64::MAX,
        }
    }

    /// The number of the last one.
    pub(super) fn last(&self) -> usize {
        self.ends.len()
    }

    /// Counts an event in the last window; false, and it is not, if that is over at its time.
    #[inline]
    pub(super) fn counts(&mut self, time: Ticks) -> bool {
        let is_open = !self.is_over(time);
        self.own_events += u64::from(is_open);
        is_open
    }

    fn is_over(&self, time: Ticks) -> bool {
        let passed = time.0.saturating_sub(self.begun);
        passed >= self.ticks || (self.own_events >= self.most_events && passed > 0)
    }

    /// Ends windows until the last one is that of a time. False: there would be too many.
    pub(super) fn reach(&mut self, time: Ticks) -> bool {
        if !self.is_over(time) {
            return true;
        }
        let whole = time.0.saturating_sub(self.begun) / self.ticks;
        if whole.max(1).saturating_add(self.last() as u64) >= MOST as u64 {
            return false;
        }
        if whole == 0 {
            self.end(time.0);
        }
        for _ in 0..whole {
            self.end(self.begun + self.ticks);
        }
        true
    }

    fn end(&mut self, at: u64) {
        self.ends.push(at);
        self.events.push(self.own_events);
        (self.begun, self.own_events) = (at, 0);
    }

    /// The window of a time; the last one if that is not over.
    pub(super) fn of(&self, time: Ticks) -> usize {
        self.ends.partition_point(|end| *end <= time.0)
    }

    /// When a window ends, or would end if little happened in it.
    pub(super) fn end_of(&self, window: usize) -> Ticks {
        Ticks(self.ends.get(window).copied().unwrap_or(self.begun.saturating_add(self.ticks)))
    }

    /// Makes fewer windows, so that there is room until `time`; of equal ones half as many, and of others where `halve`
    /// says so. Gives the new number of each.
    pub(super) fn coarsen(&mut self, time: Ticks, halve: bool) -> Vec<u16> {
        let is_long = self.ticks.saturating_mul(2) > self.long;
        if halve || !is_long {
            self.ticks = self.ticks.saturating_mul(2);
        }
        if !is_long {
            return self.join(|windows, _, _| windows <= 2, true);
        }
        let all_events = self.events.iter().sum::<u64>().saturating_add(self.own_events);
        let least = match self.most_events {
            u64::MAX => FEWEST_EVENTS,
            most if halve => most.saturating_mul(2),
            most => most,
        };
        self.ticks = self.ticks.max(time.0 / PARTS);
        self.most_events = least.max(all_events / PARTS);
        let (ticks, most_events) = (self.ticks as f64, self.most_events as f64);
        let fits = |_: usize, passed: u64, events: u64| {
            passed as f64 / ticks + events as f64 / most_events <= 1.0
        };
        self.join(fits, false)
    }

    /// Makes neighbours one where `fits` says so of how many they are, how long together, and with how many events;
    /// the last window, which is not over, `with_last`.
    fn join(&mut self, fits: impl Fn(usize, u64, u64) -> bool, with_last: bool) -> Vec<u16> {
        let (old_ends, old_events) =
            (std::mem::take(&mut self.ends), std::mem::take(&mut self.events));
        let (last_begun, last_events) = (self.begun, self.own_events);
        let mut numbers = Vec::with_capacity(old_ends.len() + 1);
        // What is joined so far begins where the last one of the new ones ended.
        (self.begun, self.own_events) = (0, 0);
        let (mut joined, mut end) = (0, 0);
        for (next_end, events) in old_ends.into_iter().zip(old_events) {
            if joined > 0 && !fits(joined + 1, next_end - self.begun, self.own_events + events) {
                self.end(end);
                joined = 0;
            }
            (joined, end) = (joined + 1, next_end);
            self.own_events += events;
            numbers.push(self.last() as u16);
        }
        let is_one = with_last && joined > 0 && fits(joined + 1, 0, 0);
        if joined > 0 && !is_one {
            self.end(end);
        }
        numbers.push(self.last() as u16);
        if !is_one {
            self.begun = last_begun;
        }
        self.own_events += last_events;
        numbers
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Windows of a program with events at these times, and in which window each of them is in the end.
    fn windows(ticks_per_second: u64, times: impl Iterator<Item = u64>) -> (Windows, Vec<usize>) {
        let mut windows = Windows::new(ticks_per_second);
        let mut places: Vec<usize> = Vec::new();
        for time in times.map(Ticks) {
            while !windows.reach(time) {
                let numbers = windows.coarsen(time, false);
                places.iter_mut().for_each(|place| *place = numbers[*place].into());
            }
            assert!(windows.counts(time));
            places.push(windows.last());
        }
        (windows, places)
    }

    #[test]
    fn windows_are_of_equal_length_in_a_trace_of_minutes() {
        let times: Vec<u64> = (0..50_000).map(|at| at * at / 5).collect();
        // A second has 16,384 ticks: the last event is after eight hours; or it has 2^24, and it is after half a minute.
        let (windows, places) = windows(1 << 24, times.iter().copied());
        let length = windows.end_of(0).0;
        assert_eq!(length, (times.last().unwrap() / MOST as u64).next_power_of_two());
        for (time, place) in times.iter().zip(places) {
            let window = (time / length) as usize;
            assert_eq!((windows.of(Ticks(*time)), place), (window, window));
            assert_eq!(windows.end_of(window).0, (window as u64 + 1) * length);
        }
        assert_eq!(windows.events.iter().sum::<u64>() + windows.own_events, 50_000);
    }

    #[test]
    fn a_minute_with_all_requests_has_many_windows_among_hours_without() {
        const SECOND: u64 = 16_384;
        // Start-up, a line in the log each second for ten hours, and requests in the third hour and at the end.
        let start_up = (0..100_000).map(|at| at * 5 * SECOND / 100_000);
        let idle = (5..36_000).map(|second| second * SECOND);
        let burst = |hour: u64| {
            (0..200_000).map(move |at| hour * 3600 * SECOND + at * 60 * SECOND / 200_000)
        };
        let mut times: Vec<u64> = start_up.chain(idle).chain(burst(3)).chain(burst(10)).collect();
        times.sort_unstable();
        let (windows, places) = windows(SECOND, times.iter().copied());
        for (time, place) in times.iter().zip(places) {
            // One that came as a window ended is in the next one.
            let of = windows.of(Ticks(*time));
            assert_eq!(of, place, "{time}");
        }
        let count = |from: u64, to: u64| windows.of(Ticks(to)) - windows.of(Ticks(from));
        assert!(windows.last() < MOST);
        for hour in [3, 10] {
            let (begins, minute) = (hour * 3600 * SECOND, 60 * SECOND);
            let within = count(begins, begins + minute);
            assert!((100..1500).contains(&within), "{within} windows in a minute at hour {hour}");
        }
        let hours = count(4 * 3600 * SECOND, 10 * 3600 * SECOND);
        assert!(hours > 100, "{hours} windows in six idle hours");
        assert_eq!(windows.events.iter().sum::<u64>() + windows.own_events, times.len() as u64);
        assert!(windows.ends.is_sorted_by(|a, b| a < b));
    }

    #[test]
    fn windows_are_made_fewer_where_memory_is_short_whatever_ended_them() {
        const SECOND: u64 = 16_384;
        let (mut windows, _) = windows(SECOND, (0..200_000).map(|at| at * SECOND / 3));
        let before = windows.last();
        let numbers = windows.coarsen(Ticks(windows.begun), true);
        assert_eq!(numbers.len(), before + 1);
        assert!(windows.last() <= before * 2 / 3 && windows.last() > before / 4, "{before}");
        assert_eq!(numbers.last().copied(), Some(windows.last() as u16));
    }
}
