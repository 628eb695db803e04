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

/// The innermost functions of the user's on a call stack, by which memory was asked for.
#[derive(Clone, Copy, Debug, Default)]
struct Callers<'a> {
    python: Option<&'a Place>,
    native: Option<&'a Place>,
}

type Key = (Domain, Option<*const Place>, Option<*const Place>);

/// The sites of these stacks, heaviest first.
pub(super) fn sites(
    asked: &Asked<'_>,
    stacks: &[(Domain, Option<StackId>, NodeWeights)],
) -> Vec<Site> {
    let mut found: FxHashMap<Key, Site> = FxHashMap::default();
    for (domain, stack, weights) in stacks {
        let callers = asked.callers(*stack);
        let leaf = asked.leaf(*stack);
        let op = leaf.filter(|leaf| leaf.kind == Kind::Op);
        let yours = callers.python.or(callers.native);
        let place = yours.or(leaf);
        let pointer = |place: Option<&Place>| place.map(|place| place as *const Place);
        let site = found.entry((*domain, pointer(place), pointer(op))).or_insert_with(|| Site {
            function: place.map_or("[no call stack recorded]".into(), |at| at.function.clone()),
            location: place
                .and_then(|at| at.location.clone().or(Some(at.module.as_deref()?.into()))),
            is_yours: yours.is_some(),
            op: op.map(|op| op.function.clone()),
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

/// For each stack who asked. Most stacks share their callers with many.
pub(super) struct Asked<'a> {
    trace: &'a Trace<'a>,
    symbols: &'a Symbols,
    /// By number of the stack: the place in `all`.
    numbers: Vec<u32>,
    all: Vec<Callers<'a>>,
}

impl<'a> Asked<'a> {
    /// Looks at each node once.
    pub(super) fn new(trace: &'a Trace<'a>, symbols: &'a Symbols) -> Self {
        let yours: FxHashMap<Frame, &Place> = symbols
            .iter()
            .filter_map(|(frame, places)| {
                let places: Vec<&Place> = places.iter().collect();
                Some((frame, python::user_place(&places)?))
            })
            .collect();
        let (numbers, all) = (vec![0; trace.stacks_end()], vec![Callers::default()]);
        let mut asked = Self { trace, symbols, numbers, all };
        let mut known: FxHashMap<[Option<*const Place>; 2], u32> = FxHashMap::default();
        for (stack, node) in trace.nodes() {
            let mut number = asked.number(node.parent);
            if let Some(yours) = yours.get(&node.frame) {
                let mut callers = asked.all[number as usize];
                let slot =
                    if yours.is_python() { &mut callers.python } else { &mut callers.native };
                *slot = Some(yours);
                let key = [callers.python, callers.native];
                let key = key.map(|place| place.map(|place| place as *const Place));
                number = *known.entry(key).or_insert_with(|| {
                    asked.all.push(callers);
                    asked.all.len() as u32 - 1
                });
            }
            asked.numbers[stack.get() as usize] = number;
        }
        asked
    }

    fn number(&self, stack: Option<StackId>) -> u32 {
        let number = stack.and_then(|stack| self.numbers.get(stack.get() as usize));
        number.copied().unwrap_or_default()
    }

    fn callers(&self, stack: Option<StackId>) -> Callers<'a> {
        self.all[self.number(stack) as usize]
    }

    /// The function that a stack ends with: frames that say what the memory is for have no name.
    fn leaf(&self, stack: Option<StackId>) -> Option<&'a Place> {
        self.trace.frames(stack?).find_map(|frame| self.symbols.places(frame).first())
    }
}
