//! Is this program one that a traced program executed? Then it is left alone, unless asked for.
//!
//! The environment stays as the host made it, so the preload is inherited; what tells a descendant
//! is that an ancestor has this library mapped. A process that was traced and then executed another
//! program in its own place is no descendant: what tells it is the trace that it left.

use core::ffi::CStr;

use tftrace_format::header::Header;

use super::proc_file::{FileMapping, ProcFile, lines, stat_field};
use crate::system_call;

/// Programs that only start another in their own place: shells, and what stands in front of a command.
///
/// Their own memory is of no interest, and the name of the trace is for the program they become.
const STARTERS: [&[u8]; 20] = [
    b"sh", b"bash", b"dash", b"ash", b"zsh", b"ksh", b"mksh", b"busybox", b"env", b"nice",
    b"nohup", b"setsid", b"stdbuf", b"ionice", b"taskset", b"chrt", b"numactl", b"gosu",
    b"su-exec", b"setpriv",
];

/// Whether this program only starts another one.
pub(crate) fn is_starter() -> bool {
    let mut room = [0; 4096];
    let Ok(path) = system_call::read_link(c"/proc/self/exe", &mut room) else { return false };
    let name = path.rsplit(|&byte| byte == b'/').next().unwrap_or_default();
    STARTERS.contains(&name)
}

/// Ancestors looked at; a process tree is rarely deeper than ten.
const MOST_ANCESTORS: u32 = 64;

/// When the kernel started this process, in its ticks since boot.
pub(crate) fn process_start() -> u64 {
    let stat = ProcFile::read(c"/proc/self/stat");
    stat.and_then(|stat| stat_field(stat.bytes(), 22)).unwrap_or(0)
}

/// Whether an ancestor of this process has this library mapped.
pub(crate) fn ancestor_is_traced() -> bool {
    let Some(own_maps) = ProcFile::read(c"/proc/self/maps") else { return false };
    let here = ancestor_is_traced as *const () as u64;
    let Some(library) = FileMapping::at(&own_maps, here) else { return false };
    let mut pid = system_call::parent_id();
    for _ in 0..MOST_ANCESTORS {
        if pid <= 1 {
            return false;
        }
        // Another user's process cannot be looked into, and cannot be one we were started by.
        if let Some(maps) = ProcFile::of_process(pid, b"maps")
            && lines(maps.bytes()).filter_map(FileMapping::parse).any(|it| it.file == library.file)
        {
            return true;
        }
        let parent = ProcFile::of_process(pid, b"stat");
        let Some(parent) = parent.and_then(|stat| stat_field(stat.bytes(), 4)) else {
            return false;
        };
        pid = parent as u32;
    }
    false
}

/// Whether the trace under this path was begun by an earlier image of this process (`exec`).
pub(crate) fn is_own_trace(path: &CStr, start: u64) -> bool {
    let mut room = [0; 512];
    // Without waiting: a pipe may stand there.
    let flags = libc::O_RDONLY | libc::O_NOFOLLOW | libc::O_NONBLOCK;
    let Ok(file) = system_call::open(path, flags, 0) else {
        return false;
    };
    let Ok(len) = file.read_all(&mut room).map(<[u8]>::len) else { return false };
    let bytes = room.get(..len).unwrap_or_default();
    // The fixed part of the header is enough, and its texts may be longer than the room.
    bytes.starts_with(&tftrace_format::header::TRACE_MAGIC)
        && Header::process_of(bytes) == Some((system_call::process_id(), start))
}
