//! A file for speedscope, as its published JSON schema describes it: a profile in bytes, one in blocks.

use std::io::{self, Write};

use serde::Serialize;

use super::stacks::{ExportedFrame, ExportedStacks, Measure};
use crate::cli::Metric;

const SCHEMA: &str = "https://www.speedscope.app/file-format-schema.json";

#[derive(Serialize)]
struct File<'a> {
    #[serde(rename = "$schema")]
    schema: &'static str,
    name: &'a str,
    exporter: String,
    #[serde(rename = "activeProfileIndex")]
    active_profile: usize,
    shared: Shared<'a>,
    profiles: Vec<Profile>,
}

#[derive(Serialize)]
struct Shared<'a> {
    frames: Vec<Frame<'a>>,
}

#[derive(Serialize)]
struct Frame<'a> {
    name: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    file: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    line: Option<u32>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Profile {
    r#type: &'static str,
    name: &'static str,
    unit: &'static str,
    start_value: u64,
    end_value: u64,
    /// Root first.
    samples: Vec<Vec<u32>>,
    weights: Vec<u64>,
}

/// Writes the stacks of a program that count for a metric. The first frame of each stack is its domain.
pub fn speedscope(
    stacks: &ExportedStacks,
    metric: Metric,
    program: &str,
    out: &mut dyn Write,
) -> io::Result<()> {
    let mut frames: Vec<Frame<'_>> = stacks.frames.iter().map(frame).collect();
    let functions = frames.len() as u32;
    frames.extend(tftrace_format::Domain::ALL.iter().map(|domain| Frame {
        name: domain.name(),
        file: "",
        line: None,
    }));
    let bytes = 2 * match metric {
        Metric::Unfreed => 0,
        Metric::Peak => 1,
        Metric::Temporary => 2,
        Metric::Allocated => 3,
    };
    let profiles = [bytes, bytes + 1].into_iter().zip(&stacks.measures()[bytes..]);
    let profiles = profiles.map(|(at, measure)| profile(stacks, at, measure, functions)).collect();
    let file = File {
        schema: SCHEMA,
        name: program,
        exporter: format!("tftrace {}", env!("CARGO_PKG_VERSION")),
        active_profile: 0,
        shared: Shared { frames },
        profiles,
    };
    serde_json::to_writer(&mut *out, &file)?;
    writeln!(out)
}

fn frame(frame: &ExportedFrame) -> Frame<'_> {
    let line = (frame.line > 0).then_some(frame.line);
    Frame { name: &frame.name, file: &frame.file, line }
}

/// One weight. The frames behind `functions` are the domains.
fn profile(stacks: &ExportedStacks, at: usize, measure: &Measure, functions: u32) -> Profile {
    let with_weight = || stacks.stacks.iter().filter(move |(.., values)| values[at] > 0);
    let samples = with_weight().map(|(domain, frames, _)| {
        let first = functions + *domain as u32;
        [first].into_iter().chain(frames.iter().rev().copied()).collect()
    });
    let weights: Vec<u64> = with_weight().map(|(.., values)| values[at]).collect();
    Profile {
        r#type: "sampled",
        name: measure.name,
        unit: if measure.is_bytes { "bytes" } else { "none" },
        start_value: 0,
        end_value: weights.iter().fold(0, |sum, weight| sum.saturating_add(*weight)),
        samples: samples.collect(),
        weights,
    }
}
