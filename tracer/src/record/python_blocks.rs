//! Calls of CPython's allocators: what of them is an event, and what malloc's hooks recorded inside.
//!
//! The GIL is held from begin to end, so a block's address is not given to another thread before
//! its free is recorded, although that is done after the real call.

use core::cell::Cell;
use core::sync::atomic::Ordering;

use tftrace_format::{Domain, Event, Ticks};

use super::append;
use crate::arch::EntryRegisters;
use crate::capture;
use crate::process::switch::Switch;
use crate::python;
use crate::sampling;
use crate::thread::guard::{self, HookEntry};
use crate::thread::slot::ThreadSlot;

/// What `ThreadSlot::inside` holds during such a call.
pub(super) const INSIDE: u8 = Domain::Python as u8 + 1;

/// A call that was begun.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Call {
    /// Whether the thread was in the tracer then.
    seen: bool,
    /// When; `None` where a sample is recorded, as most calls end without a use for the time, and for calls
    /// that only allocate or only free.
    time: Option<Ticks>,
    /// Inside what it came.
    outer: u8,
}

impl Call {
    /// When the call was begun; later, but with the GIL held ever since, where that was not noted.
    #[inline(always)]
    fn begun(self, entry: &HookEntry) -> Ticks {
        self.time.unwrap_or_else(|| entry.process.clock.now())
    }
}

/// Begins a call: what malloc and mmap are asked for from now on is Python's.
#[inline(always)]
pub(crate) fn begin(sp: u64) -> Call {
    begin_at(sp, |_| None)
}

/// Begins a call that may take a block from the host before it gives it another one.
#[inline(always)]
pub(crate) fn begin_replacing(sp: u64) -> Call {
    begin_at(sp, |entry| Some(entry.process.clock.now()))
}

#[inline(always)]
fn begin_at(sp: u64, time: impl FnOnce(&HookEntry) -> Option<Ticks>) -> Call {
    if let Some(slot) = sampling::slot() {
        return Call { seen: true, time: None, outer: go_inside(slot) };
    }
    let Some(entry) = guard::enter(sp) else { return Call { seen: false, time: None, outer: 0 } };
    let outer = go_inside(entry.slot);
    Call { seen: true, time: time(&entry), outer }
}

/// Begins a call of a host of which only a sample is recorded.
#[inline(always)]
pub(crate) fn begin_sampled(slot: &ThreadSlot) -> Call {
    Call { seen: true, time: None, outer: go_inside(slot) }
}

/// Ends a call that gave this block to the host, if that is certainly not in the sample. False:
/// [`allocated_seldom`] is to be asked.
#[inline(always)]
pub(crate) fn leaves_out(
    slot: &ThreadSlot,
    sp: u64,
    call: Call,
    (address, size): (u64, u64),
) -> bool {
    slot.inside.store(call.outer, Ordering::Relaxed);
    address == 0
        || slot.inner_allocated.load(Ordering::Relaxed) == address
        || sampling::leaves_out(slot, sp, Domain::Python, size)
}

/// As [`leaves_out`], for a call that took the block from the host.
#[inline(always)]
pub(crate) fn lacks(slot: &ThreadSlot, call: Call, address: u64) -> bool {
    slot.inside.store(call.outer, Ordering::Relaxed);
    sampling::lacks(slot, Domain::Python, address)
}

/// [`allocated`], not part of what a hook needs nearly always.
#[cold]
#[inline(never)]
pub(crate) fn allocated_seldom(registers: EntryRegisters, call: Call, address: u64, size: u64) {
    append_if_recorded(registers, call, address, size);
}

/// [`freed`], not part of what a hook needs nearly always.
#[cold]
#[inline(never)]
pub(crate) fn freed_seldom(registers: EntryRegisters, call: Call, address: u64) {
    append_free_if_recorded(registers, call, address);
}

