//! The functions behind the interposed ones, and memory for calls that come before they are known.

use core::ffi::{CStr, c_int, c_void};
use core::mem::transmute;
use core::sync::atomic::{AtomicU8, AtomicUsize, Ordering};

type Size = usize;
type Pointer = *mut c_void;

/// Declares the table of real functions: for each a static with its address and a typed getter.
macro_rules! real_functions {
    ($($name:ident, $symbol:literal, fn($($argument:ident: $kind:ty),*) -> $result:ty, early = $early:path;)*) => {
        #[allow(non_upper_case_globals, reason = "each static is named as the C function it holds")]
        mod address {
            use core::sync::atomic::AtomicUsize;
            $(pub(super) static $name: AtomicUsize = AtomicUsize::new(0);)*
        }

        fn look_up_all() {
            $(
                // SAFETY: a constant name; RTLD_NEXT asks for the definition behind this library.
                let found = unsafe { libc::dlsym(libc::RTLD_NEXT, CStr::as_ptr($symbol)) };
                // Release: pairs with the acquire of STAGE, which is stored after all of these.
                address::$name.store(found as usize, Ordering::Release);
            )*
        }

        $(
            #[doc = concat!("The real function behind `", stringify!($name), "`, or a stand-in while it is looked up.")]
            #[inline(always)]
            pub(crate) fn $name() -> unsafe extern "C" fn($($kind),*) -> $result {
                let found = address::$name.load(Ordering::Relaxed); // Written once; a stale zero only looks again.
                if found == 0 { return $name::resolve(); }
                // SAFETY: the loader gave this address for the C function of this name and type.
                unsafe { transmute::<usize, unsafe extern "C" fn($($kind),*) -> $result>(found) }
            }
            #[allow(non_snake_case, reason = "a module beside the function of the same name")]
            mod $name {
                use super::*;
                #[cold]
                pub(super) fn resolve() -> unsafe extern "C" fn($($kind),*) -> $result {
                    if !look_up() { return $early; }
                    match address::$name.load(Ordering::Acquire) {
                        0 => $early,
                        // SAFETY: as in the caller.
                        found => unsafe { transmute::<usize, unsafe extern "C" fn($($kind),*) -> $result>(found) },
                    }
                }
            }
        )*
    };
}

real_functions! {
    malloc, c"malloc", fn(size: Size) -> Pointer, early = early::malloc;
    calloc, c"calloc", fn(count: Size, size: Size) -> Pointer, early = early::calloc;
    realloc, c"realloc", fn(block: Pointer, size: Size) -> Pointer, early = early::realloc;
    free, c"free", fn(block: Pointer) -> (), early = early::free;
    posix_memalign, c"posix_memalign", fn(place: *mut Pointer, align: Size, size: Size) -> c_int, early = early::posix_memalign;
    aligned_alloc, c"aligned_alloc", fn(align: Size, size: Size) -> Pointer, early = early::memalign;
    memalign, c"memalign", fn(align: Size, size: Size) -> Pointer, early = early::memalign;
    valloc, c"valloc", fn(size: Size) -> Pointer, early = early::valloc;
    pvalloc, c"pvalloc", fn(size: Size) -> Pointer, early = early::valloc;
    mmap, c"mmap", fn(start: Pointer, len: Size, protection: c_int, flags: c_int, fd: c_int, offset: i64) -> Pointer, early = early::mmap;
    munmap, c"munmap", fn(start: Pointer, len: Size) -> c_int, early = early::munmap;
    mremap, c"mremap", fn(start: Pointer, len: Size, new_len: Size, flags: c_int, target: Pointer) -> Pointer, early = early::mremap;
}

const UNKNOWN: u8 = 0;
const LOOKING: u8 = 1;
const KNOWN: u8 = 2;
static STAGE: AtomicU8 = AtomicU8::new(UNKNOWN);
static LOADER_START: AtomicUsize = AtomicUsize::new(0);
static FIND_OBJECT: AtomicUsize = AtomicUsize::new(0);
static MALLINFO2: AtomicUsize = AtomicUsize::new(0);

