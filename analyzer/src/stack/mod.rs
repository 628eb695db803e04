//! Call stacks: which read the same, which are heaviest, and how they fold into lines.

mod folded;
mod groups;
mod ranking;
mod slivers;
mod view;

pub use folded::{FoldedStacks, frames_of, label, run_label};
pub use groups::{StackGroup, group};
pub use ranking::{Ranked, heaviest};
pub use slivers::{Drawn, whole, without_slivers};
pub(crate) use view::is_in_view;
#[cfg(test)]
pub(crate) use view::tests as view_tests;
pub use view::{Row, rows};
