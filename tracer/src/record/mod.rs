//! What a call means: which events it is, and in which order they are stamped.

pub(crate) mod cuda;
pub(crate) mod foreign;
pub(crate) mod python_blocks;
pub(crate) mod scheduled;

use core::sync::atomic::Ordering;

use tftrace_format::record::Record;
use tftrace_format::{Domain, Event, Frame, Ticks};

use crate::arch::EntryRegisters;
use crate::capture::{self, Look};
use crate::drain;
use crate::process::Process;
use crate::process::labels::Found;
use crate::process::switch::Switch;
use crate::python;
use crate::sampling;
use crate::tensorflow::{Annotation, op_table};
use crate::thread::guard::{self, HookEntry};
use crate::thread::lane::End;

/// The thread as pages name it: the tracer's number, and the kernel's.
#[inline(always)]
fn thread(entry: &HookEntry) -> (u32, u32) {
    let number = entry.slot().number.load(Ordering::Relaxed); // This thread's own.
    (number, entry.slot().tid.load(Ordering::Relaxed))
}

/// Enters the tracer, if events are recorded just now.
#[inline(always)]
fn enter_recording(sp: u64) -> Option<HookEntry> {
    let mut entry = guard::enter(sp)?;
    Switch::is_on(&mut entry).then_some(entry)
}

#[inline(always)]
fn append(entry: &mut HookEntry, event: &Event) {
    let (process, thread) = (entry.process(), thread(entry));
    entry.lane().append(process, thread, event);
}

/// A block came to life. To be called after the real call.
#[inline(always)]
pub(crate) fn allocated(registers: EntryRegisters, domain: Domain, address: u64, size: u64) {
    if let Some(mut entry) = enter_recording(registers.sp)
        && let Some(time) = append_allocated(&mut entry, registers, domain, address, size, false)
    {
        drain::after_allocation(&mut entry, time);
    }
}

/// Gives the time; `None`: the block is not in the sample.
#[inline(always)]
fn append_allocated(
    entry: &mut HookEntry,
    registers: EntryRegisters,
    domain: Domain,
    address: u64,
    size: u64,
    file_backed: bool,
) -> Option<Ticks> {
    let of_python = python_blocks::note_allocated(entry.slot(), address);
    if !sampling::takes(entry, domain, address, size) {
        return None;
    }
    let time = time_of_allocation(entry.process(), domain, address);
    let of_interpreter = python_blocks::is_stack(entry.slot());
    let (stack, look) = match of_interpreter {
        true => (None, Look::Nothing),
        false => capture::look_at_call_stack(entry, registers, time),
    };
    let stack = match of_python || of_interpreter {
        false => stack,
        true => {
            let leaf = match domain {
                // Its arenas.
                Domain::Mmap if of_python => Frame::Pool(Domain::Python),
                _ => Frame::For(Domain::Python),
            };
            capture::with_leaf(entry, time, stack, leaf.to_wire())
        }
    };
    append(entry, &Event::Allocated { time, domain, address, size, stack, file_backed });
    look.ends(entry);
    Some(time)
}

/// When a block came to life that the allocator has just given: after it was freed the last time, wherever that
/// was recorded.
#[inline(always)]
fn time_of_allocation(process: &Process, domain: Domain, address: u64) -> Ticks {
    match domain {
        // Frees of ranges leave no time.
        Domain::Mmap => process.clock.now(),
        // The processor may read this clock before it has the block; for an exact time it would wait for all
        // that malloc did.
        _ => {
            let (about, exact) = (process.clock.about_now(), || process.clock.now());
            process.foreign.later_than_free(domain, address, about, exact)
        }
    }
}

/// Says that this thread is inside the allocator of a domain; gives whose it was inside before.
#[inline(always)]
pub(crate) fn enter_allocator(sp: u64, domain: Domain) -> u8 {
    let inside = (domain as u8).wrapping_add(1);
    guard::enter(sp).map_or(0, |entry| entry.slot().inside.swap(inside, Ordering::Relaxed)) // Its own.
}

