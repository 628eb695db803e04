//! What every hook passes first: is this process traced, and is this thread inside the tracer?

use core::ptr::NonNull;
use core::sync::atomic::{Ordering, compiler_fence};

use tftrace_format::counters::Counter;

use super::lane::Lane;
use super::slot::ThreadSlot;
use crate::arch;
use crate::process::{self, Process};
use crate::system_call;

/// In the thread-local word of a thread that works for the tracer just now: events are not the host's.
const OWN_THREAD: usize = 1;
/// The same of the threads that the tracer started.
const DRAIN_THREAD: usize = 2;
/// A depth at which nothing is recorded: the tracer itself calls into libc.
pub(crate) const MUTED: u8 = u8::MAX;

/// Proof that this thread is inside one hook, and the right to use one of its lanes.
///
/// One word: of several, copies of an entry are read in other pieces than they were written in, for which each
/// hook would wait. It is the thread's slot, and [`NESTED`] in its lowest bit.
#[derive(Debug)]
pub(crate) struct HookEntry(NonNull<ThreadSlot>);

/// A signal handler interrupted the tracer.
const NESTED: usize = 1;
const _: () = assert!(align_of::<ThreadSlot>() > NESTED);

/// Enters the tracer. `None`: this event is not recorded (which is counted, where it is a loss).
#[inline(always)]
pub(crate) fn enter(sp: u64) -> Option<HookEntry> {
    let process = process::current()?;
    let word = arch::thread_word();
    // SAFETY: the word is this thread's own.
    let value = unsafe { word.read() };
    if value <= DRAIN_THREAD {
        return if value == 0 { enter_first(process, sp) } else { None };
    }
    // SAFETY: values above DRAIN_THREAD are addresses of slots, which live for ever.
    let slot: &'static ThreadSlot = unsafe { &*(value as *const ThreadSlot) };
    if !core::ptr::eq(slot.process, process) {
        return enter_first(process, sp);
    }
    enter_slot(process, slot, sp)
}

/// What this thread has in the tracer, while it is outside of it: for who only notes there what later hooks of this
/// thread are to know. `None` does not say that it is inside: [`enter`] does.
#[inline(always)]
pub(crate) fn slot_from_outside() -> Option<&'static ThreadSlot> {
    let process = process::current()?;
    // SAFETY: the word is this thread's own.
    let value = unsafe { arch::thread_word().read() };
    if value <= DRAIN_THREAD {
        return None;
    }
    // SAFETY: values above DRAIN_THREAD are addresses of slots, which live for ever.
    let slot: &'static ThreadSlot = unsafe { &*(value as *const ThreadSlot) };
    let is_outside =
        core::ptr::eq(slot.process, process) && slot.depth.load(Ordering::Relaxed) == 0;
    is_outside.then_some(slot)
}

#[inline(always)]
fn enter_slot(process: &'static Process, slot: &'static ThreadSlot, sp: u64) -> Option<HookEntry> {
    // Only this thread and its signal handlers use depth: program order is enough, which the
    // fences below keep.
    let depth = slot.depth.load(Ordering::Relaxed);
    let nested = match depth {
        0 => false,
        _ => enter_interrupted(process, slot, sp, depth)?,
    };
    slot.depth.store(if nested { 2 } else { 1 }, Ordering::Relaxed);
    if !nested {
        slot.entry_sp.store(sp, Ordering::Relaxed);
    }
    compiler_fence(Ordering::SeqCst);
    Some(HookEntry(NonNull::from(slot).map_addr(|address| address | usize::from(nested))))
}

/// The depth is not 0: a signal handler is running, or a jump left the tracer without a return.
#[cold]
fn enter_interrupted(
    process: &'static Process,
    slot: &'static ThreadSlot,
    sp: u64,
    depth: u8,
) -> Option<bool> {
    // A handler on the same stack stands below the hook that it interrupted. A hook that is
    // entered from above it means that the host jumped out of a handler: the old one is over.
    let on_same_stack = same_stack(process, sp, slot.entry_sp.load(Ordering::Relaxed));
    if on_same_stack && sp >= slot.entry_sp.load(Ordering::Relaxed) {
        for nested in [false, true] {
            // SAFETY: this thread's own lanes; what used them is gone.
            let lane = unsafe { &mut *slot.lane(nested) };
            lane.after_jump();
        }
        return Some(false);
    }
    if depth == MUTED {
        return None;
    }
    if depth == 1 {
        return Some(true);
    }
    process.spool.count(Counter::LostNested, 1);
    None
}

