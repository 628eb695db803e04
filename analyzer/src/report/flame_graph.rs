//! The flame graph: one SVG file that can be searched, zoomed and read without a network.

use std::fs;
use std::path::{Path, PathBuf};

use inferno::flamegraph::{self, Direction, Options, TextTruncateDirection};

use super::numbers;
use crate::Error;
use crate::cli::Metric;
use crate::stack::FoldedStacks;

/// Draws stacks into `path`. The width of a frame is its bytes.
pub fn write(
    path: &Path,
    stacks: &FoldedStacks,
    metric: Metric,
    program: &str,
) -> Result<(), Error> {
    let lines: Vec<String> = stacks.lines().collect();
    let mut options = Options::default();
    // Python stacks are hundreds of frames deep: with the root on top, the first screen says something.
    options.direction = Direction::Inverted;
    // A label begins with the function's name.
    options.text_truncate_direction = TextTruncateDirection::Right;
    // Equal traces give equal files, and a function has one colour in all of them.
    options.deterministic = true;
    options.title = format!("tftrace: {}", metric.bytes_in_words());
    options.subtitle = Some(numbers::plain(program)).filter(|program| !program.is_empty());
    options.count_name = metric.bytes_in_words().to_owned();
    options.name_type = "Function:".to_owned();
    let mut svg = Vec::new();
    flamegraph::from_lines(&mut options, lines.iter().map(String::as_str), &mut svg)
        .map_err(|source| Error::FlameGraph { path: path.to_path_buf(), source })?;
    fs::write(path, svg).map_err(|source| Error::Write { path: path.to_path_buf(), source })
}

/// Where the flame graph goes: beside the trace, and never in its place.
pub fn path_for(trace: &Path, output: Option<&Path>) -> Result<PathBuf, Error> {
    let Some(output) = output else {
        let beside = trace.with_extension("svg");
        if beside != trace {
            return Ok(beside);
        }
        let mut name = trace.as_os_str().to_owned();
        name.push(".svg");
        return Ok(PathBuf::from(name));
    };
    let same = fs::canonicalize(output)
        .is_ok_and(|output| fs::canonicalize(trace).is_ok_and(|trace| trace == output));
    if same { Err(Error::OutputIsTrace { path: output.to_path_buf() }) } else { Ok(output.into()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_trace_is_never_overwritten() {
        let path = |trace: &str| path_for(Path::new(trace), None).unwrap();
        assert_eq!(path("a/trace.bin"), Path::new("a/trace.svg"));
        assert_eq!(path("trace"), Path::new("trace.svg"));
        assert_eq!(path("trace.svg"), Path::new("trace.svg.svg"));
        let directory = tempfile::tempdir().unwrap();
        let trace = directory.path().join("trace.bin");
        fs::write(&trace, b"x").unwrap();
        let same = directory.path().join("./trace.bin");
        assert!(matches!(path_for(&trace, Some(&same)), Err(Error::OutputIsTrace { .. })));
    }
}
