//! Call stacks as lines `root;...;leaf BYTES`, which flame graph tools read.

use std::collections::BTreeMap;

use rustc_hash::{FxHashMap, FxHashSet};
use tftrace_format::reader::Trace;
use tftrace_format::{Frame, StackId};

use super::slivers::Drawn;
use super::view::{Row, rows};
use crate::cli::ViewArgs;
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
    let mut wanted = vec![false; trace.stacks_end()];
    let mut frames = FxHashSet::default();
    for stack in stacks.flatten() {
        match wanted.get_mut(stack.get() as usize) {
            Some(wanted) => *wanted = true,
            // Its node is lost, and so are its callers.
            None => _ = frames.insert(Frame::Unknown),
        }
    }
    // A caller has the smaller number: from behind, all that leads to a stack is known before it.
    for number in (1..wanted.len()).rev() {
        if !wanted[number] {
            continue;
        }
        let stack = StackId::new(number as u32);
        let node = stack.and_then(|stack| trace.node(stack));
        frames.insert(node.map_or(Frame::Unknown, |node| node.frame));
        // Parents have smaller ids; a damaged one that has not leads nowhere.
        let parent = node.and_then(|node| node.parent).filter(|parent| Some(*parent) < stack);
        if let Some(parent) = parent {
            wanted[parent.get() as usize] = true;
        }
    }
    frames
}

impl FoldedStacks {
    /// Writes stacks as lines, as the view shows them. A first frame names the domain if there is
    /// more than one.
    pub fn new(trace: &Trace<'_>, symbols: &Symbols, drawn: &[Drawn], view: ViewArgs) -> Self {
        let with_bytes = || drawn.iter().filter(|drawn| drawn.bytes > 0);
        let first = with_bytes().next().map(|drawn| drawn.domain);
        let several = with_bytes().any(|drawn| Some(drawn.domain) != first);
        let mut lines = Lines::default();
        // A function stands on thousands of stacks: name it once.
        let mut names: FxHashMap<*const Place, String> = FxHashMap::default();
        for drawn in with_bytes() {
            let frames = drawn.stack.into_iter().flat_map(|stack| trace.frames(stack));
            let places: Vec<&Place> = frames.flat_map(|frame| symbols.places(frame)).collect();
            lines.begin();
            if several {
                lines.push(drawn.domain.name());
            }
            for row in rows(&places, view).into_iter().rev() {
                match row {
                    Row::Shown(place) => {
                        lines.push(names.entry(place).or_insert_with(|| label(place)));
                    }
                    Row::Run(name, frames) => lines.push_run(name, frames),
                }
            }
            match drawn.stack {
                _ if drawn.smaller => lines.push("[smaller call stacks]"),
                None => lines.push("[no call stack recorded]"),
                Some(_) => {}
            }
            lines.end(drawn.bytes);
        }
        Self(lines.finish())
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

/// Lines in the making. Runs at the same place are one, however long each of them is: the line
/// says from which length to which once all lines are there.
#[derive(Default)]
struct Lines {
    line: String,
    bytes: BTreeMap<String, u64>,
    /// By the line up to the run: its name, the shortest and the longest.
    runs: FxHashMap<String, (&'static str, usize, usize)>,
}

/// Stands where a run's label comes. No label has a control character.
const RUN: &str = "\0";

impl Lines {
    fn begin(&mut self) {
        self.line.clear();
    }

    fn push(&mut self, label: &str) {
        if !self.line.is_empty() {
            self.line.push(';');
        }
        self.line.push_str(label);
    }

    fn push_run(&mut self, name: &'static str, frames: usize) {
        self.push(RUN);
        self.line.push_str(name);
        let lengths = self.runs.entry(self.line.clone()).or_insert((name, frames, frames));
        *lengths = (name, lengths.1.min(frames), lengths.2.max(frames));
    }

    fn end(&mut self, bytes: u64) {
        let sum = self.bytes.entry(self.line.clone()).or_default();
        *sum = sum.saturating_add(bytes);
    }

    fn finish(self) -> BTreeMap<String, u64> {
        let labelled = |line: &str| {
            let mut labelled = String::with_capacity(line.len());
            let mut end = 0;
            for label in line.split(';') {
                end += label.len();
                match label.starts_with(RUN).then(|| self.runs.get(&line[..end])).flatten() {
                    Some(&(name, from, to)) => labelled.push_str(&run_label(name, from, to)),
                    None => labelled.push_str(label),
                }
                end += 1;
                labelled.push(';');
            }
            labelled.pop();
            labelled
        };
        self.bytes.iter().map(|(line, bytes)| (labelled(line), *bytes)).collect()
    }
}

/// A run of frames in words: `[31 TensorFlow frames]`.
pub fn run_label(name: &str, from: usize, to: usize) -> String {
    match from == to {
        true => format!("[{from} {name} frames]"),
        false => format!("[{from} to {to} {name} frames]"),
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
            character if crate::symbol::is_unseen(character) => ' ',
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
    fn runs_of_one_place_are_one_box_that_says_their_lengths() {
        let mut lines = Lines::default();
        for (frames, leaf, bytes) in [(31, "a", 1), (28, "a", 2), (30, "b", 4)] {
            lines.begin();
            lines.push("main");
            lines.push_run("TensorFlow", frames);
            lines.push(leaf);
            lines.push_run("CUDA", 7);
            lines.end(bytes);
        }
        let run = "main;[28 to 31 TensorFlow frames]";
        let expected =
            [(format!("{run};a;[7 CUDA frames]"), 3), (format!("{run};b;[7 CUDA frames]"), 4)];
        assert_eq!(lines.finish(), expected.into());
    }

    #[test]
    fn a_label_cannot_be_taken_for_two_frames_or_a_count() {
        let place = |function: &str, location: Option<&str>| {
            label(&Place { location: location.map(String::from), ..Place::unnamed(function) })
        };
        assert_eq!(place("a;b\nc", None), "a:b c");
        assert_eq!(place("lambda 12", None), "lambda_12");
        assert_eq!(place("f", Some("/src/x/f.c:12")), "f (f.c:12)");
        assert_eq!(place("ends in space ", None), "ends in space_");
    }
}
