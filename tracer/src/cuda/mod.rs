//! CUDA in the host: the functions by which memory of devices and pinned memory come and go, on every
//! road by which a program gets at them.
//!
//! A linked symbol leads to ours of the same name; `dlsym`, `cuGetProcAddress` and
//! `cudaGetDriverEntryPoint` give out one of ours in front of what they found. Never loads CUDA, and
//! never says that it is there.

mod behind;
mod calls;
mod context;
mod dynamic_symbols;
mod functions;
mod physical;
mod regions;
mod sizes;
mod unnamed;

use functions::Function;

use crate::arch::AnyCall;

pub(crate) use behind::{in_library, real_of};
pub(crate) use regions::{frame_at, frame_of_allocator, note_allocator};

/// `CUDA_ERROR_NOT_FOUND`, and `cudaErrorSymbolNotFound`: what a program is told that calls a function
/// which nobody but us has.
const NOT_FOUND: u64 = 500;

/// Where every function that we export or give out goes.
///
/// # Safety
/// The call has the arguments that the function of this number asks for.
pub(crate) unsafe extern "C" fn called(call: *const AnyCall, number: u32) -> u64 {
    // SAFETY: the entry passes a pointer to its own stack.
    let call = unsafe { &*call };
    let found = unnamed::behind(number).or_else(|| {
        let function = Function::numbered(number)?;
        Some((function, behind::real(function, call.caller())))
    });
    match found {
        Some((function, real)) if real != 0 => calls::make(function, real, call),
        _ => NOT_FOUND,
    }
}
