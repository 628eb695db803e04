//! What is known of Python: which line an instruction is of.

mod line_table;

pub use line_table::line_of;
