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
    steps: Vec<(PathId, Step<'a>)>,
    numbers: FxHashMap<(PathId, StepKey<'a>), PathId>,
    /// By number of the stack: the way to it, and whether it ended at a tracing. Twice the way and one if
    /// it did, and one more; 0 where that is not known.
    of_stack: Vec<u32>,
}

impl<'a> Paths<'a> {
    pub(super) fn new(trace: &'a Trace<'a>, symbols: &'a Symbols) -> Self {
        Self {
            trace,
            symbols,
            steps: Vec::new(),
            numbers: FxHashMap::default(),
            of_stack: vec![0; trace.stacks_end()],
        }
    }

    /// The step that a way ends with; `None` for the empty one.
    pub(super) fn step(&self, path: PathId) -> Option<Step<'a>> {
        self.steps.get((path as usize).checked_sub(1)?).map(|(_, step)| *step)
    }

    /// The way without its last step.
    pub(super) fn parent(&self, path: PathId) -> PathId {
        let at = (path as usize).checked_sub(1);
        at.and_then(|at| self.steps.get(at)).map_or(0, |(parent, _)| *parent)
    }

    /// A number for what a way ends with, wherever it comes from.
    pub(super) fn line(&mut self, path: PathId) -> PathId {
        match self.step(path) {
            Some(step @ Step::Line(_)) => self.continued(0, step),
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
            return self.continued(0, Step::Arenas);
        }
        let Some(stack) = stack else { return self.continued(0, Step::NoStack) };
        match self.python(stack) {
            0 => self.without_python(stack),
            path => path,
        }
    }

    /// Through the user's Python functions.
    fn python(&mut self, stack: StackId) -> PathId {
        let mut new = Vec::new();
        let (mut path, mut traced) = (0, false);
        let mut next = Some(stack);
        // Stacks share their callers: each node is walked once for all of them.
        while let Some(stack) = next {
            let known = self.of_stack.get(stack.get() as usize).and_then(|of| of.checked_sub(1));
            if let Some(known) = known {
                (path, traced) = (known / 2, known % 2 == 1);
                break;
            }
            let node = self.trace.node(stack);
            new.push((stack, node.map(|node| node.frame)));
            // Parents have smaller ids; a damaged one that has not must not loop.
            next = node.and_then(|node| node.parent).filter(|parent| *parent < stack);
        }
        for (stack, frame) in new.into_iter().rev() {
            if let Some(frame @ Frame::Python { .. }) = frame {
                let symbols = self.symbols;
                for place in symbols.places(frame).iter().rev() {
                    traced |= is_tracing(place);
                    if !traced && python::is_user_function(place) {
                        path = self.continued(path, Step::Line(place));
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
        let (trace, symbols) = (self.trace, self.symbols);
        let mut path = 0;
        let (mut begin, mut op) = (None, None);
        let mut frames: Vec<Frame> = trace.frames(stack).collect();
        frames.reverse();
        for place in frames.iter().flat_map(|frame| symbols.places(*frame).iter().rev()) {
            match place.kind {
                _ if python::is_user_native(place) && place.location.is_some() => {
                    path = self.continued(path, Step::Line(place));
                }
                Kind::Native(Owner::User | Owner::Framework(_)) if begin.is_none() => {
                    begin = Some(place);
                }
                Kind::Op => op = Some(place),
                _ => {}
            }
        }
        if path == 0 {
            path = begin.map_or(0, |begin| self.continued(0, Step::Thread(begin)));
            path = op.map_or(path, |op| self.continued(path, Step::Op(op)));
        }
        path
    }

    fn continued(&mut self, path: PathId, step: Step<'a>) -> PathId {
        let next = self.steps.len() as PathId + 1;
        let number = *self.numbers.entry((path, step.key())).or_insert(next);
        if number == next {
            self.steps.push((path, step));
        }
        number
    }
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
