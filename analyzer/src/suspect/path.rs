//! The way of a call stack through the user's own code: which of their lines called which.
//!
//! Frameworks, the interpreter and the standard library between them are left out. What a
//! `tf.function` runs while it is traced is not their doing: the way ends where the tracing began.

use rustc_hash::FxHashMap;
use tftrace_format::reader::Trace;
use tftrace_format::{Frame, StackId};

use crate::python;
use crate::symbol::{Kind, Owner, Place, Symbols};

/// A place on a way, as a number. 0: no line of the user's.
pub(super) type PathId = u32;

/// A line that called the next one, or what stands for it where there is none.
#[derive(Clone, Copy, Debug)]
pub(super) enum Step<'a> {
    /// A line of the user's.
    Line(&'a Place),
    /// Where a thread without such a line began.
    Thread(&'a Place),
    /// What is computed there.
    Op(&'a Place),
    /// Arenas of Python: who maps one is not who fills it.
    Arenas,
    /// No call stack was recorded.
    NoStack,
}

/// Steps are the same if they read the same: a line has many call sites.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum StepKey<'a> {
    Line(&'a str, Option<&'a str>),
    Thread(&'a str),
    Op(&'a str),
    Arenas,
    NoStack,
}

/// All ways.
pub(super) struct Paths<'a> {
    trace: &'a Trace<'a>,
    symbols: &'a Symbols,
    ways: Ways<'a>,
    /// By number of the stack: the way to it, and whether it ended at a tracing. Twice the way and one if
    /// it did, and one more; 0 where that is not known.
    of_stack: Vec<u32>,
    /// What a frame of Python's adds to a way: it stands on thousands of stacks.
    of_frame: FxHashMap<Frame, Vec<Line<'a>>>,
    /// What there is to say of stacks without a line of the user's, each kind once.
    native: Vec<NativeWay<'a>>,
    native_numbers: FxHashMap<(PathId, Option<*const Place>, Option<*const Place>), u32>,
    /// By number of the stack: which of these, and one more; 0 where that is not known. Empty until it is asked.
    native_of_stack: Vec<u32>,
}

/// The ways themselves.
#[derive(Default)]
struct Ways<'a> {
    /// The way without its last step, and that step.
    steps: Vec<(PathId, Step<'a>)>,
    numbers: FxHashMap<(PathId, StepKey<'a>), PathId>,
}

/// What a Python function is to a way.
#[derive(Clone, Copy, Debug)]
struct Line<'a> {
    is_tracing: bool,
    /// The function, if it is the user's.
    own: Option<&'a Place>,
}

/// A way through native code.
#[derive(Clone, Copy, Debug, Default)]
struct NativeWay<'a> {
    path: PathId,
    /// The first function of a library's, which says what the thread is for.
    begin: Option<&'a Place>,
    op: Option<&'a Place>,
}

impl<'a> Paths<'a> {
    pub(super) fn new(trace: &'a Trace<'a>, symbols: &'a Symbols) -> Self {
        Self {
            trace,
            symbols,
            ways: Ways::default(),
            of_stack: vec![0; trace.stacks_end()],
            of_frame: FxHashMap::default(),
            native: Vec::new(),
            native_numbers: FxHashMap::default(),
            native_of_stack: Vec::new(),
        }
    }

    /// The step that a way ends with; `None` for the empty one.
    pub(super) fn step(&self, path: PathId) -> Option<Step<'a>> {
        self.ways.steps.get((path as usize).checked_sub(1)?).map(|(_, step)| *step)
    }

    /// The way without its last step.
    pub(super) fn parent(&self, path: PathId) -> PathId {
        let at = (path as usize).checked_sub(1);
        at.and_then(|at| self.ways.steps.get(at)).map_or(0, |(parent, _)| *parent)
    }

    /// A number for what a way ends with, wherever it comes from.
    pub(super) fn line(&mut self, path: PathId) -> PathId {
        match self.step(path) {
            Some(step @ Step::Line(_)) => self.ways.continued(0, step),
            _ => path,
        }
    }

    /// Whether a way leads through a line of the user's.
    pub(super) fn is_theirs(&self, path: PathId) -> bool {
        matches!(self.step(path), Some(Step::Line(_)))
    }

    /// Whether a way is only known by its thread.
    pub(super) fn is_of_thread(&self, path: PathId) -> bool {
        matches!(self.step(path), Some(Step::Thread(_)))
    }

    /// The way of the call that started a thread of the user's, among stacks from before it began.
    ///
    /// A framework's threads are its own doing, whichever call made it start them.
    pub(super) fn of_starter(&mut self, before: &[StackId]) -> Option<PathId> {
        let starts = before.iter().copied().find(|stack| self.starts_thread(*stack))?;
        Some(self.of(Some(starts), false)).filter(|path| self.is_theirs(*path))
    }

    fn starts_thread(&self, stack: StackId) -> bool {
        let (trace, symbols) = (self.trace, self.symbols);
        let mut places = trace.frames(stack).flat_map(|frame| symbols.places(frame));
        let is_start = |place: &Place| place.function.contains("pthread_create");
        places.any(is_start)
            && places
                .take_while(|place| !place.is_python() && !python::is_user_native(place))
                .all(|place| !matches!(place.kind, Kind::Native(Owner::Framework(_))))
    }

    /// Whether two ways end with lines of one function.
    pub(super) fn are_in_one_function(&self, one: PathId, other: PathId) -> bool {
        match (self.step(one), self.step(other)) {
            (Some(Step::Line(one)), Some(Step::Line(other))) => {
                one.function == other.function && file(one) == file(other)
            }
            _ => false,
        }
    }

    /// The way of a stack. Arenas are those of Python.
    pub(super) fn of(&mut self, stack: Option<StackId>, arenas: bool) -> PathId {
        if arenas {
            return self.ways.continued(0, Step::Arenas);
        }
        let Some(stack) = stack else { return self.ways.continued(0, Step::NoStack) };
        match self.python(stack) {
            0 => self.without_python(stack),
            path => path,
        }
    }

    /// Through the user's Python functions.
    fn python(&mut self, stack: StackId) -> PathId {
        let of_stack = &self.of_stack;
        let known = |stack: StackId| of_stack.get(stack.get() as usize)?.checked_sub(1);
        let (known, new) = above(self.trace, stack, known);
        let (mut path, mut traced) = known.map_or((0, false), |known| (known / 2, known % 2 == 1));
        let symbols = self.symbols;
        for (stack, frame) in new.into_iter().rev() {
            if let Some(frame @ Frame::Python { .. }) = frame {
                let lines = self.of_frame.entry(frame).or_insert_with(|| lines(symbols, frame));
                for line in lines.iter() {
                    traced |= line.is_tracing;
                    if let Some(place) = line.own.filter(|_| !traced) {
                        path = self.ways.continued(path, Step::Line(place));
                    }
                }
            }
            if let Some(of_stack) = self.of_stack.get_mut(stack.get() as usize) {
                *of_stack = 2 * path + u32::from(traced) + 1;
            }
        }
        path
    }

    /// Through native code of the user's, or else by thread and op.
    fn without_python(&mut self, stack: StackId) -> PathId {
        if self.native_of_stack.is_empty() {
            self.native_of_stack = vec![0; self.trace.stacks_end()];
        }
        let of_stack = &self.native_of_stack;
        let known = |stack: StackId| of_stack.get(stack.get() as usize)?.checked_sub(1);
        let (known, new) = above(self.trace, stack, known);
        let known = known.and_then(|known| self.native.get(known as usize)).copied();
        let mut way = known.unwrap_or_default();
        let symbols = self.symbols;
        for (stack, frame) in new.into_iter().rev() {
            for place in frame.map_or(&[][..], |frame| symbols.places(frame)).iter().rev() {
                match place.kind {
                    _ if python::is_user_native(place) && place.location.is_some() => {
                        way.path = self.ways.continued(way.path, Step::Line(place));
                    }
                    Kind::Native(Owner::User | Owner::Framework(_)) if way.begin.is_none() => {
                        way.begin = Some(place);
                    }
                    Kind::Op => way.op = Some(place),
                    _ => {}
                }
            }
            let number = self.number(way);
            if let Some(of_stack) = self.native_of_stack.get_mut(stack.get() as usize) {
                *of_stack = number + 1;
            }
        }
        if way.path != 0 {
            return way.path;
        }
        let path = way.begin.map_or(0, |begin| self.ways.continued(0, Step::Thread(begin)));
        way.op.map_or(path, |op| self.ways.continued(path, Step::Op(op)))
    }

    /// The number of a way through native code.
    fn number(&mut self, way: NativeWay<'a>) -> u32 {
        let pointer = |place: Option<&Place>| place.map(std::ptr::from_ref);
        let key = (way.path, pointer(way.begin), pointer(way.op));
        let next = self.native.len() as u32;
        let number = *self.native_numbers.entry(key).or_insert(next);
        if number == next {
            self.native.push(way);
        }
        number
    }
}

