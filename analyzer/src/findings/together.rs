//! Several processes put together: which of them leak, and how much all of them.

use std::collections::BTreeMap;

use super::conclusion::{place, rate_in_words, sum};
use super::one_clock::OneClock;
use crate::model::{
    Curve, Estimate, Growth, Line, Merged, MergedSuspect, Part, Report, SCHEMA, Suspect, Verdict,
};
use crate::report::numbers::counted;

/// The verdicts, the gravest first: what one process has counts for all.
const GRAVITY: [Verdict; 7] = [
    Verdict::Leak,
    Verdict::Retention,
    Verdict::Undecided,
    Verdict::CacheFilling,
    Verdict::Sawtooth,
    Verdict::WarmUp,
    Verdict::Steady,
];

fn gravity(verdict: Verdict) -> usize {
    GRAVITY.iter().position(|known| *known == verdict).unwrap_or(GRAVITY.len())
}

/// Puts the reports on several processes together.
pub fn together(mut processes: Vec<Report>) -> Merged {
    processes.sort_by_key(|report| (report.process.pid, report.process.started.to_bits()));
    let clock = OneClock::of(&processes);
    let suspects = joined(&processes, &clock);
    let verdict = processes.iter().map(|report| report.verdict).min_by_key(|it| gravity(*it));
    let verdict = verdict.unwrap_or(Verdict::Undecided);
    let growth = growth(&processes);
    let alike: Vec<&Report> = processes.iter().filter(|it| it.verdict == verdict).collect();
    let sentence = sentence(verdict, &alike, processes.len(), &growth, &suspects);
    let action = match verdict {
        Verdict::Leak => suspects.first().map(|suspect| action(&suspect.whole)),
        _ => None,
    };
    let first = alike.first().map_or_else(String::new, |report| report.action.clone());
    Merged {
        schema: SCHEMA,
        verdict,
        sentence,
        action: action.unwrap_or(first),
        time_line: clock.time_line(&processes, growth.limit),
        growth,
        suspects,
        processes,
    }
}

fn sentence(
    verdict: Verdict,
    alike: &[&Report],
    all: usize,
    growth: &Growth,
    suspects: &[MergedSuspect],
) -> String {
    let some = match (alike.len(), all) {
        (some, all) if some == all => format!("all {}", counted(all as u64, "process")),
        (some, all) => format!("{some} of {}", counted(all as u64, "process")),
    };
    match verdict {
        Verdict::Leak => {
            let verb = if alike.len() == 1 { "leaks" } else { "leak" };
            let rate = rate_in_words(growth.bytes_per_request, growth.bytes_per_second);
            let at = suspects.first().map_or_else(String::new, |suspect| {
                format!(", most of it at {}", place(&suspect.whole))
            });
            format!("{} {verb} {rate}{at}.", capital(&some))
        }
        Verdict::Retention => {
            format!("No leak, but in {some} allocators keep memory that was freed.")
        }
        Verdict::Undecided => format!("Cannot tell yet for {some}: the trace is too short."),
        Verdict::CacheFilling => {
            format!("In {some} memory grows, but slower and slower, as a cache that fills.")
        }
        Verdict::Sawtooth | Verdict::WarmUp | Verdict::Steady => {
            format!("No leak in any of {}.", counted(all as u64, "process"))
        }
    }
}

fn capital(text: &str) -> String {
    let mut rest = text.chars();
    rest.next().map_or_else(String::new, |first| first.to_uppercase().chain(rest).collect())
}

fn action(suspect: &Suspect) -> String {
    match suspect.patterns.first() {
        Some(pattern) => format!("{} {}", pattern.sentence, pattern.remedy),
        None => format!("Look at what keeps the memory that {} asks for.", place(suspect)),
    }
}

