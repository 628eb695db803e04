//! What counts as time: requests where the program marks them, else seconds.

use std::collections::BTreeMap;

use tftrace_format::LabelId;
use tftrace_format::reader::Trace;

/// The mark that means a request, whatever other marks there are.
const REQUEST: &str = "request";

/// Marks of the tracer's own: calls of TensorFlow's entry points; and how many calls each mark is.
const SESSION_RUN: (&str, f64) = ("tftrace:TF_SessionRun", 1.0);
const EXECUTIONS: (&str, f64) = ("tftrace:TFE_Execute/64", 64.0);
const OWN: &str = "tftrace:";

/// Fewer calls are the making of something.
const FEWEST_CALLS: f64 = 20.0;

/// Requests that begin after this share of the time are too few to be looked at alone.
const LATEST: f64 = 0.96;

/// Requests over time.
#[derive(Clone, Debug, PartialEq)]
pub struct Requests {
    /// How many before each window's end; empty if none were counted.
    pub until: Vec<f64>,
    /// What was counted, in plain words.
    pub source: String,
}

impl Requests {
    /// How many in all; `None` if time is in seconds.
    pub fn count(&self) -> Option<u64> {
        self.until.last().map(|&count| count as u64)
    }

    /// The window in which the first one was; 0 if none were counted, or if that was near the end.
    pub fn first_window(&self) -> usize {
        let first = self.until.iter().position(|count| *count >= 1.0).unwrap_or(0);
        if (first as f64) < LATEST * self.until.len() as f64 { first } else { 0 }
    }
}

/// Marks, by label and window.
#[derive(Debug)]
pub(super) struct Counted {
    marks: BTreeMap<LabelId, Vec<u64>>,
    names: BTreeMap<LabelId, String>,
}

impl Counted {
    pub(super) fn new(trace: &Trace<'_>) -> Self {
        let names = (0..1024).map(LabelId);
        let names = names.filter_map(|id| Some((id, trace.label(id)?.to_owned()))).collect();
        Self { marks: BTreeMap::new(), names }
    }

    pub(super) fn mark(&mut self, label: LabelId, window: usize) {
        let windows = self.marks.entry(label).or_default();
        if windows.len() <= window {
            windows.resize(window + 1, 0);
        }
        windows[window] += 1;
    }

    /// Gives every window a new number, and adds up those of one number.
    pub(super) fn renumber(&mut self, numbers: &[u16]) {
        for windows in self.marks.values_mut() {
            let old = std::mem::take(windows);
            for (number, marks) in numbers.iter().map(|number| usize::from(*number)).zip(old) {
                windows.resize(windows.len().max(number + 1), 0);
                windows[number] += marks;
            }
        }
    }

    /// Requests in so many windows: the mark of that name, or else the most frequent one.
    pub(super) fn until(&self, windows: usize) -> Requests {
        let is_named = |label: &LabelId| self.names.get(label).is_some_and(|name| name == REQUEST);
        let is_own =
            |label: &LabelId| self.names.get(label).is_some_and(|name| name.starts_with(OWN));
        let theirs = || self.marks.iter().filter(|(label, _)| !is_own(label));
        let most = || theirs().max_by_key(|(_, counts)| counts.iter().sum::<u64>());
        let chosen = self.marks.iter().find(|(label, _)| is_named(label)).or_else(most);
        let Some((label, counts)) = chosen else {
            return Requests {
                until: Vec::new(),
                source: "seconds; no request was counted".into(),
            };
        };
        let name = self.names.get(label).map_or("without a name", String::as_str);
        Requests { until: sums(counts, windows, 1.0), source: format!("marks: {name}") }
    }

    /// Calls of TensorFlow's entry points, if there were many: runs of sessions, or else executions of ops.
    pub(super) fn entry_points(&self, windows: usize) -> Option<Requests> {
        let of = |(mark, calls): (&str, f64), source: &str| {
            let is_it = |label: &LabelId| self.names.get(label).is_some_and(|name| name == mark);
            let (_, counts) = self.marks.iter().find(|(label, _)| is_it(label))?;
            let until = sums(counts, windows, calls);
            let is_many = until.last().is_some_and(|count| *count >= FEWEST_CALLS);
            is_many.then(|| Requests { until, source: source.into() })
        };
        of(SESSION_RUN, "runs of TensorFlow sessions (TF_SessionRun)").or_else(|| {
            of(EXECUTIONS, "executions of TensorFlow ops (TFE_Execute), many to a request")
        })
    }
}

/// How many calls there were until the end of each window, if so many are one mark.
fn sums(marks: &[u64], windows: usize, calls: f64) -> Vec<f64> {
    let mut sum = 0;
    let until = (0..windows).map(|window| {
        sum += marks.get(window).copied().unwrap_or(0);
        sum as f64 * calls
    });
    until.collect()
}
