//! Finding the trace file again by its path: it may have been moved aside by a later run.

use core::ffi::CStr;

use crate::process::path::PathBuffer;
use crate::system_call::{self, FileIdentity};

/// `path.NUMBER`.
pub(super) fn numbered(path: &CStr, number: u32) -> Option<PathBuffer> {
    let mut aside = PathBuffer::new();
    aside.push(path.to_bytes())?;
    aside.push(b".")?;
    aside.push_number(number)?;
    Some(aside)
}

/// The path under which the file is now: its own, or one it was moved aside to.
pub(super) fn same_file_path(path: &PathBuffer, identity: FileIdentity) -> Option<PathBuffer> {
    let is_ours = |path: &PathBuffer| system_call::identity_of(path.as_c_str()) == Ok(identity);
    if is_ours(path) {
        return Some(*path);
    }
    (1..100).filter_map(|number| numbered(path.as_c_str(), number)).find(is_ours)
}