/// How those that leak grow together.
fn growth(processes: &[Report]) -> Growth {
    let leaking = || processes.iter().filter(|report| report.verdict == Verdict::Leak);
    let counted: Vec<_> =
        leaking().map(|it| (it.growth.bytes_per_request, it.requests.count)).collect();
    // They share what is free below one limit: their rates add up.
    let limits: Vec<u64> = processes.iter().filter_map(|report| report.growth.limit).collect();
    let is_shared = limits.len() == processes.len() && limits.windows(2).all(|it| it[0] == it[1]);
    let per_second_of_free: f64 = leaking()
        .filter_map(|report| report.growth.seconds_to_limit)
        .map(|seconds| 1.0 / seconds.max(1.0))
        .sum();
    Growth {
        bytes_per_request: mean(&counted),
        bytes_per_second: sum(leaking().filter_map(|report| report.growth.bytes_per_second)),
        windows: leaking().map(|report| report.growth.windows).min().unwrap_or(0),
        limit: limits.first().copied().filter(|_| is_shared),
        seconds_to_limit: (is_shared && per_second_of_free > 0.0).then(|| 1.0 / per_second_of_free),
    }
}

/// The mean of rates per request over all requests; `None` unless each process counts them.
fn mean(rates: &[(Option<Estimate>, Option<u64>)]) -> Option<Estimate> {
    let rates: Option<Vec<(Estimate, f64)>> =
        rates.iter().map(|(rate, requests)| Some(((*rate)?, (*requests)? as f64))).collect();
    let rates = rates.filter(|rates| !rates.is_empty())?;
    let all: f64 = rates.iter().map(|(_, requests)| requests).sum();
    let parts = rates.into_iter().map(|(rate, requests)| {
        let part = |value: f64| value * requests / all;
        Estimate { estimate: part(rate.estimate), low: part(rate.low), high: part(rate.high) }
    });
    (all > 0.0).then(|| sum(parts)).flatten()
}

/// What makes suspects of two processes the same.
type Key = (Option<(String, u32, String)>, String);

fn key(suspect: &Suspect) -> Key {
    let line = suspect.your_line.as_ref();
    match line.map(|Line { file, line, function }| (file.clone(), *line, function.clone())) {
        Some(line) => (Some(line), String::new()),
        // Without a line the same name in another domain is another thing.
        None => (None, format!("{} {}", suspect.domain, suspect.name)),
    }
}

/// A suspect, the report that it is in, and the place of that in the list.
type Found<'a> = (usize, &'a Report, &'a Suspect);

fn joined(processes: &[Report], clock: &OneClock) -> Vec<MergedSuspect> {
    let mut by_place: BTreeMap<Key, Vec<Found<'_>>> = BTreeMap::new();
    for (process, report) in processes.iter().enumerate() {
        for suspect in &report.suspects {
            by_place.entry(key(suspect)).or_default().push((process, report, suspect));
        }
    }
    // What grows in a process weighs as much as that process grows.
    let weight =
        |report: &Report| report.growth.bytes_per_second.map_or(0.0, |rate| rate.estimate.max(0.0));
    let all: f64 = processes.iter().map(weight).sum();
    let mut suspects: Vec<MergedSuspect> = by_place
        .into_values()
        .map(|parts| {
            let share: f64 = parts
                .iter()
                .map(|(_, report, suspect)| weight(report) * suspect.share_of_growth)
                .sum();
            join(&parts, if all > 0.0 { share / all } else { 0.0 }, clock)
        })
        .collect();
    suspects.sort_by(|MergedSuspect { whole: a, .. }, MergedSuspect { whole: b, .. }| {
        rank(a).cmp(&rank(b)).then_with(|| low(b).total_cmp(&low(a)))
    });
    for (at, suspect) in suspects.iter_mut().enumerate() {
        suspect.whole.rank = at + 1;
    }
    suspects
}

fn rank(suspect: &Suspect) -> (bool, usize) {
    (suspect.suppressed_by.is_some(), gravity(suspect.verdict))
}

fn low(suspect: &Suspect) -> f64 {
    suspect.bytes_per_second.map_or(suspect.held_bytes as f64, |rate| rate.low)
}

