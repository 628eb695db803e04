//! Everything that a trace says, put together: [`crate::model::Report`].

mod conclusion;
mod last_request;
mod one_clock;
mod reconciliation;
mod retention;
mod together;

use std::path::Path;

use tftrace_format::Domain;
use tftrace_format::reader::Trace;

use crate::gpu;
use crate::heap::{Level, LiveBlocks, StackTotals, Weights};
use crate::input::family_of;
use crate::model::{
    Lost, Process, Report, Requests, SCHEMA, Series as ModelSeries, Suspect, TimeLine as ModelLine,
    Verdict,
};
use crate::parallel::both;
use crate::pattern;
use crate::report::{compacted, wholeness};
use crate::stack::frames_of;
use crate::suppression::Suppressions;
use crate::suspect::{
    Cause, Context, Wanted, count_requests, describe, find, growing_containers, start_up,
};
use crate::symbol::{Symbols, resolve};
use crate::time_line::TimeLine;
use crate::verdict::Axis;
use retention::resident;

pub use conclusion::{place, rate_in_words, until_limit};
pub use together::together;

/// What was found.
#[derive(Debug)]
pub struct Findings {
    /// For people and machines.
    pub report: Report,
    /// What each call stack weighs, growth included: for the flame graph.
    pub weights: Weights,
    /// Names of all frames.
    pub symbols: Symbols,
}

/// Examines a trace, which is the file at `path`. Calls of the function `requests` are requests, if it is
/// named.
pub fn examine(
    trace: &Trace<'_>,
    path: &Path,
    suppressions: &mut Suppressions,
    requests: Option<&str>,
) -> Findings {
    examine_beside(trace, path, suppressions, requests, |_| ()).0
}

/// The same; what else is made of the weights, which are without the growth then, is made `beside` the verdict.
pub fn examine_beside<T: Send>(
    trace: &Trace<'_>,
    path: &Path,
    suppressions: &mut Suppressions,
    requests: Option<&str>,
    beside: impl Fn(&Weights) -> T + Sync,
) -> (Findings, T) {
    let (line, mut replayed) = TimeLine::read(trace);
    replayed.blocks = LiveBlocks::default();
    let (mut weights, symbols) = both(
        || Weights::of(trace, &replayed, &Domain::ALL),
        || {
            let temporary =
                trace.totals().flat_map(|page| page.entries).map(|entry| entry.key.stack);
            let stacks = replayed.heap.sites().stacks().chain(temporary);
            resolve(trace, &frames_of(trace, stacks.chain(gpu::failed_stacks(trace))))
        },
    );
    // The live heap is large, and what follows needs none of it.
    drop(replayed);
    let read = Read { trace, path, line, symbols: &symbols, unfreed: &weights.unfreed };
    let (made, (report, growth)) = both(|| beside(&weights), || read.judge(suppressions, requests));
    weights.growth = Some(growth);
    (Findings { report, weights, symbols }, made)
}

/// What was read of a trace and is judged.
struct Read<'a> {
    trace: &'a Trace<'a>,
    path: &'a Path,
    line: TimeLine,
    symbols: &'a Symbols,
    unfreed: &'a StackTotals,
}

