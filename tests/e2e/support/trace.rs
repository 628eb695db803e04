//! What a traced run left behind, as the analyzer tells it.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

use super::build;
use super::host::{Outcome, finish};

/// Both runs of a program, and its trace.
#[derive(Debug)]
pub(crate) struct Trace {
    pub(crate) plain: Outcome,
    pub(crate) traced: Outcome,
    /// Where the traced program ran.
    pub(crate) directory: PathBuf,
    _keeper: TempDir,
}

/// How often a size was asked for, and how often such a block was freed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    pub(crate) allocations: u64,
    pub(crate) frees: u64,
}

impl Trace {
    pub(crate) fn new(
        plain: Outcome,
        traced: Outcome,
        directory: PathBuf,
        keeper: TempDir,
    ) -> Self {
        Self { plain, traced, directory, _keeper: keeper }
    }

    /// Exit status, stdout and stderr are those of the run without tracer, and the status is 0.
    ///
    /// The programs print how many files they have open.
    #[track_caller]
    pub(crate) fn assert_host_unharmed(&self) {
        self.assert_host_ends_with(0);
        assert_eq!(self.traced.stderr, self.plain.stderr, "stderr; {self:?}");
    }

    /// Exit code (or -n for signal n) and stdout are those of the run without tracer.
    #[track_caller]
    pub(crate) fn assert_host_ends_with(&self, code: i32) {
        assert_eq!(self.plain.code(), code, "without the tracer; {self:?}");
        assert_eq!(self.traced.code(), code, "exit code; {self:?}");
        assert_eq!(self.traced.stdout, self.plain.stdout, "stdout; {self:?}");
    }

    /// The trace of the program itself.
    pub(crate) fn path(&self) -> PathBuf {
        self.directory.join("trace.bin")
    }

    /// The names of all files beside the trace, sorted.
    pub(crate) fn files(&self) -> Vec<String> {
        let entries = std::fs::read_dir(&self.directory).unwrap();
        let mut names: Vec<_> =
            entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    /// The counts of a size in the program's trace.
    #[track_caller]
    pub(crate) fn counts(&self, size: u64) -> Counts {
        counts(&self.path(), size)
    }

    /// Requires exact counts, for several sizes: (size, allocations, frees).
    #[track_caller]
    pub(crate) fn assert_counts(&self, expected: &[(u64, u64, u64)]) {
        let seen = sizes(&self.path());
        for &(size, allocations, frees) in expected {
            let counts = seen.get(&size).copied().unwrap_or_default();
            assert_eq!(counts, Counts { allocations, frees }, "marker size {size}; {self:?}");
        }
    }

    /// Blocks of a size that were never freed.
    #[track_caller]
    pub(crate) fn live_blocks(&self, size: u64) -> u64 {
        let counts = self.counts(size);
        counts.allocations - counts.frees
    }

    /// Folded stacks of unfreed memory: frames from the root to the leaf, and bytes.
    #[track_caller]
    pub(crate) fn folded(&self) -> Vec<(Vec<String>, u64)> {
        folded(&self.path(), "unfreed")
    }
}

/// Runs the analyzer; it must succeed. Gives its stdout.
#[track_caller]
pub(crate) fn analyze(arguments: &[&str], trace: &Path) -> String {
    let outcome = try_analyze(arguments, trace);
    assert_eq!(outcome.code(), 0, "tftrace-analyze {arguments:?}; {outcome:?}");
    outcome.stdout
}

/// Runs the analyzer, whatever comes of it.
pub(crate) fn try_analyze(arguments: &[&str], trace: &Path) -> Outcome {
    let mut command = Command::new(&build::tools().analyze);
    command.args(arguments).arg(trace);
    // What is written without a name goes beside the trace.
    command.current_dir(trace.parent().unwrap());
    finish(&mut command)
}

/// The counts of a size.
#[track_caller]
pub(crate) fn counts(trace: &Path, size: u64) -> Counts {
    sizes(trace).get(&size).copied().unwrap_or_default()
}

/// The counts of every requested size.
#[track_caller]
pub(crate) fn sizes(trace: &Path) -> HashMap<u64, Counts> {
    let text = analyze(&["sizes"], trace);
    text.lines()
        .filter_map(|line| {
            let mut cells = line.split_whitespace().map_while(|cell| cell.parse().ok());
            let size = cells.next()?;
            Some((size, Counts { allocations: cells.next()?, frees: cells.next()? }))
        })
        .collect()
}

/// Folded stacks by a metric: frames from the root to the leaf, and the value.
#[track_caller]
pub(crate) fn folded(trace: &Path, metric: &str) -> Vec<(Vec<String>, u64)> {
    folded_of(trace, &["--metric", metric])
}

/// Folded stacks, with these options.
#[track_caller]
pub(crate) fn folded_of(trace: &Path, options: &[&str]) -> Vec<(Vec<String>, u64)> {
    let text = analyze(&[&["folded"], options].concat(), trace);
    text.lines()
        .map(|line| {
            let (stack, value) = line.rsplit_once(' ').unwrap_or_else(|| panic!("{line:?}"));
            let frames = stack.split(';').map(str::to_owned).collect();
            (frames, value.parse().unwrap_or_else(|_| panic!("{line:?}")))
        })
        .collect()
}

/// Whether a frame is of this function. Frames may say more: module, file and line.
pub(crate) fn is_frame(frame: &str, function: &str) -> bool {
    frame.split(|c: char| !(c.is_alphanumeric() || c == '_')).next() == Some(function)
}

/// Whether these functions stand on the stack in this order, next to each other.
pub(crate) fn has_chain(frames: &[String], functions: &[&str]) -> bool {
    frames.windows(functions.len()).any(|window| {
        window.iter().zip(functions).all(|(frame, function)| is_frame(frame, function))
    })
}

/// The first whole number behind `words` in `text`; digits may be grouped by commas.
pub(crate) fn number_after(text: &str, words: &str) -> Option<u64> {
    let rest = &text[text.find(words)? + words.len()..];
    let rest = rest.trim_start_matches(|c: char| !c.is_ascii_digit());
    let digits: String = rest
        .chars()
        .take_while(|c| c.is_ascii_digit() || *c == ',')
        .filter(char::is_ascii_digit)
        .collect();
    digits.parse().ok()
}
