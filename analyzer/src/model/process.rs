//! The traced process: what it is, where its memory is, what the trace lacks.

use serde::Serialize;

/// What was traced.
#[derive(Clone, Debug, Serialize)]
pub struct Process {
    /// Its id.
    pub pid: u32,
    /// Its arguments.
    pub command: Vec<String>,
    /// The program file.
    pub executable: String,
    /// When the trace began, in seconds since 1970.
    pub started: f64,
    /// How long was traced.
    pub seconds: f64,
    /// The trace file.
    pub trace: String,
    /// Its size in bytes.
    pub trace_bytes: u64,
    /// Events in it, temporaries that are only counted included.
    pub events: u64,
    /// If it holds a sample: one per so many bytes, on average. Bytes and blocks are estimates then.
    pub sample_period: Option<u64>,
    /// What is coarse because the file has a bound, in one plain sentence.
    pub compacted: Option<String>,
    /// Names and versions known from the trace: Python, TensorFlow, the tracer.
    pub versions: Vec<(String, String)>,
    /// Traces of its children, and of what took its place, that lie beside its own.
    pub children: Vec<String>,
}

/// Where the process's anonymous memory is, at the last reading.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Reconciliation {
    /// When it was read, in seconds since the trace began; `null` if never.
    pub seconds: Option<f64>,
    /// What the kernel counts: the whole that is explained.
    pub rss_anonymous: Option<u64>,
    /// The part of it that `owners` explain, 0 to 1.
    pub explained: Option<f64>,
    /// The rest of it, in bytes: with it the owners add up to the whole.
    pub unexplained: Option<u64>,
    /// Live blocks and mappings beside that, in bytes, which take no memory: never touched, or swapped out.
    pub not_resident: u64,
    /// Largest first.
    pub owners: Vec<Owner>,
}

/// One owner of memory.
#[derive(Clone, Debug, Serialize)]
pub struct Owner {
    /// In plain words: live blocks of a domain, what an allocator keeps, stacks, the tracer.
    pub name: String,
    /// How much.
    pub bytes: u64,
    /// The standard error of `bytes`, if they are estimated from a sample; 0: they are exact.
    pub bytes_error: f64,
}

/// What the trace lacks. Empty lists and zeros: nothing.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Lost {
    /// Whether anything is missing.
    pub anything: bool,
    /// Events that could not be recorded.
    pub events: u64,
    /// One plain sentence for each kind of loss or damage.
    pub notes: Vec<String>,
}

/// Growth that is known and does not count.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Suppressed {
    /// The version of the list that tftrace-analyze brings.
    pub built_in_version: u32,
    /// Rules that fitted a suspect.
    pub used: Vec<UsedRule>,
    /// Rules of the user's own that fitted none.
    pub stale: Vec<String>,
}

/// A suppression that fitted.
#[derive(Clone, Debug, Serialize)]
pub struct UsedRule {
    /// `leak:PATTERN`.
    pub rule: String,
    /// Its file; `null`: the built-in list.
    pub file: Option<String>,
    /// How many suspects it hides.
    pub suspects: usize,
}