impl<'a> Ways<'a> {
    /// The way that goes on with a step.
    fn continued(&mut self, path: PathId, step: Step<'a>) -> PathId {
        let next = self.steps.len() as PathId + 1;
        let number = *self.numbers.entry((path, step.key())).or_insert(next);
        if number == next {
            self.steps.push((path, step));
        }
        number
    }
}

/// What is known of the nearest caller of whom something is, and the frames from there on, leaf first.
///
/// Stacks share their callers: each node is walked once for all of them.
pub(super) fn above<T>(
    trace: &Trace<'_>,
    stack: StackId,
    known: impl Fn(StackId) -> Option<T>,
) -> (Option<T>, Vec<(StackId, Option<Frame>)>) {
    let mut new = Vec::new();
    let mut next = Some(stack);
    while let Some(stack) = next {
        if let Some(known) = known(stack) {
            return (Some(known), new);
        }
        let node = trace.node(stack);
        new.push((stack, node.map(|node| node.frame)));
        // Parents have smaller ids; a damaged one that has not must not loop.
        next = node.and_then(|node| node.parent).filter(|parent| *parent < stack);
    }
    (None, new)
}

/// What the functions of a frame of Python's are to a way, outermost first.
fn lines<'a>(symbols: &'a Symbols, frame: Frame) -> Vec<Line<'a>> {
    let line = |place: &'a Place| {
        let own = Some(place).filter(|place| python::is_user_function(place));
        Line { is_tracing: is_tracing(place), own }
    };
    symbols.places(frame).iter().rev().map(line).collect()
}

