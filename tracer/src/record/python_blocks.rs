//! Calls of CPython's allocators: what of them is an event, and what malloc's hooks recorded inside.
//!
//! The GIL is held from begin to end, so a block's address is not given to another thread before
//! its free is recorded, although that is done after the real call.

use core::sync::atomic::Ordering;

use tftrace_format::{Domain, Event, Ticks};

use super::{append, thread};
use crate::arch::EntryRegisters;
use crate::capture;
use crate::process::switch::Switch;
use crate::python;
use crate::thread::guard::{self, HookEntry};
use crate::thread::lane::End;
use crate::thread::slot::ThreadSlot;

/// What `ThreadSlot::inside` holds during such a call.
pub(super) const INSIDE: u8 = Domain::Python as u8 + 1;

/// A call that was begun.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Call {
    /// Inside what it came; `None`: it is not recorded.
    outer: Option<u8>,
}

/// A call that may free a block, and when it was begun.
#[derive(Clone, Copy, Debug)]
pub(crate) struct FreeingCall {
    call: Call,
    begun: Ticks,
}

/// Begins a call that frees no block: its time does not count.
#[inline(always)]
pub(crate) fn begin(sp: u64) -> Call {
    match guard::enter(sp) {
        Some(entry) => begin_in(&entry),
        None => Call { outer: None },
    }
}

/// Begins a call that may free a block.
#[inline(always)]
pub(crate) fn begin_freeing(sp: u64) -> FreeingCall {
    match guard::enter(sp) {
        Some(entry) => FreeingCall { call: begin_in(&entry), begun: entry.process.clock.now() },
        None => FreeingCall { call: Call { outer: None }, begun: Ticks(0) },
    }
}

/// What malloc and mmap are asked for from now on is Python's.
#[inline(always)]
fn begin_in(entry: &HookEntry) -> Call {
    let slot = entry.slot;
    // Relaxed: only this thread uses these.
    let outer = slot.inside.load(Ordering::Relaxed);
    slot.inside.store(INSIDE, Ordering::Relaxed);
    slot.inner_allocated.store(0, Ordering::Relaxed);
    slot.inner_freed.store(0, Ordering::Relaxed);
    Call { outer: Some(outer) }
}

/// Ends a call, if its beginning was seen.
#[inline(always)]
fn enter(sp: u64, call: Call) -> Option<HookEntry> {
    let outer = call.outer?;
    let entry = guard::enter(sp)?;
    entry.slot.inside.store(outer, Ordering::Relaxed);
    Some(entry)
}

/// Ends a call that did nothing.
pub(crate) fn end(sp: u64, call: FreeingCall) {
    let _ = enter(sp, call.call);
}

/// A block came to life, if there is one.
#[inline(always)]
pub(crate) fn allocated(registers: EntryRegisters, call: Call, address: u64, size: u64) {
    if let Some(mut entry) = enter(registers.sp, call)
        && address != 0
        && Switch::is_on(&mut entry)
    {
        append_allocated(&mut entry, registers, address, size);
    }
}

/// A block died, if there was one.
#[inline(always)]
pub(crate) fn freed(registers: EntryRegisters, call: FreeingCall, address: u64) {
    let FreeingCall { call, begun } = call;
    if let Some(mut entry) = enter(registers.sp, call)
        && address != 0
        && Switch::is_on(&mut entry)
    {
        python::watch(&mut entry, begun);
        append_freed(&mut entry, begun, address);
    }
}

/// A block took the place of another, if there was one.
#[inline(always)]
pub(crate) fn reallocated(
    registers: EntryRegisters,
    call: FreeingCall,
    old: u64,
    new: u64,
    size: u64,
) {
    let FreeingCall { call, begun } = call;
    if let Some(mut entry) = enter(registers.sp, call)
        && Switch::is_on(&mut entry)
    {
        if old != 0 {
            append_freed(&mut entry, begun, old);
        }
        append_allocated(&mut entry, registers, new, size);
    }
}

#[inline(always)]
fn append_allocated(entry: &mut HookEntry, registers: EntryRegisters, address: u64, size: u64) {
    if entry.slot.inner_allocated.load(Ordering::Relaxed) == address {
        return;
    }
    let (stack, time) = capture::python_stack(entry, registers);
    let domain = Domain::Python;
    append(entry, &Event::Allocated { time, domain, address, size, stack, file_backed: false });
}

#[inline(always)]
fn append_freed(entry: &mut HookEntry, begun: Ticks, address: u64) {
    if entry.slot.inner_freed.load(Ordering::Relaxed) != address {
        let (process, thread) = (entry.process, thread(entry));
        entry.lane().ended(process, thread, (Domain::Python, address), begun, End::Freed);
    }
}

/// Notes that malloc served the call this thread is in. Gives whether it is one of Python's.
#[inline(always)]
pub(super) fn note_allocated(slot: &ThreadSlot, address: u64) -> bool {
    let inside = slot.inside.load(Ordering::Relaxed) == INSIDE;
    if inside {
        slot.inner_allocated.store(address, Ordering::Relaxed);
    }
    inside
}

/// As [`note_allocated`], for a free.
#[inline(always)]
pub(super) fn note_freed(slot: &ThreadSlot, address: u64) {
    if slot.inside.load(Ordering::Relaxed) == INSIDE {
        slot.inner_freed.store(address, Ordering::Relaxed);
    }
}
