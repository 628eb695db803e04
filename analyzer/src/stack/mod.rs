//! Call stacks: which read the same, which are heaviest, and how they fold into lines.

mod folded;
mod groups;
mod ranking;
mod slivers;

pub use folded::{FoldedStacks, Shown, frames_of, label};
pub use groups::{StackGroup, group};
pub use ranking::{Ranked, heaviest};
pub use slivers::{Drawn, whole, without_slivers};
