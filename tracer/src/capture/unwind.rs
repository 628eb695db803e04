//! The walk: what is left of the last stack, then rules from the leaf until the two meet.

use tftrace_format::Ticks;

use super::cfi;
use super::kept_frame::{INTERRUPTED, MUST_BE_REACHED, STEP_RESTORES_BP, STEP_USES_BP, Walked};
use super::objects::NO_MAPPING;
use super::rule::{Rule, Step};
use super::stack_range::StackRange;
use crate::arch::{EntryRegisters, signal_frame};
use crate::process::Process;
use crate::record::scheduled;
use crate::thread::guard::HookEntry;

/// A frame, and what is needed to go on from it.
#[derive(Clone, Copy)]
struct Place {
    frame: Walked,
    /// The stack pointer in this frame.
    sp: u64,
    range: StackRange,
}

/// How a step ended.
enum Next {
    Frame(Place),
    Root,
    Lost,
}

/// What became of the kept stack.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Updated {
    /// It still stands, with the same leaf.
    Same,
    /// There are other frames.
    Anew,
    /// The same, but the root could not be reached.
    CutShort,
}

/// Brings the lane's kept stack up to date; `now` this look begins.
#[inline(always)]
pub(super) fn update(entry: &mut HookEntry, registers: EntryRegisters, now: Ticks) -> Updated {
    let generation = entry.process().objects.generation();
    let lane = entry.lane();
    if lane.kept.generation != generation {
        lane.kept.forget();
        lane.rules.forget();
        lane.kept.generation = generation;
    }
    let kept = &mut lane.kept;
    // From the root on, while the return addresses still stand where they stood.
    let out_of_reach =
        kept.out_of_reach(now, |python| lane.python.get(python).map_or(0, |frame| frame.native));
    let trusted = kept.trusted(registers.sp);
    let valid = trusted.map_or(0, |range| kept.still_standing(range, out_of_reach));
    if kept.is_leaf(valid, registers) {
        return Updated::Same;
    }
    match walk_anew(entry, registers, valid, trusted.is_none()) {
        true => Updated::Anew,
        false => Updated::CutShort,
    }
}

/// Walks from the leaf until it meets the `valid` frames from the root on that still stand, or to the
/// root. False if that could not be reached.
#[inline(never)]
fn walk_anew(
    entry: &mut HookEntry,
    registers: EntryRegisters,
    mut valid: usize,
    is_elsewhere: bool,
) -> bool {
    let Some(first) = range_of(entry, registers.sp).and_then(|range| first_frame(range, registers))
    else {
        entry.lane().kept.forget();
        return false;
    };
    entry.lane().kept.begin_new();
    let Place { mut frame, mut sp, mut range } = first;
    let ended_well = loop {
        let kept = &mut entry.lane().kept;
        while let Some(last) = valid.checked_sub(1)
            && kept.get(last).is_some_and(|kept| kept.slot < frame.slot)
        {
            valid = last;
        }
        let met = valid.checked_sub(1).and_then(|last| kept.get(last));
        if met.is_some_and(|kept| kept.is_met_by(&frame)) {
            break true;
        }
        let rule = rule_of(entry, &frame);
        frame.mapping = rule.mapping;
        frame.flags |= use_of_bp(rule.step);
        if !entry.lane().kept.push_new(frame) {
            valid = 0;
            break false;
        }
        // What is in these stays in registers, as long as steps are simple.
        let next = match rule.step {
            Step::FromSp { cfa, saved_bp } => {
                let cfa = sp.wrapping_add_signed(i64::from(cfa));
                caller(entry.process(), range, &frame, cfa, saved_bp)
            }
            Step::FromBp { cfa, saved_bp } => {
                let cfa = frame.bp.wrapping_add_signed(i64::from(cfa));
                caller(entry.process(), range, &frame, cfa, saved_bp)
            }
            _ => match rare_step(entry, &Place { frame, sp, range }, rule.step) {
                Next::Frame(place) => {
                    range = place.range;
                    Some((place.frame, place.sp))
                }
                Next::Root => {
                    valid = 0;
                    break true;
                }
                Next::Lost => None,
            },
        };
        match next {
            // A return address of 0 ends some hand-made stacks.
            Some((caller, _)) if caller.address == 0 => {
                valid = 0;
                break true;
            }
            Some(caller) => (frame, sp) = caller,
            None => {
                valid = 0;
                break false;
            }
        }
    };
    let kept = &mut entry.lane().kept;
    kept.truncate(valid);
    kept.join_new((valid != 0).then_some(&frame));
    if is_elsewhere {
        learn_stack(entry, registers.sp);
    }
    ended_well
}

