//! The system calls the tracer makes, without libc: no `errno`, no cancellation, no interposition.
//!
//! Results are `Ok` or the error number. Nothing here allocates.

mod files;
mod memory;

use core::ffi::CStr;
use core::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use crate::arch::system_call;
use crate::thread::guard;

pub(crate) use files::{
    FileIdentity, OpenFile, current_directory, identity_of, open, read_link, rename_new, status_of,
    write,
};
pub(crate) use memory::{
    advise, are_resident, keep_apart, map_again, map_for_thread, map_private, populate, unmap,
    unmap_file, write_back,
};

/// An error number of the kernel, positive.
pub(crate) type Errno = i32;

fn check(result: isize) -> Result<usize, Errno> {
    if (-4095..0).contains(&result) {
        Err(result.unsigned_abs() as Errno)
    } else {
        Ok(result as usize)
    }
}

/// Whether the host has forbidden itself system calls that the tracer would make.
static SEALED: AtomicBool = AtomicBool::new(false);

/// From now on the host's threads make no system call for the tracer: each fails with `EPERM`.
pub(crate) fn seal() {
    SEALED.store(true, Ordering::Relaxed); // For the calling thread, whose filter comes after it.
}

/// Whether the host's threads make no system call for the tracer any more.
pub(crate) fn is_sealed() -> bool {
    SEALED.load(Ordering::Relaxed) // As above.
}

/// # Safety
/// As for the system call.
unsafe fn call(number: i64, arguments: [usize; 6]) -> Result<usize, Errno> {
    if is_sealed() && !guard::is_drain() {
        return Err(libc::EPERM);
    }
    // SAFETY: passed on from our caller.
    check(unsafe { system_call(number, arguments) })
}

/// As [`call`], also behind a seal: for what the host itself must be able to do just now.
///
/// # Safety
/// As for the system call.
unsafe fn call_always(number: i64, arguments: [usize; 6]) -> Result<usize, Errno> {
    // SAFETY: passed on from our caller.
    check(unsafe { system_call(number, arguments) })
}

/// With whose rights this process acts.
pub(crate) fn effective_user() -> u32 {
    // SAFETY: takes nothing, always succeeds.
    unsafe { call(libc::SYS_geteuid, [0; 6]) }.unwrap_or(0) as u32
}

/// The kernel's id of the calling thread.
pub(crate) fn thread_id() -> u32 {
    // SAFETY: takes nothing, always succeeds.
    unsafe { call_always(libc::SYS_gettid, [0; 6]) }.unwrap_or(0) as u32
}

/// The id of the process.
pub(crate) fn process_id() -> u32 {
    // SAFETY: takes nothing, always succeeds.
    unsafe { call(libc::SYS_getpid, [0; 6]) }.unwrap_or(0) as u32
}

/// The id of the parent process.
pub(crate) fn parent_id() -> u32 {
    // SAFETY: takes nothing, always succeeds.
    unsafe { call(libc::SYS_getppid, [0; 6]) }.unwrap_or(0) as u32
}

/// Whether a thread of this process is still there.
pub(crate) fn thread_exists(process: u32, thread: u32) -> bool {
    // SAFETY: signal 0 is never delivered; the call only looks.
    let result = unsafe { call(libc::SYS_tgkill, [process as usize, thread as usize, 0, 0, 0, 0]) };
    result != Err(libc::ESRCH)
}

/// The soft limit of a resource; `u64::MAX` if there is none.
pub(crate) fn limit(resource: u32) -> u64 {
    let mut limit = libc::rlimit { rlim_cur: u64::MAX, rlim_max: u64::MAX };
    let place = (&raw mut limit) as usize;
    // SAFETY: `limit` is writable; a null new limit only reads.
    let _ = unsafe { call(libc::SYS_prlimit64, [0, resource as usize, 0, place, 0, 0]) };
    limit.rlim_cur
}

/// Waits, which a signal may end early.
pub(crate) fn sleep_ms(milliseconds: u32) {
    let time = libc::timespec { tv_sec: 0, tv_nsec: i64::from(milliseconds % 1000) * 1_000_000 };
    // SAFETY: `time` is readable; the rest is not asked for.
    let _ = unsafe { call(libc::SYS_nanosleep, [(&raw const time) as usize, 0, 0, 0, 0, 0]) };
}

