//! What the fuzz targets share: traces made of arbitrary bytes, and everything that is done with one.
#![forbid(unsafe_code)]

mod make;
mod use_up;

pub use make::{Input, headed, pages, program};
pub use use_up::{examine, read};
