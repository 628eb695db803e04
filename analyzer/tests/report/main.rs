//! The report, `check` and `merge` as a person and a program meet them: words, JSON, exit codes.

mod check;
mod json;
mod merge;
mod program;
mod services;
mod text;
