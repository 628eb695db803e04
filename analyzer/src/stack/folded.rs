//! Call stacks as lines `root;...;leaf BYTES`, which flame graph tools read.

use std::collections::BTreeMap;

use rustc_hash::{FxHashMap, FxHashSet};
use tftrace_format::reader::Trace;
use tftrace_format::{Frame, StackId};

use super::slivers::Drawn;
use crate::symbol::{Place, Symbols};

/// Names longer than this are shortened; a screen is not wider.
const NAME_LIMIT: usize = 240;

/// Lines, sorted, with the bytes of each. Stacks that read the same are one line.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FoldedStacks(BTreeMap<String, u64>);

/// All frames of some stacks.
pub fn frames_of(
    trace: &Trace<'_>,
    stacks: impl Iterator<Item = Option<StackId>>,
) -> FxHashSet<Frame> {
    let mut seen = FxHashSet::default();
    let mut frames = FxHashSet::default();
    for stack in stacks.flatten() {
        // Once a stack was seen, so were its callers.
        let mut next = Some(stack);
        while let Some(stack) = next.take_if(|stack| seen.insert(*stack)) {
            let node = trace.node(stack);
            frames.insert(node.map_or(Frame::Unknown, |node| node.frame));
            next = node.and_then(|node| node.parent).filter(|parent| *parent < stack);
        }
    }
    frames
}

impl FoldedStacks {
    /// Writes stacks as lines. A first frame names the domain if there is more than one.
    pub fn new(trace: &Trace<'_>, symbols: &Symbols, drawn: &[Drawn]) -> Self {
        let with_bytes = || drawn.iter().filter(|drawn| drawn.bytes > 0);
        let first = with_bytes().next().map(|drawn| drawn.domain);
        let several = with_bytes().any(|drawn| Some(drawn.domain) != first);
        let mut lines = BTreeMap::new();
        // A frame stands on thousands of stacks, each hundreds of frames deep: name it once.
        let frames = frames_of(trace, drawn.iter().map(|drawn| drawn.stack));
        let names = frames
            .into_iter()
            .map(|frame| (frame, symbols.places(frame).iter().map(label).collect::<Vec<String>>()));
        let names: FxHashMap<Frame, Vec<String>> = names.collect();
        let mut frames = Vec::new();
        let mut line = Vec::new();
        for drawn in with_bytes() {
            frames.clear();
            frames.extend(drawn.stack.into_iter().flat_map(|stack| trace.frames(stack)));
            line.clear();
            line.extend(several.then_some(drawn.domain.name()));
            for frame in frames.iter().rev() {
                line.extend(names.get(frame).into_iter().flatten().rev().map(String::as_str));
            }
            match drawn.stack {
                _ if drawn.smaller => line.push("[smaller call stacks]"),
                None => line.push("[no call stack recorded]"),
                Some(_) => {}
            }
            let bytes: &mut u64 = lines.entry(line.join(";")).or_default();
            *bytes = bytes.saturating_add(drawn.bytes);
        }
        Self(lines)
    }

    /// The lines.
    pub fn lines(&self) -> impl Iterator<Item = String> + '_ {
        self.0.iter().map(|(stack, bytes)| format!("{stack} {bytes}"))
    }

    /// Whether there is nothing to draw.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// A place as one name: no `;`, no line break, and no number at its end that reads as a count.
pub fn label(place: &Place) -> String {
    let mut name = crate::symbol::shorten(&place.function, NAME_LIMIT);
    if let Some(location) = &place.location {
        let file = location.rsplit('/').next().unwrap_or(location);
        name = format!("{name} ({file})");
    }
    let mut name: String = name
        .chars()
        .map(|character| match character {
            ';' => ':',
            character if character.is_control() => ' ',
            character => character,
        })
        .collect();
    if let Some((before, last)) = name.rsplit_once(' ')
        && last.chars().all(|character| character.is_ascii_digit() || character == '.')
    {
        name = format!("{before}_{last}");
    }
    name
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_label_cannot_be_taken_for_two_frames_or_a_count() {
        let place = |function: &str, location: Option<&str>| {
            label(&Place {
                function: function.into(),
                location: location.map(String::from),
                module: None,
                inlined: false,
                is_python: false,
            })
        };
        assert_eq!(place("a;b\nc", None), "a:b c");
        assert_eq!(place("lambda 12", None), "lambda_12");
        assert_eq!(place("f", Some("/src/x/f.c:12")), "f (f.c:12)");
        assert_eq!(place("ends in space ", None), "ends in space_");
    }
}
