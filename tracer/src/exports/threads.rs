//! The call that makes the host multi-threaded: the moment at which the drain may start.
//!
//! Starting a thread takes locks of the loader's, and a hook can come while its thread holds others
//! of them (inside `dl_iterate_phdr`, say). Where the host itself starts a thread, it is safe.

use core::ffi::{c_int, c_void};

use crate::thread::guard;
use crate::{arch, drain, process, real};

/// POSIX `pthread_create`.
///
/// # Safety
/// As for the real function.
#[cfg_attr(not(test), unsafe(no_mangle))]
pub(crate) unsafe extern "C" fn pthread_create(
    thread: *mut libc::pthread_t,
    attributes: *const libc::pthread_attr_t,
    start: real::ThreadStart,
    argument: *mut c_void,
) -> c_int {
    // A child of `fork` has one thread until here: set up now, nothing of the next one is missed.
    let _ = process::current();
    // SAFETY: our caller promises what the real function asks for.
    let error = unsafe { real::pthread_create()(thread, attributes, start, argument) };
    if error == 0
        && let Some(mut entry) = guard::enter(arch::stack_pointer())
    {
        drain::host_has_threads(&mut entry);
    }
    error
}
