//! `dlsym` and `dlvsym`: how most programs find CUDA, its own libraries among them.
//!
//! A name that is none of CUDA's is passed on by a jump, and never comes here. For the others the
//! answer is what the program would get without us, with one of our functions in front of it; above
//! all it is null where there is no such function.

use core::ffi::{CStr, c_char, c_int, c_void};
use core::mem::transmute;
use core::sync::atomic::{AtomicU64, Ordering};

use super::functions::Function;
use super::unnamed::{in_front_of, is_ours};
use crate::arch::{Answer, symbol_look_up};
use crate::capture::elf_image::ElfImage;
use crate::capture::elf_symbols::ElfSymbols;
use crate::capture::loader_list;
use crate::process;
use crate::real::{self, FoundObject};
use crate::thread::guard;

type Handle = *mut c_void;
type Find = unsafe extern "C" fn(Handle, *const c_char) -> u64;
type FindVersion = unsafe extern "C" fn(Handle, *const c_char, *const c_char) -> u64;

symbol_look_up!(
    /** POSIX `dlsym`. */
    dlsym, answer = find, real = REAL_DLSYM, resolve = resolve_dlsym
);
symbol_look_up!(
    /** glibc `dlvsym`. */
    dlvsym, answer = find_version, real = REAL_DLVSYM, resolve = resolve_dlvsym
);

/// The real ones; 0 = not looked up yet.
static REAL_DLSYM: AtomicU64 = AtomicU64::new(0);
static REAL_DLVSYM: AtomicU64 = AtomicU64::new(0);

const NOTHING: Answer = Answer { is_given: 0, address: 0 };

fn given(address: u64) -> Answer {
    Answer { is_given: 1, address }
}

/// What a program asks for that calls `dlsym`, from a place in its code.
unsafe extern "C" fn find(handle: Handle, name: *const c_char, _: u64, caller: u64) -> Answer {
    // SAFETY: `dlsym` asks for a C string.
    let name = unsafe { CStr::from_ptr(name) };
    let Some(function) = Function::named(name) else { return NOTHING };
    answer(function, handle, caller, |handle| {
        // SAFETY: what the program passed, or a handle that stands for an object that is loaded.
        unsafe { ask(handle, name) }
    })
}

/// What a program asks for that calls `dlvsym`.
unsafe extern "C" fn find_version(
    handle: Handle,
    name: *const c_char,
    version: *const c_char,
    caller: u64,
) -> Answer {
    // SAFETY: `dlvsym` asks for a C string.
    let name = unsafe { CStr::from_ptr(name) };
    let Some(function) = Function::named(name) else { return NOTHING };
    answer(function, handle, caller, |handle| {
        let real = resolved(&REAL_DLVSYM);
        // SAFETY: glibc's function of this name, or one that takes its place.
        let real = unsafe { transmute::<u64, FindVersion>(real) };
        // SAFETY: as in `find`.
        unsafe { real(handle, name.as_ptr(), version) }
    })
}

/// Answers for one of CUDA's functions; `real` asks the real look-up, as if this library had.
fn answer(function: Function, handle: Handle, caller: u64, real: impl Fn(Handle) -> u64) -> Answer {
    if process::stays_untraced() {
        return NOTHING;
    }
    // What stands behind this library in the order of the loader, which is nearly always all.
    let behind = || real(libc::RTLD_NEXT);
    let found = if handle == libc::RTLD_NEXT {
        // Who stands behind us asks for what is behind itself, which the real one knows.
        if !caller_precedes_us(caller) {
            return NOTHING;
        }
        behind()
    } else {
        match real(handle) {
            found if found != 0 && is_ours(function, found) => behind(),
            found => found,
        }
    };
    if found != 0 || handle != libc::RTLD_DEFAULT {
        return given(in_front_of(function, found));
    }
    // A library that was loaded for itself alone sees its own symbols after those that all see.
    let local = object_of(caller).map_or(0, |object| with_handle(&object, &real));
    if local == 0 || is_ours(function, local) {
        // The main program sees us. Without us it would see nothing, and so `dlerror` has to say.
        return given(behind());
    }
    given(in_front_of(function, local))
}

/// Calls `work` with a handle of an object that is loaded, as `dlopen` gives it; 0 if there is none.
pub(super) fn with_handle(object: &FoundObject, work: impl FnOnce(Handle) -> u64) -> u64 {
    const NAME: u64 = 8; // `struct link_map`: bias, name.
    if object.link_map == 0 {
        return 0;
    }
    // Its link map is no handle: what was not opened by name has no list of where to search.
    // SAFETY: the object is loaded: its code is being called.
    let name = unsafe { (object.link_map.wrapping_add(NAME) as *const *const c_char).read() };
    guard::as_own_thread(|| {
        // SAFETY: the loader's name for the object; empty for the program, which no file is called.
        let is_program = name.is_null() || unsafe { name.read() } == 0;
        let name = if is_program { core::ptr::null() } else { name };
        // SAFETY: a C string, or null for the program; nothing is loaded or run.
        let handle = unsafe { libc::dlopen(name, libc::RTLD_LAZY | libc::RTLD_NOLOAD) };
        if handle.is_null() {
            return 0;
        }
        let found = work(handle);
        // SAFETY: opened just above, and still loaded.
        unsafe { libc::dlclose(handle) };
        found
    })
}

