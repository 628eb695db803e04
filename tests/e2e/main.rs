//! End to end: real programs under the real tracer, read by the real analyzer.
#![forbid(unsafe_code)]

mod support;

mod boot;
mod calls;
mod control;
mod cuda;
mod launcher;
mod library;
mod malformed;
mod mappings;
mod panics;
mod process;
mod python;
mod stacks;
mod tensorflow;
mod tensors;
mod threads;
mod torture;
