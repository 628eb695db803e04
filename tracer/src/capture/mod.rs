//! Who called: the stack of the thread, as the id of a node of the stack tree.
//!
//! Incremental and verified: what is left of the last stack is found first, then unwinding goes
//! from the leaf only until it meets it. The rules come from `.eh_frame`, once per address.

mod cfi;
#[cfg(test)]
mod cfi_comparison;
mod eh_frame;
pub(crate) mod elf_image;
pub(crate) mod elf_symbols;
mod kept_frame;
pub(crate) mod kept_stack;
pub(crate) mod loader_list;
pub(crate) mod objects;
mod packed_rule;
mod rare_rules;
pub(crate) mod rule;
pub(crate) mod rule_cache;
pub(crate) mod rule_table;
mod self_check;
mod slow_unwinder;
mod stack_range;
mod stack_words;
pub(crate) mod table_views;
mod unwind;

use tftrace_format::counters::Counter;
use tftrace_format::{Frame, StackId, Ticks};

use crate::arch::EntryRegisters;
use crate::process::Process;
use crate::python;
use crate::stack_table::{Wanted, stack_id};
use crate::thread::guard::HookEntry;
use crate::thread::lane::Lane;
use kept_frame::KeptFrame;
use objects::NO_MAPPING;
use unwind::Updated;

/// A look at the stack, which its hook ends as late as it can: no frame of the host's runs until then, and from the time
/// since the end of a look follows how many frames can have run.
///
/// After one that was not ended, the next one only takes longer.
#[derive(Debug)]
pub(crate) enum Look {
    /// At Python's frames.
    Python,
    /// At all frames.
    All,
    /// At nothing that is kept.
    Nothing,
}

impl Look {
    /// Nothing of the host's has run since it began.
    #[inline(always)]
    pub(crate) fn ends(self, entry: &mut HookEntry) {
        let process = entry.process();
        let lane = entry.lane();
        match self {
            Self::Python => lane.python.end_look(&process.clock),
            Self::All => {
                lane.python.end_look(&process.clock);
                lane.kept.end_look(lane.python.whole_look());
            }
            Self::Nothing => {}
        }
    }
}

/// The stack of the caller whose registers these are. `None`: the stack table is full.
/// `now` is when what is new of it was first seen.
#[inline(always)]
pub(crate) fn call_stack(
    entry: &mut HookEntry,
    registers: EntryRegisters,
    now: Ticks,
) -> Option<StackId> {
    let (stack, look) = look_at_call_stack(entry, registers, now);
    look.ends(entry);
    stack
}

/// As [`call_stack`], for who ends the look.
#[inline(always)]
pub(crate) fn look_at_call_stack(
    entry: &mut HookEntry,
    registers: EntryRegisters,
    now: Ticks,
) -> (Option<StackId>, Look) {
    let process = entry.process();
    if process.settings.slow_unwinder {
        return (slow_unwinder::call_stack(entry, registers), Look::Nothing);
    }
    let mut updated = unwind::update(entry, registers, now);
    python::update(entry, now);
    let lane = entry.lane();
    if lane.kept.unseen() > lane.python.stayed() {
        updated = compare_all(entry, registers, now);
    }
    let stack = intern(entry, now, updated);
    if process.settings.check_unwind != 0 {
        self_check::every_so_often(entry, registers);
    }
    (stack_id(stack), Look::All)
}

/// Python frames changed that had no time to: another stack was put in place of this one, with their native frames.
#[cold]
fn compare_all(entry: &mut HookEntry, registers: EntryRegisters, now: Ticks) -> Updated {
    entry.lane().kept.distrust();
    unwind::update(entry, registers, now)
}