/// Gives inside what the thread was.
#[inline(always)]
fn go_inside(slot: &ThreadSlot) -> u8 {
    // Relaxed: only this thread uses these.
    let outer = slot.inside.load(Ordering::Relaxed);
    slot.inside.store(INSIDE, Ordering::Relaxed);
    slot.inner_allocated.store(0, Ordering::Relaxed);
    slot.inner_freed.store(0, Ordering::Relaxed);
    outer
}

/// The slot of the thread, if only a sample is recorded; the call that was begun is over.
#[inline(always)]
fn end_sampled(call: Call) -> Option<&'static ThreadSlot> {
    let slot = sampling::slot().filter(|_| call.seen)?;
    slot.inside.store(call.outer, Ordering::Relaxed);
    Some(slot)
}

/// Ends a call, if its beginning was seen.
#[inline(always)]
fn enter(sp: u64, call: Call) -> Option<HookEntry> {
    if !call.seen {
        return None;
    }
    let entry = guard::enter(sp)?;
    entry.slot.inside.store(call.outer, Ordering::Relaxed);
    Some(entry)
}

/// Ends a call that did nothing.
pub(crate) fn end(sp: u64, call: Call) {
    let _ = enter(sp, call);
}

/// A block came to life, if there is one.
#[inline(always)]
pub(crate) fn allocated(registers: EntryRegisters, call: Call, address: u64, size: u64) {
    if let Some(slot) = end_sampled(call)
        && address != 0
        && (slot.inner_allocated.load(Ordering::Relaxed) == address
            || sampling::leaves_out(slot, registers.sp, Domain::Python, size))
    {
        return;
    }
    append_if_recorded(registers, call, address, size);
}

#[inline(always)]
fn append_if_recorded(registers: EntryRegisters, call: Call, address: u64, size: u64) {
    if let Some(mut entry) = enter(registers.sp, call)
        && address != 0
        && Switch::is_on(&mut entry)
    {
        append_allocated(&mut entry, registers, address, size);
    }
}

/// A block died, if there was one.
#[inline(always)]
pub(crate) fn freed(registers: EntryRegisters, call: Call, address: u64) {
    append_free_if_recorded(registers, call, address);
}

#[inline(always)]
fn append_free_if_recorded(registers: EntryRegisters, call: Call, address: u64) {
    if let Some(mut entry) = enter(registers.sp, call)
        && address != 0
        && sampling::forgets(&entry, Domain::Python, address)
        && Switch::is_on(&mut entry)
    {
        // While Python shuts down the free is not later than what is noted about that.
        let noted = Cell::new(None);
        let process = entry.process;
        python::watch(&mut entry, || {
            noted.get().unwrap_or_else(|| {
                let now = process.clock.now();
                noted.set(Some(now));
                now
            })
        });
        append_freed(&mut entry, || noted.get(), address);
    }
}

/// A block took the place of another, if there was one.
#[inline(always)]
pub(crate) fn reallocated(registers: EntryRegisters, call: Call, old: u64, new: u64, size: u64) {
    if let Some(mut entry) = enter(registers.sp, call) {
        let sampled = old != 0 && sampling::forgets(&entry, Domain::Python, old);
        if !Switch::is_on(&mut entry) {
            return;
        }
        if sampled {
            let begun = call.begun(&entry);
            append_freed(&mut entry, || Some(begun), old);
        }
        append_allocated(&mut entry, registers, new, size);
    }
}

#[inline(always)]
fn append_allocated(entry: &mut HookEntry, registers: EntryRegisters, address: u64, size: u64) {
    if entry.slot.inner_allocated.load(Ordering::Relaxed) == address {
        return;
    }
    if !sampling::takes(entry, Domain::Python, address, size) {
        return;
    }
    let (stack, time) = capture::python_stack(entry, registers);
    let domain = Domain::Python;
    append(entry, &Event::Allocated { time, domain, address, size, stack, file_backed: false });
}

#[inline(always)]
fn append_freed(entry: &mut HookEntry, begun: impl FnOnce() -> Option<Ticks>, address: u64) {
    if entry.slot.inner_freed.load(Ordering::Relaxed) != address {
        super::append_freed(entry, Domain::Python, address, begun);
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
