//! Known causes of growth: what happens, what shows it, and what to do about it.
//!
//! A pattern is claimed only where most of a suspect's growth is evidence of it: most often, passes through certain
//! functions. `docs/verdict.md` lists them.

mod growth;
mod kept;
mod known;

use crate::model::{Pattern, Suspect, Verdict};
use crate::report::numbers::bytes;
use crate::suspect::{Cause, Context};
use crate::symbol::{Kind, Owner, Place};
use crate::time_line::Idle;
use crate::verdict::LEAST_BYTES;
use growth::Growth;
use known::is_native;

/// A pattern is claimed if this share of the growth shows it.
const MOST: f64 = 0.5;
/// If more than this share of the growth are objects whose line is not sure, the rest says nothing of the cause.
const NEARLY_ALL: f64 = 0.75;

/// The patterns of a suspect; empty if it does not grow, or if nothing fits. `containers` are those that grow meanwhile.
pub fn of(
    cause: &Cause<'_>,
    suspect: &Suspect,
    context: Context<'_>,
    containers: &[String],
) -> Vec<Pattern> {
    if !matches!(
        suspect.verdict,
        Verdict::Leak | Verdict::CacheFilling | Verdict::Undecided | Verdict::Sawtooth
    ) {
        return Vec::new();
    }
    if let Some(idle) = &cause.idle {
        return vec![free_lists(idle)];
    }
    let mut patterns: Vec<Pattern> = garbage(cause).into_iter().collect();
    let growth = Growth::of(cause, context);
    // What is released again is not kept, whatever it is.
    if growth.sum <= 0.0 || suspect.verdict == Verdict::Sawtooth {
        return patterns;
    }
    let told_by_functions = || {
        let known = known::of(&growth).or_else(|| kept::results(&growth, suspect));
        known.or_else(|| native(&growth))
    };
    let found = match growth.passed_on > NEARLY_ALL * growth.sum {
        true => None,
        false => told_by_functions(),
    };
    let is_garbage = !patterns.is_empty();
    let found = found.or_else(|| kept::objects(&growth, suspect).filter(|_| !is_garbage));
    patterns.extend(found.map(|pattern| kept::with_containers(pattern, containers)));
    patterns
}

/// What CPython keeps to use it again.
fn free_lists(idle: &Idle) -> Pattern {
    let sum = |values: &[f64]| values.iter().sum::<f64>();
    Pattern {
        id: "free-lists-fill",
        sentence: "What grew may be idle: CPython keeps what tuples, lists, dicts and floats leave behind to use it \
                   again, up to 2,000 of each size, and no container grew that would hold so many."
            .into(),
        remedy: "Nothing to do. To be sure, trace until there would be more than 2,000 of a size: what goes on then \
                 is a leak."
            .into(),
        evidence: vec![format!(
            "{:.0} blocks with {} are of sizes of which no more grew than such a list takes; nothing else grows",
            sum(&idle.blocks),
            bytes(sum(&idle.bytes) as u64)
        )],
    }
}

/// What waits for Python's cycle collector.
fn garbage(cause: &Cause<'_>) -> Option<Pattern> {
    let garbage: f64 = cause.series.garbage.iter().sum();
    let kept: f64 = cause.series.kept.iter().sum();
    (garbage >= LEAST_BYTES && garbage >= MOST * kept).then(|| Pattern {
        id: "garbage-cycles",
        sentence: "Objects that refer to each other in a circle wait for Python's cycle collector, which runs \
                   rarely: nothing holds them."
            .into(),
        remedy: "If the memory matters, call gc.collect() now and then, or break the circles."
            .into(),
        evidence: vec![format!(
            "{} of {} were freed by the collection that Python runs when it ends, before it takes anything apart",
            bytes(garbage as u64),
            bytes(kept as u64)
        )],
    })
}

/// Native code of the user's that asks for memory and never gives it back.
fn native(growth: &Growth<'_>) -> Option<Pattern> {
    let asked = |places: &[&Place]| -> Option<String> {
        let leaf = places.iter().find(|place| {
            !is_native(
                place,
                &[
                    "malloc",
                    "calloc",
                    "realloc",
                    "operator new",
                    "mmap",
                    "aligned_alloc",
                    "posix_memalign",
                    "strdup",
                ],
            )
        })?;
        let is_theirs =
            leaf.kind == Kind::Native(Owner::User) && !crate::python::is_interpreter(leaf);
        is_theirs.then(|| {
            format!("{} in {}", leaf.function, leaf.module.as_deref().unwrap_or("the program"))
        })
    };
    let bytes = growth.bytes(|places| asked(places).is_some());
    let (heaviest, _) = growth.stacks.iter().find(|(places, _)| asked(places).is_some())?;
    growth.has(bytes, MOST).then(|| Pattern {
        id: "native-allocation-kept",
        sentence: "Native code asks for memory and does not free it.".into(),
        remedy: "Look for the missing free, munmap or delete in the function that allocates, or in what owns the \
                 result."
            .into(),
        evidence: vec![format!(
            "{} was asked for by native code itself, most by {}",
            growth.share_in_words(bytes),
            asked(heaviest).unwrap_or_default()
        )],
    })
}
