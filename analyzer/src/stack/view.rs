//! What of a call stack is shown: which frames, and which runs of them as one.
//!
//! A stack of TensorFlow has sixty frames of machine code that say nothing to the person on call.
//! Nothing is dropped silently: a run that is folded says how long it is, but for the
//! interpreter's own frames beside the Python functions that it ran.

use crate::cli::{Frames, ViewArgs};
use crate::python;
use crate::symbol::{Kind, Owner, Place};

/// The interpreter, as the name of a run.
const INTERPRETER: &str = "Python interpreter";

/// What becomes one line of text, or one box of a flame graph.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Row<'a> {
    /// A function.
    Shown(&'a Place),
    /// A run of frames: whose, and how many.
    Run(&'static str, usize),
}

/// What the frames of one run have in common.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Class {
    /// They are shown one by one.
    Shown,
    Interpreter,
    Framework(&'static str),
}

fn class(place: &Place) -> Class {
    match place.kind {
        Kind::Native(_) if python::is_interpreter(place) => Class::Interpreter,
        Kind::Native(Owner::Framework(name)) => Class::Framework(name),
        _ => Class::Shown,
    }
}

/// Whether the view shows the place at all, alone or in a run.
pub(crate) fn is_in_view(place: &Place, view: ViewArgs) -> bool {
    match (view.frames, place.kind) {
        (Frames::Mixed, _) | (_, Kind::Note) => true,
        (Frames::Native, kind) => matches!(kind, Kind::Native(_)),
        (Frames::Python, kind) => !matches!(kind, Kind::Native(_)),
    }
}

/// The name of the run that the view makes the place a part of, unless it stands at the leaf.
pub(super) fn run_of(place: &Place, view: ViewArgs) -> Option<&'static str> {
    match class(place) {
        Class::Framework(name) if view.frames == Frames::Mixed && !view.show_all => Some(name),
        _ => None,
    }
}

/// A stack from the leaf to the root, as the view shows it.
pub fn rows<'a>(places: &[&'a Place], view: ViewArgs) -> Vec<Row<'a>> {
    let in_view: Vec<&Place> =
        places.iter().copied().filter(|place| is_in_view(place, view)).collect();
    if in_view.is_empty() && !places.is_empty() {
        let hidden = if view.frames == Frames::Native { "Python" } else { "native" };
        return vec![run_row(hidden, places)];
    }
    match view.frames == Frames::Mixed && !view.show_all {
        true => folded(&in_view),
        false => in_view.into_iter().map(Row::Shown).collect(),
    }
}

fn folded<'a>(places: &[&'a Place]) -> Vec<Row<'a>> {
    let is_python =
        |at: Option<usize>| at.and_then(|at| places.get(at)).is_some_and(|p| p.is_python());
    let mut rows = Vec::new();
    let mut at = 0;
    while let Some(&place) = places.get(at) {
        let class = class(place);
        let is_other = |place: &&Place| self::class(place) != class;
        let end = places[at..].iter().position(is_other).map_or(places.len(), |run| at + run);
        let mut run = &places[at..end];
        match class {
            Class::Shown => rows.extend(run.iter().map(|place| Row::Shown(place))),
            Class::Framework(name) => {
                if at == 0 {
                    // The leaf asked for the memory, whatever it is.
                    rows.push(Row::Shown(place));
                    run = &run[1..];
                }
                rows.extend((!run.is_empty()).then(|| run_row(name, run)));
            }
            Class::Interpreter => {
                if at == 0 {
                    let (leaf, rest) = run.split_at(end_of_doing(run));
                    rows.extend(leaf.iter().map(|place| Row::Shown(place)));
                    run = rest;
                }
                // Beside Python functions a run is left out: they say what the interpreter ran.
                if !is_python(at.checked_sub(1)) && !is_python(Some(end)) {
                    rows.extend(interpreter(run));
                }
            }
        }
        at = end;
    }
    rows
}

/// How many frames at the leaf the interpreter was doing something by itself in, before it called
/// or ran code: they say what the memory is.
fn end_of_doing(run: &[&Place]) -> usize {
    let calling = run.iter().skip(1).position(|place| python::is_calling(place));
    calling.map_or(run.len(), |calling| calling + 1)
}

/// A run of the interpreter's frames: its own, and the one by which native code entered it.
fn interpreter<'a>(run: &[&'a Place]) -> impl Iterator<Item = Row<'a>> {
    let (entered, inside) = match run.split_last() {
        Some((entered, inside)) => (Some(Row::Shown(entered)), inside),
        None => (None, run),
    };
    (!inside.is_empty()).then(|| run_row(INTERPRETER, inside)).into_iter().chain(entered)
}

