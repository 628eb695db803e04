//! A host that is about to forbid itself system calls (seccomp): what the tracer needs is taken before.
//!
//! A filter may kill the process for a call that the tracer makes and the host does not. From then
//! on the tracer makes none in the host's threads but what a new thread's slot needs, which its
//! creator needed too: no readings of memory, no growth beyond what is prepared here.

use core::sync::atomic::{AtomicBool, Ordering};

use crate::arch;
use crate::drain;
use crate::system_call;
use crate::thread::guard;

/// Room of the trace that is prepared, in pages: 64 MiB.
const PREPARED_PAGES: u64 = 2048;
/// How often the tracer's threads are asked for before they are left to their fate, at 1 ms each.
const PATIENCE: u32 = 10_000;

/// Whether the tracer's threads are to end.
static THREADS_MUST_END: AtomicBool = AtomicBool::new(false);

/// Whether the tracer's threads are to end: a filter for all threads would be theirs as well.
pub(crate) fn threads_must_end() -> bool {
    THREADS_MUST_END.load(Ordering::SeqCst) // See `OwnThreads::announce`.
}

/// The host installs a filter, for all its threads or for the calling one.
#[cold]
pub(crate) fn begins(for_all_threads: bool) {
    if system_call::is_sealed() {
        return;
    }
    if let Some(mut entry) = guard::enter(arch::stack_pointer()) {
        let process = entry.process();
        if process.pid != system_call::process_id() {
            // A child of `vfork`, in its parent's memory: the parent is not locked in.
            return;
        }
        let nested = entry.nested();
        entry.lane().kept.make_room();
        if !nested {
            entry.slot().on_own_stack(|| {
                process.spool.prepare(PREPARED_PAGES);
                process.stacks.prepare();
            });
        }
        if for_all_threads {
            THREADS_MUST_END.store(true, Ordering::SeqCst); // See `OwnThreads::announce`.
            drain::wake(process);
            let mut patience = PATIENCE;
            while !process.own_threads.are_gone(process.pid) && patience != 0 {
                system_call::sleep_ms(1);
                patience = patience.wrapping_sub(1);
            }
        }
    }
    system_call::seal();
}
