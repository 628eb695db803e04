//! The `backtrace` crate as the unwinder: the oracle of the self-check, or where it is asked for.
//!
//! It takes the loader's lock and some microseconds a frame; the incremental unwinder does neither.

use tftrace_format::{Frame, StackId};

use super::cfi;
use super::objects::NO_MAPPING;
use crate::arch::EntryRegisters;
use crate::process::Process;
use crate::stack_table::stack_id;
use crate::thread::guard::HookEntry;

/// The frames from the hook's caller to the root, as the `backtrace` crate sees them.
///
/// A frame is the address it gives, which for a frame that a signal interrupted is no return
/// address. Frames of the tracer itself, before the hook's caller, are left out.
pub(super) fn frames(entry: &mut HookEntry, registers: EntryRegisters, mut each: impl FnMut(u64)) {
    // SAFETY: the hook was entered by a call, so its return address stands at `sp`.
    let caller = unsafe { (registers.sp as *const u64).read() };
    entry.muted(|| {
        let mut begun = false;
        // SAFETY: the crate's own lock is not needed: this uses no symbol look-up, only libgcc's
        // unwinder, which has its own.
        unsafe {
            backtrace::trace_unsynchronized(|frame| {
                let address = frame.ip() as u64;
                begun = begun || address == caller;
                if begun {
                    each(address);
                }
                true
            });
        }
    });
}

/// The stack of the caller, by the `backtrace` crate.
#[cold]
pub(super) fn call_stack(entry: &mut HookEntry, registers: EntryRegisters) -> Option<StackId> {
    const MOST: usize = 1024;
    let process = entry.process();
    let mut addresses = [0u64; MOST];
    let mut count = 0;
    frames(entry, registers, |address| {
        if let Some(place) = addresses.get_mut(count) {
            *place = address;
            count += 1;
        }
    });
    let now = process.clock.now();
    let mut parent = 0;
    for address in addresses.iter().take(count).rev().filter(|address| **address != 0) {
        let frame = frame_of(entry, process, *address);
        parent = super::node(entry, now, parent, frame.to_wire())?;
    }
    stack_id((parent != 0).then_some(parent))
}

fn frame_of(entry: &HookEntry, process: &Process, address: u64) -> Frame {
    let rule = process.rules.find(address).unwrap_or_else(|| {
        // Only the object is of interest.
        if entry.nested() {
            return super::rule::Rule { step: super::rule::Step::Unknown, mapping: NO_MAPPING };
        }
        let rule = entry.slot().on_own_stack(|| cfi::evaluate(process, address, false));
        process.rules.insert(address, rule);
        rule
    });
    if rule.mapping == NO_MAPPING {
        return Frame::Raw { address };
    }
    let offset = address.wrapping_sub(process.objects.start_of(rule.mapping));
    Frame::Native { mapping: tftrace_format::MappingId(rule.mapping), offset }
}
