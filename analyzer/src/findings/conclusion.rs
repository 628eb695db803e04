//! The verdict on the process: one sentence, one number, one action.

use tftrace_format::Domain;
use tftrace_format::reader::Trace;

use super::retention::Retention;
use crate::model::{Estimate, Growth, Suspect, Verdict};
use crate::report::numbers::{bytes, duration};
use crate::suspect::{came_at_once, more};
use crate::time_line::TimeLine;
use crate::verdict::Axis;

/// What to do if there is nothing to do.
const NOTHING: &str = "Nothing to do.";
/// A process that did nothing in more than this share of its time at the end was idle.
const IDLE: f64 = 0.5;

/// What the verdict rests on.
pub(super) struct Facts<'a> {
    pub(super) trace: &'a Trace<'a>,
    pub(super) line: &'a TimeLine,
    /// Time after start-up.
    pub(super) axis: &'a Axis,
    pub(super) suspects: &'a [Suspect],
    pub(super) retention: Option<Retention>,
}

/// The verdict in words.
pub(super) struct Conclusion {
    pub(super) verdict: Verdict,
    pub(super) sentence: String,
    pub(super) action: String,
    pub(super) growth: Growth,
}

/// The memory limit that applies to the process, in bytes.
pub(super) fn limit(trace: &Trace<'_>) -> Option<u64> {
    trace.readings().iter().rev().map(|reading| reading.cgroup_limit).find(|limit| *limit > 0)
}

/// Draws it.
pub(super) fn conclude(facts: &Facts<'_>) -> Conclusion {
    let growth = growth(facts);
    let counted = facts.suspects.iter().filter(|suspect| suspect.suppressed_by.is_none());
    let first = |verdict: Verdict| counted.clone().find(|suspect| suspect.verdict == verdict);
    let (verdict, sentence, action) = if let Some(leak) = first(Verdict::Leak) {
        leaks(leak, &growth)
    } else if let Some(kept) = facts.retention {
        retains(kept, if facts.line.requests.count().is_some() { "request" } else { "second" })
    } else if let Some(suspect) = first(Verdict::Undecided) {
        undecided(facts, Some(suspect))
    } else if !facts.axis.is_long_enough() {
        undecided(facts, None)
    } else if let Some(suspect) = counted
        .clone()
        .filter(|suspect| suspect.verdict == Verdict::CacheFilling)
        .min_by_key(|suspect| is_idle(suspect))
    {
        fills(suspect)
    } else {
        let (verdict, sentence, action) = harmless(&counted.collect::<Vec<_>>());
        (verdict, sentence, action.or_else(|| stood_idle(facts)).unwrap_or(NOTHING.into()))
    };
    Conclusion { verdict, sentence, action, growth }
}

fn leaks(leak: &Suspect, growth: &Growth) -> (Verdict, String, String) {
    let rate = rate_in_words(growth.bytes_per_request, growth.bytes_per_second);
    let sentence = format!("This process leaks {rate}, most of it at {}.", place(leak));
    let action = match leak.patterns.first() {
        Some(pattern) => format!("{} {}", pattern.sentence, pattern.remedy),
        None => format!("Look at what keeps the memory that {} asks for.", place(leak)),
    };
    (Verdict::Leak, sentence, action)
}

/// Whether what grew may be idle in free lists of Python's.
fn is_idle(suspect: &Suspect) -> bool {
    suspect.patterns.iter().any(|pattern| pattern.id == "free-lists-fill")
}

fn fills(suspect: &Suspect) -> (Verdict, String, String) {
    let place = place(suspect);
    let (sentence, action) = match suspect.patterns.first() {
        // It has a bound.
        Some(pattern) if is_idle(suspect) => (
            format!(
                "No leak is seen: what grew at {place} is of the kinds that CPython keeps a number of."
            ),
            format!("{} {}", pattern.sentence, pattern.remedy),
        ),
        _ => (
            format!("Memory grows, but slower and slower: {place} looks like a cache that fills."),
            "Check that this cache has a bound, and trace longer to see it reach it.".into(),
        ),
    };
    (Verdict::CacheFilling, sentence, action)
}

fn retains(kept: Retention, unit: &str) -> (Verdict, String, String) {
    let growing = match (kept.growing, kept.rate) {
        (true, Some(rate)) => format!(
            " Resident memory still grows by {} per {unit}.",
            bytes(rate.estimate.max(0.0) as u64)
        ),
        _ => String::new(),
    };
    let sentence = format!(
        "No leak: what the program uses does not grow, but {} that it freed are kept by allocators.{growing}",
        bytes(kept.free)
    );
    let action = "To give it back: MALLOC_ARENA_MAX=2, malloc_trim(0) now and then, or another allocator \
                  (jemalloc, tcmalloc).";
    (Verdict::Retention, sentence, action.into())
}

fn undecided(facts: &Facts<'_>, suspect: Option<&Suspect>) -> (Verdict, String, String) {
    let needed = suspect.and_then(|suspect| suspect.needed.clone()).unwrap_or_else(|| {
        let requests = facts.line.requests.count();
        let traced =
            requests.map_or(facts.line.seconds.last().copied().unwrap_or(0.0), |n| n as f64);
        more(traced, facts.axis, requests.is_some())
    });
    let sentence = match suspect {
        Some(suspect) => format!(
            "Cannot tell yet: memory grew at {}, but the trace is too short to say whether it goes on.",
            place(suspect)
        ),
        None if facts.line.requests.count().is_some() && came_at_once(facts.axis) => {
            "Cannot tell: the requests came in too small a part of the time that was traced."
                .to_owned()
        }
        None => "Cannot tell: the trace is too short.".to_owned(),
    };
    (Verdict::Undecided, sentence, format!("To decide, {needed}."))
}

