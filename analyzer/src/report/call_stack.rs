//! A call stack as lines of text, from the function that allocated to the thread's start.
//!
//! Says how many frames it leaves out; never drops one silently.

use tftrace_format::StackId;
use tftrace_format::reader::Trace;

use super::numbers::{counted, plain};
use crate::cli::Frames;
use crate::python;
use crate::symbol::{Place, Symbols, shorten};

/// The longest function name, in characters.
const NAME_LIMIT: usize = 100;
/// A source path longer than this is shown without its first folders.
const PATH_LIMIT: usize = 40;
/// Frames shown at the thread's start: they tell which thread it is.
const ROOT_FRAMES: usize = 2;

/// What becomes one line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Row<'a> {
    /// A function that is shown, and how often it stands there in a row.
    Shown(&'a Place, usize),
    /// A run of frames of the Python interpreter.
    Interpreter(usize),
}

/// The lines, without indentation.
pub fn lines(
    trace: &Trace<'_>,
    symbols: &Symbols,
    stack: Option<StackId>,
    frames: Frames,
) -> Vec<String> {
    let Some(stack) = stack else { return vec!["[no call stack recorded]".to_owned()] };
    let places = || trace.frames(stack).flat_map(|frame| symbols.places(frame));
    match frames {
        Frames::All => places().map(line).collect(),
        Frames::Leaf(leaf_frames) => {
            let places: Vec<&Place> = places().collect();
            shortened(&repeats_together(collapsed(&places)), leaf_frames)
        }
    }
}

/// The line of the user's own code that the stack leads through, if there is one.
pub fn user_line(trace: &Trace<'_>, symbols: &Symbols, stack: Option<StackId>) -> Option<String> {
    let places = trace.frames(stack?).flat_map(|frame| symbols.places(frame));
    python::user_place(places).map(line)
}

/// Makes one row of each run of interpreter frames, but for two kinds of them: where native code
/// enters the interpreter, and what the interpreter does at the leaf before it calls or runs code.
///
/// Beside Python functions such a run is left out: they say what the interpreter ran.
fn collapsed<'a>(places: &[&'a Place]) -> Vec<Row<'a>> {
    let mut rows = Vec::new();
    let is_python =
        |at: Option<usize>| at.and_then(|at| places.get(at)).is_some_and(|p| p.is_python);
    let mut at = 0;
    while let Some(&place) = places.get(at) {
        if !python::is_interpreter(place) {
            rows.push(Row::Shown(place, 1));
            at += 1;
            continue;
        }
        let is_not = |place: &&Place| !python::is_interpreter(place);
        let end = places[at..].iter().position(is_not).map_or(places.len(), |run| at + run);
        let mut run = &places[at..end];
        if at == 0 {
            // The leaf itself asked for the memory, whatever it is.
            let calling = run.iter().skip(1).position(|place| python::is_calling(place));
            let (leaf, rest) = run.split_at(calling.map_or(run.len(), |calling| calling + 1));
            rows.extend(leaf.iter().map(|place| Row::Shown(place, 1)));
            run = rest;
        }
        if is_python(at.checked_sub(1)) || is_python(Some(end)) {
            at = end;
            continue;
        }
        if let Some((entered, hidden)) = run.split_last() {
            match hidden {
                [] => {}
                [one] => rows.push(Row::Shown(one, 1)),
                hidden => rows.push(Row::Interpreter(hidden.len())),
            }
            rows.push(Row::Shown(entered, 1));
        }
        at = end;
    }
    rows
}

