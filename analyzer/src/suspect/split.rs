//! Cuts growth into causes: first by the line that the growth ends in, then, where it is scattered
//! over many lines, by the deepest one that most of it flows through.

use std::collections::BTreeMap;

use super::path::{PathId, Paths};

/// A line is a cause of its own if it has this share of all growth that no earlier cause has.
const LINE_SHARE: f64 = 0.2;
/// Of scattered growth this share flows through the line that is named for it.
const FLOW_SHARE: f64 = 0.5;
/// More causes than this nobody reads. Each takes at least [`LINE_SHARE`] of what is left, so that the
/// last of them are less than a millionth of the growth.
const MOST_CAUSES: usize = 64;

/// One cause: the step that names it, and the ways that are its own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Cause {
    /// Where it is; 0: nowhere in particular.
    pub(super) at: PathId,
    /// The ways, sorted.
    pub(super) paths: Vec<PathId>,
}

/// Cuts the growth of ways into causes, the largest first, until less than `least` is left.
pub(super) fn split(
    paths: &mut Paths<'_>,
    growth: &BTreeMap<PathId, f64>,
    least: f64,
) -> Vec<Cause> {
    let mut left: Vec<(PathId, PathId, f64)> = growth
        .iter()
        .filter(|(_, growth)| **growth > 0.0)
        .map(|(&path, &growth)| (path, paths.line(path), growth))
        .collect();
    let mut causes = Vec::new();
    while causes.len() < MOST_CAUSES {
        let sum: f64 = left.iter().map(|(.., growth)| growth).sum();
        if sum < least || sum <= 0.0 {
            break;
        }
        let mut lines: BTreeMap<PathId, f64> = BTreeMap::new();
        for (_, line, growth) in &left {
            *lines.entry(*line).or_default() += growth;
        }
        let heaviest = lines.into_iter().max_by(|(_, a), (_, b)| a.total_cmp(b));
        let standing_out = heaviest.filter(|(_, growth)| *growth >= LINE_SHARE * sum);
        let at = match standing_out {
            Some((line, _)) => line,
            None => deepest_with_most(paths, &left, sum),
        };
        let (own, rest): (Vec<_>, Vec<_>) =
            left.into_iter().partition(|(path, line, _)| match standing_out {
                Some(_) => *line == at,
                None => leads_through(paths, *path, at),
            });
        causes.push(Cause { at, paths: own.into_iter().map(|(path, ..)| path).collect() });
        left = rest;
    }
    causes
}

/// The deepest step through which most of the growth flows; 0 if there is none.
fn deepest_with_most(paths: &Paths<'_>, left: &[(PathId, PathId, f64)], sum: f64) -> PathId {
    let mut through: BTreeMap<PathId, f64> = BTreeMap::new();
    for &(mut path, _, growth) in left {
        while path != 0 {
            *through.entry(path).or_default() += growth;
            path = paths.parent(path);
        }
    }
    let depth = |mut path: PathId| {
        let mut depth = 0usize;
        while path != 0 {
            path = paths.parent(path);
            depth += 1;
        }
        depth
    };
    let most = through.into_iter().filter(|(_, growth)| *growth >= FLOW_SHARE * sum);
    most.map(|(path, _)| path).max_by_key(|path| depth(*path)).unwrap_or(0)
}

fn leads_through(paths: &Paths<'_>, mut path: PathId, node: PathId) -> bool {
    loop {
        if path == node {
            return true;
        }
        if path == 0 {
            return false;
        }
        path = paths.parent(path);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::symbol::{Kind, Place, Symbols};
    use tftrace_format::builder::{Packing, TraceBuilder};
    use tftrace_format::reader::Trace;
    use tftrace_format::{CodeId, Frame, StackId};

    fn line(number: u32) -> Frame {
        Frame::Python { code: CodeId(1), instruction: number }
    }

    /// Ways of line numbers with their growth, and the causes as line and share of all growth in
    /// percent.
    fn causes(ways: &[(&[u32], f64)]) -> Vec<(String, u64)> {
        let mut builder = TraceBuilder::new();
        let stacks: Vec<Option<StackId>> = ways
            .iter()
            .map(|(way, _)| {
                let frames: Vec<Frame> = way.iter().map(|number| line(*number)).collect();
                Some(builder.stack(&frames))
            })
            .collect();
        let bytes = builder.build(Packing::Raw);
        let trace = Trace::open(&bytes).unwrap();
        let symbols = Symbols::of((0..100).map(|number| {
            let location = Some(format!("/app/serve.py:{number}"));
            (line(number), vec![Place { location, ..Place::of(Kind::Python, "f") }])
        }));
        let mut paths = Paths::new(&trace, &symbols);
        let mut growth = BTreeMap::new();
        for (stack, (_, bytes)) in stacks.iter().zip(ways) {
            *growth.entry(paths.of(*stack, false)).or_default() += bytes;
        }
        let all: f64 = growth.values().sum();
        let causes = split(&mut paths, &growth, 1.0);
        causes
            .iter()
            .map(|cause| {
                let own: f64 = cause.paths.iter().map(|path| growth[path]).sum();
                let name = match paths.step(cause.at) {
                    Some(super::super::path::Step::Line(place)) => {
                        let location = place.location.as_deref().unwrap();
                        location.rsplit(':').next().unwrap().to_owned()
                    }
                    _ => "nowhere".to_owned(),
                };
                (name, (100.0 * own / all).round() as u64)
            })
            .collect()
    }

    fn named(causes: &[(&str, u64)]) -> Vec<(String, u64)> {
        causes.iter().map(|(name, share)| ((*name).to_owned(), *share)).collect()
    }

    #[test]
    fn one_line_reached_in_many_ways_is_one_cause() {
        let ways: Vec<Vec<u32>> = (10..30).map(|caller| vec![1, caller, 50]).collect();
        let ways: Vec<(&[u32], f64)> = ways.iter().map(|way| (way.as_slice(), 10.0)).collect();
        assert_eq!(causes(&ways), named(&[("50", 100)]));
    }

    #[test]
    fn growth_in_many_lines_is_named_by_the_deepest_call_that_most_of_it_flows_through() {
        let ways: Vec<Vec<u32>> = (10..30).map(|leaf| vec![1, 2, leaf]).collect();
        let mut ways: Vec<(&[u32], f64)> = ways.iter().map(|way| (way.as_slice(), 10.0)).collect();
        ways.push((&[1, 3, 4], 5.0));
        assert_eq!(causes(&ways), named(&[("2", 98), ("4", 2)]));
    }

    #[test]
    fn several_causes_are_told_apart_however_unequal_they_are() {
        let ways: [(&[u32], f64); 4] =
            [(&[1, 10], 1e9), (&[1, 11], 3e8), (&[1, 12, 13], 5e4), (&[2], 100.0)];
        let expected = named(&[("10", 77), ("11", 23), ("13", 0), ("2", 0)]);
        assert_eq!(causes(&ways), expected);
        assert_eq!(causes(&[]), named(&[]));
    }
}
