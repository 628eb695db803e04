//! Memory: mapped, advised about, given back.

use super::{Errno, call, call_always};
use crate::own_mappings;

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

/// Gives memory of [`super::OpenFile::map_to_read`] back.
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

/// Keeps the kernel from joining what the host maps behind this memory, which ends at a page's end, with it: whatever is
/// unmapped again would have to be split off, which takes longer than the rest of such a call. (CPython maps and unmaps
/// a piece of its stack thousands of times in an import.)
pub(crate) fn keep_apart(end: *mut u8) {
    const PAGE: usize = 4096;
    // Any flag will do that mappings do not have by themselves. Where the kernel knows no huge pages, nothing is done.
    // SAFETY: a page that is no huge page either way.
    let _ = unsafe { advise(end.wrapping_sub(PAGE), PAGE, libc::MADV_NOHUGEPAGE) };
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
