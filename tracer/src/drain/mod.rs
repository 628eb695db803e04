//! The background half: threads that compress full pages, sample memory and free dead threads' slots.
//!
//! Nothing depends on it: without it the trace is only larger. It starts when the host itself has
//! started a thread.

mod anonymous_pages;
mod collector;
mod compressor;
mod host_threads;
mod memory_layout;
mod memory_reading;
pub(crate) mod own_threads;
mod resident_runs;

use core::ffi::{CStr, c_void};
use core::mem::MaybeUninit;
use core::sync::atomic::Ordering;

use crossbeam_channel::Receiver;
use tftrace_format::Ticks;
use tftrace_format::record::Record;

use memory_layout::Look;
use memory_reading::Wanted;

use crate::process::Process;
use crate::spool::PageIndex;
use crate::thread::guard::{self, HookEntry};
use crate::{own_memory, real, system_call};

const NOT_STARTED: u8 = 0;
const STARTED: u8 = 1;
const FAILED: u8 = 2;

/// How often memory is sampled, in milliseconds.
const SAMPLE_MS: u64 = 250;
/// How long to wait where a hook came at a bad moment.
const RETRY_MS: u64 = 5;

/// What a hook does while there is no drain: its sampling.
///
/// Only where the host is outside its allocator: asking that for its figures takes its locks. An
/// allocator that maps memory may hold them, so `mmap` never comes here.
#[inline(always)]
pub(crate) fn after_allocation(entry: &mut HookEntry, now: Ticks) {
    let process = entry.process();
    // Relaxed: a hint; one reading more or less does no harm.
    if process.drain.load(Ordering::Relaxed) != STARTED
        && now.0 >= process.next_sample.load(Ordering::Relaxed)
    {
        without_drain(entry, now);
    }
}

#[cold]
fn without_drain(entry: &mut HookEntry, now: Ticks) {
    let process = entry.process();
    let delicate = entry.nested() || is_delicate(entry);
    let wait_ms = if delicate { RETRY_MS } else { SAMPLE_MS };
    let due = process.next_sample.load(Ordering::Relaxed);
    let next = now.0.saturating_add(process.ticks_per_second / 1000 * wait_ms);
    // One thread does it; the others go on.
    let mine =
        process.next_sample.compare_exchange(due, next, Ordering::Relaxed, Ordering::Relaxed);
    if delicate || mine.is_err() {
        return;
    }
    sample_now(entry, false);
}

/// Whether the host may hold locks that libc needs: inside a signal handler, or inside the loader.
fn is_delicate(entry: &mut HookEntry) -> bool {
    let process = entry.process();
    let kept = &entry.lane().kept;
    let frames = (0..kept.len()).filter_map(|index| kept.get(index));
    kept.len() == 0
        || kept.is_in_handler()
        || frames.into_iter().any(|frame| process.objects.is_loader(frame.address))
}

/// Starts the drain, if that has not been tried: where the host may start threads, we may.
pub(crate) fn host_has_threads(entry: &mut HookEntry) {
    let process = entry.process();
    // Behind a seal its threads would be as locked in as the one that starts them.
    let may_start = !entry.nested() && !system_call::is_sealed();
    if !may_start || process.drain.load(Ordering::Relaxed) != NOT_STARTED {
        return;
    }
    if !process.own_threads.announce() {
        return;
    }
    let claimed =
        process.drain.compare_exchange(NOT_STARTED, STARTED, Ordering::AcqRel, Ordering::Relaxed);
    if claimed.is_err() {
        process.own_threads.withdraw();
        return;
    }
    // SAFETY: the calling thread's errno.
    let errno = unsafe { libc::__errno_location() };
    // SAFETY: as above.
    let before = unsafe { errno.read() };
    // The new threads inherit the blocked signals: none of the host's is ever delivered to them.
    let argument = core::ptr::from_ref(process).cast_mut().cast();
    let started =
        guard::as_own_thread(|| entry.slot().on_own_stack(|| own_thread(run_collector, argument)));
    // SAFETY: as above.
    unsafe { errno.write(before) };
    if !started {
        process.own_threads.withdraw();
        failed(process);
    }
}

fn failed(process: &Process) {
    process.drain.store(FAILED, Ordering::Relaxed);
    process.note(&[b"no thread could be started: the trace will not be compressed"]);
}

/// Starts a thread of the tracer's own, which was announced. Not by std: what a thread of std's does first would still
/// be taken for the host's.
fn own_thread(run: extern "C" fn(*mut c_void) -> *mut c_void, argument: *mut c_void) -> bool {
    const STACK_BYTES: usize = 256 * 1024;
    let mut attributes = MaybeUninit::<libc::pthread_attr_t>::uninit();
    // SAFETY: room for attributes.
    if unsafe { libc::pthread_attr_init(attributes.as_mut_ptr()) } != 0 {
        return false;
    }
    // SAFETY: initialized just above, as for the next ones.
    unsafe { libc::pthread_attr_setstacksize(attributes.as_mut_ptr(), STACK_BYTES) };
    let detached = libc::PTHREAD_CREATE_DETACHED;
    // SAFETY: as above.
    unsafe { libc::pthread_attr_setdetachstate(attributes.as_mut_ptr(), detached) };
    let mut thread = 0;
    // SAFETY: `run` takes what is passed, and the attributes are initialized.
    let error =
        unsafe { real::pthread_create()(&raw mut thread, attributes.as_ptr(), run, argument) };
    // SAFETY: as above.
    unsafe { libc::pthread_attr_destroy(attributes.as_mut_ptr()) };
    error == 0
}

