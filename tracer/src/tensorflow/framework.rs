//! TensorFlow's framework library: where its code is, and what it exports.

use core::ffi::CStr;
use core::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use crate::capture::elf_image::ElfImage;
use crate::capture::elf_symbols::ElfSymbols;
use crate::real::FoundObject;
use crate::thread::guard;

/// Where its code begins and ends, and glibc's name for it; zeros until it was on a stack.
static START: AtomicU64 = AtomicU64::new(0);
static END: AtomicU64 = AtomicU64::new(0);
static LINK_MAP: AtomicU64 = AtomicU64::new(0);
/// `tsl::profiler::ScopedMemoryDebugAnnotation::ThreadMemoryDebugAnnotation()`.
static THREAD_ANNOTATION: AtomicU64 = AtomicU64::new(0);
/// Whether annotations hold `std::string_view`s, as from TensorFlow 2.20 on.
static HOLDS_VIEWS: AtomicBool = AtomicBool::new(false);

const ANNOTATION: &CStr =
    c"_ZN3tsl8profiler27ScopedMemoryDebugAnnotation27ThreadMemoryDebugAnnotationEv";
/// Its constructor from a `std::string_view`.
const FROM_VIEW: &CStr =
    c"_ZN3tsl8profiler27ScopedMemoryDebugAnnotationC2ESt17basic_string_viewIcSt11char_traitsIcEE";

/// Looks whether an object that was just seen on a stack is the framework library.
pub(crate) fn consider(image: &ElfImage, found: &FoundObject) {
    if START.load(Ordering::Relaxed) != 0 {
        return;
    }
    let Some(symbols) = ElfSymbols::of(image) else { return };
    let Some(annotation) = symbols.find(ANNOTATION) else { return };
    HOLDS_VIEWS.store(symbols.find(FROM_VIEW).is_some(), Ordering::Relaxed);
    THREAD_ANNOTATION.store(annotation, Ordering::Relaxed);
    LINK_MAP.store(found.link_map, Ordering::Relaxed);
    END.store(found.end, Ordering::Relaxed);
    // Release: who sees the start sees the rest.
    START.store(found.start, Ordering::Release);
}

/// An object was unloaded: if it was this one, its functions must not be called any more.
pub(crate) fn unloaded(link_map: u64) {
    if LINK_MAP.load(Ordering::Relaxed) == link_map {
        START.store(0, Ordering::Release);
        LINK_MAP.store(0, Ordering::Relaxed);
    }
}

/// Whether an address is in the library.
#[inline(always)]
pub(crate) fn holds(address: u64) -> bool {
    // Acquire: pairs with the release in `consider`.
    let start = START.load(Ordering::Acquire);
    start != 0 && (start..END.load(Ordering::Relaxed)).contains(&address)
}

/// The function that gives the calling thread's annotation, and whether that holds views.
#[inline(always)]
pub(super) fn thread_annotation() -> Option<(u64, bool)> {
    // Acquire: as above.
    if START.load(Ordering::Acquire) == 0 {
        return None;
    }
    Some((THREAD_ANNOTATION.load(Ordering::Relaxed), HOLDS_VIEWS.load(Ordering::Relaxed)))
}

/// The address of a function that the library exports; 0 if there is none.
pub(super) fn look_up(name: &CStr) -> u64 {
    guard::as_own_thread(|| {
        // The library is loaded, and its symbols are local to those who asked for it: RTLD_NEXT
        // does not see them.
        let flags = libc::RTLD_LAZY | libc::RTLD_NOLOAD;
        // SAFETY: a constant name; nothing is loaded or run.
        let library = unsafe { libc::dlopen(c"libtensorflow_framework.so.2".as_ptr(), flags) };
        if library.is_null() {
            return 0;
        }
        // SAFETY: a library that stays loaded, and a constant name.
        unsafe { libc::dlsym(library, name.as_ptr()) as u64 }
    })
}
