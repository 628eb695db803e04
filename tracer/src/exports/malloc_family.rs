//! malloc and its relatives.
//!
//! Arguments go on untouched, results come back untouched, and `errno` is what the real function
//! left. A free is recorded before the real call, an allocation after it. Where only a sample is
//! recorded most calls never come to their hooks.

use core::ffi::{c_int, c_void};

use tftrace_format::Domain;

use crate::arch::{EntryRegisters, entry_shim, sampled_shim};
use crate::tensorflow::{Annotation, framework};
use crate::thread::guard;
use crate::{real, record, stand_in};

type Block = *mut c_void;

sampled_shim!(/** C `malloc`. */ malloc => malloc_hook, bytes = first);
sampled_shim!(/** C `calloc`. */ calloc => calloc_hook, bytes = product);
sampled_shim!(/** C `realloc`. */ realloc => realloc_hook, bytes = second_after_end);
entry_shim!(/** glibc `reallocarray`. */ reallocarray => reallocarray_hook, args = 3);
sampled_shim!(/** C `free`. */ free => free_hook, bytes = end);
entry_shim!(/** The old name of `free`. */ cfree => free_hook, args = 1);
entry_shim!(/** C23 `free_sized`. */ free_sized => free_sized_hook, args = 2);
entry_shim!(/** C23 `free_aligned_sized`. */ free_aligned_sized => free_aligned_sized_hook, args = 3);
sampled_shim!(/** POSIX `posix_memalign`. */ posix_memalign => posix_memalign_hook, bytes = third);
sampled_shim!(/** C11 `aligned_alloc`. */ aligned_alloc => aligned_alloc_hook, bytes = second);
sampled_shim!(/** glibc `memalign`. */ memalign => memalign_hook, bytes = second);
entry_shim!(/** glibc `valloc`. */ valloc => valloc_hook, args = 1);
entry_shim!(/** glibc `pvalloc`. */ pvalloc => pvalloc_hook, args = 1);

/// The function that serves an allocation: the host's allocator, or for the tracer's own threads
/// the pool, so that they never touch the host's heap.
macro_rules! serving {
    ($name:ident) => {
        serving!($name, $name)
    };
    ($name:ident, $stand_in:ident) => {
        if guard::is_own_thread() && stand_in::has_room() {
            stand_in::$stand_in
        } else {
            real::$name()
        }
    };
}

#[inline(always)]
fn allocated(registers: EntryRegisters, block: Block, size: usize) {
    // Blocks of the pool are the tracer's own memory and no heap blocks.
    if !block.is_null() && !stand_in::holds(block) {
        record::allocated(registers, Domain::Malloc, block as u64, size as u64);
    }
}

/// As [`allocated`], for the functions by which TensorFlow takes memory for tensors.
#[inline(always)]
fn aligned_allocated(registers: EntryRegisters, block: Block, size: usize) {
    // SAFETY: the hook was entered by a call, so its return address stands at `sp`.
    let caller = unsafe { (registers.sp as *const u64).read() };
    if !framework::holds(caller) || block.is_null() || stand_in::holds(block) {
        return allocated(registers, block, size);
    }
    let op = Annotation::of_this_thread();
    let (address, size) = (block as u64, size as u64);
    record::tensor_allocated(registers, Domain::Malloc, address, size, op.as_ref());
}

// SAFETY for all of these: the shims pass what the C caller passed, and the caller's registers; the
// caller promises what the real function asks for.

unsafe extern "C" fn malloc_hook(size: usize, sp: u64, bp: u64) -> Block {
    // SAFETY: see above.
    let block = unsafe { serving!(malloc)(size) };
    allocated(EntryRegisters { sp, bp }, block, size);
    block
}

unsafe extern "C" fn calloc_hook(count: usize, size: usize, sp: u64, bp: u64) -> Block {
    // SAFETY: see above.
    let block = unsafe { serving!(calloc)(count, size) };
    allocated(EntryRegisters { sp, bp }, block, count.wrapping_mul(size));
    block
}

unsafe extern "C" fn realloc_hook(old: Block, size: usize, sp: u64, bp: u64) -> Block {
    // SAFETY: see above.
    unsafe { reallocate(old, size, EntryRegisters { sp, bp }) }
}

