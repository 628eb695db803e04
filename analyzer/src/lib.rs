//! Reads traces of tftrace: which memory is unfreed, and where it was allocated.
//!
//! A trace is mapped and streamed: memory follows live allocations and distinct stacks, never the
//! number of events. Damage is shown beside what was readable. This crate never knows the tracer.
#![deny(unsafe_code)]

pub mod cli;
pub mod commands;
pub mod error;
pub mod export;
pub mod findings;
pub mod gpu;
pub mod heap;
pub mod input;
pub mod model;
pub mod output_file;
pub mod page;
pub mod parallel;
pub mod pattern;
pub mod progress;
pub mod python;
pub mod reconcile;
pub mod report;
pub mod stack;
pub mod suppression;
pub mod suspect;
pub mod symbol;
pub mod time_line;
pub mod verdict;

pub use error::Error;
