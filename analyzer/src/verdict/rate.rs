//! Bytes per request or second, from growth in windows.

use super::drift::drift;
use crate::model::Estimate;

/// Bytes per unit.
pub(super) fn rate(steps: &[f64], units: &[f64]) -> Option<Estimate> {
    let passed: f64 = units.iter().sum();
    if passed <= 0.0 {
        return None;
    }
    let per_window = passed / units.len() as f64;
    let drift = drift(&evenly(steps, units))?;
    let [estimate, low, high] =
        [drift.estimate, drift.low, drift.high].map(|bytes| bytes / per_window);
    Some(Estimate { estimate, low, high })
}

/// The same growth in as many steps of which each takes the same number of units: a window with twice the requests
/// grows twice as much.
fn evenly(steps: &[f64], units: &[f64]) -> Vec<f64> {
    let width = units.iter().sum::<f64>() / units.len() as f64;
    let mut even = vec![0.0; steps.len()];
    let mut at = 0.0;
    for (step, units) in steps.iter().zip(units) {
        let (begin, end) = (at / width, (at + units) / width);
        at += units;
        let last = even.len() - 1;
        if *units <= 0.0 {
            even[(begin as usize).min(last)] += step;
            continue;
        }
        let mut from = begin;
        while from < end {
            let bin = (from as usize).min(last);
            let to = if bin == last { end } else { end.min(bin as f64 + 1.0) };
            even[bin] += step * (to - from) / (end - begin);
            from = to;
        }
    }
    even
}