/// # Safety
/// As for `realloc(old, size)`.
unsafe fn reallocate(old: Block, size: usize, registers: EntryRegisters) -> Block {
    if old.is_null() {
        // SAFETY: passed on from our caller.
        let block = unsafe { serving!(realloc)(old, size) };
        allocated(registers, block, size);
        return block;
    }
    if stand_in::holds(old) {
        // SAFETY: just checked.
        let block = unsafe { stand_in::move_out(old, size) };
        allocated(registers, block, size);
        return block;
    }
    let begun = record::reallocating(registers, Domain::Malloc, old as u64);
    // SAFETY: passed on from our caller.
    let block = unsafe { real::realloc()(old, size) };
    if !block.is_null() {
        let new = Some((block as u64, size as u64));
        record::reallocated(registers, Domain::Malloc, begun, old as u64, new);
    } else if size == 0 {
        // glibc frees the block; with a size, a null result means that the old block lives on.
        record::reallocated(registers, Domain::Malloc, begun, old as u64, None);
    } else {
        record::not_reallocated(registers, Domain::Malloc, begun, old as u64);
    }
    block
}

unsafe extern "C" fn reallocarray_hook(
    old: Block,
    count: usize,
    size: usize,
    sp: u64,
    bp: u64,
) -> Block {
    // glibc's own calls `realloc` through the table that leads here: it would be recorded twice.
    match count.checked_mul(size) {
        // SAFETY: see above.
        Some(bytes) => unsafe { reallocate(old, bytes, EntryRegisters { sp, bp }) },
        None => {
            // SAFETY: always callable.
            let errno = unsafe { libc::__errno_location() };
            // SAFETY: the calling thread's errno.
            unsafe { errno.write(libc::ENOMEM) };
            core::ptr::null_mut()
        }
    }
}

unsafe extern "C" fn free_hook(block: Block, sp: u64, bp: u64) {
    if block.is_null() || stand_in::holds(block) {
        return;
    }
    record::freed(EntryRegisters { sp, bp }, Domain::Malloc, block as u64);
    // SAFETY: see above.
    unsafe { real::free()(block) };
}

unsafe extern "C" fn free_sized_hook(block: Block, _size: usize, sp: u64, bp: u64) {
    // glibc has it since 2.43 and does what `free` does; older ones do not have it.
    // SAFETY: see above.
    unsafe { free_hook(block, sp, bp) };
}

unsafe extern "C" fn free_aligned_sized_hook(
    block: Block,
    _align: usize,
    _size: usize,
    sp: u64,
    bp: u64,
) {
    // SAFETY: see above.
    unsafe { free_hook(block, sp, bp) };
}

unsafe extern "C" fn posix_memalign_hook(
    place: *mut Block,
    align: usize,
    size: usize,
    sp: u64,
    bp: u64,
) -> c_int {
    // SAFETY: see above.
    let error = unsafe { serving!(posix_memalign)(place, align, size) };
    if error == 0 {
        // SAFETY: the real function has just written there.
        let block = unsafe { place.read() };
        aligned_allocated(EntryRegisters { sp, bp }, block, size);
    }
    error
}

unsafe extern "C" fn aligned_alloc_hook(align: usize, size: usize, sp: u64, bp: u64) -> Block {
    // SAFETY: see above.
    let block = unsafe { serving!(aligned_alloc, memalign)(align, size) };
    aligned_allocated(EntryRegisters { sp, bp }, block, size);
    block
}

unsafe extern "C" fn memalign_hook(align: usize, size: usize, sp: u64, bp: u64) -> Block {
    // SAFETY: see above.
    let block = unsafe { serving!(memalign)(align, size) };
    aligned_allocated(EntryRegisters { sp, bp }, block, size);
    block
}

unsafe extern "C" fn valloc_hook(size: usize, sp: u64, bp: u64) -> Block {
    // SAFETY: see above.
    let block = unsafe { serving!(valloc)(size) };
    allocated(EntryRegisters { sp, bp }, block, size);
    block
}

unsafe extern "C" fn pvalloc_hook(size: usize, sp: u64, bp: u64) -> Block {
    // SAFETY: see above.
    let block = unsafe { serving!(pvalloc, valloc)(size) };
    allocated(EntryRegisters { sp, bp }, block, size);
    block
}
