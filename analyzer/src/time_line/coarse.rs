//! Which windows are joined, so that there are enough of them to judge and not too many.

/// Windows of start-up, at most, once it is known how long that took.
const MOST_BEFORE: usize = 100;
/// Windows after start-up, at most.
const MOST_AFTER: usize = 256;
/// A service stands idle for most of the time if at most this share of them has requests,
const IDLE: f64 = 0.5;
/// and it has as many as this: of fewer each may have its window.
const FEWEST_OF_IDLE: f64 = 128.0;

/// The number that each window has when they are joined: equal parts of the windows before start-up is over, and after it.
///
/// Of a service that stands idle for most of the time, the minutes with requests would be a few windows. There half of what
/// makes a new window is time, and half of it requests.
pub(super) fn coarse_numbers(seconds: &[f64], start_up: usize, requests: &[f64]) -> Vec<u16> {
    let windows = seconds.len();
    let chunk = |windows: usize, most: usize| windows.div_ceil(most).max(1);
    let (before, after) = (chunk(start_up, MOST_BEFORE), chunk(windows - start_up, MOST_AFTER));
    let first = start_up.div_ceil(before);
    let number = |window: usize| match window < start_up {
        true => window / before,
        false => first + (window - start_up) / after,
    };
    let numbers: Vec<u16> = (0..windows).map(|window| number(window) as u16).collect();
    let before =
        |of: &[f64], window: usize| window.checked_sub(1).and_then(|at| of.get(at)).copied();
    let until = |window: usize| before(requests, window);
    let so_far = until(start_up).unwrap_or(0.0);
    let all = until(windows).unwrap_or(0.0) - so_far;
    let has_any = |window: &usize| until(window + 1) > until(*window).or(Some(0.0));
    let mut busy: Vec<u16> =
        (start_up..windows).filter(has_any).map(|window| numbers[window]).collect();
    busy.dedup();
    let joined = numbers.last().map_or(0, |last| usize::from(*last) + 1) - first;
    if all < FEWEST_OF_IDLE || busy.len() as f64 > IDLE * joined as f64 {
        return numbers;
    }
    let most = (windows - start_up).min(MOST_AFTER) as f64;
    let passed = |window: usize| before(seconds, window).unwrap_or(0.0);
    let whole = passed(windows) - passed(start_up);
    let part = |window: usize| {
        let time = (passed(window) - passed(start_up)) / whole;
        let requests = (until(window).unwrap_or(0.0) - so_far) / all;
        ((time + requests) / 2.0 * most) as usize
    };
    let mut numbers = numbers[..start_up].to_vec();
    let mut number = first;
    for window in start_up..windows {
        // No number is left out, however many requests come at once.
        if window > start_up && part(window) != part(window - 1) {
            number += 1;
        }
        numbers.push(number as u16);
    }
    numbers
}

#[cfg(test)]
mod tests {
    use super::*;

    fn count_in(numbers: &[u16], windows: std::ops::Range<usize>) -> usize {
        let own = &numbers[windows];
        usize::from(own[own.len() - 1] - own[0]) + 1
    }

    fn seconds(windows: usize) -> Vec<f64> {
        (1..=windows).map(|window| window as f64 / 8.0).collect()
    }

    #[test]
    fn windows_are_joined_to_as_many_as_can_be_judged() {
        let numbers = coarse_numbers(&seconds(4000), 400, &[]);
        assert_eq!(count_in(&numbers, 0..400), MOST_BEFORE);
        assert_eq!(count_in(&numbers, 400..4000), 3600 / 15);
        assert_eq!(coarse_numbers(&seconds(100), 0, &[]), (0..100).collect::<Vec<u16>>());
        assert_eq!(coarse_numbers(&seconds(3), 3, &[]), [0, 1, 2]);
        // Requests that come all the time, or few of them, change nothing.
        let steady: Vec<f64> = (0..4000).map(f64::from).collect();
        assert_eq!(coarse_numbers(&seconds(4000), 400, &steady), numbers);
        let few: Vec<f64> = (0..4000).map(|window| f64::from(window / 200)).collect();
        assert_eq!(coarse_numbers(&seconds(4000), 400, &few), numbers);
    }

    #[test]
    fn half_of_the_windows_are_where_the_requests_are() {
        // A thousand requests in a tenth of the time, and nothing before and after that.
        let until = |window: usize| (window.clamp(2000, 2400) - 2000) as f64 * 2.5;
        let requests: Vec<f64> = (0..4000).map(until).collect();
        let numbers = coarse_numbers(&seconds(4000), 0, &requests);
        assert!(numbers.windows(2).all(|pair| pair[1] - pair[0] <= 1), "no number is left out");
        assert!(count_in(&numbers, 2000..2400) >= MOST_AFTER / 2);
        assert!(count_in(&numbers, 2400..4000) >= MOST_AFTER / 6, "what happens later is seen");
    }

    #[test]
    fn the_other_half_of_the_windows_are_equal_parts_of_the_time_and_not_of_the_windows() {
        // The later windows are a hundred times as long, and all requests are in the first ones.
        let seconds: Vec<f64> = (1..=4000)
            .map(|window| if window <= 2000 { window } else { 2000 + (window - 2000) * 100 })
            .map(f64::from)
            .collect();
        let requests: Vec<f64> = (1..=4000).map(|window| f64::from(window.min(100) * 10)).collect();
        let numbers = coarse_numbers(&seconds, 0, &requests);
        let (early, late) = (count_in(&numbers, 200..2000), count_in(&numbers, 2000..4000));
        assert!(late > 20 * early, "{early} and {late}");
    }

    #[test]
    fn requests_at_once_leave_no_number_out() {
        let requests: Vec<f64> =
            (0..4000).map(|window| f64::from(u8::from(window >= 100)) * 1e6).collect();
        let numbers = coarse_numbers(&seconds(4000), 50, &requests);
        assert!(numbers.windows(2).all(|pair| pair[1] - pair[0] <= 1));
    }
}
