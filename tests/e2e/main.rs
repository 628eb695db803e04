//! End to end: real programs under the real tracer, read by the real analyzer.
#![forbid(unsafe_code)]

mod support;

mod boot;
mod bounded;
mod calls;
mod control;
mod control_flow;
mod corpus;
mod cuda;
mod deaths;
mod documents;
mod entry_points;
mod launcher;
mod library;
mod limits;
mod malformed;
mod mappings;
mod owners;
mod panics;
mod pre_fork;
mod process;
mod python;
mod running;
mod sampling;
mod security;
mod stack_use;
mod stacks;
mod tensorflow;
mod tensors;
mod threads;
mod torture;