/// The file of a place, without its line.
fn file(place: &Place) -> Option<&str> {
    let location = place.location.as_deref()?;
    Some(location.rsplit_once(':').map_or(location, |(file, _)| file))
}

impl<'a> Step<'a> {
    fn key(self) -> StepKey<'a> {
        match self {
            Step::Line(place) => StepKey::Line(&place.function, place.location.as_deref()),
            Step::Thread(place) => StepKey::Thread(&place.function),
            Step::Op(place) => StepKey::Op(&place.function),
            Step::Arenas => StepKey::Arenas,
            Step::NoStack => StepKey::NoStack,
        }
    }
}

/// Whether a Python function builds the graph of a `tf.function`.
///
/// Of this name since TensorFlow 2.0; `cond`, `while_loop` and `Dataset.map` build theirs with it as
/// well.
pub fn is_tracing(place: &Place) -> bool {
    place.is_python()
        && place.function.ends_with("func_graph_from_py_func")
        && place.location.as_deref().is_some_and(|file| file.contains("func_graph.py"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use tftrace_format::builder::{Packing, TraceBuilder};

    /// Native frames by address: nothing that matters, a framework's, lines of the user's, a function of theirs
    /// without a line, ops, and Python of a package.
    fn places() -> [Place; 8] {
        let native = |owner, function: &str| Place::of(Kind::Native(owner), function);
        let line =
            |place: Place| Place { location: Some(format!("{}.c:1", place.function)), ..place };
        [
            native(Owner::System, "system"),
            native(Owner::Framework("TensorFlow"), "framework"),
            line(native(Owner::User, "own")),
            native(Owner::User, "nameless"),
            line(native(Owner::User, "other")),
            Place::of(Kind::Op, "op a"),
            Place::of(Kind::Op, "op b"),
            Place {
                location: Some("/v/site-packages/k.py:1".into()),
                ..Place::of(Kind::Python, "package")
            },
        ]
    }

    /// The way of a stack without the user's Python functions, in words.
    fn expected(stack: &[&str]) -> Vec<String> {
        let among = |names: &'static [&str]| stack.iter().filter(|name| names.contains(name));
        let lines: Vec<String> =
            among(&["own", "other"]).map(|name| format!("line {name}")).collect();
        if !lines.is_empty() {
            return lines;
        }
        let begin = among(&["framework", "nameless"]).next().map(|name| format!("thread {name}"));
        let op = among(&["op a", "op b"]).next_back().map(|name| (*name).to_owned());
        begin.into_iter().chain(op).collect()
    }

    #[test]
    fn ways_through_native_code_are_the_same_whatever_stacks_were_asked_before() {
        let places = places();
        let frame = |kind: usize| Frame::Raw { address: 1 + kind as u64 };
        let mut builder = TraceBuilder::new();
        let stacks: Vec<_> = (0..8usize.pow(4))
            .map(|number| {
                let kinds = [number / 512, number / 64 % 8, number / 8 % 8, number % 8];
                let names = kinds.map(|kind| places[kind].function.as_str());
                (builder.stack(&kinds.map(frame)), names)
            })
            .collect();
        let bytes = builder.build(Packing::Raw);
        let trace = Trace::open(&bytes).unwrap();
        let numbered = places.iter().cloned().enumerate();
        let symbols = Symbols::of(numbered.map(|(kind, place)| (frame(kind), vec![place])));
        let mut paths = Paths::new(&trace, &symbols);
        for (stack, names) in &stacks {
            let mut path = paths.of(Some(*stack), false);
            let mut way = Vec::new();
            while let Some(step) = paths.step(path) {
                way.push(match step {
                    Step::Line(place) => format!("line {}", place.function),
                    Step::Thread(place) => format!("thread {}", place.function),
                    Step::Op(place) => place.function.clone(),
                    Step::Arenas | Step::NoStack => panic!("{names:?}: {step:?}"),
                });
                path = paths.parent(path);
            }
            way.reverse();
            assert_eq!(way, expected(names), "{names:?}");
        }
    }
}
