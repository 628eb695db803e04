//! Names for return addresses: symbol tables, DWARF, demangling, and which names are Python's own.

mod demangle;
mod function_symbols;
mod object_file;
mod place;
mod resolver;
mod source_lines;
mod unseen;

pub use demangle::{demangle, shorten};
pub use place::{Kind, Owner, Place};
pub use resolver::{Symbols, resolve};
pub use unseen::is_unseen;
