//! Work that one thread schedules and another does: its stack goes on in the stack that scheduled it.
//!
//! A closure that is handed to a thread pool is wrapped in one of ours, which holds the number of the
//! stack that scheduled it. When it is called, the number lies on the stack of the thread that does
//! the work, just above a return address that the unwinder knows.
//!
//! Only one step is followed: what scheduled work schedules belongs to where it all began. Else a
//! chain of closures that schedule one another would grow without end.

use core::arch::naked_asm;
use core::ffi::c_void;
use core::sync::atomic::{AtomicUsize, Ordering};

use crate::arch::EntryRegisters;
use crate::capture;
use crate::own_memory;
use crate::process::Process;
use crate::thread::guard;

/// libstdc++'s `std::function<void()>`: two words of captures or a pointer to them, what copies and
/// destroys them, and what calls them.
#[repr(C)]
#[derive(Clone, Copy)]
pub(crate) struct Function {
    captures: [usize; 2],
    manager: Option<unsafe extern "C" fn(*mut usize, *const usize, u32) -> bool>,
    invoker: Option<unsafe extern "C" fn(*const usize)>,
}

/// What a wrapping function refers to.
#[repr(C)]
struct Wrapped {
    original: Function,
    /// The stack that scheduled it, and above it the process that numbered the stack.
    stack: u64,
    /// How many functions refer to this: one, but for copies for which there was no memory.
    owners: AtomicUsize,
}

const GET_TYPE: u32 = 0;
const CLONE: u32 = 2;
const DESTROY: u32 = 3;

/// Wraps a function that is about to be scheduled by the caller whose registers these are.
///
/// # Safety
/// `function` is a live `std::function<void()>` that the callee may move from.
pub(crate) unsafe fn wrap(function: *mut Function, registers: EntryRegisters) {
    // SAFETY: our caller promises it.
    let original = unsafe { function.read() };
    if original.manager.is_none() || original.invoker.is_none() {
        return;
    }
    let Some(mut entry) = guard::enter(registers.sp) else { return };
    let now = entry.process().clock.now();
    let own = capture::call_stack(&mut entry, registers, now);
    let stack = match entry.lane().kept.origin() {
        0 => own.map_or(0, |stack| stack.get()),
        origin => origin,
    };
    if stack == 0 || entry.nested() {
        return;
    }
    let stack = (u64::from(entry.process().pid) << 32) | u64::from(stack);
    // Without memory it is scheduled as it is.
    let wrapped = Wrapped { original, stack, owners: AtomicUsize::new(1) };
    let Some(wrapped) = own_memory::place(wrapped) else { return };
    let wrapping = Function {
        captures: [wrapped as usize, 0],
        manager: Some(manage),
        invoker: Some(call_scheduled),
    };
    // SAFETY: as above; libstdc++ moves functions by copying their words, and so do we.
    unsafe { function.write(wrapping) };
}

/// Calls the original, with the number of the stack that scheduled it on the stack.
#[unsafe(naked)]
unsafe extern "C" fn call_scheduled(captures: *const usize) {
    naked_asm!(
        ".cfi_startproc",
        "endbr64",
        "mov rdi, qword ptr [rdi]",
        "push qword ptr [rdi + 32]",
        ".cfi_adjust_cfa_offset 8",
        "call qword ptr [rdi + 24]",
        ".hidden tftrace_scheduled_return",
        ".globl tftrace_scheduled_return",
        "tftrace_scheduled_return:",
        "add rsp, 8",
        ".cfi_adjust_cfa_offset -8",
        "ret",
        ".cfi_endproc",
    )
}

unsafe extern "C" {
    static tftrace_scheduled_return: u8;
}

/// Unit tests schedule nothing, but what they link asks for the label above.
#[cfg(test)]
#[used]
static KEPT: unsafe extern "C" fn(*const usize) = call_scheduled;

/// The return address below which scheduled work runs.
#[inline(always)]
pub(crate) fn return_address() -> u64 {
    (&raw const tftrace_scheduled_return) as u64
}

/// The stack that a word above [`return_address`] names; 0 if another process numbered it.
pub(crate) fn stack_of(process: &Process, word: u64) -> u32 {
    if (word >> 32) as u32 == process.pid { word as u32 } else { 0 }
}

/// libstdc++'s manager of a function's captures.
unsafe extern "C" fn manage(to: *mut usize, from: *const usize, operation: u32) -> bool {
    let place = if operation == DESTROY { to.cast_const() } else { from };
    // SAFETY: libstdc++ passes the captures of a function that `wrap` made.
    let wrapped = unsafe { place.read() } as *mut Wrapped;
    // SAFETY: they refer to a value that lives until the function is destroyed.
    let Wrapped { original, stack, owners } = unsafe { &*wrapped };
    let Some(manager) = original.manager else { return false };
    match operation {
        CLONE => {
            let copy = Wrapped { original: *original, stack: *stack, owners: AtomicUsize::new(1) };
            let copy = match own_memory::place(copy) {
                Some(copy) => {
                    // SAFETY: nobody else knows the copy yet.
                    let captures = unsafe { (*copy).original.captures.as_mut_ptr() };
                    // SAFETY: the original's own manager copies its captures into the copy's.
                    unsafe { manager(captures, original.captures.as_ptr(), CLONE) };
                    copy
                }
                None => {
                    owners.fetch_add(1, Ordering::Relaxed); // Whoever copies keeps it alive.
                    wrapped
                }
            };
            // SAFETY: two words for captures, says libstdc++.
            unsafe { to.write(copy as usize) };
            false
        }
        DESTROY => {
            // Acquire and release: the last one sees what the others did with it.
            if owners.fetch_sub(1, Ordering::AcqRel) != 1 {
                return false;
            }
            // SAFETY: made by `wrap` or by a clone, and this was the last that refers to it.
            let mut original = unsafe { own_memory::take(wrapped) }.original;
            let captures = original.captures.as_mut_ptr();
            // SAFETY: the original's own manager destroys its captures.
            unsafe { manager(captures, captures, DESTROY) }
        }
        // The type, or a pointer to the captured object: what the original says.
        GET_TYPE.. => {
            // SAFETY: the original's own manager looks at its captures.
            unsafe { manager(to, original.captures.as_ptr(), operation) }
        }
    }
}

/// Calls a function now: what a thread pool does with work it has no room for.
///
/// # Safety
/// `function` is a live `std::function<void()>`.
pub(crate) unsafe extern "C" fn call_now(_pool: *mut c_void, function: *const Function) {
    // SAFETY: our caller promises it.
    let copy = unsafe { &*function };
    if let Some(invoker) = copy.invoker {
        // SAFETY: as above.
        unsafe { invoker(copy.captures.as_ptr()) };
    }
}
