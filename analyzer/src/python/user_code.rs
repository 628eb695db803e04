//! Tells the user's own Python code from what came with Python and its packages.

use crate::symbol::Place;

/// Folders of the standard library and of installed packages, and files that nobody wrote.
const OTHERS: [&str; 4] =
    ["/site-packages/", "/dist-packages/", "__autograph_generated_file", "/importlib/_bootstrap"];

/// The deepest function of the user's own among those of a stack, innermost first: the line to
/// look at first.
pub fn user_place<'a>(mut places: impl Iterator<Item = &'a Place>) -> Option<&'a Place> {
    places.find(|place| place.is_python && place.location.as_deref().is_some_and(is_user_file))
}

fn is_user_file(location: &str) -> bool {
    !location.starts_with('<')
        && !OTHERS.iter().any(|folder| location.contains(folder))
        && !is_in_standard_library(location)
}

/// `…/lib/python3.11/threading.py`, wherever the interpreter is installed.
fn is_in_standard_library(location: &str) -> bool {
    let folders = location.match_indices("/lib/python3.").map(|(at, found)| at + found.len());
    folders.into_iter().any(|at| {
        let rest = location[at..].trim_start_matches(|c: char| c.is_ascii_digit());
        rest.trim_start_matches('t').starts_with('/')
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn libraries_are_not_the_users_code() {
        for (location, expected) in [
            ("/app/serve.py:42", true),
            ("serve.py:42", true),
            ("/home/me/lib/python3/x.py:1", true),
            ("/usr/lib/python3.11/threading.py:982", false),
            ("/opt/python/lib/python3.13t/asyncio/tasks.py:1", false),
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
