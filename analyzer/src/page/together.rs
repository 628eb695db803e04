//! What of a report on several processes the page shows: all of them together, a row for each, and the
//! reports on them by themselves, as many as fit.

use serde::Serialize;
use serde_json::{Value, json};

use super::limits::{self, Left, Thin};
use super::safe_text::visible_value;
use crate::model::{Growth, Merged, MergedSuspect, MergedTimeLine, Report, Series, Verdict};
use crate::report::numbers::count;

/// What all of them together may take, in bytes.
const TOGETHER_BYTES: usize = 1_200_000;
/// What the rows may take.
const ROW_BYTES: usize = 400_000;
/// What the reports on each may take.
pub(super) const PROCESS_BYTES: usize = 2_900_000;

const _: () = assert!(
    TOGETHER_BYTES + ROW_BYTES + PROCESS_BYTES + 300_000 <= super::MOST_BYTES,
    "the frame, the style and the scripts need the rest; a test measures them"
);

/// Processes with a layer of their own in the chart; more colours nobody can tell apart.
const LAYERS: usize = 6;
/// Processes of a suspect that are listed.
const PARTS: usize = 200;
/// The longest name of a file in a row, in characters.
const FILE_CHARACTERS: usize = 60;

/// What was left out.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub(super) struct LeftOfAll {
    suspects: usize,
    /// Processes without a row.
    rows: usize,
    /// Processes without a report of their own.
    reports: usize,
}

/// What the page's script reads.
#[derive(Serialize)]
pub(super) struct Together {
    /// The verdict, the suspects and the time line.
    all: Value,
    rows: Value,
    /// By the place of the process in the list, as text.
    reports: serde_json::Map<String, Value>,
    left: LeftOfAll,
}

/// A process in a line.
#[derive(Serialize)]
struct Row<'a> {
    process: usize,
    name: &'a str,
    trace: &'a str,
    verdict: Verdict,
    requests: Option<u64>,
    growth: &'a Growth,
    live: u64,
    peak: u64,
}

impl Together {
    /// Cuts what was found to what fits.
    pub(super) fn within(found: &Merged) -> Self {
        let mut left = LeftOfAll::default();
        let all = all_within(found, &mut left);
        let rows = rows_within(found, &mut left);
        let reports = reports_within(found, &mut left);
        Self { all, rows, reports, left }
    }
}

fn all_within(found: &Merged, left: &mut LeftOfAll) -> Value {
    let mut most = found.suspects.len().min(limits::SUSPECTS);
    loop {
        let thin = Thin { of: found.time_line.seconds.len(), to: limits::WINDOWS };
        let mut suspects: Vec<MergedSuspect> = found.suspects.iter().take(most).cloned().collect();
        for suspect in &mut suspects {
            limits::cut_suspect(&mut suspect.whole, &thin);
            suspect.processes.truncate(PARTS);
        }
        let value = json!({
            "verdict": found.verdict, "sentence": found.sentence, "action": found.action,
            "growth": found.growth, "suspects": suspects,
            "time_line": layers(found),
        });
        let value = visible_value(&value, limits::TEXT_CHARACTERS);
        left.suspects = found.suspects.len() - most;
        if most == 0 || limits::bytes_of(&value) <= TOGETHER_BYTES {
            return value;
        }
        most /= 2;
    }
}

/// The time line with a layer for each of the largest processes, and one for the others.
fn layers(found: &Merged) -> Value {
    let MergedTimeLine { seconds, processes, limit } = &found.time_line;
    let (own, rest) = {
        let mut order = most_telling(found);
        // One more layer is no more than one for the others.
        let own = if order.len() <= LAYERS + 1 { order.len() } else { LAYERS };
        let rest = order.split_off(own);
        (order, rest)
    };
    let mut others =
        Series { name: format!("{} others", count(rest.len() as u64)), bytes: Vec::new() };
    for process in rest {
        others.bytes.resize(seconds.len(), 0);
        let more = processes.get(process).into_iter().flat_map(|series| &series.bytes);
        others.bytes.iter_mut().zip(more).for_each(|(sum, more)| *sum = sum.saturating_add(*more));
    }
    let layer = |process: &usize| {
        let verdict = found.processes.get(*process).map(|report| report.verdict);
        let series = processes.get(*process)?;
        Some(json!({ "name": series.name, "verdict": verdict, "bytes": series.bytes }))
    };
    let mut layers: Vec<Value> = own.iter().filter_map(layer).collect();
    if !others.bytes.is_empty() {
        layers.push(json!({ "name": others.name, "verdict": null, "bytes": others.bytes }));
    }
    let none: [f64; 0] = [];
    json!({
        "seconds": seconds, "requests": none, "layers": layers, "limit": limit,
        "warm_up_seconds": null, "warm_up_requests": null,
    })
}

/// The processes by their place in the list: those that leak, then the largest.
fn most_telling(found: &Merged) -> Vec<usize> {
    let peak = |at: &usize| found.processes[*at].time_line.live().into_iter().max();
    let mut order: Vec<usize> = (0..found.processes.len()).collect();
    order.sort_by_cached_key(|at| {
        (found.processes[*at].verdict != Verdict::Leak, std::cmp::Reverse(peak(at)), *at)
    });
    order
}

fn rows_within(found: &Merged, left: &mut LeftOfAll) -> Value {
    let row = |(process, report): (usize, &Report)| {
        let live = report.time_line.live();
        let name = found.time_line.processes.get(process);
        let row = Row {
            process,
            name: name.map_or("", |series| &series.name),
            trace: report.process.trace.rsplit('/').next().unwrap_or_default(),
            verdict: report.verdict,
            requests: report.requests.count,
            growth: &report.growth,
            live: live.last().copied().unwrap_or(0),
            peak: live.iter().copied().max().unwrap_or(0),
        };
        visible_value(&row, FILE_CHARACTERS)
    };
    let mut rows: Vec<Value> = found.processes.iter().enumerate().map(row).collect();
    loop {
        left.rows = found.processes.len() - rows.len();
        let value = Value::from(rows.clone());
        if rows.is_empty() || limits::bytes_of(&value) <= ROW_BYTES {
            return value;
        }
        rows.truncate(rows.len() / 2);
    }
}

/// Each has an equal part of the room; if that is too small for one, fewer have one.
fn reports_within(found: &Merged, left: &mut LeftOfAll) -> serde_json::Map<String, Value> {
    let order = most_telling(found);
    let mut most = order.len();
    loop {
        let mut reports = serde_json::Map::new();
        let mut bytes = 0;
        for &process in &order[..most] {
            let report = &found.processes[process];
            let mut left = Left::default();
            let mut value = limits::report_within(report, PROCESS_BYTES / most, &mut left);
            value["left"] = json!(left);
            bytes += limits::bytes_of(&value);
            reports.insert(process.to_string(), value);
            if bytes > PROCESS_BYTES {
                break;
            }
        }
        left.reports = found.processes.len() - most;
        if most == 0 || bytes <= PROCESS_BYTES {
            return reports;
        }
        most /= 2;
    }
}
