//! What memory does over time: the verdict on one series.
//!
//! Two views of the same memory. `live` is what was live when a window ended; `kept` is what was
//! allocated in a window and is live at the end. Memory that comes and goes moves `live` up and down,
//! and is not in `kept` but for what came last; what leaks stands in `kept`, window after window.

use std::ops::Range;

use super::level::{deepest_fall, differences, peak, typical_change, without_spikes};
use super::rate::rate;
use super::trend::{LEAST_PARTS, Trend};
use crate::model::{Estimate, Verdict};
use crate::time_line::Series;

/// Less growth than this is not worth a line of a report, in bytes.
pub const LEAST_BYTES: f64 = 16_384.0;
/// Fewer windows than this in which time passed say nothing: they are too few for the parts after warm-up.
pub const FEWEST_WINDOWS: usize = 4 * LEAST_PARTS;
/// So many blocks must have been kept.
const LEAST_BLOCKS: f64 = 12.0;
/// Warm-up takes at most this share of the time; what is left must show the trend.
const LONGEST_WARM_UP: f64 = 0.6;
/// The last share of the time, in which what is kept may just not have been freed yet.
const YOUNG: [f64; 3] = [0.05, 0.1, 0.2];
/// What was not freed yet, of what will be, may be this share of what was kept.
const SURVIVORS: f64 = 0.01;
/// Growth has stopped where less than this share of what was expected was kept.
const STOPPED: f64 = 0.25;
/// It has stopped as well where nothing was kept for as long as so many steps would take. That few random steps leave such a
/// gap at the end happens once in four hundred times.
const MISSING_STEPS: f64 = 6.0;
const FEW_STEPS: f64 = 40.0;
/// A step has at least this share of a typical one.
const LEAST_STEP: f64 = 0.1;
/// A step is large if it is this share of all growth.
const LARGE_STEP: f64 = 0.1;
/// What grows as one block is still there.
const IS_THERE: f64 = 0.5;
/// Start-up ends where growth falls to one part in so many.
const ABRUPT: f64 = 4.0;
/// A jump is worth leaving out if it is at least this share of what comes after it.
const JUMP: f64 = 0.02;
/// Two speeds differ, or one is above a bound, if it is by so many standard errors.
const DOUBT: f64 = 2.0;
/// Growth slowed down if what came later is less than this share of what came before.
const SLOWER: f64 = 0.8;
/// Growth goes on if this share of what came in the last third came near the end.
const GOES_ON: f64 = 0.05;
/// Growth has begun when this share of it is there.
const BEGUN: f64 = 0.02;
/// What is live strays from its mean by at most as many times its typical change.
const NOISE: f64 = 10.0;

/// A verdict and what it rests on.
#[derive(Clone, Debug, PartialEq)]
pub struct Judgement {
    /// What the series does.
    pub verdict: Verdict,
    /// Bytes per unit of time; for leaks.
    pub rate: Option<Estimate>,
    /// The first window after warm-up.
    pub warm_up: usize,
    /// How many windows the rate rests on.
    pub windows: usize,
}

impl Judgement {
    /// The window from which on what was allocated is typical of the growth. A rate that holds from the first request on
    /// is no reason to count what the first requests alone leave: graphs that are traced once, caches that are filled.
    pub fn typical_from(&self) -> usize {
        self.warm_up + self.windows / 3
    }
}

/// Time, as the windows see it.
#[derive(Clone, Debug)]
pub struct Axis {
    /// What passed in each window: requests or seconds. Rates are per this.
    pub units: Vec<f64>,
}

impl Axis {
    /// Whether a leak could be seen: if there are fewer requests than windows, those without one say nothing.
    pub fn is_long_enough(&self) -> bool {
        self.units.iter().filter(|units| **units > 0.0).count() >= FEWEST_WINDOWS
    }

    /// The same from a window on.
    pub fn since(&self, window: usize) -> Self {
        Self { units: self.units.get(window..).unwrap_or_default().to_vec() }
    }
}

