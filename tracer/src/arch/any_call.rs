//! Entries for functions of any signature: their arguments are handed on as words, not as types.
//!
//! Arguments in floating-point registers are not kept: no function that is entered here has any.

use core::arch::{global_asm, naked_asm};

use super::EntryRegisters;

/// A call as it arrived. Lies on the stack below the caller's frame.
#[derive(Debug)]
#[repr(C)]
pub(crate) struct AnyCall {
    /// What stood in the registers for arguments.
    pub(crate) arguments: [u64; 6],
    pub(crate) registers: EntryRegisters,
}

/// Arguments on the stack: a structure of this size, or less, passed by value.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub(crate) struct StackArguments([u64; 4]);

impl AnyCall {
    /// The return address.
    #[inline(always)]
    pub(crate) fn caller(&self) -> u64 {
        // SAFETY: the entry was called, so its return address stands at `sp`.
        unsafe { (self.registers.sp as *const u64).read() }
    }

    /// The first words of the arguments that stand on the stack.
    ///
    /// # Safety
    /// The function that was called has arguments there.
    pub(crate) unsafe fn on_stack(&self) -> StackArguments {
        let place = (self.registers.sp as *const u64).wrapping_add(1);
        // SAFETY: they stand above the return address; behind them is more of the caller's frame.
        unsafe { place.cast::<StackArguments>().read() }
    }
}

impl StackArguments {
    /// The words.
    pub(crate) fn words(&self) -> [u64; 4] {
        self.0
    }
}

/// Defines an exported function that hands its call and a number on to [`crate::cuda::called`].
macro_rules! any_call {
    ($name:ident, $number:expr) => {
        #[allow(non_snake_case, reason = "a C name")]
        #[cfg_attr(not(test), unsafe(no_mangle))]
        #[unsafe(naked)]
        pub(crate) unsafe extern "C" fn $name() {
            core::arch::naked_asm!(
                "endbr64",
                "mov eax, {number}",
                "jmp {common}",
                number = const $number,
                common = sym $crate::arch::any_call_entry,
            )
        }
    };
}
pub(crate) use any_call;

/// Where all of them go, the number in eax.
#[unsafe(naked)]
pub(crate) unsafe extern "C" fn any_call_entry() {
    naked_asm!(
        ".cfi_startproc",
        "mov r10, rsp",
        "sub rsp, 8",
        ".cfi_adjust_cfa_offset 8",
        "push rbp",
        ".cfi_adjust_cfa_offset 8",
        "push r10",
        ".cfi_adjust_cfa_offset 8",
        "push r9",
        ".cfi_adjust_cfa_offset 8",
        "push r8",
        ".cfi_adjust_cfa_offset 8",
        "push rcx",
        ".cfi_adjust_cfa_offset 8",
        "push rdx",
        ".cfi_adjust_cfa_offset 8",
        "push rsi",
        ".cfi_adjust_cfa_offset 8",
        "push rdi",
        ".cfi_adjust_cfa_offset 8",
        "mov rdi, rsp",
        "mov esi, eax",
        "call {called}",
        "add rsp, 72",
        ".cfi_adjust_cfa_offset -72",
        "ret",
        ".cfi_endproc",
        called = sym crate::cuda::called,
    )
}

/// Defines an exported function that lets `look` see where it is called and which it is, and goes on to
/// the function whose address that gives, with every argument where it was.
macro_rules! passing_through {
    ($(#[$doc:meta])* $name:ident => $look:path, $which:literal) => {
        $(#[$doc])*
        #[allow(non_snake_case, reason = "a C name")]
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
                "sub rsp, 8",
                ".cfi_adjust_cfa_offset 8",
                "lea rdi, [rsp + 56]",
                concat!("mov esi, ", $which),
                "call {look}",
                "add rsp, 8",
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
                "jmp rax",
                ".cfi_endproc",
                look = sym $look,
            )
        }
    };
}
pub(crate) use passing_through;

/// How many functions without a name there are, which can stand in front of any other.
pub(crate) const UNNAMED: usize = 1024;
/// The number of the first of them.
pub(crate) const FIRST_UNNAMED: u32 = 1 << 16;
const UNNAMED_BYTES: usize = 16;

