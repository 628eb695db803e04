//! A call stack as lines of text, from the function that allocated to the thread's root.

use tftrace_format::StackId;
use tftrace_format::reader::Trace;

use super::numbers::plain;
use crate::symbol::{Place, Symbols, shorten};

/// The longest function name, in characters.
const NAME_LIMIT: usize = 160;
/// A source path longer than this is shown without its first folders.
const PATH_LIMIT: usize = 40;
/// A stack with more lines than this is shown without its middle.
const LINES_LIMIT: usize = 32;
/// Lines kept at the leaf of such a stack; the rest of the limit is kept at the root.
const LEAF_LINES: usize = 24;

/// The lines, without indentation.
pub fn lines(trace: &Trace<'_>, symbols: &Symbols, stack: Option<StackId>) -> Vec<String> {
    let Some(stack) = stack else { return vec!["[no call stack recorded]".to_owned()] };
    let mut lines: Vec<(String, usize)> = Vec::new();
    for place in trace.frames(stack).flat_map(|frame| symbols.places(frame)) {
        let line = line(place);
        match lines.last_mut() {
            Some((last, times)) if *last == line => *times += 1,
            _ => lines.push((line, 1)),
        }
    }
    let mut lines: Vec<String> = lines
        .into_iter()
        .map(|(line, times)| if times > 1 { format!("{line}  ({times} times)") } else { line })
        .collect();
    if lines.len() > LINES_LIMIT {
        let root_lines = LINES_LIMIT - LEAF_LINES - 1;
        let left_out = lines.len() - LEAF_LINES - root_lines;
        lines.splice(LEAF_LINES..LEAF_LINES + left_out, [format!("… {left_out} more callers …")]);
    }
    lines
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
        assert_eq!(lines(&trace, &symbols, Some(recursive)), ["0x7  (50 times)"]);
        let deep = lines(&trace, &symbols, Some(deep));
        assert_eq!(deep.len(), 32);
        assert_eq!((deep[0].as_str(), deep[31].as_str()), ("0x64", "0x1"));
        assert_eq!(deep[24], "… 69 more callers …");
        assert_eq!(lines(&trace, &symbols, None), ["[no call stack recorded]"]);
    }
}
