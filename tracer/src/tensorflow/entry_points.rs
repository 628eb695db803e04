//! TensorFlow's own entry points in C, counted: where a program marks no requests, these may stand for them.
//!
//! Sees nothing but that they are called. What they are given and give back goes past the tracer.

use core::ffi::CStr;
use core::sync::atomic::{AtomicU64, Ordering};

use crate::arch::passing_through;
use crate::thread::guard;
use crate::{cuda, record};

passing_through!(
    /** `TF_SessionRun`: one computation of a graph, as `Session.run` asks for it. */
    TF_SessionRun => passing, 0
);
passing_through!(
    /** `TFE_Execute`: one op, or one call of a `tf.function`. */
    TFE_Execute => passing, 1
);

struct EntryPoint {
    name: &'static CStr,
    ours: unsafe extern "C" fn(),
    /// Found at the first call. All of a process are taken to come from one library.
    real: AtomicU64,
}

static ENTRY_POINTS: [EntryPoint; 2] = [
    EntryPoint { name: c"TF_SessionRun", ours: TF_SessionRun, real: AtomicU64::new(0) },
    EntryPoint { name: c"TFE_Execute", ours: TFE_Execute, real: AtomicU64::new(0) },
];

/// Libraries that have them, where their caller does not see which one.
const LIBRARIES: [&CStr; 2] = [c"libtensorflow_cc.so.2", c"libtensorflow.so.2"];

/// So many executions of ops are one mark: there may be 50,000 in a second.
const EXECUTIONS: u32 = 64;
const RUN_MARK: &[u8] = b"tftrace:TF_SessionRun";
const EXECUTIONS_MARK: &[u8] = b"tftrace:TFE_Execute/64";
const _: () = assert!(EXECUTIONS == 64, "as the mark says");

/// Counts a call; gives the address of the real function.
unsafe extern "C" fn passing(sp: u64, which: usize) -> u64 {
    if let Some(mut entry) = guard::enter(sp) {
        if which == 0 {
            let _ = record::mark(&mut entry, RUN_MARK);
        } else {
            let executions = entry.slot().executions.load(Ordering::Relaxed).wrapping_add(1);
            entry.slot().executions.store(executions, Ordering::Relaxed); // Only this thread's.
            if executions.is_multiple_of(EXECUTIONS) {
                let _ = record::mark(&mut entry, EXECUTIONS_MARK);
            }
        }
    }
    let Some(point) = ENTRY_POINTS.get(which) else { return nothing as *const () as u64 };
    match point.real.load(Ordering::Relaxed) {
        0 => look_up(point, sp),
        known => known, // Every look-up finds the same.
    }
}

#[cold]
fn look_up(point: &EntryPoint, sp: u64) -> u64 {
    // SAFETY: the entry was called, so its return address stands at `sp`.
    let caller = unsafe { (sp as *const u64).read() };
    let behind = cuda::real_of(point.name, point.ours as *const () as u64, caller);
    let in_libraries = || {
        guard::as_own_thread(|| {
            LIBRARIES.iter().map(|library| cuda::in_library(library, point.name)).max()
        })
    };
    let found = if behind != 0 { behind } else { in_libraries().unwrap_or(0) };
    if found == 0 {
        return nothing as *const () as u64;
    }
    point.real.store(found, Ordering::Relaxed);
    found
}

/// What is called where nobody but us has the function: its caller found it by chance.
unsafe extern "C" fn nothing() {}
