//! The growth of a suspect, as patterns look at it.

use tftrace_format::Domain;

use crate::suspect::{Cause, Context};
use crate::symbol::Place;

/// So many of the heaviest stacks are looked at: they have nearly all of the growth.
const HEAVIEST: usize = 2_000;

/// The growth of a cause by call stack.
pub(super) struct Growth<'a> {
    /// Places from the leaf to the root, and bytes; heaviest first. Without what was passed on.
    pub(super) stacks: Vec<(Vec<&'a Place>, f64)>,
    pub(super) sum: f64,
    /// The part of the sum that may have come to another line than that of its stack:
    /// [`free_lists`](crate::python::free_lists).
    pub(super) passed_on: f64,
    /// The part of it that is memory of Python's objects.
    pub(super) python: f64,
}

impl<'a> Growth<'a> {
    pub(super) fn of(cause: &Cause<'_>, context: Context<'a>) -> Self {
        let mut weights = cause.weights(context.line);
        weights.retain(|(_, bytes)| *bytes > 0.0);
        let sum = weights.iter().map(|(_, bytes)| bytes).sum();
        let of_python = weights.iter().filter(|(of, _)| of.domain == Domain::Python);
        let python = of_python.map(|(_, bytes)| bytes).sum();
        let mut passed_on = 0.0;
        for (of, bytes) in &mut weights {
            let since = context.line.passed_on_since(*of, cause.judgement.typical_from());
            let own = since.min(*bytes);
            *bytes -= own;
            passed_on += own;
        }
        weights.sort_by(|(_, a), (_, b)| b.total_cmp(a));
        weights.truncate(HEAVIEST);
        let stacks = weights.into_iter().map(|(of, bytes)| {
            let frames = of.stack.into_iter().flat_map(|stack| context.trace.frames(stack));
            (frames.flat_map(|frame| context.symbols.places(frame)).collect(), bytes)
        });
        Self { stacks: stacks.collect(), sum, passed_on, python }
    }

    /// How much of it has stacks like that, in bytes.
    pub(super) fn bytes(&self, is_so: impl Fn(&[&Place]) -> bool) -> f64 {
        self.stacks.iter().filter(|(places, _)| is_so(places)).map(|(_, bytes)| bytes).sum()
    }

    /// Whether so many bytes are at least this share of what is sure to have been kept where it was made.
    pub(super) fn has(&self, bytes: f64, share: f64) -> bool {
        bytes > 0.0 && bytes >= share * (self.sum - self.passed_on)
    }

    pub(super) fn share_in_words(&self, bytes: f64) -> String {
        format!("{:.0} % of the growth", bytes / self.sum * 100.0)
    }
}