/// The thread is again where it was before `enter_allocator`.
#[inline(always)]
pub(crate) fn leave_allocator(sp: u64, before: u8) {
    if let Some(entry) = guard::enter(sp) {
        entry.slot().inside.store(before, Ordering::Relaxed); // This thread's own.
    }
}

/// TensorFlow allocated: a tensor, or inside its pool's allocator a region to cut tensors from. To
/// be called after the real call.
pub(crate) fn tensor_allocated(
    registers: EntryRegisters,
    domain: Domain,
    address: u64,
    size: u64,
    op: Option<&Annotation>,
) {
    let Some(mut entry) = enter_recording(registers.sp) else { return };
    if !sampling::takes(&mut entry, domain, address, size) {
        return;
    }
    let time = entry.process().clock.now();
    let stack = capture::call_stack(&mut entry, registers, time);
    let inside = entry.slot().inside.load(Ordering::Relaxed); // This thread's own.
    // Which memory its pool is, if it is CUDA's: the tensor counts as that.
    let stack = match domain {
        Domain::TensorFlow => match crate::cuda::frame_at(address) {
            Some(frame) => capture::with_leaf(&mut entry, time, stack, frame),
            None => stack,
        },
        _ => stack,
    };
    let leaf = match (domain, op) {
        (Domain::TensorFlow, None) => None,
        (Domain::TensorFlow, Some(op)) => Some(op_table::frame_of(&mut entry, time, op)),
        _ if inside != 0 => Some(Frame::Pool(Domain::TensorFlow).to_wire()),
        (_, Some(op)) => Some(op_table::frame_of(&mut entry, time, op)),
        (_, None) => Some(Frame::For(Domain::TensorFlow).to_wire()),
    };
    let stack = match leaf {
        Some(leaf) => capture::with_leaf(&mut entry, time, stack, leaf),
        None => stack,
    };
    append(
        &mut entry,
        &Event::Allocated { time, domain, address, size, stack, file_backed: false },
    );
    if domain == Domain::Malloc {
        drain::after_allocation(&mut entry, time);
    }
}

/// A pool of TensorFlow's had no room for a tensor; `frame` says which memory it is of, if it is CUDA's.
pub(crate) fn tensor_failed(
    registers: EntryRegisters,
    size: u64,
    frame: Option<u64>,
    op: Option<&Annotation>,
) {
    let Some(mut entry) = enter_recording(registers.sp) else { return };
    let time = entry.process().clock.now();
    let mut stack = capture::call_stack(&mut entry, registers, time);
    let op = op.map(|op| op_table::frame_of(&mut entry, time, op));
    for leaf in [frame, op].into_iter().flatten() {
        stack = capture::with_leaf(&mut entry, time, stack, leaf);
    }
    let domain = Domain::TensorFlow;
    append(&mut entry, &Event::Failed { time, domain, size, stack, error: 0 });
}

/// A block is about to die. To be called before the real call.
#[inline(always)]
pub(crate) fn freed(registers: EntryRegisters, domain: Domain, address: u64) {
    if let Some(mut entry) = guard::enter(registers.sp) {
        // Objects are unloaded while nothing is recorded, too.
        capture::objects::note_free(&entry, registers, address);
        python_blocks::note_freed(entry.slot(), address);
        // So are sampled blocks forgotten: another one may get the address.
        if !sampling::forgets(&entry, domain, address) || !Switch::is_on(&mut entry) {
            return;
        }
        // Of a sample these may be the first to die while Python shuts down, and Python's own the last.
        let process = entry.process();
        if process.sampling.is_some() {
            python::watch(&mut entry, || process.clock.now());
        }
        append_freed(&mut entry, domain, address, || None);
    }
}

/// Folds a free with its allocation, or records it at `begun`; where that is not given, now.
#[inline(always)]
fn append_freed(
    entry: &mut HookEntry,
    domain: Domain,
    address: u64,
    begun: impl FnOnce() -> Option<Ticks>,
) {
    if !folds(entry, domain, address) {
        let (process, thread) = (entry.process(), thread(entry));
        let time = begun().unwrap_or_else(|| process.clock.now());
        entry.lane().ended(process, thread, (domain, address), time);
    }
}

