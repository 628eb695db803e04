//! The exported C symbols. Each is a shim: its caller's registers, the real call, the record.

mod malloc_family;
mod mmap_family;
mod sandbox;
mod threads;
