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
use crate::process::Process;
use crate::process::switch::Switch;
use crate::python;
use crate::sampling;
use crate::thread::guard::{self, HookEntry};
use crate::thread::slot::ThreadSlot;

/// What `ThreadSlot::inside` holds during such a call.
const INSIDE: u8 = Domain::Python as u8 + 1;
/// What it holds while the interpreter maps a piece of its own stack.
const INSIDE_STACK: u8 = u8::MAX;

/// A call that was begun. Words only: bytes that the compiler packs into one word and reads as another one
/// would make each of these calls wait for its own stores.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Call {
    /// Inside what it came; [`UNSEEN`]: the thread was in the tracer then.
    outer: u64,
    /// When, in ticks; 0 where a sample is recorded, as most calls end without a use for the time, and for
    /// calls that only allocate or only free.
    time: u64,
    /// How far the next sample was.
    bytes_left: u64,
}

/// [`Call::outer`] of a call whose beginning was not seen.
const UNSEEN: u64 = u64::MAX;

impl Call {
    /// When the call was begun; later, but with the GIL held ever since, where that was not noted.
    #[inline(always)]
    fn begun(self, entry: &HookEntry) -> Ticks {
        match self.time {
            0 => entry.process().clock.now(),
            time => Ticks(time),
        }
    }

    /// Whether malloc gave the block that the call ends with: it was counted or recorded there. Where most
    /// blocks are not recorded `malloc` says no more of it than that the next sample came nearer; what the
    /// interpreter asks for beside the block, once for an arena, is taken for it as well.
    #[inline(always)]
    fn was_served_by_malloc(self, slot: &ThreadSlot, address: u64) -> bool {
        slot.inner_allocated.load(Ordering::Relaxed) == address
            || self.bytes_left != sampling::bytes_left()
    }
}

/// Begins a call: what malloc and mmap are asked for from now on is Python's.
#[inline(always)]
pub(crate) fn begin(sp: u64) -> Call {
    begin_at(sp, |_| 0)
}

/// Begins the mapping of a piece of the interpreter's own stack: it says nothing of who called.
#[inline(always)]
pub(crate) fn begin_stack(sp: u64) -> Call {
    let call = begin(sp);
    if call.outer != UNSEEN
        && let Some(entry) = guard::enter(sp)
    {
        entry.slot().inside.store(INSIDE_STACK, Ordering::Relaxed); // This thread's own.
    }
    call
}

/// Begins a call that gives the host a block in the place of another, neither of which is in the sample.
#[inline(always)]
pub(crate) fn begin_unsampled() -> Unsampled {
    Unsampled { left: sampling::bytes_left() }
}

/// A call that is not in the sample.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Unsampled {
    left: u64,
}

impl Unsampled {
    /// Ends the call, which gave such a block, or none.
    #[inline(always)]
    pub(crate) fn end(self, block: u64, size: u64) {
        // As in `Call::was_served_by_malloc`.
        if block != 0 && !self.was_counted() {
            sampling::pass(size);
        }
    }

    /// Whether a block was taken off the gap since.
    #[inline(always)]
    fn was_counted(self) -> bool {
        sampling::bytes_left() != self.left
    }
}

/// Whether `work`, which takes one block from an allocator of Python's and gives it back, has it from `malloc`.
pub(crate) fn is_served_by_malloc(work: impl FnOnce()) -> bool {
    // Far from the next sample, the block passes by in `malloc`, and nothing is recorded.
    sampling::far_from_sample(|| {
        let call = begin_unsampled();
        work();
        call.was_counted()
    })
}

/// Begins a call that may take a block from the host before it gives it another one.
#[inline(always)]
pub(crate) fn begin_replacing(sp: u64) -> Call {
    begin_at(sp, |process| match process.sampling {
        None => process.clock.now().0,
        Some(_) => 0,
    })
}

