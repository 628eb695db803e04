//! Several processes in one report.

use serde::Serialize;

use super::{Estimate, Growth, Report, Series, Suspect, Verdict};

/// What was found out about processes that serve together, such as prefork workers.
#[derive(Clone, Debug, Serialize)]
pub struct Merged {
    /// [`super::SCHEMA`].
    pub schema: u32,
    /// Of all together: a leak if one of them leaks.
    pub verdict: Verdict,
    /// The verdict in one plain sentence with its number.
    pub sentence: String,
    /// What to do next, in one plain sentence.
    pub action: String,
    /// How those that leak grow together.
    pub growth: Growth,
    /// Suspects at the same line joined, in rank order.
    pub suspects: Vec<MergedSuspect>,
    /// Memory of all of them over time.
    pub time_line: MergedTimeLine,
    /// Each process by itself, in the order of their pids.
    pub processes: Vec<Report>,
}

/// One cause, in every process that has it.
#[derive(Clone, Debug, Serialize)]
pub struct MergedSuspect {
    /// What it is in the process where it is gravest. Bytes, blocks and its curve are sums over the
    /// processes that have it; rates are of those that have its verdict: the sum per second, and the mean
    /// over their requests. An op, a thread or a suppression is named where it is the same in all.
    #[serde(flatten)]
    pub whole: Suspect,
    /// The processes that have it.
    pub processes: Vec<Part>,
}

/// A suspect in one process.
#[derive(Clone, Debug, Serialize)]
pub struct Part {
    /// Which process: its place in the list, from 0. A pid alone can stand for several programs.
    pub process: usize,
    /// Its pid.
    pub pid: u32,
    /// What it does there.
    pub verdict: Verdict,
    /// Its rank in that process's report.
    pub rank: usize,
    /// If requests were counted.
    pub bytes_per_request: Option<Estimate>,
    /// In seconds.
    pub bytes_per_second: Option<Estimate>,
    /// Live now.
    pub held_bytes: u64,
}

/// Live memory of several processes on one clock. One entry in each list for every moment.
#[derive(Clone, Debug, Default, Serialize)]
pub struct MergedTimeLine {
    /// Seconds since the first of the traces began.
    pub seconds: Vec<f64>,
    /// What each process had live, by the place of the process in the list; 0 while it was not traced.
    pub processes: Vec<Series>,
    /// The memory limit of the control group, in bytes, if all name the same.
    pub limit: Option<u64>,
}