/// One cause of several processes.
fn join(parts: &[Found<'_>], share_of_growth: f64, clock: &OneClock) -> MergedSuspect {
    let suspects = || parts.iter().map(|(.., suspect)| *suspect);
    let gravity_of = |it: &Suspect| {
        (it.suppressed_by.is_some(), gravity(it.verdict), std::cmp::Reverse(it.held_bytes))
    };
    let gravest = suspects().min_by_key(|it| gravity_of(it)).unwrap_or(parts[0].2);
    let growing = || parts.iter().filter(|(.., it)| it.verdict == gravest.verdict);
    let counted: Vec<_> =
        growing().map(|(_, report, it)| (it.bytes_per_request, report.requests.count)).collect();
    let is_in_all = |same: &dyn Fn(&Suspect) -> bool| suspects().all(same);
    let mut held = Vec::new();
    for (_, report, it) in parts {
        let seen = clock.seen(report, &it.curve.held);
        held.resize(seen.len(), 0.0);
        held.iter_mut().zip(seen).for_each(|(sum, more)| *sum += more);
    }
    let whole = Suspect {
        bytes_per_request: mean(&counted),
        bytes_per_second: sum(growing().filter_map(|(.., it)| it.bytes_per_second)),
        windows: growing().map(|(.., it)| it.windows).min().unwrap_or(0),
        share_of_growth,
        held_bytes: suspects().map(|it| it.held_bytes).sum(),
        held_bytes_error: suspects().map(|it| it.held_bytes_error.powi(2)).sum::<f64>().sqrt(),
        held_blocks: suspects().map(|it| it.held_blocks).sum(),
        op: gravest.op.clone().filter(|op| is_in_all(&|it| it.op.as_ref() == Some(op))),
        thread: gravest
            .thread
            .clone()
            .filter(|name| is_in_all(&|it| it.thread.as_ref() == Some(name))),
        suppressed_by: gravest
            .suppressed_by
            .clone()
            .filter(|_| is_in_all(&|it| it.suppressed_by.is_some())),
        // The line that one process follows is not that of the sum.
        curve: Curve { held, ..Curve::default() },
        ..gravest.clone()
    };
    let processes = parts.iter().map(|(process, report, it)| Part {
        process: *process,
        pid: report.process.pid,
        verdict: it.verdict,
        rank: it.rank,
        bytes_per_request: it.bytes_per_request,
        bytes_per_second: it.bytes_per_second,
        held_bytes: it.held_bytes,
    });
    MergedSuspect { whole, processes: processes.collect() }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::model::{Lost, Process, Reconciliation, Requests, Suppressed, TimeLine};

    /// A report that says nothing of a process that was traced for so long from a moment on.
    pub(in crate::findings) fn report(pid: u32, started: f64, seconds: f64) -> Report {
        Report {
            schema: SCHEMA,
            verdict: Verdict::Steady,
            sentence: String::new(),
            action: String::new(),
            growth: Growth::default(),
            requests: Requests { count: None, source: String::new() },
            suspects: Vec::new(),
            time_line: TimeLine::default(),
            reconciliation: Reconciliation::default(),
            gpu: None,
            lost: Lost::default(),
            suppressions: Suppressed::default(),
            process: Process {
                pid,
                command: Vec::new(),
                executable: String::new(),
                started,
                seconds,
                trace: String::new(),
                trace_bytes: 0,
                events: 0,
                sample_period: None,
                compacted: None,
                versions: Vec::new(),
                children: Vec::new(),
            },
        }
    }

    fn rate(estimate: f64, error: f64) -> Option<Estimate> {
        Some(Estimate { estimate, low: estimate - error, high: estimate + error })
    }

    #[test]
    fn rates_of_several_processes_are_weighted_by_their_requests() {
        let both = mean(&[(rate(100.0, 3.0), Some(300)), (rate(20.0, 4.0), Some(100))]).unwrap();
        assert_eq!(both.estimate, 80.0);
        let error = ((3.0f64 * 0.75).powi(2) + (4.0f64 * 0.25).powi(2)).sqrt();
        assert!((both.high - 80.0 - error).abs() < 1e-9, "{both:?}");
        assert!((80.0 - both.low - error).abs() < 1e-9, "{both:?}");
        assert_eq!(mean(&[(rate(100.0, 3.0), Some(300)), (None, None)]), None);
        assert_eq!(mean(&[]), None);
        assert_eq!(mean(&[(rate(1.0, 0.0), Some(0))]), None);
    }

    #[test]
    fn every_verdict_has_a_gravity_of_its_own() {
        let all: std::collections::BTreeSet<Verdict> = GRAVITY.into_iter().collect();
        assert_eq!(all.len(), GRAVITY.len());
        assert!(gravity(Verdict::Leak) < gravity(Verdict::Undecided));
    }
}
