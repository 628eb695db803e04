//! When a program's start-up is over: once it has imported what it imports.
//!
//! The import of TensorFlow takes longer than a thousand requests. Judged with them it would look like
//! fast growth that ends.

use tftrace_format::reader::Trace;
use tftrace_format::{Frame, StackId};

use super::path::above;
use crate::symbol::{Place, Symbols};
use crate::time_line::{StackMemory, TimeLine};

/// Start-up is over when this share of what imports hold was allocated.
const SHARE: f64 = 0.98;
/// Modules that are loaded again and again are no start-up: where less than this share of the time comes
/// after it, it is looked at whether they are.
const REST: f64 = 0.04;
/// What is loaded again and again keeps memory by the same call stack over this share of the time, and
/// so does at least this share of what imports hold.
const AGAIN: f64 = 0.5;
/// Imports that hold less than this are over at once, in bytes.
const LEAST: f64 = 1e6;

/// The first window after start-up; 0 if there is none.
pub fn start_up<'a>(trace: &'a Trace<'a>, symbols: &'a Symbols, line: &TimeLine) -> usize {
    let mut imports = Imports::new(trace, symbols);
    let imported = line.stacks().filter(|of| of.stack.is_some_and(|stack| imports.has(stack)));
    let imported: Vec<StackMemory> = imported.collect();
    let kept = line.series(imported.iter().copied()).kept;
    let all: f64 = kept.iter().sum();
    if all < LEAST {
        return 0;
    }
    let mut so_far = 0.0;
    let last = kept.iter().position(|bytes| {
        so_far += bytes;
        so_far >= SHARE * all
    });
    let end = last.map_or(0, |last| last + 1);
    if end as f64 <= (1.0 - REST) * kept.len() as f64 {
        return end;
    }
    // Imports went on to the end: there is nothing else, but a window in which nothing can be seen.
    if loads_again(line, &imported, all) { 0 } else { kept.len() - 1 }
}

/// Whether these call stacks, which hold so much, go on to load modules over the time.
fn loads_again(line: &TimeLine, imported: &[StackMemory], all: f64) -> bool {
    let goes_on = |of: &&StackMemory| {
        let over = line.kept_over(**of);
        over.is_some_and(|(first, last)| (last - first) as f64 > AGAIN * line.len() as f64)
    };
    let again: f64 = imported.iter().filter(goes_on).map(|of| line.kept_since(*of, 0)).sum();
    again >= AGAIN * all
}

/// Which call stacks lead through an import.
pub(super) struct Imports<'a> {
    trace: &'a Trace<'a>,
    symbols: &'a Symbols,
    /// By number of the stack, where it is known.
    of_stack: Vec<Option<bool>>,
}

impl<'a> Imports<'a> {
    pub(super) fn new(trace: &'a Trace<'a>, symbols: &'a Symbols) -> Self {
        Self { trace, symbols, of_stack: vec![None; trace.stacks_end()] }
    }

    pub(super) fn has(&mut self, stack: StackId) -> bool {
        let known = |stack: StackId| self.of_stack.get(stack.get() as usize).copied().flatten();
        let (known, new) = above(self.trace, stack, known);
        let mut is_import = known.unwrap_or(false);
        for (stack, frame) in new.into_iter().rev() {
            if let Some(frame @ Frame::Python { .. }) = frame {
                is_import = is_import || self.symbols.places(frame).iter().any(loads_modules);
            }
            if let Some(of_stack) = self.of_stack.get_mut(stack.get() as usize) {
                *of_stack = Some(is_import);
            }
        }
        is_import
    }
}

/// Whether it is the function of Python that loads a module.
fn loads_modules(place: &Place) -> bool {
    place.function.ends_with("_find_and_load")
        && place.location.as_deref().is_some_and(|file| file.contains("importlib"))
}