/// Recursion reads as one frame and a number.
fn repeats_together(rows: Vec<Row<'_>>) -> Vec<Row<'_>> {
    let mut together: Vec<Row<'_>> = Vec::new();
    for row in rows {
        match (together.last_mut(), row) {
            (Some(Row::Shown(last, times)), Row::Shown(place, more))
                if (&last.function, &last.module, last.inlined)
                    == (&place.function, &place.module, place.inlined) =>
            {
                *times += more;
            }
            _ => together.push(row),
        }
    }
    together
}

/// The first `leaf_frames` and the frames at the root; what is between them in one line.
fn shortened(rows: &[Row<'_>], leaf_frames: usize) -> Vec<String> {
    let is_shown = |row: &Row<'_>| matches!(row, Row::Shown(..));
    let shown = |rows: &[Row<'_>]| rows.iter().filter(|row| is_shown(row)).count();
    let leaf = end_of_shown(rows.iter(), leaf_frames);
    let root = rows.len() - end_of_shown(rows.iter().rev(), ROOT_FRAMES);
    let hidden = rows.get(leaf..root).unwrap_or_default();
    // A line that says that one frame is missing takes as much room as the frame.
    if shown(hidden) == 0 || hidden.len() == 1 {
        return rows.iter().map(row_line).collect();
    }
    let (mut frames, mut interpreter) = (0, 0);
    for row in hidden {
        match row {
            Row::Shown(place, times) => {
                frames += times;
                interpreter += if python::is_interpreter(place) { *times } else { 0 };
            }
            Row::Interpreter(run) => {
                frames += run;
                interpreter += run;
            }
        }
    }
    let left_out = match interpreter {
        0 => format!("… {} …", counted(frames as u64, "more frame")),
        all if all == frames => row_line(&Row::Interpreter(all)),
        some => {
            let frames = counted(frames as u64, "more frame");
            format!("… {frames}, {} of them of the Python interpreter …", some)
        }
    };
    let (leaf, root) = (&rows[..leaf], &rows[root..]);
    leaf.iter().map(row_line).chain([left_out]).chain(root.iter().map(row_line)).collect()
}

/// How many rows it takes to see this many frames.
fn end_of_shown<'a>(rows: impl Iterator<Item = &'a Row<'a>>, frames: usize) -> usize {
    let mut seen = 0;
    rows.take_while(|row| {
        let room = seen < frames;
        seen += usize::from(matches!(row, Row::Shown(..)));
        room
    })
    .count()
}

fn row_line(row: &Row<'_>) -> String {
    match row {
        Row::Shown(place, 1) => line(place),
        Row::Shown(place, times) => format!("{}  ({times} times)", line(place)),
        Row::Interpreter(run) => {
            format!("… {} of the Python interpreter …", counted(*run as u64, "frame"))
        }
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
        let of = |stack, frames| lines(&trace, &symbols, stack, frames);
        assert_eq!(of(Some(recursive), Frames::Leaf(8)), ["0x7  (50 times)"]);
        assert_eq!(of(Some(recursive), Frames::All), ["0x7"; 50]);
        let five = ["0x64", "0x63", "0x62", "… 95 more frames …", "0x2", "0x1"];
        assert_eq!(of(Some(deep), Frames::Leaf(3)), five);
        assert_eq!(of(Some(deep), Frames::Leaf(0)), ["… 98 more frames …", "0x2", "0x1"]);
        assert_eq!(of(Some(deep), Frames::Leaf(98)), of(Some(deep), Frames::All));
        assert_eq!(of(Some(deep), Frames::Leaf(97)).len(), 100, "one frame is not left out");
        assert_eq!(of(Some(deep), Frames::Leaf(96)).len(), 99);
        assert_eq!(of(None, Frames::Leaf(8)), ["[no call stack recorded]"]);
    }

    /// `module:function`s from the leaf to the root, as lines.
    fn shown(functions: &[&str], leaf_frames: usize) -> Vec<String> {
        let places: Vec<Place> = functions
            .iter()
            .map(|function| {
                let (module, function) = function.split_once(':').unwrap();
                let module = Some(module.into());
                let is_python = function.ends_with(".py");
                Place { module, is_python, ..Place::unnamed(function) }
            })
            .collect();
        let places: Vec<&Place> = places.iter().collect();
        let lines = shortened(&repeats_together(collapsed(&places)), leaf_frames);
        lines.iter().map(|line| line.replace("  in ", " < ")).collect()
    }

    #[test]
    fn the_interpreter_is_one_line_and_the_frame_that_native_code_entered_it_by() {
        let stack = [
            "app.so:leak",
            "_ctypes.so:PyCFuncPtr_call",
            "python3.11:_PyObject_MakeTpCall",
            "python3.11:_PyEval_EvalFrameDefault",
            "python3.11:_PyEval_Vector",
            "python3.11:PyObject_CallObject",
            "tf.so:RunPyFunc",
            "python3.11:cfunction_call",
            "python3.11:_PyEval_EvalFrameDefault",
            "python3.11:Py_BytesMain",
            "libc.so.6:__libc_start_call_main",
            "python3.11:_start",
        ];
        let expected = [
            "leak < app.so",
            "PyCFuncPtr_call < _ctypes.so",
            "… 3 frames of the Python interpreter …",
            "PyObject_CallObject < python3.11",
            "RunPyFunc < tf.so",
            "… 2 frames of the Python interpreter …",
            "Py_BytesMain < python3.11",
            "__libc_start_call_main < libc.so.6",
            "_start < python3.11",
        ];
        assert_eq!(shown(&stack, 8), expected);
        let cut = [
            "leak < app.so",
            "PyCFuncPtr_call < _ctypes.so",
            "… 8 more frames, 7 of them of the Python interpreter …",
            "__libc_start_call_main < libc.so.6",
            "_start < python3.11",
        ];
        assert_eq!(shown(&stack, 2), cut);
    }

    #[test]
    fn python_functions_take_the_place_of_the_interpreter() {
        let stack = [
            "app.so:leak",
            "_ctypes.so:PyCFuncPtr_call",
            "python3.11:_PyObject_MakeTpCall",
            "serve.py:handle.py",
            "serve.py:main.py",
            "python3.11:_PyEval_EvalFrameDefault",
            "python3.11:PyObject_CallObject",
            "tf.so:RunPyFunc",
            "libc.so.6:__libc_start_call_main",
        ];
        let expected = [
            "leak < app.so",
            "PyCFuncPtr_call < _ctypes.so",
            "handle.py < serve.py",
            "main.py < serve.py",
            "RunPyFunc < tf.so",
            "__libc_start_call_main < libc.so.6",
        ];
        assert_eq!(shown(&stack, 8), expected);
    }

    #[test]
    fn what_the_interpreter_does_at_the_leaf_is_shown_until_it_calls() {
        let stack = [
            "python3.11:_PyObject_Malloc",
            "python3.11:PyUnicode_New",
            "python3.11:r_object",
            "python3.11:r_object",
            "python3.11:cfunction_vectorcall_O",
            "python3.11:_PyEval_EvalFrameDefault",
            "python3.11:thread_run",
            "libc.so.6:start_thread",
        ];
        let expected = [
            "_PyObject_Malloc < python3.11",
            "PyUnicode_New < python3.11",
            "r_object < python3.11  (2 times)",
            "… 2 frames of the Python interpreter …",
            "thread_run < python3.11",
            "start_thread < libc.so.6",
        ];
        assert_eq!(shown(&stack, 8), expected);
        assert_eq!(shown(&["python3.11:_PyEval_Vector", "python3.11:main"], 8).len(), 2);
        let stripped = ["libpython3.11.so:libpython3.11.so+0x1"; 3];
        assert_eq!(shown(&stripped, 8).len(), 1);
    }
}