// Each finds out which one it is from its own address.
global_asm!(
    ".text",
    ".balign 16",
    ".hidden tftrace_unnamed",
    ".globl tftrace_unnamed",
    ".type tftrace_unnamed, @function",
    "tftrace_unnamed:",
    ".cfi_startproc",
    ".rept {count}",
    ".balign 16",
    "endbr64",
    "lea rax, [rip - 11]",
    "jmp tftrace_unnamed_entry",
    ".endr",
    ".balign 16",
    ".size tftrace_unnamed, . - tftrace_unnamed",
    ".hidden tftrace_unnamed_entry",
    ".type tftrace_unnamed_entry, @function",
    "tftrace_unnamed_entry:",
    "lea r11, [rip + tftrace_unnamed]",
    "sub rax, r11",
    "shr eax, 4",
    "add eax, {first}",
    "jmp {common}",
    ".cfi_endproc",
    ".size tftrace_unnamed_entry, . - tftrace_unnamed_entry",
    count = const UNNAMED,
    first = const FIRST_UNNAMED,
    common = sym any_call_entry,
);

unsafe extern "C" {
    static tftrace_unnamed: u8;
}

/// The address of one of the functions without a name.
pub(crate) fn unnamed(index: usize) -> u64 {
    (&raw const tftrace_unnamed as u64).wrapping_add((index * UNNAMED_BYTES) as u64)
}

/// Whether a function is one of them.
pub(crate) fn is_unnamed(address: u64) -> bool {
    address.wrapping_sub(unnamed(0)) < (UNNAMED * UNNAMED_BYTES) as u64
}

/// What the look-up of a symbol came to.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub(crate) struct Answer {
    /// 0: nothing; the real function is to be asked as if it had been called.
    pub(crate) is_given: u64,
    pub(crate) address: u64,
}

/// Defines an exported `dlsym` or `dlvsym`, of up to three arguments.
///
/// Whoever asks the real one is known by its return address, so unless the name is one of CUDA's the
/// real one is jumped to, with every register of an argument and the stack as they were.
macro_rules! symbol_look_up {
    ($(#[$doc:meta])* $name:ident, answer = $answer:path, real = $real:path, resolve = $resolve:path) => {
        $(#[$doc])*
        #[cfg_attr(not(test), unsafe(no_mangle))]
        #[unsafe(naked)]
        pub(crate) unsafe extern "C" fn $name() {
            core::arch::naked_asm!(
                ".cfi_startproc",
                "endbr64",
                "test rsi, rsi",
                "jz 2f",
                "cmp byte ptr [rsi], 0x63", // c
                "jne 2f",
                "cmp byte ptr [rsi + 1], 0x75", // u
                "je 3f",
                "2:",
                "mov rax, qword ptr [rip + {real}]",
                "test rax, rax",
                "jz 4f",
                "jmp rax",
                "3:",
                "push rdi",
                ".cfi_adjust_cfa_offset 8",
                "push rsi",
                ".cfi_adjust_cfa_offset 8",
                "push rdx",
                ".cfi_adjust_cfa_offset 8",
                "mov rcx, qword ptr [rsp + 24]",
                "call {answer}",
                "mov rcx, rdx",
                "pop rdx",
                ".cfi_adjust_cfa_offset -8",
                "pop rsi",
                ".cfi_adjust_cfa_offset -8",
                "pop rdi",
                ".cfi_adjust_cfa_offset -8",
                "test rax, rax",
                "jz 2b",
                "mov rax, rcx",
                "ret",
                "4:",
                "push rdi",
                ".cfi_adjust_cfa_offset 8",
                "push rsi",
                ".cfi_adjust_cfa_offset 8",
                "push rdx",
                ".cfi_adjust_cfa_offset 8",
                "call {resolve}",
                "pop rdx",
                ".cfi_adjust_cfa_offset -8",
                "pop rsi",
                ".cfi_adjust_cfa_offset -8",
                "pop rdi",
                ".cfi_adjust_cfa_offset -8",
                "jmp rax",
                ".cfi_endproc",
                real = sym $real,
                answer = sym $answer,
                resolve = sym $resolve,
            )
        }
    };
}
pub(crate) use symbol_look_up;