impl Read<'_> {
    /// The report, and by how much the stacks of what leaks grew.
    fn judge(
        mut self,
        suppressions: &mut Suppressions,
        requests: Option<&str>,
    ) -> (Report, StackTotals) {
        let imported = self.count(requests);
        let begun = imported.max(self.line.requests.first_window());
        let header = self.trace.header();
        // How far an estimate may be off is known of the end only.
        if header.sample_period.is_none()
            && let Some((end, freed)) =
                last_request::before_the_end(&self.line, begun, header.ticks_per_second)
            && let Some(mut line) = TimeLine::ending_at(self.trace, end)
        {
            line.requests = last_request::requests_until(&self.line, &line);
            let imported = start_up(self.trace, self.symbols, &line);
            let earlier = Read { line, ..self };
            let mut suppressed = suppressions.clone();
            let (mut report, growth) = earlier.conclude(imported, &mut suppressed);
            if report.verdict == Verdict::Leak {
                *suppressions = suppressed;
                report.sentence.push_str(&last_request::in_words(freed));
                return (report, growth);
            }
        }
        self.conclude(imported, suppressions)
    }

    /// Counts requests. Gives the window in which imports are over.
    fn count(&mut self, requests: Option<&str>) -> usize {
        let Self { trace, ref mut line, symbols, .. } = *self;
        let imported = start_up(trace, symbols, line);
        let wanted = requests.map(Wanted::parse);
        // The calls of a sample are too few to be counted.
        let countable = line.requests.count().is_none() && trace.header().sample_period.is_none();
        if wanted.is_some() || countable {
            let counted = count_requests(trace, symbols, line, imported, wanted.as_ref());
            if let Some(requests) = counted.or_else(|| Some(wanted.as_ref()?.not_counted())) {
                line.requests = requests;
            }
        }
        if line.requests.count().is_none()
            && wanted.is_none()
            && let Some(calls) = line.entry_points.take()
        {
            line.requests = calls;
        }
        imported
    }

    fn conclude(self, imported: usize, suppressions: &mut Suppressions) -> (Report, StackTotals) {
        let Self { trace, path, mut line, symbols, unfreed } = self;
        let start_up = line.coarsen(imported.max(line.requests.first_window()));
        let axis = axis(&line);
        let causes = find(trace, &line, symbols, &axis, start_up);
        let context = Context { trace, symbols, line: &line, axis: &axis };
        let mut suspects = suspects(&causes, context, start_up, suppressions);
        errors(&causes, &mut suspects, unfreed);
        let live = retention::live(&line);
        let kept = retention::retention(trace, &line, &axis, &live, start_up);
        let growing = causes.iter().zip(&suspects).filter(|(_, suspect)| is_leak(suspect));
        let growth = growth(growing.map(|(cause, _)| cause), &line);
        shares(&causes, &mut suspects);
        let after = axis.since(start_up);
        let facts = conclusion::Facts {
            trace,
            line: &line,
            axis: &after,
            suspects: &suspects,
            retention: kept,
        };
        let conclusion = conclusion::conclude(&facts);
        let report = Report {
            schema: SCHEMA,
            verdict: conclusion.verdict,
            sentence: conclusion.sentence,
            action: conclusion.action,
            growth: conclusion.growth,
            requests: Requests {
                count: line.requests.count(),
                source: line.requests.source.clone(),
            },
            time_line: time_line(trace, &line, &suspects, &causes),
            suspects,
            reconciliation: reconciliation::reconcile(trace, &line),
            gpu: gpu::examine(trace, symbols, &line.seconds),
            lost: lost(trace),
            suppressions: suppressions.used(),
            process: process(trace, path, &line),
        };
        (report, growth)
    }
}

/// What rates are per: requests if they were counted, else seconds.
fn axis(line: &TimeLine) -> Axis {
    let until = match line.requests.count() {
        Some(_) => &line.requests.until,
        None => &line.seconds,
    };
    let mut before = 0.0;
    let units = until.iter().map(|&until| {
        let passed = until - before;
        before = until;
        passed
    });
    Axis { units: units.collect() }
}

fn is_leak(suspect: &Suspect) -> bool {
    suspect.verdict == Verdict::Leak && suspect.suppressed_by.is_none()
}

fn suspects(
    causes: &[Cause<'_>],
    context: Context<'_>,
    start_up: usize,
    suppressions: &mut Suppressions,
) -> Vec<Suspect> {
    let leaks = causes.iter().any(|cause| cause.judgement.verdict == Verdict::Leak);
    let containers = if leaks { growing_containers(context, start_up) } else { Vec::new() };
    let described = causes.iter().enumerate().map(|(at, cause)| {
        let mut suspect = describe(cause, context);
        suspect.rank = at + 1;
        suspect.patterns = pattern::of(cause, &suspect, context, &containers);
        suspect.suppressed_by = suppressions.of(&suspect);
        suspect
    });
    described.collect()
}

/// What each call stack of what leaks grew by after warm-up.
fn growth<'c, 'a: 'c>(causes: impl Iterator<Item = &'c Cause<'a>>, line: &TimeLine) -> StackTotals {
    let grown = |cause: &'c Cause<'a>| {
        cause.stacks.iter().filter_map(|&of| {
            let bytes = line.kept_since(of, cause.judgement.warm_up) as u64;
            (bytes > 0).then(|| (of.key(), Level::exact(bytes, line.held_by(of).blocks)))
        })
    };
    causes.flat_map(grown).collect()
}