/// Judges one series.
pub fn judge(series: &Series, axis: &Axis) -> Judgement {
    if series.held() < LEAST_BYTES && peak(&series.live) < LEAST_BYTES {
        return Judgement { verdict: Verdict::Steady, rate: None, warm_up: 0, windows: 0 };
    }
    // A list that grows is one block, always the youngest: only its size tells.
    let last = series.live.last().copied().unwrap_or(0.0);
    let one_block = series.kept_blocks.iter().sum::<f64>() < LEAST_BLOCKS
        && series.held() >= IS_THERE * (last - series.before).max(LEAST_BYTES);
    let judgement = judge_as(series, axis, one_block);
    // Of a queue that becomes longer only what is young is kept, too: its size tells, if it is not that of a few blocks.
    let as_one = || Some(judge_as(series, axis, true)).filter(|it| it.verdict == Verdict::Leak);
    let may_be_queue = !one_block && !grows_in_jumps(&series.live);
    match judgement.verdict {
        Verdict::Undecided if may_be_queue => as_one().unwrap_or(judgement),
        _ => judgement,
    }
}

/// Whether a single step is a tenth of what is live more at the end than at the beginning.
fn grows_in_jumps(live: &[f64]) -> bool {
    let ends = live.first().zip(live.last());
    let grown = ends.map_or(0.0, |(first, last)| last - first);
    let steps = differences(&without_spikes(live));
    peak(&steps) > LARGE_STEP * grown
}

/// The same, by what was kept in each window or, of `one_block`, by what is live.
fn judge_as(series: &Series, axis: &Axis, one_block: bool) -> Judgement {
    let windows = series.kept.len();
    let not_leaking = |verdict, warm_up| Judgement { verdict, rate: None, warm_up, windows: 0 };
    let smooth;
    let (series, steps) = if one_block {
        smooth = Series { live: without_spikes(&series.live), ..series.clone() };
        let first = smooth.live.first().map(|first| first - series.before);
        (&smooth, first.into_iter().chain(differences(&smooth.live)).collect())
    } else {
        (series, series.kept.clone())
    };
    // What is young is left out, as little as possible. The earliest begin from which on the rate is
    // steady; if there is none, one from which on it rises.
    let views = YOUNG.map(|young| {
        let young = ((windows as f64 * young) as usize).clamp(1, windows.max(1));
        View { series, axis, steps: &steps, end: windows - young, one_block }
    });
    let last = views.len() - 1;
    let is_old =
        |at: usize| one_block || at == last || survivors(series, views[at].end) <= SURVIVORS;
    let usable = (0..views.len()).filter(|at| is_old(*at)).map(|at| &views[at]);
    let usable: Vec<&View<'_>> = usable.collect();
    for allow_rising in [false, true] {
        for view in &usable {
            for start in warm_ups(windows) {
                if let Some(rate) = view.leaks_from(start, allow_rising) {
                    return Judgement {
                        verdict: Verdict::Leak,
                        rate: Some(rate),
                        warm_up: start,
                        windows: view.end - start,
                    };
                }
            }
        }
    }
    let [view, ..] = &views;
    let slowing = warm_ups(windows).any(|start| view.slows_down_from(start));
    let verdict = without_leak(series, view.end, slowing);
    // Nobody can know yet whether what grew lately was taken once.
    let grew: f64 = series.kept[windows / 3..].iter().sum();
    match verdict {
        Verdict::WarmUp | Verdict::CacheFilling
            if !axis.is_long_enough() && grew >= LEAST_BYTES =>
        {
            not_leaking(Verdict::Undecided, 0)
        }
        verdict => not_leaking(verdict, 0),
    }
}

/// A series while it is judged.
struct View<'a> {
    series: &'a Series,
    axis: &'a Axis,
    /// Growth in each window.
    steps: &'a [f64],
    /// The first window that is too young to count.
    end: usize,
    one_block: bool,
}

