//! What of the report, the sites and the flame graphs fits into the page.
//!
//! Every part has its room in bytes, and is halved until it takes no more. What was left out is
//! counted, so that the page can say it.

use serde::Serialize;
use serde_json::{Value, json};

use super::flame_graph::{FlameGraph, View, WEIGHT_NAMES};
use super::frame_table::{FrameId, GraphFrame};
use super::safe_text::{in_script, visible, visible_value};
use super::sites::Site;
use super::stack_tree::Kept;
use crate::model::{Curve, Frame, FrameKind, Report, Suspect};

/// The longest text; names of templates in C++ can be as long as a book.
pub(super) const TEXT_CHARACTERS: usize = 400;
/// More windows than a chart has pixels say nothing.
pub(super) const WINDOWS: usize = 600;
/// The most nodes of one tree; a screen has fewer pixels.
const NODES: usize = 50_000;
/// The most suspects.
pub(super) const SUSPECTS: usize = 100;
/// The most rows of any other list. Even if every text is as long as it may be, the lists together
/// have less than half of the report's room.
const ENTRIES: usize = 40;
/// The most frames of a suspect's stack; its middle goes first.
const FRAMES: usize = 256;

/// How much was left out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub(super) struct Left {
    pub(super) suspects: usize,
    pub(super) sites: usize,
    pub(super) nodes: usize,
}

/// How many bytes a value takes in the page.
pub(super) fn bytes_of(value: &Value) -> usize {
    in_script(value).len()
}

/// The report, with as many suspects as fit.
pub(super) fn report_within(report: &Report, most_bytes: usize, left: &mut Left) -> Value {
    let mut suspects = report.suspects.len().min(SUSPECTS);
    let mut windows = WINDOWS;
    loop {
        let value = visible_value(&limited(report, suspects, windows), TEXT_CHARACTERS);
        left.suspects = report.suspects.len() - suspects;
        // Without suspects and windows every list that is left is short.
        if bytes_of(&value) <= most_bytes || (suspects, windows) == (0, 0) {
            return value;
        }
        match suspects {
            0 => windows /= 2,
            _ => suspects /= 2,
        }
    }
}

fn limited(report: &Report, suspects: usize, windows: usize) -> Report {
    // Not cloned whole: a report can have a hundred thousand suspects.
    let Report { schema, verdict, sentence, action, growth, requests, .. } = report;
    let mut limited = Report {
        schema: *schema,
        verdict: *verdict,
        sentence: sentence.clone(),
        action: action.clone(),
        growth: growth.clone(),
        requests: requests.clone(),
        suspects: report.suspects.iter().take(suspects).cloned().collect(),
        time_line: report.time_line.clone(),
        reconciliation: report.reconciliation.clone(),
        gpu: report.gpu.clone(),
        lost: report.lost.clone(),
        suppressions: report.suppressions.clone(),
        process: report.process.clone(),
    };
    let lines = &mut limited.time_line;
    let thin = Thin { of: lines.seconds.len(), to: windows };
    thin.list(&mut lines.seconds);
    thin.list(&mut lines.requests);
    thin.list(&mut lines.rss);
    thin.list(&mut lines.rss_anonymous);
    lines.domains.truncate(tftrace_format::Domain::ALL.len());
    lines.domains.iter_mut().for_each(|series| thin.list(&mut series.bytes));
    if let Some(gpu) = &mut limited.gpu {
        gpu.devices.truncate(ENTRIES);
        for device in &mut gpu.devices {
            thin.list(&mut device.taken);
            thin.list(&mut device.used);
        }
        if let Some(failed) = &mut gpu.out_of_memory {
            without_middle(&mut failed.stack);
        }
    }
    for suspect in &mut limited.suspects {
        cut_suspect(suspect, &thin);
    }
    limited.process.command.truncate(ENTRIES);
    limited.process.versions.truncate(ENTRIES);
    limited.process.children.truncate(ENTRIES);
    limited.suppressions.used.truncate(ENTRIES);
    limited.suppressions.stale.truncate(ENTRIES);
    limited.reconciliation.owners.truncate(ENTRIES);
    limited.lost.notes.truncate(ENTRIES);
    limited
}

/// Cuts one suspect to what is shown.
pub(super) fn cut_suspect(suspect: &mut Suspect, thin: &Thin) {
    let Curve { held, fit, low, high } = &mut suspect.curve;
    thin.list(held);
    held.iter_mut().for_each(|bytes| *bytes = bytes.round());
    for list in [fit, low, high] {
        thin.list(list);
        list.iter_mut().flatten().for_each(|bytes| *bytes = bytes.round());
    }
    without_middle(&mut suspect.stack);
    suspect.patterns.truncate(8);
    suspect.patterns.iter_mut().for_each(|pattern| pattern.evidence.truncate(8));
}

/// Takes windows out of all lists alike; the last one stays.
pub(super) struct Thin {
    pub(super) of: usize,
    pub(super) to: usize,
}

