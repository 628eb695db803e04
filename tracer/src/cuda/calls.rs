//! A call of one of CUDA's functions: the real one, and around it what is recorded.
//!
//! CUDA's libraries call one another: what happens inside a call that is recorded is a part of it. A
//! free is stamped before the real call, and recorded once that has succeeded.

use core::ffi::CStr;
use core::mem::transmute;

use tftrace_format::{CudaKind, CudaMemory, Domain, Frame};

use super::context::{self, Context, Ending, Which};
use super::functions::{Function, Meaning, Size};
use super::physical::{self, Use};
use super::sizes::value_at;
use super::{regions, unnamed};
use crate::arch::{AnyCall, StackArguments};
use crate::process;
use crate::record::{self, cuda};
use crate::tensorflow::Annotation;

/// `CUDA_ERROR_OUT_OF_MEMORY`, and the runtime's number for the same.
const OUT_OF_MEMORY: u32 = 2;
/// Handles are numbers of any size; an address in a trace has 48 bits.
const ADDRESS_MASK: u64 = (1 << 48) - 1;

/// A call, and where it goes.
#[derive(Clone, Copy)]
struct Forward<'a> {
    call: &'a AnyCall,
    meaning: Meaning,
    real: u64,
}

/// Makes the call. `real` is the real function.
pub(super) fn make(function: Function, real: u64, call: &AnyCall) -> u64 {
    let Some(meaning) = function.meaning() else { return super::NOT_FOUND };
    let forward = Forward { call, meaning, real };
    if let Meaning::Finds(has_version) = meaning {
        return forward.find(has_version);
    }
    if !cuda::begin(call.registers.sp) {
        return forward.make();
    }
    let result = forward.record();
    cuda::end(call.registers.sp);
    result
}

fn succeeded(result: u64) -> bool {
    result as u32 == 0
}