/// The kept frames are of a walk that began at `sp` and met none of the old ones.
#[cold]
fn learn_stack(entry: &mut HookEntry, sp: u64) {
    let nested = entry.nested();
    let kept = &mut entry.lane().kept;
    let Some(root) = kept.get(0).map(|frame| frame.slot) else { return };
    if !kept.prove(sp, root) || nested {
        return;
    }
    let mapping = entry.slot().on_own_stack(|| StackRange::ask_kernel(sp));
    if let Some((low, end)) = mapping
        && end > root
    {
        entry.lane().kept.reaches_down_to(low);
    }
}

/// Unwinds in full, without the kept stack, and gives every frame to `each`. For checks.
pub(super) fn walk(
    entry: &mut HookEntry,
    registers: EntryRegisters,
    mut each: impl FnMut(&Walked),
) {
    let Some(range) = range_of(entry, registers.sp) else { return };
    let mut next_place = first_frame(range, registers);
    while let Some(place) = next_place {
        each(&place.frame);
        let rule = rule_of(entry, &place.frame);
        next_place = match next(entry, &place, rule.step) {
            Next::Frame(place) => Some(place),
            Next::Root | Next::Lost => None,
        };
    }
}

/// The frame that called the hook.
#[inline(always)]
fn first_frame(range: StackRange, registers: EntryRegisters) -> Option<Place> {
    let address = range.read(registers.sp)?;
    let frame = Walked { slot: registers.sp, address, bp: registers.bp, ..Walked::default() };
    Some(Place { frame, sp: registers.sp.wrapping_add(8), range })
}

/// The stack that `sp` is on.
#[inline(always)]
fn range_of(entry: &mut HookEntry, sp: u64) -> Option<StackRange> {
    match StackRange::of_thread(entry.process(), sp) {
        Some(range) => Some(range),
        None => range_elsewhere(entry, sp),
    }
}

/// A signal stack, or a coroutine's: the kernel is asked, once per mapping.
#[cold]
fn range_elsewhere(entry: &mut HookEntry, sp: u64) -> Option<StackRange> {
    if let Some(end) = entry.lane().kept.known_end(sp) {
        return Some(StackRange { start: sp, end });
    }
    if entry.nested() {
        return None;
    }
    let mapping = entry.slot().on_own_stack(|| StackRange::ask_kernel(sp))?;
    entry.lane().kept.learn_mapping(mapping);
    Some(StackRange { start: sp, end: mapping.1 })
}

#[inline(always)]
fn rule_of(entry: &mut HookEntry, frame: &Walked) -> Rule {
    if !frame.is_interrupted()
        && let Some(rule) = entry.lane().rules.find(frame.address)
    {
        return rule;
    }
    rule_of_table(entry, frame)
}

#[inline(never)]
fn rule_of_table(entry: &mut HookEntry, frame: &Walked) -> Rule {
    // An interrupted address is looked up as itself, a return address as the call before it.
    let key = frame.address | (u64::from(frame.is_interrupted()) << 63);
    let Some(rule) = entry.process().rules.find(key) else { return learn(entry, frame, key) };
    // If its object is unloaded meanwhile, that changes the generation, and the next walk forgets this.
    if !frame.is_interrupted() {
        entry.lane().rules.remember(frame.address, rule);
    }
    rule
}

#[cold]
fn learn(entry: &mut HookEntry, frame: &Walked, key: u64) -> Rule {
    let unknown = Rule { step: Step::Unknown, mapping: NO_MAPPING };
    if key == 0 || entry.nested() {
        // The own stack may be in use by what the signal interrupted.
        return unknown;
    }
    let process: &Process = entry.process();
    let rule =
        entry.slot().on_own_stack(|| cfi::evaluate(process, frame.address, frame.is_interrupted()));
    process.rules.insert(key, rule);
    if rule.mapping != NO_MAPPING && !process.objects.is_loaded(rule.mapping) {
        // Unloaded by a handler of this thread meanwhile: its rules were forgotten before this one came.
        process.rules.forget_mapping(rule.mapping);
    }
    rule
}

/// What a step does with `bp`, as flags of the frame that it leads from.
#[inline(always)]
fn use_of_bp(step: Step) -> u32 {
    let (uses, restores) = step.use_of_bp();
    (if uses { STEP_USES_BP } else { 0 }) | if restores { STEP_RESTORES_BP } else { 0 }
}

