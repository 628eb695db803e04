//! TensorFlow's allocator that asks CUDA for every tensor (`TF_GPU_ALLOCATOR=cuda_malloc_async`).
//!
//! CUDA's functions are recorded by themselves; here is said that what they give is a tensor.

use core::ffi::c_void;
use core::mem::transmute;

use super::pool::Real;
use crate::arch::entry_shim;
use crate::record;

type Allocator = *mut c_void;

entry_shim!(
    /** `stream_executor::GpuCudaMallocAsyncAllocator::AllocateRaw(size_t, size_t)`. */
    #[allow(non_snake_case, reason = "a mangled C++ name")]
    _ZN15stream_executor27GpuCudaMallocAsyncAllocator11AllocateRawEmm => allocate_hook, args = 3
);

static ALLOCATE: Real =
    Real::new(c"_ZN15stream_executor27GpuCudaMallocAsyncAllocator11AllocateRawEmm");

unsafe extern "C" fn allocate_hook(
    allocator: Allocator,
    align: usize,
    size: usize,
    sp: u64,
    _bp: u64,
) -> *mut c_void {
    type Allocate = unsafe extern "C" fn(Allocator, usize, usize) -> *mut c_void;
    let real = ALLOCATE.get();
    if real == 0 {
        // Another library's allocator of the same name, which cannot be reached: it has no memory.
        return core::ptr::null_mut();
    }
    // SAFETY: the C++ function of this name.
    let real = unsafe { transmute::<u64, Allocate>(real) };
    let outer = record::cuda::enter_tensor_allocator(sp);
    // SAFETY: TensorFlow promises what its own function asks for.
    let block = unsafe { real(allocator, align, size) };
    record::leave_allocator(sp, outer);
    block
}
