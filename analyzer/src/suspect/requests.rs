//! Counts requests where the program does not mark them: calls of the line that repeats.
//!
//! A service does the same for each request. Most call stacks that end in the line that serves one are
//! reached once for each: how often the line ran is the number that they agree on. Of all lines the
//! one counts that ran often and does much.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use tftrace_format::StackId;
use tftrace_format::reader::Trace;

use super::path::{PathId, Paths, Step};
use super::request_clock::{fades, windows_of};
use super::start_up::Imports;
use super::wanted::Wanted;
use crate::symbol::Symbols;
use crate::time_line::{Requests, TimeLine};

/// Fewer repetitions are no requests.
const FEWEST_REQUESTS: u64 = 20;
/// So many call stacks must agree.
const FEWEST_STACKS: usize = 3;
/// Two numbers agree if they differ by no more than this share: the last request may be under way, and
/// the first ones are different.
const TOLERANCE: f64 = 0.02;
/// This share of those that agree most are many.
const MANY: f64 = 0.2;
/// More often than this nothing is done for one call: any number would go into it, nearly.
pub(super) const MOST_TIMES: f64 = 16.0;
/// Over this share of the time after start-up a line must repeat.
const SPREAD: f64 = 0.1;
/// And still in this last share of it: what was repeated earlier is the making of something.
const RECENTLY: f64 = 0.2;

/// Of growth at least this share of what was allocated is kept.
const KEPT: f64 = 0.5;
/// A line that calls the one that ran most often, and ran itself at least once for so many times of
/// that, is what repeats; it did not merely say how far it had come.
const MOST_INNER: u64 = 32;

/// A call stack through the user's code, and how often it allocated after start-up.
#[derive(Clone, Copy, Debug)]
pub(super) struct Calls {
    pub(super) stack: Option<StackId>,
    path: PathId,
    pub(super) number: u64,
    /// Those that were recorded as events.
    pub(super) events: u64,
    /// Those of which it is known when they were, more or less.
    pub(super) timed: u64,
    /// The first and the last window of these.
    first: usize,
    last: usize,
    /// Whether it is growth: that must not be measured by itself.
    is_kept: bool,
}

/// A line that ran again and again.
#[derive(Clone, Copy, Debug)]
struct Repeated {
    at: PathId,
    weight: f64,
    number: u64,
    /// The larger number that fewer of its stacks agree on, and its weight: of those the one that weighs most.
    larger: Option<(f64, u64)>,
}

/// Requests after start-up, if a line repeats, or the function that is wanted.
pub fn count_requests(
    trace: &Trace<'_>,
    symbols: &Symbols,
    line: &TimeLine,
    start_up: usize,
    wanted: Option<&Wanted>,
) -> Option<Requests> {
    let mut paths = Paths::new(trace, symbols);
    let lines = lines(trace, symbols, &mut paths, line, start_up, wanted);
    let repeated: Vec<Repeated> = lines
        .iter()
        .filter_map(|(&at, stacks)| {
            let come_and_go = stacks.iter().filter(|calls| !calls.is_kept);
            let groups = groups(come_and_go.map(|calls| calls.number).collect());
            let (weight, number) = agreed(&groups)?;
            Some(Repeated { at, weight, number, larger: larger(&groups, number) })
        })
        .collect();
    let mut found = outermost(&paths, &lines, &repeated)?;
    let when =
        |found: &Repeated| windows_of(found.number, lines.values().flatten(), line, start_up);
    let mut windows = when(&found);
    for every in larger_than(&found, &paths, &lines, &repeated) {
        let of_every = when(&every);
        if fades(&windows, &of_every) {
            (found, windows) = (every, of_every);
            break;
        }
    }
    let Repeated { at, number, .. } = found;
    let Some(Step::Line(place)) = paths.step(at) else { return None };
    let source = wanted.map_or_else(
        || {
            let location = place.location.as_deref().unwrap_or("[unknown]");
            format!("calls of the line {location} ({})", place.function)
        },
        Wanted::counted,
    );
    // Without any requests are taken to be spread evenly from the first to the last.
    if windows.iter().sum::<f64>() == 0.0 {
        let own = lines.get(&at)?;
        let first = own.iter().map(|calls| calls.first).min()?;
        let last = own.iter().map(|calls| calls.last).max()?;
        let mut before = first.checked_sub(1).map_or(0.0, |last| line.seconds[last]);
        let ends = line.seconds.iter().take(last + 1).skip(first);
        for (window, end) in windows.iter_mut().skip(first).zip(ends) {
            *window = end - before;
            before = *end;
        }
    }
    let all: f64 = windows.iter().sum();
    let mut so_far = 0.0;
    let until = windows.iter().map(|calls| {
        so_far += calls;
        so_far / all * number as f64
    });
    (all > 0.0).then(|| Requests { until: until.collect(), source })
}