/// Folds a free with its allocation, if the block was a temporary of this thread's.
#[inline(always)]
fn folds(entry: &mut HookEntry, domain: Domain, address: u64) -> bool {
    let (process, thread) = (entry.process(), thread(entry));
    // How long the block lived need not be known to the nanosecond, and the exact time costs twice as much.
    let now = process.clock.about_now();
    entry.lane().folds(process, thread, (domain, address), now, End::Freed)
}

/// When something that may still fail was begun. `None`: its success would not be recorded.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Begun(Option<Ticks>);

/// A block may be about to die (`realloc`). To be called before the real call.
#[inline(always)]
pub(crate) fn reallocating(registers: EntryRegisters, domain: Domain, address: u64) -> Begun {
    let Some(mut entry) = guard::enter(registers.sp) else { return Begun(None) };
    if !sampling::forgets(&entry, domain, address) || !Switch::is_on(&mut entry) {
        return Begun(None);
    }
    let (process, time) = (entry.process(), entry.process().clock.now());
    entry.lane().announce_resized(process, domain, address, time);
    Begun(Some(time))
}

/// `realloc` failed: the block that was begun with lives on.
#[cold]
pub(crate) fn not_reallocated(
    registers: EntryRegisters,
    domain: Domain,
    begun: Begun,
    address: u64,
) {
    if begun.0.is_some()
        && let Some(entry) = guard::enter(registers.sp)
    {
        sampling::remember_again(&entry, domain, address);
    }
}

/// `realloc` succeeded: the old block died when it was begun, the new one lives now, if there is one.
#[inline(always)]
pub(crate) fn reallocated(
    registers: EntryRegisters,
    domain: Domain,
    begun: Begun,
    old: u64,
    new: Option<(u64, u64)>,
) {
    let Some(mut entry) = enter_recording(registers.sp) else { return };
    python_blocks::note_freed(entry.slot(), old);
    if let Begun(Some(time)) = begun {
        let (process, thread) = (entry.process(), thread(&entry));
        let block = (domain, old);
        if !entry.lane().folds(process, thread, block, time, End::Resized) {
            entry.lane().ended(process, thread, block, time);
        }
    }
    if let Some((address, size)) = new {
        append_allocated(&mut entry, registers, domain, address, size, false);
    }
}

/// A call on a range may be about to succeed (`munmap`, `mremap`). To be called before it.
#[inline(always)]
pub(crate) fn range_call(registers: EntryRegisters) -> Begun {
    Begun(enter_recording(registers.sp).map(|entry| entry.process().clock.now()))
}

/// A range died when the call was begun.
#[inline(always)]
pub(crate) fn range_freed(registers: EntryRegisters, begun: Begun, address: u64, size: u64) {
    if let Begun(Some(time)) = begun
        && let Some(mut entry) = enter_recording(registers.sp)
    {
        append(&mut entry, &Event::RangeFreed { time, domain: Domain::Mmap, address, size });
    }
}

/// A range came to life. To be called after the real call.
#[inline(always)]
pub(crate) fn range_mapped(registers: EntryRegisters, address: u64, size: u64, file_backed: bool) {
    if let Some(mut entry) = enter_recording(registers.sp) {
        append_allocated(&mut entry, registers, Domain::Mmap, address, size, file_backed);
    }
}

/// A point in time is marked with this name. `None`: there are too many names.
pub(crate) fn mark(entry: &mut HookEntry, text: &[u8]) -> Option<()> {
    let process = entry.process();
    let label = match process.labels.find(text)? {
        Found::Known(label) => label,
        Found::New(id) => {
            let now = process.clock.now();
            let write = || process.log.record(&process.spool, now, &Record::Label { id, text });
            if entry.nested() {
                write()
            } else {
                entry.slot().on_own_stack(write)
            }
            id
        }
    };
    if Switch::is_on(entry) {
        let time = process.clock.now();
        append(entry, &Event::Marked { time, label });
    }
    Some(())
}
