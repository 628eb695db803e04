//! What the page bundles: its style, its script, and the chart library with its licence.
//!
//! The script is one element: modules in files of their own cannot be loaded from `file://`.

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use sha2::{Digest, Sha256};

/// The licence of the chart library, shown in the page.
pub(super) const LICENCE: &str = include_str!("assets/uplot/LICENSE");

const CHART_LIBRARY: &str = include_str!("assets/uplot/uPlot.iife.min.js");

/// In the order in which they are read: a file uses what stands in those before it.
const SCRIPTS: [&str; 16] = [
    include_str!("assets/elements.js"),
    include_str!("assets/numbers.js"),
    include_str!("assets/words.js"),
    include_str!("assets/permalink.js"),
    include_str!("assets/chart.js"),
    include_str!("assets/time_line.js"),
    include_str!("assets/call_stack.js"),
    include_str!("assets/drawer.js"),
    include_str!("assets/suspects.js"),
    include_str!("assets/flame_layout.js"),
    include_str!("assets/flame_graph.js"),
    include_str!("assets/sites.js"),
    include_str!("assets/gpu.js"),
    include_str!("assets/run.js"),
    include_str!("assets/processes.js"),
    include_str!("assets/main.js"),
];

/// The whole script.
pub(super) fn script() -> String {
    format!("{CHART_LIBRARY}\n(() => {{\n\"use strict\";\n{}}})();\n", SCRIPTS.concat())
}

/// The whole style.
pub(super) fn style() -> String {
    [include_str!("assets/uplot/uPlot.min.css"), include_str!("assets/page.css")].concat()
}

/// The policy by which the browser runs this script, no other, and connects nowhere.
pub(super) fn policy(script: &str) -> String {
    let hash = BASE64_STANDARD.encode(Sha256::digest(script));
    format!(
        "default-src 'none'; script-src 'sha256-{hash}'; style-src 'unsafe-inline'; img-src data:; \
         base-uri 'none'; form-action 'none'"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_bundled_text_can_end_its_element() {
        assert!(!script().to_lowercase().contains("</script"));
        assert!(!script().contains("<!--"));
        assert!(!style().to_lowercase().contains("</style"));
    }
}
