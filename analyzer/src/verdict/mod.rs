//! Says of memory over time whether it leaks, and how fast. `docs/verdict.md` has the method.

mod drift;
mod level;
mod rate;
mod shape;
mod trend;
#[cfg(test)]
mod validation;

pub use drift::drift;
pub use shape::{Axis, FEWEST_WINDOWS, Judgement, LEAST_BYTES, judge};