/// The line that does most, or the outermost one on the way to it that repeats as well.
fn outermost(
    paths: &Paths<'_>,
    lines: &BTreeMap<PathId, Vec<Calls>>,
    repeated: &[Repeated],
) -> Option<Repeated> {
    let best = *repeated.iter().max_by(|a, b| a.weight.total_cmp(&b.weight))?;
    let mut path = lines.get(&best.at)?.iter().max_by_key(|calls| calls.number)?.path;
    let mut found = best;
    while path != 0 {
        path = paths.parent(path);
        let callers = repeated.iter().filter(|caller| {
            caller.number < found.number
                && caller.number >= best.number / MOST_INNER
                && paths.are_in_one_function(caller.at, path)
        });
        if let Some(caller) = callers.max_by(|a, b| a.weight.total_cmp(&b.weight)) {
            found = *caller;
        }
    }
    Some(found)
}

/// What may be all requests, if the line that was found does only what some of them need, such as what is cached then:
/// it has many call stacks, which outweigh those of all. What weighs most comes first.
fn larger_than(
    found: &Repeated,
    paths: &Paths<'_>,
    lines: &BTreeMap<PathId, Vec<Calls>>,
    repeated: &[Repeated],
) -> Vec<Repeated> {
    let own = found.larger.map(|(weight, number)| Repeated { weight, number, ..*found });
    let mut way = Vec::new();
    let mut path = lines
        .get(&found.at)
        .and_then(|calls| calls.iter().max_by_key(|calls| calls.number))
        .map_or(0, |calls| calls.path);
    while path != 0 {
        way.push(path);
        path = paths.parent(path);
    }
    let is_around = |it: &&Repeated| {
        it.number > found.number && way.iter().any(|path| paths.are_in_one_function(it.at, *path))
    };
    let mut larger: Vec<_> =
        own.into_iter().chain(repeated.iter().filter(is_around).copied()).collect();
    larger.sort_by(|a, b| b.weight.total_cmp(&a.weight));
    larger
}

/// The call stacks of each of the user's lines that allocated again and again.
fn lines(
    trace: &Trace<'_>,
    symbols: &Symbols,
    paths: &mut Paths<'_>,
    line: &TimeLine,
    start_up: usize,
    wanted: Option<&Wanted>,
) -> BTreeMap<PathId, Vec<Calls>> {
    // A function has many lines: the first one seen stands for all.
    let mut named = None;
    let mut imports = Imports::new(trace, symbols);
    let mut lines: BTreeMap<PathId, Vec<Calls>> = BTreeMap::new();
    let after = (line.len() - start_up) as f64;
    let (least_span, recently) =
        ((after * SPREAD) as usize, line.len() - (after * RECENTLY) as usize);
    for (stack, seen) in seen(trace, line, start_up) {
        let Seen { timed, first, last, kept, .. } = seen;
        // A stack of which nobody knows when it was reached is not looked at.
        if timed == 0 || last - first < least_span || last < recently {
            continue;
        }
        let number = seen.temporaries.saturating_add(seen.events);
        if number < FEWEST_REQUESTS || stack.is_some_and(|stack| imports.has(stack)) {
            continue;
        }
        let path = paths.of(stack, false);
        let at = match wanted {
            None => paths.is_theirs(path).then(|| paths.line(path)),
            Some(wanted) => wanted
                .on_the_way(paths, path)
                .map(|at| *named.get_or_insert_with(|| paths.line(at))),
        };
        if let Some(at) = at {
            let is_kept = kept as f64 > KEPT * number as f64;
            let events = seen.events;
            let calls = Calls { stack, path, number, events, timed, first, last, is_kept };
            lines.entry(at).or_default().push(calls);
        }
    }
    lines
}

/// What is known of how often, and when, a call stack allocated.
#[derive(Clone, Copy, Debug)]
struct Seen {
    /// Temporaries that are only counted, in the whole trace.
    temporaries: u64,
    /// Other allocations, after start-up.
    events: u64,
    /// Allocations after start-up of which it is known when they were, more or less; their first and last window.
    timed: u64,
    first: usize,
    last: usize,
    /// Blocks that are live at the end.
    kept: u64,
}

impl Seen {
    const NOTHING: Self =
        Self { temporaries: 0, events: 0, timed: 0, first: usize::MAX, last: 0, kept: 0 };

    fn was(&mut self, window: usize, calls: u64) {
        self.timed = self.timed.saturating_add(calls);
        self.first = self.first.min(window);
        self.last = self.last.max(window);
    }
}

