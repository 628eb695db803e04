//! Containers of Python's that grow: where something is put into a list, dict, set or deque that becomes larger and
//! larger. What is kept is often made at another line than that which keeps it; this is the one that does.

use std::collections::BTreeMap;

use tftrace_format::Domain;

use super::Context;
use crate::python::{is_calling, is_user_function};
use crate::symbol::Place;
use crate::time_line::StackMemory;

/// A container's own memory is at least this in the end: some hundred items.
const LEAST: f64 = 1024.0;
/// It grows by as much for each request: an item in every eighth.
const LEAST_OF_A_REQUEST: f64 = 1.0;
/// It is at least so many times as large as it was after a third of the requests. Of what grows evenly it would be
/// three times; a list has an eighth in reserve, and a dict half.
const GREW: f64 = 1.4;
/// It is never smaller than this share of what it was.
const NEVER_BELOW: f64 = 0.9;
/// So many are named.
const MOST: usize = 3;

/// Functions of CPython's which make room in a container, and in what.
const KINDS: [(&str, &[&str]); 4] = [
    ("a list", &["list_resize", "list_append", "list_extend", "PyList_Append", "_PyList_"]),
    (
        "a dict",
        &["dictresize", "insertion_resize", "insertdict", "PyDict_SetItem", "_odict_resize"],
    ),
    ("a set", &["set_table_resize", "set_add_entry", "set_add_key"]),
    ("a deque", &["deque_append", "deque_extend", "deque_inplace_concat"]),
];

/// What it is where the interpreter's functions have no names, as in most distributions: one block that becomes larger.
const UNNAMED: &str = "a list or dict";

/// What is filled, at which location, by which function; and the user's line that called it, if it is not theirs.
type Filled<'a> = (&'static str, &'a str, &'a str, Option<&'a str>);

/// The containers that grow after start-up, those of the user's and the largest first:
/// `a list that grows at /app/serve.py:42 (handle)`.
pub fn growing_containers(context: Context<'_>, start_up: usize) -> Vec<String> {
    let in_words = |(_, (what, location, function, caller)): &(f64, Filled<'_>)| {
        let called = caller.map(|caller| format!(", called from {caller}")).unwrap_or_default();
        format!("{what} that grows at {location} ({function}){called}")
    };
    growing(context, start_up).iter().take(MOST).map(in_words).collect()
}

/// For how many items more than at the end of start-up there is room in containers that are filled at one place, at most.
pub(super) fn room_made(context: Context<'_>, start_up: usize) -> f64 {
    let made = |(filled, stacks): (Filled<'_>, Vec<StackMemory>)| {
        room(&context.line.series(stacks).since(start_up).live) / bytes_of_item(filled.0)
    };
    containers(context).into_iter().map(made).fold(0.0, f64::max)
}

/// What an item takes of such a container, in bytes: of a dict and a set more, as these are never full.
fn bytes_of_item(kind: &str) -> f64 {
    match kind {
        "a list" | "a deque" => 8.0,
        UNNAMED => 16.0,
        _ => 24.0,
    }
}

