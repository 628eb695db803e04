//! When requests were: as those call stacks show that were reached once for each.

use std::collections::BTreeSet;

use tftrace_format::StackId;

use super::requests::{Calls, MOST_TIMES};
use crate::time_line::TimeLine;

/// When something was is known if this share of it was: of most temporaries it is not.
const PART: f64 = 0.5;
/// A call stack that is reached once for each request differs from their number by less than this share.
const CLOCK_TOLERANCE: f64 = 0.01;
/// What fades had less than this share of itself in the second half of all requests. Of twenty that are spread at
/// random so few are there less than once in a hundred times.
const FADING: f64 = 0.25;

/// How many calls were in each window, of what was called this often; of the trace's call stacks these tell,
/// wherever they are. All zeros: none does.
pub(super) fn windows_of<'c>(
    number: u64,
    calls: impl Iterator<Item = &'c Calls>,
    line: &TimeLine,
    start_up: usize,
) -> Vec<f64> {
    let mut windows = vec![0.0; line.len()];
    let requests = number as f64;
    let is_near = |number: u64| (number as f64 - requests).abs() <= CLOCK_TOLERANCE * requests;
    let all: Vec<&Calls> = calls.collect();
    let those = |are_clocks: &dyn Fn(&Calls) -> bool| -> BTreeSet<Option<StackId>> {
        all.iter().filter(|calls| are_clocks(calls)).map(|calls| calls.stack).collect()
    };
    // One recorded block for each request says it to the call, first where it is all that the stack allocates, and then
    // where it is one of a few. Of what allocates at every turn as many may have been recorded by chance. Where only a part
    // was recorded, that may be another part at another time; and temporaries say it more or less.
    let is_of_few = |number: u64| {
        let times = (number as f64 / requests).round();
        let off = (number as f64 - times * requests).abs();
        times <= MOST_TIMES && off <= CLOCK_TOLERANCE * times * requests
    };
    let is_part = |of: u64| of as f64 >= PART * requests;
    let kinds: [&dyn Fn(&Calls) -> bool; 5] = [
        &|calls| is_near(calls.number) && is_near(calls.events),
        &|calls| is_near(calls.events) && is_of_few(calls.number),
        &|calls| is_near(calls.events),
        &|calls| is_near(calls.number) && is_part(calls.timed) && is_part(calls.events),
        &|calls| is_near(calls.number) && is_part(calls.timed),
    ];
    let mut found = kinds.into_iter().map(those).enumerate();
    let Some((kind, clocks)) = found.find(|(_, clocks)| !clocks.is_empty()) else { return windows };
    let events = line.stacks().filter(|of| clocks.contains(&of.stack));
    let events = events.flat_map(|of| line.calls(of).map(|(at, calls)| (at, u64::from(calls))));
    let are_recorded = kind < 3;
    let counted = clocks.iter().flatten().filter(|_| !are_recorded);
    let folded = counted.flat_map(|stack| line.temporaries(*stack));
    for (window, calls) in events.chain(folded).filter(|(window, _)| *window >= start_up) {
        if let Some(sum) = windows.get_mut(window) {
            *sum += calls as f64;
        }
    }
    windows
}

/// Whether something becomes rarer and rarer among requests, as the filling of a cache does.
pub(super) fn fades(some: &[f64], every: &[f64]) -> bool {
    let [all, of_every] = [some, every].map(|windows| windows.iter().sum::<f64>());
    let mut passed = 0.0;
    let mut late = 0.0;
    for (some, every) in some.iter().zip(every) {
        // Of the window that the middle is in its part.
        let after = (passed + every - of_every / 2.0).clamp(0.0, *every);
        late += if *every > 0.0 {
            some * after / every
        } else if passed > of_every / 2.0 {
            *some
        } else {
            0.0
        };
        passed += every;
    }
    all > 0.0 && of_every > 0.0 && late < FADING * all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_done_once_for_each_key_fades_and_what_goes_on_does_not() {
        let every = [10.0; 20];
        let misses: Vec<f64> = (0..20).map(|at| 8.0 * 0.8_f64.powi(at)).collect();
        assert!(fades(&misses, &every));
        assert!(!fades(&[1.0; 20], &every));
        assert!(!fades(&every, &misses));
        let every_tenth: Vec<f64> = (0..20).map(|at| f64::from(u8::from(at % 10 == 3))).collect();
        assert!(!fades(&every_tenth, &every));
        // Requests that come later count more: as many of each are in the second half of them.
        let rising: Vec<f64> = (0..20).map(f64::from).collect();
        assert!(!fades(&rising, &rising));
        assert!(!fades(&[0.0; 20], &every));
        assert!(!fades(&misses, &[0.0; 20]));
    }
}
