//! What a person reads. Rounding and units happen here and nowhere else.

pub mod browser;
pub mod call_stack;
pub mod compacted;
mod entries;
pub mod flame_graph;
mod gpu;
pub mod merged;
pub mod numbers;
pub mod recording;
pub mod sampled;
pub mod summary;
pub mod text;
pub mod wholeness;
