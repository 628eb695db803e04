//! A file of suppressions with arbitrary content, and its patterns over an arbitrary name.
#![no_main]

use std::path::Path;

use tftrace_analyzer::suppression::{Suppressions, matches};

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let mut input = tftrace_fuzz::Input(bytes);
    let name = String::from_utf8_lossy(input.text()).into_owned();
    let text = String::from_utf8_lossy(input.0);
    let mut rules = Suppressions::built_in();
    if rules.add_text(&text, Path::new("rules")).is_ok() {
        let _ = rules.used().stale.len();
    }
    for pattern in text.lines() {
        let _ = matches(pattern, &name);
    }
});
