//! Where CPython's allocator takes its arenas from: ours says what the mapping is for, and calls the original.
//!
//! For hosts of which only a sample is recorded: there calls of the allocator itself say nothing.

use core::ffi::{CStr, c_void};
use core::mem::transmute;
use core::sync::atomic::{AtomicUsize, Ordering};

use crate::arch;
use crate::capture::elf_symbols::ElfSymbols;
use crate::process::Process;
use crate::record::python_blocks as record;

type Allocate = unsafe extern "C" fn(*mut c_void, usize) -> *mut c_void;

/// `PyObjectArenaAllocator`.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
struct ArenaAllocator {
    context: *mut c_void,
    allocate: Option<Allocate>,
    free: Option<unsafe extern "C" fn(*mut c_void, *mut c_void, usize)>,
}

/// The interpreter's functions by which it is replaced.
#[derive(Clone, Copy, Debug)]
pub(super) struct Api {
    get: unsafe extern "C" fn(*mut ArenaAllocator),
    set: unsafe extern "C" fn(*const ArenaAllocator),
}

impl Api {
    /// The functions of an interpreter; `None` if one is missing.
    pub(super) fn of(symbols: &ElfSymbols<'_>) -> Option<Self> {
        let find = |name: &CStr| symbols.find(name);
        let get = find(c"PyObject_GetArenaAllocator")?;
        let set = find(c"PyObject_SetArenaAllocator")?;
        type Get = unsafe extern "C" fn(*mut ArenaAllocator);
        type Set = unsafe extern "C" fn(*const ArenaAllocator);
        Some(Self {
            // SAFETY: the C function of this name and type.
            get: unsafe { transmute::<u64, Get>(get) },
            // SAFETY: as above.
            set: unsafe { transmute::<u64, Set>(set) },
        })
    }
}

/// Arenas have this size, or four times as much. The interpreter's own stacks come from here, too, in
/// pieces of 16 KiB: no blocks are cut out of them.
const SMALLEST_ARENA: usize = 256 << 10;

/// The function that was there before ours; 0 while ours is not in place.
static ORIGINAL: AtomicUsize = AtomicUsize::new(0);

/// Puts ours in place, if only a sample is recorded. Gives whether it is. To be called with the GIL.
pub(super) fn are_marked(process: &Process, api: Option<Api>) -> bool {
    let (Some(api), true) = (api, process.sampling.is_some()) else { return false };
    if ORIGINAL.load(Ordering::Relaxed) != 0 {
        return true;
    }
    let mut found = ArenaAllocator { context: core::ptr::null_mut(), allocate: None, free: None };
    // SAFETY: copies a structure of this size.
    unsafe { (api.get)(&raw mut found) };
    let Some(original) = found.allocate else { return false };
    ORIGINAL.store(original as usize, Ordering::Relaxed); // Ordered by the GIL.
    // Its context and what frees an arena stay.
    let ours = ArenaAllocator { allocate: Some(allocate), ..found };
    // SAFETY: with the GIL, as the interpreter's manual asks; it copies the structure.
    unsafe { (api.set)(&raw const ours) };
    true
}

unsafe extern "C" fn allocate(context: *mut c_void, size: usize) -> *mut c_void {
    let original = ORIGINAL.load(Ordering::Relaxed);
    if original == 0 {
        return core::ptr::null_mut();
    }
    // SAFETY: stored before this function was put in place, from a function of this type.
    let original = unsafe { transmute::<usize, Allocate>(original) };
    let sp = arch::stack_pointer();
    let is_arena = size >= SMALLEST_ARENA;
    let call = if is_arena { record::begin(sp) } else { record::begin_stack(sp) };
    // SAFETY: the interpreter passes what it passed before.
    let arena = unsafe { original(context, size) };
    record::end(sp, call);
    arena
}