fn same_stack(process: &Process, a: u64, b: u64) -> bool {
    let tops = [arch::thread_pointer(), process.main_stack_end];
    let top = |sp: u64| tops.into_iter().find(|top| *top > sp && top - sp <= process.stack_reach);
    top(a).is_some() && top(a) == top(b)
}

/// The first event of this thread, in this incarnation of the process.
#[cold]
fn enter_first(process: &'static Process, sp: u64) -> Option<HookEntry> {
    // A handler that allocates meanwhile goes on unrecorded.
    let word = arch::thread_word();
    // SAFETY: the word is this thread's own.
    unsafe { word.write(OWN_THREAD) };
    let Some(slot) = process.threads.register(process) else {
        // SAFETY: as above.
        unsafe { word.write(0) };
        process.spool.count(Counter::LostNoMemory, 1);
        return None;
    };
    // SAFETY: as above.
    unsafe { word.write(core::ptr::from_ref(slot) as usize) };
    enter_slot(process, slot, sp)
}

/// Says that the calling thread is one that the tracer started.
pub(crate) fn mark_drain_thread() {
    // SAFETY: the word is this thread's own.
    unsafe { arch::thread_word().write(DRAIN_THREAD) };
}

/// Says that the calling thread is the host's from now on.
pub(crate) fn mark_host_thread() {
    // SAFETY: the word is this thread's own.
    unsafe { arch::thread_word().write(0) };
}

/// Whether the calling thread is one that the tracer started.
pub(crate) fn is_drain() -> bool {
    // SAFETY: the word is this thread's own.
    unsafe { arch::thread_word().read() == DRAIN_THREAD }
}

/// Whether the calling thread is the tracer's own, or works for it just now.
#[inline(always)]
pub(crate) fn is_own_thread() -> bool {
    // SAFETY: the word is this thread's own.
    let value = unsafe { arch::thread_word().read() };
    value == OWN_THREAD || value == DRAIN_THREAD
}

/// Runs `work`, which starts threads or reads files, as one of the tracer's own threads would: no
/// signal interrupts it, nothing is recorded, and libc gets the memory it asks for from the tracer.
pub(crate) fn as_own_thread<R>(work: impl FnOnce() -> R) -> R {
    let mask = system_call::block_signals();
    let word = arch::thread_word();
    // SAFETY: the word is this thread's own.
    let before = unsafe { word.read() };
    // SAFETY: as above.
    unsafe { word.write(OWN_THREAD) };
    // Nothing is left of the gap meanwhile: what libc asks for comes to the hooks.
    let left = arch::bytes_to_sample();
    // SAFETY: this word too is this thread's own.
    let bytes_before = unsafe { left.replace(0) };
    compiler_fence(Ordering::SeqCst);
    let result = work();
    compiler_fence(Ordering::SeqCst);
    // SAFETY: as above.
    unsafe { left.write(bytes_before) };
    // SAFETY: as above.
    unsafe { word.write(before) };
    system_call::restore_signals(mask);
    result
}

impl HookEntry {
    /// What this thread has in the tracer.
    #[inline(always)]
    pub(crate) fn slot(&self) -> &'static ThreadSlot {
        let slot = self.0.as_ptr().map_addr(|address| address & !NESTED);
        // SAFETY: made from a reference to a slot, which lives for ever.
        unsafe { &*slot }
    }

    #[inline(always)]
    pub(crate) fn process(&self) -> &'static Process {
        self.slot().process
    }

    /// Whether a signal handler interrupted the tracer: no system calls, no own stack.
    #[inline(always)]
    pub(crate) fn nested(&self) -> bool {
        self.0.addr().get() & NESTED != 0
    }

    /// The lane that this entry owns.
    #[inline(always)]
    pub(crate) fn lane(&mut self) -> &mut Lane {
        // SAFETY: the depth gives this entry the lane until it is dropped, and `&mut self` makes
        // this the only reference.
        unsafe { &mut *self.slot().lane(self.nested()) }
    }

    /// Runs `work`, which calls into libc, with all hooks of this thread muted.
    pub(crate) fn muted<R>(&mut self, work: impl FnOnce() -> R) -> R {
        let depth = self.slot().depth.swap(MUTED, Ordering::Relaxed);
        compiler_fence(Ordering::SeqCst);
        let result = work();
        compiler_fence(Ordering::SeqCst);
        self.slot().depth.store(depth, Ordering::Relaxed);
        result
    }
}

impl Drop for HookEntry {
    #[inline(always)]
    fn drop(&mut self) {
        compiler_fence(Ordering::SeqCst);
        self.slot().depth.store(u8::from(self.nested()), Ordering::Relaxed);
    }
}
