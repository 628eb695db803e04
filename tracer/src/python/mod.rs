//! CPython in the host: found by the symbols it exports, its frames read without its help.
//!
//! An interpreter of an unknown version, or one without a GIL, is left alone: stacks are then native.

mod arenas;
mod blocks;
mod code;
mod code_death;
mod code_table;
mod comparison;
mod detect;
mod frames;
pub(crate) mod kept_frames;
mod last_collection;
mod layout;
mod line_places;
mod links;
mod loops;
mod memory;
mod moved_leaf;
pub(crate) mod out_of_reach;
mod run_alone;
#[cfg(test)]
mod simulated;

use core::ops::Range;
use core::sync::atomic::{AtomicBool, AtomicPtr, Ordering};

use tftrace_format::Ticks;
use tftrace_format::record::Record;

use crate::thread::guard::HookEntry;
use code_table::CodeTable;
use comparison::Loops;
use frames::Found;
use last_collection::{Collected, LastCollection};
use layout::Layout;

pub(crate) use detect::consider;

/// The interpreter of this process.
#[derive(Debug)]
pub(crate) struct Interpreter {
    layout: Layout,
    /// `PyGILState_GetThisThreadState`.
    thread_state: unsafe extern "C" fn() -> u64,
    /// In 3.11 `_PyThreadState_UncheckedGet`: the state of whoever holds the GIL, in a twentieth of the instructions. Later
    /// the same as above, before none: nothing is known without the code object.
    current_thread: Option<unsafe extern "C" fn() -> u64>,
    /// `Py_IsFinalizing`, or what was its name before 3.13.
    is_finalizing: unsafe extern "C" fn() -> i32,
    /// What it said last.
    was_finalizing: AtomicBool,
    last_collection: LastCollection,
    codes: CodeTable,
    /// The code of the evaluation loop, where its native frames are known by that alone.
    loop_code: Option<Range<u64>>,
    /// How its allocators are replaced, where it says so.
    allocators: Option<blocks::Api>,
}

/// The interpreter, once it was seen.
#[derive(Debug, Default)]
pub(crate) struct Place(AtomicPtr<Interpreter>);

impl Interpreter {
    /// Whether it shuts down, or did when it was looked at last.
    #[inline(always)]
    fn may_shut_down(&self) -> bool {
        // SAFETY: the interpreter's own function, which reads a flag.
        unsafe { (self.is_finalizing)() != 0 || self.was_finalizing.load(Ordering::Relaxed) }
    }

    /// Whether it is shutting down; notes in the trace when that changes.
    #[inline(always)]
    fn is_finalizing(&self, entry: &mut HookEntry, now: impl Fn() -> Ticks) -> bool {
        // SAFETY: the interpreter's own function, which reads a flag.
        let finalizing = unsafe { (self.is_finalizing)() } != 0;
        if self.was_finalizing.load(Ordering::Relaxed) != finalizing {
            self.note(entry, now(), finalizing);
        }
        // Without hooks in Python's own blocks the collection may be over before anything is seen of it,
        // and the next one would be taken for it.
        if finalizing && entry.process().settings.python_blocks {
            self.watch_collection(entry, now);
        }
        finalizing
    }

    #[cold]
    fn note(&self, entry: &mut HookEntry, time: Ticks, finalizing: bool) {
        // Relaxed: only one of several threads that see the change writes it down.
        if self.was_finalizing.swap(finalizing, Ordering::Relaxed) == finalizing {
            return;
        }
        self.last_collection.forget();
        // A leak may be a moment old when the interpreter shuts down and frees it.
        let process = entry.process();
        process.folds_from.fetch_max(time.0, Ordering::Relaxed); // A figure.
        // Little of what was counted comes again, and the drain has time for it until the process ends. Of this thread, which
        // is the one that ends it, mostly.
        entry.lane().hand_over_totals(&process.spool);
        write(entry, time, &Record::ShutDown { time, begins: finalizing });
    }

    #[cold]
    fn watch_collection(&self, entry: &mut HookEntry, now: impl Fn() -> Ticks) {
        if let Some(collected) = self.last_collection.look(&now) {
            let Collected { began, ended, enabled } = collected;
            write(entry, now(), &Record::LastCollection { began, ended, enabled });
        }
    }
}

fn write(entry: &mut HookEntry, time: Ticks, record: &Record<'_>) {
    let process = entry.process();
    let write = || process.log.record(&process.spool, time, record);
    if entry.nested() {
        write()
    } else {
        entry.slot().on_own_stack(write)
    };
}

impl Place {
    #[inline(always)]
    fn get(&self) -> Option<&Interpreter> {
        // Acquire: pairs with the release in `set`.
        let interpreter = self.0.load(Ordering::Acquire);
        // SAFETY: null, or set once to a value that lives for ever.
        unsafe { interpreter.as_ref() }
    }

    fn set(&self, interpreter: *mut Interpreter) {
        // Release: who sees the interpreter sees its fields. The first one stays.
        let null = core::ptr::null_mut();
        let _ = self.0.compare_exchange(null, interpreter, Ordering::Release, Ordering::Relaxed);
    }
}

/// Brings the lane's kept Python frames up to date, after its native ones; `now` this hook looks at the stack.
#[inline(always)]
pub(crate) fn update(entry: &mut HookEntry, now: Ticks) {
    if let Some(interpreter) = entry.process().python.get() {
        update_from(entry, interpreter, Loops::Compared, now);
    }
}

