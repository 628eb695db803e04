//! The system calls the tracer makes, without libc: no `errno`, no cancellation, no interposition.
//!
//! Results are `Ok` or the error number. Nothing here allocates.

use core::ffi::CStr;
use core::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use crate::arch::system_call;
use crate::own_mappings;
use crate::thread::guard;

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

/// A file descriptor that is closed when dropped.
#[derive(Debug)]
pub(crate) struct OpenFile(usize);

impl Drop for OpenFile {
    fn drop(&mut self) {
        // SAFETY: the descriptor is ours, and dropped once.
        let _ = unsafe { call(libc::SYS_close, [self.0, 0, 0, 0, 0, 0]) };
    }
}

/// Opens a file; `O_CLOEXEC` is added.
pub(crate) fn open(path: &CStr, flags: i32, mode: u32) -> Result<OpenFile, Errno> {
    let flags = (flags | libc::O_CLOEXEC) as usize;
    let arguments = [libc::AT_FDCWD as usize, path.as_ptr() as usize, flags, mode as usize, 0, 0];
    // SAFETY: `path` ends with a zero byte and lives through the call.
    unsafe { call(libc::SYS_openat, arguments) }.map(OpenFile)
}

impl OpenFile {
    /// Reads until `room` is full or the file ends; gives what was read.
    pub(crate) fn read_all<'a>(&self, room: &'a mut [u8]) -> Result<&'a [u8], Errno> {
        let mut len = 0;
        while let Some(rest) = room.get_mut(len..).filter(|rest| !rest.is_empty()) {
            let arguments = [self.0, rest.as_mut_ptr() as usize, rest.len(), 0, 0, 0];
            // SAFETY: `rest` is writable for its whole length.
            match unsafe { call(libc::SYS_read, arguments) } {
                Ok(0) => break,
                Ok(read) => len = len.saturating_add(read),
                Err(libc::EINTR) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(room.get(..len).unwrap_or_default())
    }

    /// Opens a file below this directory, for reading.
    pub(crate) fn open_below(&self, path: &CStr) -> Result<OpenFile, Errno> {
        let flags = (libc::O_RDONLY | libc::O_CLOEXEC) as usize;
        // SAFETY: `path` ends with a zero byte and lives through the call.
        unsafe { call(libc::SYS_openat, [self.0, path.as_ptr() as usize, flags, 0, 0, 0]) }
            .map(OpenFile)
    }

    /// Writes all bytes.
    pub(crate) fn write_all(&self, bytes: &[u8]) -> Result<(), Errno> {
        write(self.0, bytes)
    }

    /// Sets the file's length in bytes.
    pub(crate) fn set_len(&self, len: u64) -> Result<(), Errno> {
        // SAFETY: takes numbers only.
        unsafe { call(libc::SYS_ftruncate, [self.0, len as usize, 0, 0, 0, 0]) }.map(drop)
    }

    /// Reserves disk space for the first `len` bytes.
    pub(crate) fn allocate(&self, len: u64) -> Result<(), Errno> {
        // SAFETY: takes numbers only.
        unsafe { call(libc::SYS_fallocate, [self.0, 0, 0, len as usize, 0, 0]) }.map(drop)
    }

    /// Maps the file's first `len` bytes, shared and writable.
    pub(crate) fn map_shared(&self, len: usize) -> Result<*mut u8, Errno> {
        let protection = (libc::PROT_READ | libc::PROT_WRITE) as usize;
        let flags = (libc::MAP_SHARED | libc::MAP_NORESERVE) as usize;
        // SAFETY: a new mapping at an address of the kernel's choice touches no other memory.
        unsafe { call(libc::SYS_mmap, [0, len, protection, flags, self.0, 0]) }
            .map(|at| at as *mut u8)
    }

    /// Maps `len` bytes of the file from a page's beginning on, to read them.
    pub(crate) fn map_to_read(&self, offset: u64, len: usize) -> Result<*mut u8, Errno> {
        let (protection, flags) = (libc::PROT_READ as usize, libc::MAP_PRIVATE as usize);
        // SAFETY: a new mapping at an address of the kernel's choice touches no other memory.
        let at =
            unsafe { call(libc::SYS_mmap, [0, len, protection, flags, self.0, offset as usize]) }?;
        // A host that locks all it maps (`mlockall`) does not mean this.
        // SAFETY: the mapping was made just above; what it holds stays.
        let _ = unsafe { call(libc::SYS_munlock, [at, len, 0, 0, 0, 0]) };
        Ok(at as *mut u8)
    }

    /// Asks the file's driver for something (`ioctl`).
    ///
    /// # Safety
    /// `argument` is what the request asks for.
    pub(crate) unsafe fn control(&self, request: usize, argument: *mut u8) -> Result<usize, Errno> {
        // SAFETY: our caller promises it.
        unsafe { call(libc::SYS_ioctl, [self.0, request, argument as usize, 0, 0, 0]) }
    }

    /// What is known of the file.
    pub(crate) fn status(&self) -> Result<libc::stat, Errno> {
        // SAFETY: a `stat` of zeros is valid.
        let mut stat: libc::stat = unsafe { core::mem::zeroed() };
        // SAFETY: `stat` is writable, and the kernel's layout is libc's on this architecture.
        unsafe { call(libc::SYS_fstat, [self.0, (&raw mut stat) as usize, 0, 0, 0, 0]) }?;
        Ok(stat)
    }

    /// The file's device and inode.
    pub(crate) fn identity(&self) -> Result<FileIdentity, Errno> {
        self.status().map(|stat| FileIdentity::of(&stat))
    }
}

