//! A cause as the report shows it: what to call it, its stack, its curve.

use std::collections::BTreeMap;

use tftrace_format::reader::Trace;
use tftrace_format::{Domain, Frame as TraceFrame, StackId};

use super::{Cause, Origin};
use crate::model::{Curve, Estimate, Frame, FrameKind, Line, Suspect, Verdict};
use crate::python;
use crate::symbol::{Kind, Owner, Place, Symbols};
use crate::time_line::{Series, TimeLine};
use crate::verdict::{Axis, FEWEST_WINDOWS, Judgement};

/// What a description needs to know.
#[derive(Clone, Copy, Debug)]
pub struct Context<'a> {
    /// The trace.
    pub trace: &'a Trace<'a>,
    /// Names of its frames.
    pub symbols: &'a Symbols,
    /// Its time line.
    pub line: &'a TimeLine,
    /// What rates are per.
    pub axis: &'a Axis,
}

impl Cause<'_> {
    /// Bytes of each call stack by which the cause is described: what grew lately, or at all, or without growth
    /// what is held.
    pub fn weights(&self, line: &TimeLine) -> Vec<(super::StackMemory, f64)> {
        let since = |from| {
            self.stacks.iter().map(move |of| (*of, line.kept_since(*of, from))).collect::<Vec<_>>()
        };
        let grew = |weights: &Vec<(super::StackMemory, f64)>| {
            weights.iter().any(|(_, bytes)| *bytes > 0.0)
        };
        [self.judgement.typical_from(), self.judgement.warm_up]
            .into_iter()
            .map(since)
            .find(grew)
            .unwrap_or_else(|| {
                self.stacks.iter().map(|of| (*of, line.peak_of(*of) as f64)).collect()
            })
    }
}

/// Describes a cause. Rank, share, patterns and suppression are for the caller to fill in.
pub fn describe(cause: &Cause<'_>, context: Context<'_>) -> Suspect {
    let Context { trace, symbols, line, axis } = context;
    let weights = cause.weights(line);
    let mut domains: BTreeMap<Domain, f64> = BTreeMap::new();
    let mut ops: BTreeMap<&str, f64> = BTreeMap::new();
    for &(of, bytes) in &weights {
        *domains.entry(of.domain).or_default() += bytes;
        if let Some(op) = op_of(trace, symbols, of.stack) {
            *ops.entry(op).or_default() += bytes;
        }
    }
    let sum: f64 = weights.iter().map(|(_, bytes)| bytes).sum();
    let heaviest = weights.iter().max_by(|(_, a), (_, b)| a.total_cmp(b));
    let op = heaviest_of(&ops).filter(|(_, bytes)| **bytes > 0.0).map(|(op, _)| (*op).to_owned());
    let domain = heaviest_of(&domains).map_or(Domain::Malloc, |(domain, _)| *domain);
    let stack = heaviest.and_then(|(of, _)| of.stack);
    let (per_request, per_second) = rates(&cause.judgement, line, axis);
    Suspect {
        rank: 0,
        verdict: cause.judgement.verdict,
        name: name(cause.origin),
        your_line: your_line(cause.origin),
        // An op that is a small part of a cause says nothing about it.
        op: op.filter(|op| ops[op.as_str()] >= 0.2 * sum),
        domain: domain.name().to_owned(),
        thread: match cause.origin {
            Origin::Thread(begin, _) => Some(begin.function.clone()),
            _ => None,
        },
        bytes_per_request: per_request,
        bytes_per_second: per_second,
        windows: cause.judgement.windows,
        share_of_growth: 0.0,
        held_bytes: cause.series.live.last().copied().unwrap_or(0.0) as u64,
        held_bytes_error: 0.0,
        held_blocks: cause.series.kept_blocks.iter().sum::<f64>() as u64,
        stack: frames(trace, symbols, stack),
        curve: curve(&cause.series, &cause.judgement, axis),
        patterns: Vec::new(),
        needed: needed(&cause.judgement, axis, line.requests.count().is_some()),
        suppressed_by: None,
    }
}

fn heaviest_of<K>(weights: &BTreeMap<K, f64>) -> Option<(&K, &f64)> {
    weights.iter().max_by(|(_, a), (_, b)| a.total_cmp(b))
}

/// The op that a stack's memory is for.
fn op_of<'a>(trace: &Trace<'_>, symbols: &'a Symbols, stack: Option<StackId>) -> Option<&'a str> {
    let node = trace.node(stack?)?;
    match node.frame {
        TraceFrame::Op(_) => symbols.places(node.frame).first().map(|op| op.function.as_str()),
        _ => None,
    }
}

/// What to call a cause.
fn name(origin: Origin<'_>) -> String {
    match origin {
        Origin::Line(place) => place.function.clone(),
        Origin::Thread(begin, None) => format!("thread of {}", begin.function),
        Origin::Thread(begin, Some(op)) => {
            format!("{} on a thread of {}", op.function, begin.function)
        }
        Origin::Op(op) => op.function.clone(),
        Origin::Arenas => {
            "Python's small objects (arenas; TFTRACE_PYTHON=0 hides who asked)".into()
        }
        Origin::Unknown => "many places, none of which stands out".into(),
    }
}

fn your_line(origin: Origin<'_>) -> Option<Line> {
    let Origin::Line(place) = origin else { return None };
    place.location.is_some().then(|| line_of(place))
}

/// A place as a line of source code.
pub fn line_of(place: &Place) -> Line {
    let (file, line) = file_and_line(place.location.as_deref().unwrap_or_default());
    Line { file: file.to_owned(), line: line.unwrap_or(0), function: place.function.clone() }
}

