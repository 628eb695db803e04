//! CPython's own blocks: small objects, which stand in arenas and never reach `malloc`.
//!
//! The interpreter lets its allocators be replaced (`PyMem_SetAllocator`); ours call the ones that
//! were there and record. A block that these took from `malloc` is recorded there, as Python's.
//! Both domains need the GIL, so one thread at a time comes here. Where only a sample is recorded most
//! calls go to the original at once.

use core::cell::UnsafeCell;
use core::ffi::{CStr, c_int, c_void};
use core::mem::transmute;
use core::sync::atomic::{AtomicBool, Ordering};

use super::arenas;
use crate::arch::{EntryRegisters, entry_shim, sampled_method, sampled_replacement};
use crate::capture::elf_symbols::ElfSymbols;
use crate::record::python_blocks as record;
use crate::thread::guard::HookEntry;

type Block = *mut c_void;

/// `PyMemAllocatorEx`.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
struct Allocator {
    context: *mut c_void,
    malloc: unsafe extern "C" fn(*mut c_void, usize) -> Block,
    calloc: unsafe extern "C" fn(*mut c_void, usize, usize) -> Block,
    realloc: unsafe extern "C" fn(*mut c_void, Block, usize) -> Block,
    free: unsafe extern "C" fn(*mut c_void, Block),
}

/// An [`Allocator`] of ours, whose functions are shims: context, malloc, calloc, realloc, free.
type Functions = [*const c_void; 5];

/// What was there before, for `PYMEM_DOMAIN_MEM` and `PYMEM_DOMAIN_OBJ`. Ours get a pointer to it
/// as their context.
struct Original(UnsafeCell<Option<Allocator>>);

// SAFETY: written once, before the allocators that read it are in place.
unsafe impl Sync for Original {}

static ORIGINALS: [Original; 2] = [const { Original(UnsafeCell::new(None)) }; 2];
const DOMAINS: [c_int; 2] = [1, 2];
/// `PYMEM_DOMAIN_RAW`.
const RAW: c_int = 0;

/// Whether ours are in place: also in the children that this process forks.
static INSTALLED: AtomicBool = AtomicBool::new(false);

/// The interpreter's functions by which its allocators are replaced.
#[derive(Clone, Copy, Debug)]
pub(super) struct Api {
    is_initialized: unsafe extern "C" fn() -> c_int,
    holds_gil: unsafe extern "C" fn() -> c_int,
    get: unsafe extern "C" fn(c_int, *mut Option<Allocator>),
    set: unsafe extern "C" fn(c_int, *const Functions),
    arenas: Option<arenas::Api>,
}

impl Api {
    /// The functions of an interpreter; `None` if one is missing.
    pub(super) fn of(symbols: &ElfSymbols<'_>) -> Option<Self> {
        let find = |name: &CStr| symbols.find(name);
        let (is_initialized, holds_gil) = (find(c"Py_IsInitialized")?, find(c"PyGILState_Check")?);
        let (get, set) = (find(c"PyMem_GetAllocator")?, find(c"PyMem_SetAllocator")?);
        type Question = unsafe extern "C" fn() -> c_int;
        type Get = unsafe extern "C" fn(c_int, *mut Option<Allocator>);
        type Set = unsafe extern "C" fn(c_int, *const Functions);
        Some(Self {
            // SAFETY: the C function of this name and type.
            is_initialized: unsafe { transmute::<u64, Question>(is_initialized) },
            // SAFETY: as above.
            holds_gil: unsafe { transmute::<u64, Question>(holds_gil) },
            // SAFETY: as above; an allocator with a null function is `None`.
            get: unsafe { transmute::<u64, Get>(get) },
            // SAFETY: as above.
            set: unsafe { transmute::<u64, Set>(set) },
            arenas: arenas::Api::of(symbols),
        })
    }
}

/// Puts our allocators in place, once the interpreter is up and this thread holds its GIL.
#[inline(always)]
pub(super) fn install(entry: &HookEntry, api: Option<&Api>) {
    if !INSTALLED.load(Ordering::Relaxed)
        && let Some(api) = api
    {
        install_now(entry, api);
    }
}

#[cold]
fn install_now(entry: &HookEntry, api: &Api) {
    // SAFETY: the interpreter's own functions, which read flags.
    let up = unsafe { (api.is_initialized)() } != 0;
    // SAFETY: as above.
    if !entry.process().settings.python_blocks || !up || unsafe { (api.holds_gil)() } == 0 {
        return;
    }
    if INSTALLED.swap(true, Ordering::Relaxed) {
        return;
    }
    let allocator_of = |domain| {
        let mut found = None;
        // SAFETY: copies a structure of this size.
        unsafe { (api.get)(domain, &raw mut found) };
        found
    };
    let raw = allocator_of(RAW);
    for (domain, original) in DOMAINS.into_iter().zip(&ORIGINALS) {
        let Some(found) = allocator_of(domain) else { continue };
        // SAFETY: nobody reads it before `set` below, and this is done once.
        unsafe { original.0.get().write(Some(found)) };
        // The interpreter's own has no context, and is another one than malloc's. Only of that one is it
        // known which blocks it asks `malloc` for, and that its arenas come from where ours are marked.
        let serves_small = found.context.is_null()
            && raw.is_some_and(|raw| !core::ptr::fn_addr_eq(raw.malloc, found.malloc));
        let marks = serves_small
            && arenas::are_marked(entry.process(), api.arenas)
            && has_large_from_malloc(&found);
        let ours: Functions = [
            core::ptr::from_ref(original).cast(),
            if marks { sampled_malloc as *const () } else { malloc as *const () }.cast(),
            if marks { sampled_calloc as *const () } else { calloc as *const () }.cast(),
            if marks { sampled_realloc as *const () } else { realloc as *const () }.cast(),
            if marks { sampled_free as *const () } else { free as *const () }.cast(),
        ];
        // SAFETY: with the GIL, as the interpreter's manual asks; it copies the structure.
        unsafe { (api.set)(domain, &raw const ours) };
    }
}

