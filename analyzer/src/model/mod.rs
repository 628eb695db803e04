//! What the analyzer found out about a process: what `--json` prints and the page shows.
//!
//! Plain data, serialized field by field; `docs/json.md` documents it. A field that cannot be known
//! is `null`, never 0. Bytes, blocks, seconds since the trace began, requests.

mod gpu;
mod merged;
mod process;
mod suspect;
mod time_line;

use serde::Serialize;

pub use gpu::{Device, Gpu, Holder, HostMemory, OutOfMemory};
pub use merged::{Merged, MergedSuspect, MergedTimeLine, Part};
pub use process::{Lost, Owner, Process, Reconciliation, Suppressed, UsedRule};
pub use suspect::{Curve, Frame, FrameKind, Line, Pattern, Suspect};
pub use time_line::{Series, TimeLine};

/// The version of the schema: raised when a field changes its meaning or goes away.
pub const SCHEMA: u32 = 1;

/// Everything.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// [`SCHEMA`].
    pub schema: u32,
    /// Of the process as a whole.
    pub verdict: Verdict,
    /// The verdict in one plain sentence with its number.
    pub sentence: String,
    /// What to do next, in one plain sentence.
    pub action: String,
    /// How the process grows, all that is judged together.
    pub growth: Growth,
    /// What counts as time.
    pub requests: Requests,
    /// In rank order, by the lower bound of bytes per request; what is no leak follows.
    pub suspects: Vec<Suspect>,
    /// Memory over time.
    pub time_line: TimeLine,
    /// Where the process's memory is.
    pub reconciliation: Reconciliation,
    /// CUDA's memory; `null` if the program uses none.
    pub gpu: Option<Gpu>,
    /// What the trace lacks.
    pub lost: Lost,
    /// Growth that is known and does not count.
    pub suppressions: Suppressed,
    /// What was traced.
    pub process: Process,
}

/// What memory does over time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// Keeps growing with each request after warm-up.
    Leak,
    /// Growth that slows towards a bound.
    CacheFilling,
    /// Once, at the beginning.
    WarmUp,
    /// Grows and is released again.
    Sawtooth,
    /// The live heap is flat, the process is not: freed memory that the allocator keeps.
    Retention,
    /// Does not grow.
    Steady,
    /// The trace does not say.
    Undecided,
}

/// A figure and its 95 % interval.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Estimate {
    /// The best guess.
    pub estimate: f64,
    /// Lower bound.
    pub low: f64,
    /// Upper bound.
    pub high: f64,
}

/// How something grows.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Growth {
    /// If requests were counted.
    pub bytes_per_request: Option<Estimate>,
    /// In seconds.
    pub bytes_per_second: Option<Estimate>,
    /// How many windows after warm-up it rests on.
    pub windows: usize,
    /// The memory limit that applies, in bytes.
    pub limit: Option<u64>,
    /// Seconds from the trace's end until that is reached at this rate.
    pub seconds_to_limit: Option<f64>,
}

/// What was counted as requests.
#[derive(Clone, Debug, Serialize)]
pub struct Requests {
    /// How many; `null`: time is in seconds.
    pub count: Option<u64>,
    /// In plain words: a mark, a TensorFlow entry point, a function, or seconds.
    pub source: String,
}