/// Which part of the recent growth each suspect has.
fn shares(causes: &[Cause<'_>], suspects: &mut [Suspect]) {
    let grows = |suspect: &Suspect| {
        matches!(suspect.verdict, Verdict::Leak | Verdict::CacheFilling | Verdict::Undecided)
    };
    let sum: f64 = causes
        .iter()
        .zip(suspects.iter())
        .filter(|(_, suspect)| grows(suspect))
        .map(|(cause, _)| cause.recent)
        .sum();
    for (cause, suspect) in causes.iter().zip(suspects) {
        if sum > 0.0 && grows(suspect) {
            suspect.share_of_growth = cause.recent / sum;
        }
    }
}

/// How far what each suspect holds may be off, where it is estimated from a sample.
fn errors(causes: &[Cause<'_>], suspects: &mut [Suspect], unfreed: &StackTotals) {
    for (cause, suspect) in causes.iter().zip(suspects) {
        let mut held = Level::default();
        cause.stacks.iter().for_each(|of| held.add_all(unfreed.get(of.key())));
        suspect.held_bytes_error = held.error();
    }
}

fn time_line(
    trace: &Trace<'_>,
    line: &TimeLine,
    suspects: &[Suspect],
    causes: &[Cause<'_>],
) -> ModelLine {
    let domains = Domain::ALL.into_iter().filter_map(|domain| {
        let live = line.of_domain(domain).live;
        let bytes: Vec<u64> = live.into_iter().map(|bytes| bytes as u64).collect();
        bytes
            .iter()
            .any(|bytes| *bytes > 0)
            .then(|| ModelSeries { name: domain.name().to_owned(), bytes })
    });
    let leading = suspects.iter().zip(causes).find(|(suspect, _)| is_leak(suspect));
    let warm_up = leading.map(|(_, cause)| cause.judgement.warm_up);
    let at = |values: &[f64]| {
        warm_up
            .and_then(|window| window.checked_sub(1))
            .and_then(|window| values.get(window).copied())
    };
    ModelLine {
        seconds: line.seconds.clone(),
        requests: line.requests.until.clone(),
        domains: domains.collect(),
        rss_anonymous: resident(trace, line, |reading| reading.rss_anonymous),
        rss: resident(trace, line, |reading| {
            reading
                .rss_anonymous
                .saturating_add(reading.rss_file)
                .saturating_add(reading.rss_shared)
        }),
        limit: conclusion::limit(trace),
        warm_up_seconds: at(&line.seconds),
        warm_up_requests: at(&line.requests.until),
    }
}

fn lost(trace: &Trace<'_>) -> Lost {
    let anything = !wholeness::is_whole(trace);
    Lost {
        anything,
        events: trace.losses().iter().fold(0, |sum, (events, _)| sum.saturating_add(*events)),
        notes: if anything { wholeness::lines(trace) } else { Vec::new() },
    }
}

fn process(trace: &Trace<'_>, path: &Path, line: &TimeLine) -> Process {
    let header = trace.header();
    let arguments = header.command_line.split(|byte| *byte == 0);
    let mut command: Vec<String> =
        arguments.map(|part| String::from_utf8_lossy(part).into_owned()).collect();
    if command.last().is_some_and(String::is_empty) {
        command.pop();
    }
    let temporaries = trace.totals().flat_map(|page| page.entries).map(|entry| entry.count);
    let temporaries = temporaries.fold(0, u64::saturating_add);
    Process {
        pid: header.pid,
        command,
        executable: String::from_utf8_lossy(header.executable).into_owned(),
        started: header.wall_clock_ns as f64 / 1e9,
        seconds: trace.seconds(line.end),
        trace: path.display().to_string(),
        trace_bytes: trace.used_bytes(),
        events: line.events.saturating_add(temporaries),
        sample_period: header.sample_period.map(|period| period.get()),
        compacted: compacted::line(trace),
        versions: versions(trace),
        children: family_of(path).iter().map(|path| path.display().to_string()).collect(),
    }
}

/// What the names of loaded files say of Python and TensorFlow.
fn versions(trace: &Trace<'_>) -> Vec<(String, String)> {
    let mut versions = vec![("tftrace".to_owned(), env!("CARGO_PKG_VERSION").to_owned())];
    let paths = trace.objects().map(|object| String::from_utf8_lossy(&object.path).into_owned());
    let python = paths.flat_map(|path| {
        let name = path.rsplit('/').next().unwrap_or(&path).to_owned();
        let name = name.strip_prefix("lib").unwrap_or(&name).to_owned();
        let version = name.strip_prefix("python")?.to_owned();
        let digits: String =
            version.chars().take_while(|c| c.is_ascii_digit() || *c == '.').collect();
        let digits = digits.trim_end_matches('.').to_owned();
        digits.contains('.').then_some(digits)
    });
    versions.extend(python.take(1).map(|version| ("Python".to_owned(), version)));
    versions
}
