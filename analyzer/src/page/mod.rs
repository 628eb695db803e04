//! `trace.html`: what was found, as one file for the browser.
//!
//! Self-contained, at most [`MOST_BYTES`], and it asks nobody for anything: its content security
//! policy allows one script, the page's own, and no connection. Never decides what is a leak, never
//! rounds: it shows what [`crate::model`] holds.

mod assets;
mod drawing;
mod flame_graph;
mod frame_table;
mod limits;
mod safe_text;
mod sites;
mod sketch;
mod stack_tree;
mod together;

use std::path::{Path, PathBuf};

use askama::Template;
use serde::Serialize;

pub use flame_graph::{FlameGraph, View, WEIGHT_NAMES};
pub use frame_table::{FrameClass, FrameId, FrameTable, GraphFrame};
pub use sites::Site;
pub use sketch::Sketch;
pub use stack_tree::{NodeWeights, StackTree, Step};

use crate::Error;
use crate::model::{Merged, Report};
use crate::output_file;
use crate::report::numbers::counted;
use limits::Left;
use safe_text::{in_script, visible};
use together::Together;

/// A page is never larger, whatever was traced.
pub const MOST_BYTES: usize = 5_000_000;
/// What the report may take of it: suspects, their stacks and curves.
const REPORT_BYTES: usize = 1_200_000;
/// What the list of sites may take.
const SITE_BYTES: usize = 600_000;
/// What the flame graphs may take.
const GRAPH_BYTES: usize = 2_900_000;

const _: () = assert!(
    REPORT_BYTES + SITE_BYTES + GRAPH_BYTES + 300_000 <= MOST_BYTES,
    "the frame, the style and the scripts need the rest; a test measures them"
);

/// The frame of the page: `templates/page.html`.
#[derive(Template)]
#[template(path = "page.html")]
struct Frame<'a> {
    title: &'a str,
    sentence: &'a str,
    action: &'a str,
    policy: &'a str,
    style: &'a str,
    data: &'a str,
    script: &'a str,
    licence: &'a str,
}

/// What the page's script reads.
#[derive(Serialize)]
struct Data<'a> {
    report: &'a serde_json::Value,
    left: Left,
    graph: &'a serde_json::Value,
    sites: &'a serde_json::Value,
}

/// The same, of several processes.
#[derive(Serialize)]
struct DataOfAll {
    together: Together,
}

/// Makes the page. What does not fit is left out, smallest first, and the page says how much.
pub fn render(report: &Report, graph: &FlameGraph) -> Vec<u8> {
    let mut left = Left::default();
    let limited = limits::report_within(report, REPORT_BYTES, &mut left);
    let sites = limits::sites_within(&graph.sites, SITE_BYTES, &mut left);
    let graph = limits::graph_within(graph, GRAPH_BYTES, &mut left);
    let data = Data { report: &limited, left, graph: &graph, sites: &sites };
    framed(&title(&report.process.command), [&report.sentence, &report.action], &data)
}

/// Makes the page on several processes: all together, then each by itself.
pub fn render_merged(found: &Merged) -> Vec<u8> {
    let count = found.processes.len() as u64;
    let first = found.processes.first().map(|report| title(&report.process.command));
    let title = format!("{}, {}", first.as_deref().unwrap_or("tftrace"), counted(count, "process"));
    let data = DataOfAll { together: Together::within(found) };
    framed(&title, [&found.sentence, &found.action], &data)
}

fn framed(title: &str, [sentence, action]: [&str; 2], data: &impl Serialize) -> Vec<u8> {
    let text = |text: &str| visible(text, limits::TEXT_CHARACTERS);
    let script = assets::script();
    let frame = Frame {
        title: &text(title),
        sentence: &text(sentence),
        action: &text(action),
        policy: &assets::policy(&script),
        style: &assets::style(),
        data: &in_script(data),
        script: &script,
        licence: assets::LICENCE,
    };
    frame.to_string().into_bytes()
}

/// What the browser's tab says: the file that the program was started with.
fn title(command: &[String]) -> String {
    let words = command.iter().map(|word| word.rsplit('/').next().unwrap_or(word));
    let words: Vec<&str> = words.take(2).collect();
    match words.is_empty() {
        true => "tftrace".to_owned(),
        false => format!("tftrace: {}", words.join(" ")),
    }
}

/// Where the page goes: beside the trace, and never in its place.
pub fn path_for(trace: &Path) -> PathBuf {
    let beside = trace.with_extension("html");
    if beside != trace {
        return beside;
    }
    let mut name = trace.as_os_str().to_owned();
    name.push(".html");
    PathBuf::from(name)
}

/// Where the page on several processes goes: beside the first of their traces.
pub fn path_for_all(first: &Path) -> PathBuf {
    first.with_extension("merged.html")
}

/// Writes the page to a file.
pub fn write(path: &Path, report: &Report, graph: &FlameGraph) -> Result<(), Error> {
    written(path, &render(report, graph))
}

/// Writes the page on several processes to a file.
pub fn write_merged(path: &Path, found: &Merged) -> Result<(), Error> {
    written(path, &render_merged(found))
}

fn written(path: &Path, page: &[u8]) -> Result<(), Error> {
    let written = output_file::write(path, page);
    written.map_err(|source| Error::WriteFile { path: path.to_path_buf(), source })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_trace_is_never_overwritten() {
        for (trace, page) in
            [("a/trace.bin", "a/trace.html"), ("trace", "trace.html"), ("x.html", "x.html.html")]
        {
            assert_eq!(path_for(Path::new(trace)), Path::new(page));
        }
    }
}