/// The Python functions of the stack alone; where there are none, the whole stack. `now` as in [`call_stack`], and the
/// caller ends the look.
///
/// Python's blocks come millions of times: what called the interpreter, and what in it allocated,
/// would cost more than it says.
#[inline(always)]
pub(crate) fn look_at_python_stack(
    entry: &mut HookEntry,
    registers: EntryRegisters,
    now: Ticks,
) -> (Option<StackId>, Look) {
    let process = entry.process();
    python::update_without_loops(entry, now);
    if process.settings.check_unwind != 0 {
        self_check::python_every_so_often(entry);
    }
    let kept = &entry.lane().python;
    let len = kept.len();
    if len == 0 || len > usize::from(process.settings.depth) {
        return look_at_call_stack(entry, registers, now);
    }
    (stack_id(intern_python(entry, now)), Look::Python)
}

/// Finds or makes the node of the kept Python frames alone.
#[inline(always)]
fn intern_python(entry: &mut HookEntry, now: Ticks) -> Option<u32> {
    let kept = &entry.lane().python;
    let mut index = kept.alone();
    let before = index.checked_sub(1).and_then(|last| kept.get(last));
    let mut stack = before.map_or(0, |frame| frame.alone);
    while let Some(wire) = entry.lane().python.get(index).map(|frame| frame.wire) {
        stack = node(entry, now, stack, wire)?;
        entry.lane().python.set_alone(index, stack);
        index += 1;
    }
    Some(stack)
}

/// The stack with one more frame at its leaf, which says what the block is for.
#[inline(always)]
pub(crate) fn with_leaf(
    entry: &mut HookEntry,
    now: Ticks,
    stack: Option<StackId>,
    leaf: u64,
) -> Option<StackId> {
    stack_id(node(entry, now, StackId::to_wire(stack), leaf))
}

/// The frame of the tree for a frame of the stack.
fn tree_frame(process: &Process, frame: &KeptFrame) -> u64 {
    // The reader looks one byte before a return address, to find the call. What a signal
    // interrupted is no return address: one byte on makes up for it.
    let address = frame.address.wrapping_add(u64::from(frame.is_interrupted()));
    let wire = if frame.mapping == NO_MAPPING {
        Frame::Raw { address }
    } else {
        let offset = address.wrapping_sub(process.objects.start_of(frame.mapping));
        Frame::Native { mapping: tftrace_format::MappingId(frame.mapping), offset }
    };
    wire.to_wire()
}

/// Finds or makes the node of a frame below a parent, 0 = the root of the tree.
#[inline(always)]
fn node(entry: &mut HookEntry, now: Ticks, parent: u32, frame: u64) -> Option<u32> {
    let process = entry.process();
    let node = Wanted::new(parent, frame);
    let last = &mut entry.lane().last_node;
    *last = if process.stacks.is_behind(*last, &node) {
        last.wrapping_add(1)
    } else {
        let id = process.stacks.intern(&process.spool, now, &node)?;
        process.stacks.fetch_behind(id);
        id
    };
    Some(*last)
}

/// Finds or makes the node of the kept stack, Python frames above the native ones that run them.
#[inline(always)]
fn intern(entry: &mut HookEntry, now: Ticks, updated: Updated) -> Option<u32> {
    python::find_loops(entry);
    if updated == Updated::Same
        && let Some(known) = known_node(entry)
    {
        return Some(known);
    }
    if updated == Updated::CutShort {
        entry.process().spool.count(Counter::StacksCutShort, 1);
        entry.lane().kept.set_cut(true);
    }
    intern_anew(entry, now)
}

/// The node of the kept stack, if neither its native frames nor its Python frames have changed since
/// it was found.
#[inline(always)]
fn known_node(entry: &mut HookEntry) -> Option<u32> {
    let depth = usize::from(entry.process().settings.depth);
    let lane = entry.lane();
    let (len, python) = (lane.kept.len(), lane.python.len());
    let leaf = lane.kept.get(len.checked_sub(1)?)?;
    let is_known = lane.kept.interned() == len
        && lane.python.stayed() == python
        && leaf.python as usize == python
        && len <= depth
        && python <= depth;
    is_known.then_some(leaf.stack)
}

