//! A thread's memory in the tracer: two lanes (one for signal handlers that interrupt the tracer)
//! and a stack for what needs more of it than the host can spare.

use core::cell::UnsafeCell;
use core::ffi::c_void;
use core::sync::atomic::{AtomicU8, AtomicU32, AtomicU64};

use super::lane::Lane;
use crate::arch;
use crate::process::Process;
use crate::system_call;

/// Evaluating CFI takes about 16 KiB; a host's signal handler may run here as well.
const STACK_BYTES: usize = 128 * 1024;

/// A thread's memory. Handed to another thread once its own is gone.
#[derive(Debug)]
#[repr(C)]
pub(crate) struct ThreadSlot {
    /// The incarnation it belongs to: in a child of `fork` it is another one's.
    pub(crate) process: &'static Process,
    /// Its place in the registry.
    pub(crate) index: u32,
    /// Whether a living thread owns it.
    pub(crate) owned: AtomicU8,
    /// The kernel's id of the owner.
    pub(crate) tid: AtomicU32,
    /// The tracer's number of the owner, never reused.
    pub(crate) number: AtomicU32,
    /// Where its thread pointer is: libc has it at the top of the stack that it made for the thread.
    pub(crate) thread_pointer: AtomicU64,
    /// How many hooks of this thread are inside the tracer: 0, 1, or 2 when a signal came between.
    pub(crate) depth: AtomicU8,
    /// The stack pointer with which the outermost of them was entered.
    pub(crate) entry_sp: AtomicU64,
    /// Ops of TensorFlow's that this thread executed.
    pub(crate) executions: AtomicU32,
    /// Inside which domain's allocator this thread is: 0, or one more than its number. What that
    /// takes from another domain is its pool's.
    pub(crate) inside: AtomicU8,
    /// Where the outermost call of CUDA's stands that this thread is in; 0: in none.
    pub(crate) cuda_sp: AtomicU64,
    /// What malloc's hooks saw while this thread was inside CPython's allocators: the last blocks.
    pub(crate) inner_allocated: AtomicU64,
    pub(crate) inner_freed: AtomicU64,
    /// Each for whom `owned` and `depth` make its only user.
    lanes: [UnsafeCell<Lane>; 2],
    stack: *mut u8,
}

impl ThreadSlot {
    /// Maps memory for a slot; `None` if there is none.
    pub(crate) fn create(process: &'static Process, index: u32) -> Option<*mut ThreadSlot> {
        let place = system_call::map_for_thread(size_of::<ThreadSlot>()).ok()?.cast::<ThreadSlot>();
        let stack = system_call::map_for_thread(STACK_BYTES).ok()?;
        // Zeros are a free slot with empty lanes, so only these fields are written.
        // SAFETY: a new private mapping of that size.
        let to_process = unsafe { &raw mut (*place).process };
        // SAFETY: as above.
        let to_index = unsafe { &raw mut (*place).index };
        // SAFETY: as above.
        let to_stack = unsafe { &raw mut (*place).stack };
        // SAFETY: nobody else knows the mapping yet.
        unsafe { to_process.write(process) };
        // SAFETY: as above.
        unsafe { to_index.write(index) };
        // SAFETY: as above.
        unsafe { to_stack.write(stack) };
        Some(place)
    }

    /// The outer lane, and the one for signal handlers that interrupt the tracer.
    #[inline(always)]
    pub(crate) fn lane(&self, nested: bool) -> *mut Lane {
        let [outer, inner] = &self.lanes;
        if nested { inner.get() } else { outer.get() }
    }

    /// Runs `work` on the slot's own stack. Only for the owner, and only in its outer lane.
    pub(crate) fn on_own_stack<R>(&self, work: impl FnOnce() -> R) -> R {
        struct Call<F, R> {
            work: Option<F>,
            result: Option<R>,
        }
        unsafe extern "C" fn run<F: FnOnce() -> R, R>(argument: *mut c_void) {
            // SAFETY: `on_own_stack` passes a pointer to its call.
            let call = unsafe { &mut *argument.cast::<Call<F, R>>() };
            call.result = call.work.take().map(|work| work());
        }
        fn trampoline_of<F: FnOnce() -> R, R>(_: &Call<F, R>) -> unsafe extern "C" fn(*mut c_void) {
            run::<F, R>
        }
        let mut call = Call { work: Some(work), result: None };
        let trampoline = trampoline_of(&call);
        // SAFETY: the mapping's end.
        let top = unsafe { self.stack.add(STACK_BYTES) };
        // SAFETY: only the owner's outer lane comes here, so the stack is unused; `run` gets the
        // type it expects.
        unsafe { arch::call_on_stack(trampoline, (&raw mut call).cast(), top) };
        match call.result {
            Some(result) => result,
            // `run` always sets the result; without one there is nothing to go on with.
            None => loop {
                core::hint::spin_loop();
            },
        }
    }
}