impl View<'_> {
    fn trend(&self, start: usize) -> Trend {
        let range = start..self.end;
        Trend::of(&self.steps[range.clone()], &self.axis.units[range])
    }

    fn slows_down_from(&self, start: usize) -> bool {
        let trend = self.trend(start);
        trend.is_spread && trend.slows_down()
    }

    /// As above, with less certainty: what slowed down so far is no trend to go on.
    fn slowed_down_since(&self, start: usize) -> bool {
        let trend = self.trend(start);
        trend.seems_to_slow_down()
    }

    /// The rate at which it leaks, if it does so from a window on.
    fn leaks_from(&self, start: usize, allow_rising: bool) -> Option<Estimate> {
        let part = self.steps.get(start..self.end)?;
        let trend = self.trend(start);
        let is_steady = match allow_rising {
            true => !trend.slows_down(),
            false => trend.is_steady(),
        };
        if !(trend.is_spread && is_steady)
            || part.iter().sum::<f64>() < LEAST_BYTES
            || (!self.ends_abruptly_at(start)
                && (self.slowed_down_since(start - start.min(self.steps.len() / 3))
                    || self.may_slow_down_on(start)))
            || self.slowed_down_since_growth_began(start)
            || self.falls_back(start)
            || self.has_stopped(start)
            || self.begins_with_a_jump(start)
        {
            return None;
        }
        rate(part, &self.axis.units[start..self.end]).filter(|rate| rate.low > 0.0)
    }

    /// Whether growth slowed down before, and it cannot be told that it no longer does: what fills towards a
    /// bound would slow down on at the same pace.
    fn may_slow_down_on(&self, start: usize) -> bool {
        let len = self.end - start;
        let before = start - start.min(len)..start;
        let middle = start + len / 2;
        let [earlier, first, second] =
            [before.clone(), start..middle, middle..self.end].map(|part| self.speed(part));
        let now = self.speed(start..self.end);
        let doubt = DOUBT * earlier.1.hypot(now.1);
        if before.is_empty() || now.0 >= SLOWER * earlier.0 || now.0 + doubt >= earlier.0 {
            return false;
        }
        let pace = (now.0 / earlier.0).powf(len as f64 / (before.len() + len) as f64);
        let ratio = second.0 / first.0;
        let error = ratio * ((first.1 / first.0).powi(2) + (second.1 / second.0).powi(2)).sqrt();
        // What is not a number is not told either.
        ratio.is_nan() || error.is_nan() || ratio - DOUBT * error <= pace
    }

    /// Bytes per unit in a range, and their standard error.
    fn speed(&self, range: Range<usize>) -> (f64, f64) {
        let passed = self.axis.units[range.clone()].iter().sum::<f64>().max(f64::MIN_POSITIVE);
        let steps = &self.steps[range];
        let sum: f64 = steps.iter().sum();
        let mean = sum / steps.len().max(1) as f64;
        let squares: f64 = steps.iter().map(|step| (step - mean).powi(2)).sum();
        (sum / passed, squares.sqrt() / passed)
    }

    /// Whether growth slowed down since it began, which may be later than the time looked at: the one must
    /// not make up for the other.
    fn slowed_down_since_growth_began(&self, start: usize) -> bool {
        let steps = &self.steps[start..self.end];
        let sum: f64 = steps.iter().sum();
        let mut so_far = 0.0;
        let before = steps.iter().take_while(|step| {
            so_far += *step;
            so_far < BEGUN * sum
        });
        // The window in which it began would always be a high one.
        self.trend((start + before.count() + 1).min(self.end)).slows_down()
    }

    /// Whether what is live does not grow although things are kept: a cache that turns over, or teeth of
    /// a saw of which the last is long.
    fn falls_back(&self, start: usize) -> bool {
        // What is full half way has grown as a whole. There not to the very end: what a program does when its requests are
        // over is none of them.
        let middle = start + (self.end - start) / 2;
        if self.turns_over(start, self.series.live.len(), 0.0)
            || self.turns_over(middle, self.end, self.largest_fall(middle))
        {
            return true;
        }
        let series = self.series;
        let live = &series.live[start..];
        let kept: f64 = series.kept[start..self.end].iter().sum();
        // Teeth: what was released shortly before the growth began may well be released again.
        let mut so_far = 0.0;
        let begins = series.kept[start..].iter().take_while(|kept| {
            so_far += *kept;
            so_far < 0.05 * series.held()
        });
        let begin = start + begins.count();
        let earlier = &series.live[..(begin + live.len() / 10).min(series.live.len())];
        let (fall, at) = deepest_fall(earlier);
        fall > 0.5 * kept + NOISE * typical_change(live) && series.live.len() - at < 2 * at
    }

    /// The most that was given back within a window, from one on.
    fn largest_fall(&self, start: usize) -> f64 {
        let steps = differences(&without_spikes(&self.series.live[start..self.end]));
        steps.into_iter().fold(0.0, |largest: f64, step| largest.max(-step))
    }

    /// Whether what is live grows from one window to another by less than half of what is kept, and not because of what
    /// comes and goes, nor because so much was given back at once.
    fn turns_over(&self, start: usize, end: usize, given_back: f64) -> bool {
        let series = self.series;
        let live = &series.live[start..end];
        let kept: f64 = series.kept[start..self.end].iter().sum();
        let first = if start == 0 { series.before } else { series.live[start - 1] };
        let grown = live.last().copied().unwrap_or(0.0) - first + given_back;
        !self.one_block && grown < 0.5 * kept && kept - grown > NOISE * typical_change(live)
    }

    /// Whether the first moment has far more than its share: what a first request leaves behind.
    fn begins_with_a_jump(&self, start: usize) -> bool {
        let first = start..(start + (self.steps.len() / 40).max(1)).min(self.end);
        let rest = first.end..self.end;
        let sum =
            |values: &[f64], range: &Range<usize>| -> f64 { values[range.clone()].iter().sum() };
        let passed = |range: &Range<usize>| sum(&self.axis.units, range).max(f64::MIN_POSITIVE);
        let (jump, after) = (sum(self.steps, &first), sum(self.steps, &rest));
        jump > ABRUPT * after / passed(&rest) * passed(&first) && jump > JUMP * after
    }

    /// Whether too little was kept lately: what leaks does so to the end, whether it is young or not.
    fn has_stopped(&self, start: usize) -> bool {
        let series = self.series;
        if self.one_block {
            // What doubles its room rests for half of the time.
            return false;
        }
        let late = series.kept.len() - (series.kept.len() / 10).max(1)..series.kept.len();
        let earlier = start..late.start;
        let sum = |values: &[f64], range: &Range<usize>| values[range.clone()].iter().sum::<f64>();
        let passed = &self.axis.units;
        let share = sum(passed, &late) / sum(passed, &earlier).max(f64::MIN_POSITIVE);
        let blocks = sum(&series.kept_blocks, &earlier) * share;
        let bytes = sum(&series.kept, &earlier) * share;
        (blocks > LEAST_BLOCKS && sum(&series.kept, &late) < STOPPED * bytes)
            || self.misses_steps(start)
    }

    /// Whether growth comes in steps, of which there were too few lately: of large blocks, a dozen may be all.
    fn misses_steps(&self, start: usize) -> bool {
        let kept = &self.series.kept[start..];
        let units = &self.axis.units[start..];
        let grown = kept.iter().filter(|kept| **kept > 0.0).count().max(1) as f64;
        let least = LEAST_STEP * kept.iter().sum::<f64>() / grown;
        let is_step = |kept: &f64| *kept > 0.0 && *kept >= least;
        let Some(last) = kept.iter().rposition(is_step) else { return false };
        let steps = kept.iter().filter(|kept| is_step(kept)).count() as f64;
        let (until, since) = units.split_at(last + 1);
        let [passed, missed] = [until, since].map(|units| units.iter().sum::<f64>());
        // Of many small ones the last tenth says it, above.
        steps <= FEW_STEPS
            && missed > (passed + missed) / 10.0
            && steps * missed > MISSING_STEPS * passed
    }

    /// Whether growth was much faster just before: a start-up, and not a cache that fills slower and
    /// slower.
    fn ends_abruptly_at(&self, start: usize) -> bool {
        let before = (start - start.min((self.steps.len() / 20).max(1)))..start;
        let speed = |range: Range<usize>| {
            let passed: f64 = self.axis.units[range.clone()].iter().sum();
            self.steps[range].iter().sum::<f64>() / passed.max(f64::MIN_POSITIVE)
        };
        let after = start..(start + self.steps.len() / 10).min(self.end);
        !before.is_empty() && speed(before) > ABRUPT * speed(after)
    }
}

