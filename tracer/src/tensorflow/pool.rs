//! Tensors inside TensorFlow's best-fit allocator, which cuts them out of large regions.
//!
//! Its virtual functions are exported: the vtable refers to them by name, and so to these. What it
//! takes from the allocator underneath, while it serves a call, are its regions.

use core::ffi::{CStr, c_void};
use core::mem::transmute;
use core::sync::atomic::{AtomicU64, Ordering};

use tftrace_format::Domain;

use super::{Annotation, framework};
use crate::arch::{EntryRegisters, entry_shim};
use crate::{cuda, record};

type Allocator = *mut c_void;
type Block = *mut c_void;

entry_shim!(
    /** `tsl::BFCAllocator::AllocateRaw(size_t, size_t, const AllocationAttributes&)`. */
    #[allow(non_snake_case, reason = "a mangled C++ name")]
    _ZN3tsl12BFCAllocator11AllocateRawEmmRKNS_20AllocationAttributesE => allocate_hook, args = 4
);
entry_shim!(
    /** `tsl::BFCAllocator::DeallocateRaw(void*)`. */
    #[allow(non_snake_case, reason = "a mangled C++ name")]
    _ZN3tsl12BFCAllocator13DeallocateRawEPv => deallocate_hook, args = 2
);

/// A function of a real allocator's, looked up at its first call.
pub(super) struct Real {
    name: &'static CStr,
    address: AtomicU64,
}

impl Real {
    pub(super) const fn new(name: &'static CStr) -> Self {
        Self { name, address: AtomicU64::new(0) }
    }

    /// Its address; 0 if there is none.
    pub(super) fn get(&self) -> u64 {
        match self.address.load(Ordering::Relaxed) {
            0 => {
                let found = framework::look_up(self.name);
                self.address.store(found, Ordering::Relaxed); // Every look-up finds the same.
                found
            }
            known => known,
        }
    }
}

static ALLOCATE: Real =
    Real::new(c"_ZN3tsl12BFCAllocator11AllocateRawEmmRKNS_20AllocationAttributesE");
static DEALLOCATE: Real = Real::new(c"_ZN3tsl12BFCAllocator13DeallocateRawEPv");

unsafe extern "C" fn allocate_hook(
    allocator: Allocator,
    align: usize,
    size: usize,
    attributes: *const c_void,
    sp: u64,
    bp: u64,
) -> Block {
    type Allocate = unsafe extern "C" fn(Allocator, usize, usize, *const c_void) -> Block;
    let real = ALLOCATE.get();
    if real == 0 {
        // Another library's allocator of the same name, which cannot be reached: it has no memory.
        return core::ptr::null_mut();
    }
    // SAFETY: the C++ function of this name.
    let real = unsafe { transmute::<u64, Allocate>(real) };
    let outer = record::enter_allocator(sp, Domain::TensorFlow);
    // SAFETY: TensorFlow promises what its own function asks for.
    let block = unsafe { real(allocator, align, size, attributes) };
    record::leave_allocator(sp, outer);
    let (registers, address) = (EntryRegisters { sp, bp }, block as u64);
    let op = Annotation::of_this_thread();
    if block.is_null() {
        // No tensor of no bytes has a block.
        if size != 0 {
            let frame = cuda::frame_of_allocator(allocator as u64);
            record::tensor_failed(registers, size as u64, frame, op.as_ref());
        }
    } else {
        if let Some(frame) = cuda::frame_at(address) {
            cuda::note_allocator(allocator as u64, frame);
        }
        record::tensor_allocated(registers, Domain::TensorFlow, address, size as u64, op.as_ref());
    }
    block
}

unsafe extern "C" fn deallocate_hook(allocator: Allocator, block: Block, sp: u64, bp: u64) {
    type Deallocate = unsafe extern "C" fn(Allocator, Block);
    if !block.is_null() {
        record::freed(EntryRegisters { sp, bp }, Domain::TensorFlow, block as u64);
    }
    let real = DEALLOCATE.get();
    if real != 0 {
        // SAFETY: the C++ function of this name.
        let real = unsafe { transmute::<u64, Deallocate>(real) };
        // SAFETY: TensorFlow promises what its own function asks for.
        unsafe { real(allocator, block) };
    }
}
