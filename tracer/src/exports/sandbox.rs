//! The calls by which a host forbids itself system calls: the tracer must be ready before.

use core::ffi::c_int;

use crate::arch::before_variadic;
use crate::process::sandbox;
use crate::real;

before_variadic!(/** Linux `prctl`. */ prctl => before_prctl);
before_variadic!(/** glibc `syscall`. */ syscall => before_syscall);

const SECCOMP_MODE_FILTER: u64 = 1;
const SECCOMP_FOR_ALL_THREADS: u64 = 1;

/// Gives the real function, which is called next with the same arguments.
extern "C" fn before_prctl(option: c_int, _mode: u64, _filter: u64) -> usize {
    if option == libc::PR_SET_SECCOMP {
        sandbox::begins(false);
    }
    real::prctl() as *const () as usize
}

/// The same.
extern "C" fn before_syscall(number: i64, operation: u64, flags: u64) -> usize {
    match number {
        // Strict mode is 0.
        libc::SYS_seccomp if operation <= SECCOMP_MODE_FILTER => {
            sandbox::begins(operation != 0 && flags & SECCOMP_FOR_ALL_THREADS != 0);
        }
        libc::SYS_prctl if operation == libc::PR_SET_SECCOMP as u64 => sandbox::begins(false),
        _ => {}
    }
    real::syscall() as *const () as usize
}
