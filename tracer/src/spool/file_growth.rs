//! The names of trace files: one that is in the way is moved aside, and is found there by its tracer.

use core::ffi::CStr;

use crate::process::path::PathBuffer;
use crate::system_call::{self, Errno, FileIdentity};

/// Renames the file to the first free of `.1`, `.2`, …
pub(super) fn move_aside(path: &CStr) -> Result<(), Errno> {
    may_be_moved(path)?;
    for number in 1..100_000 {
        let Some(aside) = numbered(path, number) else { break };
        match system_call::rename_new(path, aside.as_c_str()) {
            Err(libc::EEXIST) => {}
            // Somebody else moved it first.
            Ok(()) | Err(libc::ENOENT) => return Ok(()),
            Err(errno) => return Err(errno),
        }
    }
    Err(libc::EEXIST)
}

/// Only a regular file, and in a directory that others can write to only one of our own: a traced
/// program of root's must not rename `/dev/null`, or what is another user's in `/tmp`.
fn may_be_moved(path: &CStr) -> Result<(), Errno> {
    let file = match system_call::status_of(path) {
        Err(libc::ENOENT) => return Ok(()),
        file => file?,
    };
    if file.st_mode & libc::S_IFMT != libc::S_IFREG {
        return Err(libc::EEXIST);
    }
    let bytes = path.to_bytes();
    let end = bytes.iter().rposition(|&byte| byte == b'/').unwrap_or(0);
    let mut directory = PathBuffer::new();
    directory.push(bytes.get(..end).unwrap_or_default()).ok_or(libc::ENAMETOOLONG)?;
    directory.push(b"/.").ok_or(libc::ENAMETOOLONG)?;
    let shared = system_call::status_of(directory.as_c_str())?.st_mode & 0o022 != 0;
    if shared && file.st_uid != system_call::effective_user() {
        return Err(libc::EPERM);
    }
    Ok(())
}

/// `path.NUMBER`.
fn numbered(path: &CStr, number: u32) -> Option<PathBuffer> {
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
