//! Notices code objects that die: their type's deallocator is replaced by one that says so first.

use core::sync::atomic::{AtomicU64, Ordering};

use super::layout::TYPE_DEALLOC;
use crate::arch;
use crate::process;

/// The interpreter's own deallocator of code objects.
static ORIGINAL: AtomicU64 = AtomicU64::new(0);

arch::before_call!(code_dealloc, before = died, then = ORIGINAL);

/// Replaces the deallocator of this type, once. `None`: it cannot be watched.
///
/// The interpreter reads the field whenever a code object dies, and needs the GIL for that; we
/// store an aligned word, so whoever reads it meanwhile gets the one or the other.
pub(super) fn watch(code_type: u64) -> Option<()> {
    let ours = code_dealloc as *const () as u64;
    // SAFETY: a type object of the interpreter's, in writable memory; the field is aligned.
    let field = unsafe { AtomicU64::from_ptr(code_type.wrapping_add(TYPE_DEALLOC) as *mut u64) };
    let current = field.load(Ordering::Acquire);
    if current == ours {
        return Some(());
    }
    if ORIGINAL.load(Ordering::Acquire) != 0 {
        // Somebody else replaced it after us, and calls ours, or has taken ours out.
        return Some(());
    }
    // Release: our deallocator finds the original.
    ORIGINAL.store(current, Ordering::Release);
    field.compare_exchange(current, ours, Ordering::AcqRel, Ordering::Acquire).ok().map(|_| ())
}

/// Called with each code object before the interpreter's own deallocator.
extern "C" fn died(code: u64) {
    if let Some(interpreter) = process::if_set_up().and_then(|process| process.python.get()) {
        interpreter.codes.died(code);
    }
}
