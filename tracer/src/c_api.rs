//! The C interface for programs that want to tell the tracer something. `docs/c-api.md` describes it.

use core::ffi::{CStr, c_char, c_int};

use crate::arch::{self, EntryRegisters, entry_shim};
use crate::thread::guard::{self, HookEntry};
use crate::{capture, drain, process, record, sampling};

const DONE: c_int = 0;
const NOT_TRACING: c_int = -1;

fn enter() -> Option<HookEntry> {
    guard::enter(arch::stack_pointer())
}

/// Marks a point in time, such as the end of a request: `tftrace_mark("request")`.
///
/// Returns 0, or -1 if this process is not traced or has used more than 1,024 names.
///
/// # Safety
/// `label` is a C string; only its first 62 bytes are kept.
#[cfg_attr(not(test), unsafe(no_mangle))]
pub(crate) unsafe extern "C" fn tftrace_mark(label: *const c_char) -> c_int {
    if label.is_null() {
        return NOT_TRACING;
    }
    // SAFETY: our caller promises a C string.
    let text = unsafe { CStr::from_ptr(label) }.to_bytes();
    let text = text.get(..process::labels::LABEL_BYTES).unwrap_or(text);
    let Some(mut entry) = enter() else { return NOT_TRACING };
    if record::mark(&mut entry, text).is_some() { DONE } else { NOT_TRACING }
}

entry_shim!(
    /** Adds a memory reading now, and waits until the kernel has written the trace to the disk.

    Events are in the file as soon as they happen and outlive the process without this; it is for
    copying a trace while the program runs, and against a crash of the machine.

    Returns 0, or -1 if this process is not traced or the disk reported an error. */
    tftrace_flush => flush_hook, args = 0
);

unsafe extern "C" fn flush_hook(sp: u64, bp: u64) -> c_int {
    let Some(mut entry) = enter_and_look(EntryRegisters { sp, bp }) else { return NOT_TRACING };
    let process = entry.process();
    drain::sample_now(&mut entry, true);
    let is_free = !entry.nested() && !entry.lane().kept.is_in_handler();
    drop(entry);
    if is_free {
        drain::layout_from_drain(process);
    }
    match process.spool.write_back() {
        Ok(()) => DONE,
        Err(_) => NOT_TRACING,
    }
}

/// Enters with the caller's stack captured: in a signal handler, libc must not be asked for anything.
fn enter_and_look(registers: EntryRegisters) -> Option<HookEntry> {
    let mut entry = guard::enter(registers.sp)?;
    let now = entry.process().clock.now();
    let _ = capture::call_stack(&mut entry, registers, now);
    Some(entry)
}

entry_shim!(
    /** What the loader calls when the process exits in good order: a last reading, a shorter file. */
    private at_exit => exit_hook, args = 0
);

unsafe extern "C" fn exit_hook(sp: u64, bp: u64) {
    if process::if_set_up().is_none() {
        return;
    }
    if let Some(mut entry) = enter_and_look(EntryRegisters { sp, bp }) {
        let process = entry.process();
        drain::sample_now(&mut entry, true);
        drop(entry);
        if !drain::has_late_layout(process) {
            drain::layout_from_drain(process);
        }
        process.spool.shorten();
    }
}

// The loader's own list: unlike `atexit`, it needs no call that could allocate.
#[cfg(not(test))]
#[used]
#[unsafe(link_section = ".fini_array")]
static AT_EXIT: unsafe extern "C" fn() = at_exit;

/// Begins the trace even if nothing is ever allocated.
#[cfg(not(test))]
#[used]
#[unsafe(link_section = ".init_array")]
static AT_START: extern "C" fn() = at_start;

#[cfg_attr(test, allow(dead_code, reason = "the loader calls it, not a test"))]
extern "C" fn at_start() {
    if let Some(process) = process::current()
        && process.sampling.is_some()
    {
        // Without it a child's trace begins with its first sample. No memory is needed for one of the
        // first handlers.
        // SAFETY: a function of that type, which stays.
        unsafe { libc::pthread_atfork(None, None, Some(sampling::begin_in_child)) };
    }
}
