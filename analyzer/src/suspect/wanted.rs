//! The function whose calls are requests, because the user says so.

use super::path::{PathId, Paths, Step};
use crate::symbol::Place;
use crate::time_line::Requests;

/// A function as its user names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wanted {
    text: String,
    /// The end of its file's path, or its module; empty: any.
    file: String,
    function: String,
}

impl Wanted {
    /// Reads `handle`, `Server.handle`, `serve.py:handle` or `serve:handle`.
    pub fn parse(text: &str) -> Self {
        let (file, function) = text.rsplit_once(':').unwrap_or(("", text));
        Self { text: text.into(), file: file.into(), function: function.into() }
    }

    /// What was counted, in words.
    pub(super) fn counted(&self) -> String {
        format!("calls of {}, as asked for", self.text)
    }

    /// What to say where it was not found.
    pub fn not_counted(&self) -> Requests {
        let source = format!("seconds; no calls of {} were seen to repeat", self.text);
        Requests { until: Vec::new(), source }
    }

    /// Where a way leads through it.
    pub(super) fn on_the_way(&self, paths: &Paths<'_>, path: PathId) -> Option<PathId> {
        let mut at = path;
        while let Some(step) = paths.step(at) {
            if matches!(step, Step::Line(place) if self.is(place)) {
                return Some(at);
            }
            at = paths.parent(at);
        }
        None
    }

    fn is(&self, place: &Place) -> bool {
        // Names are qualified since Python 3.11.
        let ends_at = |text: &str, end: &str, border: char| {
            text.strip_suffix(end).is_some_and(|rest| rest.is_empty() || rest.ends_with(border))
        };
        let location = place.location.as_deref().unwrap_or_default();
        let file = location.rsplit_once(':').map_or(location, |(file, _)| file);
        let module = file.strip_suffix(".py").unwrap_or(file);
        ends_at(&place.function, &self.function, '.')
            && (self.file.is_empty()
                || ends_at(file, &self.file, '/')
                || ends_at(module, &self.file.replace('.', "/"), '/'))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::symbol::Kind;

    #[test]
    fn a_function_is_named_as_its_user_would() {
        let place = Place {
            location: Some("/app/web/serve.py:71".into()),
            ..Place::of(Kind::Python, "Server.handle")
        };
        for (text, expected) in [
            ("handle", true),
            ("Server.handle", true),
            ("serve.py:handle", true),
            ("serve:handle", true),
            ("web.serve:Server.handle", true),
            ("/app/web/serve.py:handle", true),
            ("andle", false),
            ("erve.py:handle", false),
            ("other.py:handle", false),
            ("serve.py:71", false),
        ] {
            assert_eq!(Wanted::parse(text).is(&place), expected, "{text}");
        }
    }
}
