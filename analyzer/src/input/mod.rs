//! Files that are read: each is mapped.

mod mapped_file;
mod trace_file;

pub use mapped_file::MappedFile;
pub use trace_file::{format_version, open_trace};