/// Looks everything up once. False while a look-up is under way: `dlsym` itself may allocate.
pub(crate) fn look_up() -> bool {
    // Acquire on failure: whoever sees KNOWN sees the addresses.
    match STAGE.compare_exchange(UNKNOWN, LOOKING, Ordering::AcqRel, Ordering::Acquire) {
        Ok(_) => {
            look_up_all();
            // SAFETY: reads a number from the auxiliary vector.
            let loader = unsafe { libc::getauxval(libc::AT_BASE) };
            LOADER_START.store(loader as usize, Ordering::Relaxed); // Ordered by STAGE below.
            // SAFETY: a constant name.
            let find = unsafe { libc::dlsym(libc::RTLD_DEFAULT, c"_dl_find_object".as_ptr()) };
            FIND_OBJECT.store(find as usize, Ordering::Relaxed); // As above.
            MALLINFO2.store(glibc_mallinfo2(), Ordering::Relaxed); // As above.
            // Release: pairs with the acquire above.
            STAGE.store(KNOWN, Ordering::Release);
            true
        }
        Err(stage) => stage == KNOWN,
    }
}

/// `mallinfo2`, if the real `malloc` is of the same object: another allocator's is not counted there.
fn glibc_mallinfo2() -> usize {
    // SAFETY: a constant name.
    let found = unsafe { libc::dlsym(libc::RTLD_NEXT, c"mallinfo2".as_ptr()) };
    let base = |address: usize| {
        // SAFETY: a `Dl_info` of zeros is valid.
        let mut info: libc::Dl_info = unsafe { core::mem::zeroed() };
        // SAFETY: `info` is writable; an unknown address gives 0.
        unsafe { libc::dladdr(address as *const c_void, &raw mut info) };
        info.dli_fbase
    };
    let malloc = address::malloc.load(Ordering::Relaxed); // Stored by this thread just before.
    if !found.is_null() && base(found as usize) == base(malloc) { found as usize } else { 0 }
}

/// glibc's `mallinfo2`, if it speaks for the allocator in use.
pub(crate) fn mallinfo2() -> Option<unsafe extern "C" fn() -> libc::mallinfo2> {
    match MALLINFO2.load(Ordering::Relaxed) {
        0 => None,
        found => {
            // SAFETY: the loader gave this address for the C function of this name and type.
            Some(unsafe { transmute::<usize, unsafe extern "C" fn() -> libc::mallinfo2>(found) })
        }
    }
}

/// What glibc tells of the object that holds an address (`struct dl_find_object`, glibc 2.35).
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub(crate) struct FoundObject {
    flags: u64,
    pub(crate) start: u64,
    pub(crate) end: u64,
    pub(crate) link_map: u64,
    pub(crate) eh_frame_hdr: u64,
    reserved: [u64; 7],
}

/// The loaded object at an address. Lock-free and safe in signal handlers, says glibc's manual.
pub(crate) fn find_object(address: u64) -> Option<FoundObject> {
    type FindObject = unsafe extern "C" fn(u64, *mut FoundObject) -> c_int;
    let find = match FIND_OBJECT.load(Ordering::Relaxed) {
        0 => return None,
        // SAFETY: the loader gave this address for the C function of this name and type.
        found => unsafe { transmute::<usize, FindObject>(found) },
    };
    let mut found =
        FoundObject { flags: 0, start: 0, end: 0, link_map: 0, eh_frame_hdr: 0, reserved: [0; 7] };
    // SAFETY: `found` is writable and has the size that glibc documents.
    (unsafe { find(address, &raw mut found) } == 0).then_some(found)
}

/// Whether glibc is new enough to tell which object holds an address.
pub(crate) fn can_find_objects() -> bool {
    FIND_OBJECT.load(Ordering::Relaxed) != 0
}

/// Where the dynamic loader begins; 0 if unknown.
pub(crate) fn loader_start() -> u64 {
    LOADER_START.load(Ordering::Relaxed) as u64
}

/// Whether a block came from [`early`] memory: it is never freed.
#[inline(always)]
pub(crate) fn is_early(block: Pointer) -> bool {
    early::holds(block as usize)
}

