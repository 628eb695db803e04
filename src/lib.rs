//! The trace format of tftrace: what the tracer writes and the analyzer reads.
//!
//! A trace is a file of 32 KiB pages. Page 0 is the [`header`], page 1 holds the [`counters`];
//! every other page begins with a [`page::PageHeader`] that says what it is: [`event`]s of one
//! thread, [`totals`] of temporaries, [`node`]s of the stack tree, or [`chunk`]s (compressed
//! pages and [`record`]s). `docs/trace-format.md` draws the bytes.
//!
//! This crate knows bytes, ids and events. It never knows Python, TensorFlow, CUDA or symbols.
#![cfg_attr(not(feature = "reader"), no_std)]
#![forbid(unsafe_code)]

#[cfg(feature = "reader")]
pub mod builder;
pub mod check;
pub mod chunk;
mod columns;
pub mod control;
pub mod counters;
pub mod cuda_memory;
#[cfg(all(test, feature = "reader"))]
mod doc_examples;
pub mod event;
pub mod event_codec;
pub mod header;
pub mod ids;
pub mod layout;
pub mod node;
pub mod node_codec;
pub mod page;
pub mod page_codec;
mod places;
#[cfg(feature = "reader")]
pub mod reader;
pub mod record;
#[cfg(feature = "reader")]
mod rows;
pub mod totals;
pub mod totals_codec;
pub mod varint;

pub use cuda_memory::{CudaKind, CudaMemory};
pub use event::{Domain, Event, range_end};
pub use ids::{CodeId, LabelId, MappingId, OpId, StackId, Ticks};
pub use node::{Frame, Node};
