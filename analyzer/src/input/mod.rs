//! Files that are read: each is mapped.

mod mapped_file;

pub use mapped_file::MappedFile;