/// Whether an allocator takes blocks that are not small from `malloc`, as the interpreter's own does if nobody
/// replaced what it takes them from. To be asked where a sample is recorded, with the GIL.
fn has_large_from_malloc(allocator: &Allocator) -> bool {
    record::is_served_by_malloc(|| {
        // SAFETY: a call as the interpreter makes it.
        let block = unsafe { (allocator.malloc)(allocator.context, SMALL + 1) };
        // SAFETY: its block, which nobody else knows; of none nothing is freed.
        unsafe { (allocator.free)(allocator.context, block) };
    })
}

entry_shim!(/** `PyMemAllocatorEx.malloc`. */ private malloc => malloc_hook, args = 2);
entry_shim!(/** `PyMemAllocatorEx.calloc`. */ private calloc => calloc_hook, args = 3);
entry_shim!(/** `PyMemAllocatorEx.realloc`. */ private realloc => realloc_hook, args = 3);
entry_shim!(/** `PyMemAllocatorEx.free`. */ private free => free_hook, args = 2);

sampled_method!(
    /** `malloc` of an allocator that serves small blocks itself. */
    sampled_malloc => malloc_hook, small_bytes = SMALL, original = MALLOC_OFFSET
);
sampled_method!(
    /** `calloc` of such an allocator. */
    sampled_calloc => calloc_hook, small_product = SMALL, original = CALLOC_OFFSET
);
sampled_replacement!(
    /** `realloc` of such an allocator. */
    sampled_realloc => realloc_hook, unsampled = unsampled_realloc
);
sampled_method!(
    /** `free` of such an allocator. */
    sampled_free => free_hook, end_of_block, original = FREE_OFFSET
);

/// What the interpreter's own allocator calls small, in all versions.
const SMALL: usize = 512;
const MALLOC_OFFSET: usize = core::mem::offset_of!(Allocator, malloc);
const CALLOC_OFFSET: usize = core::mem::offset_of!(Allocator, calloc);
const FREE_OFFSET: usize = core::mem::offset_of!(Allocator, free);

/// The allocator that a context stands for.
///
/// # Safety
/// The context is one that `install_now` set.
#[inline(always)]
unsafe fn original(context: *mut c_void) -> Option<Allocator> {
    // SAFETY: our caller promises it; it was written before, and never again.
    let original = unsafe { &*context.cast::<Original>() };
    // SAFETY: as above.
    unsafe { original.0.get().read() }
}

// SAFETY for all of these: the interpreter passes the context that was set, and what the original
// asks for.

unsafe extern "C" fn malloc_hook(context: *mut c_void, size: usize, sp: u64, bp: u64) -> Block {
    // SAFETY: see above.
    let Some(original) = (unsafe { original(context) }) else { return core::ptr::null_mut() };
    let call = record::begin(sp);
    // SAFETY: see above.
    let block = unsafe { (original.malloc)(original.context, size) };
    record::allocated(EntryRegisters { sp, bp }, call, block as u64, size as u64);
    block
}

unsafe extern "C" fn calloc_hook(
    context: *mut c_void,
    count: usize,
    size: usize,
    sp: u64,
    bp: u64,
) -> Block {
    // SAFETY: see above.
    let Some(original) = (unsafe { original(context) }) else { return core::ptr::null_mut() };
    let call = record::begin(sp);
    // SAFETY: see above.
    let block = unsafe { (original.calloc)(original.context, count, size) };
    let bytes = count.wrapping_mul(size) as u64;
    record::allocated(EntryRegisters { sp, bp }, call, block as u64, bytes);
    block
}

unsafe extern "C" fn realloc_hook(
    context: *mut c_void,
    old: Block,
    size: usize,
    sp: u64,
    bp: u64,
) -> Block {
    // SAFETY: see above.
    let Some(original) = (unsafe { original(context) }) else { return core::ptr::null_mut() };
    let call = record::begin_replacing(sp);
    // SAFETY: see above.
    let block = unsafe { (original.realloc)(original.context, old, size) };
    let registers = EntryRegisters { sp, bp };
    if block.is_null() {
        // The old block lives on.
        record::end(sp, call);
    } else {
        record::reallocated(registers, call, old as u64, block as u64, size as u64);
    }
    block
}

/// What `realloc` does where neither block is in the sample. It may make a block small that malloc gave: that is
/// counted there.
unsafe extern "C" fn unsampled_realloc(context: *mut c_void, old: Block, size: usize) -> Block {
    // SAFETY: see above.
    let Some(original) = (unsafe { original(context) }) else { return core::ptr::null_mut() };
    let call = record::begin_unsampled();
    // SAFETY: see above.
    let block = unsafe { (original.realloc)(original.context, old, size) };
    call.end(block as u64, size as u64);
    block
}

unsafe extern "C" fn free_hook(context: *mut c_void, block: Block, sp: u64, bp: u64) {
    // SAFETY: see above.
    let Some(original) = (unsafe { original(context) }) else { return };
    if record::folds(sp, block as u64) {
        // SAFETY: see above.
        return unsafe { (original.free)(original.context, block) };
    }
    let call = record::begin(sp);
    // SAFETY: see above.
    unsafe { (original.free)(original.context, block) };
    record::freed(EntryRegisters { sp, bp }, call, block as u64);
}
