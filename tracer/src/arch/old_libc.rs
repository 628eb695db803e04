//! Functions that std calls and that glibc before 2.33 does not have, under names that the loader
//! never sees: with them the library needs no glibc newer than 2.28.
//!
//! System calls as glibc makes them. `struct stat64` is the kernel's `struct stat` on x86-64.

use core::arch::global_asm;

global_asm!(
    ".macro tftrace_system_call name number",
    ".globl \\name",
    ".hidden \\name",
    ".type \\name, @function",
    "\\name:",
    ".cfi_startproc",
    "endbr64",
    "mov eax, \\number",
    "syscall",
    "cmp rax, -4095",
    "jae 2f",
    "ret",
    "2:",
    "push rax",
    ".cfi_adjust_cfa_offset 8",
    "call __errno_location@PLT",
    "pop rcx",
    ".cfi_adjust_cfa_offset -8",
    "neg ecx",
    "mov [rax], ecx",
    "mov rax, -1",
    "ret",
    ".cfi_endproc",
    ".size \\name, . - \\name",
    ".endm",
    ".text",
    "tftrace_system_call stat64, {stat}",
    "tftrace_system_call fstat64, {fstat}",
    "tftrace_system_call gettid, {gettid}",
    stat = const libc::SYS_stat,
    fstat = const libc::SYS_fstat,
    gettid = const libc::SYS_gettid,
);
