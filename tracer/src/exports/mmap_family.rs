//! mmap and its relatives: a domain of ranges, not of blocks.

use core::ffi::{c_int, c_void};

use crate::arch::{EntryRegisters, entry_shim};
use crate::{real, record};

type Start = *mut c_void;

entry_shim!(/** POSIX `mmap`. */ mmap => mmap_hook, args = 6);
entry_shim!(/** `mmap` with a 64-bit offset: the same function here. */ mmap64 => mmap_hook, args = 6);
entry_shim!(/** POSIX `munmap`. */ munmap => munmap_hook, args = 2);
entry_shim!(/** Linux `mremap`. */ mremap => mremap_hook, args = 6);

/// `mremap`'s flag that leaves the old range mapped, and empty.
const KEEP_OLD: c_int = 4;

// SAFETY for all of these: the shims pass what the C caller passed, and the caller's registers; the
// caller promises what the real function asks for.

unsafe extern "C" fn mmap_hook(
    start: Start,
    len: usize,
    protection: c_int,
    flags: c_int,
    fd: c_int,
    offset: i64,
    sp: u64,
    bp: u64,
) -> Start {
    // SAFETY: see above.
    let mapped = unsafe { real::mmap()(start, len, protection, flags, fd, offset) };
    if mapped != libc::MAP_FAILED {
        let file_backed = flags & libc::MAP_ANONYMOUS == 0;
        record::range_mapped(EntryRegisters { sp, bp }, mapped as u64, len as u64, file_backed);
    }
    mapped
}

unsafe extern "C" fn munmap_hook(start: Start, len: usize, sp: u64, bp: u64) -> c_int {
    let registers = EntryRegisters { sp, bp };
    let begun = record::range_call(registers);
    // SAFETY: see above.
    let error = unsafe { real::munmap()(start, len) };
    if error == 0 {
        record::range_freed(registers, begun, start as u64, len as u64);
    }
    error
}

unsafe extern "C" fn mremap_hook(
    start: Start,
    len: usize,
    new_len: usize,
    flags: c_int,
    target: Start,
    _unused: usize,
    sp: u64,
    bp: u64,
) -> Start {
    let registers = EntryRegisters { sp, bp };
    let begun = record::range_call(registers);
    // SAFETY: see above.
    let mapped = unsafe { real::mremap()(start, len, new_len, flags, target) };
    if mapped != libc::MAP_FAILED {
        if flags & KEEP_OLD == 0 && len != 0 {
            record::range_freed(registers, begun, start as u64, len as u64);
        }
        record::range_mapped(registers, mapped as u64, new_len as u64, false);
    }
    mapped
}
