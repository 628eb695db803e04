//! Whether a thread of the host's is left: a process ends with its last one, and ours must not keep it alive.
//!
//! Asked of the kernel through a descriptor in the drain's own table, which works in a jail as well.

use crate::process::Process;
use crate::process::proc_file::lines;
use crate::system_call::{self, OpenFile};

/// The list of this process's threads, opened.
pub(super) struct HostThreads(Option<OpenFile>);

impl HostThreads {
    /// To be called with a table of descriptors of our own.
    pub(super) fn open() -> Self {
        Self(system_call::open(c"/proc/self/task", libc::O_RDONLY | libc::O_DIRECTORY, 0).ok())
    }

    /// Whether all threads of the host have ended, the first one by `pthread_exit`.
    pub(super) fn are_gone(&self, process: &Process) -> bool {
        let Some(list) = &self.0 else { return false };
        let own = u64::from(process.own_threads.count()); // This thread is one of them.
        // A directory counts itself twice, and each thread. The first one is there until all have ended.
        let all = list.status().map_or(u64::MAX, |status| status.st_nlink.saturating_sub(2));
        all <= own.saturating_add(1) && first_has_ended(list, process.pid)
    }
}

/// Whether the thread that the process began with has ended.
fn first_has_ended(list: &OpenFile, pid: u32) -> bool {
    let mut name = crate::process::path::PathBuffer::new();
    let named = name.push_number(pid).and_then(|()| name.push(b"/status"));
    let mut room = [0; 1024];
    let Some(()) = named else { return false };
    let Ok(file) = list.open_below(name.as_c_str()) else { return false };
    let Ok(text) = file.read_all(&mut room) else { return false };
    lines(text).any(|line| line.starts_with(b"State:\tZ"))
}
