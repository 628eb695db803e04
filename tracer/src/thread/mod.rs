//! The calling thread: its slot, its open pages, and the guard that every hook passes.

pub(crate) mod guard;
pub(crate) mod lane;
pub(crate) mod registry;
pub(crate) mod slot;
