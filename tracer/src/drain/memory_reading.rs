//! One reading of the process's memory: what the kernel says, and what glibc's allocator says.

use tftrace_format::record::MemoryReading;

use crate::process::Process;
use crate::process::path::PathBuffer;
use crate::process::proc_file::{ProcFile, lines};
use crate::real;

/// What is to be read, because it can be just now.
#[derive(Clone, Copy, Debug)]
pub(super) struct Wanted {
    /// Files below `/proc` and `/sys`.
    pub(super) files: bool,
    /// What the host's allocator says, which takes its locks.
    pub(super) malloc: bool,
    /// Whose the memory is: slow, and files as well.
    pub(super) layout: bool,
}

/// Reads everything that can be read now. What cannot is 0.
pub(super) fn take(process: &Process, wanted: Wanted, own_threads: u64) -> MemoryReading {
    let mut reading = MemoryReading { own_threads, ..Default::default() };
    if wanted.files {
        read_status(&mut reading);
        read_cgroup(&mut reading);
    }
    if wanted.malloc
        && let Some(mallinfo2) = real::mallinfo2()
    {
        // SAFETY: takes nothing. It locks the arenas, which no caller of this function holds.
        let info = unsafe { mallinfo2() };
        reading.malloc_arena = info.arena as u64;
        reading.malloc_in_use = (info.uordblks as u64).saturating_add(info.hblkhd as u64);
        reading.malloc_free = info.fordblks as u64;
        reading.malloc_mapped = info.hblkhd as u64;
        reading.malloc_known = true;
    }
    // Stamped at the end: what the allocator says is as of about now.
    reading.time = process.clock.now().0;
    reading.monotonic_ns = process.clock.monotonic_ns();
    reading
}

pub(super) fn number(text: &[u8]) -> Option<u64> {
    let text = text.trim_ascii_start();
    let end = text.iter().position(|byte| !byte.is_ascii_digit()).unwrap_or(text.len());
    core::str::from_utf8(text.get(..end)?).ok()?.parse().ok()
}

fn read_status(reading: &mut MemoryReading) {
    let Some(status) = ProcFile::read(c"/proc/self/status") else { return };
    for line in lines(status.bytes()) {
        let kilobytes = |name: &[u8]| line.strip_prefix(name).and_then(number).map(|n| n * 1024);
        if let Some(bytes) = kilobytes(b"RssAnon:") {
            reading.rss_anonymous = bytes;
        } else if let Some(bytes) = kilobytes(b"RssFile:") {
            reading.rss_file = bytes;
        } else if let Some(bytes) = kilobytes(b"RssShmem:") {
            reading.rss_shared = bytes;
        } else if let Some(threads) = line.strip_prefix(b"Threads:").and_then(number) {
            reading.threads = threads;
        }
    }
}

fn read_cgroup(reading: &mut MemoryReading) {
    let Some(groups) = ProcFile::read(c"/proc/self/cgroup") else { return };
    for line in lines(groups.bytes()) {
        // number:controllers:path; version 2 has no controllers.
        let mut parts = line.splitn(3, |&byte| byte == b':').skip(1);
        let (Some(controllers), Some(path)) = (parts.next(), parts.next()) else { continue };
        let (mount, limit, current): (&[u8], &[u8], &[u8]) = if controllers.is_empty() {
            (b"/sys/fs/cgroup", b"/memory.max", b"/memory.current")
        } else if controllers.split(|&byte| byte == b',').any(|name| name == b"memory") {
            (b"/sys/fs/cgroup/memory", b"/memory.limit_in_bytes", b"/memory.usage_in_bytes")
        } else {
            continue;
        };
        let value = |name| cgroup_value(mount, path, name);
        if let Some(current) = value(current) {
            reading.cgroup_current = current;
            // Version 1 says "no limit" with a number near 2^63.
            reading.cgroup_limit = value(limit).filter(|limit| limit >> 60 == 0).unwrap_or(0);
            return;
        }
    }
}

/// Inside a container the group's path is often not visible: its root then is the group itself.
fn cgroup_value(mount: &[u8], path: &[u8], name: &[u8]) -> Option<u64> {
    [path, b"".as_slice()].into_iter().find_map(|path| {
        let mut full = PathBuffer::new();
        full.push(mount)?;
        full.push(if path == b"/" { b"" } else { path })?;
        full.push(name)?;
        number(ProcFile::read(full.as_c_str())?.bytes())
    })
}
