//! The functions behind the interposed ones.

use core::ffi::{CStr, c_int, c_void};
use core::mem::transmute;
use core::sync::atomic::{AtomicU8, AtomicUsize, Ordering};

use crate::stand_in;

type Size = usize;
type Pointer = *mut c_void;
/// What is passed on as it is.
type Word = isize;
/// What a thread begins with.
pub(crate) type ThreadStart = extern "C" fn(*mut c_void) -> *mut c_void;

/// Declares the table of real functions: for each a static with its address and a typed getter.
macro_rules! real_functions {
    ($($name:ident, $symbol:literal, fn($($argument:ident: $kind:ty),*) -> $result:ty, stand_in = $stand_in:path;)*) => {
        #[allow(non_upper_case_globals, reason = "each static is named as the C function it holds")]
        pub(crate) mod address {
            use core::sync::atomic::AtomicUsize;
            $(pub(crate) static $name: AtomicUsize = AtomicUsize::new(0);)*
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
                    if !look_up() { return $stand_in; }
                    match address::$name.load(Ordering::Acquire) {
                        0 => $stand_in,
                        // SAFETY: as in the caller.
                        found => unsafe { transmute::<usize, unsafe extern "C" fn($($kind),*) -> $result>(found) },
                    }
                }
            }
        )*
    };
}

real_functions! {
    malloc, c"malloc", fn(size: Size) -> Pointer, stand_in = stand_in::malloc;
    calloc, c"calloc", fn(count: Size, size: Size) -> Pointer, stand_in = stand_in::calloc;
    realloc, c"realloc", fn(block: Pointer, size: Size) -> Pointer, stand_in = stand_in::realloc;
    free, c"free", fn(block: Pointer) -> (), stand_in = stand_in::free;
    posix_memalign, c"posix_memalign", fn(place: *mut Pointer, align: Size, size: Size) -> c_int, stand_in = stand_in::posix_memalign;
    aligned_alloc, c"aligned_alloc", fn(align: Size, size: Size) -> Pointer, stand_in = stand_in::memalign;
    memalign, c"memalign", fn(align: Size, size: Size) -> Pointer, stand_in = stand_in::memalign;
    valloc, c"valloc", fn(size: Size) -> Pointer, stand_in = stand_in::valloc;
    pvalloc, c"pvalloc", fn(size: Size) -> Pointer, stand_in = stand_in::valloc;
    mmap, c"mmap", fn(start: Pointer, len: Size, protection: c_int, flags: c_int, fd: c_int, offset: i64) -> Pointer, stand_in = stand_in::mmap;
    munmap, c"munmap", fn(start: Pointer, len: Size) -> c_int, stand_in = stand_in::munmap;
    mremap, c"mremap", fn(start: Pointer, len: Size, new_len: Size, flags: c_int, target: Pointer) -> Pointer, stand_in = stand_in::mremap;
    pthread_create, c"pthread_create", fn(thread: *mut libc::pthread_t, attributes: *const libc::pthread_attr_t, start: ThreadStart, argument: Pointer) -> c_int, stand_in = stand_in::pthread_create;
    prctl, c"prctl", fn(number: Word, a: Word, b: Word, c: Word, d: Word) -> Word, stand_in = stand_in::prctl;
    syscall, c"syscall", fn(number: Word, a: Word, b: Word, c: Word, d: Word, e: Word, f: Word) -> Word, stand_in = stand_in::syscall;
}

const UNKNOWN: u8 = 0;
const LOOKING: u8 = 1;
const KNOWN: u8 = 2;
static STAGE: AtomicU8 = AtomicU8::new(UNKNOWN);
static LOADER_START: AtomicUsize = AtomicUsize::new(0);
static FIND_OBJECT: AtomicUsize = AtomicUsize::new(0);
static LOADER_DEBUG: AtomicUsize = AtomicUsize::new(0);
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
            // SAFETY: a constant name.
            let debug = unsafe { libc::dlsym(libc::RTLD_DEFAULT, c"_r_debug".as_ptr()) };
            LOADER_DEBUG.store(debug as usize, Ordering::Relaxed); // As above.
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
        // Asked first: `dladdr` looks at all symbols of the object.
        if let Some(found) = find_object(address as u64) {
            return found.link_map as *mut c_void;
        }
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

impl FoundObject {
    pub(crate) fn new(start: u64, end: u64, link_map: u64, eh_frame_hdr: u64) -> Self {
        Self { flags: 0, start, end, link_map, eh_frame_hdr, reserved: [0; 7] }
    }
}

/// The loaded object at an address, says glibc, if it does. Lock-free and safe in signal handlers, says glibc's manual.
pub(crate) fn find_object(address: u64) -> Option<FoundObject> {
    type FindObject = unsafe extern "C" fn(u64, *mut FoundObject) -> c_int;
    let find = match FIND_OBJECT.load(Ordering::Relaxed) {
        0 => return None,
        // SAFETY: the loader gave this address for the C function of this name and type.
        found => unsafe { transmute::<usize, FindObject>(found) },
    };
    let mut found = FoundObject::new(0, 0, 0, 0);
    // SAFETY: `found` is writable and has the size that glibc documents.
    (unsafe { find(address, &raw mut found) } == 0).then_some(found)
}

/// Whether glibc is new enough to tell which object holds an address.
pub(crate) fn glibc_finds_objects() -> bool {
    FIND_OBJECT.load(Ordering::Relaxed) != 0
}

/// Does as if glibc did not tell.
pub(crate) fn ignore_glibc() {
    FIND_OBJECT.store(0, Ordering::Relaxed);
}

/// Where the loader's `_r_debug` is; 0 if unknown.
pub(crate) fn loader_debug() -> u64 {
    LOADER_DEBUG.load(Ordering::Relaxed) as u64
}

/// Where the dynamic loader begins; 0 if unknown.
pub(crate) fn loader_start() -> u64 {
    LOADER_START.load(Ordering::Relaxed) as u64
}