/// Asks the real `dlsym`, as this library.
///
/// # Safety
/// The handle is valid.
pub(super) unsafe fn ask(handle: Handle, name: &CStr) -> u64 {
    // SAFETY: glibc's function of this name, or one that takes its place.
    let real = unsafe { transmute::<u64, Find>(resolved(&REAL_DLSYM)) };
    // SAFETY: our caller promises it.
    unsafe { real(handle, name.as_ptr()) }
}

/// The loaded object that holds an address.
pub(super) fn object_of(address: u64) -> Option<FoundObject> {
    if real::look_up() { loader_list::find_object(address) } else { None }
}

/// Whether the object that holds an address comes before this library in the loader's order: the main
/// program, and what is preloaded before us.
fn caller_precedes_us(caller: u64) -> bool {
    const PREVIOUS: u64 = 32; // `struct link_map`: bias, name, dynamic section, next, previous.
    let (Some(caller), Some(ours)) = (object_of(caller), object_of(find as *const () as u64))
    else {
        return false;
    };
    let mut at = ours.link_map;
    while at != 0 {
        if at == caller.link_map {
            return caller.link_map != ours.link_map;
        }
        // SAFETY: what the loader started the program with is never unloaded.
        at = unsafe { (at.wrapping_add(PREVIOUS) as *const u64).read() };
    }
    false
}

fn resolved(real: &AtomicU64) -> u64 {
    match real.load(Ordering::Relaxed) {
        0 => {
            resolve();
            real.load(Ordering::Relaxed)
        }
        known => known,
    }
}

unsafe extern "C" fn resolve_dlsym() -> u64 {
    resolved(&REAL_DLSYM)
}

unsafe extern "C" fn resolve_dlvsym() -> u64 {
    resolved(&REAL_DLVSYM)
}

/// Where nothing else is found: there is no such symbol.
unsafe extern "C" fn find_nothing(_: Handle, _: *const c_char, _: *const c_char) -> u64 {
    0
}

/// Finds the real ones: not by asking `dlsym`, which is ours, but in the object that glibc's are in.
///
/// Those are asked what stands behind this library: another library that interposes them, or they.
#[cold]
fn resolve() {
    let nothing = find_nothing as *const () as u64;
    let start = start_of_glibc();
    let glibc = |name: &CStr| function_at(start, name);
    let known = glibc(c"dlsym");
    let behind = |name: &CStr| {
        if known == 0 {
            return 0;
        }
        // SAFETY: glibc's function of this name.
        let ask = unsafe { transmute::<u64, Find>(known) };
        // SAFETY: a handle that is always valid, and a constant name.
        unsafe { ask(libc::RTLD_NEXT, name.as_ptr()) }
    };
    for (real, name) in [(&REAL_DLSYM, c"dlsym"), (&REAL_DLVSYM, c"dlvsym")] {
        let found = [behind(name), glibc(name), nothing].into_iter().find(|found| *found != 0);
        // Every look-up finds the same.
        real.store(found.unwrap_or(nothing), Ordering::Relaxed);
    }
}

/// Where the object begins that holds glibc's `dladdr`; 0 if that does not say. It looks at all its symbols.
fn start_of_glibc() -> u64 {
    type AddressInfo = unsafe extern "C" fn(*const c_void, *mut libc::Dl_info) -> c_int;
    let dladdr: AddressInfo = libc::dladdr;
    // SAFETY: a `Dl_info` of zeros is valid.
    let mut info: libc::Dl_info = unsafe { core::mem::zeroed() };
    // SAFETY: `info` is writable; an unknown address gives 0.
    let found = unsafe { dladdr(dladdr as *const c_void, &raw mut info) } != 0;
    if found { info.dli_fbase as u64 } else { 0 }
}

/// The address of a function of glibc's object, which begins there; 0 if it is not there.
fn function_at(start: u64, name: &CStr) -> u64 {
    if start == 0 {
        return 0;
    }
    // Its end is not known; it is less than this away, and nothing beyond its segments is read.
    let found = FoundObject::new(start, start.saturating_add(1 << 30), 0, 0);
    // SAFETY: glibc stays loaded.
    let image = unsafe { ElfImage::read(&found) };
    image.and_then(|image| ElfSymbols::of(&image)?.find(name)).unwrap_or(0)
}