/// What every thread of the tracer's does first and last.
fn as_own(process: &Process, name: &CStr, work: impl FnOnce() -> bool) {
    guard::mark_drain_thread();
    system_call::name_thread(name);
    process.own_threads.enter();
    // std and the channel allocate a little at their first use, and abort where they cannot.
    if !own_memory::make_ready() || !work() {
        failed(process);
    }
    process.own_threads.withdraw();
}

extern "C" fn run_collector(process: *mut c_void) -> *mut c_void {
    // SAFETY: `host_has_threads` passes the process, which lives for ever.
    let process: &'static Process = unsafe { &*process.cast_const().cast() };
    as_own(process, c"tftrace-drain", || {
        let (sender, pages) = crossbeam_channel::bounded(64);
        let Some(work) =
            own_memory::place(Compressing { process, pages, collector: system_call::thread_id() })
        else {
            return false;
        };
        if !process.own_threads.announce() {
            // SAFETY: made just above, and no thread has it.
            drop(unsafe { own_memory::take(work) });
            process.drain.store(FAILED, Ordering::Relaxed);
            return true;
        }
        if !own_thread(run_compressor, work.cast()) {
            process.own_threads.withdraw();
            // SAFETY: made just above, and no thread has it.
            drop(unsafe { own_memory::take(work) });
            return false;
        }
        collector::run(process, &sender);
        process.drain.store(FAILED, Ordering::Relaxed);
        true
    });
    core::ptr::null_mut()
}

/// What the compressing thread is given.
struct Compressing {
    process: &'static Process,
    pages: Receiver<PageIndex>,
    /// The kernel's id of the collector.
    collector: u32,
}

extern "C" fn run_compressor(work: *mut c_void) -> *mut c_void {
    // SAFETY: `run_collector` passes this to one thread.
    let Compressing { process, pages, collector } = unsafe { own_memory::take(work.cast()) };
    as_own(process, c"tftrace-write", || compressor::run(process, &pages));
    leave_last(process, collector);
    core::ptr::null_mut()
}

/// If the host's threads are gone, libc ends the process in the thread that is left: this one, whose
/// descriptors are the host's. What it does then, as in functions of `atexit`, is the host's doing.
fn leave_last(process: &Process, collector: u32) {
    const PATIENCE: u32 = 1000;
    for _ in 0..PATIENCE {
        if !system_call::thread_exists(process.pid, collector) {
            break;
        }
        system_call::sleep_ms(1);
    }
    guard::mark_host_thread();
    system_call::restore_signals(0);
}

/// Writes a reading of the process's memory, from a hook whose call stack was just captured; with whose
/// it is, if that is wanted and no other thread of the host's is there.
pub(crate) fn sample_now(entry: &mut HookEntry, layout: bool) {
    let process = entry.process();
    // With other threads about, a descriptor of ours could be closed and reused by one of them.
    let files = process.drain.load(Ordering::Relaxed) != STARTED;
    let delicate = entry.nested() || entry.lane().kept.is_in_handler();
    if entry.nested() || system_call::is_sealed() {
        return;
    }
    let slot = entry.slot();
    let wanted = Wanted { files, malloc: !delicate, layout: layout && files };
    guard::as_own_thread(|| slot.on_own_stack(|| _ = take_sample(process, wanted)));
}

/// Lets the drain look whose the memory is, where a hook cannot, and waits for it. Not inside a hook:
/// the drain may wait for that.
pub(crate) fn layout_from_drain(process: &Process) {
    const PATIENCE_MS: u32 = 1000;
    let is_there =
        || process.drain.load(Ordering::Relaxed) == STARTED && process.own_threads.count() != 0;
    if system_call::is_sealed() || !is_there() {
        return;
    }
    // A number, not a flag: a look that has begun before does not count.
    let mine = process.layouts_wanted.fetch_add(1, Ordering::Release).wrapping_add(1);
    wake(process);
    let is_served =
        || process.layouts_served.load(Ordering::Acquire).wrapping_sub(mine).cast_signed() >= 0;
    for _ in 0..PATIENCE_MS {
        if !is_there() || is_served() {
            break;
        }
        system_call::sleep_ms(1);
    }
}

/// Has the tables mapped that are wanted: by the drain, or here while the host has started no thread. In a hook, on
/// the own stack.
pub(crate) fn map_tables(process: &Process) {
    match process.drain.load(Ordering::Relaxed) {
        STARTED => wake(process),
        NOT_STARTED => {
            guard::as_own_thread(|| process.table_views.map_wanted(&process.objects));
        }
        _ => {}
    }
}

/// Ends the collector's pause, so that it looks at once what is asked of it.
pub(crate) fn wake(process: &Process) {
    system_call::wake(&process.layouts_wanted);
}

/// Whether the drain looked whose the memory is in the last eighth of the traced time: at the end of a
/// process that is near enough.
pub(crate) fn has_late_layout(process: &Process) -> bool {
    let (last, now) = (process.last_layout.load(Ordering::Relaxed), process.clock.now().0); // A figure.
    last != 0 && now.saturating_sub(last) < now / 8
}

/// Reads the process's memory and writes it into the trace. Gives how much of it is resident.
fn take_sample(process: &Process, wanted: Wanted) -> u64 {
    let own_threads = u64::from(process.own_threads.count());
    let look = if wanted.layout { Look::take(process) } else { None };
    let reading = memory_reading::take(process, wanted, own_threads);
    let layout = look.as_ref().map(Look::layout);
    process.log.record(
        &process.spool,
        Ticks(reading.time.max(1)),
        &Record::Memory(reading, layout),
    );
    reading.rss_anonymous.saturating_add(reading.rss_file).saturating_add(reading.rss_shared)
}
