//! How the rate of growth develops: steady, slowing down, or only a few steps.

use super::level::peak;

/// Into so many parts the time after warm-up is cut.
const PARTS: usize = 24;
/// A rate that falls by this share from begin to end is slowing down, if that is significant.
const SLOWING: f64 = 0.3;
/// In so many of them something must have been kept: steps are no trend.
pub(super) const LEAST_PARTS: usize = 10;
const SIGNIFICANT: f64 = 2.6;
/// A slope of the rate that is smaller than this many of its standard errors is none.
const STEADY: f64 = 1.5;
/// The quarter with the least growth has at least this share of that with the most.
const EVEN: f64 = 0.15;

/// How what is kept develops, part by part.
pub(super) struct Trend {
    /// In enough parts something was kept, in the first and the last ones too.
    pub(super) is_spread: bool,
    /// The slope of the rate, in its standard errors.
    slope: f64,
    /// By which share of its first value the rate falls.
    falls_by: f64,
}

impl Trend {
    pub(super) fn of(steps: &[f64], units: &[f64]) -> Self {
        let none = Self { is_spread: false, slope: 0.0, falls_by: 0.0 };
        let count = PARTS.min(steps.len() / 2);
        if count < LEAST_PARTS {
            return none;
        }
        let cut = |part: usize| part * steps.len() / count;
        let parts = (0..count).map(|part| cut(part)..cut(part + 1));
        let rates: Vec<f64> = parts
            .filter_map(|part| {
                let passed: f64 = units[part.clone()].iter().sum();
                (passed > 0.0).then(|| steps[part].iter().sum::<f64>() / passed)
            })
            .collect();
        if rates.len() < LEAST_PARTS {
            return none;
        }
        let grows = |rates: &[f64]| rates.iter().filter(|rate| **rate > 0.0).count();
        let third = rates.len() / 3;
        let quarter = |at: usize| {
            let part = at * rates.len() / 4..(at + 1) * rates.len() / 4;
            rates[part.clone()].iter().sum::<f64>() / part.len() as f64
        };
        let quarters = [0, 1, 2, 3].map(quarter);
        let (least, most) = (quarters.into_iter().fold(f64::INFINITY, f64::min), peak(&quarters));
        let is_spread = grows(&rates) >= LEAST_PARTS
            && grows(&rates[..third]) >= 2
            && grows(&rates[rates.len() - third..]) >= 2
            && least > EVEN * most;
        let (slope, falls_by) = slope(&rates);
        Self { is_spread, slope, falls_by }
    }

    /// With less certainty than [`Self::slows_down`].
    pub(super) fn seems_to_slow_down(&self) -> bool {
        self.slope < -STEADY && self.falls_by > SLOWING
    }

    pub(super) fn slows_down(&self) -> bool {
        self.slope < -SIGNIFICANT && self.falls_by > SLOWING
    }

    pub(super) fn is_steady(&self) -> bool {
        self.slope.abs() < STEADY
    }
}

/// Of a straight line through the rates: its slope in standard errors, and by which share it falls.
fn slope(rates: &[f64]) -> (f64, f64) {
    let count = rates.len() as f64;
    let middle = (count - 1.0) / 2.0;
    let mean = rates.iter().sum::<f64>() / count;
    let places = || (0..rates.len()).map(|at| at as f64 - middle);
    let spread: f64 = places().map(|at| at * at).sum();
    let slope = places().zip(rates).map(|(at, rate)| at * (rate - mean)).sum::<f64>() / spread;
    let rest = places().zip(rates).map(|(at, rate)| (rate - mean - slope * at).powi(2));
    let error = (rest.sum::<f64>() / (count - 2.0) / spread).sqrt();
    let first = mean - slope * middle;
    let falls_by = if first > 0.0 { -slope * (count - 1.0) / first } else { 0.0 };
    (if error > 0.0 { slope / error } else { 0.0 }, falls_by)
}
