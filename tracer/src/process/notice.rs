//! What the tracer says to people: one line on stderr on trouble, more in `TFTRACE_LOG`.

use core::ffi::CStr;

use crate::system_call;

/// The longest line, in bytes.
const LINE_BYTES: usize = 1024;

fn line(parts: &[&[u8]], room: &mut [u8; LINE_BYTES]) -> usize {
    let mut len = 0;
    for byte in parts.iter().flat_map(|part| part.iter()) {
        // Control characters in a path must not reach a terminal.
        let byte = if byte.is_ascii_control() { b'?' } else { *byte };
        if let Some(target) = room.get_mut(len).filter(|_| len < LINE_BYTES - 1) {
            *target = byte;
            len = len.saturating_add(1);
        }
    }
    if let Some(target) = room.get_mut(len) {
        *target = b'\n';
    }
    len.saturating_add(1)
}

/// Writes a line to stderr in one piece.
pub(crate) fn say(parts: &[&[u8]]) {
    let mut room = [0; LINE_BYTES];
    let len = line(parts, &mut room);
    let _ = system_call::write(2, room.get(..len).unwrap_or_default());
}

/// Appends a line to the log file, if one was asked for.
pub(crate) fn log(path: &CStr, parts: &[&[u8]]) {
    if path.is_empty() {
        return;
    }
    let mut room = [0; LINE_BYTES];
    let len = line(parts, &mut room);
    let flags = libc::O_WRONLY | libc::O_CREAT | libc::O_APPEND | libc::O_NOFOLLOW;
    // Without waiting: somebody may have put a pipe there.
    if let Ok(file) = system_call::open(path, flags | libc::O_NONBLOCK, 0o600)
        && file.status().is_ok_and(|status| is_own_file(&status))
    {
        let _ = file.write_all(room.get(..len).unwrap_or_default());
    }
}

/// A regular file of the user's own, under one name: not another file that somebody linked there.
fn is_own_file(status: &libc::stat) -> bool {
    status.st_mode & libc::S_IFMT == libc::S_IFREG
        && status.st_uid == system_call::effective_user()
        && status.st_nlink == 1
}