/// Which share of what was kept before a window will still be freed, as far as can be told.
///
/// What is live at a moment and not kept to the end is passing. Its level is the same until shortly before the
/// end, and then falls to 0, because what lives then counts as kept: how long it takes to fall is how long such
/// memory lives. Lives are taken to be exponential.
fn survivors(series: &Series, end: usize) -> f64 {
    let mut kept = series.before;
    let passing = series.live.iter().zip(&series.kept).map(|(live, new)| {
        kept += new;
        (live - kept).max(0.0)
    });
    let passing: Vec<f64> = passing.collect();
    let (before, young) = passing.split_at(passing.len() / 2);
    let mut sorted = before.to_vec();
    sorted.sort_by(f64::total_cmp);
    let level = sorted.get(sorted.len() / 2).copied().unwrap_or(0.0);
    let all: f64 = series.kept[..end].iter().sum();
    if level <= 0.0 || all <= 0.0 {
        return 0.0;
    }
    let life: f64 = young.iter().map(|passing| (1.0 - passing / level).max(0.0)).sum();
    let age = (series.kept.len() - end) as f64;
    level * (-age / life.max(f64::MIN_POSITIVE)).exp() / all
}

/// Where warm-up may end: at the first of these from which on the trend is steady.
fn warm_ups(windows: usize) -> impl Iterator<Item = usize> {
    let last = (windows as f64 * LONGEST_WARM_UP) as usize;
    (0..=last).step_by((windows / 40).max(1))
}