impl Forward<'_> {
    fn argument(&self, index: usize) -> u64 {
        self.call.arguments.get(index).copied().unwrap_or(0)
    }

    /// The real call.
    fn make(&self) -> u64 {
        type Registers = unsafe extern "C" fn(u64, u64, u64, u64, u64, u64) -> u64;
        type Stack = unsafe extern "C" fn(u64, u64, u64, u64, u64, u64, StackArguments) -> u64;
        let [a, b, c, d, e, f] = self.call.arguments;
        if self.meaning.has_stack_arguments() {
            // SAFETY: the C function of this name, whose arguments are these or fewer.
            let real = unsafe { transmute::<u64, Stack>(self.real) };
            // SAFETY: it has arguments on the stack.
            let on_stack = unsafe { self.call.on_stack() };
            // SAFETY: our caller promises what the real function asks for.
            return unsafe { real(a, b, c, d, e, f, on_stack) };
        }
        // SAFETY: as above.
        let real = unsafe { transmute::<u64, Registers>(self.real) };
        // SAFETY: as above.
        unsafe { real(a, b, c, d, e, f) }
    }

    fn record(&self) -> u64 {
        match self.meaning {
            Meaning::Allocates(kind, size) => self.allocate(kind, size),
            Meaning::Pins => self.pin(),
            Meaning::Frees(domain) => self.free(domain),
            Meaning::Creates => self.create(),
            Meaning::Retains => self.retain(),
            Meaning::Releases => self.release(),
            Meaning::Maps => self.map(),
            Meaning::Unmaps => self.unmap(),
            Meaning::CreatesContext => self.create_context(),
            Meaning::DestroysContext => {
                self.end_contexts(Which::Handle(self.argument(0)), |_| true)
            }
            Meaning::ResetsPrimary => {
                let device = self.argument(0) & 0xFFFF_FFFF;
                self.end_contexts(Which::Primary(device), |_| true)
            }
            Meaning::ReleasesPrimary => {
                let device = self.argument(0) & 0xFFFF_FFFF;
                let is_gone = |real| context::primary_is_active(real, device) == Some(false);
                self.end_contexts(Which::Primary(device), is_gone)
            }
            Meaning::ResetsCurrent => match context::current_handle(self.real) {
                0 => self.make(),
                handle => self.end_contexts(Which::Handle(handle), |_| true),
            },
            Meaning::Finds(_) => self.make(),
        }
    }

    fn memory(&self, kind: CudaKind) -> CudaMemory {
        let Context { number, device } = context::current(self.real);
        CudaMemory { kind, device, context: number }
    }

    fn allocate(&self, kind: CudaKind, size: Size) -> u64 {
        let result = self.make();
        if !succeeded(result) && result as u32 != OUT_OF_MEMORY {
            return result;
        }
        // SAFETY: the call succeeded, or there was nothing wrong with it but its size.
        let size = unsafe { size.bytes(self.call, succeeded(result)) };
        let memory = self.memory(kind);
        if !succeeded(result) {
            self.fail(memory, size, result as u32);
            return result;
        }
        // SAFETY: the address was just written there.
        let address = unsafe { value_at::<u64>(self.argument(0)) };
        if address != 0 {
            self.came_to_life(memory, address, size);
        }
        result
    }

    /// The domain in whose space the addresses of such memory are.
    fn space(kind: CudaKind) -> Domain {
        match kind {
            CudaKind::Device | CudaKind::Managed => Domain::Cuda,
            CudaKind::Pinned | CudaKind::Registered => Domain::CudaHost,
        }
    }

    fn came_to_life(&self, memory: CudaMemory, address: u64, size: u64) {
        let inside = cuda::inside(self.call.registers.sp);
        if inside == cuda::POOL {
            regions::add(address, size, Frame::Cuda(memory).to_wire());
        }
        self.appears(memory, inside, address, size);
    }

    fn appears(&self, memory: CudaMemory, inside: u8, address: u64, size: u64) {
        with_leaf(memory, inside, |leaf| {
            let block = cuda::Block { domain: Self::space(memory.kind), address, size };
            cuda::allocated(self.call.registers, block, memory, leaf);
        });
    }

    fn fail(&self, memory: CudaMemory, size: u64, error: u32) {
        with_leaf(memory, cuda::inside(self.call.registers.sp), |leaf| {
            let block = cuda::Block { domain: Self::space(memory.kind), address: 0, size };
            cuda::failed(self.call.registers, block, memory, leaf, error);
        });
    }

    fn pin(&self) -> u64 {
        let result = self.make();
        let [address, size, ..] = self.call.arguments;
        if succeeded(result) {
            let memory = self.memory(CudaKind::Registered);
            self.appears(memory, 0, address, size);
        }
        result
    }

    fn free(&self, domain: Domain) -> u64 {
        let address = self.argument(0);
        if address == 0 {
            // `cudaFree(0)` is how many programs create the context.
            return self.make();
        }
        let begun = record::reallocating(self.call.registers, domain, address);
        let result = self.make();
        if succeeded(result) {
            regions::remove(address);
            record::reallocated(self.call.registers, domain, begun, address, None);
        }
        result
    }

    fn create(&self) -> u64 {
        const ON_DEVICE: u32 = 1;
        let result = self.make();
        let [place, size, properties, ..] = self.call.arguments;
        if !succeeded(result) && result as u32 != OUT_OF_MEMORY {
            return result;
        }
        // `CUmemAllocationProp`: type, kinds of handles, then the location: type, number.
        // SAFETY: CUDA has read it.
        let [_, _, location, number] = unsafe { value_at::<[u32; 4]>(properties) };
        let (kind, device) = match location {
            ON_DEVICE => (CudaKind::Device, u16::try_from(number).ok()),
            _ => (CudaKind::Pinned, None),
        };
        // It is the process's, and of no context.
        let memory = CudaMemory { kind, device, context: 0 };
        if !succeeded(result) {
            self.fail(memory, size, result as u32);
            return result;
        }
        // SAFETY: the handle was just written there.
        let handle = unsafe { value_at::<u64>(place) };
        physical::created(handle);
        let inside = cuda::inside(self.call.registers.sp);
        with_leaf(memory, inside, |leaf| {
            let block = cuda::Block { domain: Domain::Cuda, address: handle & ADDRESS_MASK, size };
            cuda::allocated(self.call.registers, block, memory, leaf);
        });
        result
    }

    fn retain(&self) -> u64 {
        let result = self.make();
        if succeeded(result) {
            // SAFETY: the handle was just written there.
            physical::retained(unsafe { value_at::<u64>(self.argument(0)) });
        }
        result
    }

    fn release(&self) -> u64 {
        let handle = self.argument(0);
        let address = handle & ADDRESS_MASK;
        let begun = record::reallocating(self.call.registers, Domain::Cuda, address);
        let ended = physical::released(handle);
        let result = self.make();
        if !succeeded(result) {
            physical::not_released(handle, ended);
        } else if ended != Use::OneOfSeveral {
            record::reallocated(self.call.registers, Domain::Cuda, begun, address, None);
        }
        result
    }

    fn map(&self) -> u64 {
        let result = self.make();
        let [address, size, _, handle, ..] = self.call.arguments;
        if succeeded(result) {
            physical::mapped(address, size, handle);
            if cuda::inside(self.call.registers.sp) == cuda::POOL {
                let device = context::current(self.real).device;
                let memory = CudaMemory { kind: CudaKind::Device, device, context: 0 };
                regions::add(address, size, Frame::Cuda(memory).to_wire());
            }
        }
        result
    }

    fn unmap(&self) -> u64 {
        let [start, size, ..] = self.call.arguments;
        let begun = record::range_call(self.call.registers);
        physical::each_mapping(start, size, physical::unmapping);
        let result = self.make();
        if !succeeded(result) {
            physical::each_mapping(start, size, physical::not_unmapped);
            return result;
        }
        physical::each_mapping(start, size, |at| {
            regions::remove(at);
            if let Some(handle) = physical::unmapped(at) {
                let address = handle & ADDRESS_MASK;
                record::reallocated(self.call.registers, Domain::Cuda, begun, address, None);
            }
        });
        result
    }

    fn create_context(&self) -> u64 {
        let result = self.make();
        if succeeded(result) {
            // SAFETY: the context was just written there.
            context::created(unsafe { value_at::<u64>(self.argument(0)) }, self.real);
        }
        result
    }

    /// Contexts end by this call, if it succeeds and `are_gone` says so.
    fn end_contexts(&self, which: Which, are_gone: impl FnOnce(u64) -> bool) -> u64 {
        let ending = Ending::of(which);
        let begun = record::range_call(self.call.registers);
        let result = self.make();
        let are_gone = succeeded(result) && are_gone(self.real);
        if are_gone {
            for number in ending.numbers() {
                regions::remove_of_context(number);
                cuda::context_ended(self.call.registers, begun, number);
            }
        }
        ending.over(are_gone);
        result
    }

    /// Puts a function of ours in front of the one that was found.
    fn find(&self, has_version: bool) -> u64 {
        let result = self.make();
        let [name, place, version, ..] = self.call.arguments;
        if !succeeded(result) || name == 0 || place == 0 || process::stays_untraced() {
            return result;
        }
        let place = place as *mut u64;
        // SAFETY: the address was just written there.
        let found = unsafe { place.read() };
        // SAFETY: CUDA has read the name.
        let name = unsafe { CStr::from_ptr(name as *const _) };
        let version = if has_version { version & 0xFFFF_FFFF } else { 0 };
        if let Some(function) = Function::of_driver(name, version) {
            // SAFETY: as above.
            unsafe { place.write(unnamed::in_front_of(function, found)) };
        }
        result
    }
}

/// Says what stands below the frame of some memory: it is a pool's, or a tensor by itself.
fn with_leaf(memory: CudaMemory, inside: u8, call: impl FnOnce(cuda::Leaf<'_>)) {
    match inside {
        cuda::POOL => call(cuda::Leaf::Pool(memory.kind.domain())),
        cuda::TENSOR => {
            let op = Annotation::of_this_thread();
            call(op.as_ref().map_or(cuda::Leaf::None, cuda::Leaf::Op))
        }
        _ => call(cuda::Leaf::None),
    }
}
