//! Call stacks as lines `root;...;leaf BYTES`, which flame graph tools read.

use std::collections::BTreeMap;

use rustc_hash::{FxHashMap, FxHashSet};
use tftrace_format::reader::Trace;
use tftrace_format::{Frame, StackId};

use super::slivers::Drawn;
use crate::python;
use crate::symbol::{Place, Symbols};

/// Names longer than this are shortened; a screen is not wider.
const NAME_LIMIT: usize = 240;

/// Which frames become part of a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shown {
    /// Every one.
    All,
    /// Not the interpreter's own frames beside Python functions: those say what it ran.
    WithoutInterpreter,
}

/// What a frame's label is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Python,
    Interpreter,
    Native,
}

fn kind(place: &Place) -> Kind {
    match place {
        place if place.is_python => Kind::Python,
        place if python::is_interpreter(place) => Kind::Interpreter,
        _ => Kind::Native,
    }
}

/// Drops runs of the interpreter's frames that have a Python function before or behind them; from
/// the root to the leaf. What the interpreter did at the leaf stays.
fn without_interpreter(labels: &mut Vec<(&str, Kind)>) {
    let (mut kept, mut at) = (0, 0);
    while at < labels.len() {
        let (_, kind) = labels[at];
        let run = labels[at..].iter().take_while(|(_, next)| *next == kind).count();
        let end = at + run;
        let is_python = |at: usize| labels.get(at).is_some_and(|(_, kind)| *kind == Kind::Python);
        let beside = is_python(end) || (kept > 0 && is_python(kept - 1));
        if !(kind == Kind::Interpreter && beside && end < labels.len()) {
            labels.copy_within(at..end, kept);
            kept += run;
        }
        at = end;
    }
    labels.truncate(kept);
}

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
    pub fn new(trace: &Trace<'_>, symbols: &Symbols, drawn: &[Drawn], shown: Shown) -> Self {
        let with_bytes = || drawn.iter().filter(|drawn| drawn.bytes > 0);
        let first = with_bytes().next().map(|drawn| drawn.domain);
        let several = with_bytes().any(|drawn| Some(drawn.domain) != first);
        let mut lines = BTreeMap::new();
        // A frame stands on thousands of stacks, each hundreds of frames deep: name it once.
        let frames = frames_of(trace, drawn.iter().map(|drawn| drawn.stack));
        let names = frames
            .into_iter()
            .map(|frame| (frame, symbols.places(frame).iter().map(|at| (label(at), kind(at)))))
            .map(|(frame, labels)| (frame, labels.collect::<Vec<(String, Kind)>>()));
        let names: FxHashMap<Frame, Vec<(String, Kind)>> = names.collect();
        let (mut frames, mut labels, mut line) = (Vec::new(), Vec::new(), Vec::new());
        for drawn in with_bytes() {
            frames.clear();
            frames.extend(drawn.stack.into_iter().flat_map(|stack| trace.frames(stack)));
            line.clear();
            line.extend(several.then_some(drawn.domain.name()));
            labels.clear();
            for frame in frames.iter().rev() {
                let names = names.get(frame).into_iter().flatten().rev();
                labels.extend(names.map(|(name, kind)| (name.as_str(), *kind)));
            }
            if shown == Shown::WithoutInterpreter {
                without_interpreter(&mut labels);
            }
            line.extend(labels.iter().map(|(name, _)| *name));
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
    fn the_interpreter_goes_where_python_functions_say_what_it_ran() {
        let left = |stack: &str| -> String {
            let kind = |label: &str| match label.as_bytes()[0] {
                b'p' => Kind::Python,
                b'i' => Kind::Interpreter,
                _ => Kind::Native,
            };
            let mut labels: Vec<_> = stack.split(' ').map(|name| (name, kind(name))).collect();
            without_interpreter(&mut labels);
            labels.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(" ")
        };
        assert_eq!(left("start i1 i2 p1 p2 i3 ext"), "start p1 p2 ext");
        assert_eq!(left("start i1 p1 i2 p2 i3 i4"), "start p1 p2 i3 i4", "the leaf stays");
        assert_eq!(left("start i1 i2 ext"), "start i1 i2 ext", "nobody says what it ran");
        assert_eq!(left("i1 p1"), "p1");
        assert_eq!(left("p1 ext i1 i2 p2"), "p1 ext p2");
    }

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