/// A run, or its only frame: that takes no more room.
fn run_row<'a>(name: &'static str, run: &[&'a Place]) -> Row<'a> {
    match run {
        [one] => Row::Shown(one),
        run => Row::Run(name, run.len()),
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) const MIXED: ViewArgs = ViewArgs { frames: Frames::Mixed, show_all: false };

    /// A place written as `module:function`; `.py` is a Python function, `tf.so` TensorFlow's,
    /// `op` an op and `[…]` a note.
    pub(crate) fn place(text: &str) -> Place {
        let (module, function) = text.split_once(':').unwrap_or(("", text));
        let kind = match module {
            "op" => Kind::Op,
            "tf.so" => Kind::Native(Owner::Framework("TensorFlow")),
            _ if function.starts_with('[') => Kind::Note,
            _ if module.ends_with(".py") => Kind::Python,
            _ => Kind::Native(Owner::User),
        };
        Place { module: Some(module.into()), ..Place::of(kind, function) }
    }

    fn shown(stack: &[&str], view: ViewArgs) -> Vec<String> {
        let places: Vec<Place> = stack.iter().map(|text| place(text)).collect();
        let rows = rows(&places.iter().collect::<Vec<_>>(), view);
        rows.iter()
            .map(|row| match row {
                Row::Shown(place) => place.function.clone(),
                Row::Run(name, frames) => format!("{frames} {name}"),
            })
            .collect()
    }

    const STACK: [&str; 13] = [
        "op:MatMul",
        "tf.so:Allocate",
        "tf.so:Compute",
        "tf.so:Run",
        "[scheduled by]",
        "tf.so:Schedule",
        "python3.11:cfunction_call",
        "ops.py:execute",
        "serve.py:handle",
        "python3.11:_PyEval_EvalFrameDefault",
        "python3.11:Py_BytesMain",
        "libc.so.6:__libc_start_call_main",
        "app:_start",
    ];

    #[test]
    fn frameworks_and_the_interpreter_fold_and_ops_and_python_stay() {
        let expected = [
            "MatMul",
            "3 TensorFlow",
            "[scheduled by]",
            "Schedule",
            "execute",
            "handle",
            "__libc_start_call_main",
            "_start",
        ];
        assert_eq!(shown(&STACK, MIXED), expected);
        assert_eq!(shown(&STACK, ViewArgs { show_all: true, ..MIXED }).len(), STACK.len());
    }

    #[test]
    fn the_other_views_show_one_kind_and_what_a_reader_must_know() {
        let view = |frames| ViewArgs { frames, show_all: false };
        let python = ["MatMul", "[scheduled by]", "execute", "handle"];
        assert_eq!(shown(&STACK, view(Frames::Python)), python);
        let native = shown(&STACK, view(Frames::Native));
        assert_eq!(native.len(), STACK.len() - 3);
        assert!(native.contains(&"_PyEval_EvalFrameDefault".to_owned()));
        let no_python = ["app:leak", "app:main"];
        assert_eq!(shown(&no_python, view(Frames::Python)), ["2 native"]);
        assert_eq!(shown(&["a.py:g", "a.py:f"], view(Frames::Native)), ["2 Python"]);
        assert_eq!(shown(&[], view(Frames::Python)), [""; 0]);
    }

    #[test]
    fn the_leaf_is_shown_and_a_frame_alone_is_no_run() {
        let stack = ["tf.so:New", "tf.so:Node", "tf.so:Graph", "a.py:f", "tf.so:Py", "app:main"];
        assert_eq!(shown(&stack, MIXED), ["New", "2 TensorFlow", "f", "Py", "main"]);
        assert_eq!(shown(&["tf.so:New", "a.py:f"], MIXED), ["New", "f"]);
    }

    #[test]
    fn the_interpreter_alone_is_a_run_and_the_frame_that_native_code_entered_it_by() {
        let stack = [
            "app.so:leak",
            "_ctypes.so:PyCFuncPtr_call",
            "python3.11:_PyObject_MakeTpCall",
            "python3.11:_PyEval_EvalFrameDefault",
            "python3.11:_PyEval_Vector",
            "python3.11:PyObject_CallObject",
            "callback.so:RunPyFunc",
            "python3.11:_PyEval_EvalFrameDefault",
            "python3.11:Py_BytesMain",
            "libc.so.6:__libc_start_call_main",
        ];
        let expected = [
            "leak",
            "PyCFuncPtr_call",
            "3 Python interpreter",
            "PyObject_CallObject",
            "RunPyFunc",
            "_PyEval_EvalFrameDefault",
            "Py_BytesMain",
            "__libc_start_call_main",
        ];
        assert_eq!(shown(&stack, MIXED), expected);
    }

    #[test]
    fn what_the_interpreter_does_at_the_leaf_is_shown_until_it_calls() {
        let stack = [
            "python3.11:_PyObject_Malloc",
            "python3.11:PyUnicode_New",
            "python3.11:r_object",
            "python3.11:cfunction_vectorcall_O",
            "python3.11:_PyEval_EvalFrameDefault",
            "python3.11:thread_run",
            "libc.so.6:start_thread",
        ];
        let expected = [
            "_PyObject_Malloc",
            "PyUnicode_New",
            "r_object",
            "2 Python interpreter",
            "thread_run",
            "start_thread",
        ];
        assert_eq!(shown(&stack, MIXED), expected);
        assert_eq!(shown(&["python3.11:_PyEval_Vector", "python3.11:main"], MIXED).len(), 2);
        assert_eq!(
            shown(&["python3.11:PyUnicode_New", "python3.11:_PyEval_X", "a.py:f"], MIXED),
            ["PyUnicode_New", "f"]
        );
        let stripped = ["libpython3.11.so:libpython3.11.so+0x1"; 3];
        assert_eq!(shown(&stripped, MIXED).len(), 3, "the leaf, one that is passed on, the entry");
    }
}