/// Waits while a word of this process is `seen`, until [`wake`] or the time is over; a signal may end it early.
pub(crate) fn wait_while(word: &AtomicU32, seen: u32, milliseconds: u32) {
    let time = libc::timespec { tv_sec: 0, tv_nsec: i64::from(milliseconds % 1000) * 1_000_000 };
    let operation = (libc::FUTEX_WAIT | libc::FUTEX_PRIVATE_FLAG) as usize;
    let (place, time) = (word.as_ptr() as usize, (&raw const time) as usize);
    // SAFETY: `word` and `time` are readable.
    let _ = unsafe { call(libc::SYS_futex, [place, operation, seen as usize, time, 0, 0]) };
}

/// Wakes a thread that waits for a change of this word.
pub(crate) fn wake(word: &AtomicU32) {
    let operation = (libc::FUTEX_WAKE | libc::FUTEX_PRIVATE_FLAG) as usize;
    // SAFETY: the kernel takes the word's address for a name.
    let _ = unsafe { call(libc::SYS_futex, [word.as_ptr() as usize, operation, 1, 0, 0, 0]) };
}

/// Names the calling thread, as `ps` and debuggers show it.
pub(crate) fn name_thread(name: &CStr) {
    let arguments = [libc::PR_SET_NAME as usize, name.as_ptr() as usize, 0, 0, 0, 0];
    // SAFETY: a C string; the kernel copies its first 16 bytes.
    let _ = unsafe { call(libc::SYS_prctl, arguments) };
}

/// Blocks every signal for the calling thread; gives the old mask.
pub(crate) fn block_signals() -> u64 {
    let (all, mut old) = (u64::MAX, 0u64);
    set_mask(&raw const all, &raw mut old);
    old
}

/// Sets the calling thread's signal mask back.
pub(crate) fn restore_signals(mask: u64) {
    set_mask(&raw const mask, core::ptr::null_mut());
}

/// Copies memory of this process. `None` if not all of it can be read: it may be gone at any time.
pub(crate) fn read_memory(address: u64, room: &mut [u8]) -> Option<()> {
    let to = [room.as_mut_ptr() as usize, room.len()];
    let from = [address as usize, room.len()];
    let own = process_id() as usize;
    let (to_place, from_place) = ((&raw const to) as usize, (&raw const from) as usize);
    // SAFETY: `room` is writable for its whole length, and the kernel checks what it reads.
    let copied = unsafe { call(libc::SYS_process_vm_readv, [own, to_place, 1, from_place, 1, 0]) };
    (copied == Ok(room.len())).then_some(())
}

fn set_mask(new: *const u64, old: *mut u64) {
    let arguments =
        [libc::SIG_SETMASK as usize, new as usize, old as usize, size_of::<u64>(), 0, 0];
    // SAFETY: both point to words of the kernel's mask size, or to nothing.
    let _ = unsafe { call(libc::SYS_rt_sigprocmask, arguments) };
}

/// Gives the calling thread a table of file descriptors of its own, empty.
///
/// Whatever it opens from then on is invisible to the host, and the host cannot close or reuse it.
pub(crate) fn own_descriptor_table() -> Result<(), Errno> {
    // Not `unshare`, which containers refuse: their filters cannot tell this from what makes namespaces.
    let flags = libc::CLOSE_RANGE_UNSHARE as usize;
    // SAFETY: the calling thread gets a table of its own, in which all is closed: it has none open itself, and the
    // host's threads, of which one is there, keep theirs.
    unsafe { call(libc::SYS_close_range, [0, u32::MAX as usize, flags, 0, 0, 0]) }.map(drop)
}

/// Nanoseconds of `CLOCK_MONOTONIC` or `CLOCK_REALTIME`.
pub(crate) fn clock_ns(clock: i32) -> u64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `time` is writable. libc answers this from memory the kernel shares with it,
    // without a system call where it can, and touches `errno` only for an invalid clock.
    unsafe { libc::clock_gettime(clock, &raw mut time) };
    (time.tv_sec as u64).saturating_mul(1_000_000_000).saturating_add(time.tv_nsec as u64)
}
