//! Several processes in one report.

use serde::Serialize;

use super::{Estimate, Frame, Growth, Line, Pattern, Report, Verdict};

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
    /// Each process by itself, in the order of their pids.
    pub processes: Vec<Report>,
}

/// One cause, in every process that has it.
#[derive(Clone, Debug, Serialize)]
pub struct MergedSuspect {
    /// From 1.
    pub rank: usize,
    /// The gravest of the verdicts that it has in a process.
    pub verdict: Verdict,
    /// What to call it.
    pub name: String,
    /// The user's line.
    pub your_line: Option<Line>,
    /// The TensorFlow op, where it is the same in all.
    pub op: Option<String>,
    /// Whose memory, as most processes have it.
    pub domain: String,
    /// Mean over the requests of the processes in which it grows; `null` unless all of these count them.
    pub bytes_per_request: Option<Estimate>,
    /// Sum over the processes in which it grows.
    pub bytes_per_second: Option<Estimate>,
    /// Part of the growth of all suspects of all processes, 0 to 1.
    pub share_of_growth: f64,
    /// Live now, in all processes.
    pub held_bytes: u64,
    /// Live now, in all processes.
    pub held_blocks: u64,
    /// The processes that have it.
    pub processes: Vec<Part>,
    /// The heaviest stack of the process where it is gravest, root first.
    pub stack: Vec<Frame>,
    /// Known causes that the evidence matches there.
    pub patterns: Vec<Pattern>,
    /// The suppression that hides it, if that is so in every process.
    pub suppressed_by: Option<String>,
}

/// A suspect in one process.
#[derive(Clone, Debug, Serialize)]
pub struct Part {
    /// Which process.
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
