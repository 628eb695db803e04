//! One cause of growth, with the evidence.

use serde::Serialize;

use super::{Estimate, Verdict};

/// A place in the program through which memory grows, or does what its verdict says.
#[derive(Clone, Debug, Serialize)]
pub struct Suspect {
    /// From 1.
    pub rank: usize,
    /// Of this one.
    pub verdict: Verdict,
    /// What to call it: your function, or thread and op, or what allocates.
    pub name: String,
    /// The user's line through which most of it flows.
    pub your_line: Option<Line>,
    /// The TensorFlow op that most of it is for.
    pub op: Option<String>,
    /// Whose memory: `malloc`, `mmap`, `python`, `tensorflow`, `cuda`, `cuda-host`.
    pub domain: String,
    /// The thread that allocates, where only one does.
    pub thread: Option<String>,
    /// If requests were counted.
    pub bytes_per_request: Option<Estimate>,
    /// In seconds.
    pub bytes_per_second: Option<Estimate>,
    /// How many windows after warm-up that rests on.
    pub windows: usize,
    /// Part of the growth of all suspects, 0 to 1.
    pub share_of_growth: f64,
    /// Live now.
    pub held_bytes: u64,
    /// The standard error of `held_bytes`, if they are estimated from a sample; 0: they are exact.
    pub held_bytes_error: f64,
    /// Live now.
    pub held_blocks: u64,
    /// The heaviest stack, root first.
    pub stack: Vec<Frame>,
    /// Its memory over time.
    pub curve: Curve,
    /// Known causes that the evidence matches.
    pub patterns: Vec<Pattern>,
    /// What would decide, if it is undecided.
    pub needed: Option<String>,
    /// The suppression that hides it from the verdict.
    pub suppressed_by: Option<String>,
}

/// A line of source code.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize)]
pub struct Line {
    /// As the program knew it.
    pub file: String,
    /// From 1; 0 if only the file is known.
    pub line: u32,
    /// Qualified.
    pub function: String,
}

/// One frame of a stack.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize)]
pub struct Frame {
    /// What it is.
    pub kind: FrameKind,
    /// Function, op, or what the kind says.
    pub function: String,
    /// Source file.
    pub file: Option<String>,
    /// Source line, from 1.
    pub line: Option<u32>,
    /// Library or program file.
    pub module: Option<String>,
    /// Not the user's code: an installed package, a framework, the standard library.
    pub framework: bool,
}

/// What a frame is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum FrameKind {
    /// A Python function.
    Python,
    /// Machine code.
    Native,
    /// A TensorFlow op.
    Op,
    /// What follows ran on another thread.
    ScheduledBy,
    /// Which memory of CUDA's it is: `[device 0]`, `[managed]`, `[pinned]`.
    Memory,
    /// Frames are missing here.
    Missing,
}

/// Memory over time; index for index with the windows of the time line.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Curve {
    /// Live bytes at the end of each window.
    pub held: Vec<f64>,
    /// The fitted line or curve; empty if nothing was fitted, `null` before warm-up ended.
    pub fit: Vec<Option<f64>>,
    /// Lower side of the fit's 95 % band, as `fit`.
    pub low: Vec<Option<f64>>,
    /// Upper side, as `fit`.
    pub high: Vec<Option<f64>>,
}

/// A known cause.
#[derive(Clone, Debug, Serialize)]
pub struct Pattern {
    /// A short stable name, such as `tf-function-retracing`.
    pub id: &'static str,
    /// What happens, in one plain sentence.
    pub sentence: String,
    /// What to do about it.
    pub remedy: String,
    /// What in the trace shows it.
    pub evidence: Vec<String>,
}