/// All call stacks that allocated after start-up, as far as is known.
fn seen(trace: &Trace<'_>, line: &TimeLine, start_up: usize) -> BTreeMap<Option<StackId>, Seen> {
    let mut seen = BTreeMap::new();
    for memory in line.stacks() {
        let of_stack: &mut Seen = seen.entry(memory.stack).or_insert(Seen::NOTHING);
        of_stack.kept = of_stack.kept.saturating_add(line.held_by(memory).blocks);
        for (window, calls) in line.calls(memory).filter(|at| at.0 >= start_up && at.1 > 0) {
            of_stack.was(window, u64::from(calls));
            of_stack.events = of_stack.events.saturating_add(u64::from(calls));
        }
    }
    for stack in line.stacks_of_temporaries() {
        let mut after = line.temporaries(stack).filter(|at| at.0 >= start_up).peekable();
        if after.peek().is_some() {
            let of_stack = seen.entry(Some(stack)).or_insert(Seen::NOTHING);
            after.for_each(|(window, calls)| of_stack.was(window, calls));
        }
    }
    for entry in trace.totals().flat_map(|page| page.entries) {
        if let Some(of_stack) = seen.get_mut(&entry.key.stack) {
            of_stack.temporaries = of_stack.temporaries.saturating_add(entry.count);
        }
    }
    seen
}

/// How many of these numbers agree, and on which, where enough do.
fn groups(mut counts: Vec<u64>) -> Vec<(usize, u64)> {
    counts.sort_unstable();
    // Stacks that agree, and the middle one of their numbers: those at the edges are off by one or two.
    let mut numbers: Vec<(usize, u64)> = Vec::new();
    let mut end = 0;
    for (begin, &least) in counts.iter().enumerate() {
        let most = (least as f64 * (1.0 + TOLERANCE)) as u64;
        while counts.get(end).is_some_and(|count| *count <= most) {
            end += 1;
        }
        let agree = end - begin;
        if agree >= FEWEST_STACKS {
            numbers.push((agree, counts[begin + agree / 2]));
        }
    }
    numbers
}

fn weight(agree: usize, number: u64) -> f64 {
    agree as f64 * number as f64
}

/// Of the numbers that are larger than this the one that weighs most, and its weight.
fn larger(numbers: &[(usize, u64)], than: u64) -> Option<(f64, u64)> {
    let larger = numbers.iter().filter(|(_, number)| *number > than);
    larger
        .map(|&(agree, number)| (weight(agree, number), number))
        .max_by(|a, b| a.0.total_cmp(&b.0))
}

/// How often a line ran, given how often its call stacks were reached, and how much that weighs.
///
/// The number that most of them agree on; or one that many agree on and that goes into it: what a call
/// does for each of its layers is done several times.
fn agreed(numbers: &[(usize, u64)]) -> Option<(f64, u64)> {
    let best = numbers.iter().copied().max_by_key(|(agree, number)| (*agree, Reverse(*number)))?;
    let (most, number) = best;
    let goes_into = |part: u64| {
        let times = number as f64 / part as f64;
        times < MOST_TIMES && (times - times.round()).abs() <= TOLERANCE * times
    };
    let parts = numbers.iter().filter(|(agree, part)| {
        *agree as f64 >= MANY * most as f64 && *part < number && goes_into(*part)
    });
    let smallest = parts.clone().map(|(_, part)| *part).min().unwrap_or(number);
    // Of the numbers around it, the one that most agree on.
    let is_near = |part: u64| part as f64 <= smallest as f64 * (1.0 + TOLERANCE);
    let part = parts.filter(|(_, part)| is_near(*part)).max_by_key(|(agree, _)| *agree);
    Some((weight(most, number), part.map_or(number, |(_, part)| *part)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_number_that_most_stacks_agree_on_is_how_often_a_line_ran() {
        let number = |counts: &[(u64, usize)]| {
            let counts = counts.iter().flat_map(|(count, times)| vec![*count; *times]);
            agreed(&groups(counts.collect())).map(|(_, number)| number)
        };
        assert_eq!(number(&[(1000, 30), (999, 1), (4000, 2), (250, 1)]), Some(1000));
        assert_eq!(number(&[(300, 90), (150, 20), (70, 30)]), Some(150), "two layers");
        assert_eq!(number(&[(600, 30), (50_000, 9), (1200, 8)]), Some(600), "a loop inside");
        assert_eq!(number(&[(100, 1), (200, 1), (300, 1), (400, 2)]), None);
        assert_eq!(number(&[]), None);
    }
}
