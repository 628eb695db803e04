//! What is live from window to window: peaks, falls and noise.

pub(super) fn peak(live: &[f64]) -> f64 {
    live.iter().copied().fold(0.0, f64::max)
}

/// How much live memory changes from window to window, up or down: the median.
pub(super) fn typical_change(live: &[f64]) -> f64 {
    let mut changes: Vec<f64> = differences(live).iter().map(|change| change.abs()).collect();
    changes.sort_by(f64::total_cmp);
    changes.get(changes.len() / 2).copied().unwrap_or(0.0)
}

/// The most that was given back after a peak, and the window in which the least was left.
pub(super) fn deepest_fall(live: &[f64]) -> (f64, usize) {
    let (mut highest, mut deepest) = (0.0f64, (0.0, 0));
    for (window, &level) in live.iter().enumerate() {
        highest = highest.max(level);
        if highest - level > deepest.0 {
            deepest = (highest - level, window);
        }
    }
    deepest
}

/// Each value, or one of its neighbours if it stands out from both: a window may end while a block is
/// being resized.
pub(super) fn without_spikes(live: &[f64]) -> Vec<f64> {
    let mut smooth = live.to_vec();
    for (at, three) in live.windows(3).enumerate() {
        let [before, value, after] = [three[0], three[1], three[2]];
        smooth[at + 1] = value.clamp(before.min(after), before.max(after));
    }
    smooth
}

pub(super) fn differences(live: &[f64]) -> Vec<f64> {
    live.windows(2).map(|pair| pair[1] - pair[0]).collect()
}
