//! What the end-to-end tests share: the built tools, traced programs, and their traces.

pub(crate) mod build;
pub(crate) mod host;
pub(crate) mod trace;

pub(crate) use host::Host;
