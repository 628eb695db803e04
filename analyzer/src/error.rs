//! What can end a command: one line for a person, `FILE: place: what: what to do`.

use std::io;
use std::path::PathBuf;

use tftrace_format::reader::OpenError;

/// Why a command could not do what it was asked for.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file cannot be opened.
    #[error("{}: open: {source}: check the path and its permissions", path.display())]
    Open {
        /// Which.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A directory, a pipe or a device.
    #[error("{}: open: not a regular file: give the trace file itself", path.display())]
    NotAFile {
        /// Which.
        path: PathBuf,
    },
    /// The file is no trace, or its header is damaged.
    #[error("{}: {source}", path.display())]
    Trace {
        /// Which file.
        path: PathBuf,
        /// What is wrong with it.
        source: OpenError,
    },
    /// A file of suppressions cannot be read, or a line of it is no rule.
    #[error("{}: {}{reason}: see --help for the syntax", path.display(), line_in_words(*line))]
    Suppressions {
        /// Which file.
        path: PathBuf,
        /// Which line, from 1; 0: the file as a whole.
        line: usize,
        /// What is wrong.
        reason: String,
    },
    /// Growth per request is limited, and the trace has no requests.
    #[error("{}: --max-growth: no requests were counted: give BYTES/s, or mark requests with tftrace_mark", path.display())]
    NoRequests {
        /// The trace.
        path: PathBuf,
    },
    /// The flame graph would replace the trace.
    #[error("{}: --output: is the trace itself: give another file", path.display())]
    OutputIsTrace {
        /// Which.
        path: PathBuf,
    },
    /// The flame graph cannot be drawn.
    #[error("{}: flame graph: {source}: use --no-svg to do without", path.display())]
    FlameGraph {
        /// The file it was to become.
        path: PathBuf,
        /// What inferno said.
        source: io::Error,
    },
    /// The flame graph cannot be written.
    #[error("{}: write: {source}: give another place with --output, or use --no-svg", path.display())]
    Write {
        /// Which file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A file for another tool cannot be written.
    #[error("{}: write: {source}: give another place with --output", path.display())]
    WriteFile {
        /// Which file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Standard output does not take the report.
    #[error("stdout: write: {0}: check where the output goes")]
    Output(#[from] io::Error),
}

fn line_in_words(line: usize) -> String {
    if line == 0 { String::new() } else { format!("line {line}: ") }
}