/// As [`update`], for who does not ask which native frames run them, and holds the GIL.
#[inline(always)]
pub(crate) fn update_without_loops(entry: &mut HookEntry, now: Ticks) {
    if let Some(interpreter) = entry.process().python.get()
        && move_leaf(entry, interpreter, now).is_none()
    {
        update_from(entry, interpreter, Loops::LeftOut, now);
    }
}

/// Brings the kept frames up to date where the innermost one has gone on at most, which is so for most blocks. `None`:
/// nothing was done.
#[inline(always)]
fn move_leaf(entry: &mut HookEntry, interpreter: &Interpreter, now: Ticks) -> Option<()> {
    let current_thread = interpreter.current_thread?;
    if entry.nested() || interpreter.may_shut_down() {
        return None;
    }
    let lane = entry.lane();
    if lane.kept.is_in_handler() || lane.python.generation() != interpreter.codes.generation() {
        return None;
    }
    // SAFETY: the interpreter's own function, which reads a value.
    let thread = unsafe { current_thread() };
    // Whoever holds the GIL is this thread: the state is the one that it had when it was asked for its own.
    if thread == 0 || thread != lane.python.thread {
        return None;
    }
    let layout = &interpreter.layout;
    // SAFETY: this thread's own state.
    let instruction = unsafe { moved_leaf::instruction(layout, thread, &lane.python, now) }?;
    let leaf = lane.python.get(lane.python.len().checked_sub(1)?)?;
    if instruction != leaf.raw.instruction {
        let wire = code::moved(layout, leaf.wire, leaf.raw.code, instruction)?;
        lane.python.move_leaf(instruction, wire);
    }
    Some(())
}

/// Whether the lane's kept Python frames, just brought up to date, are other ones than a whole walk finds. For checks.
pub(crate) fn kept_frames_differ(entry: &mut HookEntry) -> bool {
    let Some(interpreter) = entry.process().python.get() else { return false };
    let kept = &entry.lane().python;
    let mut left = kept.len();
    if left == 0 {
        return false;
    }
    let mut differs = false;
    // SAFETY: frames are kept, so the interpreter runs, and this is its function, which reads a thread-local value.
    let thread = unsafe { (interpreter.thread_state)() };
    let each = |found| {
        if let Found::Frame(raw) = found {
            let expected = left.checked_sub(1).and_then(|index| kept.get(index));
            differs |= expected.is_none_or(|kept| kept.raw != raw);
            left = left.saturating_sub(1);
        }
        !differs
    };
    // SAFETY: this thread's own state.
    unsafe { frames::walk(&interpreter.layout, thread, each) };
    differs || left != 0
}

/// Notices that the interpreter begins to shut down, before a block of its own dies `now`.
#[inline(always)]
pub(crate) fn watch(entry: &mut HookEntry, now: impl Fn() -> Ticks) {
    if let Some(interpreter) = entry.process().python.get() {
        interpreter.is_finalizing(entry, now);
    }
}

/// Whether the interpreter shuts down, or did when it was looked at last.
#[inline(always)]
pub(crate) fn may_shut_down(entry: &HookEntry) -> bool {
    entry.process().python.get().is_some_and(Interpreter::may_shut_down)
}

/// Finds the native frames that run the kept Python frames, where [`update`] does not.
#[inline(always)]
pub(crate) fn find_loops(entry: &mut HookEntry) {
    if let Some(code) = entry.process().python.get().and_then(|python| python.loop_code.as_ref()) {
        loops::pair(entry.lane(), code);
    }
}

// One for all hooks: it is eight kilobytes of code.
#[inline(never)]
fn update_from(entry: &mut HookEntry, interpreter: &'static Interpreter, loops: Loops, now: Ticks) {
    let nested = entry.nested();
    let lane = entry.lane();
    // Where a signal interrupted the interpreter, it may have been linking a frame.
    if nested || lane.kept.is_in_handler() {
        lane.python.clear();
        return;
    }
    let process = entry.process();
    let finalizing = interpreter.is_finalizing(entry, || process.clock.now());
    let lane = entry.lane();
    // The interpreter frees the states of other threads while it is finalizing.
    // SAFETY: the interpreter's own function, which reads a thread-local value.
    let thread = if finalizing { 0 } else { unsafe { (interpreter.thread_state)() } };
    if thread == 0 {
        lane.python.clear();
        return;
    }
    blocks::install(entry, interpreter.allocators.as_ref());
    let lane = entry.lane();
    lane.python.thread = thread;
    let same = match lane.python.is_of(interpreter.codes.generation()) {
        // SAFETY: this thread's own state.
        true => unsafe {
            comparison::compare(&interpreter.layout, thread, &lane.python, loops, now)
        },
        false => None,
    };
    // Only what is new is written down: all of it, if that is not known.
    let wanted = same.map_or(usize::MAX, |(common, total)| total.saturating_sub(common));
    let python = &mut lane.python;
    let last_common = same.and_then(|(common, _)| common.checked_sub(1));
    let outside = last_common.and_then(|last| python.get(last)).map_or(0, |frame| frame.native);
    python.begin_new();
    // SAFETY: as above.
    unsafe { frames::take_new(&interpreter.layout, thread, python, wanted, outside) };
    let common = match same {
        Some((common, total)) => {
            python.keep_common(common, total);
            common
        }
        None => python.compare(interpreter.loop_code.is_none()),
    };
    for index in common..entry.lane().python.total() {
        let Some(raw) = entry.lane().python.new_at(index) else { break };
        let wire = code::frame_of(entry, interpreter, &raw);
        // SAFETY: a link has just led there.
        let is_generator = unsafe { interpreter.layout.is_generator(raw.frame) };
        entry.lane().python.keep(index, wire, is_generator);
    }
    entry.lane().python.finish();
}
