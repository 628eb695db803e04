//! The calling thread: its slot, its open pages, and the guard that every hook passes.

mod event_pages;
mod fold_clock;
pub(crate) mod guard;
pub(crate) mod lane;
pub(crate) mod registry;
pub(crate) mod slot;
mod totals_pages;