/// The containers that grow, and by how many bytes each became larger.
fn growing(context: Context<'_>, start_up: usize) -> Vec<(f64, Filled<'_>)> {
    let line = context.line;
    let from = start_up + a_third(&context.axis.since(start_up).units);
    let blocks_of =
        |stacks: &[StackMemory]| -> u64 { stacks.iter().map(|of| line.held_by(*of).blocks).sum() };
    let requests: f64 = match line.requests.count() {
        Some(_) => context.axis.since(from).units.iter().sum(),
        None => 0.0,
    };
    let mut found: Vec<(f64, Filled<'_>)> = containers(context)
        .into_iter()
        .filter(|(filled, stacks)| filled.0 != UNNAMED || blocks_of(stacks) == 1)
        .map(|(filled, stacks)| (growth(&line.series(stacks).since(from).live), filled))
        .filter(|(grew, _)| *grew > 0.0 && *grew >= LEAST_OF_A_REQUEST * requests)
        .collect();
    // The user's own come first.
    found.sort_by(|(a, one), (b, other)| {
        one.3.is_some().cmp(&other.3.is_some()).then(b.total_cmp(a))
    });
    found
}

/// All memory of containers, by where they are filled.
fn containers(context: Context<'_>) -> BTreeMap<Filled<'_>, Vec<StackMemory>> {
    let line = context.line;
    let mut by_place: BTreeMap<Filled<'_>, Vec<StackMemory>> = BTreeMap::new();
    // All that were there at any time: room for more is made by another call stack than that which made the first.
    // Without Python's own blocks in the trace (`TFTRACE_PYTHON=0`) it is malloc's memory.
    let may_be = |of: &StackMemory| {
        matches!(of.domain, Domain::Python | Domain::Malloc)
            && line.peak_of(*of) as f64 >= LEAST / 2.0
    };
    for memory in line.stacks().filter(may_be) {
        if let Some(filled) = filled_at(context, memory) {
            by_place.entry(filled).or_default().push(memory);
        }
    }
    by_place
}

/// The window in which a third has passed.
fn a_third(units: &[f64]) -> usize {
    let all: f64 = units.iter().sum();
    let mut passed = 0.0;
    let third = units.iter().position(|units| {
        passed += units;
        passed >= all / 3.0
    });
    third.unwrap_or(0)
}

/// By how much a container became larger, in bytes; 0 if it is one that does not grow.
fn growth(live: &[f64]) -> f64 {
    // What was soon made larger again counts as a temporary, and there is nothing of it until then.
    let seen = || live.iter().copied().filter(|level| *level > 0.0);
    let (Some(first), Some(last)) = (seen().next(), seen().next_back()) else { return 0.0 };
    let mut highest: f64 = 0.0;
    let falls = seen().any(|level| {
        highest = highest.max(level);
        level < NEVER_BELOW * highest
    });
    if falls || last < LEAST || last < GREW * first { 0.0 } else { last - first }
}

/// How many bytes more a container has in the end than at first. Between, what was soon made larger again is not seen.
fn room(live: &[f64]) -> f64 {
    let [first, last] = [live.first(), live.last()].map(|level| level.copied().unwrap_or(0.0));
    if last < LEAST { 0.0 } else { (last - first).max(0.0) }
}

/// Where the container is filled that this memory belongs to, if it does to one: in the innermost function of Python's.
fn filled_at<'a>(context: Context<'a>, memory: StackMemory) -> Option<Filled<'a>> {
    let frames = context.trace.frames(memory.stack?);
    let mut places = frames.flat_map(|frame| context.symbols.places(frame));
    let (mut kind, mut says_nothing) = (None, None);
    let inner = loop {
        let place = places.next()?;
        if place.is_python() {
            break place;
        }
        kind = kind.or_else(|| kind_of(place));
        says_nothing = Some(says_nothing != Some(false) && is_calling(place));
    };
    let kind = kind.or_else(|| (says_nothing == Some(true)).then_some(UNNAMED))?;
    let location = inner.location.as_deref()?;
    let caller = match is_user_function(inner) {
        true => None,
        false => places.find(|place| is_user_function(place)),
    };
    Some((kind, location, &inner.function, caller.and_then(|caller| caller.location.as_deref())))
}

fn kind_of(place: &Place) -> Option<&'static str> {
    let makes_room = |names: &[&str]| names.iter().any(|name| place.function.starts_with(name));
    let kind = KINDS.iter().find(|(_, names)| makes_room(names)).map(|(what, _)| *what);
    kind.filter(|_| place.is_native())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_becomes_larger_and_never_smaller_grows() {
        assert_eq!(growth(&[1000.0, 1000.0, 2000.0, 2000.0, 4000.0]), 3000.0);
        assert_eq!(growth(&[1000.0, 0.0, 2000.0, 0.0, 3000.0]), 2000.0, "it was soon made larger");
        assert_eq!(growth(&[2000.0, 2000.0, 2100.0]), 0.0, "it has an eighth in reserve");
        assert_eq!(growth(&[1000.0, 4000.0, 1000.0, 4000.0]), 0.0, "it is emptied");
        assert_eq!(growth(&[100.0, 200.0, 400.0]), 0.0, "it is small");
        assert_eq!(growth(&[]), 0.0);
    }

    #[test]
    fn room_is_made_by_what_is_there_in_the_end_and_was_not_before() {
        assert_eq!(room(&[0.0, 0.0, 12_000.0]), 12_000.0, "it was soon made larger until then");
        assert_eq!(room(&[4_000.0, 0.0, 12_000.0]), 8_000.0);
        assert_eq!(room(&[12_000.0, 12_000.0]), 0.0);
        assert_eq!(room(&[12_000.0, 2_000.0, 14_000.0]), 2_000.0);
        assert_eq!(room(&[0.0, 200.0]), 0.0, "it is small");
        assert_eq!(room(&[]), 0.0);
    }

    #[test]
    fn a_third_of_the_requests_is_not_a_third_of_the_windows() {
        assert_eq!(a_third(&[1.0; 9]), 2);
        assert_eq!(a_third(&[0.0, 0.0, 0.0, 1.0, 1.0, 1.0, 0.0]), 3);
        assert_eq!(a_third(&[]), 0);
    }

    #[test]
    fn containers_are_told_by_the_functions_that_make_room_in_them() {
        let kind = |function: &str| kind_of(&Place::unnamed(function));
        assert_eq!(kind("list_resize"), Some("a list"));
        assert_eq!(kind("_PyList_AppendTakeRefListResize"), Some("a list"));
        assert_eq!(kind("dictresize"), Some("a dict"));
        assert_eq!(kind("deque_append_internal"), Some("a deque"));
        assert_eq!(kind("PyObject_Malloc"), None);
    }
}
