//! Call stacks: which are heaviest, how they read, and how they fold into lines.

mod folded;
mod ranking;
mod slivers;

pub use folded::{FoldedStacks, frames_of, label};
pub use ranking::{Ranked, heaviest};
pub use slivers::{Drawn, whole, without_slivers};
