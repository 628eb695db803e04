//! The flame graph: one SVG file that can be searched, zoomed and read without a network.

use std::fs;
use std::path::{Path, PathBuf};

use inferno::flamegraph::{self, Direction, Options, TextTruncateDirection};

use super::numbers;
use crate::Error;
use crate::cli::Metric;
use crate::output_file;
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
    output_file::write(path, &svg)
        .map_err(|source| Error::Write { path: path.to_path_buf(), source })
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
    use crate::heap::{HOST, measure};
    use crate::stack::view_tests::MIXED;
    use crate::stack::whole;
    use crate::symbol::{Place, Symbols, is_unseen};
    use tftrace_format::builder::{Packing, TraceBuilder};
    use tftrace_format::reader::Trace;
    use tftrace_format::{Domain, Event, Frame, Ticks};

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

    /// An SVG file is markup too, and a browser runs the scripts in it.
    #[test]
    fn names_of_a_program_are_never_markup() {
        const HOSTILE: &str =
            "</script>]]></svg><script>x</script><!--\"'&\u{2028}\u{202e}\u{0}\u{ffff}";
        let mut builder = TraceBuilder::new();
        let frame = Frame::Raw { address: 1 };
        let stack = Some(builder.stack(&[frame]));
        let (time, domain) = (Ticks(1), Domain::Malloc);
        let event =
            Event::Allocated { time, domain, address: 16, size: 10_001, stack, file_backed: false };
        builder.event(0, event);
        let bytes = builder.build(Packing::Raw);
        let trace = Trace::open(&bytes).unwrap();
        let place = Place { location: Some(format!("/{HOSTILE}:3")), ..Place::unnamed(HOSTILE) };
        let symbols = Symbols::of([(frame, vec![place])]);
        let drawn = whole(&measure(&trace, Metric::Unfreed, &HOST).totals);
        let stacks = FoldedStacks::new(&trace, &symbols, &drawn, MIXED);
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("x.svg");
        write(&path, &stacks, Metric::Unfreed, HOSTILE).unwrap();
        let svg = fs::read_to_string(&path).unwrap();
        assert!(svg.contains("&lt;/script&gt;]]&gt;&lt;/svg&gt;&lt;script&gt;x"), "{svg}");
        assert!(!svg.contains("<script>x") && !svg.contains("]]></svg>"), "{svg}");
        // One element for the script of inferno itself, and nothing that an XML reader refuses.
        assert_eq!(svg.matches("<script").count(), 1, "{svg}");
        assert_eq!(svg.chars().find(|&it| it != '\n' && it != '\t' && is_unseen(it)), None);
    }
}