#[inline(never)]
fn intern_anew(entry: &mut HookEntry, now: Ticks) -> Option<u32> {
    let depth = usize::from(entry.process().settings.depth);
    let lane = entry.lane();
    let python_stays = lane.python.take_stayed();
    if lane.python.len() > depth {
        // Which frames are left out depends on how many there are.
        lane.kept.set_interned(0);
    }
    keep_interned(lane, python_stays);
    let kept = &lane.kept;
    let len = kept.len();
    let whole = if len <= depth { len } else { depth - depth / 4 };
    let mut at = Place { stack: 0, python: 0 };
    let mut index = kept.interned().min(whole);
    if let Some(last) = index.checked_sub(1) {
        let last = kept.get(last)?;
        at = Place { stack: last.stack, python: last.python };
    } else if kept.is_cut() {
        at.stack = node(entry, now, 0, Frame::Unknown.to_wire())?;
    }
    while index < whole {
        at = step(entry, now, at, index)?;
        let kept = &mut entry.lane().kept;
        let frame = kept.get_mut(index)?;
        (frame.stack, frame.python) = (at.stack, at.python);
        index += 1;
        kept.set_interned(index);
    }
    if len > depth {
        at.stack = node(entry, now, at.stack, Frame::Truncated.to_wire())?;
        for index in len - depth / 4..len {
            at = step(entry, now, at, index)?;
        }
    }
    if len == 0 {
        return None;
    }
    // Those whose loop was not found.
    Some(add_python(entry, now, at, 0)?.stack)
}

/// How far a stack has its nodes: the last of them, and how many Python frames are among them.
#[derive(Clone, Copy)]
struct Place {
    stack: u32,
    python: u32,
}

/// Forgets the nodes of native frames that have other Python frames above them now.
#[inline(always)]
fn keep_interned(lane: &mut Lane, python_stays: usize) {
    let first_new = lane.python.get(python_stays).map(|frame| frame.native);
    let mut interned = lane.kept.interned();
    while let Some(last) = interned.checked_sub(1)
        && let Some(frame) = lane.kept.get(last)
        && (frame.python as usize > python_stays
            || first_new.is_some_and(|native| native > frame.slot))
    {
        interned = last;
    }
    lane.kept.set_interned(interned);
}

/// Adds a native frame and the Python frames that it runs.
#[inline(always)]
fn step(entry: &mut HookEntry, now: Ticks, at: Place, index: usize) -> Option<Place> {
    let process = entry.process();
    let frame = entry.lane().kept.get(index)?;
    let is_own = process.objects.is_own(frame.address);
    let (slot, scheduled, wire) = (frame.slot, frame.scheduled, tree_frame(process, frame));
    let stack = match scheduled {
        0 if is_own => at.stack,
        0 => node(entry, now, at.stack, wire)?,
        // What this thread's own frames towards the root are says nothing.
        origin => node(entry, now, origin, Frame::Scheduled.to_wire())?,
    };
    add_python(entry, now, Place { stack, ..at }, slot)
}

/// Adds the next Python frames, as long as their loop's native frame is above `slot`.
#[inline(always)]
fn add_python(entry: &mut HookEntry, now: Ticks, mut at: Place, slot: u64) -> Option<Place> {
    let depth = usize::from(entry.process().settings.depth);
    while let Some(frame) = entry.lane().python.get(at.python as usize)
        && (frame.native > slot || slot == 0)
    {
        let wire = frame.wire;
        let (index, len) = (at.python as usize, entry.lane().python.len());
        let left_out = len > depth && (depth - depth / 4..len - depth / 4).contains(&index);
        if !left_out {
            at.stack = node(entry, now, at.stack, wire)?;
        } else if index == depth - depth / 4 {
            at.stack = node(entry, now, at.stack, Frame::Truncated.to_wire())?;
        }
        at.python += 1;
    }
    Some(at)
}
