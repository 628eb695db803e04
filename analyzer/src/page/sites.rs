//! The places that asked for memory: your line, or without one what allocated.

use std::cmp::Reverse;

use rustc_hash::FxHashMap;
use serde::Serialize;
use tftrace_format::reader::Trace;
use tftrace_format::{Domain, Frame, StackId};

use super::stack_tree::{NodeWeights, WEIGHTS, add};
use crate::python;
use crate::symbol::{Kind, Place, Symbols};

/// All memory that was asked for through one line.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Site {
    /// The user's function, or what allocated where no stack leads through the user's code.
    pub function: String,
    /// File and line, where known.
    pub location: Option<String>,
    /// Whether it is the user's code.
    pub is_yours: bool,
    /// The TensorFlow op that it is for.
    pub op: Option<String>,
    /// Whose memory.
    pub domain: &'static str,
    /// How many call stacks lead there.
    pub stacks: u64,
    /// In the order of [`super::flame_graph::WEIGHT_NAMES`].
    pub weights: NodeWeights,
}

/// What a call stack says of who asked; places as pointers into the table of symbols.
#[derive(Clone, Copy, Debug, Default)]
struct Caller<'a> {
    python: Option<&'a Place>,
    native: Option<&'a Place>,
    op: Option<&'a Place>,
    leaf: Option<&'a Place>,
}

type Key = (Domain, Option<*const Place>, Option<*const Place>);

/// The sites of these stacks, heaviest first.
pub(super) fn sites(
    asked: &Asked<'_>,
    stacks: &[(Domain, Option<StackId>, NodeWeights)],
) -> Vec<Site> {
    let mut found: FxHashMap<Key, Site> = FxHashMap::default();
    for (domain, stack, weights) in stacks {
        let asked = asked.of(*stack);
        let yours = asked.python.or(asked.native);
        let place = yours.or(asked.leaf);
        let pointer = |place: Option<&Place>| place.map(|place| place as *const Place);
        let site =
            found.entry((*domain, pointer(place), pointer(asked.op))).or_insert_with(|| Site {
                function: place.map_or("[no call stack recorded]".into(), |at| at.function.clone()),
                location: place
                    .and_then(|at| at.location.clone().or(Some(at.module.as_deref()?.into()))),
                is_yours: yours.is_some(),
                op: asked.op.map(|op| op.function.clone()),
                domain: domain.name(),
                stacks: 0,
                weights: [0; WEIGHTS],
            });
        site.stacks += 1;
        add(&mut site.weights, weights);
    }
    merged(found.into_values())
}

/// One function may have two entries in the table of symbols: one for each of its addresses.
fn merged(found: impl Iterator<Item = Site>) -> Vec<Site> {
    let mut merged: FxHashMap<_, Site> = FxHashMap::default();
    for site in found {
        let key = (
            site.domain,
            site.function.clone(),
            site.location.clone(),
            site.is_yours,
            site.op.clone(),
        );
        match merged.get_mut(&key) {
            Some(same) => {
                same.stacks += site.stacks;
                add(&mut same.weights, &site.weights);
            }
            None => {
                merged.insert(key, site);
            }
        }
    }
    let mut sites: Vec<Site> = merged.into_values().collect();
    sites.sort_by(|a, b| {
        let key = |site: &Site| (Reverse(site.weights), site.domain);
        (key(a), &a.function, &a.location, &a.op).cmp(&(key(b), &b.function, &b.location, &b.op))
    });
    sites
}

/// For each stack who asked, from itself or from its callers. Most stacks share this with many.
#[derive(Default)]
pub(super) struct Asked<'a> {
    /// By number of the stack: the place in `all`.
    numbers: Vec<u32>,
    all: Vec<Caller<'a>>,
}

impl<'a> Asked<'a> {
    /// Looks at each node once.
    pub(super) fn new(trace: &Trace<'_>, symbols: &'a Symbols) -> Self {
        let mut asked = Self { numbers: vec![0; trace.stacks_end()], all: vec![Caller::default()] };
        let mut known: FxHashMap<[Option<*const Place>; 4], u32> = FxHashMap::default();
        // A frame stands on thousands of stacks: look at it once.
        let mut of_frame: FxHashMap<Frame, (Option<&Place>, Option<&Place>)> = FxHashMap::default();
        for (stack, node) in trace.nodes() {
            let mut of_stack = asked.of(node.parent);
            let (yours, leaf) = *of_frame.entry(node.frame).or_insert_with(|| {
                let places: Vec<&Place> = symbols.places(node.frame).iter().collect();
                (python::user_place(&places), places.first().copied())
            });
            if let Some(yours) = yours {
                let slot =
                    if yours.is_python() { &mut of_stack.python } else { &mut of_stack.native };
                *slot = Some(yours);
            }
            if let Some(place) = leaf {
                of_stack.leaf = Some(place);
                of_stack.op = (place.kind == Kind::Op).then_some(place);
            }
            let Caller { python, native, op, leaf } = of_stack;
            let key = [python, native, op, leaf].map(|at| at.map(|at| at as *const Place));
            let number = *known.entry(key).or_insert_with(|| {
                asked.all.push(of_stack);
                asked.all.len() as u32 - 1
            });
            asked.numbers[stack.get() as usize] = number;
        }
        asked
    }

    fn of(&self, stack: Option<StackId>) -> Caller<'a> {
        let number = stack.and_then(|stack| self.numbers.get(stack.get() as usize));
        number.and_then(|number| self.all.get(*number as usize)).copied().unwrap_or_default()
    }
}