/// What to do where nothing leaks because nothing was done: no requests were counted, and for most of the time there were
/// none.
fn stood_idle(facts: &Facts<'_>) -> Option<String> {
    if facts.line.requests.count().is_some() {
        return None;
    }
    let windows = facts.line.len();
    let start_up = windows - facts.axis.units.len();
    let (idle, all) = (facts.line.idle_at_end(start_up), facts.axis.units.iter().sum::<f64>());
    (idle > IDLE * all).then(|| {
        format!(
            "That says little: the process did next to nothing in the last {} of {} after start-up. To see a leak, \
             let it work while it is traced.",
            duration(idle),
            duration(all)
        )
    })
}

fn harmless(suspects: &[&Suspect]) -> (Verdict, String, Option<String>) {
    let most = |verdict: Verdict| {
        let of_it = suspects.iter().filter(|suspect| suspect.verdict == verdict);
        of_it.map(|suspect| suspect.held_bytes).max()
    };
    match (most(Verdict::Sawtooth), most(Verdict::WarmUp)) {
        (Some(_), _) => {
            let tooth = suspects.iter().find(|suspect| suspect.verdict == Verdict::Sawtooth);
            let what =
                tooth.map_or_else(String::new, |suspect| format!(", most at {}", place(suspect)));
            let remedy = tooth
                .and_then(|suspect| suspect.patterns.first())
                .map(|pattern| pattern.remedy.clone());
            let sentence = format!("No leak: memory grows and is released again{what}.");
            (Verdict::Sawtooth, sentence, remedy)
        }
        (None, Some(held)) => {
            let sentence = format!(
                "No leak: memory was taken once, at the beginning ({} at one line), and does not grow since.",
                bytes(held)
            );
            (Verdict::WarmUp, sentence, None)
        }
        (None, None) => (Verdict::Steady, "No leak: memory does not grow.".into(), None),
    }
}

/// All leaks together.
fn growth(facts: &Facts<'_>) -> Growth {
    let leaks = || {
        facts
            .suspects
            .iter()
            .filter(|suspect| suspect.verdict == Verdict::Leak && suspect.suppressed_by.is_none())
    };
    let limit = limit(facts.trace);
    let per_second = sum(leaks().filter_map(|suspect| suspect.bytes_per_second));
    // A device's memory is not the host's, which the limit is for.
    let of_host = leaks().filter(|suspect| suspect.domain != Domain::Cuda.name());
    let towards_limit = sum(of_host.filter_map(|suspect| suspect.bytes_per_second));
    let used = super::reconciliation::last_reading(facts.trace, facts.line)
        .map(|reading| reading.cgroup_current)
        .filter(|used| *used > 0);
    let seconds_to_limit = match (limit, used, towards_limit) {
        (Some(limit), Some(used), Some(rate)) if rate.estimate > 0.0 => {
            Some(limit.saturating_sub(used) as f64 / rate.estimate)
        }
        _ => None,
    };
    Growth {
        bytes_per_request: sum(leaks().filter_map(|suspect| suspect.bytes_per_request)),
        bytes_per_second: per_second,
        windows: leaks().map(|suspect| suspect.windows).max().unwrap_or(0),
        limit,
        seconds_to_limit,
    }
}

/// The sum of independent estimates: their errors add up as squares.
pub(super) fn sum(estimates: impl Iterator<Item = Estimate>) -> Option<Estimate> {
    let mut all = None;
    for one in estimates {
        let (sum, below, above): &mut (f64, f64, f64) = all.get_or_insert((0.0, 0.0, 0.0));
        *sum += one.estimate;
        *below += (one.estimate - one.low).powi(2);
        *above += (one.high - one.estimate).powi(2);
    }
    all.map(|(estimate, below, above)| Estimate {
        estimate,
        low: estimate - below.sqrt(),
        high: estimate + above.sqrt(),
    })
}

/// `33.4 kB per request`, or per second.
pub fn rate_in_words(per_request: Option<Estimate>, per_second: Option<Estimate>) -> String {
    let words = |rate: Estimate, unit: &str| {
        let [estimate, low, high] =
            [rate.estimate, rate.low, rate.high].map(|value| bytes(value.max(0.0) as u64));
        format!("{estimate} per {unit} (95 %: {low} to {high})")
    };
    match (per_request, per_second) {
        (Some(rate), _) => words(rate, "request"),
        (None, Some(rate)) => words(rate, "second"),
        (None, None) => "at a rate that is not known".into(),
    }
}

/// Where a suspect is: `handle at /app/serve.py:42`, or what it is called.
pub fn place(suspect: &Suspect) -> String {
    match &suspect.your_line {
        Some(line) if line.line > 0 => format!("{}:{} ({})", line.file, line.line, line.function),
        Some(line) => format!("{} ({})", line.file, line.function),
        None => suspect.name.clone(),
    }
}

/// How long until the limit is reached, in words.
pub fn until_limit(growth: &Growth) -> Option<String> {
    let (seconds, limit) = (growth.seconds_to_limit?, growth.limit?);
    Some(format!(
        "At this rate the memory limit of {} is reached in {}.",
        bytes(limit),
        duration(seconds)
    ))
}