/// Copies an early block into one of the real allocator's.
///
/// # Safety
/// [`is_early`] holds for `block`.
#[cold]
pub(crate) unsafe fn move_early(block: Pointer, size: Size) -> Pointer {
    // SAFETY: `malloc` takes any size.
    let new = unsafe { malloc()(size) };
    if !new.is_null() {
        let old_len = early::len_of(block as usize);
        // SAFETY: both blocks have at least that many bytes, and do not overlap.
        unsafe {
            core::ptr::copy_nonoverlapping(block.cast::<u8>(), new.cast::<u8>(), old_len.min(size))
        };
    }
    new
}

/// Stand-ins for the first moments of the process: memory is cut from a fixed pool and never freed.
mod early {
    use super::{AtomicUsize, Ordering, Pointer, Size, c_int};
    use crate::system_call;
    use core::cell::UnsafeCell;
    use core::ptr::null_mut;

    const POOL_BYTES: usize = 64 * 1024;
    const HEADER_BYTES: usize = 16;

    #[repr(C, align(4096))]
    struct Pool(UnsafeCell<[u8; POOL_BYTES]>);
    // SAFETY: pieces are handed out once each, by an atomic counter.
    unsafe impl Sync for Pool {}
    static POOL: Pool = Pool(UnsafeCell::new([0; POOL_BYTES]));
    static USED: AtomicUsize = AtomicUsize::new(0);

    #[inline(always)]
    pub(super) fn holds(block: usize) -> bool {
        block.wrapping_sub(POOL.0.get() as usize) < POOL_BYTES
    }

    pub(super) fn len_of(block: usize) -> usize {
        let header = block.wrapping_sub(HEADER_BYTES) as *const usize;
        // SAFETY: `allocate` stored the length in front of every block of the pool.
        if holds(header as usize) { unsafe { header.read() } } else { 0 }
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

    pub(super) unsafe extern "C" fn malloc(size: Size) -> Pointer {
        allocate(16, size)
    }
    pub(super) unsafe extern "C" fn calloc(count: Size, size: Size) -> Pointer {
        // The pool is zero to begin with, and its pieces are used once.
        count.checked_mul(size).map_or(null_mut(), |bytes| allocate(16, bytes))
    }
    pub(super) unsafe extern "C" fn realloc(block: Pointer, size: Size) -> Pointer {
        let new = allocate(16, size);
        if !new.is_null() && holds(block as usize) {
            let len = len_of(block as usize).min(size);
            // SAFETY: two pieces of the pool, each at least that long.
            unsafe { core::ptr::copy_nonoverlapping(block.cast::<u8>(), new.cast::<u8>(), len) };
        }
        new
    }
    pub(super) unsafe extern "C" fn free(_block: Pointer) {}
    pub(super) unsafe extern "C" fn posix_memalign(
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
    pub(super) unsafe extern "C" fn memalign(align: Size, size: Size) -> Pointer {
        allocate(align, size)
    }
    pub(super) unsafe extern "C" fn valloc(size: Size) -> Pointer {
        allocate(4096, size)
    }
    pub(super) unsafe extern "C" fn mmap(
        start: Pointer,
        len: Size,
        protection: c_int,
        flags: c_int,
        fd: c_int,
        offset: i64,
    ) -> Pointer {
        let arguments = [
            start as usize,
            len,
            protection as usize,
            flags as usize,
            fd as usize,
            offset as usize,
        ];
        // SAFETY: passed on from our caller.
        let result = unsafe { crate::arch::system_call(libc::SYS_mmap, arguments) };
        if (-4095..0).contains(&result) { libc::MAP_FAILED } else { result as Pointer }
    }
    pub(super) unsafe extern "C" fn munmap(start: Pointer, len: Size) -> c_int {
        // SAFETY: passed on from our caller.
        unsafe { system_call::unmap(start.cast(), len) };
        0
    }
    pub(super) unsafe extern "C" fn mremap(
        _start: Pointer,
        _len: Size,
        _new_len: Size,
        _flags: c_int,
        _target: Pointer,
    ) -> Pointer {
        libc::MAP_FAILED
    }
}
