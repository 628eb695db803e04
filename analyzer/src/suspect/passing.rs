//! How far a program has come, by time or by what it did.

/// Over this share of what passes after start-up a line must repeat.
const SPREAD: f64 = 0.1;
/// And still in this last share of it: what was repeated earlier is the making of something.
const RECENTLY: f64 = 0.2;

/// How much of something has passed when a window begins: time, or what was done.
pub(super) struct Passing {
    until: Vec<u64>,
    all: u64,
}

impl Passing {
    /// From how much of it is in each window; what comes before start-up is over does not count.
    pub(super) fn of(windows: &[u64], start_up: usize) -> Self {
        let mut all = 0;
        let until = windows.iter().enumerate().map(|(window, passes)| {
            let before = all;
            all += if window < start_up { 0 } else { *passes };
            before
        });
        Self { until: until.collect(), all }
    }

    fn share(&self, passed: u64) -> f64 {
        passed as f64 / self.all.max(1) as f64
    }

    /// Whether what was seen in these windows first and last goes on.
    pub(super) fn goes_on(&self, first: usize, last: usize) -> bool {
        let at = |window: usize| self.until.get(window).copied().unwrap_or(self.all);
        self.share(at(last).saturating_sub(at(first))) >= SPREAD
            && self.share(at(last + 1)) > 1.0 - RECENTLY
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_goes_on_is_spread_and_was_there_lately() {
        let time = Passing::of(&[1; 100], 0);
        assert!(time.goes_on(0, 99) && time.goes_on(75, 85));
        assert!(!time.goes_on(0, 70), "it has ended");
        assert!(!time.goes_on(92, 98), "it has just begun");
    }

    #[test]
    fn idle_time_passes_only_by_the_clock() {
        let done: Vec<u64> = (0..100).map(|window| if window < 20 { 1000 } else { 1 }).collect();
        let (time, done) = (Passing::of(&[1; 100], 0), Passing::of(&done, 0));
        assert!(!time.goes_on(5, 19));
        assert!(done.goes_on(5, 19));
        assert!(!done.goes_on(20, 99), "next to nothing was done there");
    }

    #[test]
    fn start_up_does_not_count() {
        let mut done = vec![0; 60];
        done.resize(100, 1);
        done[3] = 1_000_000;
        assert!(Passing::of(&done, 60).goes_on(60, 95));
        assert!(!Passing::of(&done, 0).goes_on(60, 95));
    }
}
