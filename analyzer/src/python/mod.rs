//! What is known of Python: its interpreter's own functions, its lines, whose code a file is.

pub mod free_lists;
mod interpreter;
mod line_table;
mod package_folders;
mod user_code;

pub use interpreter::{are_arenas, is_calling, is_interpreter};
pub use line_table::Lines;
pub use package_folders::PackageFolders;
pub use user_code::{is_user_function, is_user_native, user_place};