fn next(entry: &mut HookEntry, place: &Place, step: Step) -> Next {
    let Place { ref frame, sp, range } = *place;
    let found = match step {
        Step::FromSp { cfa, saved_bp } => {
            caller(entry.process(), range, frame, sp.wrapping_add_signed(i64::from(cfa)), saved_bp)
        }
        Step::FromBp { cfa, saved_bp } => {
            let cfa = frame.bp.wrapping_add_signed(i64::from(cfa));
            caller(entry.process(), range, frame, cfa, saved_bp)
        }
        _ => return rare_step(entry, place, step),
    };
    match found {
        // A return address of 0 ends some hand-made stacks.
        Some((frame, _)) if frame.address == 0 => Next::Root,
        Some((frame, sp)) => Next::Frame(Place { frame, sp, range }),
        None => Next::Lost,
    }
}

/// A step that few frames need.
#[inline(never)]
fn rare_step(entry: &mut HookEntry, place: &Place, step: Step) -> Next {
    let Place { ref frame, sp, range } = *place;
    match step {
        Step::Realigned { cfa, saved_bp } => {
            let at = |offset: i32| range.read(frame.bp.wrapping_add_signed(i64::from(offset)));
            let found = at(cfa).zip(at(saved_bp)).and_then(|(cfa, bp)| {
                let (caller, sp) = caller(entry.process(), range, frame, cfa, None)?;
                Some((Walked { bp, flags: MUST_BE_REACHED, ..caller }, sp))
            });
            match found {
                Some((frame, _)) if frame.address == 0 => Next::Root,
                Some((frame, sp)) => Next::Frame(Place { frame, sp, range }),
                None => Next::Lost,
            }
        }
        Step::Signal => interrupted(entry, range, sp),
        Step::Root => Next::Root,
        Step::FromSp { .. } | Step::FromBp { .. } | Step::Unknown => by_frame_pointer(entry, place),
    }
}

/// The calling frame, whose callee's frame begins at `cfa`, and the stack pointer in it.
#[inline(always)]
fn caller(
    process: &Process,
    range: StackRange,
    callee: &Walked,
    cfa: u64,
    saved_bp: Option<i32>,
) -> Option<(Walked, u64)> {
    let slot = cfa.wrapping_sub(8);
    // Frames lie above those that they called: this is what ends a walk in circles.
    if slot <= callee.slot {
        return None;
    }
    let address = range.read(slot)?;
    let bp = match saved_bp {
        Some(offset) => range.read(cfa.wrapping_add_signed(i64::from(offset)))?,
        None => callee.bp,
    };
    let bp_from = saved_bp.unwrap_or(0);
    let scheduled = match address == scheduled::return_address() {
        true => range.read(cfa).map_or(0, |word| scheduled::stack_of(process, word)),
        false => 0,
    };
    Some((Walked { slot, address, bp, bp_from, scheduled, mapping: 0, flags: 0 }, cfa))
}

/// The frame that a signal interrupted. It may be on another stack.
#[cold]
fn interrupted(entry: &mut HookEntry, range: StackRange, sp: u64) -> Next {
    let slot = sp.wrapping_add(signal_frame::PC);
    let saved = |offset: u64| range.read(sp.wrapping_add(offset));
    let (Some(address), Some(new_sp), Some(bp)) =
        (range.read(slot), saved(signal_frame::SP), saved(signal_frame::BP))
    else {
        return Next::Lost;
    };
    let range = if range.holds_word(new_sp) {
        StackRange { start: new_sp, end: range.end }
    } else {
        let Some(range) = range_of(entry, new_sp) else { return Next::Lost };
        range
    };
    let flags = INTERRUPTED | MUST_BE_REACHED;
    let frame = Walked { slot, address, bp, flags, ..Walked::default() };
    Next::Frame(Place { frame, sp: new_sp, range })
}

/// Code without unwind tables: if it keeps a frame pointer, that leads on.
///
/// `bp` may be anything, so only what the kernel calls one mapping is read.
#[cold]
fn by_frame_pointer(entry: &mut HookEntry, place: &Place) -> Next {
    const LARGEST_FRAME: u64 = 1 << 20;
    let process = entry.process();
    let Place { frame, sp, range } = *place;
    let in_reach = frame.bp >= sp && frame.bp.wrapping_sub(sp) < LARGEST_FRAME;
    if !in_reach || !range.holds_word(frame.bp.wrapping_add(8)) {
        return Next::Lost;
    }
    let Some(mapped) = range_elsewhere(entry, sp) else { return Next::Lost };
    let mapped = StackRange { end: mapped.end.min(range.end), ..mapped };
    match caller(process, mapped, &frame, frame.bp.wrapping_add(16), Some(-16)) {
        Some((frame, _)) if frame.address == 0 => Next::Root,
        Some((frame, sp)) => Next::Frame(Place { frame, sp, range }),
        None => Next::Lost,
    }
}
