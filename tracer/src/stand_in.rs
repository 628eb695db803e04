//! Stand-ins for the real functions: memory cut from a fixed pool, and never freed.
//!
//! For the first moments of a process, until the real functions are known, and for what libc
//! allocates on behalf of the tracer's own threads: those leave the host's heap alone.

use core::cell::UnsafeCell;
use core::ffi::{c_int, c_void};
use core::ptr::null_mut;
use core::sync::atomic::{AtomicUsize, Ordering};

use crate::real::{self, ThreadStart};
use crate::system_call;

type Size = usize;
type Pointer = *mut c_void;

const POOL_BYTES: usize = 64 * 1024;
const HEADER_BYTES: usize = 16;

#[repr(C, align(4096))]
struct Pool(UnsafeCell<[u8; POOL_BYTES]>);
// SAFETY: pieces are handed out once each, by an atomic counter.
unsafe impl Sync for Pool {}
static POOL: Pool = Pool(UnsafeCell::new([0; POOL_BYTES]));
static USED: AtomicUsize = AtomicUsize::new(0);

/// Whether a block came from here.
#[inline(always)]
pub(crate) fn holds(block: Pointer) -> bool {
    is_inside(block as usize)
}

#[inline(always)]
fn is_inside(address: usize) -> bool {
    address.wrapping_sub(POOL.0.get() as usize) < POOL_BYTES
}

/// Where the pool is.
pub(crate) fn range() -> core::ops::Range<u64> {
    let start = POOL.0.get() as u64;
    start..start.wrapping_add(POOL_BYTES as u64)
}

/// Whether the pool can serve the tracer's own threads: half of it is left for the first moments.
#[cold]
pub(crate) fn has_room() -> bool {
    USED.load(Ordering::Relaxed) < POOL_BYTES / 2 // A hint.
}

fn len_of(block: Pointer) -> usize {
    let header = block.cast::<u8>().wrapping_sub(HEADER_BYTES).cast::<usize>();
    // SAFETY: `allocate` stored the length in front of every block of the pool.
    if is_inside(header as usize) { unsafe { header.read() } } else { 0 }
}

fn allocate(align: Size, size: Size) -> Pointer {
    let align = align.max(16);
    let wanted = size.checked_add(align).and_then(|n| n.checked_add(HEADER_BYTES));
    let Some(wanted) = wanted.and_then(|n| n.checked_next_multiple_of(16)) else {
        return null_mut();
    };
    let start = USED.fetch_add(wanted.min(POOL_BYTES), Ordering::Relaxed); // A counter; pieces are disjoint.
    if start.saturating_add(wanted) > POOL_BYTES || !align.is_power_of_two() {
        return null_mut();
    }
    let base = POOL.0.get() as usize;
    let Some(block) = (base + start + HEADER_BYTES).checked_next_multiple_of(align) else {
        return null_mut();
    };
    let header = (block - HEADER_BYTES) as *mut usize;
    // SAFETY: the header lies in the piece that `start` reserved for this call alone.
    unsafe { header.write(size) };
    block as Pointer
}

pub(crate) unsafe extern "C" fn malloc(size: Size) -> Pointer {
    allocate(16, size)
}
pub(crate) unsafe extern "C" fn calloc(count: Size, size: Size) -> Pointer {
    // The pool is zero to begin with, and its pieces are used once.
    count.checked_mul(size).map_or(null_mut(), |bytes| allocate(16, bytes))
}
pub(crate) unsafe extern "C" fn realloc(block: Pointer, size: Size) -> Pointer {
    let new = allocate(16, size);
    if !new.is_null() && holds(block) {
        let len = len_of(block).min(size);
        // SAFETY: two pieces of the pool, each at least that long.
        unsafe { core::ptr::copy_nonoverlapping(block.cast::<u8>(), new.cast::<u8>(), len) };
    }
    new
}
pub(crate) unsafe extern "C" fn free(_block: Pointer) {}
pub(crate) unsafe extern "C" fn posix_memalign(
    place: *mut Pointer,
    align: Size,
    size: Size,
) -> c_int {
    let block = allocate(align, size);
    if block.is_null() {
        return libc::ENOMEM;
    }
    // SAFETY: our caller passes what `posix_memalign` asks for.
    unsafe { place.write(block) };
    0
}
pub(crate) unsafe extern "C" fn memalign(align: Size, size: Size) -> Pointer {
    allocate(align, size)
}
pub(crate) unsafe extern "C" fn valloc(size: Size) -> Pointer {
    allocate(4096, size)
}
pub(crate) unsafe extern "C" fn mmap(
    start: Pointer,
    len: Size,
    protection: c_int,
    flags: c_int,
    fd: c_int,
    offset: i64,
) -> Pointer {
    let arguments =
        [start as usize, len, protection as usize, flags as usize, fd as usize, offset as usize];
    // SAFETY: passed on from our caller.
    let result = unsafe { crate::arch::system_call(libc::SYS_mmap, arguments) };
    if (-4095..0).contains(&result) { libc::MAP_FAILED } else { result as Pointer }
}
pub(crate) unsafe extern "C" fn munmap(start: Pointer, len: Size) -> c_int {
    // SAFETY: passed on from our caller.
    unsafe { system_call::unmap(start.cast(), len) };
    0
}
pub(crate) unsafe extern "C" fn mremap(
    _start: Pointer,
    _len: Size,
    _new_len: Size,
    _flags: c_int,
    _target: Pointer,
) -> Pointer {
    libc::MAP_FAILED
}

pub(crate) unsafe extern "C" fn pthread_create(
    _thread: *mut libc::pthread_t,
    _attributes: *const libc::pthread_attr_t,
    _start: ThreadStart,
    _argument: Pointer,
) -> c_int {
    libc::EAGAIN
}

pub(crate) unsafe extern "C" fn prctl(a: isize, b: isize, c: isize, d: isize, e: isize) -> isize {
    // SAFETY: passed on from our caller.
    unsafe { syscall(libc::SYS_prctl as isize, a, b, c, d, e, 0) }
}
pub(crate) unsafe extern "C" fn syscall(
    number: isize,
    a: isize,
    b: isize,
    c: isize,
    d: isize,
    e: isize,
    f: isize,
) -> isize {
    let arguments = [a, b, c, d, e, f].map(|word| word as usize);
    // SAFETY: passed on from our caller.
    let result = unsafe { crate::arch::system_call(number as i64, arguments) };
    if !(-4095..0).contains(&result) {
        return result;
    }
    // SAFETY: always callable.
    let errno = unsafe { libc::__errno_location() };
    // SAFETY: the calling thread's errno.
    unsafe { errno.write(-result as c_int) };
    -1
}

/// Copies a block of the pool into one of the real allocator's.
///
/// # Safety
/// [`holds`] is true of `block`.
#[cold]
pub(crate) unsafe fn move_out(block: Pointer, size: Size) -> Pointer {
    // SAFETY: `malloc` takes any size.
    let new = unsafe { real::malloc()(size) };
    if !new.is_null() {
        let old_len = len_of(block);
        // SAFETY: both blocks have at least that many bytes, and do not overlap.
        unsafe {
            core::ptr::copy_nonoverlapping(block.cast::<u8>(), new.cast::<u8>(), old_len.min(size))
        };
    }
    new
}
