//! The real function behind one that we export: what its caller would have been linked to without us.
//!
//! That depends on who calls. Two libraries of one process may each bring a CUDA runtime of its own,
//! and TensorFlow brings functions of the same names that look for the driver first.

use core::ffi::CStr;
use core::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use super::dynamic_symbols::{ask, object_of, with_handle};
use super::functions::Function;
use super::unnamed::is_ours;
use crate::real::FoundObject;
use crate::thread::guard;

/// What was found for a caller.
struct Known {
    /// The function's number plus one; stored last.
    function: AtomicU64,
    /// The caller's object.
    link_map: AtomicU64,
    start: AtomicU64,
    /// The real function, and its object.
    real: AtomicU64,
    real_link_map: AtomicU64,
}

const MOST_KNOWN: usize = 1024;
static KNOWN: [Known; MOST_KNOWN] = [const {
    Known {
        function: AtomicU64::new(0),
        link_map: AtomicU64::new(0),
        start: AtomicU64::new(0),
        real: AtomicU64::new(0),
        real_link_map: AtomicU64::new(0),
    }
}; MOST_KNOWN];
static USED: AtomicUsize = AtomicUsize::new(0);

/// Libraries that a function may be in, loaded by whomever.
const DRIVERS: [&CStr; 1] = [c"libcuda.so.1"];
const RUNTIMES: [&CStr; 3] = [c"libcudart.so.13", c"libcudart.so.12", c"libcudart.so.11.0"];

/// The real function, for who calls from this address; 0: there is none.
pub(super) fn real(function: Function, caller: u64) -> u64 {
    let Some(object) = object_of(caller) else {
        // Generated code: it belongs to nobody.
        return guard::as_own_thread(|| match global(function) {
            0 => loaded(function),
            found => found,
        });
    };
    if let Some(real) = known(function, &object) {
        return real;
    }
    let found = guard::as_own_thread(|| look_up(function, &object));
    if found != 0 {
        remember(function, &object, found);
        return found;
    }
    guard::as_own_thread(|| loaded(function))
}

fn known(function: Function, object: &FoundObject) -> Option<u64> {
    let wanted = u64::from(function.number()).wrapping_add(1);
    let place = KNOWN.iter().take(USED.load(Ordering::Acquire)).find(|place| {
        // Acquire: who sees the function sees the rest.
        place.function.load(Ordering::Acquire) == wanted
            && place.link_map.load(Ordering::Relaxed) == object.link_map
            && place.start.load(Ordering::Relaxed) == object.start
    })?;
    let real = place.real.load(Ordering::Relaxed);
    // Its library may have gone.
    let is_there = object_of(real)?.link_map == place.real_link_map.load(Ordering::Relaxed);
    is_there.then_some(real)
}

/// With no place left it is looked up each time.
fn remember(function: Function, object: &FoundObject, real: u64) {
    let index = USED.load(Ordering::Relaxed);
    if index >= MOST_KNOWN {
        return;
    }
    let Some(place) = KNOWN.get(USED.fetch_add(1, Ordering::AcqRel)) else { return };
    place.link_map.store(object.link_map, Ordering::Relaxed);
    place.start.store(object.start, Ordering::Relaxed);
    place.real.store(real, Ordering::Relaxed);
    let real_link_map = object_of(real).map_or(0, |object| object.link_map);
    place.real_link_map.store(real_link_map, Ordering::Relaxed);
    // Release: see `known`.
    place.function.store(u64::from(function.number()).wrapping_add(1), Ordering::Release);
}

/// What all see, behind us.
fn global(function: Function) -> u64 {
    // SAFETY: a handle that is always valid.
    unsafe { ask(libc::RTLD_NEXT, function.name()) }
}

fn look_up(function: Function, caller: &FoundObject) -> u64 {
    let global = global(function);
    let own = with_handle(caller, |handle| {
        // SAFETY: just opened.
        unsafe { ask(handle, function.name()) }
    });
    let own = if is_ours(function, own) { 0 } else { own };
    forget_error();
    match (global, own) {
        (0, own) => own,
        (global, 0) => global,
        // Each caller's references name the version of the runtime that it was linked to.
        (global, own) if is_runtime(global) && is_runtime(own) => own,
        (global, _) => global,
    }
}

/// Whether an address is in a library that is called as NVIDIA's runtime is.
fn is_runtime(address: u64) -> bool {
    // SAFETY: a `Dl_info` of zeros is valid.
    let mut info: libc::Dl_info = unsafe { core::mem::zeroed() };
    // SAFETY: `info` is writable; an unknown address gives 0.
    let found = unsafe { libc::dladdr(address as *const _, &raw mut info) } != 0;
    if !found || info.dli_fname.is_null() {
        return false;
    }
    // SAFETY: the path of a loaded object.
    let path = unsafe { CStr::from_ptr(info.dli_fname) }.to_bytes();
    path.rsplit(|byte| *byte == b'/').next().is_some_and(|name| name.starts_with(b"libcudart"))
}

/// The function in a library of CUDA's that is loaded, whoever sees it.
fn loaded(function: Function) -> u64 {
    let libraries = if function.is_of_runtime() { &RUNTIMES[..] } else { &DRIVERS[..] };
    libraries.iter().map(|library| in_library(library, function.name())).max().unwrap_or(0)
}

/// The real function behind one that another room exports at `ours`, for who calls from this address; 0:
/// there is none.
pub(crate) fn real_of(name: &CStr, ours: u64, caller: u64) -> u64 {
    let object = object_of(caller);
    guard::as_own_thread(|| {
        // SAFETY: a handle that is always valid.
        let global = unsafe { ask(libc::RTLD_NEXT, name) };
        let found = match (global, object) {
            (0, Some(object)) => with_handle(&object, |handle| {
                // SAFETY: just opened.
                unsafe { ask(handle, name) }
            }),
            (global, _) => global,
        };
        forget_error();
        if found == ours { 0 } else { found }
    })
}

/// A symbol of a library, if that is loaded; 0 if not. For the tracer's own threads, or as one.
pub(crate) fn in_library(library: &CStr, name: &CStr) -> u64 {
    // SAFETY: a constant name; nothing is loaded or run.
    let handle = unsafe { libc::dlopen(library.as_ptr(), libc::RTLD_LAZY | libc::RTLD_NOLOAD) };
    if handle.is_null() {
        forget_error();
        return 0;
    }
    // SAFETY: a library that is loaded.
    let found = unsafe { ask(handle, name) };
    // SAFETY: opened just above, so somebody else still holds it.
    unsafe { libc::dlclose(handle) };
    forget_error();
    found
}

/// The program does not ask for our errors.
fn forget_error() {
    // SAFETY: always callable.
    unsafe { libc::dlerror() };
}
