//! Suppressions: growth that is known and does not count as a leak.
//!
//! In the syntax of LeakSanitizer: one `leak:PATTERN` on a line, `#` begins a comment. A pattern is a
//! part of a function's name, of a file, or of a module on the call stack; `*` stands for anything,
//! `^` and `$` for begin and end.

use std::path::{Path, PathBuf};

use crate::Error;
use crate::model::{Suppressed, Suspect, UsedRule};

/// What every TensorFlow process does, and is no leak. Raise [`BUILT_IN_VERSION`] with a change.
const BUILT_IN: &str = include_str!("suppressions.txt");

/// The version of the built-in list.
const BUILT_IN_VERSION: u32 = 1;

/// Where a rule comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Source {
    BuiltIn,
    File(PathBuf),
}

#[derive(Clone, Debug)]
struct Rule {
    pattern: String,
    source: Source,
    uses: usize,
}

/// All rules, and how often each was used.
#[derive(Clone, Debug, Default)]
pub struct Suppressions(Vec<Rule>);

impl Suppressions {
    /// The built-in list.
    pub fn built_in() -> Self {
        let mut rules = Self::default();
        // A test reads it.
        let _ = rules.add(BUILT_IN, &Source::BuiltIn);
        rules
    }

    /// Adds the rules of a file.
    ///
    /// # Errors
    /// If it cannot be read, or a line is no rule.
    pub fn read(&mut self, path: &Path) -> Result<(), Error> {
        let text = std::fs::read_to_string(path).map_err(|error| Error::Suppressions {
            path: path.into(),
            line: 0,
            reason: error.to_string(),
        })?;
        self.add_text(&text, path)
    }

    /// Adds the rules of a text, which is said to be the file at `path`.
    ///
    /// # Errors
    /// If a line is no rule.
    pub fn add_text(&mut self, text: &str, path: &Path) -> Result<(), Error> {
        self.add(text, &Source::File(path.into())).map_err(|(line, reason)| Error::Suppressions {
            path: path.into(),
            line,
            reason: reason.into(),
        })
    }

    fn add(&mut self, text: &str, source: &Source) -> Result<(), (usize, &'static str)> {
        for (at, line) in text.lines().enumerate() {
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let pattern = line.strip_prefix("leak:").map(str::trim);
            match pattern {
                Some("") => return Err((at + 1, "a pattern is missing after leak:")),
                Some(pattern) => {
                    self.0.push(Rule { pattern: pattern.into(), source: source.clone(), uses: 0 })
                }
                None => return Err((at + 1, "a line must be leak:PATTERN or a # comment")),
            }
        }
        Ok(())
    }

    /// The first rule that fits a suspect, if any.
    pub fn of(&mut self, suspect: &Suspect) -> Option<String> {
        let rule = self.0.iter_mut().find(|rule| rule.fits(suspect))?;
        rule.uses += 1;
        Some(format!("leak:{}", rule.pattern))
    }

    /// What was used how often, and which of the user's own rules fitted nothing.
    pub fn used(&self) -> Suppressed {
        let (used, unused): (Vec<&Rule>, Vec<&Rule>) =
            self.0.iter().partition(|rule| rule.uses > 0);
        let used = used.into_iter().map(|rule| UsedRule {
            rule: format!("leak:{}", rule.pattern),
            file: rule.file().map(|path| path.display().to_string()),
            suspects: rule.uses,
        });
        let stale = unused
            .into_iter()
            .filter_map(|rule| Some(format!("{}: leak:{}", rule.file()?.display(), rule.pattern)));
        Suppressed {
            built_in_version: BUILT_IN_VERSION,
            used: used.collect(),
            stale: stale.collect(),
        }
    }
}

impl Rule {
    /// Where the user wrote it; `None`: it is built in.
    fn file(&self) -> Option<&Path> {
        match &self.source {
            Source::BuiltIn => None,
            Source::File(path) => Some(path),
        }
    }

    fn fits(&self, suspect: &Suspect) -> bool {
        let line = suspect
            .your_line
            .iter()
            .flat_map(|line| [line.function.clone(), format!("{}:{}", line.file, line.line)]);
        let frames = suspect.stack.iter().flat_map(|frame| {
            let file = frame.file.as_ref().map(|file| match frame.line {
                Some(line) => format!("{file}:{line}"),
                None => file.clone(),
            });
            [Some(frame.function.clone()), file, frame.module.clone()].into_iter().flatten()
        });
        line.chain(frames).any(|text| matches(&self.pattern, &text))
    }
}

/// Whether a text contains the pattern.
pub fn matches(pattern: &str, text: &str) -> bool {
    let (pattern, at_begin) = match pattern.strip_prefix('^') {
        Some(rest) => (rest, true),
        None => (pattern, false),
    };
    let (pattern, at_end) = match pattern.strip_suffix('$') {
        Some(rest) => (rest, true),
        None => (pattern, false),
    };
    let mut parts = pattern.split('*').peekable();
    let mut rest = text;
    let mut is_first = true;
    while let Some(part) = parts.next() {
        let is_last = parts.peek().is_none();
        if is_last && at_end {
            let fits = match is_first && at_begin {
                true => rest == part,
                false => rest.ends_with(part),
            };
            return fits;
        }
        match rest.find(part) {
            Some(at) if !(is_first && at_begin) || at == 0 => rest = &rest[at + part.len()..],
            _ => return false,
        }
        is_first = false;
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_are_those_of_leak_sanitizer() {
        for (pattern, text, expected) in [
            ("leaky", "my_leaky_function", true),
            ("^leaky", "my_leaky_function", false),
            ("^my*function$", "my_leaky_function", true),
            ("^my*fun$", "my_leaky_function", false),
            ("a*b*c", "xaybzc", true),
            ("c*a", "abc", false),
            ("libfoo.so", "libfoo.so", true),
            ("^exact$", "exact", true),
            ("^exact$", "exact1", false),
            ("serve.py:4", "/app/serve.py:42", true),
            ("serve.py:4$", "/app/serve.py:42", false),
        ] {
            assert_eq!(matches(pattern, text), expected, "{pattern} {text}");
        }
    }

    #[test]
    fn a_bad_line_is_named_and_the_built_in_list_has_none() {
        let mut rules = Suppressions::default();
        assert!(rules.add(BUILT_IN, &Source::BuiltIn).is_ok());
        assert_eq!(rules.add("# x\n\nrace:x", &Source::BuiltIn).map_err(|(line, _)| line), Err(3));
        assert_eq!(rules.add("leak: ", &Source::BuiltIn).map_err(|(line, _)| line), Err(1));
    }
}
