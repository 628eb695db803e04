//! x86-64 Linux: entry shims, the initial-exec thread-local block, system calls, stack switching.

use core::arch::{asm, global_asm, naked_asm};
use core::ffi::c_void;

/// The registers with which a hook was entered: where its caller's frame begins.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub(crate) struct EntryRegisters {
    /// Address of the return address.
    pub(crate) sp: u64,
    /// The caller's frame pointer register, whatever it holds.
    pub(crate) bp: u64,
}

/// Defines an exported C function that passes its arguments and its entry registers on.
///
/// The registers are handed over as two more arguments, and the target is jumped to: it returns
/// straight to the caller. Up to four arguments fit into registers beside them.
macro_rules! entry_shim {
    ($(#[$doc:meta])* $name:ident => $target:path, args = 0) => {
        entry_shim!(@shim $(#[$doc])* $name, $target, "rdi", "rsi");
    };
    ($(#[$doc:meta])* $name:ident => $target:path, args = 1) => {
        entry_shim!(@shim $(#[$doc])* $name, $target, "rsi", "rdx");
    };
    ($(#[$doc:meta])* $name:ident => $target:path, args = 2) => {
        entry_shim!(@shim $(#[$doc])* $name, $target, "rdx", "rcx");
    };
    ($(#[$doc:meta])* $name:ident => $target:path, args = 3) => {
        entry_shim!(@shim $(#[$doc])* $name, $target, "rcx", "r8");
    };
    ($(#[$doc:meta])* $name:ident => $target:path, args = 4) => {
        entry_shim!(@shim $(#[$doc])* $name, $target, "r8", "r9");
    };
    ($(#[$doc:meta])* private $name:ident => $target:path, args = 0) => {
        entry_shim!(@body $(#[$doc])* $name, $target, "rdi", "rsi");
    };
    ($(#[$doc:meta])* private $name:ident => $target:path, args = 2) => {
        entry_shim!(@body $(#[$doc])* $name, $target, "rdx", "rcx");
    };
    ($(#[$doc:meta])* private $name:ident => $target:path, args = 3) => {
        entry_shim!(@body $(#[$doc])* $name, $target, "rcx", "r8");
    };
    (@shim $(#[$doc:meta])* $name:ident, $target:path, $sp:literal, $bp:literal) => {
        entry_shim!(
            @body $(#[$doc])* #[cfg_attr(not(test), unsafe(no_mangle))] $name, $target, $sp, $bp
        );
    };
    (@body $(#[$doc:meta])* $name:ident, $target:path, $sp:literal, $bp:literal) => {
        $(#[$doc])*
        #[unsafe(naked)]
        pub(crate) unsafe extern "C" fn $name() {
            core::arch::naked_asm!(
                "endbr64",
                concat!("mov ", $sp, ", rsp"),
                concat!("mov ", $bp, ", rbp"),
                "jmp {target}",
                target = sym $target,
            )
        }
    };
    // Five or six arguments: the registers go onto the stack, so this one calls and returns.
    ($(#[$doc:meta])* $name:ident => $target:path, args = 6) => {
        $(#[$doc])*
        #[cfg_attr(not(test), unsafe(no_mangle))]
        #[unsafe(naked)]
        pub(crate) unsafe extern "C" fn $name() {
            core::arch::naked_asm!(
                ".cfi_startproc",
                "endbr64",
                "mov rax, rsp",
                "sub rsp, 8",
                ".cfi_adjust_cfa_offset 8",
                "push rbp",
                ".cfi_adjust_cfa_offset 8",
                "push rax",
                ".cfi_adjust_cfa_offset 8",
                "call {target}",
                "add rsp, 24",
                ".cfi_adjust_cfa_offset -24",
                "ret",
                ".cfi_endproc",
                target = sym $target,
            )
        }
    };
}
pub(crate) use entry_shim;

/// Defines a function of one argument that calls `before` with it, and then goes on to the function
/// whose address `then` holds, as if that had been called.
macro_rules! before_call {
    ($name:ident, before = $before:path, then = $then:path) => {
        #[unsafe(naked)]
        unsafe extern "C" fn $name() {
            core::arch::naked_asm!(
                ".cfi_startproc",
                "endbr64",
                "push rdi",
                ".cfi_adjust_cfa_offset 8",
                "call {before}",
                "pop rdi",
                ".cfi_adjust_cfa_offset -8",
                "jmp qword ptr [rip + {then}]",
                ".cfi_endproc",
                before = sym $before,
                then = sym $then,
            )
        }
    };
}
pub(crate) use before_call;

/// Defines an exported C function of any arguments that lets `prepare` look at the first three, and
/// goes on to the function whose address that gives.
macro_rules! before_variadic {
    ($(#[$doc:meta])* $name:ident => $prepare:path) => {
        $(#[$doc])*
        #[cfg_attr(not(test), unsafe(no_mangle))]
        #[unsafe(naked)]
        pub(crate) unsafe extern "C" fn $name() {
            core::arch::naked_asm!(
                ".cfi_startproc",
                "endbr64",
                "push rdi",
                ".cfi_adjust_cfa_offset 8",
                "push rsi",
                ".cfi_adjust_cfa_offset 8",
                "push rdx",
                ".cfi_adjust_cfa_offset 8",
                "push rcx",
                ".cfi_adjust_cfa_offset 8",
                "push r8",
                ".cfi_adjust_cfa_offset 8",
                "push r9",
                ".cfi_adjust_cfa_offset 8",
                "push rax",
                ".cfi_adjust_cfa_offset 8",
                "call {prepare}",
                "mov r11, rax",
                "pop rax",
                ".cfi_adjust_cfa_offset -8",
                "pop r9",
                ".cfi_adjust_cfa_offset -8",
                "pop r8",
                ".cfi_adjust_cfa_offset -8",
                "pop rcx",
                ".cfi_adjust_cfa_offset -8",
                "pop rdx",
                ".cfi_adjust_cfa_offset -8",
                "pop rsi",
                ".cfi_adjust_cfa_offset -8",
                "pop rdi",
                ".cfi_adjust_cfa_offset -8",
                "jmp r11",
                ".cfi_endproc",
                prepare = sym $prepare,
            )
        }
    };
}
pub(crate) use before_variadic;

/// Defines an exported function of up to four arguments that lets `prepare` look at the second
/// (and at the caller's registers), and goes on to the function whose address that gives.
macro_rules! before_scheduling {
    ($(#[$doc:meta])* $name:ident => $prepare:path, $which:literal) => {
        $(#[$doc])*
        #[allow(non_snake_case, reason = "a mangled C++ name")]
        #[cfg_attr(not(test), unsafe(no_mangle))]
        #[unsafe(naked)]
        pub(crate) unsafe extern "C" fn $name() {
            core::arch::naked_asm!(
                ".cfi_startproc",
                "endbr64",
                "push rdi",
                ".cfi_adjust_cfa_offset 8",
                "push rsi",
                ".cfi_adjust_cfa_offset 8",
                "push rdx",
                ".cfi_adjust_cfa_offset 8",
                "push rcx",
                ".cfi_adjust_cfa_offset 8",
                "sub rsp, 8",
                ".cfi_adjust_cfa_offset 8",
                "mov rdi, rsi",
                "lea rsi, [rsp + 40]",
                "mov rdx, rbp",
                concat!("mov ecx, ", $which),
                "call {prepare}",
                "add rsp, 8",
                ".cfi_adjust_cfa_offset -8",
                "pop rcx",
                ".cfi_adjust_cfa_offset -8",
                "pop rdx",
                ".cfi_adjust_cfa_offset -8",
                "pop rsi",
                ".cfi_adjust_cfa_offset -8",
                "pop rdi",
                ".cfi_adjust_cfa_offset -8",
                "jmp rax",
                ".cfi_endproc",
                prepare = sym $prepare,
            )
        }
    };
}
pub(crate) use before_scheduling;

// The tracer's thread-local block. Initial-exec: its place is fixed when the process starts, so
// reaching it is two loads and never allocates, locks or calls the loader.
global_asm!(
    ".section .tbss,\"awT\",@nobits",
    ".balign 8",
    ".hidden tftrace_thread_block",
    ".globl tftrace_thread_block",
    ".type tftrace_thread_block, @object",
    ".size tftrace_thread_block, 16",
    "tftrace_thread_block:",
    ".zero 16",
    ".text",
);

// std was compiled for the general-dynamic model, which calls `__tls_get_addr` of the loader: a
// function that can allocate and take the loader's lock. This hidden definition takes its place
// inside this library. All thread-locals of one object stand in one block, and a preloaded
// object's block is at a fixed distance from the thread pointer: the one that the initial-exec
// block above already knows. The argument is { module, offset in the block }.
#[cfg(not(test))]
global_asm!(
    ".text",
    ".hidden __tls_get_addr",
    ".globl __tls_get_addr",
    ".type __tls_get_addr, @function",
    "__tls_get_addr:",
    ".cfi_startproc",
    "mov rax, qword ptr fs:[0]",
    "add rax, qword ptr [rip + tftrace_thread_block@GOTTPOFF]",
    "sub rax, qword ptr [rip + tftrace_block_offset]",
    "add rax, qword ptr [rdi + 8]",
    "ret",
    ".cfi_endproc",
    ".size __tls_get_addr, . - __tls_get_addr",
    ".section .rodata",
    ".balign 8",
    "tftrace_block_offset:",
    ".quad tftrace_thread_block@DTPOFF",
    ".text",
);

/// The first word of the thread-local block.
#[inline(always)]
pub(crate) fn thread_word() -> *mut usize {
    let word: *mut usize;
    // SAFETY: reads the thread pointer and a constant that the loader put into the GOT.
    unsafe {
        asm!(
            "mov {word}, qword ptr [rip + tftrace_thread_block@GOTTPOFF]",
            "add {word}, qword ptr fs:[0]",
            word = out(reg) word,
            options(nostack, pure, readonly, preserves_flags),
        );
    }
    word
}

/// The second one: how many bytes the thread's next sample is away; 0 where that is not known.
#[inline(always)]
pub(crate) fn bytes_to_sample() -> *mut u64 {
    thread_word().wrapping_add(1).cast()
}

// Where the linker says that the last of this library's data ends.
global_asm!(".hidden _end");

/// The end of the last page that has data of this library.
pub(crate) fn end_of_data() -> *mut u8 {
    const PAGE: usize = 4096;
    let end: *mut u8;
    // SAFETY: computes an address.
    unsafe {
        asm!("lea {end}, [rip + _end]", end = out(reg) end, options(nostack, nomem, preserves_flags))
    };
    end.map_addr(|end| end.next_multiple_of(PAGE))
}

/// The thread pointer. glibc keeps a thread's control block there, above the thread's stack.
#[inline(always)]
pub(crate) fn thread_pointer() -> u64 {
    let value: u64;
    // SAFETY: reads the word at fs:0, which the ABI defines as the thread pointer itself.
    unsafe {
        asm!("mov {v}, qword ptr fs:[0]", v = out(reg) value, options(nostack, pure, readonly, preserves_flags));
    }
    value
}

/// The stack pointer, about here.
#[inline(always)]
pub(crate) fn stack_pointer() -> u64 {
    let value: u64;
    // SAFETY: copies a register.
    unsafe { asm!("mov {v}, rsp", v = out(reg) value, options(nostack, nomem, preserves_flags)) };
    value
}

/// The time stamp counter, read after everything earlier has happened.
///
/// Plain `rdtsc` may run before the loads in front of it: a free would be stamped earlier than the
/// other thread's allocation that handed it the pointer.
#[inline(always)]
pub(crate) fn ticks() -> u64 {
    let mut processor = 0;
    // SAFETY: processors with an invariant counter have the instruction; `clock` checked that.
    unsafe { core::arch::x86_64::__rdtscp(&raw mut processor) }
}

/// The time stamp counter, which may be read before what stands in front of it has happened.
#[inline(always)]
pub(crate) fn ticks_unordered() -> u64 {
    // SAFETY: each of these processors has the instruction.
    unsafe { core::arch::x86_64::_rdtsc() }
}

/// Brings a line of memory near: it is about to be read. Any address will do.
#[inline(always)]
pub(crate) fn fetch_ahead<T>(place: *const T) {
    use core::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
    // SAFETY: a hint, which reads nothing and never faults; each of these processors has the instruction.
    unsafe { _mm_prefetch::<_MM_HINT_T0>(place.cast()) };
}

/// Whether the counter runs at one rate on all processors, whatever their power state.
pub(crate) fn ticks_are_invariant() -> bool {
    let highest = core::arch::x86_64::__cpuid(0x8000_0000).eax;
    let rdtscp = 1 << 27;
    let invariant = 1 << 8;
    highest >= 0x8000_0007
        && core::arch::x86_64::__cpuid(0x8000_0001).edx & rdtscp != 0
        && core::arch::x86_64::__cpuid(0x8000_0007).edx & invariant != 0
}

/// A system call, without libc: `errno` stays, and it is no cancellation point.
///
/// # Safety
/// As for the system call of that number with these arguments.
#[inline(always)]
pub(crate) unsafe fn system_call(number: i64, arguments: [usize; 6]) -> isize {
    let [a, b, c, d, e, f] = arguments;
    let result: isize;
    // SAFETY: our caller promises what the system call asks for.
    unsafe {
        asm!(
            "syscall",
            inlateout("rax") number as isize => result,
            in("rdi") a, in("rsi") b, in("rdx") c, in("r10") d, in("r8") e, in("r9") f,
            lateout("rcx") _, lateout("r11") _,
            options(nostack),
        );
    }
    result
}

/// Calls `function(argument)` on another stack, so that the host's stack is not used up.
///
/// The frame below can be unwound: the old stack pointer stands in rbp, and the CFI says so.
///
/// # Safety
/// `stack_top` is the end of writable memory that nothing else uses during the call, and
/// `function` may be called with `argument`.
#[unsafe(naked)]
pub(crate) unsafe extern "C" fn call_on_stack(
    function: unsafe extern "C" fn(*mut c_void),
    argument: *mut c_void,
    stack_top: *mut u8,
) {
    naked_asm!(
        ".cfi_startproc",
        "endbr64",
        "push rbp",
        ".cfi_def_cfa_offset 16",
        ".cfi_offset rbp, -16",
        "mov rbp, rsp",
        ".cfi_def_cfa_register rbp",
        "mov rax, rdi",
        "mov rdi, rsi",
        "and rdx, -16",
        "mov rsp, rdx",
        "call rax",
        "mov rsp, rbp",
        "pop rbp",
        ".cfi_def_cfa rsp, 8",
        "ret",
        ".cfi_endproc",
    )
}

/// The CFI register numbers of this architecture.
pub(crate) mod registers {
    pub(crate) const BP: u64 = 6;
    pub(crate) const SP: u64 = 7;
    pub(crate) const RETURN_ADDRESS: u64 = 16;
}

/// Where the kernel saved registers in a signal frame, in bytes above the frame's stack pointer
/// (`struct rt_sigframe`: `uc.uc_mcontext` as the kernel's ABI fixes it).
pub(crate) mod signal_frame {
    pub(crate) const BP: u64 = 120;
    pub(crate) const SP: u64 = 160;
    pub(crate) const PC: u64 = 168;
}

#[cfg(test)]
mod tests {
    use super::*;

    unsafe extern "C" fn note_stack(argument: *mut c_void) {
        // SAFETY: the test passes a pointer to a live u64.
        unsafe { *argument.cast::<u64>() = stack_pointer() };
    }

    #[test]
    fn a_call_on_another_stack_runs_there_and_comes_back() {
        let mut memory = vec![0u8; 65536];
        let bounds = memory.as_mut_ptr_range();
        let mut seen = 0u64;
        // SAFETY: `memory` outlives the call and nothing else uses it.
        unsafe { call_on_stack(note_stack, (&raw mut seen).cast(), bounds.end) };
        assert!((bounds.start as u64..bounds.end as u64).contains(&seen));
    }
}