#[inline(always)]
fn begin_at(sp: u64, time: impl FnOnce(&Process) -> u64) -> Call {
    // A handler that comes meanwhile leaves what is noted here as it finds it.
    let (outer, process) = match guard::slot_from_outside() {
        Some(slot) => (go_inside(slot), slot.process),
        None => match guard::enter(sp) {
            Some(entry) => (go_inside(entry.slot()), entry.process()),
            None => return Call { outer: UNSEEN, time: 0, bytes_left: 0 },
        },
    };
    Call { outer: outer.into(), time: time(process), bytes_left: sampling::bytes_left() }
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

/// Ends a call, if its beginning was seen.
#[inline(always)]
fn enter(sp: u64, call: Call) -> Option<HookEntry> {
    if call.outer == UNSEEN {
        return None;
    }
    let entry = guard::enter(sp)?;
    entry.slot().inside.store(call.outer as u8, Ordering::Relaxed); // It came from there.
    Some(entry)
}

/// Ends a call of which nothing is to be recorded.
pub(crate) fn end(sp: u64, call: Call) {
    let _ = enter(sp, call);
}

/// A block came to life, if there is one.
#[inline(always)]
pub(crate) fn allocated(registers: EntryRegisters, call: Call, address: u64, size: u64) {
    if let Some(mut entry) = enter(registers.sp, call)
        && address != 0
        && Switch::is_on(&mut entry)
    {
        append_allocated(&mut entry, registers, call, address, size);
    }
}

/// Whether a block that is about to die was a temporary of this thread's, and is counted as one. False: nothing was
/// done, and the call is to be begun.
///
/// That it was recorded as one of Python's says that `malloc` did not give it.
#[inline(always)]
pub(crate) fn folds(sp: u64, address: u64) -> bool {
    if address == 0 {
        return false;
    }
    let Some(mut entry) = guard::enter(sp) else { return false };
    entry.process().sampling.is_none()
        && Switch::is_on(&mut entry)
        && !python::may_shut_down(&entry)
        && super::folds(&mut entry, Domain::Python, address)
}

/// A block died, if there was one.
#[inline(always)]
pub(crate) fn freed(registers: EntryRegisters, call: Call, address: u64) {
    if let Some(mut entry) = enter(registers.sp, call)
        && address != 0
        && sampling::forgets(&entry, Domain::Python, address)
        && Switch::is_on(&mut entry)
    {
        // While Python shuts down the free is not later than what is noted about that.
        let noted = Cell::new(None);
        let process = entry.process();
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
        append_allocated(&mut entry, registers, call, new, size);
    }
}

#[inline(always)]
fn append_allocated(
    entry: &mut HookEntry,
    registers: EntryRegisters,
    call: Call,
    address: u64,
    size: u64,
) {
    if call.was_served_by_malloc(entry.slot(), address)
        || !sampling::takes(entry, Domain::Python, address, size)
    {
        return;
    }
    let domain = Domain::Python;
    let time = super::time_of_allocation(entry.process(), domain, address);
    let (stack, look) = capture::look_at_python_stack(entry, registers, time);
    append(entry, &Event::Allocated { time, domain, address, size, stack, file_backed: false });
    look.ends(entry);
}

#[inline(always)]
fn append_freed(entry: &mut HookEntry, begun: impl FnOnce() -> Option<Ticks>, address: u64) {
    if entry.slot().inner_freed.load(Ordering::Relaxed) != address {
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

/// Whether this thread maps a piece of the interpreter's own stack.
#[inline(always)]
pub(super) fn is_stack(slot: &ThreadSlot) -> bool {
    slot.inside.load(Ordering::Relaxed) == INSIDE_STACK
}

/// As [`note_allocated`], for a free.
#[inline(always)]
pub(super) fn note_freed(slot: &ThreadSlot, address: u64) {
    if slot.inside.load(Ordering::Relaxed) == INSIDE {
        slot.inner_freed.store(address, Ordering::Relaxed);
    }
}