impl Thin {
    pub(super) fn list<T: Clone>(&self, list: &mut Vec<T>) {
        if self.of <= self.to || list.is_empty() {
            return;
        }
        let picked = (1..=self.to).map(|at| (at * self.of).div_ceil(self.to) - 1);
        *list = picked.filter_map(|at| list.get(at).cloned()).collect();
    }
}

fn without_middle(stack: &mut Vec<Frame>) {
    if stack.len() <= FRAMES {
        return;
    }
    let missing = stack.len() - FRAMES + 1;
    let middle = FRAMES / 2..FRAMES / 2 + missing;
    let function = format!("{missing} frames, left out here");
    let kind = FrameKind::Missing;
    let frame = Frame { kind, function, file: None, line: None, module: None, framework: false };
    stack.splice(middle, [frame]);
}

/// The sites, as many as fit.
pub(super) fn sites_within(sites: &[Site], most_bytes: usize, left: &mut Left) -> Value {
    // More rows nobody reads.
    let mut most = sites.len().min(5_000);
    loop {
        let value = visible_value(&&sites[..most], TEXT_CHARACTERS);
        left.sites = sites.len() - most;
        if most == 0 || bytes_of(&value) <= most_bytes {
            return value;
        }
        most /= 2;
    }
}

/// The flame graphs, with as many nodes as fit.
pub(super) fn graph_within(graph: &FlameGraph, most_bytes: usize, left: &mut Left) -> Value {
    let mut most = NODES;
    loop {
        let mut frames = graph.frames.clone();
        let kept = View::ALL.map(|view| graph.trees[view as usize].kept(most, &mut frames));
        let left_out = kept.iter().map(|kept| kept.left_out).max();
        left.nodes = left_out.unwrap_or_default();
        let value = columns(graph, &kept, |frame| frames.get(frame));
        let bytes = bytes_of(&value);
        // One node stands for all.
        if most == 0 || bytes <= most_bytes {
            return value;
        }
        // Nodes differ in size: what would fit by the average may have to shrink again.
        most = (most * 3 / 4).min(most * most_bytes / bytes);
    }
}

/// Trees as lists of numbers: a list of objects would take five times the room.
fn columns<'a>(
    graph: &FlameGraph,
    kept: &[Kept],
    frame: impl Fn(FrameId) -> Option<&'a GraphFrame>,
) -> Value {
    let used: std::collections::BTreeSet<FrameId> =
        kept.iter().flat_map(|kept| kept.frames.iter().copied()).collect();
    let used: Vec<FrameId> = used.into_iter().collect();
    let number = |id: &FrameId| used.binary_search(id).unwrap_or_default();
    let frames: Vec<Option<GraphFrame>> = used.iter().map(|id| frame(*id).map(short)).collect();
    let trees: serde_json::Map<String, Value> = View::ALL
        .iter()
        .zip(kept)
        .map(|(view, kept)| {
            let numbers: Vec<usize> = kept.frames.iter().map(number).collect();
            let own: serde_json::Map<String, Value> = WEIGHT_NAMES
                .iter()
                .enumerate()
                .filter(|(at, _)| *at > 0 || graph.has_growth)
                .map(|(at, name)| ((*name).to_owned(), own(kept, at)))
                .collect();
            let tree = json!({ "depths": kept.depths, "frames": numbers, "own": own });
            (view.name().to_owned(), tree)
        })
        .collect();
    json!({ "frames": frames, "trees": trees })
}

/// The nodes that weigh anything by themselves: how many nodes further each is, and its weight.
fn own(kept: &Kept, weight: usize) -> Value {
    let mut last = 0;
    let (mut steps, mut weights) = (Vec::new(), Vec::new());
    for (at, own) in kept.own.iter().enumerate().filter(|(_, own)| own[weight] > 0) {
        steps.push(at - last);
        weights.push(own[weight]);
        last = at;
    }
    json!([steps, weights])
}

fn short(frame: &GraphFrame) -> GraphFrame {
    let text = |text: &String| visible(text, TEXT_CHARACTERS);
    GraphFrame {
        class: frame.class,
        function: text(&frame.function),
        location: frame.location.as_ref().map(text),
        module: frame.module.as_ref().map(text),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thinned_lists_stay_index_for_index_and_keep_their_end() {
        let thin = Thin { of: 1001, to: 10 };
        let mut seconds: Vec<usize> = (0..1001).collect();
        let mut short: Vec<usize> = (0..500).collect();
        thin.list(&mut seconds);
        thin.list(&mut short);
        assert_eq!(seconds.len(), 10);
        assert_eq!(seconds.last(), Some(&1000));
        assert_eq!(short[..], seconds[..short.len()]);
        let mut few = vec![1, 2, 3];
        Thin { of: 3, to: 10 }.list(&mut few);
        assert_eq!(few, [1, 2, 3]);
    }
}
