//! What depends on the processor: registers at a hook's entry, thread-local words, system calls.

#[cfg(target_arch = "x86_64")]
mod any_call;
#[cfg(target_arch = "x86_64")]
mod old_libc;
#[cfg(target_arch = "x86_64")]
mod sampled_entry;
#[cfg(target_arch = "x86_64")]
mod x86_64;
#[cfg(target_arch = "x86_64")]
pub(crate) use any_call::*;
#[cfg(target_arch = "x86_64")]
pub(crate) use sampled_entry::*;
#[cfg(target_arch = "x86_64")]
pub(crate) use x86_64::*;

#[cfg(not(target_arch = "x86_64"))]
compile_error!(
    "tftrace traces x86-64 only; another architecture needs a module here and rules in capture/"
);
