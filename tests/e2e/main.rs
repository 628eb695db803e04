//! End to end: real programs under the real tracer, read by the real analyzer.
#![forbid(unsafe_code)]

mod support;

mod boot;
mod bounded;
mod calls;
mod control;
mod launcher;
mod library;
mod malformed;
mod mappings;
mod panics;
mod process;
mod python;
mod sampling;
mod stacks;
mod tensorflow;
mod tensors;
mod threads;
mod torture;