/// Writes all bytes to a descriptor that is not ours.
pub(crate) fn write(fd: usize, mut bytes: &[u8]) -> Result<(), Errno> {
    while !bytes.is_empty() {
        // SAFETY: `bytes` is readable for its whole length.
        match unsafe { call(libc::SYS_write, [fd, bytes.as_ptr() as usize, bytes.len(), 0, 0, 0]) }
        {
            Ok(0) => return Err(libc::EIO),
            Ok(written) => bytes = bytes.get(written..).unwrap_or_default(),
            Err(libc::EINTR) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Which file it is, whatever its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct FileIdentity {
    pub(crate) device: u64,
    pub(crate) inode: u64,
}

impl FileIdentity {
    fn of(stat: &libc::stat) -> Self {
        Self { device: stat.st_dev, inode: stat.st_ino }
    }
}

/// What is known of the file under a path; links are not followed.
pub(crate) fn status_of(path: &CStr) -> Result<libc::stat, Errno> {
    // SAFETY: a `stat` of zeros is valid.
    let mut stat: libc::stat = unsafe { core::mem::zeroed() };
    let flags = libc::AT_SYMLINK_NOFOLLOW as usize;
    let place = (&raw mut stat) as usize;
    // SAFETY: `path` ends with a zero byte, `stat` is writable.
    unsafe {
        call(
            libc::SYS_newfstatat,
            [libc::AT_FDCWD as usize, path.as_ptr() as usize, place, flags, 0, 0],
        )
    }?;
    Ok(stat)
}

/// The identity of the file under a path; links are not followed.
pub(crate) fn identity_of(path: &CStr) -> Result<FileIdentity, Errno> {
    status_of(path).map(|stat| FileIdentity::of(&stat))
}

/// With whose rights this process acts.
pub(crate) fn effective_user() -> u32 {
    // SAFETY: takes nothing, always succeeds.
    unsafe { call(libc::SYS_geteuid, [0; 6]) }.unwrap_or(0) as u32
}

/// Renames a file; fails with `EEXIST` if the new name is taken.
pub(crate) fn rename_new(from: &CStr, to: &CStr) -> Result<(), Errno> {
    let here = libc::AT_FDCWD as usize;
    let flags = libc::RENAME_NOREPLACE as usize;
    // SAFETY: both paths end with a zero byte.
    unsafe {
        call(
            libc::SYS_renameat2,
            [here, from.as_ptr() as usize, here, to.as_ptr() as usize, flags, 0],
        )
    }
    .map(drop)
}

/// Reads where a symbolic link points; gives the part of `room` that was filled.
pub(crate) fn read_link<'a>(path: &CStr, room: &'a mut [u8]) -> Result<&'a [u8], Errno> {
    let arguments = [
        libc::AT_FDCWD as usize,
        path.as_ptr() as usize,
        room.as_mut_ptr() as usize,
        room.len(),
        0,
        0,
    ];
    // SAFETY: `room` is writable for its whole length.
    let len = unsafe { call(libc::SYS_readlinkat, arguments) }?;
    Ok(room.get(..len).unwrap_or_default())
}

/// The current directory; gives the part of `room` that was filled, without the final zero.
pub(crate) fn current_directory(room: &mut [u8]) -> Result<&[u8], Errno> {
    // SAFETY: `room` is writable for its whole length.
    let len =
        unsafe { call(libc::SYS_getcwd, [room.as_mut_ptr() as usize, room.len(), 0, 0, 0, 0]) }?;
    Ok(room.get(..len.saturating_sub(1)).unwrap_or_default())
}

/// Maps what a shared mapping of a file shows at `start`, and what follows it in the file, once more.
pub(crate) fn map_again(start: *mut u8, len: usize) -> Result<*mut u8, Errno> {
    // An old length of 0 leaves the old mapping as it is.
    let arguments = [start as usize, 0, len, libc::MREMAP_MAYMOVE as usize, 0, 0];
    // SAFETY: a new mapping at an address of the kernel's choice touches no other memory.
    unsafe { call(libc::SYS_mremap, arguments) }.map(|at| at as *mut u8)
}

/// The same where there is no kernel: in Miri, which interprets the tests of what is lock-free.
#[cfg(miri)]
pub(crate) fn map_private(len: usize) -> Result<*mut u8, Errno> {
    let layout = std::alloc::Layout::from_size_align(len, 4096).map_err(|_| libc::ENOMEM)?;
    // SAFETY: callers ask for at least a byte.
    Ok(unsafe { std::alloc::alloc_zeroed(layout) })
}

/// Private memory of zeros; not reserved in advance.
#[cfg(not(miri))]
pub(crate) fn map_private(len: usize) -> Result<*mut u8, Errno> {
    // SAFETY: a new mapping at an address of the kernel's choice touches no other memory.
    unsafe { call(libc::SYS_mmap, private_memory(len)) }
        .map(|at| own_mappings::note(at as *mut u8, len))
}

/// The same for a new thread: who could start it could map its stack.
pub(crate) fn map_for_thread(len: usize) -> Result<*mut u8, Errno> {
    // SAFETY: as above.
    unsafe { call_always(libc::SYS_mmap, private_memory(len)) }
        .map(|at| own_mappings::note(at as *mut u8, len))
}

fn private_memory(len: usize) -> [usize; 6] {
    let protection = (libc::PROT_READ | libc::PROT_WRITE) as usize;
    let flags = (libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE) as usize;
    [0, len, protection, flags, usize::MAX, 0]
}

/// Has the kernel map private memory now that is written to soon; whoever touches it asks for each 4 KiB else. Kernels
/// before 5.14 cannot.
pub(crate) fn populate(start: *const u8, len: usize) {
    const PAGE: usize = 4096;
    let before = start.addr() % PAGE;
    let whole = before.saturating_add(len).next_multiple_of(PAGE);
    if len != 0 && !cfg!(miri) {
        let first = start.wrapping_sub(before).cast_mut();
        // SAFETY: maps zeros where nothing is mapped yet, and changes nothing that is there.
        let _ = unsafe { advise(first, whole, libc::MADV_POPULATE_WRITE) };
    }
}

/// Gives memory of [`map_private`] back.
///
/// # Safety
/// Nothing uses the range any more.
pub(crate) unsafe fn unmap(start: *mut u8, len: usize) {
    if cfg!(miri) {
        return;
    }
    own_mappings::forget(start);
    // SAFETY: our caller promises that nothing uses the range.
    unsafe { unmap_file(start, len) };
}

/// Gives memory of [`OpenFile::map_to_read`] back.
///
/// # Safety
/// Nothing uses the range any more.
pub(crate) unsafe fn unmap_file(start: *mut u8, len: usize) {
    // SAFETY: our caller promises that nothing uses the range.
    let _ = unsafe { call(libc::SYS_munmap, [start as usize, len, 0, 0, 0, 0]) };
}

/// Advice that does not change what memory holds: populate, wipe on fork, page out; or, of a file's that was
/// only read, drop.
///
/// # Safety
/// `advice` leaves the contents of the range as they are for this process.
pub(crate) unsafe fn advise(start: *mut u8, len: usize, advice: i32) -> Result<(), Errno> {
    // SAFETY: our caller promises that contents stay.
    unsafe { call(libc::SYS_madvise, [start as usize, len, advice as usize, 0, 0, 0]) }.map(drop)
}

/// Which pages are in memory: bit 0 of a byte for each. Only of private memory of no file this is the
/// process's own memory.
pub(crate) fn are_resident(start: u64, pages: &mut [u8]) -> Result<(), Errno> {
    let arguments = [start as usize, pages.len() * 4096, pages.as_mut_ptr() as usize, 0, 0, 0];
    // SAFETY: `pages` has a byte for each; what is not mapped is an error.
    unsafe { call(libc::SYS_mincore, arguments) }.map(drop)
}

/// Asks the kernel to write a shared mapping's pages to the file now.
pub(crate) fn write_back(start: *mut u8, len: usize) -> Result<(), Errno> {
    // SAFETY: writing a mapping back changes no memory.
    unsafe { call(libc::SYS_msync, [start as usize, len, libc::MS_SYNC as usize, 0, 0, 0]) }
        .map(drop)
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
