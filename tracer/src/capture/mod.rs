//! Who called: the stack of the thread, as the id of a node of the stack tree.
//!
//! Incremental and verified: what is left of the last stack is found first, then unwinding goes
//! from the leaf only until it meets it. The rules come from `.eh_frame`, once per address.

mod cfi;
mod elf_image;
pub(crate) mod kept_stack;
pub(crate) mod objects;
pub(crate) mod rule;
pub(crate) mod rule_table;
mod self_check;
mod slow_unwinder;
pub(crate) mod stack_cache;
mod stack_range;
mod unwind;

use tftrace_format::counters::Counter;
use tftrace_format::{Frame, StackId, Ticks};

use crate::arch::EntryRegisters;
use crate::process::Process;
use crate::real;
use crate::stack_table::{hash, stack_id};
use crate::thread::guard::HookEntry;
use kept_stack::KeptFrame;
use objects::NO_MAPPING;

/// The stack of the caller whose registers these are. `None`: the stack table is full.
#[inline(always)]
pub(crate) fn call_stack(entry: &mut HookEntry, registers: EntryRegisters) -> Option<StackId> {
    let process = entry.process;
    if process.settings.slow_unwinder || !real::can_find_objects() {
        return slow_unwinder::call_stack(entry, registers);
    }
    let ended_well = unwind::update(entry, registers);
    let now = process.clock.now();
    let stack = intern(entry, now, ended_well);
    if process.settings.check_unwind != 0 {
        self_check::every_so_often(entry, registers);
    }
    stack_id(stack)
}

/// The frame of the tree for a frame of the stack.
fn tree_frame(process: &Process, frame: &KeptFrame) -> u64 {
    // The reader looks one byte before a return address, to find the call. What a signal
    // interrupted is no return address: one byte on makes up for it.
    let address = frame.address.wrapping_add(u64::from(frame.interrupted));
    let wire = if frame.mapping == NO_MAPPING {
        Frame::Raw { address }
    } else {
        let offset = address.wrapping_sub(process.objects.start_of(frame.mapping));
        Frame::Native { mapping: tftrace_format::MappingId(frame.mapping), offset }
    };
    wire.to_wire()
}

/// Finds or makes the node of a frame below a parent (0 = none).
#[inline(always)]
fn node(entry: &mut HookEntry, now: Ticks, parent: u32, frame: u64) -> Option<u32> {
    let process = entry.process;
    let wanted = (parent, frame, hash(parent, frame));
    let cache = &mut entry.lane().stacks;
    if let Some(known) = cache.find(wanted) {
        return Some(known);
    }
    let found = process.stacks.intern(&process.spool, now, wanted)?;
    cache.remember(wanted, found);
    Some(found)
}

/// Finds or makes the node of the kept stack.
#[inline(always)]
fn intern(entry: &mut HookEntry, now: Ticks, ended_well: bool) -> Option<u32> {
    let process = entry.process;
    let kept = &mut entry.lane().kept;
    let depth = usize::from(process.settings.depth);
    let len = kept.len();
    if !ended_well {
        process.spool.count(Counter::StacksCutShort, 1);
        kept.set_cut(true);
    }
    let whole = if len <= depth { len } else { depth - depth / 4 };
    let mut parent = 0;
    let mut index = kept.interned().min(whole);
    if let Some(last) = index.checked_sub(1) {
        parent = kept.get(last)?.stack;
    } else if kept.is_cut() {
        parent = node(entry, now, 0, Frame::Unknown.to_wire())?;
    }
    while index < whole {
        let frame = tree_frame(process, entry.lane().kept.get(index)?);
        parent = node(entry, now, parent, frame)?;
        let kept = &mut entry.lane().kept;
        kept.get_mut(index)?.stack = parent;
        index += 1;
        kept.set_interned(index);
    }
    if len > depth {
        parent = node(entry, now, parent, Frame::Truncated.to_wire())?;
        for index in len - depth / 4..len {
            let frame = tree_frame(process, entry.lane().kept.get(index)?);
            parent = node(entry, now, parent, frame)?;
        }
    }
    (len > 0).then_some(parent)
}
