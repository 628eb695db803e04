//! Everything that is done with a trace: reading it, and the analysis from end to end.

use std::path::{Path, PathBuf};

use tftrace_analyzer::cli::{
    CheckArgs, CheckFormat, Frames, JudgeArgs, Metric, PageArgs, ReportArgs, ViewArgs,
};
use tftrace_analyzer::commands::{check, folded, info, report, sizes};
use tftrace_analyzer::findings::examine as examine_trace;
use tftrace_analyzer::page::{FlameGraph, Sketch, render};
use tftrace_analyzer::python::Lines;
use tftrace_analyzer::suppression::Suppressions;
use tftrace_format::Domain;
use tftrace_format::reader::Trace;

/// No trace of a fuzzer is there: its directory has no files either.
fn nowhere() -> PathBuf {
    PathBuf::from("/nowhere/trace.bin")
}

/// Reads all that a trace says.
pub fn read(bytes: &[u8]) {
    let Ok(trace) = Trace::open(bytes) else { return };
    let _ = trace.events().count();
    let _ = trace.totals().count();
    for (stack, _) in trace.nodes().take(10_000) {
        let _ = trace.frames(stack).take(1_000).count();
    }
    let _ = (trace.losses(), trace.command_line(), trace.used_bytes());
    let mut out = Vec::new();
    let _ = info::write(&trace, 1, &mut out);
    let _ = sizes::write(&trace, &[], &mut out);
}

/// Analyzes a trace from end to end: verdict, report, page, JSON, folded stacks.
pub fn examine(bytes: &[u8]) {
    let Ok(trace) = Trace::open(bytes) else { return };
    let path = nowhere();
    let mut suppressions = Suppressions::built_in();
    let found = examine_trace(&trace, &path, &mut suppressions, None);
    let sketch = Sketch::of(&trace, &found.weights);
    let growth = found.weights.growth.as_ref();
    let graph = FlameGraph::build(&trace, &found.symbols, sketch, growth);
    let page = render(&found.report, &graph);
    assert!(page.len() <= tftrace_analyzer::page::MOST_BYTES, "{} bytes of page", page.len());
    let mut out = Vec::new();
    for json in [false, true] {
        let asked = ReportArgs {
            trace: Some(path.clone()),
            top: 5,
            json,
            judge: JudgeArgs::default(),
            page: PageArgs { output: None, open: false, no_page: true },
        };
        let _ = report::write(&trace, &path, &asked, &mut out);
    }
    checked(&trace, &path, &mut out);
    for metric in [Metric::Unfreed, Metric::Allocated, Metric::Temporary, Metric::Peak] {
        let view = ViewArgs { frames: Frames::Mixed, show_all: metric == Metric::Peak };
        let _ = folded::write(&trace, metric, &Domain::ALL, view, &mut out);
    }
    for (_, node) in trace.nodes().take(1_000) {
        if let tftrace_format::Frame::Python { code, instruction } = node.frame
            && let Some(code) = trace.code(code)
        {
            let _ = Lines::of(code).line(instruction);
        }
    }
}

fn checked(trace: &Trace<'_>, path: &Path, out: &mut Vec<u8>) {
    let asked = CheckArgs {
        trace: path.to_path_buf(),
        max_growth: None,
        fail_on: None,
        judge: JudgeArgs::default(),
        format: CheckFormat::Github,
    };
    let _ = check::write(trace, &asked, out);
}