fn without_leak(series: &Series, end: usize, slowing: bool) -> Verdict {
    let live = &series.live;
    let (highest, held) = (peak(live), series.held());
    if deepest_fall(live).0 > (0.3 * highest).max(LEAST_BYTES) {
        return Verdict::Sawtooth;
    }
    let since =
        |share: f64| series.kept[(live.len() as f64 * share) as usize..end].iter().sum::<f64>();
    if slowing && since(0.5) > (0.05 * held).max(LEAST_BYTES) {
        return Verdict::CacheFilling;
    }
    let grew_lately = highest - peak(&live[..live.len() * 2 / 3]);
    let goes_on = since(0.85) > GOES_ON * since(0.66);
    if goes_on && since(0.66) > (0.2 * held).max(8.0 * LEAST_BYTES) && grew_lately > 0.1 * held {
        return Verdict::Undecided;
    }
    if held > LEAST_BYTES { Verdict::WarmUp } else { Verdict::Steady }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn growth_in_jumps_is_told_from_growth_in_many_steps() {
        let even: Vec<f64> = (0..100).map(|at| f64::from(at) * 10.0).collect();
        assert!(!grows_in_jumps(&even));
        let jumps: Vec<f64> = (0..100).map(|at| f64::from(at / 25) * 250.0).collect();
        assert!(grows_in_jumps(&jumps));
        assert!(grows_in_jumps(&[10.0, 60.0, 20.0, 10.0]), "it does not grow");
        assert!(!grows_in_jumps(&[]));
    }
}
