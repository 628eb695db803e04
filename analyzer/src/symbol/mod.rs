//! Names for return addresses: symbol tables, DWARF, demangling, and which names are Python's own.

mod demangle;
mod function_symbols;
mod object_file;
mod resolver;
mod source_lines;

pub use demangle::{demangle, shorten};
pub use resolver::{Place, Symbols, resolve};
