//! Files for the tools of others: pprof and speedscope.
//!
//! Never rounds, never leaves a stack out: the sums in a file are those of the report.

mod pprof;
mod speedscope;
mod stacks;

pub use pprof::pprof;
pub use speedscope::speedscope;
pub use stacks::{ExportedStacks, Measure};
