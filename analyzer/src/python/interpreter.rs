//! Knows the functions of CPython itself: which frames are the interpreter, and which map arenas.
//!
//! Never reads Python's own data: it goes by the names of functions and of object files.

use tftrace_format::Domain;

use crate::heap::Level;
use crate::symbol::Place;

/// Functions that CPython is known by where it is linked into a program of another name.
const RUNTIME: [&str; 10] = [
    "_PyEval_",
    "PyEval_",
    "_PyObject_",
    "PyObject_",
    "_PyFunction_",
    "PyFunction_",
    "_PyVectorcall_",
    "PyVectorcall_",
    "cfunction_",
    "method_vectorcall",
];

/// The part of the interpreter that runs bytecode and calls: it stands between all functions.
const CALLING: [&str; 16] = [
    "_PyEval_",
    "PyEval_",
    "_PyObject_Call",
    "PyObject_Call",
    "_PyObject_FastCall",
    "_PyObject_MakeTpCall",
    "_PyObject_Vectorcall",
    "PyObject_Vectorcall",
    "_PyFunction_Vectorcall",
    "_PyVectorcall",
    "PyVectorcall",
    "cfunction_",
    "method_vectorcall",
    "object_vacall",
    "slot_tp_",
    "type_call",
];

/// What asks the system for an arena: until 3.11, and since.
const ARENA_MAKERS: [&str; 3] =
    ["_PyObject_ArenaMmap", "_PyObject_ArenaMalloc", "_PyMem_ArenaAlloc"];

/// Bytes of an arena: since Python 3.10, and before.
const ARENA_BYTES: [u64; 2] = [1 << 20, SMALLEST_ARENA];
const SMALLEST_ARENA: u64 = 256 << 10;

/// Whether the function belongs to the Python interpreter.
pub fn is_interpreter(place: &Place) -> bool {
    place.is_native() && (in_python_module(place) || begins_with_one_of(&place.function, &RUNTIME))
}

/// Whether the function only passes a call on, or runs bytecode; or has no name that could tell.
pub fn is_calling(place: &Place) -> bool {
    begins_with_one_of(&place.function, &CALLING)
        || (in_python_module(place) && is_unnamed(&place.function))
}

/// Whether these blocks are arenas, judged by the functions of the frame that asked for them.
pub fn are_arenas(asked_by: &[Place], domain: Domain, blocks: Level) -> bool {
    if asked_by.iter().any(|place| ARENA_MAKERS.contains(&place.function.as_str())) {
        // The interpreter takes smaller pieces the same way, for the frames of each thread.
        return blocks.bytes >= blocks.blocks.saturating_mul(SMALLEST_ARENA);
    }
    // A stripped Python has no such name. It maps nothing else of this size by itself:
    // `mmap.mmap` stands in an object file of its own.
    let exact =
        ARENA_BYTES.iter().any(|bytes| bytes.checked_mul(blocks.blocks) == Some(blocks.bytes));
    let nameless = |place: &Place| in_python_module(place) && is_unnamed(&place.function);
    domain == Domain::Mmap && blocks.blocks > 0 && exact && asked_by.last().is_some_and(nameless)
}

fn begins_with_one_of(function: &str, beginnings: &[&str]) -> bool {
    beginnings.iter().any(|beginning| function.starts_with(beginning))
}

fn is_unnamed(function: &str) -> bool {
    function.contains("+0x")
}

/// Whether the place stands in `python`, `python3.11`, `libpython3.11.so.1.0` and the like.
fn in_python_module(place: &Place) -> bool {
    let without_name = || place.function.split_once("+0x").map(|(module, _)| module);
    let Some(module) = place.module.as_deref().or_else(without_name) else { return false };
    let module = module.strip_prefix("lib").unwrap_or(module);
    module.strip_prefix("python").is_some_and(|rest| {
        rest.is_empty() || rest.starts_with(|first: char| first.is_ascii_digit())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(function: &str, module: Option<&str>) -> Place {
        let module = module.map(Into::into);
        Place { module, ..Place::unnamed(function) }
    }

    #[test]
    fn the_interpreter_is_known_by_its_file_or_by_its_names() {
        for (function, module, expected) in [
            ("r_object", Some("python3.11"), true),
            ("r_object", Some("libpython3.12.so.1.0"), true),
            ("libpython3.9.so.1.0+0x77", None, true),
            ("main", Some("python"), true),
            ("_PyEval_EvalFrameDefault", Some("uwsgi"), true),
            ("PyArray_NewFromDescr", Some("_multiarray_umath.so"), false),
            ("PyInit__pywrap", Some("_pywrap.so"), false),
            ("py_helper", Some("libpython_helper.so"), false),
            ("pythonic", Some("pythonic.so"), false),
            ("0x7f00", None, false),
        ] {
            assert_eq!(is_interpreter(&place(function, module)), expected, "{function} {module:?}");
        }
    }

    #[test]
    fn calls_are_told_from_functions_that_do_something() {
        assert!(is_calling(&place("_PyEval_EvalFrameDefault", None)));
        assert!(is_calling(&place("python3.11+0x99", Some("python3.11"))));
        assert!(!is_calling(&place("PyUnicode_New", Some("python3.11"))));
        assert!(!is_calling(&place("libffi.so.8+0x6f7a", Some("libffi.so.8"))));
    }

    #[test]
    fn arenas_are_known_by_their_maker_or_by_their_size_where_python_is_stripped() {
        let one = Level::exact(1 << 20, 1);
        let arenas = |function, module, domain, blocks| {
            are_arenas(&[place(function, Some(module))], domain, blocks)
        };
        let (mmap, malloc) = (Domain::Mmap, Domain::Malloc);
        for maker in ARENA_MAKERS {
            assert!(arenas(maker, "python3.11", mmap, one), "{maker}");
        }
        assert!(!arenas("new_mmap_object", "mmap.cpython-311.so", mmap, one));
        let python = "libpython3.11.so.1.0";
        assert!(arenas("libpython3.11.so.1.0+0x9", python, mmap, one));
        assert!(arenas("libpython3.11.so.1.0+0x9", python, mmap, Level::exact(512 << 10, 2)));
        assert!(!arenas("libpython3.11.so.1.0+0x9", python, malloc, one));
        assert!(!arenas("libpython3.11.so.1.0+0x9", python, mmap, Level::exact(4096, 1)));
        assert!(!arenas("libpython3.11.so.1.0+0x9", python, mmap, Level::default()));
        assert!(!arenas("PyThread_start", python, mmap, one));
        assert!(!are_arenas(&[], mmap, one));
    }
}
