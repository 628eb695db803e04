//! Memory of CUDA's: what a call means as events, and which call of several inside one another counts.

use core::sync::atomic::Ordering;

use tftrace_format::{CudaMemory, Domain, Event, Frame, StackId, Ticks};

use super::{Begun, append, enter_recording};
use crate::arch::EntryRegisters;
use crate::capture;
use crate::drain;
use crate::tensorflow::{Annotation, op_table};
use crate::thread::guard::{self, HookEntry};

/// What [`inside`] says inside TensorFlow's best-fit allocator: what is allocated is its pool's.
pub(crate) const POOL: u8 = Domain::TensorFlow as u8 + 1;
/// And inside its allocator that asks CUDA for every tensor.
pub(crate) const TENSOR: u8 = 0x40;

/// Memory that comes to life, or was to.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Block {
    pub(crate) domain: Domain,
    pub(crate) address: u64,
    pub(crate) size: u64,
}

/// What stands below the frame that says which memory it is.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Leaf<'a> {
    None,
    Pool(Domain),
    Op(&'a Annotation),
}

/// Begins a call. False: it is not recorded, because the process is not, or because it is a part of
/// another: layers of CUDA call one another.
///
/// A jump out of a call leaves no end. So what counts is where it stood on the stack: a call that
/// stands above it is none that it made.
pub(crate) fn begin(sp: u64) -> bool {
    let Some(entry) = guard::enter(sp) else { return false };
    let outer = entry.slot().cuda_sp.load(Ordering::Relaxed); // This thread's own.
    if outer.wrapping_sub(sp).wrapping_sub(1) < entry.process().stack_reach {
        return false;
    }
    entry.slot().cuda_sp.store(sp, Ordering::Relaxed);
    true
}

/// Ends a call that was begun.
pub(crate) fn end(sp: u64) {
    if let Some(entry) = guard::enter(sp) {
        entry.slot().cuda_sp.store(0, Ordering::Relaxed); // This thread's own.
    }
}

/// Inside whose allocator this thread is.
pub(crate) fn inside(sp: u64) -> u8 {
    guard::enter(sp).map_or(0, |entry| entry.slot().inside.load(Ordering::Relaxed)) // Its own.
}

/// Says that what this thread asks CUDA for is a tensor; gives inside what it was before, for
/// [`super::leave_allocator`].
pub(crate) fn enter_tensor_allocator(sp: u64) -> u8 {
    guard::enter(sp).map_or(0, |entry| entry.slot().inside.swap(TENSOR, Ordering::Relaxed)) // Its own.
}

fn stack_of(
    entry: &mut HookEntry,
    registers: EntryRegisters,
    memory: CudaMemory,
    leaf: Leaf<'_>,
) -> (Option<StackId>, Ticks) {
    let time = entry.process().clock.now();
    let stack = capture::call_stack(entry, registers, time);
    let stack = capture::with_leaf(entry, time, stack, Frame::Cuda(memory).to_wire());
    let leaf = match leaf {
        Leaf::None => return (stack, time),
        Leaf::Pool(domain) => Frame::Pool(domain).to_wire(),
        Leaf::Op(op) => op_table::frame_of(entry, time, op),
    };
    (capture::with_leaf(entry, time, stack, leaf), time)
}

/// Memory came to life. To be called after the real call.
pub(crate) fn allocated(
    registers: EntryRegisters,
    block: Block,
    memory: CudaMemory,
    leaf: Leaf<'_>,
) {
    let Some(mut entry) = enter_recording(registers.sp) else { return };
    let (stack, time) = stack_of(&mut entry, registers, memory, leaf);
    let Block { domain, address, size } = block;
    let event = Event::Allocated { time, domain, address, size, stack, file_backed: false };
    append(&mut entry, &event);
    drain::after_allocation(&mut entry, time);
}

/// There was not enough of it.
pub(crate) fn failed(
    registers: EntryRegisters,
    block: Block,
    memory: CudaMemory,
    leaf: Leaf<'_>,
    error: u32,
) {
    let Some(mut entry) = enter_recording(registers.sp) else { return };
    let (stack, time) = stack_of(&mut entry, registers, memory, leaf);
    let Block { domain, size, .. } = block;
    append(&mut entry, &Event::Failed { time, domain, size, stack, error });
}

/// A context ended when the call was begun, and all that lived in it.
pub(crate) fn context_ended(registers: EntryRegisters, begun: Begun, context: u32) {
    if let Begun(Some(time)) = begun
        && let Some(mut entry) = enter_recording(registers.sp)
    {
        append(&mut entry, &Event::ContextEnded { time, context });
    }
}
