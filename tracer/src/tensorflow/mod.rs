//! TensorFlow in the host: the work it schedules, the tensors in its pools, the ops they are for.
//!
//! Everything is recognized by exported symbols; where one is missing, nothing is done.

mod annotation;
mod async_allocator;
mod entry_points;
pub(crate) mod framework;
pub(crate) mod op_table;
mod pool;
mod schedule;

pub(crate) use annotation::Annotation;
