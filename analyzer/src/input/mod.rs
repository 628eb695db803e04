//! Files that are read: each is mapped, but for a look at the headers of traces beside one.

mod family;
mod mapped_file;
mod running;
mod trace_file;

pub use family::family_of;
pub use mapped_file::MappedFile;
pub use running::is_written;
pub use trace_file::{format_version, open_trace};
