//! A call stack as lines of text, from the function that allocated to the thread's start.
//!
//! Says how many frames it leaves out; never drops one silently.

use tftrace_format::StackId;
use tftrace_format::reader::Trace;

use super::numbers::{counted, plain};
use crate::cli::ViewArgs;
use crate::python;
use crate::stack::{Row, rows, run_label};
use crate::symbol::{Place, Symbols, shorten};

/// The longest function name, in characters.
const NAME_LIMIT: usize = 100;
/// A source path longer than this is shown without its first folders.
const PATH_LIMIT: usize = 40;
/// Frames shown at the thread's start: they tell which thread it is.
const ROOT_FRAMES: usize = 2;

/// The lines, without indentation: `depth` at the leaf, and two at the root.
pub fn lines(
    trace: &Trace<'_>,
    symbols: &Symbols,
    stack: Option<StackId>,
    view: ViewArgs,
    depth: usize,
) -> Vec<String> {
    let Some(stack) = stack else { return vec!["[no call stack recorded]".to_owned()] };
    let places: Vec<&Place> = trace.frames(stack).flat_map(|frame| symbols.places(frame)).collect();
    let rows = rows(&places, view);
    match view.show_all {
        true => rows.iter().map(|row| row_line(row, 1)).collect(),
        false => shortened(&repeats_together(&rows), depth),
    }
}

/// The line of the user's own code that the stack leads through, if there is one.
pub fn user_line(trace: &Trace<'_>, symbols: &Symbols, stack: Option<StackId>) -> Option<String> {
    let places: Vec<&Place> =
        trace.frames(stack?).flat_map(|frame| symbols.places(frame)).collect();
    python::user_place(&places).map(line)
}

/// A row, and how often it stands there.
type Repeated<'a> = (Row<'a>, usize);

/// Recursion reads as one frame and a number.
fn repeats_together<'a>(rows: &[Row<'a>]) -> Vec<Repeated<'a>> {
    let mut together: Vec<Repeated<'_>> = Vec::new();
    for &row in rows {
        match (together.last_mut(), row) {
            (Some((Row::Shown(last), times)), Row::Shown(place))
                if (&last.function, &last.module, last.inlined)
                    == (&place.function, &place.module, place.inlined) =>
            {
                *times += 1;
            }
            _ => together.push((row, 1)),
        }
    }
    together
}

/// The first `depth` rows and those at the root; what is between them in one line.
fn shortened(rows: &[Repeated<'_>], depth: usize) -> Vec<String> {
    let lines = |rows: &[Repeated<'_>]| -> Vec<String> {
        rows.iter().map(|(row, times)| row_line(row, *times)).collect()
    };
    let hidden = rows.len().saturating_sub(depth.saturating_add(ROOT_FRAMES));
    // A line that says that one frame is missing takes as much room as the frame.
    if hidden < 2 {
        return lines(rows);
    }
    let (leaf, rest) = rows.split_at(depth);
    let (hidden, root) = rest.split_at(hidden);
    let frames = hidden.iter().map(|(row, times)| match row {
        Row::Shown(_) => *times,
        Row::Run(_, frames) => *frames,
    });
    let left_out = format!("… {} …", counted(frames.sum::<usize>() as u64, "more frame"));
    [lines(leaf), vec![left_out], lines(root)].concat()
}

fn row_line(row: &Row<'_>, times: usize) -> String {
    match row {
        Row::Shown(place) if times == 1 => line(place),
        Row::Shown(place) => format!("{}  ({times} times)", line(place)),
        Row::Run(name, frames) => run_label(name, *frames, *frames),
    }
}

fn line(place: &Place) -> String {
    let mut line = shorten(&plain(&place.function), NAME_LIMIT);
    if place.inlined {
        line.push_str(" (inlined)");
    }
    match (&place.location, &place.module) {
        (Some(location), _) => line.push_str(&format!("  at {}", plain(&short_path(location)))),
        (None, Some(module)) if !line.starts_with(&**module) => {
            line.push_str(&format!("  in {}", plain(module)));
        }
        _ => {}
    }
    line
}

/// The path, or its last two parts if it is long: where a library was built says little.
fn short_path(path: &str) -> String {
    let mut parts = path.rsplitn(3, '/');
    match (parts.next(), parts.next(), parts.next()) {
        (Some(file), Some(folder), Some(_)) if path.chars().count() > PATH_LIMIT => {
            format!("…/{folder}/{file}")
        }
        _ => path.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stack::view_tests::{MIXED, place};
    use crate::symbol::resolve;
    use tftrace_format::Frame;
    use tftrace_format::builder::{Packing, TraceBuilder};

    #[test]
    fn a_long_source_path_keeps_its_end() {
        assert_eq!(short_path("/src/serve/leak.c:12"), "/src/serve/leak.c:12");
        let long = "/a/very/long/way/to/the/build/of/Python-3.11/Objects/obmalloc.c:152";
        assert_eq!(short_path(long), "…/Objects/obmalloc.c:152");
    }

    #[test]
    fn recursion_is_folded_and_a_deep_stack_loses_its_middle() {
        let mut builder = TraceBuilder::new();
        let frames = |addresses: std::ops::Range<u64>| -> Vec<Frame> {
            addresses.map(|address| Frame::Raw { address }).collect()
        };
        let deep = builder.stack(&frames(1..101));
        let recursive = builder.stack(&[Frame::Raw { address: 7 }; 50]);
        let bytes = builder.build(Packing::Raw);
        let trace = Trace::open(&bytes).unwrap();
        let symbols = resolve(&trace, &frames(1..101).into_iter().collect());
        let of = |stack, depth| lines(&trace, &symbols, stack, MIXED, depth);
        let all = ViewArgs { show_all: true, ..MIXED };
        assert_eq!(of(Some(recursive), 8), ["0x7  (50 times)"]);
        assert_eq!(lines(&trace, &symbols, Some(recursive), all, 8), ["0x7"; 50]);
        let five = ["0x64", "0x63", "0x62", "… 95 more frames …", "0x2", "0x1"];
        assert_eq!(of(Some(deep), 3), five);
        assert_eq!(of(Some(deep), 0), ["… 98 more frames …", "0x2", "0x1"]);
        assert_eq!(of(Some(deep), usize::MAX), lines(&trace, &symbols, Some(deep), all, 8));
        assert_eq!(of(Some(deep), 97).len(), 100, "one frame is not left out");
        assert_eq!(of(Some(deep), 96).len(), 99);
        assert_eq!(of(None, 8), ["[no call stack recorded]"]);
    }

    #[test]
    fn what_is_left_out_counts_the_frames_of_runs_too() {
        let places: Vec<Place> =
            ["app:a", "app:b", "app:c", "app:c", "app:d", "app:e"].map(place).into();
        let mut rows: Vec<Row<'_>> = places.iter().map(Row::Shown).collect();
        rows.insert(2, Row::Run("TensorFlow", 31));
        let lines = shortened(&repeats_together(&rows), 1);
        assert_eq!(lines, ["a  in app", "… 34 more frames …", "d  in app", "e  in app"]);
        assert_eq!(shortened(&repeats_together(&rows), 3)[2], "[31 TensorFlow frames]");
    }
}