/// `/app/serve.py:42` as its two parts.
fn file_and_line(location: &str) -> (&str, Option<u32>) {
    match location.rsplit_once(':') {
        Some((file, line)) if line.parse::<u32>().is_ok() => (file, line.parse().ok()),
        _ => (location, None),
    }
}

/// A stack from the root to the leaf.
pub fn frames(trace: &Trace<'_>, symbols: &Symbols, stack: Option<StackId>) -> Vec<Frame> {
    let Some(stack) = stack else { return Vec::new() };
    let places = trace.frames(stack).flat_map(|frame| symbols.places(frame));
    let mut frames: Vec<Frame> = places.map(frame).collect();
    frames.reverse();
    frames
}

/// Whether a note says which memory of CUDA's a block is.
fn is_memory(note: &str) -> bool {
    ["[device ", "[managed", "[pinned", "[registered"].iter().any(|begin| note.starts_with(begin))
}

fn frame(place: &Place) -> Frame {
    let (file, line) = match &place.location {
        Some(location) => {
            let (file, line) = file_and_line(location);
            (Some(file.to_owned()), line)
        }
        None => (None, None),
    };
    let is_native = place.is_native();
    Frame {
        kind: match place.kind {
            Kind::Native(_) => FrameKind::Native,
            Kind::Python => FrameKind::Python,
            Kind::Op => FrameKind::Op,
            Kind::Note if place.function.starts_with("[scheduled") => FrameKind::ScheduledBy,
            Kind::Note if is_memory(&place.function) => FrameKind::Memory,
            Kind::Note => FrameKind::Missing,
        },
        function: place.function.clone(),
        file,
        line,
        module: place.module.as_deref().filter(|_| is_native).map(str::to_owned),
        framework: match place.kind {
            Kind::Native(owner) => owner != Owner::User || python::is_interpreter(place),
            Kind::Python => !python::is_user_function(place),
            Kind::Op | Kind::Note => false,
        },
    }
}

/// Bytes per request, if they were counted, and per second.
fn rates(
    judgement: &Judgement,
    line: &TimeLine,
    axis: &Axis,
) -> (Option<Estimate>, Option<Estimate>) {
    let Some(rate) = judgement.rate else { return (None, None) };
    if line.requests.count().is_none() {
        return (None, Some(rate));
    }
    let range = judgement.warm_up..judgement.warm_up + judgement.windows;
    let begin = range.start.checked_sub(1).map_or(0.0, |before| line.seconds[before]);
    let seconds = range.clone().next_back().map_or(0.0, |last| line.seconds[last]) - begin;
    let requests: f64 = axis.units[range].iter().sum();
    let per_second = (seconds > 0.0).then(|| {
        let [estimate, low, high] =
            [rate.estimate, rate.low, rate.high].map(|bytes| bytes * requests / seconds);
        Estimate { estimate, low, high }
    });
    (Some(rate), per_second)
}

/// What is held, and the straight line that a leak follows.
fn curve(series: &Series, judgement: &Judgement, axis: &Axis) -> Curve {
    let held = series.live.clone();
    let Some(rate) = judgement.rate else { return Curve { held, ..Curve::default() } };
    let range = judgement.warm_up..judgement.warm_up + judgement.windows;
    let mut passed = 0.0;
    let at: Vec<f64> = axis
        .units
        .iter()
        .map(|units| {
            passed += units;
            passed
        })
        .collect();
    let mean = |values: &[f64]| values.iter().sum::<f64>() / values.len().max(1) as f64;
    let (middle, level) = (mean(&at[range.clone()]), mean(&held[range]));
    let line = |slope: f64| -> Vec<Option<f64>> {
        let from_warm_up = |(window, at): (usize, &f64)| {
            (window >= judgement.warm_up).then(|| (level + slope * (at - middle)).max(0.0))
        };
        at.iter().enumerate().map(from_warm_up).collect()
    };
    let (fit, steep, flat) = (line(rate.estimate), line(rate.high), line(rate.low));
    let both = |pick: fn(f64, f64) -> f64| -> Vec<Option<f64>> {
        steep.iter().zip(&flat).map(|(a, b)| Some(pick((*a)?, (*b)?))).collect()
    };
    let (low, high) = (both(f64::min), both(f64::max));
    Curve { held, fit, low, high }
}

/// What would decide.
fn needed(judgement: &Judgement, axis: &Axis, are_requests: bool) -> Option<String> {
    if judgement.verdict != Verdict::Undecided {
        return None;
    }
    let traced: f64 = axis.units.iter().sum();
    Some(more(traced, &axis.since(judgement.warm_up), are_requests))
}

/// Whether there were enough requests, but all of them in a part of the time in which nothing can be told apart.
pub fn came_at_once(after: &Axis) -> bool {
    !after.is_long_enough() && after.units.iter().sum::<f64>() >= 2.0 * FEWEST_WINDOWS as f64
}

/// As much again as was traced, in plain words, and enough for a leak to be seen in the time that passed after
/// start-up.
pub fn more(traced: f64, after: &Axis, are_requests: bool) -> String {
    let passed: f64 = after.units.iter().sum();
    if are_requests && came_at_once(after) {
        return "trace requests over a longer time, or end the trace soon after them".into();
    }
    let least =
        if are_requests && !after.is_long_enough() { FEWEST_WINDOWS as f64 - passed } else { 1.0 };
    let amount = traced.max(least).ceil() as u64;
    match are_requests {
        true => format!("trace {amount} more requests"),
        false => format!("trace {amount} more seconds"),
    }
}
