//! Tells the user's own Python code from what came with Python and its packages.

use super::is_interpreter;
use crate::symbol::{Kind, Owner, Place};

/// Folders of the standard library and of installed packages, and files that nobody wrote.
const OTHERS: [&str; 4] =
    ["/site-packages/", "/dist-packages/", "__autograph_generated_file", "/importlib/_bootstrap"];

/// The deepest function of the user's own among those of a stack, innermost first: the line to
/// look at first. Without a Python function of theirs, native code of theirs.
pub fn user_place<'a>(places: &[&'a Place]) -> Option<&'a Place> {
    let find =
        |is_theirs: fn(&Place) -> bool| places.iter().copied().find(|place| is_theirs(place));
    find(is_user_function).or_else(|| find(is_user_native))
}

/// Whether it is a Python function of the user's own.
pub fn is_user_function(place: &Place) -> bool {
    place.is_python() && !place.installed && place.location.as_deref().is_some_and(is_user_file)
}

/// Whether it is machine code that is neither the system's, nor a framework's, nor Python's.
pub fn is_user_native(place: &Place) -> bool {
    place.kind == Kind::Native(Owner::User)
        && !place.function.contains("+0x")
        && !is_interpreter(place)
}

fn is_user_file(location: &str) -> bool {
    !location.starts_with('<')
        && !OTHERS.iter().any(|folder| location.contains(folder))
        && !is_in_standard_library(location)
}

/// `…/lib/python3.11/threading.py`, wherever the interpreter is installed; Red Hat's is in `/usr/lib64`.
fn is_in_standard_library(location: &str) -> bool {
    let after = |folder| location.match_indices(folder).map(|(at, found)| at + found.len());
    after("/lib/python3.").chain(after("/lib64/python3.")).any(|at| {
        let rest = location[at..].trim_start_matches(|c: char| c.is_ascii_digit());
        rest.trim_start_matches('t').starts_with('/')
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn python_comes_before_native_code_and_what_is_installed_before_neither() {
        let python = |function: &str, location: &str| Place {
            location: Some(location.into()),
            ..Place::of(Kind::Python, function)
        };
        let native = |owner, function: &str| Place::of(Kind::Native(owner), function);
        let (keras, handle) =
            (python("fit", "/x/site-packages/k.py:1"), python("handle", "/app/a.py:2"));
        let (leak, libc) = (native(Owner::User, "leak"), native(Owner::System, "malloc"));
        let interpreter = native(Owner::User, "_PyEval_EvalFrameDefault");
        let found = |stack: &[&Place]| user_place(stack).map(|place| place.function.clone());
        assert_eq!(found(&[&libc, &leak, &keras, &handle]).as_deref(), Some("handle"));
        assert_eq!(found(&[&libc, &interpreter, &leak, &keras]).as_deref(), Some("leak"));
        let nameless = native(Owner::User, "liba.so+0x20");
        assert_eq!(found(&[&libc, &nameless, &interpreter, &keras]), None);
    }

    #[test]
    fn libraries_are_not_the_users_code() {
        for (location, expected) in [
            ("/app/serve.py:42", true),
            ("serve.py:42", true),
            ("/home/me/lib/python3/x.py:1", true),
            ("/usr/lib/python3.11/threading.py:982", false),
            ("/opt/python/lib/python3.13t/asyncio/tasks.py:1", false),
            ("/usr/lib64/python3.9/json/decoder.py:355", false),
            ("/usr/lib64/python3.9/site-packages/numpy/core.py:9", false),
            ("/home/me/lib64/python3/x.py:1", true),
            ("/venv/lib/python3.11/site-packages/keras/src/models.py:9", false),
            ("/usr/lib/python3/dist-packages/numpy/core.py:9", false),
            ("<frozen importlib._bootstrap>:1176", false),
            ("<string>:1", false),
            ("/tmp/__autograph_generated_filek2x.py:9", false),
        ] {
            assert_eq!(is_user_file(location), expected, "{location}");
        }
    }
}
